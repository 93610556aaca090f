"""The life of a connection: three phases, the events that move them on, and what each public call does in them.

A connection has two sides, and each has a phase of its own. *Receiving* is the peer's frames on their way to the
handler, *sending* is ours on their way to the peer. The TCP connection below them has a third phase. Nothing in this
package keeps a flag that says "it has ended": whatever asks, asks one of the three.

The tables below are the only rules. ``Life.move()`` applies MOVES, ``docs/explanation/lifecycle.md`` shows both tables,
and the tests walk every call of CALLS in every phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum


class ReceivePhase(IntEnum):
    """The peer's frames, on their way to the handler."""

    OPEN = 0
    """Frames may arrive."""
    CLOSING = 1
    """The end of the input is known; frames that arrived before it still wait to be taken."""
    DONE = 2
    """Every frame was taken, delivered or dropped. The end is reported."""


class SendPhase(IntEnum):
    """Our frames, on their way to the peer."""

    OPEN = 0
    """Frames are accepted."""
    CLOSING = 1
    """No further frame is accepted; those that were are still delivered."""
    DONE = 2
    """Nothing more leaves."""


class ConnectionPhase(IntEnum):
    """The TCP connection, or whatever stands for it."""

    OPEN = 0
    """Bytes flow."""
    DISCONNECTING = 1
    """This side is ending it, or a write has found it broken."""
    LOST = 2
    """The transport has said that it is gone."""


class Event(Enum):
    """What moves a connection on. The value is what the documentation says of it."""

    CLOSE_SENT = "a Close frame of ours was accepted"
    CLOSE_RECEIVED = "the peer's Close frame was parsed"
    STREAM_ENDED = "the peer ended its side of the TCP stream"
    INPUT_FAILED = "the peer broke the protocol, or incoming overflowed"
    OUTPUT_FAILED = "outgoing overflowed"
    LISTENER_FAILED = "the callback that takes the frames raised"
    ALL_TAKEN = "the last waiting frame was taken, delivered or dropped"
    DISCONNECT = "this side ends the connection in order"
    OUTPUT_ENDED = "all that was accepted is with the transport, and our side of the stream was ended"
    ABORT = "this side drops the connection"
    WRITE_FAILED = "a write found the connection broken"
    LOST = "the transport reported the loss of the connection"


# Phase -> event -> next phase. An event that is not listed leaves the phase as it is.
RECEIVE_MOVES: Mapping[int, Mapping[Event, ReceivePhase]] = {
    ReceivePhase.OPEN: {
        Event.CLOSE_RECEIVED: ReceivePhase.CLOSING,
        Event.STREAM_ENDED: ReceivePhase.CLOSING,
        Event.INPUT_FAILED: ReceivePhase.CLOSING,
        Event.LISTENER_FAILED: ReceivePhase.DONE,
        Event.DISCONNECT: ReceivePhase.CLOSING,
        Event.ABORT: ReceivePhase.CLOSING,
        Event.LOST: ReceivePhase.CLOSING,
    },
    ReceivePhase.CLOSING: {
        Event.ALL_TAKEN: ReceivePhase.DONE,
        Event.LISTENER_FAILED: ReceivePhase.DONE,
    },
    ReceivePhase.DONE: {},
}

SEND_MOVES: Mapping[int, Mapping[Event, SendPhase]] = {
    SendPhase.OPEN: {
        Event.CLOSE_SENT: SendPhase.CLOSING,
        Event.OUTPUT_FAILED: SendPhase.CLOSING,
        Event.DISCONNECT: SendPhase.CLOSING,
        Event.ABORT: SendPhase.DONE,
        Event.WRITE_FAILED: SendPhase.DONE,
        Event.LOST: SendPhase.DONE,
    },
    SendPhase.CLOSING: {
        Event.OUTPUT_ENDED: SendPhase.DONE,
        Event.ABORT: SendPhase.DONE,
        Event.WRITE_FAILED: SendPhase.DONE,
        Event.LOST: SendPhase.DONE,
    },
    SendPhase.DONE: {},
}

CONNECTION_MOVES: Mapping[int, Mapping[Event, ConnectionPhase]] = {
    ConnectionPhase.OPEN: {
        Event.DISCONNECT: ConnectionPhase.DISCONNECTING,
        Event.ABORT: ConnectionPhase.DISCONNECTING,
        Event.WRITE_FAILED: ConnectionPhase.DISCONNECTING,
        Event.LOST: ConnectionPhase.LOST,
    },
    ConnectionPhase.DISCONNECTING: {Event.LOST: ConnectionPhase.LOST},
    ConnectionPhase.LOST: {},
}


class Outcome(Enum):
    """What a public call does in a phase. The value is what the documentation says of it."""

    ACTS = "acts, or waits until it can"
    RETURNS = "returns at once"
    NOTHING = "does nothing"
    RAISES = "raises SessionClosed, ConnectionLost, or what ended the side"


ACTS, RETURNS, NOTHING, RAISES = Outcome

# Call -> outcome in the phases OPEN, CLOSING, DONE of its side. The names are those of the sessions, raw and managed.
RECEIVE_CALLS: Mapping[str, tuple[Outcome, Outcome, Outcome]] = {
    "receive()": (ACTS, RETURNS, RAISES),
    "async for": (ACTS, RETURNS, RETURNS),  # the loop ends: quietly, or with what ended the side
    "receive_nowait()": (RETURNS, RETURNS, RETURNS),
    "receive_deserialized()": (ACTS, RETURNS, RAISES),
    "listen()": (ACTS, ACTS, ACTS),  # awaited, it returns once the side is DONE
    "pause_reading()": (ACTS, ACTS, NOTHING),
    "resume_reading()": (ACTS, ACTS, NOTHING),
    "apply_extensions()": (ACTS, ACTS, ACTS),
    "ping()": (ACTS, RAISES, RAISES),  # no Pong can arrive any more
    "close_reason": (ACTS, RETURNS, RETURNS),
}
SEND_CALLS: Mapping[str, tuple[Outcome, Outcome, Outcome]] = {
    "send()": (ACTS, RAISES, RAISES),
    "send_nowait()": (ACTS, RAISES, RAISES),
    "outgoing.try_send()": (ACTS, RAISES, RAISES),
    "send_serialized()": (ACTS, RAISES, RAISES),
    "send_raw()": (ACTS, ACTS, RAISES),  # may follow a Close: nothing about it is checked
    "write_bytes()": (ACTS, ACTS, RAISES),
    "close()": (ACTS, NOTHING, NOTHING),
    "close_nowait()": (ACTS, NOTHING, NOTHING),
    "close_exceptionally()": (ACTS, NOTHING, NOTHING),
    "flush()": (ACTS, ACTS, RETURNS),
    "wait_writable()": (ACTS, RETURNS, RETURNS),
    "cork()": (ACTS, ACTS, NOTHING),
}
# In the phases OPEN, DISCONNECTING, LOST of the connection.
CONNECTION_CALLS: Mapping[str, tuple[Outcome, Outcome, Outcome]] = {
    "end()": (ACTS, ACTS, NOTHING),
    "abort()": (ACTS, ACTS, NOTHING),
    "wait_closed()": (ACTS, ACTS, RETURNS),
    "create_task()": (ACTS, RAISES, RAISES),
}
