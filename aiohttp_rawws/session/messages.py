"""Joins frames to messages (RFC 6455, section 5.4), and checks text as it arrives (section 8.1).

One source, two builds: as it stands, and compiled with the types that ``messages.pxd`` adds.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

from ..errors import FrameTooBig, InvalidPayload, PeerError, PolicyViolation
from ..wire.codec import Frame, FrameChunk, is_text, is_whole_message, payload_size
from ..wire.codes import Opcode

if TYPE_CHECKING:
    from .arriving import ArrivingMessage

# Every bytes object takes 41 bytes more than its content, which is a lot for small parts. So parts with fewer bytes
# than SMALL_PART are joined, JOINED_PARTS at a time. (A bytearray that grows with each part was three times slower.)
SMALL_PART = 512
JOINED_PARTS = 256

_new_decoder = codecs.getincrementaldecoder("utf-8")


class MessageAssembler:
    """Joins data frames, or chunks of data frames, to messages. It is not for several callers at a time.

    An incomplete message takes little more memory than its bytes, however small its pieces are.

    Attributes:
        max_message_size: The option. It can be changed at any time, and counts from the next piece on.
    """

    __slots__ = (
        "_decoder",
        "_fragments",
        "_is_plain",
        "_kind",
        "_limit",
        "_max_fragments",
        "_mid_frame",
        "_parts",
        "_pipeline",
        "_size",
        "_small",
    )

    def __init__(self, max_message_size: int | None, pipeline: Any = None, max_fragments: int | None = None) -> None:
        """
        Args:
            max_message_size: Bytes that a message may have. None: no limit.
            pipeline: An ExtensionPipeline that transforms each item first. Default: None (no extension).
            max_fragments: Frames on the wire that a message may consist of, empty ones included. Default: None (no
                limit).
        """
        self.max_message_size = max_message_size
        self._max_fragments = max_fragments
        self._fragments = 0  # frames of the current message
        self._mid_frame = False
        self._pipeline = pipeline
        self._is_plain = not pipeline  # no extension
        self._kind: Opcode | None = None
        self._parts: list[bytes] | None = None  # the payload of the current message so far
        self._small = 0  # number of small parts at the end of _parts
        self._size = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def max_message_size(self) -> int | None:
        return None if self._limit < 0 else self._limit

    @max_message_size.setter
    def max_message_size(self, value: int | None) -> None:
        self._limit = -1 if value is None else value

    @property
    def is_open(self) -> bool:
        """True if a message was begun and is not complete."""
        return self._kind is not None or self._fragments > 0

    def adopt(self, arriving: ArrivingMessage) -> Frame | None:
        """Go on with a message that was begun elsewhere.

        Args:
            arriving: The message. It is reset.

        Returns:
            The message, if it is complete now, or None.

        Raises:
            FrameTooBig: The message exceeds ``max_message_size``.
            PeerError: The peer sent something invalid.
        """
        message: Frame | None = None
        rest, announced = arriving.rest, arriving.announced
        self._fragments, self._mid_frame = arriving.fragments, arriving.mid_frame
        self._kind, self._decoder = arriving.kind, arriving.decoder
        payloads = arriving.take_all()
        try:
            self._check_size(announced)
            for payload in payloads:
                self._size += len(payload)
                self._kept(payload)
            self._check_size(self._size)
            for piece in rest or ():
                message = self._join(piece)
        except PeerError:
            self._parts = None
            raise
        if message is not None:
            self._fragments = 0
        return message

    def add(self, item: Frame | FrameChunk) -> Frame | None:
        """Add the next frame, or piece of a frame.

        Args:
            item: A data frame or a chunk of one, as received.

        Returns:
            The message that is complete now, or None.

        Raises:
            InvalidPayload: A text is not UTF-8. It is raised at the first byte that cannot be.
            FrameTooBig: The message exceeds ``max_message_size``. It is raised as soon as that is known.
            PolicyViolation: The message has too many fragments.
            ProtocolViolation: A reserved bit is set that no extension uses.
        """
        if self._is_plain and self._kind is None and is_whole_message(item):  # the usual case
            check_whole(item, self._limit)
            return item
        try:
            if self._fragments or not (isinstance(item, Frame) and item.fin):
                self._count_fragment(item)
            if self._pipeline is None:
                return self._join(item)
            message = None
            for piece in self._pipeline.incoming(item):
                message = self._join(piece)
            return message
        except PeerError:
            self._parts = None  # free them now: they are never delivered, and the session may take long to end
            raise

    def _count_fragment(self, item: Frame | FrameChunk) -> None:
        if not self._mid_frame:
            limit = self._max_fragments
            if limit is not None and self._fragments >= limit:
                text = f"A message has more than {limit} fragments"
                raise PolicyViolation(text, "max_fragments", limit)
            self._fragments += 1
        if isinstance(item, Frame):
            last, fin = True, item.fin
        else:
            last, fin = item.last, item.header.fin
        self._mid_frame = not last
        if last and fin:
            self._fragments = 0

    def _join(self, item: Frame | FrameChunk) -> Frame | None:
        payload = item.payload
        if isinstance(item, Frame):
            if item.fin and self._kind is None:
                self._check_size(len(payload))
                if item.opcode is Opcode.TEXT:
                    check_utf8(payload)
                return item
            kind, fin = item.kind, item.fin
        else:
            kind, fin = item.header.kind, item.header.fin and item.last
            if item.offset == 0:
                self._check_size(self._size + item.header.length)
        if self._kind is None:
            self._kind = kind
            if kind is Opcode.TEXT:
                self._decoder = _new_decoder()
        self._size += len(payload)
        self._check_size(self._size)
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, fin)
            except UnicodeDecodeError as exc:
                raise InvalidPayload(f"Text is not UTF-8: {exc.reason}") from None
        parts = self._kept(payload)
        if not fin:
            return None
        message = Frame(self._kind, b"".join(parts))
        self._kind = self._decoder = self._parts = None
        self._size = self._small = 0
        return message

    def _kept(self, payload: bytes) -> list[bytes]:
        """Add ``payload`` to the parts of the message. Returns the parts."""
        parts = self._parts
        if parts is None:
            parts = self._parts = []
            self._small = 0
        if len(payload) >= SMALL_PART:
            if self._small > 1:
                self._join_small(parts)
            parts.append(payload)
            self._small = 0
        elif payload:
            parts.append(payload)
            self._small += 1
            if self._small == JOINED_PARTS:
                self._join_small(parts)
                self._small = 0
        return parts

    def _join_small(self, parts: list[bytes]) -> None:
        start = len(parts) - self._small
        joined = b"".join(parts[start:])
        del parts[start:]
        parts.append(joined)

    def _check_size(self, size: int) -> None:
        if 0 <= self._limit < size:
            raise FrameTooBig(size, self._limit, "max_message_size")


def check_whole(message: Frame, limit: int) -> None:
    """Check a message that came in one frame.

    Args:
        message: The message.
        limit: Bytes that it may have. -1: no limit.

    Raises:
        FrameTooBig: It has more bytes.
        InvalidPayload: It is a text, but not UTF-8.
    """
    if 0 <= limit < payload_size(message):
        raise FrameTooBig(payload_size(message), limit, "max_message_size")
    if is_text(message):
        check_utf8(message.payload)


def check_utf8(payload: bytes) -> None:
    """Check that ``payload`` is UTF-8. Raise InvalidPayload if it is not."""
    if payload.isascii():
        return
    try:
        payload.decode()
    except UnicodeDecodeError as exc:
        raise InvalidPayload(f"Text is not UTF-8: {exc.reason}") from None
