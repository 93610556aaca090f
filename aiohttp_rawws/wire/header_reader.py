"""Reading the header of a frame (RFC 6455, section 5.2), in Python. ``header_reader.pyx`` is the same compiled."""

from __future__ import annotations

from .. import errors
from . import _shared as shared
from .codes import MAX_CONTROL_PAYLOAD
from .header_bits import CONTINUATION, CONTROL, FIN, LENGTH_16, LENGTH_64, MASKED, OPCODE, UNMASKED
from .strictness import STRICT

RESERVED = frozenset({*range(0x3, 0x8), *range(0xB, 0x10)})


def read_header(
    data: bytes | bytearray, start: int, strict: int, masked: bool | None, limit: int, message: int
) -> tuple[int, int, int] | None:
    """Read the header that begins at ``data[start]``.

    Each byte is checked as soon as it is there, so that nothing waits for more from a peer that broke a rule.

    Args:
        data: The received bytes, with at least one byte of the header.
        start: Where the header begins.
        strict: STRICT, HOP or LENIENT.
        masked: True if the peer must mask, False if it must not, None if it may. Not checked if LENIENT.
        limit: Bytes of payload that a frame may have.
        message: The kind of the message that is open, CONTINUATION if none is.

    Returns:
        Bytes of payload, the masking key as a number (or UNMASKED), and where the payload begins. None if the header is
        not complete.

    Raises:
        ProtocolViolation: The peer broke a rule.
        FrameTooBig: The payload is longer than ``limit``.
    """
    size = len(data) - start
    head = data[start]
    if strict == STRICT:
        _check_head(head, message)
    if size < 2:
        return None
    is_masked, length = data[start + 1] & MASKED, data[start + 1] & ~MASKED
    if strict:
        if masked is not None and bool(is_masked) != masked:
            raise errors.ProtocolViolation(shared.NEEDS_MASK if masked else shared.NEEDS_NO_MASK)
        if head & CONTROL and length > MAX_CONTROL_PAYLOAD:
            raise errors.ProtocolViolation(shared.CONTROL_TOO_LONG)
    position = start + 2
    if length >= LENGTH_16:
        width, least = (2, LENGTH_16) if length == LENGTH_16 else (8, 0x10000)
        if length == LENGTH_64 and size > 2 and data[position] & 0x80:
            raise errors.ProtocolViolation(shared.NEGATIVE_LENGTH)
        if size < 2 + width:
            return None
        length = int.from_bytes(data[position : position + width], "big")
        position += width
        if strict and length < least:
            raise errors.ProtocolViolation(shared.NOT_MINIMAL)
    if head & CONTROL and limit == shared.NO_LIMIT:
        limit = shared.LONG_CONTROL
    if length > limit:
        raise errors.FrameTooBig(length, limit)
    if not is_masked:
        return length, UNMASKED, position
    if len(data) < position + 4:
        return None
    return length, int.from_bytes(data[position : position + 4], "big"), position + 4


def _check_head(head: int, message: int) -> None:
    """Check the first byte of a frame (sections 5.2, 5.4 and 5.5)."""
    opcode = head & OPCODE
    if opcode in RESERVED:
        raise errors.ProtocolViolation(f"{shared.UNSUPPORTED_OPCODE}{opcode}")
    if opcode & CONTROL:
        if not head & FIN:
            raise errors.ProtocolViolation(shared.FRAGMENTED_CONTROL)
    elif opcode == CONTINUATION:
        if message == CONTINUATION:
            raise errors.ProtocolViolation(shared.NOTHING_TO_CONTINUE)
    elif message != CONTINUATION:
        raise errors.ProtocolViolation(shared.MESSAGE_NOT_FINISHED)
