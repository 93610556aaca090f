"""Memory stays under the limits: what a server's RSS grows by while peers do their worst, with the default options.

Each attack meets a fresh server process. The figure allowed is computed from the options, so that an option that
did not hold would show: without it the attack would cost many times as much.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import aiohttp_rawws as rawws

from ..tools.memory_server import SOCKET_BUFFER
from ..tools.peers import BINARY, PING, Peer, frame, request_bytes

pytestmark = [pytest.mark.interop, pytest.mark.loops("asyncio")]

MIB = 2**20
PER_CONNECTION = 64 * 1024  # what aiohttp, asyncio and a session need for themselves, generously
READ_AHEAD = 64 * 1024  # room for the next bytes of a large payload, once the first have come
SLACK = 10 * MIB  # what an allocator keeps
OPTIONS = rawws.WebSocketOptions()
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}
PATIENCE = 20.0  # seconds
SOME = 0.5  # seconds in which a flood reaches the limit and is held there


class Patient(Peer):
    """A peer that waits longer: the server may have a million frames to go through first."""

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def read(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)


class Target:
    """A server process under attack."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self._port = process, port

    async def peak(self) -> int:
        async with self.peer() as peer:
            await peer.send(request_bytes("/peak", upgrade=False))
            return int((await peer.answer()).text)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        try:
            yield Patient(reader, writer)
        finally:
            writer.transport.abort()

    async def growth(self, path: str, count: int, attack: Callable[[Peer], Awaitable[object]], **headers: str) -> int:
        """Bytes of RSS, at most, that ``count`` peers at once cost, each of which runs ``attack``."""
        async with self.peer() as peer:  # whatever is only loaded or made for the first one
            await peer.open(path, headers)
        before = await self.peak()
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(self.peer()) for _ in range(count)]
            for peer in peers:
                await peer.open(path, headers)
            await asyncio.gather(*map(attack, peers))
            return await self.peak() - before


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tools.memory_server", cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield Target(process, int(line.decode().strip().rpartition(":")[2]))
        assert process.returncode is None, "the server did not survive"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def push(peer: Peer, data: bytes, *, seconds: float = SOME) -> None:
    """Send ``data`` again and again, until the server takes no more of it or ``seconds`` are over."""

    async def send() -> None:
        while True:
            peer.writer.write(data)
            await peer.writer.drain()

    try:
        await asyncio.wait_for(send(), seconds)
    except asyncio.TimeoutError:
        pass


async def close_code(peer: Peer) -> int:
    """The code of the Close that comes, whatever comes before it."""
    while True:
        opcode, payload = await peer.frame()
        if opcode == 8:
            return int.from_bytes(payload[:2], "big")


@pytest.mark.parametrize(
    ("path", "declared"), [("/raw", OPTIONS.max_frame_size), ("/raw", MIB), ("/managed", OPTIONS.max_frame_size)]
)
async def test_payloads_declared_and_never_sent(target: Target, path: str, declared: int) -> None:
    beginning = frame(BINARY, bytes(declared))[: 14 + 100]

    async def attack(peer: Peer) -> None:
        await peer.send(beginning)
        await asyncio.sleep(0.2)

    count = 100
    assert count * declared > 90 * MIB
    assert await target.growth(path, count, attack) < count * PER_CONNECTION + SLACK


