"""Echo servers of the peers, each as its own documentation writes one: ``python -m tests.autobahn.peers websockets``.

No limit of size, compression as it is by default, which is on in all three.
"""

from __future__ import annotations

from typing import Any

from aiohttp import WSMsgType, web

from .serving import Started, serve

Server = Any  # the two have the same surface and no type in common


async def start_aiohttp(port: int) -> Started:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return Started(runner.addresses[0][1], ["aiohttp"])


async def echo_messages(connection: Server) -> None:
    async for message in connection:
        await connection.send(message)


async def start_websockets(port: int) -> Started:
    import websockets.asyncio.server  # the peers are imported one by one: a run needs the one it is about

    server = await websockets.asyncio.server.serve(echo_messages, "127.0.0.1", port, max_size=None)
    return Started(next(iter(server.sockets)).getsockname()[1], ["websockets"])


async def start_picows(port: int) -> Started:
    import picows.websockets

    server = await picows.websockets.serve(echo_messages, "127.0.0.1", port, max_size=None)
    return Started(server.sockets[0].getsockname()[1], ["picows"])


if __name__ == "__main__":
    serve({"aiohttp": start_aiohttp, "websockets": start_websockets, "picows": start_picows})
