"""aiohttp's own WebSocketResponse. It compresses for those who ask."""

from __future__ import annotations

from aiohttp import WSMsgType, web
from aiohttp._websocket import reader
from serving import LARGE, listen_aiohttp, serve


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(max_msg_size=LARGE)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def start() -> int:
    app = web.Application()
    app.router.add_get("/", echo)
    return await listen_aiohttp(app)


serve(start, "aiohttp", compiled=reader.WebSocketReader.__module__.endswith("_c"))
