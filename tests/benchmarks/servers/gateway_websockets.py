"""A gateway as people write it with websockets: two tasks, a message at a time."""

from __future__ import annotations

import asyncio

from gateway import upstream
from serving import BACKLOG, HOST, LARGE, serve
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen

port = upstream()


async def gateway(front: ServerConnection) -> None:
    async with connect(f"ws://{HOST}:{port}/", compression=None, max_size=LARGE, ping_interval=None) as behind:

        async def up() -> None:
            async for message in front:
                await behind.send(message)
            await behind.close()

        async def down() -> None:
            async for message in behind:
                await front.send(message)
            await front.close()

        await asyncio.gather(up(), down())


async def start() -> int:
    server = await listen(gateway, HOST, 0, compression=None, max_size=LARGE, ping_interval=None, backlog=BACKLOG)
    return int(next(iter(server.sockets)).getsockname()[1])


serve(start, "websockets")
