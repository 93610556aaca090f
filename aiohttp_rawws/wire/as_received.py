"""The bytes of frames that were received, made again from the frames."""

from __future__ import annotations

from .chunks import FrameChunk, FrameHeader
from .frames import Frame
from .headers import encode_header
from .masking import apply_mask


def as_received(item: Frame | FrameChunk) -> bytes:
    """Return the bytes of ``item`` as they came, with the masking key that they had.

    A length that was not in its shortest form has it now; ``strict`` would have refused that. The first chunk of a
    frame has the header.
    """
    header = item.header if isinstance(item, FrameChunk) else item
    offset = item.offset if isinstance(item, FrameChunk) else 0
    payload, key = item.payload, header.masking_key
    if key is not None:
        payload = apply_mask(payload, key, offset)
    if offset:
        return payload
    size = header.length if isinstance(header, FrameHeader) else len(payload)
    bits = {name: getattr(header, name) for name in ("fin", "rsv1", "rsv2", "rsv3")}
    return encode_header(header.opcode, size, masking_key=key, **bits) + payload
