"""The reference encoder: frames to bytes (RFC 6455, section 5), in plain Python.

``encoder.pyx`` is the same compiled. What changes here changes there; ``tests/test_codec_parity.py`` compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import _shared as rules
from .codes import OPCODES
from .frames import Frame, PreparedFrame
from .header_bits import CONTINUATION, CONTROL, FIN, OPCODE
from .headers import header_bytes
from .masking import masked
from .masking_keys import checked_key, new_masking_key
from .parser import WHOLE_MESSAGE_HEADS

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FrameEncoder"]


class FrameEncoder:
    """Turns the frames of one direction of a connection into bytes, one by one or in batches. One caller at a time.

    masking: mask what is sent, as a client must (section 5.3); settable at any time. Payloads are copied, not changed.
    strict: refuse frames that do not continue the message which was begun; otherwise send opcodes as they stand.
    new_masking_key: where the keys come from, 4 bytes each.

    A message is continued with opcode 0 whether the frame says so or repeats the message's kind (section 5.4).
    mid_message: the last data frame sent was not the last of its message. size: bytes in the batch.
    """

    def __init__(
        self,
        *,
        masking: bool = False,
        strict: bool = True,
        new_masking_key: Callable[[], bytes] = new_masking_key,
    ) -> None:
        self.masking = masking
        self.strict = strict
        self._new_masking_key = new_masking_key
        self._message = CONTINUATION
        self._batch: list[bytes] = []
        self.size = 0

    @property
    def mid_message(self) -> bool:
        return self._message != CONTINUATION

    def encode(self, frame: Frame | PreparedFrame) -> bytes:
        """The bytes of ``frame``, which go out before those of the next one.

        Raises RuntimeError, and forgets the frame, if it does not fit into the message that was begun.
        """
        if isinstance(frame, PreparedFrame):
            self._begin_whole(frame.frame._head)
            if not self.masking:
                return frame.wire
            head, payload = frame.frame._head, frame.frame._payload
        else:
            head, payload = self._begin(frame), frame._payload
        if not self.masking:
            return header_bytes(head, len(payload), None) + payload
        key = checked_key(self._new_masking_key())
        return header_bytes(head, len(payload), key) + masked(payload, key)

    def append(self, frame: Frame | PreparedFrame) -> int:
        """Put ``frame`` at the end of the batch, as ``encode`` would give it; returns its size in bytes."""
        wire = self.encode(frame)
        self._batch.append(wire)
        self.size += len(wire)
        return len(wire)

    def append_bytes(self, data: Buffer) -> int:
        """Put bytes of the caller's own making at the end of the batch; returns how many."""
        wire = data if type(data) is bytes else b"" + memoryview(data)  # what the caller may change is copied
        self._batch.append(wire)
        self.size += len(wire)
        return len(wire)

    def append_header(self, frame: Frame) -> int:
        """Put the header alone at the end of the batch, for a payload that follows unjoined; returns its size.

        Raises RuntimeError while masking, when the payload has to be changed on its way.
        """
        if self.masking:
            raise RuntimeError(rules.HEADER_WHILE_MASKING)
        return self.append_bytes(header_bytes(self._begin(frame), len(frame._payload), None))

    def take(self) -> bytes:
        """The batch, which is empty then."""
        batch, self._batch, self.size = self._batch, [], 0
        return b"".join(batch)  # which copies nothing where there is but one

    def _begin(self, frame: Frame) -> int:
        """The first byte to send for ``frame``; keeps track of the message."""
        if not isinstance(frame, Frame):
            raise TypeError(f"{rules.NOT_A_FRAME}{type(frame).__name__}")
        head = frame._head
        if head in WHOLE_MESSAGE_HEADS and self._message == CONTINUATION:
            return head
        opcode = head & OPCODE
        if opcode & CONTROL:
            return head
        kind = self._message if opcode == CONTINUATION and frame._kind == CONTINUATION else frame._kind
        if self.strict:
            if opcode == CONTINUATION and self._message == CONTINUATION:
                raise RuntimeError(rules.BEGIN_FIRST)
            if self._message not in (CONTINUATION, kind):
                raise RuntimeError(rules.FINISH_FIRST.format(OPCODES[kind].name, OPCODES[self._message].name))
        if kind == self._message:
            head &= ~OPCODE
        self._message = CONTINUATION if head & FIN else kind
        return head

    def _begin_whole(self, head: int) -> None:
        """A prepared frame goes out as it is, so it cannot become a part of another message."""
        if head & CONTROL:
            return
        if self.strict and self._message != CONTINUATION:
            raise RuntimeError(rules.WHOLE_INSIDE.format(OPCODES[self._message].name))
        self._message = CONTINUATION
