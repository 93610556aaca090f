"""``receive_stream()`` on a managed session: text, compression, limits, keepalive."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
import zlib
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import (
    ConnectionLost,
    FrameTooBig,
    InvalidPayload,
    PerMessageDeflate,
    PolicyViolation,
    ProtocolViolation,
    bounded,
)
from aiohttp_rawws.session.connection import READ_BUFFER

from ..tools import clock, peers
from ..tools.streams import (
    CLOSE,
    HEADER,
    MIB,
    PAYLOAD,
    PING,
    UNLIMITED_SIZE,
    WIRE,
    begun,
    deflated,
    each_way,
    fragments,
    messages,
    on_the_clock,
    whole,
)
from ..tools.talking import bounded_wait, each_managed, masked, next_reason, on_a_line, talking
from ..tools.waiting import settle

# ---- S13: text ----------------------------------------------------------------------------------


@on_the_clock
@each_managed
@pytest.mark.parametrize("cut", [1, 3, 1000])
async def test_s13_text(kind: str, cut: int) -> None:
    text = "".join(map(chr, (*range(0x20, 0x300), 0x20AC, 0x1F600))) * 3
    wire = fragments(text.encode(), 5 * cut, opcode=1, between=PING)
    async with on_a_line(kind) as (session, line):

        async def read() -> str:
            async with session.receive_stream() as incoming:
                return "".join([part async for part in incoming.text()])

        reading = begun(read())
        for at in range(0, len(wire), cut):
            line.give(wire[at : at + cut])
            if at % 50 == 0:
                await asyncio.sleep(0)
        assert await bounded_wait(reading) == text


@on_the_clock
@each_managed
@pytest.mark.parametrize("skips", [False, True])
async def test_s13_bad_utf8_fails_at_its_byte(kind: str, skips: bool) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(masked(1, b"abc\xe2\x82", fin=False) + masked(0, bytes(70_000), fin=False)[:14])
        async with session.receive_stream() as incoming:
            if not skips:
                assert await incoming.read(10) == b"abc\xe2\x82"
                reading = begun(incoming.read(10))
                await settle()
        line.give(b"x")  # which does not continue the character
        if not skips:
            with contextlib.suppress(RuntimeError, InvalidPayload):
                await bounded_wait(reading)
        with pytest.raises(InvalidPayload, match="Text is not UTF-8"):
            await bounded_wait(session.receive())
        assert b"\x03\xef" in line.take(), "a Close with 1007"


@on_the_clock
@each_managed
async def test_s13_text_that_ends_inside_a_character(kind: str) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(masked(1, b"abc", fin=False) + masked(0, b"\xe2\x82"))
        async with session.receive_stream() as incoming:
            with pytest.raises(InvalidPayload):
                await bounded_wait(incoming.read())
        assert b"\x03\xef" in line.take()


# ---- S14: compression ---------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("size", [None, 1000])
async def test_s14_a_bomb_costs_no_memory(size: int | None) -> None:
    """60 MiB in 60 KB: it is inflated as it is read, and the frames behind it wait."""
    wire = deflated(bytes(60 * MIB), b"next", size=size)
    async with on_a_line("deflate", config=UNLIMITED_SIZE, incoming=bounded(max_bytes=100_000)) as (session, line):
        tracemalloc.start()
        session.begin()
        line.give(wire)
        assert not line.is_reading()
        async with session.receive_stream() as incoming:
            total = 0
            async for chunk in incoming:
                total += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == 60 * MIB
        assert peak < 2 * MIB
        assert (await bounded_wait(session.receive())).payload == b"next"


@on_the_clock
@pytest.mark.parametrize("taken", [0, 10, 200_000])
async def test_s14_leaving_a_bomb(taken: int) -> None:
    wire = deflated(bytes(50 * MIB), b"next")
    async with on_a_line("deflate", config=UNLIMITED_SIZE, incoming=bounded(max_bytes=100_000)) as (session, line):
        line.give(wire[:-10])
        tracemalloc.start()
        async with session.receive_stream() as incoming:
            while incoming.received < taken:
                await incoming.read(taken)
        line.give(wire[-10:])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * MIB
        assert (await bounded_wait(session.receive())).payload == b"next"


async def test_s14_limits_of_the_inflated_size() -> None:
    for config, limits, option in (
        (PerMessageDeflate(max_inflated_size=500_000), {}, "max_inflated_size"),
        (PerMessageDeflate(max_ratio=10.0), {}, "max_ratio"),
        (PerMessageDeflate(), {"max_size": 500_000}, "max_size"),
    ):
        async with talking("deflate", config=config) as (session, _, peer):
            await peer.send(bytes(MIB))
            got = 0
            with pytest.raises(FrameTooBig) as raised:
                async with session.receive_stream(**limits) as incoming:
                    while chunk := await bounded_wait(incoming.read(100_000)):
                        got += len(chunk)
            assert raised.value.option == option
            assert got <= 500_000
            assert (await next_reason(peer)).code == 1009
            assert session.limit == option


@on_the_clock
async def test_s14_data_that_does_not_inflate() -> None:
    async with on_a_line("deflate") as (session, line):
        line.give(masked(2, b"\xff\xff\xff", rsv1=True, fin=False))
        with pytest.raises(InvalidPayload):
            await bounded_wait(whole(session))
        assert b"\x03\xef" in line.take()


# ---- S15: limits --------------------------------------------------------------------------------


@on_the_clock
@each_way
@pytest.mark.parametrize("threshold", [None, 1000])
@pytest.mark.parametrize("early", [False, True])
async def test_s15_max_message_size_does_not_cut_streams(
    kind: str, way: str, threshold: int | None, early: bool
) -> None:
    wire = messages(kind, PAYLOAD)[way]
    options: dict[str, Any] = {"max_message_size": 5000, "frame_streaming_threshold": threshold}
    async with on_a_line(kind, **options) as (session, line):
        session.begin()
        if early:
            line.give(wire)
        streaming = begun(whole(session))
        await settle()
        if not early:
            line.give(wire)
        assert await bounded_wait(streaming) == PAYLOAD
        line.give(wire[:3000])
        receiving = begun(session.receive())
        await settle()
        line.give(wire[3000:])
        with pytest.raises(FrameTooBig) as raised:
            await bounded_wait(receiving)
        assert raised.value.option == "max_message_size"
        assert b"\x03\xf1" in line.take()


@on_the_clock
@each_way
@pytest.mark.parametrize("take", ["receive", "receive_nowait", "listen"])
@pytest.mark.parametrize("at", [20, None])
async def test_max_message_size_holds_for_what_waited_in_pieces(kind: str, way: str, take: str, at: Any) -> None:
    wire = messages(kind, PAYLOAD)[way]
    async with on_a_line(kind, max_message_size=3000) as (session, line):
        session.begin()
        line.give(wire[:at])
        if take == "receive":
            receiving = begun(session.receive())
            await settle()
        elif take == "listen":
            receiving = begun(session.listen(lambda message: pytest.fail("it is too big")))
        else:
            assert session.receive_nowait() is None
        line.give(b"" if at is None else wire[at:])
        if take == "receive_nowait":
            assert session.receive_nowait() is None
            receiving = begun(session.receive())
        with pytest.raises(FrameTooBig) as raised:
            await bounded_wait(receiving)
        assert raised.value.option == "max_message_size"


@on_the_clock
@each_way
async def test_s15_max_size(kind: str, way: str) -> None:
    wire = messages(kind, PAYLOAD)[way]
    async with on_a_line(kind) as (session, line):
        line.give(wire)
        assert await bounded_wait(whole(session, max_size=len(PAYLOAD))) == PAYLOAD
    async with on_a_line(kind) as (session, line):
        line.give(wire[:-1])
        with pytest.raises(FrameTooBig) as raised:
            await bounded_wait(whole(session, max_size=50_000))
        assert (raised.value.option, raised.value.limit) == ("max_size", 50_000)
        assert session.owns(raised.value)
        await settle()
        assert b"\x03\xf1" in line.take(), "a Close with 1009"
        assert session.limit == "max_size"


@on_the_clock
async def test_max_fragments_holds() -> None:
    async with on_a_line("managed", max_fragments=10) as (session, line):
        line.give(fragments(bytes(10), 1))
        assert await bounded_wait(whole(session)) == bytes(10)
        line.give(fragments(bytes(11), 1))
        with pytest.raises(PolicyViolation):
            await bounded_wait(whole(session))


@on_the_clock
@each_managed
async def test_a_violation_inside_a_message(kind: str) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(masked(2, b"begun", fin=False) + masked(2, b"another"))
        async with session.receive_stream() as incoming:
            assert await incoming.read(100) == b"begun"
            with pytest.raises(ProtocolViolation):
                await bounded_wait(incoming.read())


@on_the_clock
async def test_a_reserved_bit() -> None:
    async with on_a_line("managed") as (session, line):
        line.give(masked(2, b"begun", rsv2=True, fin=False))
        with pytest.raises(ProtocolViolation, match="RSV2"):
            await bounded_wait(whole(session))


# ---- S12: keepalive -----------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("keepalive", [rawws.Periodic(), rawws.WhenIdle()])
async def test_s12_keepalive_and_one_large_frame(keepalive: Any) -> None:
    """No Pong can come inside a frame. Bytes of it are enough, and a frame that stands still is not."""
    options: dict[str, Any] = {"ping_interval": 10.0, "timeout": 5.0, "keepalive": keepalive, "max_frame_size": None}
    async with on_a_line("managed", **options) as (session, line):
        line.give(WIRE[:1000])
        async with session.receive_stream() as incoming:
            for at in range(1000, 21_000, 1000):
                await clock.advance(3.0)
                line.give(WIRE[at : at + 1000])
                assert await incoming.read(1000) and not session.closed
            await clock.advance(60.0)
            with pytest.raises(ConnectionLost, match="Ping timeout"):
                await bounded_wait(incoming.read())


@on_the_clock
async def test_s12_keepalive_while_the_reader_is_behind() -> None:
    options: dict[str, Any] = {"ping_interval": 10.0, "timeout": 5.0, "incoming": bounded(max_bytes=1000)}
    async with on_a_line("managed", **options) as (session, line):
        line.give(masked(2, bytes(2000), fin=False))
        async with session.receive_stream() as incoming:
            await clock.advance(100.0)
            assert not session.closed
            assert len(await incoming.read(5000)) == 2000


# ---- S16, S20 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 1000])
@pytest.mark.parametrize("early", [0, HEADER, 5000, len(WIRE)])
async def test_s16_the_first_message(threshold: int | None, early: int) -> None:
    got: list[Any] = []

    async def take(session: Any) -> None:
        async with session.receive_stream() as incoming:
            got.append(incoming.size)
            got.append(await incoming.read())

    options: dict[str, Any] = {"frame_streaming_threshold": threshold, "max_message_size": 1000}
    app = web.Application()
    app.add_routes([rawws.websocket("/", take, **options)])
    async with peers.serving(app) as served, served.peer() as peer:
        await peer.open(early=WIRE[:early])
        await peer.send(WIRE[early:] + CLOSE)
        await peer.read_to_end()
    assert got == [len(PAYLOAD), PAYLOAD]


@on_the_clock
async def test_s20_tiny_fragments_of_a_fast_peer() -> None:
    async with on_a_line("managed", incoming=rawws.UNLIMITED) as (session, line):
        line.give(fragments(bytes(10_000), 1))
        async with session.receive_stream() as incoming:
            sizes = [len(chunk) async for chunk in incoming]
        assert len(sizes) == 1
        line.give(masked(2, bytes(2 * MIB)))
        async with session.receive_stream() as incoming:
            sizes = [len(chunk) async for chunk in incoming]
        assert max(sizes) <= READ_BUFFER


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_browser_sized_upload_over_sockets(tls: bool) -> None:
    """20 MiB from aiohttp's client, compressed and not, with pings meanwhile."""
    got: list[tuple[int, int]] = []

    async def take(session: Any) -> None:
        async with session.receive_stream() as incoming:
            checksum = 0
            async for chunk in incoming:
                checksum = zlib.crc32(chunk, checksum)
        got.append((incoming.received, checksum))
        await session.send("done")

    payload = random.Random(5).randbytes(2 * MIB) * 10
    app = web.Application()
    app.add_routes([rawws.websocket("/", take, max_frame_size=None, extensions=[UNLIMITED_SIZE])])
    async with peers.serving(app, tls=tls) as served:
        context = peers.certificates()[1] if tls else None
        async with aiohttp.ClientSession() as client:
            for compress in (0, 15):
                url = f"{'https' if tls else 'http'}://127.0.0.1:{served.port}/"
                async with client.ws_connect(url, compress=compress, ssl=context or True) as socket:
                    await socket.send_bytes(payload)
                    assert await bounded_wait(socket.receive_str()) == "done"
    assert got == [(len(payload), zlib.crc32(payload))] * 2
