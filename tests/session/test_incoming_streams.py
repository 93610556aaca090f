"""``receive_stream()`` on a raw session: one frame of any kind, while it arrives."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import tracemalloc
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import (
    ConnectionLost,
    Frame,
    Opcode,
    SessionClosed,
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
from ..tools.talking import bounded_wait, masked, on_a_line
from ..tools.waiting import settle

# ---- S2: the header first -----------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("threshold", [None, 0, 1000])
async def test_s2_header_before_payload_and_bytes_before_the_rest(threshold: int | None) -> None:
    async with on_a_line("raw", frame_streaming_threshold=threshold) as (session, line):
        async with waits_for_header(session, line) as incoming:
            assert incoming.header == rawws.FrameHeader(
                Opcode.BINARY, len(PAYLOAD), Opcode.BINARY, masking_key=bytes(4)
            )
            assert (incoming.size, incoming.received) == (len(PAYLOAD), 0)
            reading = begun(incoming.read(10))
            await settle()
            assert not reading.done()
            line.give(WIRE[HEADER : HEADER + 1])
            assert await bounded_wait(reading) == PAYLOAD[:1]
            line.give(WIRE[HEADER + 1 :])
            assert b"".join(await bounded_wait(chunks_of(incoming))) == PAYLOAD[1:]
            assert incoming.received == incoming.size == len(PAYLOAD)
            assert await incoming.read() == await incoming.read(5) == b""


@on_the_clock
@pytest.mark.parametrize("at", [0, 1, 2, HEADER - 1, HEADER, HEADER + 1, 5000, len(WIRE) - 1, len(WIRE)])
@pytest.mark.parametrize("waits", [False, True])
async def test_wherever_the_frame_is_when_it_is_asked_for(at: int, waits: bool) -> None:
    """With no option: a part that was collected is given first. The frames around it come as ever."""
    async with on_a_line("raw") as (session, line):
        line.give(masked(1, b"before") + WIRE[:at])
        assert (await session.receive()).text == "before"
        stream = session.receive_stream()
        entering = begun(stream.__aenter__())
        if waits:
            await settle()
        line.give(WIRE[at:] + masked(9, b"ping") + WIRE)
        incoming = await bounded_wait(entering)
        assert await bounded_wait(incoming.read()) == PAYLOAD
        await stream.__aexit__(None, None, None)
        assert await session.receive() == Frame.ping(b"ping")
        frame = await session.receive()  # whole, since no stream has asked for it
        assert isinstance(frame, Frame) and frame.payload == PAYLOAD


@on_the_clock
@pytest.mark.parametrize("threshold", [None, 0])
async def test_every_kind_of_frame(threshold: int | None) -> None:
    wire = [
        (masked(2, b""), b"", Opcode.BINARY),
        (masked(1, b"text", fin=False), b"text", Opcode.TEXT),
        (masked(9, b"ping"), b"ping", Opcode.PING),
        (masked(0, bytes(70_000)), bytes(70_000), Opcode.CONTINUATION),
        (masked(10, b"pong"), b"pong", Opcode.PONG),
        (masked(2, bytes(1000), rsv1=True, rsv3=True), bytes(1000), Opcode.BINARY),
        (masked(8, b"\x03\xe8"), b"\x03\xe8", Opcode.CLOSE),
    ]
    for cut in (1, 3, 1000, 10**6):
        async with on_a_line("raw", frame_streaming_threshold=threshold) as (session, line):

            async def take(session: Any = session) -> list[tuple[bytes, Opcode]]:
                got = []
                for _ in wire:
                    async with session.receive_stream() as incoming:
                        assert incoming.size == incoming.header.length
                        assert incoming.header.rsv1 == incoming.header.rsv3 == (incoming.size == 1000)
                        assert incoming.header.kind == (incoming.header.opcode or Opcode.TEXT)
                        got.append((await incoming.read(), incoming.header.opcode))
                return got

            taking = begun(take())
            for part in (data for data, _, _ in wire):
                for at in range(0, len(part), cut if len(part) < 2000 else max(cut, 999)):
                    line.give(part[at : at + (cut if len(part) < 2000 else max(cut, 999))])
                    await asyncio.sleep(0)
            assert await bounded_wait(taking) == [(payload, opcode) for _, payload, opcode in wire]
            with pytest.raises(SessionClosed):
                await bounded_wait(whole(session))


# ---- S3: backpressure ---------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("limit", [10_000, MIB])
async def test_s3_a_reader_that_stops_stops_the_peer(limit: int) -> None:
    async with on_a_line("raw", max_frame_size=None, incoming=bounded(max_bytes=limit)) as (session, line):
        line.give(masked(2, bytes(20 * MIB))[:1000])
        async with session.receive_stream() as incoming:
            given = 986
            while line.is_reading():
                line.give(bytes(READ_BUFFER))
                given += READ_BUFFER
            assert limit <= given <= limit + READ_BUFFER, "the limit, and one read"
            got = 0
            while not line.is_reading():
                got += len(await bounded_wait(incoming.read(1000)))
            assert got >= given - limit - READ_BUFFER, "it goes on when half is taken"
            line.give(bytes(20 * MIB - given))
            assert got + len(await bounded_wait(incoming.read())) == 20 * MIB


async def test_s3_over_sockets() -> None:
    """The peer's writes stop at what the kernel and ``incoming`` hold."""
    go_on = asyncio.Event()
    got: list[int] = []

    async def take(session: Any) -> None:
        async with session.receive_stream() as incoming:
            got.append(len(await incoming.read(1)))
            await bounded_wait(go_on.wait())
            got.append(await incoming.skip())

    app = web.Application()
    app.add_routes([rawws.websocket_raw("/", take, max_frame_size=None)])
    async with peers.serving(app) as served, served.peer() as peer:
        await peer.open()
        size = 40 * MIB
        peer.writer.write(masked(2, bytes(size)))
        before = -1
        while before != peer.writer.transport.get_write_buffer_size():
            before = peer.writer.transport.get_write_buffer_size()
            await asyncio.sleep(0.2)
        assert before > size // 4
        go_on.set()
        await peer.read_to_end()
    assert got == [1, size - 1]


