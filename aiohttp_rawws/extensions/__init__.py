"""Extensions (RFC 6455, section 9) and permessage-deflate (RFC 7692). No asyncio, no aiohttp."""

from .base import ExtensionPipeline, WebSocketExtension, WebSocketExtensionFactory, check_conflicts
from .deflate import PerMessageDeflate, WebSocketDeflateExtension
from .header import WebSocketExtensionHeader, format_extensions, parse_extensions
from .negotiation import client_offer_header, negotiate_client, negotiate_server

__all__ = [
    "ExtensionPipeline",
    "PerMessageDeflate",
    "WebSocketDeflateExtension",
    "WebSocketExtension",
    "WebSocketExtensionFactory",
    "WebSocketExtensionHeader",
    "check_conflicts",
    "client_offer_header",
    "format_extensions",
    "negotiate_client",
    "negotiate_server",
    "parse_extensions",
]
