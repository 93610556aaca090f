"""The asyncio server of websockets."""

from __future__ import annotations

from serving import BACKLOG, HOST, LARGE, serve
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def start() -> int:
    server = await listen(
        echo, HOST, 0, compression=None, ping_interval=None, max_size=LARGE, backlog=BACKLOG, server_header=None
    )
    return int(next(iter(server.sockets)).getsockname()[1])


serve(start, "websockets")
