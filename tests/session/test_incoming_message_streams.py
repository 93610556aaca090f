"""``receive_stream()`` on a managed session: one message, while it arrives."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import (
    ConnectionLost,
    Frame,
    Opcode,
    SessionClosed,
    bounded,
)
from aiohttp_rawws.session.connection import READ_BUFFER

from ..tools.streams import (
    CLOSE,
    HEADER,
    MIB,
    PAYLOAD,
    PING,
    PONG,
    WIRE,
    begun,
    deflated,
    each_way,
    fragments,
    messages,
    on_the_clock,
    whole,
)
from ..tools.talking import bounded_wait, each_managed, masked, on_a_line, talking
from ..tools.waiting import settle

# ---- one message --------------------------------------------------------------------------------


@on_the_clock
@each_way
@pytest.mark.parametrize(("threshold", "cut"), [(None, 1), (1000, 13), (None, 1000), (1000, 10**6)])
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
@pytest.mark.parametrize("way", ["one frame", "fragments"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_message_behind_the_one_that_receive_waited_for(kind: str, way: str, together: bool) -> None:
    """Whoever waits for an order gets it, and the message behind it in the same read is still for the stream."""
    size = 100_000
    wire = masked(2, PAYLOAD[:size])
    if way == "fragments":
        parts = [PAYLOAD[at : at + 10_000] for at in range(0, size, 10_000)]
        wire = b"".join(masked(0 if n else 2, part, fin=n == len(parts) - 1) for n, part in enumerate(parts))
    options: Any = {"frame_streaming_threshold": 1000, "max_message_size": 50_000, "max_frame_size": None}
    async with on_a_line(kind, **options) as (session, line):
        waiting = begun(session.receive())
        await settle()
        if together:
            line.give(masked(1, b"upload") + wire[:20_000])
        else:
            line.give(masked(1, b"upload"))
            line.give(wire[:20_000])
        line.give(wire[20_000:90_000])
        assert (await bounded_wait(waiting)).text == "upload"
        async with session.receive_stream() as incoming:
            reading = begun(incoming.read(size))
            await settle()
            line.give(wire[90_000:])
            got = await bounded_wait(reading)
            while chunk := await bounded_wait(incoming.read(size)):
                got += chunk
        assert got == PAYLOAD[:size]


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
@pytest.mark.parametrize("take", ["receive", "iterate", "receive_nowait", "listen", "stream"])
@pytest.mark.parametrize(("threshold", "at"), [(None, 1), (None, 5000), (1000, 5000), (None, None)])
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
