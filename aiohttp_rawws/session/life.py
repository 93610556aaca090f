"""The phases of one connection, the Close frames that were seen, and the errors that report its end.

One source, two builds: as it stands, and compiled with the types in ``life.pxd``. ``phases.py`` draws the picture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..errors import ChannelOverflow, RawWSError, SessionClosed
from ..wire.codes import CloseReason
from .phases import CONNECTION_MOVES, RECEIVE_MOVES, SEND_MOVES, ConnectionPhase, Event, ReceivePhase
from .reasons import closed_error
from .state import CloseState, Side
from .tap import Observer, Tap

LOST = int(ConnectionPhase.LOST)
RECEIVE_DONE = int(ReceivePhase.DONE)


def wake_all(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class Life:
    """The state that both sides of a connection share: their phases, and the phase of the connection."""

    __slots__ = (
        "_loop",
        "_lost_waiters",
        "_mark",
        "close_received",
        "close_sent",
        "connection_phase",
        "dropped",
        "end_reported",
        "eof",
        "error",
        "failure",
        "failure_traceback",
        "inside_frame",
        "local_first",
        "observer",
        "outgoing_failure",
        "receive_phase",
        "send_phase",
        "tap",
        "transport",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport = transport
        self.tap: Tap | None = None  # the observers, if there are any
        self._loop = loop
        self.receive_phase: int = 0
        self.send_phase: int = 0
        self.connection_phase: int = 0
        self.observer: Callable[[Event], object] | None = None  # the layer above, called with each event
        self.close_sent: CloseReason | None = None
        self.close_received: CloseReason | None = None
        self.local_first: bool = False  # of the two, ours came first
        self.eof: bool = False  # the peer has ended its side of the stream
        self.dropped: bool = False  # the connection ended without the two sides having agreed to it
        self.inside_frame: bool = False  # ... or inside a frame
        self.end_reported: bool = False  # a call of the handler has returned or raised the end, or the handler is over
        self.failure: BaseException | None = None  # what receive() raises instead of a plain end
        self.failure_traceback: TracebackType | None = None  # of what a callback raised: it shows where
        self.outgoing_failure: RawWSError | None = None  # what send() raises instead of a plain end
        self.error: BaseException | None = None  # the first of the two, or the transport's error
        self._lost_waiters: list[asyncio.Future[None]] | None = None
        self._mark = object()  # stands for this connection in its errors

    def move(self, event: Event) -> None:
        """Change the phases as the tables say for ``event``, then call the observer."""
        self.receive_phase = RECEIVE_MOVES[self.receive_phase].get(event, self.receive_phase)
        self.send_phase = SEND_MOVES[self.send_phase].get(event, self.send_phase)
        self.connection_phase = CONNECTION_MOVES[self.connection_phase].get(event, self.connection_phase)
        if self.observer is not None:
            self.observer(event)

    def happened(self) -> list[Event]:
        """Return the events so far, for an observer that is set late."""
        events = [Event.CLOSE_SENT] if self.close_sent is not None else []
        if self.receive_phase == RECEIVE_DONE:
            events.append(Event.ALL_TAKEN)
        if self.connection_phase == LOST:
            events.append(Event.LOST)
        return events

    def is_lost(self) -> bool:
        return self.connection_phase == LOST

    def state(self) -> CloseState:
        first: Side | None = None
        if self.close_sent is not None or self.close_received is not None:
            first = "local" if self.local_first else "peer"
        lost = self.connection_phase == LOST
        return CloseState(self.close_sent, self.close_received, first, lost, self.eof, self.error)

    # ---- observers --------------------------------------------------------------------

    def watch(self, observer: Observer) -> None:
        """Let ``observer`` see what happens from now on."""
        if self.is_lost():
            return
        if self.tap is None:
            self.tap = Tap(self.transport)
            self.transport = self.tap.watched()
        self.tap.add(observer)

    def stop_watching(self, observer: Observer) -> None:
        """Undo ``watch()``. Nothing happens if ``observer`` sees nothing any more."""
        if self.tap is not None and self.tap.remove(observer):
            self.drop_tap()

    def note_limit(self, option: str | None) -> None:
        """Report to the observers, at the end, that the limit of ``option`` has ended the session."""
        if self.tap is not None and self.tap.limit is None:
            self.tap.limit = option

    def drop_tap(self) -> None:
        """Forget all observers."""
        if self.tap is not None:
            self.transport = self.tap.transport
            self.tap = None

    # ---- errors -----------------------------------------------------------------------

    def own(self, error: RawWSError) -> RawWSError:
        """Mark ``error`` as one that reports the end of this connection, and of no other.

        The connection may keep it, so it must not refer to the connection: neither itself nor by its traceback, or
        that of the error that it came from.
        """
        error.source = self._mark
        error.__traceback__ = error.__context__ = None
        if error.__cause__ is not None:
            error.__cause__.__traceback__ = error.__cause__.__context__ = None
        return error

    def owns(self, exc: BaseException) -> bool:
        return isinstance(exc, RawWSError) and exc.source is self._mark

    def closed_error(self) -> RawWSError:
        """The error for the end of this connection, if nothing has failed."""
        return self.own(closed_error(self.state(), self.dropped, self.inside_frame))

    def cannot_send(self) -> RawWSError:
        """Return the error to raise if nothing more can be sent. The end counts as reported then."""
        failure = self.outgoing_failure
        self.end_reported = True
        if failure is not None:
            return self.own(ChannelOverflow(str(failure)))
        if self.send_phase and not self.connection_phase and self.close_sent is None:
            return self.own(SessionClosed("write_eof() has ended our direction of the TCP stream"))
        return self.closed_error()

    def fail_outgoing(self) -> RawWSError:
        """End the session, because ``outgoing`` overflowed with ``on_overflow="close"``. Return the error to raise."""
        error = self.own(ChannelOverflow("outgoing overflowed: the peer reads too slowly"))
        self.outgoing_failure = error
        if self.error is None:
            self.error = error
        self.move(Event.OUTPUT_FAILED)
        return self.cannot_send()

    # ---- waiting for the end ----------------------------------------------------------

    def until_lost(self) -> asyncio.Future[None] | None:
        """Return a future that is done when the connection is lost. None if it is lost."""
        if self.connection_phase == LOST:
            return None
        if self._lost_waiters is None:
            self._lost_waiters = []
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._lost_waiters.append(waiter)
        return waiter

    async def wait_for(self, waiter: asyncio.Future[None]) -> None:
        """Await a future of ``until_lost()``, ``until_done()``, ``room()`` or ``drained()``. Forget it if cancelled."""
        try:
            await waiter
        finally:
            self.stop_waiting(waiter)

    def stop_waiting(self, waiter: Any) -> None:
        """Forget ``waiter``, which nobody awaits any more."""
        if self._lost_waiters is not None and waiter in self._lost_waiters:
            self._lost_waiters.remove(waiter)
