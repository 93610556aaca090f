"""A WebSocket peer made of bytes: it knows nothing of the package, and does nothing by itself."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from .waiting import eventually

TIMEOUT = 20.0  # seconds; only a fault takes so long, on a busy machine too
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

# Before 3.14.5 aiohttp reads what stands behind an upgrade it takes for declined as HTTP, and hangs up when it is not.
LOSES_TAILS = tuple(int(part) for part in re.findall(r"\d+", aiohttp.__version__)[:3]) < (3, 14, 5)

UPGRADE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def request_bytes(
    path: str = "/",
    headers: Mapping[str, str | None] | None = None,
    *,
    method: str = "GET",
    version: str = "1.1",
    upgrade: bool = True,
    body: bytes = b"",
) -> bytes:
    """An HTTP request, by default an opening handshake. ``headers`` add to its fields; None takes one out."""
    fields: dict[str, str | None] = dict(UPGRADE) if upgrade else {"Host": "127.0.0.1"}
    fields.update(headers or {})
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode() + body


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = b"\x0a\x0b\x0c\x0d") -> bytes:
    """One frame as a client sends it."""
    head = bytes([fin << 7 | opcode])
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 65536:
        head += bytes([masked | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", len(payload))
    if mask:
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
        head += mask
    return head + payload


def close_frame(code: int = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


@dataclass
class Answer:
    status: int
    headers: CIMultiDict[str]
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


class Peer:
    """The client's end of one connection. Every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def pause_reading(self) -> None:
        """Leave what comes to the buffers of the system."""
        transport: Any = self.writer.transport  # of asyncio.Transport or like it
        transport.pause_reading()

    def resume_reading(self) -> None:
        transport: Any = self.writer.transport
        transport.resume_reading()

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await asyncio.wait_for(self.writer.drain(), TIMEOUT)

    async def read(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), TIMEOUT)

    async def read_to_end(self) -> bytes:
        """The bytes that still come before the server ends the connection."""
        return await asyncio.wait_for(self.reader.read(), TIMEOUT)

    async def answer(self, *, body: bool = True) -> Answer:
        """The next HTTP response."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), TIMEOUT)
        status, *lines = head.decode().strip().split("\r\n")
        headers: CIMultiDict[str] = CIMultiDict()
        for line in lines:
            name, _, value = line.partition(": ")
            headers.add(name, value)
        answer = Answer(int(status.split()[1]), headers)
        if body and answer.status != 101:
            answer.body = await self.read(int(headers.get("Content-Length", 0)))
        return answer

    async def frame(self) -> tuple[int, bytes]:
        """The next frame from the server: (first octet without the fin bit, payload)."""
        first, length = await self.read(2)
        assert first & 0x80, "fragments are not expected"
        assert not length & 0x80, "a server must not mask"
        if length == 126:
            (length,) = struct.unpack("!H", await self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.read(8))
        return first & 0x7F, await self.read(length)

    async def open(
        self, path: str = "/", headers: Mapping[str, str | None] | None = None, early: bytes = b""
    ) -> Answer:
        """The opening handshake, with ``early`` in the same segment."""
        await self.send(request_bytes(path, headers), early)
        answer = await self.answer()
        assert answer.status == 101, (answer.status, answer.body)
        assert answer.headers["Sec-WebSocket-Accept"] == ACCEPT
        return answer

    async def closed_by_server(self, code: int) -> None:
        """A Close frame with ``code`` comes."""
        opcode, payload = await self.frame()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", code)), (opcode, payload)

    async def finish(self) -> None:
        """The closing handshake begun by this side."""
        await self.send(close_frame(1000))
        await self.closed_by_server(1000)
        assert await self.read_to_end() == b""
        self.writer.close()  # the server would wait a second for that

    async def close(self) -> None:
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), TIMEOUT)
        except OSError:
            pass

    def reset(self) -> None:
        """End the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Served:
    """A running aiohttp server on a free port."""

    def __init__(self, runner: web.BaseRunner, host: str, port: int, unix: str | None, tls: bool) -> None:
        self.runner, self.host, self.port, self.unix, self.tls = runner, host, port, unix, tls

    @property
    def server(self) -> web.Server:
        server = self.runner.server
        assert server is not None
        return server

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        if self.unix is not None:
            reader, writer = await asyncio.open_unix_connection(self.unix)
        else:
            context = certificates()[1] if self.tls else None
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context)
        peer = Peer(reader, writer)
        try:
            yield peer
        finally:
            await peer.close()

    async def ask(self, path: str = "/", headers: Mapping[str, str | None] | None = None, **how: Any) -> Answer:
        """One request on a connection of its own, and what answers it."""
        async with self.peer() as peer:
            await peer.send(request_bytes(path, headers, **how))
            return await peer.answer(body=how.get("method") != "HEAD")

    async def idle(self) -> None:
        """Wait until the server has forgotten every connection."""
        await eventually(lambda: not self.server.connections)


@asynccontextmanager
async def serving(
    app: web.Application | web.Server, *, tls: bool = False, unix: Path | None = None, **kwargs: Any
) -> AsyncIterator[Served]:
    """Serve ``app``. At the end everything is stopped, and must be gone."""
    kwargs.setdefault("shutdown_timeout", 5.0)
    runner: web.BaseRunner
    runner = web.ServerRunner(app, **kwargs) if isinstance(app, web.Server) else web.AppRunner(app, **kwargs)
    await runner.setup()
    host, port = "127.0.0.1", 0
    try:
        if unix is not None:
            await web.UnixSite(runner, os.fspath(unix)).start()
        else:
            await web.TCPSite(runner, host, 0, ssl_context=certificates()[0] if tls else None).start()
            port = runner.addresses[0][1]
        yield Served(runner, host, port, None if unix is None else os.fspath(unix), tls)
    finally:
        await asyncio.wait_for(runner.cleanup(), 20)


@lru_cache(maxsize=1)
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts (server, client), the certificate made for this run."""
    import trustme

    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
