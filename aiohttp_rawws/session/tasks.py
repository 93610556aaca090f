"""The tasks of a session: they end with it, and what the session itself raised in them is no error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from .life import Life
from .reasons import leaves_of


class SessionTasks:
    """Tasks that live no longer than the session they were made for.

    Args:
        connection: That of the session. Its errors are the ones that report the end.
    """

    __slots__ = ("_connection", "_tasks", "cancelled_at_the_end")

    def __init__(self, connection: Life) -> None:
        self._connection = connection  # not the session, which would keep itself alive
        self._tasks: set[asyncio.Task[Any]] = set()
        self.cancelled_at_the_end = False

    def add(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], name: str | None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = loop.create_task(coro, name=name or "rawws-session-task")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # task.exception() tells asyncio that the exception was seen, so it is called for the session's own only. A kind
        # of task without this attribute has it reported by asyncio, too.
        exc = getattr(task, "_exception", None)
        if exc is not None and all(map(self._connection.owns, leaves_of(exc))):
            task.exception()

    def cancel(self) -> None:
        """Cancel all that still run."""
        for task in tuple(self._tasks):
            self.cancelled_at_the_end = True
            task.cancel()

    async def join(self) -> None:
        """Cancel all that still run, and wait for them."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
