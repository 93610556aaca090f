"""The raw and the managed session of a client, which know the response that opened them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from ..session.managed import DefaultWebSocketSession
from ..session.raw import WebSocketSession
from .client_options import ConnectOptions
from .logtext import described_response

if TYPE_CHECKING:
    from ..extensions.base import WebSocketExtension


class WebSocketClientSession(WebSocketSession):
    """A raw session on the client side. ``connect_raw()`` makes it.

    *You receive control frames, fragments stay separate, and you do the closing handshake.*

    Attributes:
        response: The 101, with ``headers``, ``url`` and ``cookies``. To close it drops the connection.
        protocol: The subprotocol agreed on, or None.
        history: The URLs that redirected here.
    """

    __slots__ = ("history", "protocol", "response")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        response: aiohttp.ClientResponse,
        protocol: str | None,
        history: tuple[URL, ...],
        options: ConnectOptions,
        previous_protocol: asyncio.BaseProtocol | None,
    ) -> None:
        super().__init__(transport, server=False, options=options, previous_protocol=previous_protocol)
        self.response: aiohttp.ClientResponse = response
        self.protocol: str | None = protocol
        self.history: tuple[URL, ...] = history

    def _described(self) -> str:
        return described_response(self.response, self.transport)


class DefaultWebSocketClientSession(DefaultWebSocketSession):
    """A managed session on the client side, on top of a raw one. ``connect()`` makes it."""

    __slots__ = ()

    def __init__(self, raw: WebSocketClientSession, extensions: Iterable[WebSocketExtension] = ()) -> None:
        super().__init__(raw, extensions=extensions)

    @property
    def raw(self) -> WebSocketClientSession:
        """The raw session underneath."""
        raw = super().raw
        assert isinstance(raw, WebSocketClientSession)
        return raw

    @property
    def response(self) -> aiohttp.ClientResponse:
        """The 101, with ``headers``, ``url`` and ``cookies``. To close it drops the connection."""
        return self.raw.response

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self.raw.protocol

    @property
    def history(self) -> tuple[URL, ...]:
        """The URLs that redirected here."""
        return self.raw.history


ClientSessionKind = WebSocketClientSession | DefaultWebSocketClientSession
"""A raw or a managed session of a client."""
