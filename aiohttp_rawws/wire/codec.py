"""The codec in use: the compiled one where it was built, else the one in Python.

Nobody else knows that there are two. Setting AIOHTTP_RAWWS_NO_EXTENSIONS in the environment picks the one in Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

COMPILED = False

if TYPE_CHECKING:
    from . import _codec_py as _codec
    from . import frames as _frames
else:
    if not os.environ.get("AIOHTTP_RAWWS_NO_EXTENSIONS"):
        try:
            from . import _codec_c as _codec
            from . import _frames_c as _frames
        except ImportError:
            pass
        else:
            COMPILED = True
    if not COMPILED:
        from . import _codec_py as _codec
        from . import frames as _frames

Frame = _frames.Frame
FrameHeader = _frames.FrameHeader
FrameChunk = _frames.FrameChunk
PreparedFrame = _frames.PreparedFrame
encode_header = _frames.encode_header
new_masking_key = _frames.new_masking_key
payload_size = _frames.payload_size
with_payload = _frames.with_payload
is_control = _frames.is_control
is_close = _frames.is_close
is_prepared = _frames.is_prepared
is_text = _frames.is_text
is_whole_message = _frames.is_whole_message
FrameParser = _codec.FrameParser
FrameEncoder = _codec.FrameEncoder
apply_mask = _codec.apply_mask

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
