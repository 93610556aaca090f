"""Raw WebSocket sessions for aiohttp: your handler sees every frame.

On a *raw* session (``WebSocketSession``, also called ``RawSession``) *you receive control frames, fragments stay
separate, and you do the closing handshake.* A *managed* session (``DefaultWebSocketSession``, also called
``ManagedSession``) stands on a raw one: it delivers whole messages, answers pings and does the closing handshake.
"""

from ._build import COMPILED  # first: it decides which build of the core the others import
from .errors import (
    ChannelOverflow,
    ConnectionLost,
    ConverterNotFound,
    FrameTooBig,
    HandshakeError,
    InvalidPayload,
    PeerError,
    PolicyViolation,
    ProtocolViolation,
    RawWSError,
    SessionClosed,
)
from .extensions.base import ExtensionOf, WebSocketExtension, WebSocketExtensionFactory
from .extensions.deflate import PerMessageDeflate, WebSocketDeflateExtension
from .extensions.deflate_parameters import DeflateParameters
from .extensions.header import WebSocketExtensionHeader
from .extensions.inflate import ZlibBackend
from .proxy.fields import Forwarded
from .proxy.pump import OnFrame, PumpReport, pump
from .proxy.target import is_upgrade, upstream_url
from .proxy.upgrade import EditHeaders, PairHandler, proxy_upgrade
from .session.broadcast import Broadcast, BroadcastPolicy, broadcast
from .session.byte_stream import FrameWriter
from .session.channels import Incoming, Outgoing, Sendable
from .session.converters import ContentConverter, DeserializeError, JSONConverter
from .session.incoming_stream import IncomingStream
from .session.keepalive import Latency
from .session.kinds import Session, SessionHandler
from .session.managed import ClosingReason, DefaultWebSocketSession
from .session.memory import MemoryPair, memory_pair
from .session.options import (
    UNLIMITED,
    ChannelConfig,
    Observe,
    OnError,
    OnOverflow,
    OnViolation,
    Periodic,
    SessionOptions,
    SessionOptionsDict,
    WhenIdle,
    bounded,
)
from .session.outgoing_stream import OutgoingStream
from .session.raw import WebSocketSession
from .session.running import OnException, run_managed, run_session
from .session.state import CloseState, SessionStats
from .session.stream_source import Readable, StreamSource
from .session.streams import AsyncReader, AsyncWriter, RawWebSocket
from .session.surface import Cork, Listening
from .session.timeouts import OnLimit
from .web.answer import Answer
from .web.check import ProtocolChoice
from .web.client import Connecting, connect, connect_raw
from .web.client_options import ConnectOptions, ConnectOptionsDict, QueryParameters
from .web.client_refusal import HandshakeRefused
from .web.client_session import ClientSessionKind, DefaultWebSocketClientSession, WebSocketClientSession
from .web.handlers import ManagedHandler, ManagedUpgradeDict, RawHandler, RawUpgradeDict
from .web.options import BeforeUpgrade, PluginOptionsDict, RouteOptionsDict, WebSocketOptions
from .web.origins import OriginCheck, Origins
from .web.plugin import WEBSOCKETS, Sessions, WebSockets
from .web.reconnecting import ReconnectOptionsDict, backoff, reconnecting, transient
from .web.routing import RouteTableDef, WebSocketRouteDef, upgrade_handler, websocket, websocket_raw
from .web.server_session import DefaultWebSocketServerSession, ServerSession, WebSocketServerSession
from .web.setup import setup
from .web.upgrade import WebSocketUpgrade
from .wire.codec import Frame, FrameChunk, FrameHeader, PreparedFrame, encode_header
from .wire.codes import CloseCode, CloseReason, Opcode, may_be_sent

__version__ = "0.1.0"

RawSession = WebSocketSession
ManagedSession = DefaultWebSocketSession

__all__ = [
    "COMPILED",
    "UNLIMITED",
    "WEBSOCKETS",
    "Answer",
    "AsyncReader",
    "AsyncWriter",
    "BeforeUpgrade",
    "Broadcast",
    "BroadcastPolicy",
    "ChannelConfig",
    "ChannelOverflow",
    "ClientSessionKind",
    "CloseCode",
    "CloseReason",
    "CloseState",
    "ClosingReason",
    "ConnectOptions",
    "ConnectOptionsDict",
    "Connecting",
    "ConnectionLost",
    "ContentConverter",
    "ConverterNotFound",
    "Cork",
    "DefaultWebSocketClientSession",
    "DefaultWebSocketServerSession",
    "DefaultWebSocketSession",
    "DeflateParameters",
    "DeserializeError",
    "EditHeaders",
    "ExtensionOf",
    "Forwarded",
    "Frame",
    "FrameChunk",
    "FrameHeader",
    "FrameTooBig",
    "FrameWriter",
    "HandshakeError",
    "HandshakeRefused",
    "Incoming",
    "IncomingStream",
    "InvalidPayload",
    "JSONConverter",
    "Latency",
    "Listening",
    "ManagedHandler",
    "ManagedSession",
    "ManagedUpgradeDict",
    "MemoryPair",
    "Observe",
    "OnError",
    "OnException",
    "OnFrame",
    "OnLimit",
    "OnOverflow",
    "OnViolation",
    "Opcode",
    "OriginCheck",
    "Origins",
    "Outgoing",
    "OutgoingStream",
    "PairHandler",
    "PeerError",
    "PerMessageDeflate",
    "Periodic",
    "PluginOptionsDict",
    "PolicyViolation",
    "PreparedFrame",
    "ProtocolChoice",
    "ProtocolViolation",
    "PumpReport",
    "QueryParameters",
    "RawHandler",
    "RawSession",
    "RawUpgradeDict",
    "RawWSError",
    "RawWebSocket",
    "Readable",
    "ReconnectOptionsDict",
    "RouteOptionsDict",
    "RouteTableDef",
    "Sendable",
    "ServerSession",
    "Session",
    "SessionClosed",
    "SessionHandler",
    "SessionOptions",
    "SessionOptionsDict",
    "SessionStats",
    "Sessions",
    "StreamSource",
    "WebSocketClientSession",
    "WebSocketDeflateExtension",
    "WebSocketExtension",
    "WebSocketExtensionFactory",
    "WebSocketExtensionHeader",
    "WebSocketOptions",
    "WebSocketRouteDef",
    "WebSocketServerSession",
    "WebSocketSession",
    "WebSocketUpgrade",
    "WebSockets",
    "WhenIdle",
    "ZlibBackend",
    "backoff",
    "bounded",
    "broadcast",
    "connect",
    "connect_raw",
    "encode_header",
    "is_upgrade",
    "may_be_sent",
    "memory_pair",
    "proxy_upgrade",
    "pump",
    "reconnecting",
    "run_managed",
    "run_session",
    "setup",
    "transient",
    "upgrade_handler",
    "upstream_url",
    "websocket",
    "websocket_raw",
]
