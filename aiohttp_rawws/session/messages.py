"""Frames joined to messages (RFC 6455, section 5.4), their text checked as it arrives (section 8.1).

One source, two builds, like ``connection.py``.
"""

from __future__ import annotations

import codecs
from typing import Any

from ..errors import FrameTooBig, InvalidPayload, PeerError, PolicyViolation
from ..wire.codec import Frame, FrameChunk, is_text, is_whole_message, payload_size
from ..wire.codes import Opcode

_new_decoder = codecs.getincrementaldecoder("utf-8")


class MessageAssembler:
    """Takes data frames in order, whole or in chunks, and gives back messages.

    max_message_size: payload bytes of a message; None = unlimited. May be changed; holds from the next piece on.
    pipeline: undoes the extensions: ``incoming(item)`` gives the items to go on with. None = no extension.
    max_fragments: frames that a message may come in, as they are on the wire, empty ones included; None = any number.
    """

    __slots__ = (
        "_decoder", "_fragments", "_is_plain", "_kind", "_limit", "_max_fragments", "_mid_frame", "_parts",
        "_pipeline", "_size",
    )

    def __init__(
        self, max_message_size: int | None, pipeline: Any = None, max_fragments: int | None = None
    ) -> None:
        self.max_message_size = max_message_size
        self._max_fragments = max_fragments
        self._fragments = 0  # of the message that is open
        self._mid_frame = False
        self._pipeline = pipeline
        self._is_plain = not pipeline  # no extension
        self._kind: Opcode | None = None
        self._parts: list[bytes] | None = None
        self._size = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def max_message_size(self) -> int | None:
        return None if self._limit < 0 else self._limit

    @max_message_size.setter
    def max_message_size(self, value: int | None) -> None:
        self._limit = -1 if value is None else value

    def add(self, item: Frame | FrameChunk) -> Frame | None:
        """The message that ``item`` completes, else None.

        Raises InvalidPayload at the first byte that cannot be UTF-8, FrameTooBig as soon as the message outgrows its
        limit, PolicyViolation for a fragment too many, ProtocolViolation for a reserved bit that no extension uses.
        """
        if self._is_plain and self._kind is None and is_whole_message(item):  # nearly all of them
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
            self._parts = None  # nobody will have them, and the session may take its time to end
            raise

    def _count_fragment(self, item: Frame | FrameChunk) -> None:
        if not self._mid_frame:
            limit = self._max_fragments
            if limit is not None and self._fragments >= limit:
                text = f"A message comes in more than {limit} fragments"
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
        parts = self._parts
        if parts is None:
            parts = self._parts = []
        parts.append(payload)
        if not fin:
            return None
        message = Frame(self._kind, b"".join(parts))
        self._kind = self._decoder = self._parts = None
        self._size = 0
        return message

    def _check_size(self, size: int) -> None:
        if 0 <= self._limit < size:
            raise FrameTooBig(size, self._limit, "max_message_size")


def check_whole(message: Frame, limit: int) -> None:
    """What is asked of a message that came in one frame: no more bytes than ``limit``, where that is not -1; UTF-8."""
    if 0 <= limit < payload_size(message):
        raise FrameTooBig(payload_size(message), limit, "max_message_size")
    if is_text(message):
        check_utf8(message.payload)


def check_utf8(payload: bytes) -> None:
    """Raise InvalidPayload unless ``payload`` is UTF-8."""
    if payload.isascii():
        return
    try:
        payload.decode()
    except UnicodeDecodeError as exc:
        raise InvalidPayload(f"Text is not UTF-8: {exc.reason}") from None
