"""Sends every message to all clients, with the broadcast() of websockets."""

from __future__ import annotations

from serving import BACKLOG, HOST, serve
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as listen

connections: set[ServerConnection] = set()


async def subscribe(connection: ServerConnection) -> None:
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    finally:
        connections.discard(connection)


async def start() -> int:
    server = await listen(subscribe, HOST, 0, compression=None, ping_interval=None, backlog=BACKLOG)
    return int(next(iter(server.sockets)).getsockname()[1])


serve(start, "websockets")
