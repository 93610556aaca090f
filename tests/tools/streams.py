"""Streams of ``receive_stream()`` in tests: what is sent, and ways to read it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiohttp_rawws import IncomingStream, PerMessageDeflate
from aiohttp_rawws.wire.codec import encode_header

from .talking import Line, bounded_wait, masked
from .waiting import settle

MIB = 2**20
PAYLOAD = random.Random(1).randbytes(100_000)
WIRE = masked(2, PAYLOAD)
HEADER = len(WIRE) - len(PAYLOAD)
PING, CLOSE = masked(9, b"ping"), masked(8, b"\x03\xe8")
PONG = b"\x8a\x04ping"
UNLIMITED_SIZE = PerMessageDeflate(max_inflated_size=None)

on_the_clock = pytest.mark.loops("clock")


def begun(awaitable: Any) -> asyncio.Task[Any]:
    async def wait() -> Any:
        return await awaitable

    return asyncio.get_running_loop().create_task(wait())


async def whole(session: Any, **limits: Any) -> bytes:
    """The next stream, to its end."""
    async with session.receive_stream(**limits) as incoming:
        payload: bytes = await incoming.read()
    return payload


async def chunks_of(incoming: IncomingStream) -> list[bytes]:
    return [chunk async for chunk in incoming]


@contextlib.asynccontextmanager
async def waits_for_header(session: Any, line: Line, wire: bytes = WIRE) -> AsyncIterator[IncomingStream]:
    """A stream whose header has arrived, and nothing else."""
    stream = session.receive_stream()
    entering = begun(stream.__aenter__())
    await settle()
    line.give(wire[:HEADER])
    yield await bounded_wait(entering)
    await stream.__aexit__(None, None, None)


def fragments(payload: bytes, size: int, opcode: int = 2, between: bytes = b"") -> bytes:
    """A message in fragments of ``size`` bytes, with ``between`` behind each but the last."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    return between.join(
        masked(opcode if number == 0 else 0, part, fin=number == len(parts) - 1) for number, part in enumerate(parts)
    )


def compressed(payload: bytes) -> bytes:
    """The payload of a message as a client compresses it."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def deflated(*payloads: bytes, size: int | None = None) -> bytes:
    """Messages as a client compresses them, each in one frame, or in fragments of ``size`` bytes."""
    compressor = zlib.compressobj(wbits=-15)
    wire = b""
    for payload in payloads:
        data = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        parts = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
        for number, part in enumerate(parts):
            last, opcode = number == len(parts) - 1, 2 if number == 0 else 0
            wire += encode_header(opcode, len(part), fin=last, rsv1=number == 0, masking_key=bytes(4)) + part
    return wire


def messages(kind: str, payload: bytes) -> dict[str, bytes]:
    """Ways to send one message."""
    ways = {
        "one frame": masked(2, payload),
        "fragments": fragments(payload, 3000, between=PING),
        "empty end": masked(2, payload, fin=False) + masked(0, b"", fin=False) + PING + masked(0, b""),
    }
    if kind == "deflate":
        ways["compressed"] = deflated(payload)
        ways["compressed fragments"] = deflated(payload, size=1000)
    return ways


WAYS = [(kind, way) for kind in ("managed", "deflate") for way in messages(kind, b"x")]
each_way = pytest.mark.parametrize(("kind", "way"), WAYS)
