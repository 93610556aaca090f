"""``pump()`` without ``on_frame``: bytes pass as they are."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from aiohttp_rawws import SessionOptions, WebSocketSession, pump
from aiohttp_rawws.session.memory import MemoryTransport

from ..tools.peers import BINARY, CLOSE, PING, TEXT, close_frame, frame
from ..tools.pumped import pumped, read_frame, unpumped
from ..tools.talking import bounded_wait
from ..tools.waiting import eventually, settle

LENIENT: dict[str, Any] = {"a": {"strict": False, "max_frame_size": None}, "b": {"strict": False}}


def many_frames(seed: int) -> bytes:
    dice, stream = random.Random(seed), b""
    for _ in range(60):
        key = dice.randbytes(4)
        size = dice.choice((0, 1, 10, 125, 126, 1000, 65535, 65536, 70_000))
        opcode = dice.choice((TEXT, BINARY, PING)) if size < 126 else BINARY
        stream += frame(opcode, dice.randbytes(size), mask=key)
    return stream


@pytest.mark.parametrize("seed", range(3))
async def test_every_byte_passes_as_it_was_however_it_is_cut(seed: int) -> None:
    stream, dice = many_frames(seed), random.Random(seed)
    async with pumped() as on:

        async def send() -> None:
            position = 0
            while position < len(stream):
                size = dice.choice((1, 2, 3, 7, 100, 5000, 100_000))
                await on.client.send(stream[position : position + size])
                position += size
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        assert await on.server.read(len(stream)) == stream
        await sending
        assert on.a.stats.frames_received == on.b.stats.frames_sent == 60


@pytest.mark.parametrize("cut", [1, 3, 7, 20, 150])
async def test_what_waited_passes_as_it_was(cut: int) -> None:
    """Bytes behind the handshake, frames that wait, a frame that has begun: with the masking keys that they had."""
    stream = many_frames(9) + frame(BINARY, b"z" * 200, mask=b"\x01\x02\x03\x04")[:cut]
    rest = frame(BINARY, b"z" * 200, mask=b"\x01\x02\x03\x04")[cut:] + frame(TEXT, b"behind")
    async with unpumped(early_a=stream) as on:
        on.begin()
        await asyncio.sleep(0)
        await on.client.send(rest)
        assert await on.server.read(len(stream) + len(rest)) == stream + rest
        assert on.b.stats.frames_sent == 62


async def test_chunks_that_waited_pass_as_they_were() -> None:
    data = frame(BINARY, bytes(range(250)) * 400, mask=b"\x01\x02\x03\x04")
    async with unpumped(a={"frame_streaming_threshold": 1000}, early_a=data[:5000]) as on:
        await on.client.send(data[5000:60_000])
        await eventually(lambda: on.a.stats.bytes_received == 60_000)
        on.begin()
        await on.client.send(data[60_000:])
        assert await on.server.read(len(data)) == data
        assert on.b.stats.frames_sent == 1


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"no mask", mask=None),
        b"\x81\xfe\x00\x05abcd\x01\x02\x03\x04\x05",  # a length that is not in its shortest form
        b"\x81\xff" + bytes(7) + b"\x05abcd\x01\x02\x03\x04\x05",
        b"\xf1\x80abcd",
        b"\x09\x80abcd",
        frame(PING, b"x" * 126),
        frame(PING, b"x" * 100_000),
        b"\x83\x80abcd\x80\x80abcd",
    ],
    ids=lambda data: data[:4].hex(),
)
async def test_g35_a_violation_passes_unrepaired_if_nothing_is_checked(data: bytes) -> None:
    async with pumped(**LENIENT) as on:
        await on.passes_up(data)
        await on.passes_up(frame(TEXT, b"behind"))
        assert on.a.stats.frames_received >= 2


async def test_g35_a_length_that_cannot_be_passes_as_an_endless_frame() -> None:
    async with pumped(**LENIENT) as on:
        await on.passes_up(b"\x82\xff\xff" + bytes(7) + b"abcd")
        await on.passes_up(b"x" * 100_000)
        await on.passes_up(close_frame(1000))  # of which nobody can say that it is one


@pytest.mark.parametrize("strict", ["hop", True])
@pytest.mark.parametrize("position", range(1, 8))
async def test_g35_nothing_of_a_refused_frame_passes(strict: Any, position: int) -> None:
    """Wherever its header is cut."""
    good, bad = frame(TEXT, b"good"), b"\x81\xfe\x00\x05abcd"
    async with pumped(a={"strict": strict}) as on:
        await on.client.send(good + bad[:position])
        assert await on.server.read(len(good)) == good
        await on.client.send(bad[position:])
        assert await on.server.read_to_end() == b""
        head, payload = await read_frame(on.client)
        assert (head & 15, payload[:2]) == (CLOSE, b"\x03\xea")


async def test_a_frame_that_passes_does_not_get_inside_of_what_was_collected() -> None:
    """Frames of the application's own that were collected go first, and never into one that passes in parts."""
    wire = frame(TEXT, b"helloworld", mask=b"abcd")
    async with pumped() as on:
        with on.b.cork():
            on.b.send_nowait("hi")
            await on.client.send(wire[:9])
            assert await read_frame(on.server) == (0x80 | TEXT, b"hi")
            assert await on.server.read(9) == wire[:9]
            on.b.send_nowait("behind")
            await on.client.send(wire[9:])
            assert await on.server.read(len(wire) - 9) == wire[9:]
        assert await read_frame(on.server) == (0x80 | TEXT, b"behind")


