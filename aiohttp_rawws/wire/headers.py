"""The header of a frame on the wire (RFC 6455, section 5.2).

One source, two builds: as it stands, and compiled with the types that ``headers.pxd`` adds.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ._shared import copied
from .header_bits import FIN, LENGTH_16, LENGTH_64, MASKED, OPCODE, RSV1, RSV2, RSV3
from .masking_keys import checked_key

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Headers without the key, for each form of the length.
_SHORT = struct.Struct("!BB")
_MEDIUM = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")


def head_byte(opcode: int, fin: bool, rsv1: bool, rsv2: bool, rsv3: bool) -> int:
    """Return the first byte of a frame. Raises ValueError for a number that is not an opcode."""
    if not 0 <= opcode <= OPCODE:
        raise ValueError(f"{int(opcode)} is not an opcode")
    return (FIN if fin else 0) | (RSV1 if rsv1 else 0) | (RSV2 if rsv2 else 0) | (RSV3 if rsv3 else 0) | int(opcode)


def header_bytes(head: int, length: int, masking_key: bytes | None) -> bytes:
    """Return a header with the length in its shortest form (section 5.2).

    Args:
        head: The first byte.
        length: Bytes of payload.
        masking_key: 4 bytes, or None for a payload that is not masked.
    """
    mask = 0 if masking_key is None else MASKED
    if length < LENGTH_16:
        header = _SHORT.pack(head, mask | length)
    elif length <= 0xFFFF:
        header = _MEDIUM.pack(head, mask | LENGTH_16, length)
    else:
        header = _LONG.pack(head, mask | LENGTH_64, length)
    return header if masking_key is None else header + masking_key


def encode_header(
    opcode: int,
    length: int,
    *,
    fin: bool = True,
    rsv1: bool = False,
    rsv2: bool = False,
    rsv3: bool = False,
    masking_key: Buffer | None = None,
) -> bytes:
    """Encode the header of a frame (section 5.2), even of one that RFC 6455 does not allow.

    Args:
        opcode: 0 to 15.
        length: Bytes of the payload that will follow.
        fin: This is the last frame of its message. Default: True.
        rsv1: The first reserved bit. Default: False.
        rsv2: The second reserved bit. Default: False.
        rsv3: The third reserved bit. Default: False.
        masking_key: 4 bytes, if ``apply_mask()`` masks the payload with them. Default: None (not masked).

    Returns:
        2 to 14 bytes.

    Raises:
        ValueError: A number does not fit into its field.
    """
    if not 0 <= length < 1 << 63:
        raise ValueError(f"a frame cannot be {length} bytes long")
    key = None if masking_key is None else checked_key(copied(masking_key, "masking_key"))
    return header_bytes(head_byte(opcode, fin, rsv1, rsv2, rsv3), length, key)
