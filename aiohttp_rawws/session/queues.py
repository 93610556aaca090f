"""What waits: frames received and not yet taken, and who takes them; bytes sent that the transport does not take yet.

One source, two builds, like ``connection.py``. A bound of -1 is none.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ..wire.codec import is_close, payload_size

if TYPE_CHECKING:
    import asyncio

# Pings and pongs that may overtake data. More than that wait like data, or a flood of pings would be stored as pongs.
CONTROL_LANE = 1024

_NOTHING: list[Any] = []  # the empty queue, shared and never changed: an idle connection keeps none of its own


class IncomingQueue:
    """Received frames, or messages, in order. What the parser made of one read is kept as the list it made.

    waiter: the future that a task waits for which receives, or awaits ``listen()``. idle_waiter: one to be used again.
    has_listener: nobody receives.
    full: reading is paused because of the bound, and to be resumed when half of it has been taken.
    """

    __slots__ = (
        "_head", "_items", "capacity", "full", "has_listener", "idle_waiter", "max_bytes", "size", "waiter",
    )

    def __init__(self, capacity: int | None, max_bytes: int | None) -> None:
        self.capacity = -1 if capacity is None else capacity
        self.max_bytes = -1 if max_bytes is None else max_bytes
        self._items = _NOTHING
        self._head = 0
        self.size = 0  # payload bytes
        self.waiter: Any = None
        self.idle_waiter: Any = None
        self.has_listener = False
        self.full = False

    def can_take(self) -> bool:
        """Whether something waits for whoever asks now."""
        return len(self._items) > self._head and self.waiter is None and not self.has_listener

    def count(self) -> int:
        return len(self._items) - self._head

    def put(self, items: list[Any]) -> None:
        """Takes ``items`` over: the caller has no further use for the list."""
        for item in items:
            self.size += payload_size(item)
        if self._head == len(self._items):
            self._items = items
            self._head = 0
        else:
            self._items.extend(items)

    def put_one(self, item: Any) -> None:
        self.size += payload_size(item)
        if self._head == len(self._items):
            self._items = [item]
            self._head = 0
        else:
            self._items.append(item)

    def take(self) -> Any:
        """The oldest; there must be one."""
        item = self._items[self._head]
        self._items[self._head] = None
        self._head += 1
        self.size -= payload_size(item)
        if self._head == len(self._items):
            self._items = _NOTHING
            self._head = 0
        elif self._head >= 4096 and self._head * 2 >= len(self._items):
            del self._items[: self._head]
            self._head = 0
        return item

    def take_all(self) -> list[Any]:
        items = self._items[self._head :]
        self._items = _NOTHING
        self._head = self.size = 0
        return items

    def room(self) -> int:
        """Frames that still fit, -1 = any number."""
        if self.capacity < 0:
            return -1
        count = len(self._items) - self._head
        return self.capacity - count if count < self.capacity else 0

    def room_in_bytes(self) -> int:
        """Payload bytes after which no further frame fits, -1 = any number."""
        if self.max_bytes < 0:
            return -1
        return self.max_bytes - self.size if self.size < self.max_bytes else 0

    def is_full(self) -> bool:
        return (self.capacity >= 0 and len(self._items) - self._head >= self.capacity) or (
            self.max_bytes >= 0 and self.size >= self.max_bytes
        )

    def is_half_empty(self) -> bool:
        return (self.capacity < 0 or (len(self._items) - self._head) * 2 <= self.capacity) and (
            self.max_bytes < 0 or self.size * 2 <= self.max_bytes
        )

    def unbound(self) -> None:
        """Have no bound from now on."""
        self.capacity = self.max_bytes = -1
        self.full = False

    def admit(self, items: list[Any]) -> list[Any]:
        """Those of ``items``, from the first on, that fit; a Close always does, since nothing comes behind it."""
        count, size = self.count(), self.size
        for index, item in enumerate(items):
            if (0 <= self.capacity <= count or 0 <= self.max_bytes <= size) and not is_close(item):
                return items[:index]
            count += 1
            size += payload_size(item)
        return items


class Receiver:
    """A session as ``receive()`` sees it: a queue that one task at a time takes from, and what there is to do when it
    is empty. Raw and managed sessions are two."""

    __slots__ = ("_loop", "_queue")

    _queue: IncomingQueue
    _loop: asyncio.AbstractEventLoop

    def _before_waiting(self) -> None:
        """Called before a task waits. RuntimeError if it may not receive."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """Nothing more will come."""
        raise NotImplementedError

    def _raise_end(self, iterating: bool) -> None:
        """Called when the queue is empty and nothing more will come."""
        raise NotImplementedError

    def _refill(self) -> None:
        """Called when half of a full queue has been taken."""
        raise NotImplementedError

    def _take(self) -> Any:
        """The oldest item; there must be one."""
        item = self._queue.take()
        if self._queue.full and self._queue.is_half_empty():
            self._refill()
        return item


class OutgoingQueue:
    """Encoded frames in order, with a lane on which pings and pongs overtake the rest."""

    __slots__ = ("_capacity", "_frames", "_lane", "_max_bytes", "_size")

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._frames: deque[bytes] = deque()
        self._lane: deque[bytes] | None = None
        self._size = 0

    def count(self) -> int:
        return len(self._frames) + (0 if self._lane is None else len(self._lane))

    def put(self, wire: bytes) -> None:
        self._frames.append(wire)
        self._size += len(wire)

    def put_control(self, wire: bytes) -> None:
        if self._lane is None:
            self._lane = deque()
        self._lane.append(wire)

    def has_lane(self) -> bool:
        """Whether another ping or pong may overtake."""
        return self._lane is None or len(self._lane) < CONTROL_LANE

    def take(self) -> bytes | None:
        """What goes out next, None if nothing waits."""
        if self._lane:
            return self._lane.popleft()
        if not self._frames:
            return None
        wire = self._frames.popleft()
        self._size -= len(wire)
        return wire

    def is_full(self) -> bool:
        return (self._capacity >= 0 and len(self._frames) >= self._capacity) or (
            self._max_bytes >= 0 and self._size >= self._max_bytes
        )
