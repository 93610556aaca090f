"""The awaitable API of picows, which has the names of websockets."""

from __future__ import annotations

from picows.websockets import ServerConnection
from picows.websockets import serve as listen
from serving import BACKLOG, HOST, LARGE, arguments, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def start() -> int:
    server = await listen(
        echo,
        HOST,
        0,
        compression=None,
        ping_interval=None,
        max_size=LARGE,
        server_header=None,
        use_aiofastnet="aiofastnet" in arguments().loop,
        backlog=BACKLOG,
    )
    return int(next(iter(server.sockets)).getsockname()[1])


serve(start, "picows")
