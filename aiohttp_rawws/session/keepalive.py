"""Pings that find out whether the peer is still there, and how far away it is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..wire.codec import Frame

if TYPE_CHECKING:
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


class Pinger:
    """Sends the pings of one session by timer: no task. ``on_timeout`` is called once, when a Pong is overdue."""

    def __init__(
        self,
        raw: WebSocketSession,
        latency: Latency,
        mode: Periodic,
        on_timeout: Callable[[], None],
        is_reading: Callable[[], bool],
    ) -> None:
        self._raw = raw
        self._latency = latency
        self._mode = mode
        self._on_timeout = on_timeout
        self._is_reading = is_reading
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._interval: float | None = None
        self._timeout: float | None = None
        self._seen = 0

    def restart(self, interval: float | None, timeout: float | None) -> None:
        """Count a full interval from now; None = no pings."""
        self.stop()
        self._interval, self._timeout = interval, timeout
        if interval is not None:
            self._seen = self._raw.stats.bytes_received
            self._timer = self._loop.call_later(interval, self._due)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        received = self._raw.stats.bytes_received
        if self._raw.outgoing_ended:
            self._timer = None
            return
        if isinstance(self._mode, WhenIdle) and received != self._seen:
            self.restart(self._interval, self._timeout)
            return
        payload = self._mode.payload()
        pong = self._latency.sent(payload)
        self._seen = received
        self._raw.send_nowait(Frame.ping(payload))
        if self._timeout is None:  # no answer is asked for
            self._latency.forget(payload)
            self.restart(self._interval, None)
            return
        self._timer = self._loop.call_later(self._timeout, self._overdue, payload)
        pong.add_done_callback(self._ponged)

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None and self._timer is not None:
            self.restart(self._interval, self._timeout)

    def _overdue(self, payload: bytes) -> None:
        # While we do not read, because the application is behind, a missing Pong says nothing about the peer.
        alive = self._mode.any_data_is_alive and self._raw.stats.bytes_received != self._seen
        if not self._is_reading():
            assert self._timeout is not None
            self._timer = self._loop.call_later(self._timeout, self._overdue, payload)
        elif alive:
            self._latency.forget(payload)
            self.restart(self._interval, self._timeout)
        else:
            self._timer = None
            self._on_timeout()
