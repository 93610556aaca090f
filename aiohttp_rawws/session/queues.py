"""The queues of a connection: received items that were not taken yet, and encoded frames that were not written yet.

One source, two builds: as it stands, and compiled with the types in ``queues.pxd``. A limit of -1 is none.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..wire.codec import is_close, payload_size

# Pings and pongs that may overtake data. More of them wait like data, or a flood of pings would be stored as pongs.
MAX_QUEUED_CONTROL = 1024

_EMPTY: list[Any] = []  # the empty queue, shared and never changed: an idle connection keeps none of its own


class IncomingQueue:
    """Received frames, or messages, in order. The list that the parser made of one read is kept as it is.

    Attributes:
        waiter: The future that a receiving task waits for.
        idle_waiter: A future that was not resolved and can be used again.
        has_listener: A callback consumes the items; ``receive()`` is refused.
        has_stream: A stream consumes them; ``receive()`` is refused.
        full: Reading is paused because of the limits, until half of the queue has been taken.
        ending: No further item will come from the parser's side; whatever takes the last one has to report that.
    """

    __slots__ = (
        "_head",
        "_items",
        "capacity",
        "ending",
        "full",
        "has_listener",
        "has_stream",
        "idle_waiter",
        "max_bytes",
        "size",
        "waiter",
    )

    def __init__(self, capacity: int | None, max_bytes: int | None) -> None:
        self.capacity: int = -1 if capacity is None else capacity
        self.max_bytes: int = -1 if max_bytes is None else max_bytes
        self._items = _EMPTY
        self._head = 0
        self.size: int = 0  # payload bytes
        self.waiter: Any = None
        self.idle_waiter: Any = None
        self.has_listener: bool = False
        self.has_stream: bool = False
        self.full: bool = False
        self.ending: bool = False

    def can_take(self) -> bool:
        """True if an item can be taken now: there is one, and it is not for another task, a callback or a stream."""
        return len(self._items) > self._head and self.waiter is None and not self.has_listener and not self.has_stream

    def count(self) -> int:
        return len(self._items) - self._head

    def put(self, items: list[Any]) -> None:
        """Append ``items``. The list belongs to the queue from now on."""
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

    def first(self) -> Any:
        """Return the oldest item; there must be one."""
        return self._items[self._head]

    def take(self) -> Any:
        """Remove and return the oldest item; there must be one."""
        item = self._items[self._head]
        self._items[self._head] = None
        self._head += 1
        self.size -= payload_size(item)
        if self._head == len(self._items):
            self._items = _EMPTY
            self._head = 0
        elif self._head >= 4096 and self._head * 2 >= len(self._items):
            del self._items[: self._head]
            self._head = 0
        return item

    def take_all(self) -> list[Any]:
        items = self._items[self._head :]
        self._items = _EMPTY
        self._head = self.size = 0
        return items

    def free_slots(self) -> int:
        """Return the number of items that still fit. -1: no limit."""
        if self.capacity < 0:
            return -1
        count = len(self._items) - self._head
        return self.capacity - count if count < self.capacity else 0

    def free_bytes(self) -> int:
        """Return the bytes of payload after which no further item fits. -1: no limit."""
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

    def admit(self, items: list[Any]) -> list[Any]:
        """Return as many of ``items`` as fit, from the first on. A Close always fits, since nothing comes after it."""
        count, size = self.count(), self.size
        for index, item in enumerate(items):
            if (0 <= self.capacity <= count or 0 <= self.max_bytes <= size) and not is_close(item):
                return items[:index]
            count += 1
            size += payload_size(item)
        return items


class OutgoingQueue:
    """Encoded frames in order, with a second queue on which pings and pongs overtake the others."""

    __slots__ = ("_capacity", "_control", "_frames", "_max_bytes", "_size")

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._frames: deque[bytes] = deque()
        self._control: deque[bytes] | None = None
        self._size = 0  # bytes in ``_frames``

    def count(self) -> int:
        return len(self._frames) + (0 if self._control is None else len(self._control))

    def size_of_all(self) -> int:
        """Bytes that wait, control frames included."""
        return self._size + (0 if self._control is None else sum(map(len, self._control)))

    def put(self, wire: bytes) -> None:
        self._frames.append(wire)
        self._size += len(wire)

    def put_control(self, wire: bytes) -> None:
        if self._control is None:
            self._control = deque()
        self._control.append(wire)

    def has_room_for_control(self) -> bool:
        """True if another ping or pong may overtake."""
        return self._control is None or len(self._control) < MAX_QUEUED_CONTROL

    def take(self) -> bytes | None:
        """Remove and return what goes out next; None if nothing waits."""
        if self._control:
            return self._control.popleft()
        if not self._frames:
            return None
        wire = self._frames.popleft()
        self._size -= len(wire)
        return wire

    def is_full(self) -> bool:
        return (self._capacity >= 0 and len(self._frames) >= self._capacity) or (
            self._max_bytes >= 0 and self._size >= self._max_bytes
        )
