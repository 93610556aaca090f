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
from typing import NamedTuple


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
    """The events that change a phase. The value is the text of the documentation."""

    CLOSE_SENT = "a Close frame of ours was accepted"
    CLOSE_RECEIVED = "the peer's Close frame was parsed"
    STREAM_ENDED = "the peer ended its side of the TCP stream"
    INPUT_FAILED = "the peer broke the protocol, or incoming overflowed"
    OUTPUT_FAILED = "outgoing overflowed"
    OUTPUT_CLOSED = "this side ends its direction of the TCP stream, and goes on reading"
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
        Event.OUTPUT_CLOSED: SendPhase.CLOSING,
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
    """The results of a public call in a phase. The value is the text of the documentation."""

    WAITS = "does what it is for, and waits as long as that takes"
    ACTS = "does what it is for, at once"
    RETURNS = "has nothing to wait for, and returns"
    NOTHING = "has nothing to do any more, and returns"
    ENDS = "returns, or raises what failed the side"
    RAISES = "raises what ended the side"


WAITS, ACTS, RETURNS, NOTHING, ENDS, RAISES = Outcome


class Call(NamedTuple):
    """A public call, and what it does in the three phases of one side. A call that asks two sides has two rows.

    The outcome that comes later in ``Outcome`` holds: ``ping()`` raises if either side has ended.
    """

    name: str
    sessions: str  # "raw", "managed" or "both"
    side: type[IntEnum]
    first: Outcome  # OPEN
    second: Outcome  # CLOSING, DISCONNECTING
    third: Outcome  # DONE, LOST
    note: str = ""