@pytest.mark.parametrize("payload", [b"", b"x", b"xy"], ids=["empty", "one byte", "two bytes"])
async def test_fragments_without_end(target: Target, payload: bytes) -> None:
    limit = OPTIONS.max_fragments
    assert limit is not None
    first, more = frame(BINARY, payload, fin=False), frame(0, payload, fin=False)

    async def attack(peer: Peer) -> None:
        await peer.send(first)
        for _ in range(limit // 1024):
            await peer.send(more * 1024)
        assert await close_code(peer) == 1008

    count = 2
    # of a short bytes object and its place in a list
    assert await target.growth("/managed", count, attack) < count * (limit * (40 + 2 * 8) + PER_CONNECTION) + SLACK


async def test_tiny_frames_that_nobody_takes(target: Target) -> None:
    async def attack(peer: Peer) -> None:
        await push(peer, frame(BINARY, b"x") * 1000)

    count = 20
    read_buffer = 256 * 1024  # what was read at once stays, unparsed, with the connection
    allowed = count * (1024 * 200 + read_buffer + PER_CONNECTION) + SLACK
    assert await target.growth("/raw/stuck", count, attack) < allowed


@pytest.mark.parametrize("path", ["/raw/stuck", "/managed/stuck"])
async def test_large_frames_that_nobody_takes(target: Target, path: str) -> None:
    async def attack(peer: Peer) -> None:
        await push(peer, frame(BINARY, bytes(100_000)))

    count = 20
    # twice: on a managed session a queue is full only when messages are waiting there, above the raw session's
    allowed = count * (2 * (OPTIONS.incoming.max_bytes or 0) + 300_000 + PER_CONNECTION) + SLACK
    assert await target.growth(path, count, attack) < allowed


async def test_bombs(target: Target) -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    inflated = 256 * MIB
    parts = [compressor.compress(bytes(MIB)) for _ in range(inflated // MIB)]
    bomb = b"".join(parts) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    wire = bytearray(frame(BINARY, bomb))
    wire[0] |= 0x40  # rsv1

    async def attack(peer: Peer) -> None:
        peer.writer.write(wire)
        assert await close_code(peer) == 1009

    count = 10
    limit = rawws.PerMessageDeflate().max_inflated_size
    assert limit is not None
    # the limit once for the pieces of the message that is being inflated; and each compressed frame
    growth = await target.growth("/managed", count, attack, **DEFLATE)
    assert growth < 2 * limit + count * (2 * len(bomb) + PER_CONNECTION) + SLACK < inflated / 4


@pytest.mark.parametrize("path", ["/raw/flood", "/managed/flood"])
async def test_peers_that_do_not_read(target: Target, path: str) -> None:
    async def attack(peer: Peer) -> None:
        await asyncio.sleep(SOME)

    count = 20
    allowed = count * (2 * (OPTIONS.outgoing.max_bytes or 0) + PER_CONNECTION) + SLACK
    assert await target.growth(path, count, attack) < allowed


@pytest.mark.parametrize("path", ["/raw/pings", "/managed/pings"])
async def test_pings_from_peers_that_do_not_read(target: Target, path: str) -> None:
    async def attack(peer: Peer) -> None:
        await push(peer, frame(PING, bytes(125)) * 100, seconds=1.5)

    count = 5
    # 1024 pongs may overtake; the others wait among the data
    allowed = count * (1024 * 250 + 2 * (OPTIONS.outgoing.max_bytes or 0) + 256 * 1024 + PER_CONNECTION) + SLACK
    assert await target.growth(path, count, attack) < allowed


@pytest.mark.parametrize("path", ["/raw", "/managed"])
async def test_slow_writers(target: Target, path: str) -> None:
    wire = frame(BINARY, bytes(70_000))

    async def attack(peer: Peer) -> None:
        for position in range(30):
            await peer.send(wire[position : position + 1])
            await asyncio.sleep(0.01)

    count = 150
    assert await target.growth(path, count, attack) < count * (READ_AHEAD + PER_CONNECTION) + SLACK


async def test_ping_floods_are_ended(target: Target) -> None:
    async def attack(peer: Peer) -> None:
        limit = OPTIONS.max_control_rate
        assert limit is not None
        for _ in range(2 * limit // 100):
            peer.writer.write(frame(PING, b"x") * 100)
        assert await close_code(peer) == 1008

    count = 5
    assert await target.growth("/managed", count, attack) < count * (PER_CONNECTION + 100_000) + SLACK
