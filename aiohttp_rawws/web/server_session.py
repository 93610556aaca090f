"""The raw and the managed session of a server, which know the request that opened them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from ..session.managed import DefaultWebSocketSession
from ..session.raw import WebSocketSession
from .logtext import described
from .options import DEFAULTS, WebSocketOptions

if TYPE_CHECKING:
    from ..extensions.base import WebSocketExtension


class WebSocketServerSession(WebSocketSession):
    """A raw session on the server side.

    *You receive control frames, fragments stay separate, and you do the closing handshake.*

    Attributes:
        request: The request of the opening handshake. It is a mapping, which can hold data of your own:
            ``session.request["user"] = user``.
        protocol: The subprotocol agreed on, or None.
        response_headers: The header fields of the 101, or None if there was no handshake.
    """

    __slots__ = ("_app", "protocol", "request", "response_headers")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        request: web.BaseRequest,
        app: web.Application | None = None,
        protocol: str | None = None,
        options: WebSocketOptions = DEFAULTS,
        previous_protocol: asyncio.BaseProtocol | None = None,
        on_closed: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(
            transport, server=True, options=options, previous_protocol=previous_protocol, on_closed=on_closed
        )
        self.request: web.Request = request  # type: ignore[assignment]  # a BaseRequest on a low-level web.Server
        self.protocol: str | None = protocol
        self.response_headers: CIMultiDict[str] | None = None
        self._app = app

    def _described(self) -> str:
        return described(self.request, self.transport)

    @property
    def app(self) -> web.Application:
        """The application whose handler made the upgrade. Raises RuntimeError on a low-level ``web.Server``."""
        if self._app is None:
            raise RuntimeError("this session was opened without an application, on a low-level web.Server")
        return self._app


class DefaultWebSocketServerSession(DefaultWebSocketSession):
    """A managed session on the server side, on top of a raw one."""

    __slots__ = ()

    def __init__(self, raw: WebSocketServerSession, extensions: Iterable[WebSocketExtension] = ()) -> None:
        super().__init__(raw, extensions=extensions)

    @property
    def raw(self) -> WebSocketServerSession:
        """The raw session underneath."""
        raw = super().raw
        assert isinstance(raw, WebSocketServerSession)
        return raw

    @property
    def request(self) -> web.Request:
        """The request of the opening handshake."""
        return self.raw.request

    @property
    def app(self) -> web.Application:
        """The application whose handler made the upgrade. Raises RuntimeError on a low-level ``web.Server``."""
        return self.raw.app

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self.raw.protocol

    @property
    def response_headers(self) -> CIMultiDict[str] | None:
        """The header fields of the 101, or None if there was no handshake."""
        return self.raw.response_headers


ServerSession = WebSocketServerSession | DefaultWebSocketServerSession
"""A raw or a managed session of a server."""
