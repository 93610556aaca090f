"""A gateway as people write it with aiohttp: two tasks, a message at a time."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import WSMsgType, web
from gateway import upstream
from serving import HOST, LARGE, listen_aiohttp, serve

port = upstream()


async def gateway(request: web.Request) -> web.WebSocketResponse:
    front = web.WebSocketResponse(max_msg_size=LARGE, compress=False)
    await front.prepare(request)
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"ws://{HOST}:{port}/", max_msg_size=LARGE) as behind:

            async def up() -> None:
                async for message in front:
                    if message.type is WSMsgType.BINARY:
                        await behind.send_bytes(message.data)
                    else:
                        await behind.send_str(message.data)
                await behind.close()

            async def down() -> None:
                async for message in behind:
                    if message.type is WSMsgType.BINARY:
                        await front.send_bytes(message.data)
                    else:
                        await front.send_str(message.data)
                await front.close()

            await asyncio.gather(up(), down())
    return front


async def start() -> int:
    app = web.Application()
    app.router.add_get("/", gateway)
    return await listen_aiohttp(app)


serve(start, "aiohttp")
