"""What ``receive()`` and ``send()`` return, in Python: coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._queues import IncomingQueue, Receiver


async def receiving(session: Receiver, iterating: bool) -> Any:
    """The next item of ``session``: at once if one waits when this is awaited, else when one has come."""
    queue = session._queue
    if not queue.can_take():
        session._before_waiting()
        while not queue.can_take():
            if session._is_over():
                session._raise_end(iterating)
            queue.waiter = session._loop.create_future()
            try:
                await queue.waiter
            finally:
                queue.waiter = None
    return session._take()


def wake(queue: IncomingQueue) -> None:
    """Have the task that waits for ``queue`` go on from the next iteration of its loop."""
    if not queue.waiter.done():
        queue.waiter.set_result(None)


step = wake
"""The same at once, where that can be had. The caller runs in a callback of the loop and is done with its own work."""


async def done() -> None:
    """Nothing is left to wait for."""
