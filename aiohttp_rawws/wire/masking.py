"""Masking payloads (RFC 6455, section 5.3), in plain Python. ``masking.pyx`` is the same compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .masking_keys import checked_key, new_masking_key

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["apply_mask", "new_masking_key"]

# Per byte of the key, a table that maps each byte to what it is masked to. With those a long payload takes a third of
# the time that one xor of two large integers does; a short one is the other way about.
_XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]
_LONG = 1024
# Per number of 32-bit words, the integer in which each of them is 1: a key times that is the key repeated.
_ONES = [sum(1 << 32 * word for word in range(words)) for words in range(_LONG // 4 + 1)]

_number = int.from_bytes  # looked up once: a tenth of a short payload's time


def apply_mask(payload: Buffer, masking_key: Buffer, offset: int = 0) -> bytes:
    """Mask or unmask ``payload`` (RFC 6455, section 5.3).

    payload: any contiguous buffer of n bytes; left as it was.
    masking_key: 4 bytes.
    offset: bytes of this frame's payload handled before this call, so a frame may come in pieces.
    Returns n new bytes. Raises ValueError if ``masking_key`` is not 4 bytes long.
    """
    key = checked_key(bytes(memoryview(masking_key)))
    if offset < 0:
        raise ValueError(f"offset is {offset}, and cannot be negative")
    with memoryview(payload) as view:
        return masked(view.tobytes(), key, offset)


def masked(payload: bytes | bytearray, key: bytes | bytearray, offset: int = 0) -> bytes:
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
    for index in range(start, min(start + 4, stop)):  # an empty slice could not be set while there is a view
        part = slice(index, stop, 4)
        payload[part] = payload[part].translate(_XOR[key[index & 3]])
