"""``receive_stream()`` on a raw session: its limits, the ways to read, inflated frames, sockets."""

from __future__ import annotations

import asyncio
import codecs
import random
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import (
    FrameChunk,
    FrameTooBig,
    InvalidPayload,
    PerMessageDeflate,
    bounded,
)
from aiohttp_rawws.session.connection import READ_BUFFER

from ..tools import peers
from ..tools.streams import (
    HEADER,
    MIB,
    PAYLOAD,
    WIRE,
    begun,
    chunks_of,
    on_the_clock,
    waits_for_header,
    whole,
)
from ..tools.talking import bounded_wait, masked, next_reason, on_a_line, talking
from ..tools.waiting import eventually, settle

# ---- S15: limits --------------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("arrived", [HEADER, 5000, len(WIRE)])
@pytest.mark.parametrize("on_violation", ["close", "raise"])
async def test_s15_max_size(arrived: int, on_violation: Any) -> None:
    async with on_a_line("raw", on_violation=on_violation) as (session, line):
        line.give(WIRE + WIRE[:arrived])
        assert await whole(session, max_size=len(PAYLOAD)) == PAYLOAD
        with pytest.raises(FrameTooBig, match=r"Frame is too big: 100000\. Max size is 99999") as raised:
            await bounded_wait(whole(session, max_size=len(PAYLOAD) - 1))
        assert (raised.value.option, raised.value.limit, raised.value.frame_size) == ("max_size", 99_999, 100_000)
        assert session.owns(raised.value)
        assert (b"\x03\xf1" in line.take()) == (on_violation == "close"), "a Close with 1009"
        with pytest.raises(FrameTooBig):
            await bounded_wait(session.receive())


@on_the_clock
async def test_s15_max_frame_size_holds_at_the_header() -> None:
    async with on_a_line("raw", max_frame_size=99_999) as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.give(WIRE[:HEADER])
        with pytest.raises(FrameTooBig) as raised:
            await bounded_wait(entering)
        assert raised.value.option == "max_frame_size"


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_s15_max_size_is_counted(managed: bool) -> None:
    async def take(session: Any) -> None:
        await whole(session, max_size=1000)

    app = web.Application()
    rawws.setup(app)
    app.add_routes([rawws.websocket("/", take) if managed else rawws.websocket_raw("/", take)])
    async with peers.serving(app) as served, served.peer() as peer:
        await peer.open()
        await peer.send(WIRE[:2000])
        assert b"\x03\xf1" in await peer.read_to_end()
    assert app[rawws.WEBSOCKETS].refused == {"max_size": 1}


@pytest.mark.parametrize("value", [-1, 0, "1", 1.5, True])
async def test_max_size_is_checked(value: Any) -> None:
    async with on_a_line("raw") as (session, _):
        with pytest.raises((ValueError, TypeError), match="max_size"):
            session.receive_stream(max_size=value)


# ---- S16: the first frame -----------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 1000])
@pytest.mark.parametrize("early", [0, 1, 5, HEADER, 5000, len(WIRE)])
async def test_s16_the_first_frame(threshold: int | None, early: int) -> None:
    got: list[Any] = []

    async def take(session: Any) -> None:
        async with session.receive_stream() as incoming:
            got.append(incoming.size)
            got.append(await incoming.read())

    options: dict[str, Any] = {"frame_streaming_threshold": threshold, "max_frame_size": None}
    app = web.Application()
    app.add_routes([rawws.websocket_raw("/", take, **options)])
    async with peers.serving(app) as served, served.peer() as peer:
        await peer.open(early=WIRE[:early])
        await peer.send(WIRE[early:])
        await peer.read_to_end()
    assert got == [len(PAYLOAD), PAYLOAD]


# ---- S20: sizes of chunks -----------------------------------------------------------------------


