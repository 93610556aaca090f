"""A session as ``receive()`` and ``send()`` see it: a queue to take from, and a way to send.

One source, two builds: as it stands, and compiled with the types in ``endpoint.pxd``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

from ..wire.signatures import ConstructorSignature
from .queues import IncomingQueue


class Endpoint:
    """The methods that awaitables call on a session, raw or managed."""

    __slots__ = ("__weakref__", "_loop", "_queue")
    __signature__ = ConstructorSignature()  # type: ConstructorSignature  # of every kind of session

    _queue: IncomingQueue
    _loop: asyncio.AbstractEventLoop

    def _before_waiting(self) -> None:
        """Called before a task waits. Raises RuntimeError if it may not receive."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """True if no further item will come."""
        raise NotImplementedError

    def _raise_end(self, iterating: bool) -> None:
        """Called when the queue is empty and no further item will come."""
        raise NotImplementedError

    def _on_taken(self) -> None:
        """Called after an item was taken while the queue is ``full`` or ``ending``."""
        raise NotImplementedError

    def start_sending(self, item: Any, compress: bool | None) -> Coroutine[Any, Any, object] | None:
        """Send ``item``. Returns None if that is done, or what to await until it is."""
        raise NotImplementedError

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def _take(self) -> Any:
        """Remove and return the oldest item; there must be one."""
        queue = self._queue
        item = queue.take()
        if queue.full or queue.ending:
            self._on_taken()
        return item
