"""A sink of plain TCP: what an event loop can read when its protocol throws everything away.

It answers as often as the others do, so it has to know how long a frame of the workload is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from serving import BACKLOG, HOST, LARGE, serve

FRAME = 14 + LARGE
BUFFER = memoryview(bytearray(256 * 1024))  # one for all connections, as ours is


class Sink(asyncio.BufferedProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport
        self.missing = FRAME

    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self.missing -= nbytes
        while self.missing <= 0:
            self.missing += FRAME
            self.transport.write(b"\x82\x02ok")


async def start() -> int:
    server = await asyncio.get_running_loop().create_server(Sink, HOST, 0, backlog=BACKLOG)
    return int(server.sockets[0].getsockname()[1])


serve(start)