@on_the_clock
async def test_s20_chunks_follow_reads() -> None:
    big = masked(2, bytes(10 * MIB))
    async with on_a_line("raw", max_frame_size=None, incoming=rawws.UNLIMITED) as (session, line):
        async with waits_for_header(session, line, big) as incoming:
            reading = begun(chunks_of(incoming))
            line.give(big[HEADER:])
            sizes = [len(chunk) for chunk in await bounded_wait(reading)]
        assert max(sizes) <= READ_BUFFER
        assert len(sizes) <= 10 * MIB // READ_BUFFER + 1
        line.give(big)  # collected whole
        async with session.receive_stream() as incoming:
            sizes = [len(chunk) for chunk in await bounded_wait(chunks_of(incoming))]
        assert sizes == [READ_BUFFER] * (10 * MIB // READ_BUFFER)


# ---- one at a time ------------------------------------------------------------------------------


@on_the_clock
async def test_a_second_receiver_is_refused() -> None:
    async with on_a_line("raw") as (session, line):
        async with waits_for_header(session, line) as incoming:
            reading = begun(incoming.read())
            await settle()
            for receive in (session.receive, lambda: anext(session), lambda: whole(session)):
                with pytest.raises(RuntimeError, match="a stream of this session is open"):
                    await receive()
            with pytest.raises(RuntimeError, match="a stream of this session is open"):
                session.listen(print)
            assert session.receive_nowait() is None
            for read in (incoming.read, lambda: incoming.read(1), incoming.skip, lambda: anext(incoming)):
                with pytest.raises(RuntimeError, match="another task is already reading"):
                    await read()
            with pytest.raises(RuntimeError, match="entered once"):
                await incoming.__aenter__()
            line.give(WIRE[HEADER:])
            assert await bounded_wait(reading) == PAYLOAD
        line.give(masked(1, b"next"))
        assert (await session.receive()).text == "next"

        receiving = begun(session.receive())
        await settle()
        with pytest.raises(RuntimeError, match="another task is already receiving"):
            await whole(session)
        line.give(masked(1, b"x"))
        await bounded_wait(receiving)
        session.listen(lambda frame: None)
        with pytest.raises(RuntimeError, match="has a listener"):
            await whole(session)


@on_the_clock
async def test_a_stream_that_was_not_entered() -> None:
    async with on_a_line("raw") as (session, line):
        line.give(WIRE)
        stream = session.receive_stream()
        with pytest.raises(RuntimeError, match="async with"):
            await stream.read()
        with pytest.raises(RuntimeError, match="async with"):
            stream.header  # noqa: B018
        assert (await session.receive()).payload == PAYLOAD


@on_the_clock
async def test_a_frame_that_receive_has_begun_with() -> None:
    async with on_a_line("raw", frame_streaming_threshold=0) as (session, line):
        line.give(WIRE[:100])
        assert isinstance(await session.receive(), FrameChunk)
        line.give(WIRE[100:])
        with pytest.raises(RuntimeError, match="receive\\(\\) has taken a part of this frame"):
            await whole(session)
        assert (await session.receive()).last


# ---- reading ------------------------------------------------------------------------------------


@on_the_clock
async def test_ways_of_reading() -> None:
    async with on_a_line("raw") as (session, line), waits_for_header(session, line) as incoming:
        line.give(WIRE[HEADER:])
        assert await incoming.read(0) == b""
        assert await incoming.read(10) == PAYLOAD[:10]
        buffer = bytearray(100)
        assert await incoming.readinto(buffer) == 100 and buffer == PAYLOAD[10:110]
        assert await incoming.readinto(memoryview(buffer)[50:60]) == 10 and buffer[50:60] == PAYLOAD[110:120]
        assert await incoming.readinto(bytearray()) == 0
        assert await anext(incoming) == PAYLOAD[120:]
        assert await incoming.readinto(buffer) == 0
        with pytest.raises(StopAsyncIteration):
            await anext(incoming)
        assert await incoming.skip() == 0


@on_the_clock
async def test_readinto_takes_what_waits() -> None:
    async with on_a_line("raw") as (session, line), waits_for_header(session, line) as incoming:
        for at in range(HEADER, HEADER + 60_000, 20_000):
            line.give(WIRE[at : at + 20_000])
        buffer = bytearray(50_000)
        assert await incoming.readinto(buffer) == 50_000 and buffer == PAYLOAD[:50_000]
        assert await incoming.readinto(buffer) == 10_000 and buffer[:10_000] == PAYLOAD[50_000:60_000]
        assert incoming.received == 60_000


@on_the_clock
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 10_000])
async def test_s13_text(cut: int) -> None:
    """A character that chunks cut comes out whole. A frame's end inside one, in a fragment, is for the next frame."""
    text = "".join(map(chr, (*range(0x20, 0x300), 0x20AC, 0x1F600))) * 3
    data = text.encode()
    for at in (0, 901, len(data)):
        decoder = codecs.getincrementaldecoder("utf-8")()
        async with on_a_line("raw") as (session, line):

            async def read(session: Any = session, decoder: Any = decoder) -> str:
                parts = []
                for _ in range(2):
                    async with session.receive_stream() as incoming:
                        parts += [part async for part in incoming.text(decoder)]
                return "".join(parts)

            reading = begun(read())
            wire = masked(1, data[:at], fin=False) + masked(0, data[at:])
            for start in range(0, len(wire), cut):
                line.give(wire[start : start + cut])
                await asyncio.sleep(0)
            assert await bounded_wait(reading) == text


