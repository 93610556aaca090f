"""Frames and their codec in one place, for those who import from here: the names of ``frames`` and ``framing``."""

from __future__ import annotations

from .._build import COMPILED
from .frames import (
    Frame,
    FrameChunk,
    FrameHeader,
    PreparedFrame,
    encode_header,
    is_close,
    is_control,
    is_prepared,
    is_text,
    is_whole_message,
    new_masking_key,
    payload_size,
    with_payload,
)
from .framing import FrameEncoder, FrameParser, apply_mask

__all__ = [
    "COMPILED",
    "Frame",
    "FrameChunk",
    "FrameEncoder",
    "FrameHeader",
    "FrameParser",
    "PreparedFrame",
    "apply_mask",
    "encode_header",
    "is_close",
    "is_control",
    "is_prepared",
    "is_text",
    "is_whole_message",
    "new_masking_key",
    "payload_size",
    "with_payload",
]
