"""Echo of plain TCP: what an event loop can do when its protocol does nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from serving import BACKLOG, HOST, serve


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def start() -> int:
    server = await asyncio.get_running_loop().create_server(Echo, HOST, 0, backlog=BACKLOG)
    return int(server.sockets[0].getsockname()[1])


serve(start)
