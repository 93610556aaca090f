"""Messages that are sent in parts, interrupted: by cancellation, a Close, an overflow, other senders."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiohttp_rawws import ChannelOverflow, Frame, Opcode, PerMessageDeflate, PreparedFrame, SessionClosed, bounded
from aiohttp_rawws.extensions.deflate import WebSocketDeflateExtension

from ..tools import clock, talking
from ..tools.talking import bounded_wait, each_kind, each_managed, masked, on_a_line, raw_and_managed
from ..tools.waiting import eventually, settle

NOISE = random.Random(5).randbytes(300_000)


async def received(peer: Any) -> list[Any]:
    await settle()
    return talking.waiting(peer)


class Held:
    """Work for executors, which runs when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        loop: Any = asyncio.get_running_loop()

        def run_in_executor(executor: object, function: Any, *args: Any) -> asyncio.Future[Any]:
            future = loop.create_future()
            self.calls.append(lambda: future.done() or future.set_result(function(*args)))
            return future

        loop.run_in_executor = run_in_executor

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def release(self) -> None:
        asyncio.get_running_loop().__dict__.pop("run_in_executor", None)


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("left_by", [None, LookupError], ids=["cancellation", "another exception"])
async def test_the_first_fragment_leaves_although_its_write_was_cancelled(left_by: Any) -> None:
    """A thread compresses it, and cannot be stopped. The message has begun then, and cannot be completed."""
    async with talking.talking("deflate") as (session, raw, peer):
        held = Held()

        async def write() -> None:
            async with session.open_stream(fragment_size=100_000) as out:
                try:
                    await out.write(NOISE)
                except asyncio.CancelledError:
                    if left_by is not None:
                        raise left_by from None
                    raise

        try:
            writing = asyncio.ensure_future(write())
            await eventually(lambda: held.calls)
            writing.cancel()
            await settle()
            held.run()
            with pytest.raises(left_by or asyncio.CancelledError):
                await bounded_wait(writing)
        finally:
            held.release()
        assert raw.connection.encoder.mid_message
        if left_by is None:
            session.close_nowait(4000)
        items = await received(peer)
        assert b"".join(item.payload for item in items[:-1]) == NOISE[:100_000]
        assert items[-1].close_reason.code == (4000 if left_by is None else 1011)


@pytest.mark.loops("asyncio")
async def test_after_a_cancelled_flush_the_message_goes_on() -> None:
    async with talking.talking("deflate") as (session, _, peer):
        held = Held()
        try:
            async with session.open_stream(fragment_size=200_000) as out:
                out.is_prompt = False
                await out.write(NOISE[:100_000])
                flushing = asyncio.ensure_future(out.flush())
                await eventually(lambda: held.calls)
                flushing.cancel()
                await settle()
                held.run()
                with pytest.raises(asyncio.CancelledError):
                    await bounded_wait(flushing)
                held.release()
                await out.write(b"the end")
        finally:
            held.release()
        items = await received(peer)
        opcodes = [item.opcode for item in items if isinstance(item, Frame)]
        assert opcodes.count(Opcode.BINARY) <= 1
        assert b"".join(item.payload for item in items) == NOISE[:100_000] + b"the end"


@each_kind
async def test_a_write_raises_at_once_when_nothing_more_can_be_sent(kind: str) -> None:
    """Also if the peer reads nothing."""
    async with talking.talking(kind) as (session, raw, peer):
        with pytest.raises(SessionClosed):
            async with session.open_stream(fragment_size=10_000) as out:
                peer.pause_reading()
                while not raw.connection.write_paused:
                    await out.write(NOISE[:20_000])
                raw.close_nowait(4000)
                await bounded_wait(out.write(NOISE), 5)


@each_kind
async def test_an_overflow_wakes_whoever_waits(kind: str) -> None:
    async with talking.talking(kind, outgoing=bounded(1, on_overflow="close")) as (session, _, peer):
        peer.pause_reading()
        while not session.outgoing_full:
            session.send_nowait(NOISE[:40_000])
            await settle()
        waiting = asyncio.ensure_future(session.wait_writable())
        await settle()
        assert not waiting.done()
        with pytest.raises(ChannelOverflow):
            for _ in range(10):
                session.send_nowait(NOISE[:40_000])
                await settle()
        await bounded_wait(waiting, 5)


async def test_flush_inside_a_stream_that_had_to_wait_for_its_turn() -> None:
    """It waits for what was sent before, not for the end of this message."""
    async with talking.talking("deflate") as (session, _, peer):
        sending = asyncio.ensure_future(session.send(NOISE))
        await asyncio.sleep(0)
        async with session.open_stream() as out:
            await out.write(b"x")
            await bounded_wait(session.flush(), 5)
            assert session.frames_unsent == 0
        await bounded_wait(sending)
        assert b"".join(item.payload for item in await received(peer)) == NOISE + b"x"


