"""The reference encoder: frames to bytes (RFC 6455, section 5), in plain Python.

``encoder.pyx`` is the same compiled. A change here is a change there:
``tests/wire/test_codec_parity.py`` compares both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import _shared as shared
from .codes import OPCODES
from .frames import Frame, PreparedFrame
from .header_bits import CONTINUATION, CONTROL, FIN, OPCODE
from .headers import header_bytes
from .masking import masked
from .masking_keys import checked_key, new_masking_key
from .parser import WHOLE_MESSAGE_HEADS
from .strictness import HOP, STRICT, VALUES, Strictness, checked_strictness

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FrameEncoder"]


class FrameEncoder:
    """Turns the frames of one direction of a connection into bytes, one by one or in batches.

    A fragment continues the message that is open with opcode 0, whether it says so itself or repeats the kind of the
    message (section 5.4). An encoder that raises has not changed: neither the batch nor the message that is open.

    One caller at a time.

    Attributes:
        masking: The option. It can be set at any time.
        strict: The option. It can be set at any time.
        mid_message: A message is open: the last data frame was not the last of its message.
        size: Bytes in the batch.
        missing: Bytes of payload that the frame of ``begin()`` still takes, 0 if there is none.
    """

    def __init__(
        self,
        *,
        masking: bool = False,
        strict: Strictness = True,
        new_masking_key: Callable[[], bytes] = new_masking_key,
    ) -> None:
        """
        Args:
            masking: Mask what is sent, as a client must (section 5.3). Payloads are not changed. Default: False.
            strict: Refuse a frame that does not continue the message that is open. If False, send it as it stands; a
                prepared message then takes the place of the one that was open. "hop": the same, and a frame that
                repeats the kind of the message keeps its opcode, too. Default: True.
            new_masking_key: Makes the masking keys, 4 bytes each. Default: from the system's source of randomness.
        """
        self.masking = masking
        self.strict = strict
        self._new_masking_key = new_masking_key
        self._message = CONTINUATION  # the kind of the message that is open, CONTINUATION if none is
        self._message_after = CONTINUATION  # the same behind the frame that is being encoded
        self._batch: list[bytes] = []
        self.size: int = 0
        self.missing: int = 0
        self._key: bytes | None = None  # of the frame that was begun
        self._offset = 0  # bytes of its payload so far

    @property
    def strict(self) -> Strictness:
        return VALUES[self._strict]

    @strict.setter
    def strict(self, value: Strictness) -> None:
        self._strict = checked_strictness(value)

    @property
    def mid_message(self) -> bool:
        return self._message != CONTINUATION

    def refuse_whole_message(self) -> None:
        """Check that a whole message can begin here.

        For callers that send whole messages only: a text that is sent inside a fragmented text would become a part of
        it.

        Raises:
            RuntimeError: A message is open. Only with ``strict=True``.
        """
        if self._strict == STRICT and self._message != CONTINUATION:
            raise RuntimeError(shared.WHOLE_INSIDE.format(OPCODES[self._message].name))

    def encode(self, frame: Frame | PreparedFrame) -> bytes:
        """Encode one frame, which is sent before those that are encoded after it.

        Args:
            frame: Any frame. A PreparedFrame is used as it is unless ``masking`` is set.

        Returns:
            The bytes to send.

        Raises:
            RuntimeError: The frame does not continue the message that is open, or continues none.
            TypeError: It is not a frame.
        """
        if isinstance(frame, PreparedFrame):
            head, payload = frame.frame._head, frame.frame._payload
            self._check_whole(head)
            wire = b"" if self.masking else frame.wire
        else:
            head = self._check(frame)
            payload, wire = frame._payload, b""
        if self.masking:
            key = checked_key(self._new_masking_key())
            wire = header_bytes(head, len(payload), key) + masked(payload, key)
        elif not wire:
            wire = header_bytes(head, len(payload), None) + payload
        self._message = self._message_after
        return wire

    def append(self, frame: Frame | PreparedFrame) -> int:
        """Put a frame at the end of the batch.

        Args:
            frame: As for ``encode()``.

        Returns:
            Its size in bytes, with the header.

        Raises:
            RuntimeError: As for ``encode()``.
            TypeError: As for ``encode()``.
        """
        wire = self.encode(frame)
        self._batch.append(wire)
        self.size += len(wire)
        return len(wire)

    def append_bytes(self, data: Buffer) -> int:
        """Put bytes of the caller's own making at the end of the batch.

        Args:
            data: Any contiguous buffer. It is copied unless it is bytes.

        Returns:
            How many bytes these are.
        """
        wire = data if type(data) is bytes else b"" + memoryview(data)
        self._batch.append(wire)
        self.size += len(wire)
        return len(wire)

    def append_header(self, frame: Frame) -> int:
        """Put the header of a frame at the end of the batch, for a payload that is sent behind it without a copy.

        Args:
            frame: Any frame but a PreparedFrame.

        Returns:
            The size of the header in bytes.

        Raises:
            RuntimeError: As for ``encode()``, or ``masking`` is set: the payload has to be changed on its way.
            TypeError: It is not a frame.
        """
        if self.masking:
            raise RuntimeError(shared.HEADER_WHILE_MASKING)
        count = self.append_bytes(header_bytes(self._check(frame), len(frame._payload), None))
        self._message = self._message_after
        return count

    def begin(self, frame: Frame, length: int) -> bytes:
        """Begin a data frame whose payload comes in pieces.

        Frames that are encoded before its last piece have to be sent behind that.

        Args:
            frame: The frame, with an empty payload.
            length: Bytes of the payload that will follow by ``piece()``.

        Returns:
            The header.

        Raises:
            RuntimeError: As for ``encode()``, or the frame before it is not complete.
            TypeError: It is not a Frame, or ``length`` is no int.
            ValueError: It is a control frame, has a payload, or no frame can be so long.
        """
        if self.missing:
            raise RuntimeError(shared.FRAME_IS_OPEN.format(self.missing))
        if not isinstance(frame, Frame):
            raise TypeError(f"{shared.NOT_A_FRAME}{type(frame).__name__}")
        size = shared.checked_frame_length(length)
        head = self._check(frame)
        if head & CONTROL:
            raise ValueError(shared.CONTROL_IN_PIECES.format(OPCODES[head & OPCODE].name))
        if frame._payload:
            raise ValueError(shared.HAS_PAYLOAD)
        key = checked_key(self._new_masking_key()) if self.masking else None
        self._message = self._message_after
        self.missing, self._key, self._offset = size, key, 0
        return header_bytes(head, size, key)

    def piece(self, data: Buffer) -> bytes:
        """Encode the next bytes of the payload of the frame that was begun.

        Args:
            data: Any contiguous buffer. It is copied unless it is bytes, and not masked.

        Returns:
            The bytes to send.

        Raises:
            ValueError: These are more bytes than are missing. Nothing has changed.
        """
        wire = data if type(data) is bytes else b"" + memoryview(data)
        size = len(wire)
        if size > self.missing:
            raise ValueError(shared.TOO_LONG.format(size, self.missing))
        if self._key is not None:
            wire = masked(wire, self._key, self._offset)
        self._offset += size
        self.missing -= size
        return wire

    def give_up(self) -> None:
        """Forget the frame that was begun, because the rest of it will not be sent."""
        self.missing = 0

    def take(self) -> bytes:
        """Return the batch, and begin a new one."""
        batch, self._batch, self.size = self._batch, [], 0
        return b"".join(batch)  # which copies nothing if there is only one

    def _check(self, frame: Frame) -> int:
        """Return the first byte to send for ``frame``. Sets ``_message_after``."""
        if not isinstance(frame, Frame):
            raise TypeError(f"{shared.NOT_A_FRAME}{type(frame).__name__}")
        head = frame._head
        message = self._message_after = self._message
        if head in WHOLE_MESSAGE_HEADS and message == CONTINUATION:
            return head
        opcode = head & OPCODE
        if opcode & CONTROL:
            return head
        kind = message if opcode == CONTINUATION and frame._kind == CONTINUATION else frame._kind
        if self._strict == STRICT:
            if opcode == CONTINUATION and message == CONTINUATION:
                raise RuntimeError(shared.BEGIN_FIRST)
            if message not in (CONTINUATION, kind):
                raise RuntimeError(shared.FINISH_FIRST.format(OPCODES[kind].name, OPCODES[message].name))
        if kind == message and self._strict != HOP:
            head &= ~OPCODE
        self._message_after = CONTINUATION if head & FIN else kind
        return head

    def _check_whole(self, head: int) -> None:
        """Check a prepared frame: it goes out as it is, so it cannot become a part of a message. Sets
        ``_message_after``."""
        self._message_after = self._message
        if not head & CONTROL:
            self.refuse_whole_message()
            self._message_after = CONTINUATION
