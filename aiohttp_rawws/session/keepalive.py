"""Pings that find out whether the peer is still there, and how far away it is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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


class Pinger:
    """Sends the pings of one session by timer: no task. The session is told once, when a Pong is overdue."""

    __slots__ = ("_seen", "_session", "_timer")

    def __init__(self, session: Pinged) -> None:
        self._session = session
        self._timer: asyncio.TimerHandle | None = None
        self._seen = 0  # bytes received when the interval, or the last Ping, began

    def restart(self) -> None:
        """Count a full interval from now."""
        self.stop()
        interval = self._session.ping_interval
        if interval is not None:
            self._seen = self._received()
            self._timer = asyncio.get_running_loop().call_later(interval, self._due)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _received(self) -> int:
        return self._session.raw.stats.bytes_received

    def _due(self) -> None:
        session = self._session
        mode, latency = session.options.keepalive, session._latency_kept()
        self._timer = None
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
