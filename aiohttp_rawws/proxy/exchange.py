"""How one side of a pump ends when the other does: the rules between two relays."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Literal

from ..errors import PeerError, RawWSError
from ..session.frame_relay import FrameRelayCore
from ..session.phases import Event
from ..session.raw import WebSocketSession
from ..session.reasons import reason_for
from ..session.relay import RelayCore
from ..session.timeouts import limit_of
from ..web.server_session import WebSocketServerSession
from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason, may_be_sent

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

CHECKS_PER_TIMEOUT = 4  # so a limit of t seconds holds after t to 1.25 t

SideName = Literal["a", "b"]
MakeRelay = Callable[[WebSocketSession, "Exchange"], RelayCore]


class Exchange:
    """Two sessions that are pumped into each other, and how the one ends when the other does.

    It is the ``Endings`` of two relays. A direction is over when the Close of its peer has passed, and when its peer
    has ended its stream, was refused or is lost. When both are over, both connections are ended in order.

    Attributes:
        a, b: The relays.
        first: The side whose peer was the first to end its direction. None: we did, or nobody has yet.
        limit: The option whose limit ended the two, or None.
        failure: The exception of the callback, or None.
    """

    def __init__(
        self,
        a: WebSocketSession,
        b: WebSocketSession,
        make_relay: MakeRelay,
        *,
        on_loss: CloseReason | None,
        half_open_timeout: float | None,
        idle_timeout: float | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_loss = on_loss
        self._half_open_timeout = half_open_timeout
        self._idle_timeout = idle_timeout
        self.a: RelayCore = make_relay(a, self)
        self.b: RelayCore = make_relay(b, self)
        self._sessions: dict[RelayCore, WebSocketSession] = {self.a: a, self.b: b}
        self.aborted: set[RelayCore] = set()  # by this side of the network
        self._is_closing = False  # this side of the network ends both
        self._timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._moved: tuple[int, ...] = ()
        self._quiet_since = self._loop.time()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self.first: SideName | None = None
        self.limit: str | None = None
        self.failure: BaseException | None = None

    # ---- start and end ----------------------------------------------------------------

    def start(self, high_water: int) -> None:
        """Take both connections over, and pass on what they hold."""
        self.a.take_over(self.b)
        self.b.take_over(self.a)
        for side in (self.a, self.b):
            connection = side.connection
            if not connection.is_lost():
                connection.transport.set_write_buffer_limits(high=high_water, low=high_water // 4)
        for side in (self.a, self.b):
            side.pass_held()
        for side in (self.a, self.b):
            self._catch_up(side)
        self._arm()

    def _catch_up(self, side: RelayCore) -> None:
        """Act on what had ended before the start."""
        connection = side.connection
        if connection.close_received is not None:
            self.close_passed(side)
        elif isinstance(connection.failure, RawWSError) and not side.is_over:
            self.failed(side, connection.failure)
        if connection.eof and not connection.connection_phase:
            self.stream_ended(side)
        if connection.close_sent is not None and self._is_ours(side):
            self.close_both(connection.close_sent)
        if connection.is_lost():
            self.lost(side, connection.error if isinstance(connection.error, OSError) else None)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until both connections are lost. Returns False if that takes more than ``timeout`` seconds."""
        await asyncio.wait([self._done], timeout=timeout)
        return self._done.done()

    async def stop(self, reason: CloseReason) -> None:
        """End both connections with a Close, within ``close_timeout`` seconds."""
        self.close_both(reason)
        try:
            await self.wait()
        finally:
            self.abort()  # if this was cancelled

    def close_both(self, reason: CloseReason | None) -> None:
        """Send a Close to each peer that may still get one. The connections end when both peers have answered, and are
        aborted after ``close_timeout`` seconds. Returns at once."""
        self._is_closing = True
        for side in self._sessions:
            if not self._send_close(side, reason):
                self._disconnect(side)
        if self.a.is_over and self.b.is_over:
            self._finish()
        if self._close_timer is None:
            timeout = max(session.options.close_timeout for session in self._sessions.values())
            self._close_timer = self._loop.call_later(timeout, self._close_overdue, timeout)

    def _close_overdue(self, timeout: float) -> None:
        """Drop both connections. If nothing else has ended them, the limit is in the report."""
        has_limit = self.limit is not None
        for side in self._sessions:
            connection = side.connection
            if has_limit or connection.close_sent is None or connection.close_received is not None:
                connection.abort()
            else:
                connection.end_at_limit("close_timeout", f"a Close was not answered within {timeout} seconds")

    def abort(self) -> None:
        """Drop both connections."""
        for side in self._sessions:
            side.connection.abort()

    async def leave(self) -> None:
        """Let go of connections and sessions, at the very end, and wait for awaitables that were cancelled."""
        for timer in (self._timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        sides = list(self._sessions)
        self._sessions.clear()
        self.aborted.clear()
        for side in sides:
            side.leave()
            side.stop_holding()
            if sys.version_info < (3, 11):
                side.connection.transport.close()  # its TLS transport warns if only the peer has closed it
        cancelled = [
            side.cancelled for side in sides if isinstance(side, FrameRelayCore) and side.cancelled is not None
        ]
        await asyncio.gather(*cancelled, return_exceptions=True)

    # ---- what happens at a side -------------------------------------------------------

    def close_passed(self, side: RelayCore) -> None:
        self._over(side)

    def stream_ended(self, side: RelayCore) -> None:
        target = self._other(side)
        was_over = side.is_over
        self._over(side)
        connection = target.connection
        if connection.connection_phase:
            return
        if not was_over and self._on_loss is not None:
            self._end_for_loss(target, reset=False)
            self._disconnect(side)
        elif connection.transport.can_write_eof():
            connection.end_output()
        elif not was_over:  # TLS: to end the one direction is to end both
            self._disconnect(target)

    def failed(self, side: RelayCore, error: RawWSError) -> None:
        connection = side.connection
        self._note_first(side)
        side.end_direction()
        self._other(side).end_direction()  # a frame that has passed in part stays so, and takes no Close behind it
        self._report(side, limit_of(error), error)
        connection.end_input(Event.INPUT_FAILED, connection.own(error))
        if isinstance(error, PeerError):
            self._send_close(side, reason_for(error))
        self._disconnect(side)
        self._end_for_loss(self._other(side), reset=False)

    def lost(self, side: RelayCore, exc: BaseException | None) -> None:
        connection, target = side.connection, self._other(side)
        if side not in self.aborted or connection.limit is not None:  # else its peer has not ended it
            self._note_first(side)
        side.end_direction()
        target.stop_holding()
        if connection.limit is not None:
            self._report(side, connection.limit, connection.limit_text)
        elif exc is not None:
            self._report(side, None, exc)
        if target.connection.is_lost():
            if not self._done.done():
                self._done.set_result(None)
        else:
            was_dropped = exc is not None or side in self.aborted
            was_dropped = was_dropped and not self._is_closing and connection.close_received is None
            self._end_for_loss(target, reset=was_dropped)

    def callback_failed(self, side: RelayCore, exc: BaseException) -> None:
        if self.failure is None:
            self.failure = exc
            if isinstance(exc, asyncio.CancelledError):  # the pump itself was not cancelled
                self.failure = RuntimeError("on_frame was cancelled")
                self.failure.__cause__ = exc
        if side.is_inside_frame():  # whose rest will not come: the callback is not called again
            side.end_direction()
        self.close_both(CloseReason(CloseCode.INTERNAL_ERROR))

    def observed(self, side: RelayCore, event: Event) -> None:
        if event is Event.ABORT:
            self.aborted.add(side)
        elif event is Event.CLOSE_SENT and self._is_ours(side):
            self.close_both(side.connection.close_sent)  # by somebody else, such as a server that shuts down

    def _is_ours(self, side: RelayCore) -> bool:
        """True if the Close that was sent there is for both sides: not that of the other peer, not for a violation."""
        return not (side.is_close_passed or self._is_closing or side.connection.failure is not None)

    # ---- what to do about it ----------------------------------------------------------

    def _other(self, side: RelayCore) -> RelayCore:
        return self.b if side is self.a else self.a

    def _note_first(self, side: RelayCore) -> None:
        if self.first is None and not self._is_closing and not self._other(side).is_over:
            self.first = "a" if side is self.a else "b"

    def _over(self, side: RelayCore) -> None:
        self._note_first(side)
        side.end_direction()
        if self._other(side).is_over:
            self._finish()
        else:
            self._quiet_since = self._loop.time()
            self._arm()

    def _finish(self) -> None:
        for side in self._sessions:
            self._disconnect(side)

    def _disconnect(self, side: RelayCore) -> None:
        side.end_direction()
        side.connection.give_up_relayed()
        side.connection.disconnect()

    def _send_close(self, side: RelayCore, reason: CloseReason | None) -> bool:
        """Send a Close, unless one was sent. Returns False if none can be: our side of the stream has ended, or the
        peer has a part of a frame, whose rest it would take the Close for."""
        connection = side.connection
        if connection.send_phase:
            return connection.close_sent is not None
        other = self._other(side)
        if other.is_over and other.is_inside_frame():
            return False
        sendable = reason is not None and may_be_sent(reason.code)
        was_closing, self._is_closing = self._is_closing, True  # ``observed()`` is called
        connection.send_now(Frame.close(reason if sendable else None))
        self._is_closing = was_closing
        return True

    def _end_for_loss(self, target: RelayCore, reset: bool) -> None:
        """End a connection whose other side is lost."""
        if target.connection.connection_phase:
            return
        if self._on_loss is not None:
            self._send_close(target, self._on_loss)
            self._disconnect(target)
        elif reset:
            self._sessions[target].abort(reset=True)
        else:
            self._disconnect(target)

    def _report(self, side: RelayCore, limit: str | None, details: object) -> None:
        if limit is not None and self.limit is None:
            self.limit = limit
        session = self._sessions[side]
        if limit is None or not isinstance(session, WebSocketServerSession):  # whose route reports its limits
            reached = "" if limit is None else f" reached the limit {limit}"
            logger.info("pump: side %s, %r%s: %s", "a" if side is self.a else "b", session, reached, details)

    # ---- limits of time ---------------------------------------------------------------

    def _arm(self) -> None:
        """Set the timer for the next look, if there is a limit."""
        limits = [self._idle_timeout] if self._idle_timeout is not None else []
        if self._half_open_timeout is not None and (self.a.is_over or self.b.is_over):
            limits.append(self._half_open_timeout)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if limits and not self._is_closing:
            self._timer = self._loop.call_later(min(limits) / CHECKS_PER_TIMEOUT, self._check)

    def _check(self) -> None:
        self._timer = None
        now, connections = self._loop.time(), [side.connection for side in self._sessions]
        moved = (*(each.bytes_received for each in connections), *(each.bytes_taken() for each in connections))
        if moved != self._moved:
            self._moved, self._quiet_since = moved, now
        quiet = now - self._quiet_since
        is_half_open = self.a.is_over or self.b.is_over
        if self._half_open_timeout is not None and is_half_open and quiet >= self._half_open_timeout:
            self._end_at_limit("half_open_timeout", self._half_open_timeout)
        elif self._idle_timeout is not None and quiet >= self._idle_timeout:
            self._end_at_limit("idle_timeout", self._idle_timeout)
        else:
            self._arm()

    def _end_at_limit(self, option: str, seconds: float) -> None:
        self.limit = option
        a, b = self._sessions.values()
        logger.info("pump between %r and %r reached its limit %s: no byte in %s seconds", a, b, option, seconds)
        self.close_both(CloseReason(CloseCode.GOING_AWAY, "Nothing was received for too long"))
