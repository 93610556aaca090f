"""An asyncio loop with a clock of its own: a test of an hour takes a moment, and its times are exact.

When nothing is ready to run, the clock goes to the next timer at once, with no waiting. So a timer of 20 seconds is
reached after exactly 20 seconds, however busy the machine is. ``@pytest.mark.loops("clock")`` runs a test on it::

    @pytest.mark.loops("clock")
    async def test_idle_timeout():
        server, client = memory_pair(...)
        await advance(9.9)   # everything that is due by then has run
        ...

While a socket or a pipe is open, or a call runs in an executor, something may still come from there: the loop waits as
any other does, and its clock goes with the real one.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any

START = 1000.0  # what the clock shows first; not 0, which a test could take for "never"


class Loop(asyncio.SelectorEventLoop):
    """The loop. Everything but its time is asyncio's own."""

    def __init__(self) -> None:
        self._now = START
        self._in_threads = 0  # calls that run in an executor
        self._idle: list[asyncio.Future[None]] = []
        super().__init__(_Selector(self))
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._now

    def run_in_executor(self, *args: Any) -> Any:  # type: ignore[override]
        future = super().run_in_executor(*args)
        self._in_threads += 1
        future.add_done_callback(self._out_of_thread)
        return future

    def _out_of_thread(self, _: object) -> None:
        self._in_threads -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._in_threads -= 1


class _Selector(selectors.DefaultSelector):
    """Where asyncio waits for its next timer: here the clock goes on instead."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if events or timeout is not None and timeout <= 0:
            return events
        loop = self._loop
        if loop._idle:
            idle, loop._idle = loop._idle, []
            for future in idle:
                if not future.done():
                    future.set_result(None)
            return []
        # One descriptor is always there: the one that other threads wake the loop by.
        if timeout is None or loop._in_threads or len(self.get_map()) > 1:
            began = time.monotonic()
            events = super().select(timeout)
            took = time.monotonic() - began
            loop._now += took if events or timeout is None else max(took, timeout)
            return events
        loop._now += timeout
        return []


async def idle() -> None:
    """Wait until everything has run that can run before the clock goes on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop), 'the test needs @pytest.mark.loops("clock")'
    future = loop.create_future()
    loop._idle.append(future)
    await future


async def advance(seconds: float) -> None:
    """Let so much time pass. The timers that are due by then have run, one by one."""
    await idle()
    await asyncio.sleep(seconds)
    await idle()


def is_time_of(limit: float, began: float) -> bool:
    """True if as many seconds have passed since ``began`` as a limit takes: not fewer, and at most a quarter more."""
    passed = asyncio.get_running_loop().time() - began
    return limit * 0.999 <= passed <= limit * 1.25 + 1e-6
