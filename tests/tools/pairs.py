"""Two connected raw sessions over each kind of transport: in memory, TCP, TLS, and asyncio's streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp_rawws import RawWebSocket, SessionOptions, WebSocketSession, memory_pair

from .peers import certificates
from .talking import bounded_wait, end

HALF_CLOSING = ("memory", "tcp", "streams")  # transports that can end one direction alone
TRANSPORTS = (*HALF_CLOSING, "tls")


class _Accepting(asyncio.Protocol):
    def __init__(self, accepted: asyncio.Future[asyncio.Transport]) -> None:
        self.accepted = accepted

    def connection_made(self, transport: Any) -> None:
        self.accepted.set_result(transport)


async def transports(*, tls: bool) -> tuple[asyncio.Transport, asyncio.Transport]:
    """The server's and the client's end of a new connection."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.Transport] = loop.create_future()
    ours, theirs = certificates() if tls else (None, None)
    server = await loop.create_server(lambda: _Accepting(accepted), "127.0.0.1", 0, ssl=ours)
    host, port = server.sockets[0].getsockname()
    name = "127.0.0.1" if tls else None
    client, _ = await loop.create_connection(asyncio.Protocol, host, port, ssl=theirs, server_hostname=name)
    server_end = await bounded_wait(accepted)
    server.close()
    return server_end, client


async def stream_pair(server_options: dict[str, Any], client_options: dict[str, Any]) -> tuple[Any, Any]:
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *streams: accepted.set_result(streams), "127.0.0.1", 0)
    near = await asyncio.open_connection(*server.sockets[0].getsockname())
    far = await bounded_wait(accepted)
    server.close()
    return RawWebSocket(*far, **server_options), RawWebSocket(*near, server=False, **client_options)


@asynccontextmanager
async def connected(
    transport: str, *, client_options: dict[str, Any] | None = None, **server_options: Any
) -> AsyncIterator[tuple[WebSocketSession, WebSocketSession]]:
    """A server's session with ``server_options`` and a client's. Neither lasts longer than the block."""
    theirs = client_options or {}
    if transport == "memory":
        pair = memory_pair(server_options=SessionOptions(**server_options), client_options=SessionOptions(**theirs))
        server, client = pair.server, pair.client
    elif transport == "streams":
        server, client = await stream_pair(server_options, theirs)
    else:
        server_end, client_end = await transports(tls=transport == "tls")
        server = WebSocketSession(server_end, server=True, options=SessionOptions(**server_options))
        client = WebSocketSession(client_end, server=False, options=SessionOptions(**theirs))
        server.start()
        client.start()
    try:
        yield server, client
    finally:
        await end(server, client)
        if transport == "tls":  # asyncio's transport of Python 3.10 warns unless it was closed, even if it is gone
            server.transport.close()
            client.transport.close()
