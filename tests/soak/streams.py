"""Gigabytes through streams, in one frame and in fragments, in either role, received and sent.

Every byte is checked, and the memory of this process may not grow. The peer is a process of plain sockets, which knows
nothing of the package.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp_rawws as rawws
from aiohttp_rawws import FrameChunk

ALLOWED_GROWTH = 16 * 2**20
FRAGMENT = 64 * 1024
BLOCK = random.Random(6).randbytes(2**20)  # of which all that is sent consists
TWICE = BLOCK * 2
CHECKED_EVERY = 64 * 2**20  # bytes between two looks at the memory
PATIENCE = 600.0  # seconds, for one way
OPTIONS = rawws.SessionOptions(max_frame_size=None, max_fragments=None, max_control_rate=None)


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- the peer, in a process of its own ----------------------------------------------------------


def header(opcode: int, length: int, *, fin: bool, masked: bool) -> bytes:
    """With a masking key of zero, so that the payload stays as it is."""
    return bytes([fin << 7 | opcode, masked << 7 | 127]) + length.to_bytes(8, "big") + bytes(4 if masked else 0)


def send_one_frame(sock: socket.socket, size: int, masked: bool) -> None:
    sock.sendall(header(2, size, fin=True, masked=masked))
    for _ in range(size // len(BLOCK)):
        sock.sendall(BLOCK)


def send_fragments(sock: socket.socket, size: int, masked: bool) -> None:
    sock.sendall(bytes([2, masked << 7]) + bytes(4 if masked else 0))  # an empty one
    head = header(0, FRAGMENT, fin=False, masked=masked)
    many = b"".join(head + BLOCK[at : at + FRAGMENT] for at in range(0, len(BLOCK), FRAGMENT))
    for _ in range(size // len(BLOCK)):
        sock.sendall(many)
    sock.sendall(bytes([0x80, masked << 7]) + bytes(4 if masked else 0))


def take_all(sock: socket.socket, size: int, masked: bool) -> None:
    """Read until the other side ends the stream: it looks at the bytes, this side only counts them."""
    room = bytearray(2**18)
    got = 0
    while count := sock.recv_into(room):
        got += count
    assert got >= size


PEERS = {
    "one frame": send_one_frame,
    "fragments": send_fragments,
    "sent in fragments": take_all,
    "sent in one frame": take_all,
}


def peer(port: int, way: str, size: int, masked: bool) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        PEERS[way](sock, size, masked)
        sock.settimeout(PATIENCE)
        sock.recv(1)


# ---- the side that is tested --------------------------------------------------------------------


class Check:
    """Checks what arrives, and looks at the memory."""

    def __init__(self) -> None:
        self.received = 0
        self.before = self.peak = memory()
        self._due = CHECKED_EVERY

    def take(self, chunk: bytes) -> None:
        at = self.received % len(BLOCK)
        assert len(chunk) <= len(BLOCK) and TWICE[at : at + len(chunk)] == chunk, f"damaged near byte {self.received}"
        self.received += len(chunk)
        if self.received >= self._due:
            self._due += CHECKED_EVERY
            self.peak = max(self.peak, memory())


async def receive(session: Any, check: Check, size: int) -> None:
    """One message on a managed session, on a raw one frame after frame."""
    while check.received < size:
        async with session.receive_stream(max_size=size) as incoming:
            async for chunk in incoming:
                check.take(chunk)


async def receive_pieces(session: Any, check: Check, size: int) -> None:
    """The same with ``frame_streaming_threshold``, which the session has from the start: a frame may come with it."""
    async for item in session:
        check.take(item.payload)
        if check.received == size and (not isinstance(item, FrameChunk) or item.last):
            break


def pieces(check: Check, size: int) -> Iterator[bytes]:
    for at in range(0, size, FRAGMENT):
        piece = BLOCK[at % len(BLOCK) :][:FRAGMENT]
        check.take(piece)
        yield piece


async def send_in_fragments(session: Any, check: Check, size: int) -> None:
    await session.send_stream(pieces(check, size), fragment_size=FRAGMENT)
    await session.flush()


async def send_in_one_frame(session: Any, check: Check, size: int) -> None:
    await session.send_stream(pieces(check, size), length=size)
    await session.flush()


WORK = {"sent in fragments": send_in_fragments, "sent in one frame": send_in_one_frame}


async def run_way(kind: str, role: str, way: str, size: int) -> str:
    """Returns the line to print. Raises AssertionError."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[rawws.WebSocketSession] = loop.create_future()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            options = OPTIONS.replace(frame_streaming_threshold=0 if kind == "pieces" else None)
            session = rawws.WebSocketSession(transport, server=role == "server", options=options)
            session.start()
            accepted.set_result(session)

    server = await loop.create_server(Accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=peer, args=(port, way, size, role == "server"))
    process.start()
    try:
        raw = await asyncio.wait_for(accepted, PATIENCE)
        session: Any = rawws.DefaultWebSocketSession(raw) if kind == "managed" else raw
        check, began, cpu = Check(), time.monotonic(), time.process_time()
        work = WORK.get(way, receive_pieces if kind == "pieces" else receive)
        await asyncio.wait_for(work(session, check, size), PATIENCE)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        grown = max(check.peak, memory()) - check.before
        await asyncio.wait_for(raw.end(), PATIENCE)
        await loop.run_in_executor(None, process.join, PATIENCE)
        assert process.exitcode == 0, f"the peer ended with {process.exitcode}"
    finally:
        process.kill()
        server.close()
    assert check.received == size
    assert grown < ALLOWED_GROWTH, f"memory grew by {grown >> 20} MiB"
    rate = size / took / 2**20
    return f"{rate:6.0f} MiB/s, {cpu / size * 2**20 * 1e6:5.0f} us of CPU per MiB, memory {grown / 2**20:+.1f} MiB"


def ways(size: int) -> list[tuple[str, str, str]]:
    """Kind of session, role, way. A short run has one role."""
    roles = ("server", "client") if size >= 10**9 else ("server",)
    return [
        *itertools.product(("raw", "managed"), roles, PEERS),
        ("pieces", "server", "one frame"),
    ]


async def run(size: int) -> list[str]:
    """Send ``size`` bytes each way. Returns what was wrong."""
    size -= size % len(BLOCK)
    wrong = []
    print(f"streams of {size / 1e9:.2f} GB")
    for kind, role, way in ways(size):
        name = f"{kind} {role}, {way}"
        try:
            print(f"  {name:34} {await run_way(kind, role, way, size)}", flush=True)
        except Exception as exc:
            wrong.append(f"{name}: {exc!r}")
    return wrong
