"""Limits of time on a session while its handler runs, and how reaching any limit is reported.

Nothing here has a task. A session without ``idle_timeout`` and ``max_lifetime`` has no timer either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ..errors import ChannelOverflow, FrameTooBig, PolicyViolation
from ..wire.codes import CloseCode, CloseReason
from .connection import Connection
from .delivery import DeliveryTimer
from .options import SessionOptions

logger = logging.getLogger("aiohttp_rawws")

OnLimit = Callable[[str], object]
"""Called with the name of the option whose limit was reached."""

CHECKS_PER_TIMEOUT = 4  # a session that is to end after t seconds ends after t to 1.25 t


class Watched(Protocol):
    """What ``SessionTimers`` ask of a session; raw and managed ones have it."""

    @property
    def connection(self) -> Connection: ...
    @property
    def options(self) -> SessionOptions: ...
    def close_nowait(self, reason: CloseReason) -> None: ...


def limit_of(error: BaseException | None) -> str | None:
    """The option whose limit ``error`` reports, None for any other error."""
    if isinstance(error, (FrameTooBig, PolicyViolation)):
        return error.option
    return "incoming" if isinstance(error, ChannelOverflow) else None


def report_limit(session: object, option: str, what: object, on_limit: OnLimit | None) -> None:
    """Log that ``session`` reached the limit of ``option``, and call ``on_limit``."""
    logger.info("%r reached the limit %s: %s", session, option, what)
    if on_limit is not None:
        on_limit(option)


class SessionTimers:
    """Ends ``session`` when nothing arrived for ``idle_timeout`` seconds, or ``max_lifetime`` seconds from now.

    Either sends a Close frame (1001), and aborts the connection if it still stands ``close_timeout`` seconds after that
    was delivered. While the transport is not read, because the application is behind, silence is not the peer's.
    ``stop()`` ends the timers; they also end with the connection. ``run_session`` and ``run_managed`` keep one.
    """

    __slots__ = ("_closing", "_ends_at", "_loop", "_on_limit", "_quiet_since", "_received", "_session", "_timer")

    def __init__(self, session: Watched, on_limit: OnLimit | None = None) -> None:
        self._session = session
        self._on_limit = on_limit
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        lifetime = session.options.max_lifetime
        self._ends_at = None if lifetime is None else now + lifetime
        self._quiet_since = now
        self._received = session.connection.bytes_received
        self._closing: DeliveryTimer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._arm(now)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closing is not None:
            self._closing.stop()
            self._closing = None

    def _arm(self, now: float) -> None:
        idle = self._session.options.idle_timeout
        due = [] if self._ends_at is None else [self._ends_at]
        if idle is not None:
            due.append(min(self._quiet_since + idle, now + idle / CHECKS_PER_TIMEOUT))
        self._timer = self._loop.call_at(min(due), self._check) if due else None

    def _check(self) -> None:
        self._timer = None
        now, connection = self._loop.time(), self._session.connection
        if connection.is_lost():
            return
        if self._ends_at is not None and now >= self._ends_at:
            self._end("max_lifetime", "The session has lasted as long as it may")
            return
        idle = self._session.options.idle_timeout
        if idle is not None:
            received = connection.bytes_received
            if received != self._received or not connection.transport.is_reading():
                self._received = received
                self._quiet_since = now
            elif now - self._quiet_since >= idle:
                self._end("idle_timeout", "Nothing was received for too long")
                return
        self._arm(now)

    def _end(self, option: str, text: str) -> None:
        report_limit(self._session, option, text, self._on_limit)
        connection = self._session.connection
        self._session.close_nowait(CloseReason(CloseCode.GOING_AWAY, text))
        if not connection.connection_phase:
            self._closing = DeliveryTimer(self._loop, connection, self._session.options.close_timeout, self._overdue)

    def _overdue(self, undelivered: bool) -> None:
        self._closing = None
        connection = self._session.connection
        if connection.close_received is None:
            connection.end_at_limit("close_timeout", "the peer did not answer the Close")
        else:
            connection.abort()


def start_timers(session: Watched, on_limit: OnLimit | None) -> SessionTimers | None:
    """The timers that the options of ``session`` ask for; None if they ask for none."""
    options = session.options
    if options.idle_timeout is None and options.max_lifetime is None:
        return None
    return SessionTimers(session, on_limit)
