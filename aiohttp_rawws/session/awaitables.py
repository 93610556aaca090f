"""The coroutines that ``receive()`` and ``send()`` return. They do nothing before they are awaited.

``awaitables.pyx`` is the same compiled, without the frame that is most of what a coroutine costs.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .queues import IncomingQueue


class _NoLoop:
    """The part of a loop that a future without one asks for."""

    def get_debug(self) -> bool:
        return False


# Passed to a task that is stepped in place, as the future it has waited for. It only asks for the result.
WOKEN: Future[None] = Future(loop=_NoLoop())  # type: ignore[arg-type]
WOKEN.set_result(None)


@coroutine
def _wait(waiter: Future[None]) -> Generator[Future[None], None, None]:
    """Await ``waiter``, also if it is never done: a plain ``await`` raises an error then."""
    waiter._asyncio_future_blocking = True
    yield waiter


async def until_woken(queue: IncomingQueue, loop: asyncio.AbstractEventLoop) -> None:
    """Wait until ``wake(queue)`` or ``step(queue)`` is called."""
    waiter = queue.idle_waiter
    if waiter is None:
        waiter = loop.create_future()
    else:
        queue.idle_waiter = None
    queue.waiter = waiter
    try:
        await _wait(waiter)
    finally:
        if queue.waiter is waiter:  # else its stream was left, and somebody else waits
            queue.waiter = None


async def receiving(session: Endpoint, iterating: bool) -> Any:
    """Return the next item of ``session``. Wait for one if there is none yet."""
    queue = session._queue
    if not queue.can_take():
        session._before_waiting()
        while not queue.can_take():
            if session._is_over():
                session._raise_end(iterating)
            waiter = queue.idle_waiter
            if waiter is None:
                waiter = session._loop.create_future()
            else:
                queue.idle_waiter = None
            queue.waiter = waiter
            try:
                await _wait(waiter)
            finally:
                queue.waiter = None
    return session._take()


async def sending(session: Endpoint, item: Any, compress: bool | None) -> None:
    """Send ``item``, and wait for room if that is necessary."""
    rest = session.start_sending(item, compress)
    if rest is not None:
        await rest


# The names that Python's warning about a forgotten await shows.
receiving.__name__ = receiving.__qualname__ = "receive"
sending.__name__ = sending.__qualname__ = "send"


def wake(queue: IncomingQueue) -> None:
    """Let the task that waits for ``queue`` go on in the next iteration of its loop."""
    if not queue.waiter.done():
        queue.waiter.set_result(None)


def step(queue: IncomingQueue) -> None:
    """Let the task that waits for ``queue`` go on now, as its loop would step it.

    The caller runs in a callback of the loop, and this is the last thing it does. The future stays unresolved and is
    used again: making one costs more than all of this. The private attributes of it that are used (``_callbacks``,
    ``_asyncio_future_blocking``) are the same in Python 3.10 to 3.13.
    """
    waiter = queue.waiter
    callbacks = waiter._callbacks
    if not callbacks or len(callbacks) != 1:
        wake(queue)
        return
    callback, context = callbacks[0]
    if type(getattr(callback, "__self__", None)) is not Task:  # somebody drives a coroutine without a task
        wake(queue)
        return
    waiter.remove_done_callback(callback)
    queue.idle_waiter = waiter
    try:
        context.run(callback, WOKEN)
    except RuntimeError:  # its context is entered, or another task is being stepped, further up
        queue.idle_waiter = None
        waiter.add_done_callback(callback, context=context)
        wake(queue)
    del waiter, callbacks, callback  # the traceback of an exception in the task holds this frame
