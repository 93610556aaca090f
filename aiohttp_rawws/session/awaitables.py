"""What ``receive()`` and ``send()`` return, in Python: coroutines."""

from __future__ import annotations

from asyncio import Future, Task
from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .queues import IncomingQueue, Receiver


class _NoLoop:
    """What a future asks of its loop while nobody waits for it."""

    def get_debug(self) -> bool:
        return False


# What a task that is stepped in place is told to have waited for. It asks for the result and for nothing else.
WOKEN: Future[None] = Future(loop=_NoLoop())  # type: ignore[arg-type]
WOKEN.set_result(None)


@coroutine
def _wait(waiter: Future[None]) -> Generator[Future[None], None, None]:
    """``await waiter``, which would insist on its being done."""
    waiter._asyncio_future_blocking = True
    yield waiter


async def receiving(session: Receiver, iterating: bool) -> Any:
    """The next item of ``session``: at once if one waits when this is awaited, else when one has come."""
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


def wake(queue: IncomingQueue) -> None:
    """Have the task that waits for ``queue`` go on from the next iteration of its loop."""
    if not queue.waiter.done():
        queue.waiter.set_result(None)


def step(queue: IncomingQueue) -> None:
    """Have the task that waits for ``queue`` go on here and now, as its loop would step it. The caller runs in a
    callback of the loop and is done with its own work.

    The future keeps its state and can be waited for again: making one costs more than all of this.
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


async def done() -> None:
    """Nothing is left to wait for."""
