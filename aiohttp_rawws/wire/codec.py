"""Frames and their codec in one place: the public names of the other modules of this folder."""

from __future__ import annotations

from .._build import COMPILED
from .chunks import FrameChunk, FrameHeader
from .encoder import FrameEncoder
from .frames import (
    Frame,
    PreparedFrame,
    is_close,
    is_control,
    is_prepared,
    is_text,
    is_whole_message,
    payload_size,
    with_payload,
)
from .headers import encode_header
from .masking import apply_mask, new_masking_key
from .parser import FrameParser
from .watcher import FrameWatcher

__all__ = [
    "COMPILED",
    "Frame",
    "FrameChunk",
    "FrameEncoder",
    "FrameHeader",
    "FrameParser",
    "FrameWatcher",
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
