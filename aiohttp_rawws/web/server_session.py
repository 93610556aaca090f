"""The sessions of a server: raw and managed ones that know the request they were opened with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from ..session.managed import DefaultWebSocketSession
from ..session.raw import WebSocketSession
from .options import DEFAULTS, WebSocketOptions

if TYPE_CHECKING:
    from ..extensions.base import WebSocketExtension


class WebSocketServerSession(WebSocketSession):
    """A raw session that a request was upgraded to.

    request: the request of the opening handshake. app: its application. protocol: the subprotocol agreed on, or None.
    """

    __slots__ = ("_app", "protocol", "request")

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
        self.protocol = protocol
        self._app = app

    @property
    def app(self) -> web.Application:
        """The application whose handler made the upgrade. RuntimeError on a low-level ``web.Server``."""
        if self._app is None:
            raise RuntimeError("this session is served without an application")
        return self._app


class DefaultWebSocketServerSession(DefaultWebSocketSession):
    """A managed session that a request was upgraded to, on top of a raw one."""

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
        """The application whose handler made the upgrade. RuntimeError on a low-level ``web.Server``."""
        return self.raw.app

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self.raw.protocol
