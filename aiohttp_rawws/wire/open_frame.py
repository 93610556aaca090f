"""A frame that is still arriving, in Python. ``open_frame.pyx`` is the same compiled."""

from __future__ import annotations

from . import _shared as shared
from .chunks import FrameChunk, FrameHeader
from .frames import Frame, header_of, make_frame
from .header_bits import UNMASKED
from .headers import header_bytes
from .masking import mask_in_place, masked


class OpenFrame:
    """A frame whose header is complete and whose payload is not.

    The payload is collected, or (in chunk mode) passed on as it comes.
    """

    __slots__ = ("announced", "head", "key", "kind", "length", "payload", "received")

    def __init__(self, head: int, kind: int, length: int, key: int, size: int, in_chunks: bool) -> None:
        """
        Args:
            head: The first byte of the frame.
            kind: The kind of its message.
            length: Bytes of the whole payload.
            key: The masking key as a number, or UNMASKED.
            size: Bytes of payload that have come with the header.
            in_chunks: Pass the payload on as it comes.
        """
        self.head: int = head
        self.kind: int = kind
        self.length: int = length
        self.key: int = key
        self.received: int = 0  # bytes of payload
        self.announced: FrameHeader | None = None  # in chunk mode only
        self.payload: bytearray = bytearray()  # ``received`` bytes, unmasked, and room for more
        if in_chunks:
            self.announced = header_of(head, kind, length, key)
        else:
            self.payload = bytearray(self._fitting(max(4 * size, shared.FIRST_ROOM)))

    def chunk(self, data: bytes | bytearray) -> FrameChunk:
        """Turn the next bytes of the payload into a chunk."""
        assert self.announced is not None
        offset = self.received
        self.received += len(data)
        payload = bytes(data) if self.key == UNMASKED else masked(data, self.key.to_bytes(4, "big"), offset)
        return FrameChunk(self.announced, payload, offset, self.received == self.length)

    def split(self) -> FrameChunk:
        """Go over to chunk mode. Returns what was collected, as the first chunk."""
        self.announced = header_of(self.head, self.kind, self.length, self.key)
        payload, self.payload = bytes(memoryview(self.payload)[: self.received]), bytearray()
        return FrameChunk(self.announced, payload, 0, False)

    def write(self, data: bytes | bytearray) -> None:
        """Put the next bytes behind the payload."""
        start, stop = self.received, self.received + len(data)
        if stop > len(self.payload):
            self._grow(stop)
        self.payload[start:stop] = data if self.key == UNMASKED else masked(data, self.key.to_bytes(4, "big"), start)
        self.received = stop

    def target(self) -> memoryview | None:
        """Return where the next bytes should be written; None if few are missing, and in chunk mode."""
        if self.announced is not None or self.length - self.received <= shared.LARGE:
            return None
        if len(self.payload) - self.received < shared.LARGE:
            self._grow(self.received + shared.LARGE)
        return memoryview(self.payload)[self.received :]

    def advance(self, count: int) -> None:
        """Count the next ``count`` bytes, which are in the target."""
        start = self.received
        stop = start + shared.checked_advance(count, len(self.payload) - start)
        if self.key != UNMASKED:
            mask_in_place(self.payload, self.key.to_bytes(4, "big"), start, stop)
        self.received = stop

    def frame(self) -> Frame:
        """Make the frame of a complete payload."""
        return make_frame(self.head, self.kind, bytes(self.payload), self.key)

    def wire(self) -> bytes:
        """Return the bytes that have come, header included, as they were; none in chunk mode, which passes them on."""
        if self.announced is not None:
            return b""
        payload = bytes(self.payload[: self.received])
        if self.key == UNMASKED:
            return header_bytes(self.head, self.length, None) + payload
        key = self.key.to_bytes(4, "big")
        return header_bytes(self.head, self.length, key) + masked(payload, key)

    def _grow(self, least: int) -> None:
        """Make room for ``least`` bytes or more. In a new object: the loop may still hold a view of this one."""
        room = len(self.payload)
        self.payload = self.payload + bytes(self._fitting(max(least, 2 * room)) - room)

    def _fitting(self, room: int) -> int:
        """Return ``room``, or all that the payload needs if that is little more: the last bytes save a read."""
        return self.length if self.length - room <= shared.LARGE else room
