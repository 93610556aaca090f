"""Taking a connection over from aiohttp, with the bytes that followed the handshake, and making the session."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from aiohttp import web
from multidict import MultiMapping

from ..extensions.base import WebSocketExtension
from ..session.transports import is_broken
from .options import WebSocketOptions
from .server_connection import HTTPTransport, ServerConnection
from .server_session import WebSocketServerSession


def keeps_early_bytes(headers: MultiMapping[str]) -> bool:
    """Check if aiohttp keeps the bytes that follow this handshake.

    Its parsers stop only if the first ``Upgrade`` line is "websocket" and nothing else (RFC 9110, section 7.8 allows a
    list). Else they parse the bytes that follow as HTTP before a handler runs, and those bytes are lost.

    Args:
        headers: The fields of a request that ``handshake.check_request()`` has accepted.
    """
    upgrade = headers.get("Upgrade", "").strip(" \t")
    return upgrade.isascii() and upgrade.lower() == "websocket"


class EarlyBytes:
    """A parser for ``RequestHandler.set_parser()``, which gives it the bytes that followed the handshake."""

    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.received.append(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        """aiohttp calls this when the connection is lost. The session notices that by itself."""


class Takeover(NamedTuple):
    """A connection that was taken over from aiohttp.

    Attributes:
        transport: The connection.
        http: aiohttp's protocol. The session reports the end of the connection to it.
        early: The bytes that followed the handshake, in order.
    """

    transport: asyncio.Transport
    http: Any
    early: list[bytes]

    def hand_over(self, connection: ServerConnection) -> None:
        """Let aiohttp write nothing more. ``connection`` hears when aiohttp is done."""
        self.http.transport = HTTPTransport(self.transport, connection)


def pause_reading(request: web.BaseRequest) -> bool:
    """Stop reading until ``take_over()``: aiohttp drops bytes that arrive after ``close_after_refusal()``.

    Returns:
        False if the connection is closing, and nothing was done.
    """
    transport = request.transport
    if transport is None or transport.is_closing() or is_broken(transport):
        return False
    transport.pause_reading()
    return True


def take_over(request: web.BaseRequest, paused: bool = False) -> Takeover:
    """Take the connection of ``request`` after its 101 was written.

    The caller starts the session before it awaits anything: no byte may arrive in between.

    Args:
        request: The request that was upgraded.
        paused: ``pause_reading()`` returned True. Default: False.

    Raises:
        ConnectionResetError: The client is gone.
    """
    http: Any = request.protocol
    transport = request.transport
    if transport is None or is_broken(transport):
        raise ConnectionResetError("The connection was lost before the WebSocket was open")
    early = EarlyBytes()
    http.set_parser(early)  # accept the upgrade, deliver the early bytes and resume reading
    http.keep_alive(False)  # stop the timer that waits for the next request
    if paused:
        transport.resume_reading()
    return Takeover(transport, http, early.received)


def new_session(
    transport: asyncio.Transport,
    *,
    request: web.BaseRequest,
    app: web.Application | None,
    protocol: str | None,
    options: WebSocketOptions,
    extensions: list[WebSocketExtension],
    connection: ServerConnection,
) -> WebSocketServerSession:
    """Make the raw session over a connection that was taken over. It is not started.

    Args:
        transport: The connection.
        request: The request of the opening handshake.
        app: The application that made the upgrade, or None on a low-level ``web.Server``.
        protocol: The subprotocol agreed on, or None.
        options: The options of the session.
        extensions: The extensions agreed on. A raw session does not apply them.
        connection: Hears of pauses and of the loss.
    """
    session = WebSocketServerSession(
        transport,
        request=request,
        app=app,
        protocol=protocol,
        options=options,
        previous_protocol=connection,
    )
    session.negotiated_extensions = extensions
    return session
