"""``receive(timeout=...)``: a wait that ends after some seconds, and loses nothing.

No task is cancelled for it, as ``asyncio.timeout()`` does, and none is made, as ``asyncio.wait_for()`` does before
Python 3.12, which also leaves a reference cycle behind. The timer only wakes the task that waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Deadline:
    """The moment at which a wait is over."""

    __slots__ = ("future", "passed")

    def __init__(self) -> None:
        self.future: asyncio.Future[None] | None = None  # the task waits for it
        self.passed: bool = False

    def pass_by(self) -> None:
        self.passed = True
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


@coroutine
def within(
    loop: asyncio.AbstractEventLoop, seconds: float, receiving: Coroutine[Any, Any, T]
) -> Generator[Any, None, T]:
    """Await ``receiving``, at most ``seconds`` seconds.

    Args:
        receiving: A coroutine that waits for futures only, and looks again whenever one of them is done.

    Raises:
        asyncio.TimeoutError: The time is over, and there is still nothing to receive.
    """
    deadline = _Deadline()
    timer: asyncio.TimerHandle | None = None
    try:
        while True:
            try:
                future = receiving.send(None)
            except StopIteration as received:
                return received.value  # type: ignore[no-any-return]
            if deadline.passed:
                raise asyncio.TimeoutError
            deadline.future = future
            if timer is None:
                timer = loop.call_later(seconds, deadline.pass_by)
            yield future
    finally:
        if timer is not None:
            timer.cancel()
        receiving.close()
