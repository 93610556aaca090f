"""Raw WebSocket sessions for aiohttp: every frame in the handler's hands.

On a raw session *control frames arrive, fragments are not joined, the closing handshake is yours.*
"""

from .errors import (
    ChannelOverflow,
    ConnectionLost,
    ConverterNotFound,
    DeserializeError,
    FrameTooBig,
    HandshakeError,
    InvalidPayload,
    PeerError,
    ProtocolViolation,
    RawWSError,
    SessionClosed,
)
from .session.channels import UNLIMITED, ChannelConfig, bounded
from .session.memory import memory_pair
from .session.options import SessionOptions
from .session.raw import WebSocketSession, run_session
from .session.state import CloseState, SessionStats
from .session.streams import RawWebSocket
from .web.options import WebSocketOptions
from .web.plugin import WEBSOCKETS, WebSockets, setup
from .web.routing import RouteTableDef, websocket_raw
from .web.upgrade import WebSocketServerSession, WebSocketUpgrade
from .wire.codec import Frame, FrameChunk, FrameHeader, PreparedFrame
from .wire.codes import CloseCode, CloseReason, Opcode

__version__ = "0.1.0"

__all__ = [
    "UNLIMITED",
    "WEBSOCKETS",
    "ChannelConfig",
    "ChannelOverflow",
    "CloseCode",
    "CloseReason",
    "CloseState",
    "ConnectionLost",
    "ConverterNotFound",
    "DeserializeError",
    "Frame",
    "FrameChunk",
    "FrameHeader",
    "FrameTooBig",
    "HandshakeError",
    "InvalidPayload",
    "Opcode",
    "PeerError",
    "PreparedFrame",
    "ProtocolViolation",
    "RawWSError",
    "RawWebSocket",
    "RouteTableDef",
    "SessionClosed",
    "SessionOptions",
    "SessionStats",
    "WebSocketOptions",
    "WebSocketServerSession",
    "WebSocketSession",
    "WebSocketUpgrade",
    "WebSockets",
    "bounded",
    "memory_pair",
    "run_session",
    "setup",
    "websocket_raw",
]
