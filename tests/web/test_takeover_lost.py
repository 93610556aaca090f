"""A client that is gone before its handler begins: what it sent with the handshake is still the handler's."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws.wire.codec import FrameEncoder

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("route", [rawws.websocket_raw, rawws.websocket])
async def test_early_frames_of_a_client_that_reset(route: Any) -> None:
    received: list[str] = []
    over = asyncio.Event()

    async def handler(session: Any) -> None:
        try:
            async for frame in session:
                received.append(frame.text)
        finally:
            over.set()

    @web.middleware
    async def slow(request: web.Request, handler: Any) -> Any:
        response = await handler(request)
        await response.prepare(request)
        while request.transport is not None:
            await asyncio.sleep(0.01)
        return response

    app = web.Application(middlewares=[slow])
    rawws.setup(app)
    app.add_routes([route("/", handler)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setblocking(False)
    await loop.sock_connect(client, runner.addresses[0])
    await loop.sock_sendall(client, HANDSHAKE + FrameEncoder(masking=True).encode(rawws.Frame.text("early")))
    assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 101")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # a reset
    await asyncio.wait_for(over.wait(), 20)
    await runner.cleanup()
    assert received == ["early"]
    assert not app[rawws.WEBSOCKETS].sessions
