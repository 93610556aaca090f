"""Raw WebSocket sessions for aiohttp: every frame in the handler's hands.

On a raw session *control frames arrive, fragments are not joined, the closing handshake is yours.*
"""

from . import _build as _build  # first: it settles which build of the core the others import
from .errors import (
    ChannelOverflow,
    ConnectionLost,
    ConverterNotFound,
    DeserializeError,
    FrameTooBig,
    HandshakeError,
    InvalidPayload,
    PeerError,
    PolicyViolation,
    ProtocolViolation,
    RawWSError,
    SessionClosed,
)
from .extensions.base import WebSocketExtension, WebSocketExtensionFactory
from .extensions.deflate import PerMessageDeflate, WebSocketDeflateExtension
from .extensions.header import WebSocketExtensionHeader
from .session.broadcast import Broadcast, broadcast
from .session.converters import ContentConverter, JSONConverter
from .session.managed import DefaultWebSocketSession
from .session.memory import memory_pair
from .session.options import UNLIMITED, ChannelConfig, Periodic, SessionOptions, WhenIdle, bounded
from .session.raw import WebSocketSession
from .session.running import run_managed, run_session
from .session.state import CloseState, SessionStats
from .session.streams import RawWebSocket
from .web.options import WebSocketOptions
from .web.plugin import WEBSOCKETS, WebSockets
from .web.routing import RouteTableDef, websocket, websocket_raw
from .web.server_session import DefaultWebSocketServerSession, WebSocketServerSession
from .web.setup import setup
from .web.upgrade import WebSocketUpgrade
from .wire.codec import Frame, FrameChunk, FrameHeader, PreparedFrame
from .wire.codes import CloseCode, CloseReason, Opcode

__version__ = "0.1.0"

__all__ = [
    "UNLIMITED",
    "WEBSOCKETS",
    "Broadcast",
    "ChannelConfig",
    "ChannelOverflow",
    "CloseCode",
    "CloseReason",
    "CloseState",
    "ConnectionLost",
    "ContentConverter",
    "ConverterNotFound",
    "DefaultWebSocketServerSession",
    "DefaultWebSocketSession",
    "DeserializeError",
    "Frame",
    "FrameChunk",
    "FrameHeader",
    "FrameTooBig",
    "HandshakeError",
    "InvalidPayload",
    "JSONConverter",
    "Opcode",
    "PeerError",
    "PerMessageDeflate",
    "Periodic",
    "PolicyViolation",
    "PreparedFrame",
    "ProtocolViolation",
    "RawWSError",
    "RawWebSocket",
    "RouteTableDef",
    "SessionClosed",
    "SessionOptions",
    "SessionStats",
    "WebSocketDeflateExtension",
    "WebSocketExtension",
    "WebSocketExtensionFactory",
    "WebSocketExtensionHeader",
    "WebSocketOptions",
    "WebSocketServerSession",
    "WebSocketSession",
    "WebSocketUpgrade",
    "WebSockets",
    "WhenIdle",
    "bounded",
    "broadcast",
    "memory_pair",
    "run_managed",
    "run_session",
    "setup",
    "websocket",
    "websocket_raw",
]
