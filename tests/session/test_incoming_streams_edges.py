"""``receive_stream()`` at its edges: empty messages, limits that are met exactly, and tasks in each other's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiohttp_rawws import FrameTooBig, Opcode, bounded
from aiohttp_rawws.wire.codec import encode_header

from ..tools.streams import (
    HEADER,
    PAYLOAD,
    WIRE,
    begun,
    compressed,
    deflated,
    fragments,
    on_the_clock,
    waits_for_header,
)
from ..tools.talking import bounded_wait, each_kind, each_managed, masked, on_a_line
from ..tools.waiting import settle

EMPTY = {
    "one frame": masked(2, b""),
    "fragments": masked(2, b"", fin=False) + masked(0, b"", fin=False) + masked(0, b""),
    "compressed": deflated(b""),
}


@on_the_clock
@each_managed
@pytest.mark.parametrize("way", EMPTY)
@pytest.mark.parametrize("waits", [True, False])
async def test_an_empty_message_that_comes_at_once(kind: str, way: str, waits: bool) -> None:
    if way == "compressed" and kind == "managed":
        pytest.skip("nothing is compressed there")
    async with on_a_line(kind, frame_streaming_threshold=0) as (session, line):

        async def take() -> None:
            async with session.receive_stream() as incoming:
                assert (incoming.header.opcode, incoming.size) == (Opcode.BINARY, 0)
                assert await incoming.read() == b""

        if not waits:
            session.begin()
            line.give(EMPTY[way])
        taking = begun(take())
        await settle()
        if waits:
            line.give(EMPTY[way])
        await bounded_wait(taking)
        line.give(masked(1, b"next"))
        assert (await bounded_wait(session.receive())).text == "next"


@on_the_clock
@pytest.mark.parametrize("way", ["receive", "receive_nowait", "listen"])
@pytest.mark.parametrize(("size", "incoming"), [(100, bounded(1)), (70_000, bounded(2)), (2**20, bounded(64))])
async def test_messages_whose_pieces_fill_incoming_exactly(way: str, size: int, incoming: Any) -> None:
    """They wait in pieces for a stream, and nobody opens one: the next message is one of its own."""
    payload = (PAYLOAD * 11)[:size]
    async with on_a_line("deflate", incoming=incoming) as (session, line):
        session.begin()
        line.give(deflated(payload, b"next", b"last"))
        got: list[Any] = []
        if way == "listen":
            session.listen(got.append)
        while len(got) < 3:
            await settle()
            if way == "receive":
                got.append(await bounded_wait(session.receive()))
            elif way == "receive_nowait":
                got.append(session.receive_nowait())
        assert [message.payload for message in got] == [payload, b"next", b"last"]


@on_the_clock
async def test_max_fragments_counts_anew_behind_a_message_that_was_inflated_late() -> None:
    """Its last fragment waits to be inflated when ``receive()`` takes it."""
    payload = bytes(300_000)
    data = compressed(payload)
    parts = (data[:1], data[1:2], data[2:])
    wire = b"".join(
        encode_header(0 if number else 2, len(part), fin=number == 2, rsv1=not number, masking_key=bytes(4)) + part
        for number, part in enumerate(parts)
    )
    async with on_a_line("deflate", max_fragments=3, incoming=bounded(2)) as (session, line):
        session.begin()
        line.give(wire)
        assert (await bounded_wait(session.receive())).payload == payload
        line.give(masked(2, b"whole") + fragments(b"abc", 1))
        assert (await bounded_wait(session.receive())).payload == b"whole"
        assert (await bounded_wait(session.receive())).payload == b"abc"


# ---- tasks in each other's way ------------------------------------------------------------------


@on_the_clock
@each_kind
@pytest.mark.parametrize("call", ["read", "iterate", "readinto", "text", "skip"])
async def test_a_block_that_is_left_while_another_task_reads(kind: str, call: str) -> None:
    """That task gets an error, and nothing of the next frame. The next receiver gets all of it."""
    async with on_a_line(kind) as (session, line):
        async with waits_for_header(session, line) as incoming:
            line.give(WIRE[HEADER : HEADER + 100])
            assert await incoming.read(100) == PAYLOAD[:100]
            calls: dict[str, Any] = {
                "read": lambda: incoming.read(),
                "iterate": lambda: anext(incoming),
                "readinto": lambda: incoming.readinto(bytearray(10)),
                "text": lambda: anext(incoming.text()),
                "skip": lambda: incoming.skip(),
            }
            reading = begun(calls[call]())
            await settle()
        receiving = begun(session.receive())
        with pytest.raises(RuntimeError, match="its block was left"):
            await bounded_wait(reading)
        line.give(WIRE[HEADER + 100 :] + masked(1, b"next") + masked(1, b"last"))
        assert (await bounded_wait(receiving)).text == "next"
        assert (await bounded_wait(session.receive())).text == "last"


@on_the_clock
@each_kind
async def test_arguments_that_are_refused_lose_nothing(kind: str) -> None:
    async with on_a_line(kind) as (session, line), waits_for_header(session, line) as incoming:
        line.give(WIRE[HEADER:])
        with pytest.raises(TypeError, match="writable"):
            await incoming.readinto(b"1234")
        for n in (2.5, "2", None):
            with pytest.raises(TypeError):
                await incoming.read(n)  # type: ignore[arg-type]
        assert await incoming.read() == PAYLOAD


@on_the_clock
@each_managed
async def test_a_skip_that_is_cancelled_keeps_the_limit(kind: str) -> None:
    async with on_a_line(kind) as (session, line):
        line.give(masked(2, bytes(100), fin=False))
        with pytest.raises(FrameTooBig):
            async with session.receive_stream(max_size=150) as incoming:
                skipping = begun(incoming.skip())
                await settle()
                skipping.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await skipping
                assert incoming.received == 100
                line.give(masked(0, bytes(100), fin=False))
                await bounded_wait(incoming.read())