@on_the_clock
@pytest.mark.parametrize(("data", "good"), [(b"abc\xffdef", ""), (b"abc\xe2\x82", "abc")])
async def test_s13_text_that_is_none(data: bytes, good: str) -> None:
    async with on_a_line("raw") as (session, line):
        line.give(masked(1, data))
        async with session.receive_stream() as incoming:
            got = []
            with pytest.raises(InvalidPayload, match="not UTF-8"):
                async for part in incoming.text():
                    got.append(part)
            assert "".join(got) == good


# ---- extensions on a raw session ----------------------------------------------------------------


@pytest.mark.parametrize("compressible", [False, True])
async def test_s14_inflated_frames(compressible: bool) -> None:
    payload = bytes(3 * MIB) if compressible else random.Random(2).randbytes(3 * MIB)
    async with talking("applied", incoming=bounded(max_bytes=100_000)) as (session, _, peer):
        sending = begun(peer.send(payload))
        async with session.receive_stream() as incoming:
            assert incoming.size is None
            chunks = await bounded_wait(chunks_of(incoming))
            assert incoming.size == incoming.received == len(payload)
        assert b"".join(chunks) == payload
        assert max(map(len, chunks)) <= READ_BUFFER
        await bounded_wait(sending)
        await peer.send("next")
        assert (await bounded_wait(session.receive())).text == "next"


async def test_s14_leaving_an_inflated_frame() -> None:
    async with talking("applied", incoming=bounded(max_bytes=100_000)) as (session, _, peer):
        for _ in range(3):
            sending = begun(peer.send(bytes(3 * MIB)))
            async with session.receive_stream() as incoming:
                await incoming.read(10)
            await bounded_wait(sending)
        await peer.send("next")
        assert (await bounded_wait(session.receive())).text == "next"


async def test_s14_max_size_of_an_inflated_frame() -> None:
    async with talking("applied") as (session, _, peer):
        await peer.send(bytes(MIB))
        with pytest.raises(FrameTooBig) as raised:
            await bounded_wait(whole(session, max_size=500_000))
        assert raised.value.option == "max_size"
        assert (await next_reason(peer)).code == 1009


async def test_s14_max_inflated_size() -> None:
    async with talking("applied", config=PerMessageDeflate(max_inflated_size=500_000)) as (session, _, peer):
        await peer.send(bytes(MIB))
        with pytest.raises(FrameTooBig) as raised:
            await bounded_wait(whole(session))
        assert raised.value.option == "max_inflated_size"


# ---- over sockets -------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_s4_over_sockets(tls: bool) -> None:
    """Some streams read, some left, all with the next frame behind them."""
    got: list[bytes] = []

    async def take(session: Any) -> None:
        for number in range(6):
            async with session.receive_stream() as incoming:
                if number % 2:
                    got.append(await incoming.read())
                else:
                    got.append(await incoming.read(1))
            got.append((await session.receive()).payload)

    app = web.Application()
    app.add_routes([rawws.websocket_raw("/", take)])
    payload = random.Random(3).randbytes(2 * MIB)
    async with peers.serving(app, tls=tls) as served, served.peer() as peer:
        await peer.open()
        for number in range(6):
            await peer.send(masked(2, payload), masked(9, b"%d" % number))
        await peer.read_to_end()
    assert [len(data) for data in got[::2]] == [1, len(payload)] * 3 or [d[:1] for d in got[::2]] == [payload[:1]] * 6
    assert [data for data in got[::2] if len(data) == len(payload)] == [payload] * 3
    assert got[1::2] == [b"%d" % number for number in range(6)]


async def test_many_streams_one_after_the_other() -> None:
    """Frames of all sizes, each as a stream, with nothing lost between them."""
    sizes = [random.Random(size).choice([0, 1, 125, 126, 1000, 65535, 65536, 300_000]) for size in range(100)]
    async with talking("raw", max_frame_size=None) as (session, _, peer):

        async def send() -> None:
            for size in sizes:
                await peer.send(bytes(size))

        sending = begun(send())
        assert [len(await bounded_wait(whole(session))) for _ in sizes] == sizes
        await bounded_wait(sending)
        await eventually(lambda: session.frames_waiting == 0)
