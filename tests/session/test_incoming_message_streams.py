"""``receive_stream()`` on a managed session: one message, while it arrives."""

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
    Frame,
    FrameTooBig,
    InvalidPayload,
    Opcode,
    PerMessageDeflate,
    PolicyViolation,
    ProtocolViolation,
    SessionClosed,
    bounded,
)
from aiohttp_rawws.session.connection import READ_BUFFER
from aiohttp_rawws.wire.codec import encode_header

from ..tools import clock, peers
from ..tools.talking import bounded_wait, each_managed, masked, next_reason, on_a_line, talking
from ..tools.waiting import settle

MIB = 2**20
PAYLOAD = random.Random(1).randbytes(100_000)
WIRE = masked(2, PAYLOAD)
HEADER = len(WIRE) - len(PAYLOAD)
PING, CLOSE = masked(9, b"ping"), masked(8, b"\x03\xe8")
UNLIMITED_SIZE = PerMessageDeflate(max_inflated_size=None)
PONG = b"\x8a\x04ping"

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


def fragments(payload: bytes, size: int, opcode: int = 2, between: bytes = b"") -> bytes:
    """A message in fragments of ``size`` bytes, with ``between`` behind each but the last."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    return between.join(
        masked(opcode if number == 0 else 0, part, fin=number == len(parts) - 1) for number, part in enumerate(parts)
    )


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

# ---- one message --------------------------------------------------------------------------------


@on_the_clock
@each_way
@pytest.mark.parametrize("threshold", [None, 1000])
@pytest.mark.parametrize("cut", [1, 13, 1000, 10**6])
async def test_s2_one_message_however_it_comes(kind: str, way: str, threshold: int | None, cut: int) -> None:
    payload = PAYLOAD[: 2000 if cut < 100 else 100_000]
    wire = messages(kind, payload)[way]
    async with on_a_line(kind, frame_streaming_threshold=threshold) as (session, line):

        async def take() -> list[bytes]:
            got = []
            for number in range(3):
                async with session.receive_stream() as incoming:
                    assert incoming.header.opcode is incoming.header.kind is Opcode.BINARY
                    if number == 1:
                        assert incoming.size in (None, len(payload))
                        if way == "one frame":
                            assert incoming.size == len(payload)
                    chunks = [chunk async for chunk in incoming]
                    assert max(map(len, chunks)) <= READ_BUFFER
                    assert incoming.size == incoming.received == len(payload)
                    got.append(b"".join(chunks))
            return got

        taking = begun(take())
        everything = (deflated(payload, payload, payload) if way == "compressed" else wire * 3) + masked(1, b"next")
        if way == "compressed fragments":
            everything = deflated(payload, payload, payload, size=1000) + masked(1, b"next")
        for at in range(0, len(everything), cut):
            line.give(everything[at : at + cut])
            if at % 100 == 0:
                await asyncio.sleep(0)
        assert await bounded_wait(taking) == [payload] * 3
        assert (await bounded_wait(session.receive())).text == "next"
        assert line.take().count(PONG) == everything.count(PING)


@on_the_clock
@each_managed
async def test_s2_the_header_and_each_fragment_at_once(kind: str) -> None:
    async with on_a_line(kind) as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.give(masked(1, b"Hel", fin=False)[:6])
        incoming = await bounded_wait(entering)
        assert (incoming.header.kind, incoming.header.length, incoming.header.fin) == (Opcode.TEXT, 3, False)
        assert incoming.size is None
        for part in (b"H", b"el"):
            reading = begun(incoming.read(10))
            await settle()
            assert not reading.done()
            line.give(part)
            assert await bounded_wait(reading) == part
        line.give(PING + masked(0, b"lo", fin=False))
        assert await bounded_wait(incoming.read(10)) == b"lo"
        assert line.take() == PONG
        reading = begun(incoming.read(10))
        await settle()
        line.give(masked(0, b""))
        assert await bounded_wait(reading) == b""
        assert incoming.size == 5


@on_the_clock
async def test_the_header_is_that_on_the_wire() -> None:
    async with on_a_line("deflate") as (session, line):
        wire = deflated(bytes(10_000))
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.give(wire)
        incoming = await bounded_wait(entering)
        assert incoming.header.rsv1
        assert incoming.header.length == len(wire) - 6
        assert await incoming.read() == bytes(10_000)


# ---- who takes a message ------------------------------------------------------------------------


@on_the_clock
@each_way
@pytest.mark.parametrize("threshold", [None, 1000])
@pytest.mark.parametrize("take", ["receive", "iterate", "receive_nowait", "listen", "stream"])
@pytest.mark.parametrize("at", [1, 5000, None])
async def test_a_message_that_began_before(kind: str, way: str, threshold: int | None, take: str, at: Any) -> None:
    """It waits in pieces, and is joined for whatever does not stream it."""
    wire = messages(kind, PAYLOAD)[way] + masked(1, b"next")
    got: list[bytes] = []
    async with on_a_line(kind, frame_streaming_threshold=threshold) as (session, line):
        session.begin()
        line.give(wire[:at])
        if take == "listen":
            session.listen(lambda message: got.append(message.payload))
        elif take == "receive_nowait":
            while (message := session.receive_nowait()) is not None:
                got.append(message.payload)
        receive: Any = {
            "receive": lambda: session.receive(),
            "iterate": lambda: anext(session),
            "stream": lambda: whole(session),
        }.get(take)
        receiving = begun(receive()) if receive is not None else None
        await settle()
        line.give(b"" if at is None else wire[at:])
        if receiving is not None:
            for _ in range(2):
                message = await bounded_wait(receiving)
                got.append(message if isinstance(message, bytes) else message.payload)
                receiving = begun(receive())
            await settle()
            receiving.cancel()
        while take == "receive_nowait" and (message := session.receive_nowait()) is not None:
            got.append(message.payload)
        assert got == [PAYLOAD, b"next"]


@on_the_clock
@each_way
@pytest.mark.parametrize("steps", range(3))
async def test_s5_cancelling_the_wait_for_the_header(kind: str, way: str, steps: int) -> None:
    wire = messages(kind, PAYLOAD)[way]
    async with on_a_line(kind) as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.give(wire[:6000])
        for _ in range(steps):
            await asyncio.sleep(0)
        if entering.done():
            assert len(await entering.result().read(10)) == 10
            await entering.result().__aexit__(None, None, None)
            expected = [b"next"]
        else:
            entering.cancel()
            await settle()
            assert entering.cancelled()
            expected = [PAYLOAD, b"next"]
        receiving = begun(session.receive())
        line.give(wire[6000:] + masked(1, b"next"))
        for payload in expected:
            assert (await bounded_wait(receiving)).payload == payload
            receiving = begun(session.receive())
        await settle()
        receiving.cancel()


@on_the_clock
@each_managed
async def test_streams_and_messages_in_turn(kind: str) -> None:
    numbers = random.Random(4)
    sizes = [numbers.choice([0, 1, 200, 5000, 70_000, 300_000]) for _ in range(200)]
    async with talking(kind, incoming=bounded(8, max_bytes=50_000)) as (session, _, peer):

        async def send() -> None:
            for size in sizes:
                for at in range(0, size, 20_000):
                    await peer.send(Frame.binary(PAYLOAD[: min(size - at, 20_000)], fin=False))
                await peer.send(Frame.binary(b""))

        sending = begun(send())
        for size in sizes:
            how = numbers.choice(["receive", "stream", "read", "leave", "skip"])
            if how == "receive":
                assert len((await bounded_wait(session.receive())).payload) == size
                continue
            async with session.receive_stream() as incoming:
                if how == "stream":
                    assert sum([len(chunk) async for chunk in incoming]) == size
                elif how == "read":
                    assert len(await bounded_wait(incoming.read())) == size
                elif how == "skip":
                    await bounded_wait(incoming.read(10))
                    assert await bounded_wait(incoming.skip()) + incoming.received >= size
        await bounded_wait(sending)


@on_the_clock
@each_managed
async def test_a_second_receiver_is_refused(kind: str) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(WIRE[:1000])
        async with session.receive_stream() as incoming:
            for receive in (session.receive, lambda: anext(session), lambda: whole(session)):
                with pytest.raises(RuntimeError, match="a stream of this session is open"):
                    await receive()
            with pytest.raises(RuntimeError, match="a stream of this session is open"):
                session.listen(print)
            assert session.receive_nowait() is None
            line.give(WIRE[1000:] + masked(1, b"next"))
            assert await bounded_wait(incoming.read()) == PAYLOAD
            assert session.receive_nowait() is None
        assert session.receive_nowait().text == "next"
        session.listen(lambda message: None)
        with pytest.raises(RuntimeError, match="has a listener"):
            await whole(session)


# ---- S3: backpressure ---------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("when", ["before", "open"])
@pytest.mark.parametrize("size", [1000, MIB])
async def test_s3_a_reader_that_stops_stops_the_peer(when: str, size: int) -> None:
    """Also one that has not begun."""
    async with on_a_line("managed", max_frame_size=None, incoming=bounded(max_bytes=300_000)) as (session, line):
        session.begin()
        line.give(masked(2, b"", fin=False))
        stream = session.receive_stream()
        if when == "open":
            await stream.__aenter__()
        given = 0
        while line.is_reading():
            line.give(masked(0, bytes(size), fin=False))
            given += size
            assert given < 3 * MIB
        assert session.incoming_full
        assert 300_000 <= given <= 300_000 + max(size, READ_BUFFER)
        if when == "before":
            await stream.__aenter__()
        got = 0
        while not line.is_reading():
            got += len(await bounded_wait(stream.read(1000)))
        assert not session.incoming_full
        line.give(masked(0, b"end"))
        assert got + len(await bounded_wait(stream.read())) == given + 3
        await stream.__aexit__(None, None, None)


@on_the_clock
@each_managed
async def test_frames_behind_a_message_that_blocks(kind: str) -> None:
    """One read has brought more than fits. All of it comes, in order."""
    big = fragments(bytes(5000), 100)
    async with on_a_line(kind, max_message_size=2000, incoming=bounded(10, max_bytes=3000)) as (session, line):
        line.give(masked(1, b"first") + big + PING + masked(1, b"second") + big + big + masked(1, b"third"))
        assert await whole(session) == b"first"
        for _ in range(2):
            assert await bounded_wait(whole(session)) == bytes(5000)
            async with session.receive_stream() as incoming:
                await incoming.read(3)
            if _ == 0:
                assert await incoming_is_left(incoming)
        assert (await bounded_wait(session.receive())).text == "third"
        assert line.take() == PONG


async def incoming_is_left(incoming: Any) -> bool:
    with pytest.raises(RuntimeError, match="its block was left"):
        await incoming.read()
    return True


@on_the_clock
@each_managed
@pytest.mark.parametrize("on_overflow", ["suspend", "close"])
async def test_incoming_overflows(kind: str, on_overflow: Any) -> None:
    async with on_a_line(kind, incoming=bounded(3, on_overflow)) as (session, line):
        line.give(masked(2, b"0", fin=False))
        async with session.receive_stream() as incoming:
            for number in range(1, 4):
                line.give(masked(0, b"%d" % number, fin=False))
            if on_overflow == "suspend":
                assert await incoming.read(1) == b"0"
                line.give(masked(0, b"4"))
                assert await incoming.read() == b"1234" or not line.is_reading()
                return
            assert await incoming.read(10) == b"012"
            with pytest.raises(rawws.ChannelOverflow):
                await incoming.read(10)


# ---- S4: leaving early --------------------------------------------------------------------------


@on_the_clock
@each_way
@pytest.mark.parametrize("read", [0, 5000])
@pytest.mark.parametrize("at", [HEADER, 6000, None])
async def test_s4_leaving_early(kind: str, way: str, read: int, at: int | None) -> None:
    wire = messages(kind, PAYLOAD)[way] + masked(1, b"next") + WIRE
    async with on_a_line(kind) as (session, line):
        line.give(wire[:at])
        with contextlib.suppress(LookupError):
            async with session.receive_stream() as incoming:
                if read and at != HEADER:
                    await incoming.read(read)
                raise LookupError
        line.give(b"" if at is None else wire[at:])
        assert (await bounded_wait(session.receive())).text == "next"
        assert (await bounded_wait(session.receive())).payload == PAYLOAD


@on_the_clock
@pytest.mark.parametrize("kind", ["managed", "deflate"])
async def test_s4_the_rest_costs_no_memory_and_does_not_stop_reading(kind: str) -> None:
    fragment = masked(0, bytes(MIB), fin=False)
    async with on_a_line(kind, incoming=bounded(4, max_bytes=1000)) as (session, line):
        line.give(masked(2, bytes(MIB), fin=False))
        async with session.receive_stream():
            assert not line.is_reading()
        assert line.is_reading()
        tracemalloc.start()
        for _ in range(50):
            line.give(fragment)
            assert line.is_reading()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * MIB
        line.give(PING)
        assert line.take() == PONG
        line.give(masked(0, b"") + masked(1, b"next"))
        assert (await bounded_wait(session.receive())).text == "next"


# ---- S5, S6: cancelling, and the end inside a message -------------------------------------------


@on_the_clock
@each_way
async def test_s5_cancelling_a_read_loses_nothing(kind: str, way: str) -> None:
    wire = messages(kind, PAYLOAD)[way]
    async with on_a_line(kind) as (session, line):
        line.give(wire[:3010])
        async with session.receive_stream() as incoming:
            got = await incoming.read(10)
            for at in range(3010, len(wire), 5000):
                reading = begun(incoming.read())
                await settle()
                reading.cancel()
                line.give(wire[at : at + 5000])
                await settle()
                assert reading.cancelled()
                got += await incoming.read(3)
            assert got + await bounded_wait(incoming.read()) == PAYLOAD


@on_the_clock
@each_managed
@pytest.mark.parametrize("how", ["eof", "reset", "abort", "close", "our close"])
@pytest.mark.parametrize("waits", [False, True])
async def test_s6_the_end_inside_a_message(kind: str, how: str, waits: bool) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(masked(2, PAYLOAD, fin=False))
        async with session.receive_stream() as incoming:
            reading = begun(incoming.read())
            if waits:
                await settle()
            if how == "eof":
                line.end()
            elif how == "reset":
                line.lose(ConnectionResetError())
            elif how == "abort":
                session.abort()
            else:
                if how == "our close":
                    session.close_nowait(4000)
                line.give(masked(8, b"\x0f\xa1"))
            error = ConnectionLost if how in ("eof", "reset", "abort") else SessionClosed
            with pytest.raises(error, match=r"; 100000 bytes of the stream had arrived") as raised:
                await bounded_wait(reading)
            assert (raised.value.bytes_received, raised.value.size) == (len(PAYLOAD), None)
            assert raised.value.received == (4001 if "close" in how else None)
            assert session.owns(raised.value)
            assert await incoming.read(10) == PAYLOAD[:10], "it was not given yet"
        with pytest.raises(error):
            await session.receive()


@on_the_clock
async def test_s6_loss_inside_one_frame() -> None:
    async with on_a_line("managed") as (session, line):
        line.give(WIRE[:1000])
        async with session.receive_stream() as incoming:
            line.end()
            with pytest.raises(ConnectionLost, match=f"inside a frame; {1000 - HEADER} of 100000 bytes"):
                await bounded_wait(incoming.read())


@on_the_clock
@each_managed
@pytest.mark.parametrize("waits", [False, True])
async def test_the_end_before_a_message(kind: str, waits: bool) -> None:
    async with on_a_line(kind) as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        if waits:
            await settle()
        line.give(CLOSE)
        with pytest.raises(SessionClosed) as raised:
            await bounded_wait(entering)
        assert raised.value.received == 1000 and raised.value.bytes_received is None


@on_the_clock
@each_managed
async def test_s8_a_close_is_seen_and_what_came_before_it_can_be_read(kind: str) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(fragments(PAYLOAD, 1000, between=PING) + masked(1, b"next") + CLOSE)
        async with session.receive_stream() as incoming:
            assert await incoming.read() == PAYLOAD
        assert (await session.receive()).text == "next"
        with pytest.raises(SessionClosed):
            await bounded_wait(session.receive())
        assert line.take().endswith(b"\x88\x02\x03\xe8")


@on_the_clock
@each_managed
async def test_s8_our_close_is_answered_while_a_stream_is_not_read(kind: str) -> None:
    """Reading goes on to the peer's Close; the stream is cut there, and says so."""
    async with on_a_line(kind, incoming=bounded(max_bytes=1000)) as (session, line):
        line.give(masked(2, bytes(5000), fin=False))
        async with session.receive_stream() as incoming:
            assert not line.is_reading()
            closing = begun(session.close(4000))
            await settle()
            assert line.is_reading()
            line.give(masked(0, bytes(5000)) + masked(8, b"\x0f\xa0"))
            await settle()
            line.take()
            line.end()
            await bounded_wait(closing)
            assert len(await incoming.read(10_000)) == 5000
            with pytest.raises(SessionClosed):
                await bounded_wait(incoming.read())


# ---- S13: text ----------------------------------------------------------------------------------


@on_the_clock
@each_managed
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
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
@pytest.mark.parametrize("at", [20, 3500, None])
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