class CountingTransport(MemoryTransport):
    writes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        super().write(data)


async def test_g36_what_came_in_one_read_leaves_in_one_write() -> None:
    near_a, far_a = MemoryTransport.pair()
    near_b, far_b = CountingTransport.pair()
    assert isinstance(near_b, CountingTransport)
    client = WebSocketSession(far_a, server=False)
    server = WebSocketSession(far_b, server=True)
    a, b = WebSocketSession(near_a), WebSocketSession(near_b, server=False)
    for session in (client, server, a, b):
        session.start()
    pumping = asyncio.create_task(pump(a, b))
    await settle()
    with client.cork():
        for number in range(50):
            client.send_nowait(f"message {number}")
    await settle()
    assert server.frames_waiting == 50
    assert near_b.writes == 1
    for session in (client, server):
        session.abort()
    await bounded_wait(pumping)


async def test_g32_a_frame_of_any_size_passes_in_constant_memory() -> None:
    """64 MiB of a frame that says it has 2**62 bytes; the first are out before the frame is in."""
    async with pumped(a={"max_frame_size": None}) as on:
        await on.passes_up(b"\x82\xff\x40" + bytes(7) + b"abcd" + b"first")
        piece = b"x" * 2**20
        for _ in range(64):
            await on.passes_up(piece)
        assert on.a.transport.get_write_buffer_size() == 0
        assert on.a.frames_waiting == 0


async def test_a_limit_that_is_changed_holds_from_the_next_header_on() -> None:
    async with pumped() as on:
        await on.passes_up(frame(BINARY, b"x" * 1000))
        on.a.max_frame_size = 999
        await on.client.send(frame(BINARY, b"x" * 1000))
        assert await on.server.read_to_end() == b""


async def test_the_end_of_the_stream_inside_of_a_header() -> None:
    async with pumped() as on:
        await on.client.send(b"\x81")
        await asyncio.sleep(0)
        on.client.writer.write_eof()
        assert await on.server.read_to_end() == b"\x81"


async def test_sessions_in_memory() -> None:
    """Sessions that are pumped need no socket."""
    client_end, near_a = MemoryTransport.pair()
    near_b, server_end = MemoryTransport.pair()
    client = WebSocketSession(client_end, server=False)
    server = WebSocketSession(server_end, server=True)
    a, b = WebSocketSession(near_a, server=True), WebSocketSession(near_b, server=False, options=SessionOptions())
    for session in (client, server, a, b):
        session.start()
    pumping = asyncio.create_task(pump(a, b))
    await client.send("hello")
    assert (await server.receive()).text == "hello"
    await server.send("you, too")
    assert (await client.receive()).text == "you, too"
    await client.close(4000)
    close = (await server.receive()).close_reason
    assert close is not None and close.code == 4000
    await server.close(4000)
    await client.receive()
    for session in (client, server):
        await bounded_wait(session.end())
    report = await bounded_wait(pumping)
    assert report.a.clean and report.b.clean and report.first == "a"
