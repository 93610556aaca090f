"""Timers that detect a peer which does not read.

They count the time without progress, so a slow peer gets everything, but a dead one does not keep a connection forever.
A byte counts as taken when it has left our buffer. On Linux it must have left the kernel's buffer, too (TIOCOUTQ).
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

MIN_RATE = 1024  # bytes per second; less than this over the whole timeout counts as no progress
CHECKS_PER_TIMEOUT = 8


def kernel_queue(transport: asyncio.BaseTransport) -> int:
    """Return the bytes in the kernel's buffer that the peer has not acknowledged. 0 if that is unknown."""
    if sys.platform != "linux":
        return 0
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    try:
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it is closed, or not a socket
        return 0


class Sender(Protocol):
    """The part of a connection that the timers here use."""

    def undelivered(self) -> int:
        """Return the bytes that were accepted and that the peer has not taken."""

    def bytes_taken(self) -> int:
        """Return the bytes that the peer has taken so far."""


class StallTimer:
    """Calls a function when the peer makes no progress for some time."""

    __slots__ = ("_handle", "_is_over", "_loop", "_on_stall", "_samples", "_sender", "_timeout")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        timeout: float,
        is_over: Callable[[], bool],
        on_stall: Callable[[], object],
    ) -> None:
        """
        Args:
            loop: The loop.
            sender: The connection.
            timeout: Seconds without progress.
            is_over: Called at each check. The timer stops if it returns True.
            on_stall: Called once, after the timer has stopped.
        """
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
    """Add a sample and check the progress of the last ``timeout`` seconds.

    Args:
        samples: Pairs of a time and the bytes taken by then. Those that are too old are removed.
        now: The time of the new sample.
        taken: The bytes taken so far.
        timeout: Seconds.

    Returns:
        True if the peer took less than ``MIN_RATE`` over ``timeout`` seconds.
    """
    samples.append((now, taken))
    while len(samples) > 2 and samples[1][0] <= now - timeout:
        samples.popleft()
    began, before = samples[0]
    return now - began >= timeout * 0.999 and taken - before < MIN_RATE * timeout  # timers may be a little early


class DeliveryTimer:
    """Calls a function if the peer does not take all bytes and then react in time.

    While bytes are not delivered, the time without progress counts. After the delivery of the last one the peer has a
    fixed time to react, such as to answer a Close. ``stop()`` ends the wait.
    """

    __slots__ = (
        "_delivered_at",
        "_grace",
        "_handle",
        "_loop",
        "_on_overdue",
        "_samples",
        "_sender",
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
    ) -> None:
        """
        Args:
            loop: The loop.
            sender: The connection.
            timeout: Seconds without progress.
            on_overdue: Called once, after the timer has stopped, with True if the peer has not taken all bytes.
            grace: Seconds after the delivery. Default: None (``timeout``).
        """
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
            # Check soon, then less and less often: most peers take everything at once.
            delay = min(max(self._waited, timeout / 1024), timeout / CHECKS_PER_TIMEOUT)
            self._waited += delay
            self._handle = self._loop.call_later(delay, self._check)
