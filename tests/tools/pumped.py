"""A pump with a peer made of bytes on each side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp_rawws import PumpReport, SessionOptions, WebSocketSession, pump
from aiohttp_rawws.wire.codec import apply_mask

from .peers import Peer, certificates, frame
from .talking import bounded_wait

MASK = b"\x0a\x0b\x0c\x0d"


class _Accepting(asyncio.Protocol):
    def __init__(self, accepted: asyncio.Future[asyncio.Transport]) -> None:
        self.accepted = accepted

    def connection_made(self, transport: Any) -> None:
        self.accepted.set_result(transport)


async def near_server(*, tls: bool) -> tuple[asyncio.Transport, Peer]:
    """Our end of a connection that a client has opened, and the client."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.Transport] = loop.create_future()
    ours, theirs = certificates() if tls else (None, None)
    server = await loop.create_server(lambda: _Accepting(accepted), "127.0.0.1", 0, ssl=ours)
    host, port = server.sockets[0].getsockname()
    peer = Peer(*await asyncio.open_connection(host, port, ssl=theirs))
    transport = await bounded_wait(accepted)
    server.close()
    return transport, peer


async def near_client(*, tls: bool) -> tuple[asyncio.Transport, Peer]:
    """Our end of a connection that we have opened, and the server."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Any] = loop.create_future()
    theirs, ours = certificates() if tls else (None, None)
    server = await asyncio.start_server(lambda *streams: accepted.set_result(streams), "127.0.0.1", 0, ssl=theirs)
    host, port = server.sockets[0].getsockname()
    name = "127.0.0.1" if tls else None
    transport, _ = await loop.create_connection(asyncio.Protocol, host, port, ssl=ours, server_hostname=name)
    peer = Peer(*await bounded_wait(accepted))
    server.close()
    return transport, peer


async def read_frame(peer: Peer) -> tuple[int, bytes]:
    """The next frame: its first byte and its payload, unmasked."""
    head, coded = await peer.read(2)
    length = coded & 0x7F
    if length >= 126:
        length = int.from_bytes(await peer.read(2 if length == 126 else 8), "big")
    key = await peer.read(4) if coded & 0x80 else b""
    payload = await peer.read(length)
    return head, apply_mask(payload, key) if key else payload


def from_server(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """One frame as a server sends it."""
    return frame(opcode, payload, fin=fin, mask=None)


@dataclass
class Pumped:
    """Two sessions with a byte peer each: client <-> a, b <-> server."""

    a: WebSocketSession
    b: WebSocketSession
    client: Peer
    server: Peer
    task: asyncio.Task[PumpReport] | None = None

    def begin(self, **how: Any) -> None:
        self.task = asyncio.create_task(pump(self.a, self.b, **how))

    async def report(self) -> PumpReport:
        assert self.task is not None
        return await bounded_wait(self.task)

    async def passes_up(self, data: bytes) -> None:
        await self.client.send(data)
        assert await self.server.read(len(data)) == data

    async def passes_down(self, data: bytes) -> None:
        await self.server.send(data)
        assert await self.client.read(len(data)) == data


@asynccontextmanager
async def unpumped(
    *,
    tls_a: bool = False,
    tls_b: bool = False,
    a: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
    early_a: bytes = b"",
    early_b: bytes = b"",
) -> AsyncIterator[Pumped]:
    """The two sessions, started, with options ``a`` and ``b``. Nothing lasts longer than the block."""
    near_a, client = await near_server(tls=tls_a)
    near_b, server = await near_client(tls=tls_b)
    first = WebSocketSession(near_a, server=True, options=SessionOptions(**(a or {})))
    second = WebSocketSession(near_b, server=False, options=SessionOptions(**(b or {})))
    first.start([early_a] if early_a else [])
    second.start([early_b] if early_b else [])
    between = Pumped(first, second, client, server)
    try:
        yield between
    finally:
        first.abort()
        second.abort()
        if between.task is not None:
            await bounded_wait(asyncio.wait([between.task]))
        for session in (first, second):
            await bounded_wait(session.wait_closed())
        await client.close()
        await server.close()


@asynccontextmanager
async def pumped(
    *,
    tls_a: bool = False,
    tls_b: bool = False,
    a: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
    **how: Any,
) -> AsyncIterator[Pumped]:
    """The same, with ``pump()`` running, which gets ``how``."""
    async with unpumped(tls_a=tls_a, tls_b=tls_b, a=a, b=b) as between:
        between.begin(**how)
        await asyncio.sleep(0)
        yield between
