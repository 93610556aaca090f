"""``as_stream()``: bytes that were written and cannot be sent, and limits of the reader."""

from __future__ import annotations

import asyncio
import random

import pytest

from aiohttp_rawws import ConnectionLost

from ..tools import talking
from ..tools.talking import bounded_wait, each_kind
from ..tools.waiting import settle

NOISE = random.Random(4).randbytes(1_000_000)


@each_kind
@pytest.mark.parametrize("how", ["lost", "closed"])
async def test_s19_a_drain_that_waits_when_the_connection_ends(kind: str, how: str) -> None:
    async with talking.talking(kind) as (session, raw, peer):
        reader, writer = session.as_stream()
        peer.pause_reading()
        writer.write(NOISE)
        draining = asyncio.ensure_future(writer.drain())
        await settle()
        assert not draining.done()
        if how == "lost":
            peer.abort()
        else:
            session.close_nowait(1000)  # cuts what waits
            await settle()
            raw.abort()
        with pytest.raises(ConnectionResetError):
            await bounded_wait(draining)
        with pytest.raises(ConnectionLost):
            await bounded_wait(reader.read())
        writer.close()
        with pytest.raises(ConnectionLost):
            await bounded_wait(writer.wait_closed())


@each_kind
async def test_s19_writes_behind_a_close_of_the_session(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream()
        session.close_nowait(1000)
        await bounded_wait(writer.drain())  # nothing was dropped
        writer.write(b"")
        await bounded_wait(writer.drain())
        writer.write(b"too late")
        with pytest.raises(ConnectionResetError, match="1000"):
            await bounded_wait(writer.drain())
        await peer.close(1000)
        assert await bounded_wait(reader.read()) == b""
        writer.close()


@each_kind
async def test_writes_behind_close_are_dropped_as_asyncio_does(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        _, writer = session.as_stream()
        writer.write(b"all")
        writer.close()
        writer.write(b"too late")
        writer.writelines([b"this", b"too"])
        with pytest.raises(TypeError):
            writer.write("text")
        await settle()
        assert [frame.payload for frame in talking.waiting(peer)] == [b"all", b"\x03\xe8"]


@each_kind
async def test_the_limit_of_the_reader(kind: str) -> None:
    line = NOISE[:150_000].replace(b"\n", b"") + b"\n"
    async with talking.talking(kind) as (session, _, peer):
        with pytest.raises(ValueError, match="Limit"):
            session.as_stream(limit=0)
        reader, writer = session.as_stream(limit=len(line))
        await peer.send(line)
        assert await bounded_wait(reader.readline()) == line
        await peer.send(b"aa" + line)
        with pytest.raises(ValueError, match="limit"):
            await bounded_wait(reader.readline())
        writer.close()
