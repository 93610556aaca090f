"""The RAW session, compiled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.codec import COMPILED

if TYPE_CHECKING or not COMPILED:
    from ._raw import Cork, Listening, Sendable, WebSocketSession, as_frame
else:
    from ._raw_c import Cork, Listening, Sendable, WebSocketSession, as_frame

__all__ = ["Cork", "Listening", "Sendable", "WebSocketSession", "as_frame"]
