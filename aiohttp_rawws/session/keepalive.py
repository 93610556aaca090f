"""Pings that find out whether the peer is still there, and how far away it is."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from ..wire.codec import Frame

if TYPE_CHECKING:
    from .options import SessionOptions
    from .raw import WebSocketSession


def random_payload() -> bytes:
    """``[ping <64 hex digits> ping]``: nobody can answer it without having seen it."""
    return b"[ping %b ping]" % secrets.token_hex(32).encode()


@dataclass(frozen=True)
class Periodic:
    """Ping every ``ping_interval`` seconds, whatever else is going on.

    any_data_is_alive: bytes of any kind that arrive while a Pong is awaited count as a sign of life. False asks for
        the Pong itself.
    payload: makes each Ping's payload, at most 125 bytes; random unless given. Only a Pong with the same counts.
    """

    any_data_is_alive: bool = False
    payload: Callable[[], bytes] = random_payload


@dataclass(frozen=True)
class WhenIdle(Periodic):
    """Ping only after ``ping_interval`` seconds in which nothing arrived."""

    any_data_is_alive: bool = True


class Latency:
    """Pings on their way, and what the answered ones took. Not bound to an interval: ``session.ping()`` uses it too."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[bytes, tuple[float, asyncio.Future[float]]] = {}
        self.rtt: float | None = None
        self.rtt_avg: float | None = None

    def sent(self, payload: bytes) -> asyncio.Future[float]:
        """A Ping with ``payload`` leaves now; the future becomes its round-trip time in seconds."""
        if payload in self._waiting:
            raise RuntimeError(f"a ping with the payload {payload!r} is already waiting for its pong")
        future: asyncio.Future[float] = self._loop.create_future()
        self._waiting[payload] = (self._loop.time(), future)
        return future

    def answered(self, payload: bytes) -> bool:
        """A Pong arrived. It answers its Ping and those sent before: a peer may answer the latest only (5.5.3)."""
        if payload not in self._waiting:
            return False
        now = self._loop.time()
        for waiting in list(self._waiting):
            began, future = self._waiting.pop(waiting)
            took = now - began
            if not future.done():
                future.set_result(took)
            if waiting == payload:
                self.rtt = took
                # an eighth of each new sample, as TCP smooths its own (RFC 6298)
                self.rtt_avg = took if self.rtt_avg is None else self.rtt_avg + (took - self.rtt_avg) / 8
                break
        return True

    def forget(self, payload: bytes) -> None:
        self._waiting.pop(payload, None)

    def fail(self, error: Exception) -> None:
        """The session has ended: whoever awaits a Pong is told."""
        waiting, self._waiting = self._waiting, {}
        for _, future in waiting.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody has to be listening


class Pinged(Protocol):
    """What a ``Pinger`` needs of a session."""

    ping_interval: float | None
    timeout: float | None

    @property
    def raw(self) -> WebSocketSession: ...
    @property
    def options(self) -> SessionOptions: ...
    def _latency_kept(self) -> Latency: ...
    def _is_reading(self) -> bool: ...
    def _ping_timeout(self) -> None: ...


class _Clock:
    """Calls pingers when they have waited for ``delay`` seconds, or up to a thirty-second or one second more: one timer
    for all that began to wait at about the same time. A timer for each would be most of what keepalive costs."""

    __slots__ = ("_delay", "_groups", "_ticking")

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._groups: deque[tuple[float, set[Pinger]]] = deque()  # with the time at which each is due
        self._ticking = False  # and the handle is not kept: it would keep the loop, whose clock this is

    def add(self, pinger: Pinger, loop: asyncio.AbstractEventLoop) -> set[Pinger]:
        """Have ``pinger`` called, unless it takes itself out of the set that this returns."""
        due = loop.time() + self._delay
        if not self._groups or self._groups[-1][0] < due:
            self._groups.append((due + min(self._delay / 32, 1.0), set()))
        if not self._ticking:
            self._ticking = True
            loop.call_at(self._groups[0][0], self._tick, loop)
        group = self._groups[-1][1]
        group.add(pinger)
        return group

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        _, group = self._groups.popleft()
        while self._groups and not self._groups[0][1]:
            self._groups.popleft()
        self._ticking = bool(self._groups)
        if self._groups:
            loop.call_at(self._groups[0][0], self._tick, loop)
        for pinger in tuple(group):
            if pinger in group:  # still: one ping may have ended other sessions
                loop.call_soon(pinger.due, group)


_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Clock]] = WeakKeyDictionary()


def _clock(loop: asyncio.AbstractEventLoop, delay: float) -> _Clock:
    clocks = _clocks.get(loop)
    if clocks is None:
        clocks = _clocks[loop] = {}
    clock = clocks.get(delay)
    if clock is None:
        if len(clocks) >= 64:  # intervals of all kinds: those that nobody waits for go
            for idle in [known for known, clock in clocks.items() if not clock._groups]:
                del clocks[idle]
        clock = clocks[delay] = _Clock(delay)
    return clock


class Pinger:
    """Sends the pings of one session by timer: no task. The session is told once, when a Pong is overdue."""

    __slots__ = ("_group", "_seen", "_session", "_timer")

    def __init__(self, session: Pinged) -> None:
        self._session = session
        self._group: set[Pinger] | None = None  # it waits in for the next Ping
        self._timer: asyncio.TimerHandle | None = None  # of the Pong it waits for
        self._seen = 0  # bytes received when the interval, or the last Ping, began

    def restart(self) -> None:
        """Count a full interval from now."""
        self.stop()
        interval = self._session.ping_interval
        if interval is not None:
            self._seen = self._received()
            loop = asyncio.get_running_loop()
            self._group = _clock(loop, interval).add(self, loop)

    def stop(self) -> None:
        if self._group is not None:
            self._group.discard(self)
            self._group = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _received(self) -> int:
        return self._session.raw.stats.bytes_received

    def due(self, group: set[Pinger]) -> None:
        """The interval is over for those who waited in ``group``."""
        if self._group is not group:  # stopped or begun anew since
            return
        self._group = None
        session = self._session
        mode, latency = session.options.keepalive, session._latency_kept()
        if session.raw.outgoing_ended:
            return
        received = self._received()
        if isinstance(mode, WhenIdle) and received != self._seen:
            self.restart()
            return
        payload = mode.payload()
        pong = latency.sent(payload)
        self._seen = received
        session.raw.send_nowait(Frame.ping(payload))
        if session.timeout is None:  # no answer is asked for
            latency.forget(payload)
            self.restart()
            return
        self._wait_for_pong(session.timeout, payload)
        pong.add_done_callback(self._ponged)

    def _wait_for_pong(self, timeout: float, payload: bytes) -> None:
        self._timer = asyncio.get_running_loop().call_later(timeout, self._overdue, timeout, payload)

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None and self._timer is not None:
            self.restart()

    def _overdue(self, timeout: float, payload: bytes) -> None:
        session = self._session
        self._timer = None
        if not session._is_reading():
            # While we do not read, because the application is behind, a missing Pong says nothing about the peer.
            self._wait_for_pong(timeout, payload)
        elif session.options.keepalive.any_data_is_alive and self._received() != self._seen:
            session._latency_kept().forget(payload)
            self.restart()
        else:
            session._ping_timeout()
