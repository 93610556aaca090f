"""Pings that find out whether the peer is still there, and how far away it is."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol
from weakref import WeakKeyDictionary

from ..errors import SessionClosed
from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason
from .options import SessionOptions, WhenIdle, random_payload


class Latency:
    """Pings without a Pong yet, and the round-trip times. ``session.ping()`` and the ``Pinger`` share one."""

    __slots__ = ("_loop", "_waiting", "rtt", "rtt_avg")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[bytes, float, asyncio.Future[float]]] = []  # in the order in which they were sent
        self.rtt: float | None = None
        self.rtt_avg: float | None = None

    def is_waiting(self, payload: bytes) -> bool:
        return any(waiting == payload for waiting, _, _ in self._waiting)

    def sent(self, payload: bytes) -> asyncio.Future[float]:
        """Note that a Ping leaves now. Return a future of its round-trip time in seconds."""
        future: asyncio.Future[float] = self._loop.create_future()
        self._waiting.append((payload, self._loop.time(), future))
        return future

    def answered(self, payload: bytes) -> None:
        """Note a Pong. It answers the first Ping with its payload and all before it: a peer may answer the latest Ping
        only (section 5.5.3)."""
        count = next((count for count, entry in enumerate(self._waiting, 1) if entry[0] == payload), 0)
        if not count:
            return
        now = self._loop.time()
        answered, self._waiting = self._waiting[:count], self._waiting[count:]
        self.rtt = took = now - answered[-1][1]
        # An eighth of each new sample, as TCP smooths its own (RFC 6298).
        self.rtt_avg = took if self.rtt_avg is None else self.rtt_avg + (took - self.rtt_avg) / 8
        for _, began, future in answered:
            if not future.done():
                future.set_result(now - began)

    def forget(self, future: asyncio.Future[float]) -> None:
        """Forget a Ping, because nobody waits for its Pong any more."""
        self._waiting = [entry for entry in self._waiting if entry[2] is not future]

    def fail(self, error: Exception) -> None:
        """Raise ``error`` in all tasks that wait for a Pong."""
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody has to be waiting for it


class Parser(Protocol):
    """The part of a parser that a ``Pinger`` uses."""

    @property
    def mid_frame(self) -> bool: ...


class Connection(Protocol):
    """The part of a connection that a ``Pinger`` uses."""

    @property
    def bytes_received(self) -> int: ...
    @property
    def send_phase(self) -> int: ...
    @property
    def reading_paused(self) -> bool: ...
    def is_inside_frame(self) -> bool: ...
    def undelivered(self) -> int: ...
    def bytes_taken(self) -> int: ...
    @property
    def parser(self) -> Parser: ...


class Raw(Protocol):
    """The part of a raw session that a ``Pinger`` uses."""

    @property
    def connection(self) -> Connection: ...
    def can_send_now(self, item: Frame) -> bool: ...
    def send_nowait(self, item: Frame) -> None: ...


class Pinged(Protocol):
    """The part of a managed session that a ``Pinger`` uses."""

    @property
    def raw(self) -> Raw: ...
    @property
    def options(self) -> SessionOptions: ...
    @property
    def ping_interval(self) -> float | None: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def incoming_full(self) -> bool: ...
    @property
    def latency(self) -> Latency: ...
    def fail_ping(self, reason: CloseReason) -> None: ...


class _Clock:
    """Calls pingers after ``delay`` seconds. It may be late by 1/32 of that, at most by one second.

    There is one timer for all that began to wait at about the same time: one for each would be most of what keepalive
    costs. A group is the set of pingers that a timer calls; a pinger that no longer waits takes itself out of it.
    """

    __slots__ = ("_delay", "_groups", "_ticking")

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._groups: deque[tuple[float, set[Pinger]]] = deque()  # with the time at which each is due
        self._ticking = False  # the handle is not kept: it would keep the loop alive, whose clock this is

    def add(self, pinger: Pinger, loop: asyncio.AbstractEventLoop) -> set[Pinger]:
        due = loop.time() + self._delay
        if not self._groups or self._groups[-1][0] < due:
            self._groups.append((due + min(self._delay / 32, 1.0), set()))
        if not self._ticking:
            self._ticking = True
            loop.call_at(self._groups[0][0], self._tick, loop)
        group = self._groups[-1][1]
        group.add(pinger)
        return group

    @property
    def is_idle(self) -> bool:
        return not self._groups

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
        if len(clocks) >= 64:  # many different intervals: drop the clocks that no pinger waits on
            for idle in [known for known, clock in clocks.items() if clock.is_idle]:
                del clocks[idle]
        clock = clocks[delay] = _Clock(delay)
    return clock


class Pinger:
    """Sends the pings of one session by timer, without a task. Reports once when a Pong is overdue."""

    __slots__ = ("_group", "_held", "_pong", "_seen", "_session", "_taken", "_timer", "_until")

    def __init__(self, session: Pinged) -> None:
        self._session = session
        self._group: set[Pinger] | None = None  # in which it waits for the next Ping
        self._pong: asyncio.Future[float] | None = None  # that it waits for
        self._timer: asyncio.TimerHandle | None = None  # of that
        self._held = False  # the Ping waits for the end of a frame that is sent in pieces
        self._seen = 0  # bytes received when the interval, or the last Ping, began
        self._taken = 0  # bytes that the peer had taken when the time for the Pong began
        self._until = 0  # bytes that it has to take before it sees the Ping

    def restart(self) -> None:
        """Count a full interval from now."""
        self.stop()
        interval = self._session.ping_interval
        if interval is not None and not self._session.raw.connection.send_phase:
            self._seen = self._session.raw.connection.bytes_received
            loop = asyncio.get_running_loop()
            self._group = _clock(loop, interval).add(self, loop)

    def stop(self) -> None:
        if self._group is not None:
            self._group.discard(self)
            self._group = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pong is not None:
            self._session.latency.forget(self._pong)
            self._pong = None

    def due(self, group: set[Pinger]) -> None:
        """Call the pingers of ``group``, because their interval is over."""
        if self._group is not group:  # it was stopped or restarted since
            return
        self._group = None
        session = self._session
        received = session.raw.connection.bytes_received
        if isinstance(session.options.keepalive, WhenIdle) and received != self._seen:
            self.restart()
            return
        self._seen = received
        try:
            self._ping(session)
        except SessionClosed:
            pass  # the session ends, and its pings with it
        finally:
            if self._pong is None and self._group is None:
                self.restart()

    def _ping(self, session: Pinged) -> None:
        frame = Frame.ping(self._payload(session))
        if not session.raw.can_send_now(frame):  # a flood of pongs waits before it; the peer reads nothing
            return
        self._note_queue(session.raw.connection)
        session.raw.send_nowait(frame)
        if session.timeout is not None:  # else no answer is asked for
            self._pong = session.latency.sent(frame.payload)
            self._pong.add_done_callback(self._ponged)
            self._held = session.raw.connection.is_inside_frame()
            self._wait_for_pong(session.timeout)

    def _payload(self, session: Pinged) -> bytes:
        """Return the payload for a Ping. If the application's function fails, that is reported, and it is random."""
        try:
            payload = session.options.keepalive.payload()
            Frame.ping(payload)
        except Exception as exc:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"Error in the payload callback of keepalive of {session!r}", "exception": exc}
            )
            return random_payload()
        return payload

    def _wait_for_pong(self, timeout: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(timeout, self._overdue, timeout)

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if pong is self._pong and not pong.cancelled() and pong.exception() is None:
            self.restart()

    def _overdue(self, timeout: float) -> None:
        session = self._session
        self._timer = None
        received = session.raw.connection.bytes_received
        if self._held:  # it has left now, or waits on
            self._note_queue(session.raw.connection)
            self._held = session.raw.connection.is_inside_frame()
            self._wait_for_pong(timeout)
        elif session.incoming_full or session.raw.connection.reading_paused:
            # While this side does not read, because the application is behind, a missing Pong says nothing.
            self._wait_for_pong(timeout)
        elif session.options.keepalive.any_data_is_alive and received != self._seen:
            self.restart()
        elif received != self._seen and session.raw.connection.parser.mid_frame:
            # A Pong cannot come inside a frame, which may be of any size, and the frame is arriving.
            self._seen = received
            self._wait_for_pong(timeout)
        elif self._is_nearer(session.raw.connection):
            # The Ping was behind what was sent before it, which the peer takes slowly.
            self._wait_for_pong(timeout)
        else:
            self.stop()
            session.fail_ping(CloseReason(CloseCode.INTERNAL_ERROR, "Ping timeout"))

    def _note_queue(self, connection: Connection) -> None:
        self._taken = connection.bytes_taken()
        self._until = self._taken + connection.undelivered()

    def _is_nearer(self, connection: Connection) -> bool:
        """True if the Ping was not there when the time began, and the peer has taken more of what is before it."""
        before, self._taken = self._taken, connection.bytes_taken()
        return before < self._until and self._taken > before