# A managed session receives messages: its receiving side is DONE when the last message was taken, and CLOSING as long
# as messages wait behind which no other will come.
CALLS: tuple[Call, ...] = (
    Call("receive()", "both", ReceivePhase, WAITS, RETURNS, RAISES),
    Call("async for", "both", ReceivePhase, WAITS, RETURNS, ENDS),
    Call("receive_stream()", "both", ReceivePhase, WAITS, RETURNS, RAISES, "at the start of its block"),
    Call("receive_nowait()", "both", ReceivePhase, RETURNS, RETURNS, RETURNS, "a frame, or None"),
    Call("receive_json()", "both", ReceivePhase, WAITS, RETURNS, RAISES),
    Call("receive_deserialized()", "both", ReceivePhase, WAITS, RETURNS, RAISES),
    Call("incoming.receive()", "both", ReceivePhase, WAITS, RETURNS, RAISES),
    Call("incoming.try_receive()", "both", ReceivePhase, RETURNS, RETURNS, RETURNS, "a frame, or None"),
    Call("async for incoming", "both", ReceivePhase, WAITS, RETURNS, ENDS),
    Call("listen()", "both", ReceivePhase, WAITS, ENDS, ENDS, "awaited; it waits while the callback is held back"),
    Call("as_stream()", "both", ReceivePhase, ACTS, ACTS, ACTS, "the streams report the end, too"),
    Call("pause_reading()", "raw", ReceivePhase, ACTS, ACTS, NOTHING),
    Call("resume_reading()", "raw", ReceivePhase, ACTS, ACTS, NOTHING),
    Call("on_end()", "raw", ReceivePhase, ACTS, ACTS, ACTS, "once DONE, it calls the callback at once"),
    Call("apply_extensions()", "raw", ReceivePhase, ACTS, ACTS, ACTS),
    Call("ping()", "managed", ReceivePhase, WAITS, RAISES, RAISES, "no Pong can arrive any more"),
    Call("close_reason", "managed", ReceivePhase, WAITS, WAITS, RETURNS, "returns once a Close was sent, too"),
    Call("send()", "both", SendPhase, WAITS, RAISES, RAISES),
    Call("outgoing.send()", "both", SendPhase, WAITS, RAISES, RAISES),
    Call("send_nowait()", "both", SendPhase, ACTS, RAISES, RAISES, "raises ChannelOverflow instead of waiting"),
    Call("outgoing.try_send()", "both", SendPhase, ACTS, RAISES, RAISES, "returns False instead of waiting"),
    Call("send_json()", "both", SendPhase, WAITS, RAISES, RAISES),
    Call("send_serialized()", "both", SendPhase, WAITS, RAISES, RAISES),
    Call("ping()", "managed", SendPhase, WAITS, RAISES, RAISES),
    Call("send_stream()", "both", SendPhase, WAITS, RAISES, RAISES),
    Call("send_raw()", "raw", SendPhase, ACTS, ACTS, RAISES, "may follow a Close; raises after an overflow"),
    Call("write_bytes()", "raw", SendPhase, ACTS, ACTS, RAISES, "may follow a Close; raises after an overflow"),
    Call("close_nowait()", "raw", SendPhase, ACTS, NOTHING, NOTHING),
    Call("close_nowait()", "managed", SendPhase, ACTS, ACTS, NOTHING, "ends the connection after an overflow"),
    Call("write_eof()", "raw", SendPhase, WAITS, WAITS, NOTHING, "may follow a Close; the connection stays OPEN"),
    Call("wait_writable()", "both", SendPhase, WAITS, RETURNS, RETURNS),
    Call("cork()", "both", SendPhase, ACTS, ACTS, NOTHING),
    Call("send_raw()", "raw", ConnectionPhase, ACTS, RAISES, RAISES),
    Call("write_bytes()", "raw", ConnectionPhase, ACTS, RAISES, RAISES),
    Call("flush()", "both", ConnectionPhase, WAITS, WAITS, RETURNS),
    Call("close()", "both", ConnectionPhase, WAITS, WAITS, NOTHING, "after a Close it only waits, as the first did"),
    Call("close_exceptionally()", "both", ConnectionPhase, WAITS, WAITS, NOTHING, "as close()"),
    Call("async with", "both", ConnectionPhase, WAITS, WAITS, NOTHING, "at its end"),
    Call("close_reason", "managed", ConnectionPhase, WAITS, WAITS, RETURNS),
    Call("write_eof()", "raw", ConnectionPhase, WAITS, WAITS, NOTHING),
    Call("end()", "raw", ConnectionPhase, WAITS, WAITS, NOTHING),
    Call("abort()", "both", ConnectionPhase, ACTS, ACTS, NOTHING),
    Call("wait_closed()", "both", ConnectionPhase, WAITS, WAITS, RETURNS),
    Call("create_task()", "both", ConnectionPhase, ACTS, RAISES, RAISES),
)

# These return at once in every phase, and change nothing that the other calls do.
ALWAYS: tuple[str, ...] = (
    "auto_close",
    "auto_pong",
    "batching",
    "can_send_now()",
    "cancel_tasks()",
    "close_state",
    "closed",
    "connection",
    "extension()",
    "extensions",
    "frame_streaming_threshold",
    "frames_unsent",
    "frames_waiting",
    "get_extra_info()",
    "has_cancelled_tasks",
    "incoming",
    "incoming.closed",
    "incoming_ended",
    "incoming_full",
    "latency",
    "limit",
    "masking",
    "max_frame_size",
    "max_message_size",
    "negotiated_extensions",
    "on_close",
    "on_ping",
    "on_pong",
    "on_violation",
    "open_stream()",
    "options",
    "outgoing",
    "outgoing.closed",
    "outgoing_ended",
    "outgoing_full",
    "owns()",
    "ping_interval",
    "raw",
    "rtt",
    "rtt_avg",
    "stats",
    "timeout",
    "transport",
)
# These belong to the start of a session, or to other layers of this package.
INTERNAL: tuple[str, ...] = (
    "after_pieces()",
    "after_taking()",
    "arriving()",
    "before_waiting()",
    "begin()",
    "check_receiver()",
    "end_error()",
    "fail()",
    "fail_ping()",
    "has_ended()",
    "has_runner",
    "report_failure()",
    "send_whole()",
    "start()",
    "start_sending()",
)