# ---- S4: leaving early --------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("read", [0, 1, 5000])
@pytest.mark.parametrize("arrived", [HEADER, HEADER + 5000, len(WIRE), len(WIRE) + 3])
@pytest.mark.parametrize("raises", [False, True])
async def test_s4_leaving_early(read: int, arrived: int, raises: bool) -> None:
    wire = WIRE + masked(1, b"next") + WIRE
    async with on_a_line("raw") as (session, line):
        line.give(wire[:arrived])
        with contextlib.suppress(LookupError):
            async with session.receive_stream() as incoming:
                if read and arrived > HEADER:
                    assert len(await incoming.read(read)) == read
                if raises:
                    raise LookupError
        with pytest.raises(RuntimeError, match="its block was left"):
            await incoming.read()
        line.give(wire[arrived:])
        assert (await bounded_wait(session.receive())).text == "next"
        assert (await bounded_wait(session.receive())).payload == PAYLOAD


@on_the_clock
async def test_s4_the_rest_costs_no_memory_and_does_not_stop_reading() -> None:
    async with on_a_line("raw", max_frame_size=None, incoming=bounded(4, max_bytes=1000)) as (session, line):
        line.give(masked(2, b"")[:1] + b"\xff" + (2**33).to_bytes(8, "big") + bytes(4))  # 8 GiB
        async with session.receive_stream() as incoming:
            assert incoming.size == 2**33
        piece = bytes(READ_BUFFER)
        tracemalloc.start()
        for _ in range(2**33 // READ_BUFFER // 64):
            line.give(piece)
            assert line.is_reading()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * MIB
        await session.send("meanwhile")
        assert b"meanwhile" in line.take()


@on_the_clock
async def test_s4_leaving_while_reading_was_stopped() -> None:
    """And with the next frames in the same read, which did not fit."""
    async with on_a_line("raw", incoming=bounded(2)) as (session, line):
        line.give(WIRE[:100])
        async with session.receive_stream():
            for byte in WIRE[100:105]:
                line.give(bytes([byte]))
            assert not line.is_reading()
        assert line.is_reading()
        line.give(WIRE[105:] + b"".join(masked(1, b"%d" % number) for number in range(10)))
        assert [(await bounded_wait(session.receive())).text for _ in range(10)] == [str(n) for n in range(10)]


@on_the_clock
@pytest.mark.parametrize("how", ["receive", "listen", "stream", "iterate"])
async def test_s4_whatever_receives_next(how: str) -> None:
    async with on_a_line("raw") as (session, line):
        line.give(WIRE[:100])
        async with session.receive_stream() as incoming:
            await incoming.read(3)
        got: list[bytes] = []
        if how == "listen":
            session.listen(lambda frame: got.append(frame.payload))
        line.give(WIRE[100:] + masked(2, b"next"))
        if how == "receive":
            got.append((await bounded_wait(session.receive())).payload)
        elif how == "stream":
            got.append(await bounded_wait(whole(session)))
        elif how == "iterate":
            got.append((await bounded_wait(anext(session))).payload)
        assert got == [b"next"]


@on_the_clock
async def test_s4_the_connection_is_lost_in_the_part_that_is_skipped() -> None:
    async with on_a_line("raw") as (session, line):
        line.give(WIRE[:100])
        async with session.receive_stream():
            pass
        receiving = begun(session.receive())
        await settle()
        line.end()
        with pytest.raises(ConnectionLost, match="inside a frame"):
            await bounded_wait(receiving)


# ---- S5: cancelling -----------------------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("call", ["read", "read all", "next", "readinto", "text", "skip"])
async def test_s5_cancelling_a_read_loses_nothing(call: str) -> None:
    async with on_a_line("raw") as (session, line), waits_for_header(session, line) as incoming:
        texts = incoming.text(codecs.getincrementaldecoder("latin-1")())
        buffer = bytearray(10)
        calls: dict[str, Any] = {
            "read": lambda: incoming.read(10),
            "read all": incoming.read,
            "next": lambda: anext(incoming),
            "readinto": lambda: incoming.readinto(buffer),
            "text": lambda: anext(texts),
            "skip": incoming.skip,
        }
        at = HEADER
        for _ in range(3):
            reading = begun(calls[call]())
            await settle()
            if call in ("read all", "skip"):
                line.give(WIRE[at : at + 7])
                at += 7
                await settle()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        reading = begun(calls[call]())
        await settle()
        reading.cancel()
        line.give(WIRE[at : at + 7])  # in the same moment
        with pytest.raises(asyncio.CancelledError):
            await reading
        line.give(WIRE[at + 7 :])
        skipped = 21 if call == "skip" else 0
        assert incoming.received == skipped
        assert await bounded_wait(incoming.read()) == PAYLOAD[skipped:]


@on_the_clock
@pytest.mark.parametrize("steps", range(4))
async def test_s5_cancelling_the_wait_for_the_header(steps: int) -> None:
    """The frame is not lost, whenever that happens; the stream after it gets it."""
    async with on_a_line("raw") as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.give(masked(9, b"ping") + WIRE[:1000])
        for _ in range(steps):
            await asyncio.sleep(0)
        if not entering.done():
            entering.cancel()
            await settle()
        else:
            await (await entering).__aexit__(None, None, None)
        if entering.cancelled():
            assert await session.receive() == Frame.ping(b"ping")
        line.give(WIRE[1000:] + masked(1, b"next"))
        assert await bounded_wait(whole(session)) == PAYLOAD
        assert (await bounded_wait(session.receive())).text == "next"


@on_the_clock
async def test_cancelling_the_wait_leaves_the_next_frame_whole() -> None:
    async with on_a_line("raw") as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        entering.cancel()
        await settle()
        line.give(WIRE[:1000])
        line.give(WIRE[1000:])
        assert (await bounded_wait(session.receive())).payload == PAYLOAD


# ---- S6: the end inside a frame -----------------------------------------------------------------


@on_the_clock
@pytest.mark.parametrize("how", ["eof", "reset", "abort"])
@pytest.mark.parametrize("when", ["waiting", "before"])
@pytest.mark.parametrize("call", ["iterate", "read all", "read", "skip", "readinto", "text"])
async def test_s6_loss_inside_a_frame(how: str, when: str, call: str) -> None:
    async with on_a_line("raw") as (session, line), waits_for_header(session, line) as incoming:

        async def read() -> None:
            if call == "iterate":
                await chunks_of(incoming)
            elif call == "read all":
                await incoming.read()
            elif call == "skip":
                await incoming.skip()
            elif call == "text":
                async for _ in incoming.text(codecs.getincrementaldecoder("latin-1")()):
                    pass
            else:
                buffer = bytearray(100)
                while await (incoming.read(100) if call == "read" else incoming.readinto(buffer)):
                    pass

        line.give(WIRE[HEADER : HEADER + 1234])
        reading = begun(read())
        if when == "waiting":
            await settle()
        if how == "eof":
            line.end()
        elif how == "reset":
            line.lose(ConnectionResetError("by the peer"))
        else:
            session.abort()
        with pytest.raises(ConnectionLost, match=r"; 1234 of 100000 bytes of the stream had arrived") as raised:
            await bounded_wait(reading)
        assert (raised.value.bytes_received, raised.value.size) == (1234, len(PAYLOAD))
        assert (raised.value.received, raised.value.sent) == (None, None)
        assert session.owns(raised.value)
        if call == "read all":  # which gave nothing of it
            assert await incoming.read(5000) == PAYLOAD[:1234]
        with pytest.raises(ConnectionLost):
            await incoming.read()


@on_the_clock
async def test_the_end_before_a_stream() -> None:
    async with on_a_line("raw") as (session, line):
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.give(masked(9, b"ping"))
        await (await bounded_wait(entering)).__aexit__(None, None, None)
        entering = begun(session.receive_stream().__aenter__())
        await settle()
        line.end()
        with pytest.raises(ConnectionLost) as raised:
            await bounded_wait(entering)
        assert (raised.value.bytes_received, raised.value.size) == (None, None)


@on_the_clock
async def test_a_violation_behind_the_frame() -> None:
    async with on_a_line("raw") as (session, line):
        line.give(WIRE + b"\x83\x80")
        assert await bounded_wait(whole(session)) == PAYLOAD
        with pytest.raises(rawws.ProtocolViolation):
            await bounded_wait(whole(session))
        assert b"\x03\xea" in line.take(), "a Close with 1002"


@on_the_clock
async def test_incoming_overflows() -> None:
    async with on_a_line("raw", incoming=bounded(3, "close")) as (session, line):
        line.give(WIRE[:100])
        async with session.receive_stream() as incoming:
            for at in range(100, 105):
                line.give(WIRE[at : at + 1])
            assert await incoming.read(1000) == PAYLOAD[: 102 - HEADER]
            with pytest.raises(rawws.ChannelOverflow):
                await incoming.read(1000)
