"""The tasks of a session, which end with it. An exception of the session that leaves one of them is not an error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .life import Life
from .reasons import leaves_of

T = TypeVar("T")


class SessionTasks:
    """The tasks of one session, see ``create_task()`` of a session.

    Attributes:
        cancelled_at_the_end: A task was cancelled because the session ended.
    """

    __slots__ = ("_connection", "_tasks", "cancelled_at_the_end")

    def __init__(self, connection: Life) -> None:
        """
        Args:
            connection: The connection of the session, which knows the exceptions that the session raises.
        """
        self._connection = connection  # not the session: a reference cycle would keep it alive
        self._tasks: set[asyncio.Task[Any]] = set()
        self.cancelled_at_the_end: bool = False

    def add(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        """Run a coroutine as a task of the session.

        Args:
            loop: The loop of the session.
            coro: The coroutine.
            name: The name of the task, or None.
        """
        task = loop.create_task(coro, name=name or "rawws-session-task")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # asyncio logs the exception of a task unless task.exception() is called, so that is called for exceptions of
        # the session only. A task of another library may not have this attribute; then asyncio logs all of them.
        exc = getattr(task, "_exception", None)
        if exc is not None and all(map(self._connection.owns, leaves_of(exc))):
            task.exception()

    def cancel(self) -> None:
        """Cancel all tasks that still run."""
        for task in tuple(self._tasks):
            self.cancelled_at_the_end = True
            task.cancel()

    async def join(self) -> None:
        """Cancel all tasks that still run, except the current one, and wait until they have ended."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