async def test_large_blocks_of_a_prompt_source_are_compressed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    process = WebSocketDeflateExtension.process_outgoing

    def noting(self: Any, frame: Frame, compress: bool | None = None) -> Frame:
        threads.append((len(frame.payload), threading.current_thread() is threading.main_thread()))
        return process(self, frame, compress)

    monkeypatch.setattr(WebSocketDeflateExtension, "process_outgoing", noting)

    async def source() -> Any:
        for at in range(0, len(NOISE), 65536):
            await asyncio.sleep(0)
            yield NOISE[at : at + 65536]

    async with talking.talking("deflate", config=PerMessageDeflate(executor_above=16 * 1024)) as (session, _, peer):
        await session.send_stream(source())
        assert b"".join(item.payload for item in await received(peer)) == NOISE
    assert [size for size, in_loop in threads if in_loop and size > 2 * 16 * 1024] == []
    assert sum(size for size, _ in threads) == len(NOISE)


async def test_small_writes_to_a_peer_that_does_not_read_leave_one_waiter() -> None:
    async with talking.talking("raw") as (session, _, peer):
        async with session.open_stream() as out:
            peer.pause_reading()
            while not session.connection.write_paused:
                await out.write(NOISE[:70_000])
            rooms = set()
            for _ in range(200):
                await bounded_wait(out.write(b"x"), 5)
                await asyncio.sleep(0)
                rooms.add(out._room)
            assert len(rooms - {None}) == 1
            peer.resume_reading()
        assert b"".join(frame.payload for frame in await received(peer))[-200:] == b"x" * 200


async def test_a_frame_of_no_bytes_with_a_source_that_has_some() -> None:
    async with talking.talking("raw") as (session, _, peer):
        with pytest.raises(ValueError, match="more than the 0 bytes"):
            await session.send_stream([b"abc"], length=0)
        await session.send("the session goes on")
        assert [frame.payload for frame in await received(peer)] == [b"", b"the session goes on"]


async def test_a_second_stream_that_is_woken_to_fail_leaves_the_first_its_turn() -> None:
    async with talking.talking("raw") as (session, raw, peer):
        async with session.open_stream(length=10) as out:
            await out.write(b"12345")
            second = asyncio.ensure_future(session.send_stream([b"x"]))
            await settle()
            session.close_nowait(1000)
            with pytest.raises(SessionClosed):
                await bounded_wait(second)
            assert raw.connection.streaming
            await out.write(b"67890")
        frames = await received(peer)
        assert [frame.payload for frame in frames] == [b"1234567890", b"\x03\xe8"]


async def test_a_source_whose_read_returns_an_awaitable() -> None:
    class Source:
        def __init__(self) -> None:
            self.left = [b"ab", b"c", b""]

        def read(self, n: int) -> Any:
            async def piece() -> bytes:
                return self.left.pop(0)

            return piece()

    async with talking.talking("raw") as (session, _, peer):
        assert await session.send_stream(Source()) == 3
        assert await received(peer) == [Frame.binary(b"abc")]


async def test_a_frame_that_comes_in_pieces_counts_once() -> None:
    async with on_a_line("raw") as (session, line):
        reading = asyncio.ensure_future(session.receive_stream().__aenter__())
        await settle()
        wire = masked(2, bytes(100))
        for at in range(0, len(wire), 7):
            line.give(wire[at : at + 7])
        incoming = await bounded_wait(reading)
        assert await incoming.read() == bytes(100)
        assert session.stats.frames_received == 1
        line.give(masked(1, b"x") * 3)
        assert session.stats.frames_received == 4


# ---- several tasks ------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("length", [None, 300_000])
@pytest.mark.parametrize("call", ["write", "flush"])
async def test_a_second_task_that_writes_is_refused(kind: str, length: int | None, call: str) -> None:
    """The first one is not disturbed."""
    async with talking.talking(kind) as (session, _, peer):
        peer.pause_reading()
        async with session.open_stream(length=length, fragment_size=100_000) as out:
            writing = asyncio.ensure_future(out.write(NOISE))
            await settle()
            assert not writing.done()
            with pytest.raises(RuntimeError, match="another task is already writing"):
                await bounded_wait(out.write(b"more") if call == "write" else out.flush())
            peer.resume_reading()
            await bounded_wait(writing)
        assert b"".join(item.payload for item in await received(peer)) == NOISE


@each_kind
@pytest.mark.parametrize("length", [None, 300_000])
async def test_a_block_that_is_left_while_another_task_writes(kind: str, length: int | None) -> None:
    """The message is not complete, so nothing makes it look so."""
    async with talking.talking(kind) as (session, raw, peer):
        peer.pause_reading()
        with pytest.raises(RuntimeError, match="another task is already writing"):
            async with session.open_stream(length=length, fragment_size=100_000) as out:
                writing = asyncio.ensure_future(out.write(NOISE))
                await settle()
        peer.resume_reading()
        with pytest.raises((RuntimeError, SessionClosed)):
            await bounded_wait(writing)
        with pytest.raises(SessionClosed):
            await bounded_wait(session.send(b"next"))
        items = await received(peer)
        if length is None:
            assert items[-1].close_reason.code == 1011
            assert not any(item.fin for item in items[:-1] if isinstance(item, Frame))
        else:
            assert raw.close_state.lost


