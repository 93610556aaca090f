"""Cutting the bytes of one direction into frames, whatever they are, for somebody who only looks on.

Sessions parse by the rules, and stop at the first violation. This keeps each header as it was on the wire, lengths that
are not in their shortest form included, and goes on behind violations and Close frames.
"""

from __future__ import annotations

from typing import NamedTuple

from ..wire.codes import Opcode
from ..wire.masking import apply_mask
from .records import read_header, size_of_header


class Seen(NamedTuple):
    """A frame that was seen.

    Attributes:
        header: The header.
        payload: The beginning of the payload, unmasked.
        size: Bytes of payload that came.
        kind: The kind of its message.
    """

    header: bytes
    payload: bytes
    size: int
    kind: Opcode


class Onlooker:
    """Turns the bytes of one direction into frames."""

    __slots__ = ("_head", "_is_in_payload", "_keep", "_length", "_limit", "_message", "_payload", "_size", "_skip")

    def __init__(self, keep: int | None = None, skip: int = 0) -> None:
        """
        Args:
            keep: Bytes to keep of each payload. Default: None (all).
            skip: Bytes to ignore before the first frame. Default: 0.
        """
        self._keep = keep
        self._skip = skip
        self._head = bytearray()
        self._is_in_payload = False
        self._length = 0
        self._limit: int | None = None  # when the header came
        self._size = 0
        self._payload = bytearray()
        self._message: Opcode | None = None  # the kind of the message that is open

    def feed(self, data: bytes, limit: int | None = None) -> list[Seen]:
        """Take the next bytes.

        Args:
            data: The bytes.
            limit: Bytes that a payload may have now: the session refuses a frame whose header announces more. No more
                is kept of a payload. Default: None (any number).

        Returns:
            The frames that the bytes complete.
        """
        seen: list[Seen] = []
        position = min(self._skip, len(data))
        self._skip -= position
        while position < len(data):
            if self._is_in_payload:
                piece = data[position : position + self._length - self._size]
                self._size += len(piece)
                self._payload += piece[: self._room(limit)]
            else:
                piece = data[position : position + size_of_header(self._head) - len(self._head)]
                self._head += piece
                if len(self._head) > 1 and len(self._head) == size_of_header(self._head):
                    self._is_in_payload = True
                    self._length = read_header(self._head).length
                    self._limit = limit
            position += len(piece)
            if self._is_in_payload and self._size == self._length:
                seen.append(self._finish())
        return seen

    def _room(self, limit: int | None) -> int | None:
        """Return how many of the next bytes of the payload are kept, or None for all."""
        most = self._keep
        if limit is not None and self._limit is not None:
            largest = max(limit, self._limit)  # it may have changed since the header came, or before that is checked
            most = largest if most is None else min(most, largest)
        return None if most is None else max(0, most - len(self._payload))

    def rest(self) -> Seen | bytes | None:
        """Take the frame that is not complete at the end of the stream.

        Returns:
            The frame, or bytes that are too few for a header, or None if there is nothing.
        """
        if self._is_in_payload:
            return self._finish()
        head = bytes(self._head)
        self._head.clear()
        return head or None

    def _finish(self) -> Seen:
        opcode, fin, _, key, _ = read_header(self._head)
        kind = opcode
        if not opcode.is_control:
            if opcode is Opcode.CONTINUATION:
                kind = self._message or Opcode.CONTINUATION
            self._message = None if fin else kind
        payload = bytes(self._payload) if key is None else apply_mask(self._payload, key)
        seen = Seen(bytes(self._head), payload, self._size, kind)
        self._head.clear()
        self._payload = bytearray()
        self._is_in_payload = False
        self._size = 0
        return seen
