"""A relay of plain TCP: the least that a gateway can do."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway import upstream
from serving import BACKLOG, HOST, serve

HIGH_WATER = 256 * 1024


class Side(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(256 * 1024))
        self.transport: Any = None  # uvloop's is no asyncio.Transport
        self.other: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.other.transport.write(bytes(self.view[:nbytes]))

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


class Front(Side):
    def __init__(self) -> None:
        super().__init__()
        self.early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = asyncio.create_task(self.connect())

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is None:
            self.early += self.view[:nbytes]
        else:
            self.other.transport.write(bytes(self.view[:nbytes]))

    async def connect(self) -> None:
        _, other = await asyncio.get_running_loop().create_connection(Side, HOST, port)
        other.other, self.other = self, other
        other.transport.write(self.early)


async def start() -> int:
    server = await asyncio.get_running_loop().create_server(Front, HOST, 0, backlog=BACKLOG)
    return int(server.sockets[0].getsockname()[1])


port = upstream()
serve(start)