@each_kind
async def test_one_stream_is_entered_by_two_tasks(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        async with session.open_stream() as first:
            second = session.open_stream()
            entering = asyncio.ensure_future(second.__aenter__())
            await settle()
            with pytest.raises(RuntimeError, match="one message"):
                await bounded_wait(second.__aenter__())
            await first.write(b"first")
        await bounded_wait(entering)
        await second.__aexit__(None, None, None)
        await bounded_wait(session.send(b"next"))
        assert [item.payload for item in await received(peer) if item.payload] == [b"first", b"next"]


@each_kind
async def test_what_is_sent_behind_a_stream_that_has_failed(kind: str) -> None:
    """The error is that of a session that is closed, also for a whole message."""
    async with talking.talking(kind) as (session, _, _):
        with pytest.raises(LookupError):
            async with session.open_stream() as out:
                await out.write(b"begun")
                await out.flush()
                raise LookupError
        for item in ("text", b"bytes", PreparedFrame(Frame.text("both")), Frame.text("frame")):
            with pytest.raises(SessionClosed, match="1011"):
                await bounded_wait(session.send(item))
            with pytest.raises(SessionClosed, match="1011"):
                session.send_nowait(item)


# ---- sources that are not read to their end -----------------------------------------------------


class Closing:
    """Sources whose end can be seen."""

    def __init__(self) -> None:
        self.is_closed = False

    def plain(self) -> Iterator[bytes]:
        try:
            while True:
                yield NOISE
        finally:
            self.is_closed = True

    async def asynchronous(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield NOISE
        finally:
            await asyncio.sleep(0)
            self.is_closed = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.asynchronous()


@each_kind
@pytest.mark.parametrize("source", ["plain", "asynchronous", "iterable"])
@pytest.mark.parametrize("end", ["cancelled", "lost", "too long"])
async def test_a_generator_is_closed(kind: str, source: str, end: str) -> None:
    closing = Closing()
    items: Any = closing if source == "iterable" else getattr(closing, source)()
    async with talking.talking(kind) as (session, raw, peer):
        if end != "too long":
            peer.pause_reading()
        sending = asyncio.ensure_future(
            session.send_stream(items, length=len(NOISE) + 1 if end == "too long" else None)
        )
        if end != "too long":
            await eventually(lambda: raw.connection.write_paused)
            if end == "lost":
                raw.abort()
            else:
                sending.cancel()
        with pytest.raises((ValueError, SessionClosed, asyncio.CancelledError)):
            await bounded_wait(sending)
        assert closing.is_closed


@raw_and_managed
async def test_a_file_that_has_nothing_to_read_is_not_at_its_end(kind: str) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with os.fdopen(read_end, "rb", 0) as file, os.fdopen(write_end, "wb", 0) as writer:
        writer.write(b"a part")
        async with talking.talking(kind) as (session, _, _):
            with pytest.raises(BlockingIOError):
                await bounded_wait(session.send_stream(file))


@raw_and_managed
async def test_a_file_in_text_mode(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text", encoding="utf-8")
    async with talking.talking(kind) as (session, _, peer):
        with path.open(encoding="utf-8") as file:
            with pytest.raises(TypeError, match="rb"):
                await bounded_wait(session.send_stream(file))
            assert await bounded_wait(session.send_stream(file, opcode=Opcode.TEXT)) == 0  # it has been read
        assert [item.payload for item in await received(peer)] == [b""]


class Whole:
    """Something with a ``read()`` that takes no number of bytes."""

    async def read(self, *, decode: bool = False) -> bytes:
        raise AssertionError("this is not called")


class Iterated(Whole):
    """... which can be iterated, as a part of a form in aiohttp."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"one part"


@raw_and_managed
async def test_a_read_that_takes_no_size(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        with pytest.raises(TypeError, match="not Whole"):
            await bounded_wait(session.send_stream(Whole()))
        assert await bounded_wait(session.send_stream(Iterated())) == 8
        assert b"".join(item.payload for item in await received(peer)) == b"one part"


@pytest.mark.loops("clock")
@each_managed
@pytest.mark.parametrize("length", [None, 10**9])
@pytest.mark.parametrize("takes", ["nothing more", "all"])
async def test_s12_keepalive_and_a_peer_that_takes_a_stream_slowly(kind: str, length: int | None, takes: str) -> None:
    """The Ping waits behind what was sent before. A peer that takes nothing more, or does not answer, is ended."""

    async def source() -> AsyncIterator[bytes]:
        while True:
            yield NOISE[:50_000]

    async with on_a_line(kind, ping_interval=10.0, timeout=5.0, write_timeout=None) as (session, line):
        sending = asyncio.ensure_future(session.send_stream(source(), length=length, compress=None))
        for _ in range(10):  # the Ping leaves after 10 seconds
            await clock.advance(2.0)
            line.take(3000)
        assert not session.outgoing_ended
        for _ in range(30):  # it arrives, and is not answered
            await clock.advance(2.0)
            line.take(0 if takes == "nothing more" else 30_000)
        if length is None:
            assert session.outgoing_ended and session.close_state.sent.code == 1011
        session.abort()
        with pytest.raises(SessionClosed):
            await bounded_wait(sending)
