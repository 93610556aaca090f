"""A limit of time on a block of an async function, on every Python that is supported."""

from __future__ import annotations

import asyncio
import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout as deadline
else:

    class deadline:  # it stands for a function
        """Cancel what is awaited in the block after ``delay`` seconds, and raise ``asyncio.TimeoutError`` after it.

        Unlike ``asyncio.wait_for()`` of Python 3.10, it runs the block in the same task, so that a cancellation from
        outside is never taken for the end of the block.

        Args:
            delay: Seconds, or None for no limit.
        """

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._expired = False
            self._handle: asyncio.TimerHandle | None = None
            self._task: asyncio.Task[object] | None = None

        def expired(self) -> bool:
            """True if the time was over before the block ended."""
            return self._expired

        async def __aenter__(self) -> deadline:
            self._task = asyncio.current_task()
            if self._delay is not None:
                self._handle = asyncio.get_running_loop().call_later(self._delay, self._expire)
            return self

        async def __aexit__(self, exc_type: type[BaseException] | None, exc: object, traceback: object) -> None:
            if self._handle is not None:
                self._handle.cancel()
            if self._expired and exc_type is asyncio.CancelledError:
                raise asyncio.TimeoutError

        def _expire(self) -> None:
            self._expired = True
            assert self._task is not None
            self._task.cancel()
