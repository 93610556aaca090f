"""The reference parser: bytes to frames (RFC 6455, section 5), in plain Python.

``parser.pyx`` is the same compiled. What changes here changes there; ``tests/test_codec_parity.py`` compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import errors
from . import _rules as rules
from .codes import MAX_CONTROL_PAYLOAD
from .frames import Frame, FrameChunk, FrameHeader, header_of, make_frame
from .header_bits import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    FIN,
    LENGTH_16,
    LENGTH_64,
    MASKED,
    OPCODE,
    TEXT,
    UNMASKED,
)
from .masking import mask_in_place, masked

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FrameParser"]

RESERVED = frozenset({*range(0x3, 0x8), *range(0xB, 0x10)})

# The first bytes of frames that are a whole message, with any extension bits. Most frames begin with one of these, and
# while no message is open there is nothing about it to judge or to keep.
WHOLE = frozenset(FIN | rsv | opcode for rsv in range(0, 0x80, 0x10) for opcode in (TEXT, BINARY))

# A payload of unknown honesty gets this much room at first, and then twice what it has filled.
FIRST_ROOM = 64 * 1024

_number = int.from_bytes  # looked up once: a tenth of a short payload's time


def _octets(data: Buffer, length: int) -> bytes:
    """The first ``length`` bytes of ``data``, all of them if negative."""
    if isinstance(data, (bytearray, bytes)) and 0 <= length <= len(data):  # what sessions have, 0.26 us less than below
        return memoryview(data)[:length].tobytes()
    with memoryview(data) as view, view.cast("B") as octets:
        return octets[: rules.checked_length(length, len(octets))].tobytes()


class _Open:
    """A frame whose header is complete and whose payload is not."""

    __slots__ = ("announced", "head", "key", "kind", "length", "payload", "received")

    def __init__(self, head: int, kind: int, length: int, key: int) -> None:
        self.head = head
        self.kind = kind
        self.length = length
        self.key = key
        self.received = 0
        self.payload: bytearray  # room for at least what was received, which is already unmasked
        self.announced: FrameHeader | None = None  # in chunk mode, which needs no payload

    def unmasked(self, data: bytes) -> bytes:
        """``data`` follows the bytes received so far."""
        if self.key == UNMASKED:
            return data
        return masked(data, self.key.to_bytes(4, "big"), self.received)

    def grow(self, least: int) -> None:
        """Make room for ``least`` bytes or more. In a new object: the loop may still hold a view of this one."""
        room = len(self.payload)
        self.payload = self.payload + bytes(min(self.length, max(least, 2 * room, FIRST_ROOM)) - room)

    def frame(self) -> Frame:
        return make_frame(self.head, self.kind, bytes(self.payload), self.key)


class FrameParser:
    """Turns the bytes of one direction of a connection into frames, whatever way they are cut. One caller at a time.

    masked: True if the peer must mask (it is a client), False if it must not, None to take either.
    strict: refuse what RFC 6455 refuses; otherwise deliver what can be delivered.
    max_frame_size: bytes of payload a frame may have, None for any.
    chunk_above: bytes of payload above which a data frame that comes in pieces is passed on in pieces; None for never.
    All four can be set at any time and hold from the next header on.

    What the peer did wrong is never raised: ``error`` is the PeerError, and nothing is parsed after it. Nor is anything
    after a Close frame, when ``closed`` is True (section 5.5.1).

    pending: bytes held that were not parsed, because ``feed`` was told where to stop or a header is incomplete.
    mid_frame: bytes of a frame that was not delivered are held, so that the stream must not end here.
    """

    def __init__(
        self,
        *,
        masked: bool | None = True,
        strict: bool = True,
        max_frame_size: int | None = None,
        chunk_above: int | None = None,
    ) -> None:
        self.masked = masked
        self.strict = strict
        self.max_frame_size = max_frame_size
        self.chunk_above = chunk_above
        self.error: errors.PeerError | None = None
        self.closed = False
        self._message = CONTINUATION  # the kind of the message whose fragments are coming, CONTINUATION if none is
        self._open: _Open | None = None
        self._leftover = b""
        self._parsed = 0  # bytes at the start of the leftover that were parsed since

    @property
    def max_frame_size(self) -> int | None:
        return None if self._limit == rules.NO_LIMIT else self._limit

    @max_frame_size.setter
    def max_frame_size(self, value: int | None) -> None:
        self._limit = rules.checked_limit("max_frame_size", value)

    @property
    def chunk_above(self) -> int | None:
        return None if self._chunk_above == rules.NO_LIMIT else self._chunk_above

    @chunk_above.setter
    def chunk_above(self, value: int | None) -> None:
        self._chunk_above = rules.checked_limit("chunk_above", value)

    @property
    def pending(self) -> int:
        return len(self._leftover) - self._parsed

    @property
    def mid_frame(self) -> bool:
        return self._open is not None or self.pending > 0

    def feed(
        self, data: Buffer, length: int = -1, max_frames: int = -1, max_bytes: int = -1
    ) -> list[Frame | FrameChunk]:
        """What ``data`` completes, in order.

        data: any contiguous buffer, not kept. length: how many of its bytes count; all if negative.
        max_frames, max_bytes: begin no other frame once so many items, or bytes of payload, were produced; no bound if
        negative. What remains is held, and parsed by the next call, which may be ``feed(b"")``.
        """
        received = _octets(data, length)
        items: list[Frame | FrameChunk] = []
        if self.closed or self.error is not None:
            return items
        position = 0
        if self._leftover and received:
            received = self._leftover[self._parsed :] + received
        elif self._leftover:
            received, position = self._leftover, self._parsed
        elif self._open is not None and received:
            position = self._continue(received, items)
        try:
            position = self._parse(received, position, items, max_frames, max_bytes)
        except errors.PeerError as error:
            self.error = error
            position = len(received)  # whatever follows is not for us
        self._leftover, self._parsed = (received, position) if position < len(received) else (b"", 0)
        return items

    def _parse(
        self, data: bytes, position: int, items: list[Frame | FrameChunk], max_frames: int, max_bytes: int
    ) -> int:
        """Parse ``data`` from ``position`` on, as far as is allowed; returns where it stopped."""
        produced = len(items[0].payload) if items else 0  # by the end of a frame that was open
        size = len(data)
        expected = MASKED if self.masked else 0
        while (
            position < size
            and (max_frames < 0 or len(items) < max_frames)
            and (max_bytes < 0 or produced < max_bytes)
            and not self.closed
        ):
            head = data[position]
            # A whole message below 64 KiB, all of it here, the mask as expected, the length in its shortest form: then
            # nothing is wrong, and to see that at once takes half the time. ``_read_header`` judges whatever differs.
            if head in WHOLE and self._message == CONTINUATION and position + 4 <= size:
                coded = length = data[position + 1] ^ expected  # 128 or more if the mask is not as expected
                start = position + 2
                if coded == LENGTH_16:
                    length = data[start] << 8 | data[start + 1]
                    start += 2
                if expected:
                    start += 4
                stop = start + length
                if coded <= LENGTH_16 and coded <= length <= self._limit and stop <= size:
                    payload, key = data[start:stop], UNMASKED
                    if expected:
                        masking_key = data[start - 4 : start]
                        payload, key = masked(payload, masking_key), _number(masking_key, "big")
                    items.append(make_frame(head, head & OPCODE, payload, key))
                    position, produced = stop, produced + length
                    continue
            frame, start = self._read_header(data, position)
            if frame is None:
                break
            position = min(start + frame.length, size)
            self._receive(frame, data[start:position], items)
            if items:
                produced += len(items[-1].payload)
        return size if self.closed else position  # what follows a Close is not for us

    def target(self) -> memoryview | None:
        """Where the next bytes should be written when more than 16 KiB of a payload are missing, else None.

        The view is for one write: drop it before ``advance``, which says how much of it was written.
        """
        frame = self._open
        if frame is None or frame.announced is not None or frame.length - frame.received <= rules.LARGE:
            return None
        if len(frame.payload) - frame.received < rules.LARGE:
            frame.grow(frame.received + rules.LARGE)
        return memoryview(frame.payload)[frame.received :]

    def advance(self, count: int) -> list[Frame | FrameChunk]:
        """The next ``count`` bytes are in the target. Returns the frame if they complete it."""
        frame = self._open
        items: list[Frame | FrameChunk] = []
        if frame is None or frame.announced is not None:
            raise RuntimeError(rules.NO_TARGET)
        start = frame.received
        stop = start + rules.checked_advance(count, len(frame.payload) - start)
        if frame.key != UNMASKED:
            mask_in_place(frame.payload, frame.key.to_bytes(4, "big"), start, stop)
        frame.received = stop
        if stop == frame.length:
            self._deliver(frame.frame(), items)
        return items

    def _read_header(self, data: bytes, start: int) -> tuple[_Open | None, int]:
        """The header at ``start`` and where its payload begins, None while it is incomplete.

        Every byte is judged as soon as it is there: a peer that breaks the rules is not waited for.
        """
        size = len(data) - start
        head = data[start]
        opcode = head & OPCODE
        if self.strict:
            self._check_head(opcode, bool(head & FIN))
        if size < 2:
            return None, 0
        is_masked, length = data[start + 1] & MASKED, data[start + 1] & ~MASKED
        if self.strict:
            if self.masked is not None and bool(is_masked) != self.masked:
                raise errors.ProtocolViolation(rules.NEEDS_MASK if self.masked else rules.NEEDS_NO_MASK)
            if opcode & CONTROL and length > MAX_CONTROL_PAYLOAD:
                raise errors.ProtocolViolation(rules.LONG_CONTROL)
        position = start + 2
        if length >= LENGTH_16:
            width, least = (2, LENGTH_16) if length == LENGTH_16 else (8, 0x10000)
            if length == LENGTH_64 and size > 2 and data[position] & 0x80:
                raise errors.ProtocolViolation(rules.NEGATIVE_LENGTH)
            if size < 2 + width:
                return None, 0
            length = int.from_bytes(data[position : position + width], "big")
            position += width
            if self.strict and length < least:
                raise errors.ProtocolViolation(rules.NOT_MINIMAL)
        if length > self._limit:
            raise errors.FrameTooBig(length, self._limit)
        key = UNMASKED
        if is_masked:
            if len(data) < position + 4:
                return None, 0
            key = int.from_bytes(data[position : position + 4], "big")
            position += 4
        return _Open(head, self._kind(opcode, bool(head & FIN)), length, key), position

    def _check_head(self, opcode: int, fin: bool) -> None:
        if opcode in RESERVED:
            raise errors.ProtocolViolation(f"{rules.UNSUPPORTED_OPCODE}{opcode}")
        if opcode & CONTROL:
            if not fin:
                raise errors.ProtocolViolation(rules.FRAGMENTED_CONTROL)
        elif opcode == CONTINUATION:
            if self._message == CONTINUATION:
                raise errors.ProtocolViolation(rules.NOTHING_TO_CONTINUE)
        elif self._message != CONTINUATION:
            raise errors.ProtocolViolation(rules.MESSAGE_NOT_FINISHED)

    def _kind(self, opcode: int, fin: bool) -> int:
        """What the frame belongs to; keeps track of the message (section 5.4)."""
        if opcode & CONTROL:
            return opcode
        kind = self._message if opcode == CONTINUATION else opcode
        self._message = CONTINUATION if fin else kind
        return kind

    def _receive(self, frame: _Open, data: bytes, items: list[Frame | FrameChunk]) -> None:
        """Take the first bytes of a payload, perhaps all of it."""
        payload = frame.unmasked(data)
        if len(payload) == frame.length:
            self._deliver(make_frame(frame.head, frame.kind, payload, frame.key), items)
            return
        self._open = frame
        if frame.length > self._chunk_above and not frame.head & CONTROL:
            frame.announced = header_of(frame.head, frame.kind, frame.length, frame.key)
            items.append(FrameChunk(frame.announced, payload, 0, False))
        else:
            frame.payload = bytearray(payload)
        frame.received = len(payload)

    def _continue(self, data: bytes, items: list[Frame | FrameChunk]) -> int:
        """Take the next bytes of the open frame from ``data``; returns how many."""
        frame = self._open
        assert frame is not None
        data = data[: frame.length - frame.received]
        offset, payload = frame.received, frame.unmasked(data)
        frame.received += len(data)
        last = frame.received == frame.length
        if frame.announced is not None:
            items.append(FrameChunk(frame.announced, payload, offset, last))
            if last:
                self._open = None
        else:
            if frame.received > len(frame.payload):
                frame.grow(frame.received)
            frame.payload[offset : frame.received] = payload
            if last:
                self._deliver(frame.frame(), items)
        return len(data)

    def _deliver(self, frame: Frame, items: list[Frame | FrameChunk]) -> None:
        self._open = None
        self.closed = frame._head & OPCODE == CLOSE
        items.append(frame)
