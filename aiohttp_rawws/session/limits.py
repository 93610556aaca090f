"""Limits of time on a session, and how reaching any limit is told.

Nothing here has a task. A session without ``idle_timeout`` and ``max_lifetime`` has no ``Watch`` either, and the timer
of a ``WriteGuard`` runs only while the peer is behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..errors import ChannelOverflow, FrameTooBig, PolicyViolation
from ..wire.codes import CloseCode, CloseReason

if TYPE_CHECKING:
    from .options import SessionOptions
    from .raw import WebSocketSession
    from .state import SessionStats

logger = logging.getLogger("aiohttp_rawws")

OnLimit = Callable[[str], object]
"""Told the name of the option whose limit was reached."""

STEPS = 4  # how often a span of time is looked at: what is to end after t seconds ends after t to 1.25 t


class Watched(Protocol):
    """What a ``Watch`` needs of a session; raw and managed ones have it."""

    @property
    def stats(self) -> SessionStats: ...
    @property
    def options(self) -> SessionOptions: ...
    def close_nowait(self, reason: CloseReason) -> None: ...
    def abort(self) -> None: ...


def limit_of(error: BaseException | None) -> str | None:
    """The option whose limit ``error`` says was reached, None for any other error."""
    if isinstance(error, (FrameTooBig, PolicyViolation)):
        return error.option
    return "incoming" if isinstance(error, ChannelOverflow) else None


def tell(session: object, option: str, what: object, on_limit: OnLimit | None) -> None:
    """Log that ``session`` reached the limit of ``option``, and tell ``on_limit``."""
    logger.info("%r reached the limit %s: %s", session, option, what)
    if on_limit is not None:
        on_limit(option)


class Watch:
    """Ends ``session`` when nothing arrived for ``idle_timeout`` seconds, or ``max_lifetime`` seconds from now.

    Either sends a Close frame (1001), and aborts the connection if it still stands after ``close_timeout``. While the
    transport is not read, because the application is behind, silence is not the peer's.

    ``stop()`` ends the watch; it also ends with the connection. ``run_session`` and ``run_managed`` keep one.
    """

    __slots__ = (
        "_ends_at",
        "_idle_timeout",
        "_loop",
        "_on_limit",
        "_quiet_since",
        "_raw",
        "_received",
        "_session",
        "_timer",
    )

    def __init__(
        self,
        session: Watched,
        raw: WebSocketSession,
        *,
        idle_timeout: float | None = None,
        max_lifetime: float | None = None,
        on_limit: OnLimit | None = None,
    ) -> None:
        self._session = session
        self._raw = raw
        self._idle_timeout = idle_timeout
        self._on_limit = on_limit
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._ends_at = None if max_lifetime is None else now + max_lifetime
        self._quiet_since = now
        self._received = session.stats.bytes_received
        self._timer: asyncio.TimerHandle | None = None
        self._arm(now)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, now: float) -> None:
        due = [] if self._ends_at is None else [self._ends_at]
        if self._idle_timeout is not None:
            due.append(min(self._quiet_since + self._idle_timeout, now + self._idle_timeout / STEPS))
        self._timer = self._loop.call_at(min(due), self._check) if due else None

    def _check(self) -> None:
        now = self._loop.time()
        if self._raw.close_state.lost:
            self._timer = None
            return
        if self._ends_at is not None and now >= self._ends_at:
            self._end("max_lifetime", "The session has lasted as long as it may")
            return
        if self._idle_timeout is not None:
            received = self._session.stats.bytes_received
            if received != self._received or not self._raw.transport.is_reading():
                self._received = received
                self._quiet_since = now
            elif now - self._quiet_since >= self._idle_timeout:
                self._end("idle_timeout", "Nothing was received for too long")
                return
        self._arm(now)

    def _end(self, option: str, text: str) -> None:
        tell(self._session, option, text, self._on_limit)
        self._session.close_nowait(CloseReason(CloseCode.GOING_AWAY, text))
        self._timer = self._loop.call_later(self._session.options.close_timeout, self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        state = self._raw.close_state
        if self._session is self._raw and not state.lost and state.received is None:  # a managed one tells of that
            tell(self._session, "close_timeout", "The peer did not answer the Close", self._on_limit)
        self._session.abort()


def watch(session: Watched, raw: WebSocketSession, on_limit: OnLimit | None) -> Watch | None:
    """The ``Watch`` that the options of ``session`` ask for; None where they ask for none."""
    options = session.options
    if options.idle_timeout is None and options.max_lifetime is None:
        return None
    return Watch(
        session,
        raw,
        idle_timeout=options.idle_timeout,
        max_lifetime=options.max_lifetime,
        on_limit=on_limit,
    )


class WriteGuard(asyncio.BaseProtocol):
    """Aborts a connection whose peer takes nothing for ``timeout`` seconds while there is more than the transport
    should hold: the ``host`` of a session, put before another one.

    timeout: seconds; None = never. host: told of everything. on_lost: called when the connection is gone.
    Over TLS the bytes are seen to go in steps of what the TCP transport below holds, some 64 KiB.
    """

    __slots__ = (
        "_host",
        "_on_limit",
        "_on_lost",
        "_paused",
        "_quiet_since",
        "_size",
        "_timeout",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        timeout: float | None,
        *,
        host: asyncio.BaseProtocol | None = None,
        on_limit: OnLimit | None = None,
        on_lost: Callable[[], object] | None = None,
    ) -> None:
        self._transport = transport
        self._timeout = timeout
        self._host = host
        self._on_limit = on_limit
        self._on_lost = on_lost
        self._paused = False
        self._size = 0
        self._quiet_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        if self._host is not None:
            self._host.pause_writing()
        self._paused = True
        if self._timeout is not None:
            # A fast sender pauses and goes on all the time: the timer is left to run out, not made anew each time.
            loop = asyncio.get_running_loop()
            self._quiet_since = loop.time()
            self._size = self._transport.get_write_buffer_size()
            if self._timer is None:
                self._timer = loop.call_later(self._timeout / STEPS, self._check, loop, self._timeout)

    def resume_writing(self) -> None:
        self._paused = False
        if self._host is not None:
            self._host.resume_writing()

    def _check(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._timer = None
        if not self._paused:
            return
        now, size = loop.time(), self._transport.get_write_buffer_size()
        if size != self._size:
            self._size = size
            self._quiet_since = now
        elif now - self._quiet_since >= timeout:
            peer = self._transport.get_extra_info("peername")
            tell(peer, "write_timeout", f"nothing was taken for {timeout} seconds, {size} bytes wait", self._on_limit)
            self._transport.abort()
            return
        self._timer = loop.call_later(timeout / STEPS, self._check, loop, timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        host, self._host = self._host, None
        on_lost, self._on_lost = self._on_lost, None
        try:
            if on_lost is not None:
                on_lost()
        finally:
            if host is not None:
                host.connection_lost(exc)  # type: ignore[arg-type]  # an Exception, whatever the base class says
