"""Masking payloads (RFC 6455, section 5.3), in plain Python. ``masking.pyx`` is the same compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .masking_keys import checked_key, new_masking_key

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["apply_mask", "new_masking_key"]

# For each byte of a key, a table that maps each byte to its masked value. With these a long payload takes a third of
# the time of one xor of two large integers. A short payload is faster with the xor.
_XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]
_LONG = 1024
# For each number of 32-bit words, the integer in which each word is 1: a key times that is the key repeated.
_ONES = [sum(1 << 32 * word for word in range(words)) for words in range(_LONG // 4 + 1)]

_number = int.from_bytes  # looked up once: a tenth of a short payload's time


def apply_mask(payload: Buffer, masking_key: Buffer, offset: int = 0) -> bytes:
    """Mask or unmask a payload (RFC 6455, section 5.3).

    Args:
        payload: Any contiguous buffer of n bytes. It is not changed.
        masking_key: 4 bytes.
        offset: Bytes of this frame's payload that were masked before this call. Default: 0.

    Returns:
        n new bytes.

    Raises:
        ValueError: ``masking_key`` is not 4 bytes long, or ``offset`` is negative.
    """
    key = checked_key(bytes(memoryview(masking_key)))
    if offset < 0:
        raise ValueError(f"offset is {offset}, and cannot be negative")
    with memoryview(payload) as view:
        return masked(view.tobytes(), key, offset)


def masked(payload: bytes | bytearray, key: bytes | bytearray, offset: int = 0) -> bytes:
    """Return ``payload`` masked. ``offset``: bytes of the frame before it."""
    size = len(payload)
    if turn := offset & 3:
        key = key[turn:] + key[:turn]
    if size < _LONG:
        words = (size + 3) // 4
        keys = _number(key, "little") * _ONES[words]
        return (_number(payload, "little") ^ keys).to_bytes(4 * words, "little")[:size]
    result = bytearray(payload)
    mask_in_place(result, key, 0, size)
    return bytes(result)


def mask_in_place(payload: bytearray, key: bytes | bytearray, start: int, stop: int) -> None:
    """Mask ``payload`` from ``start`` to ``stop``. The key begins at 0."""
    for index in range(start, min(start + 4, stop)):  # an empty slice could not be set while there is a view
        part = slice(index, stop, 4)
        payload[part] = payload[part].translate(_XOR[key[index & 3]])
