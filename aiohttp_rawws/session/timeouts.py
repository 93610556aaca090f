"""The options ``idle_timeout`` and ``max_lifetime``, and the report about any limit that was reached.

They use timers of the loop, no tasks. A session without these options has no timer.
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
from .logtext import escaped
from .options import SessionOptions

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

OnLimit = Callable[[str], object]
"""Called with the name of the option whose limit was reached."""

CHECKS_PER_TIMEOUT = 4  # so a session that should end after t seconds ends after t to 1.25 t


class Watched(Protocol):
    """The part of a session that ``SessionTimers`` uses. Raw and managed sessions have it."""

    @property
    def connection(self) -> Connection: ...
    @property
    def options(self) -> SessionOptions: ...
    def close_nowait(self, reason: CloseReason) -> None: ...


def limit_of(error: BaseException | None) -> str | None:
    """Return the name of the option whose limit ``error`` reports, or None for another error."""
    if isinstance(error, (FrameTooBig, PolicyViolation)):
        return error.option
    return "incoming" if isinstance(error, ChannelOverflow) else None


def report_limit(session: object, option: str, details: object, on_limit: OnLimit | None) -> None:
    """Log that a limit was reached, and call ``on_limit``.

    Args:
        session: The session.
        option: The name of the option.
        details: An error or a text for the log.
        on_limit: Called with ``option``, or None.
    """
    logger.info("%r reached the limit %s: %s", session, option, escaped(details))
    if on_limit is not None:
        on_limit(option)


class SessionTimers:
    """Closes a session if nothing arrived for ``idle_timeout`` seconds, and after ``max_lifetime`` seconds.

    It sends a Close with 1001. If the connection is still there ``close_timeout`` seconds after that was delivered, it
    aborts the connection. While reading is paused, because the application is slow, ``idle_timeout`` does not count.

    The timers end with ``stop()`` or with the connection. ``run_session`` and ``run_managed`` make one object for each
    session.
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
        """Stop the timers. A second call does nothing."""
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
            if received != self._received or connection.reading_paused:
                self._received = received
                self._quiet_since = now
            elif now - self._quiet_since >= idle:
                self._end("idle_timeout", "Nothing was received for too long")
                return
        self._arm(now)

    def _end(self, option: str, text: str) -> None:
        report_limit(self._session, option, text, self._on_limit)
        connection = self._session.connection
        connection.note_limit(option)
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
    """Return timers for the options of ``session``, or None if it has neither of them."""
    options = session.options
    if options.idle_timeout is None and options.max_lifetime is None:
        return None
    return SessionTimers(session, on_limit)
