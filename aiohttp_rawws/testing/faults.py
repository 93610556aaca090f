"""Faults of the frames that one side sends, in the bytes themselves: nothing that a parser puts right is lost."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator

from ..recording.records import LENGTH_16, LENGTH_64, read_header, size_of_header
from ..wire.codec import Frame, FrameChunk, FrameHeader
from ..wire.codes import Opcode, may_be_sent


class Headers:
    """Cuts the headers out of the bytes of one direction, as they are.

    Attributes:
        whole: The headers that nobody has taken so far.
    """

    def __init__(self) -> None:
        self.whole: deque[bytes] = deque()
        self._head = bytearray()
        self._skip = 0  # bytes of payload

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
            else:
                step = size_of_header(self._head) - len(self._head)
                self._head += data[position : position + step]
                if len(self._head) > 1 and len(self._head) == size_of_header(self._head):
                    self._skip = read_header(self._head).length
                    self.whole.append(bytes(self._head))
                    self._head.clear()
            position += step


def is_shortest(header: bytes) -> bool:
    """Return True if the length in a header has its shortest form (section 5.2)."""
    coded, length = header[1] & 0x7F, read_header(header).length
    return not (coded == LENGTH_16 and length < LENGTH_16) and not (coded == LENGTH_64 and length < 2**16)


SAME_KEYS = 3  # frames with one masking key: with random keys that does not happen


class FrameCheck:
    """Finds what is wrong with the frames of one side, whatever the other side does."""

    def __init__(self, deflate: bool) -> None:
        """
        Args:
            deflate: permessage-deflate may be in use, so messages may have RSV1.
        """
        self._deflate = deflate
        self._is_open = False  # a message was begun
        self._decoder: codecs.IncrementalDecoder | None = None  # of a Text message that is not compressed
        self._keys: list[bytes] = []  # of the first frames

    def faults(self, item: Frame | FrameChunk, raw: bytes) -> Iterator[str]:
        """Find the faults of a frame, or of the first piece of one.

        Args:
            item: The frame, or the piece.
            raw: The header.
        """
        header = item.header if isinstance(item, FrameChunk) else item
        yield from self._of_header(header, raw)
        if header.opcode.is_control:
            yield from _of_control(header, item.payload, read_header(raw).length)
        else:
            yield from self._of_message(header)
            yield from self.payload(item)

    def _of_header(self, header: Frame | FrameHeader, raw: bytes) -> Iterator[str]:
        opcode = header.opcode
        if header.masking_key is None:
            yield "no mask (section 5.1)"
        elif len(self._keys) < SAME_KEYS:
            self._keys.append(header.masking_key)
            if len(self._keys) == SAME_KEYS and len(set(self._keys)) == 1:
                yield "one masking key for all frames (section 5.3)"
        if opcode not in tuple(Opcode):
            yield f"opcode {int(opcode)} (section 5.2)"
        if not is_shortest(raw):
            yield "a length not in the shortest form (section 5.2)"
        if header.rsv1 and not (self._deflate and opcode in (Opcode.TEXT, Opcode.BINARY)):
            yield "RSV1 (section 5.2)"
        for name in ("rsv2", "rsv3"):
            if getattr(header, name):
                yield f"{name.upper()} (section 5.2)"

    def _of_message(self, header: Frame | FrameHeader) -> Iterator[str]:
        if header.opcode is Opcode.CONTINUATION:
            if not self._is_open:
                yield "a continuation without a message (section 5.4)"
        else:
            if self._is_open:
                yield "a new message inside another one (section 5.4)"
            is_plain_text = header.opcode is Opcode.TEXT and not header.rsv1
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_plain_text else None
        self._is_open = not header.fin

    def payload(self, item: Frame | FrameChunk) -> Iterator[str]:
        """Find the faults of the payload of a data frame, or of a piece of it."""
        if self._decoder is None:
            return
        header, last = (item.header, item.last) if isinstance(item, FrameChunk) else (item, True)
        try:
            self._decoder.decode(item.payload, final=last and header.fin)
        except UnicodeDecodeError:
            self._decoder = None  # once for each message
            yield "Text that is not UTF-8 (section 8.1)"


def _of_control(header: Frame | FrameHeader, payload: bytes, size: int) -> Iterator[str]:
    opcode = header.opcode
    if size > 125 or not header.fin:
        yield f"a {opcode.name} that is too long or fragmented (section 5.5)"
    if opcode is Opcode.CLOSE and size:
        code = int.from_bytes(payload[:2], "big")
        if size == 1 or not may_be_sent(code):
            yield f"a Close with {code if size > 1 else 'one byte'} (section 7.4)"
        if payload[2:].decode(errors="replace").encode() != payload[2:]:
            yield "a Close whose reason is not UTF-8 (section 8.1)"
