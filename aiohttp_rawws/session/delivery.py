"""Whether the peer takes what was sent, and what is done when it does not.

A limit on the way out counts the time in which nothing is taken: a slow peer gets all of it, a dead one does not hold a
connection forever. Taken is what has left our buffer and, where the system tells (Linux: TIOCOUTQ), the kernel's.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ

LEAST_RATE = 1024  # bytes per second; a peer that takes less than this over the whole limit takes nothing
STEPS = 8  # checks in the time of a limit


def kernel_queue(transport: asyncio.BaseTransport) -> int:
    """Bytes that the kernel holds for the peer: not sent, or not acknowledged. 0 if the system does not tell."""
    if sys.platform != "linux":
        return 0
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    try:
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it has been closed, or is no socket
        return 0


class Sender(Protocol):
    """What the timers here ask of a connection."""

    def undelivered(self) -> int:
        """Bytes that were accepted and that the peer has not taken."""

    def bytes_taken(self) -> int:
        """Bytes that the peer has taken so far."""


class StallTimer:
    """Calls ``on_stall`` when the peer takes less than ``LEAST_RATE`` over ``timeout`` seconds.

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
        self._handle: asyncio.TimerHandle | None = loop.call_later(timeout / STEPS, self._check)

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
            self._handle = self._loop.call_later(self._timeout / STEPS, self._check)


def has_stalled(samples: deque[tuple[float, int]], now: float, taken: int, timeout: float) -> bool:
    """Add a sample, and drop those that are older than ``timeout`` asks for. Returns whether the peer takes nothing."""
    samples.append((now, taken))
    while len(samples) > 2 and samples[1][0] <= now - timeout:
        samples.popleft()
    began, before = samples[0]
    return now - began >= timeout * 0.999 and taken - before < LEAST_RATE * timeout  # timers may be early by a little


class DeliveryTimer:
    """Ends the wait for a peer that has to take what was sent, and then to do something.

    As long as bytes are undelivered, the time without progress counts. Once all of them are delivered, the peer has
    ``grace`` seconds more.

    Args:
        timeout: Seconds without progress.
        grace: Seconds after the delivery. Default: None (``timeout``).
        on_overdue: Called once, with True if the peer has not taken everything. The timer has stopped by then.
    """

    __slots__ = (
        "_delivered_at", "_grace", "_handle", "_loop", "_on_overdue", "_samples", "_sender", "_timeout", "_waited",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        timeout: float,
        on_overdue: Callable[[bool], object],
        grace: float | None = None,
    ) -> None:
        self._loop = loop
        self._sender = sender
        self._timeout = timeout
        self._grace = timeout if grace is None else grace
        self._on_overdue = on_overdue
        self._samples: deque[tuple[float, int]] = deque([(loop.time(), sender.bytes_taken())])
        self._delivered_at: float | None = None
        self._waited = 0.0  # seconds from the start to the next check
        self._handle: asyncio.TimerHandle | None = None
        self._check()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        self._handle = None
        now, timeout = self._loop.time(), self._timeout
        if self._delivered_at is None and self._sender.undelivered() == 0:
            self._delivered_at = now
        if self._delivered_at is not None:
            if now >= self._delivered_at + self._grace * 0.999:
                self._on_overdue(False)
            else:
                self._handle = self._loop.call_at(self._delivered_at + self._grace, self._check)
        elif has_stalled(self._samples, now, self._sender.bytes_taken(), timeout):
            self._on_overdue(True)
        else:
            # Soon, and then later and later: most peers take everything at once. One check is after ``timeout``.
            delay = min(max(self._waited, timeout / 1024), timeout / STEPS)
            self._waited += delay
            self._handle = self._loop.call_later(delay, self._check)
