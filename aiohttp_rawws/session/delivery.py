"""Timers that detect a peer which does not read.

They count the time without progress, so a slow peer gets everything, but a dead one does not keep a connection forever.
A byte counts as taken when it has left our buffer. On Linux it must have left the kernel's buffer, too (TIOCOUTQ). TLS
has another buffer between the two, which no transport reports; there the kernel's count of the bytes that the peer has
acknowledged shows progress (Linux: TCP_INFO).
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .transports import socket_of

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

MIN_RATE = 1024  # bytes per second; less than this over the whole timeout counts as no progress
CHECKS_PER_TIMEOUT = 8
BYTES_ACKED = slice(120, 128)  # of Linux's struct tcp_info, since 4.1


def kernel_queue(transport: asyncio.BaseTransport) -> int:
    """Bytes that the kernel holds for the peer: not sent, or not acknowledged. 0 if the system does not report it."""
    if sys.platform != "linux":
        return 0
    sock = socket_of(transport)
    if sock is None:
        return 0
    try:
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it has been closed, or is no socket
        return 0


def acknowledged(transport: asyncio.BaseTransport) -> int | None:
    """Bytes of this TCP connection that the peer has acknowledged so far. None if the system does not report it."""
    if sys.platform != "linux":
        return None
    sock = socket_of(transport)
    if sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
    except (OSError, ValueError, AttributeError):  # it has been closed, or is no TCP socket
        return None
    return int.from_bytes(info[BYTES_ACKED], sys.byteorder) if len(info) == BYTES_ACKED.stop else None


class Sender(Protocol):
    """The part of a connection that the timers here use."""

    def undelivered(self) -> int:
        """Return the bytes that were accepted and that the peer has not taken."""

    def bytes_taken(self) -> int:
        """Return the bytes that the peer has taken so far."""


class StallTimer:
    """Calls ``on_stall`` when the peer takes less than ``MIN_RATE`` over ``timeout`` seconds.

    Args:
        timeout: Seconds.
        is_over: Asked at each check; the timer stops when it returns True.
        on_stall: Called once; the timer has stopped by then.
    """

    __slots__ = ("_handle", "_is_over", "_loop", "_on_stall", "_samples", "_sender", "_timeout")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        timeout: float,
        is_over: Callable[[], bool],
        on_stall: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._sender = sender
        self._timeout = timeout
        self._is_over = is_over
        self._on_stall = on_stall
        self._samples = deque([(loop.time(), sender.bytes_taken())])
        self._handle: asyncio.TimerHandle | None = loop.call_later(timeout / CHECKS_PER_TIMEOUT, self._check)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        self._handle = None
        if self._is_over():
            return
        if has_stalled(self._samples, self._loop.time(), self._sender.bytes_taken(), self._timeout):
            self._on_stall()
        else:
            self._handle = self._loop.call_later(self._timeout / CHECKS_PER_TIMEOUT, self._check)


def has_stalled(samples: deque[tuple[float, int]], now: float, taken: int, timeout: float) -> bool:
    """Add a sample, and drop those that are too old. Return True if the peer took too little."""
    samples.append((now, taken))
    while len(samples) > 2 and samples[1][0] <= now - timeout:
        samples.popleft()
    began, before = samples[0]
    return now - began >= timeout * 0.999 and taken - before < MIN_RATE * timeout  # timers may be early by a little


class DeliveryTimer:
    """Limits the time for a peer to take everything that was sent, and then to act (to send a Close, to end its side).

    As long as bytes are undelivered, the time without progress counts. Once all of them are delivered, the peer has
    ``grace`` seconds more.

    Args:
        timeout: Seconds without progress.
        grace: Seconds after the delivery. Default: None (``timeout``).
        on_overdue: Called once, with True if the peer has not taken everything. The timer has stopped by then.
        on_delivered: Called once, when all is delivered; not before the loop has run. Default: None.
    """

    __slots__ = (
        "_delivered_at",
        "_grace",
        "_handle",
        "_loop",
        "_on_delivered",
        "_on_overdue",
        "_samples",
        "_sender",
        "_taken",
        "_timeout",
        "_waited",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        timeout: float,
        on_overdue: Callable[[bool], object],
        grace: float | None = None,
        on_delivered: Callable[[], object] | None = None,
    ) -> None:
        self._loop = loop
        self._sender = sender
        self._timeout = timeout
        self._grace = timeout if grace is None else grace
        self._on_overdue = on_overdue
        self._on_delivered = on_delivered
        self._samples: deque[tuple[float, int]] = deque([(loop.time(), sender.bytes_taken())])
        self._taken: int | None = None  # at the last check
        self._delivered_at: float | None = None
        self._waited = 0.0  # seconds from the start to the next check
        self._handle: asyncio.TimerHandle | None = None
        self._check()

    @property
    def is_delivered(self) -> bool:
        """True if the peer has everything, as far as the system reports it."""
        return self._delivered_at is not None

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        now, timeout = self._loop.time(), self._timeout
        if self._delivered_at is not None:
            self._handle = None
            self._on_overdue(False)
            return
        taken, before = self._sender.bytes_taken(), self._taken
        self._taken = taken
        if self._sender.undelivered() == 0:
            # TLS may have more, which goes to the kernel as soon as the loop runs, and then one of the two has changed.
            if taken == before:
                self._delivered_at = now
                self._handle = self._loop.call_later(self._grace, self._check)
                if self._on_delivered is not None:
                    self._on_delivered()
            else:
                self._handle = self._loop.call_later(timeout / 1024, self._check)
        elif has_stalled(self._samples, now, taken, timeout):
            self._handle = None
            self._on_overdue(True)
        else:
            # Soon, and then later and later: most peers take everything at once. One check is after ``timeout``.
            delay = min(max(self._waited, timeout / 1024), timeout / CHECKS_PER_TIMEOUT)
            self._waited += delay
            self._handle = self._loop.call_later(delay, self._check)
