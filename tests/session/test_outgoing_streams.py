"""``send_stream()`` and ``open_stream()``: messages that are sent in parts, and what else is sent meanwhile."""

from __future__ import annotations

import asyncio
import io
import random
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import UNLIMITED, Frame, FrameChunk, Opcode, PerMessageDeflate, PreparedFrame
from aiohttp_rawws.extensions.base import WebSocketExtension
from aiohttp_rawws.wire.codec import FrameParser

from ..tools import clock, pairs, talking
from ..tools.talking import bounded_wait, each_kind, each_managed, raw_and_managed
from ..tools.waiting import eventually, settle

NOISE = random.Random(2).randbytes(300_000)
KIB = 1024


async def later(*chunks: Any) -> AsyncIterator[Any]:
    """A source that lets the loop run before each chunk."""
    for chunk in chunks:
        await settle(3)
        yield chunk


def tap(session: Any, wire: bytearray) -> None:
    """Copy what the session writes."""
    write = session.transport.write

    def copying(data: bytes) -> None:
        wire.extend(data)
        write(data)

    session.transport.write = copying


async def received(peer: Any) -> list[Any]:
    await settle()
    return talking.waiting(peer)


# ---- what arrives ---------------------------------------------------------------------------


@raw_and_managed
@pytest.mark.parametrize("cut", [1000, 65536, 70_000, 300_000])
async def test_fragments_of_the_size_that_was_asked_for(kind: str, cut: int) -> None:
    async with talking.talking(kind) as (session, _, peer):
        source = [NOISE[start : start + cut] for start in range(0, len(NOISE), cut)]
        assert await bounded_wait(session.send_stream(source, fragment_size=100_000)) == len(NOISE)
        await session.send("the next")
        frames = await received(peer)
        assert [(frame.opcode, frame.fin, len(frame.payload)) for frame in frames] == [
            (Opcode.BINARY, False, 100_000),
            (Opcode.CONTINUATION, False, 100_000),
            (Opcode.CONTINUATION, True, 100_000),
            (Opcode.TEXT, True, 8),
        ]
        assert b"".join(frame.payload for frame in frames[:3]) == NOISE
        assert session.stats.frames_sent == 4


@raw_and_managed
@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 300_000])
@pytest.mark.parametrize("masking", [False, True])
async def test_f2_one_frame_of_known_length(kind: str, length: int, masking: bool) -> None:
    async with talking.talking(kind) as (session, raw, peer):
        peer.connection.parser.masked = None
        session.masking = masking
        source = later(NOISE[: length // 3], b"", NOISE[length // 3 : length])
        assert await bounded_wait(session.send_stream(source, length=length, opcode=Opcode.TEXT)) == length
        await session.send(b"the next")
        frame, after = await received(peer)
        assert (frame.opcode, frame.fin, frame.payload) == (Opcode.TEXT, True, NOISE[:length])
        assert (frame.masking_key is not None) is masking
        assert after.payload == b"the next" and raw.stats.frames_sent == 2


@pytest.mark.parametrize(
    "source",
    [
        b"abc",
        bytearray(b"abc"),
        memoryview(b"abc"),
        [b"a", memoryview(b"b"), bytearray(b"c")],
        io.BytesIO(b"abc"),
        (b"a", b"b", b"c"),
        iter,
    ],
    ids=lambda source: type(source).__name__,
)
async def test_sources(source: Any) -> None:
    if source is iter:
        source = iter((b"a", b"b", b"c"))
    elif isinstance(source, io.BytesIO):
        source.seek(0)
    async with talking.talking("raw") as (session, _, peer):
        assert await bounded_wait(session.send_stream(source)) == 3
        assert await received(peer) == [Frame.binary(b"abc")]


async def test_a_file_is_read_in_a_thread(tmp_path: Path) -> None:
    path, threads = tmp_path / "file", set()
    path.write_bytes(NOISE)
    async with talking.talking("raw") as (session, _, peer):
        with path.open("rb") as file:
            read = file.read

            class Watched:
                def read(self, n: int) -> bytes:
                    threads.add(threading.current_thread())
                    assert n <= 64 * KIB
                    return read(n)

            assert await bounded_wait(session.send_stream(Watched())) == len(NOISE)
            file.seek(0)
            assert await bounded_wait(session.send_stream(file, length=len(NOISE))) == len(NOISE)
        frames = await received(peer)
        assert b"".join(frame.payload for frame in frames) == NOISE * 2
        assert frames[-1] == Frame.binary(NOISE) and [len(frame.payload) for frame in frames[:4]] == [65536] * 4
        assert threading.main_thread() not in threads


async def test_asyncios_reader_is_read_in_blocks() -> None:
    """Its iterator gives lines, of limited length."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"x" * 100_000 + b"\n" + b"y" * 100_000)
    reader.feed_eof()
    async with talking.talking("raw") as (session, _, peer):
        assert await bounded_wait(session.send_stream(reader)) == 200_001
        assert len(b"".join(frame.payload for frame in await received(peer))) == 200_001


@each_kind
async def test_text_in_chunks(kind: str) -> None:
    """A character may be cut by fragments."""
    text = "grün € " * 50
    async with talking.talking(kind) as (session, _, peer):
        await bounded_wait(session.send_stream(list(text), opcode=Opcode.TEXT, fragment_size=10))
        await bounded_wait(session.send_stream(text, opcode=Opcode.TEXT))
        frames = await received(peer)
        payload = b"".join(frame.payload for frame in frames)
        assert payload.decode() == text * 2 and frames[0].opcode is Opcode.TEXT


async def test_what_a_live_source_gives_leaves_when_it_makes_us_wait() -> None:
    async with talking.talking("raw") as (session, _, peer):
        sending = asyncio.ensure_future(session.send_stream(later(b"one", b"two", b"three")))
        arrived = [await bounded_wait(peer.receive()) for _ in range(3)]
        assert [frame.payload for frame in arrived] == [b"one", b"two", b"three"]
        assert [frame.fin for frame in arrived] == [False, False, True]
        assert await bounded_wait(sending) == 11


async def test_the_same_after_a_pause_of_the_transport() -> None:
    """The peer reads nothing when the source falls silent; as soon as it reads, it gets what is there."""
    async with talking.talking("raw") as (session, _, peer):
        peer.pause_reading()
        async with session.open_stream() as out:
            for _ in range(3):
                if session.connection.write_paused:
                    break
                await out.write(NOISE[:65537])
            await out.write(b"the rest")
            await settle()
            peer.resume_reading()
            arrived = 0
            while arrived < out.sent:
                arrived += len((await bounded_wait(peer.receive())).payload)


async def test_flush_of_a_stream() -> None:
    async with talking.talking("raw") as (session, _, peer):
        async with session.open_stream() as out:
            await out.write(b"a")
            await out.flush()
            await out.flush()
            await out.write(b"b")
        assert [frame.payload for frame in await received(peer)] == [b"a", b"b"]


async def test_reserved_bits_stand_on_the_first_frame() -> None:
    async with talking.talking("raw") as (session, _, peer):
        peer.connection.parser.strict = False
        await session.send_stream([b"ab"], fragment_size=1, rsv2=True, opcode=5)
        await session.send_stream([b"ab"], length=2, rsv1=True, rsv3=True)
        frames = await received(peer)
        assert [(f.opcode, f.rsv1, f.rsv2, f.rsv3) for f in frames] == [
            (5, False, True, False),
            (0, False, False, False),
            (2, True, False, True),
        ]


async def test_with_hop_continuations_are_continuations() -> None:
    async with talking.talking("raw", strict="hop") as (session, _, peer):
        await session.send_stream([b"abc"], fragment_size=1)
        assert [frame.opcode for frame in await received(peer)] == [2, 0, 0]


# ---- mistakes of the caller -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"opcode": 9}, ValueError, "not PING"),
        ({"opcode": 0}, ValueError, "not CONTINUATION"),
        ({"length": -1}, ValueError, "a frame cannot be -1 bytes long"),
        ({"length": 1 << 63}, ValueError, "bytes long"),
        ({"length": 1.5}, TypeError, "float"),
        ({"fragment_size": 0}, ValueError, "fragment_size must be at least 1 byte, not 0"),
        ({"fragment_size": None}, TypeError, "fragment_size must be a number of bytes, not None"),
        ({"length": 1, "compress": True}, ValueError, "a frame of known length is not compressed"),
    ],
    ids=str,
)
async def test_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    async with talking.talking("raw") as (session, _, _):
        with pytest.raises(error, match=text):
            session.open_stream(**arguments)
        with pytest.raises(error, match=text):
            await session.send_stream([b"x"], **arguments)
        await session.send("goes on")


NO_SOURCES = {
    "int": 5,
    "None": None,
    "of str": ["text"],
    "of int": [5],
    "of None": [None],
    "text file": io.StringIO("text"),
    "str": "text",
}


@pytest.mark.parametrize("source", NO_SOURCES.values(), ids=NO_SOURCES)
@pytest.mark.parametrize("length", [None, 4])
async def test_what_is_no_source(source: Any, length: int | None) -> None:
    if isinstance(source, io.StringIO):
        source.seek(0)
    async with talking.talking("raw") as (session, _, peer):
        with pytest.raises(TypeError):
            await bounded_wait(session.send_stream(source, length=length))
        await session.send("goes on")
        assert await received(peer) == [Frame.text("goes on")]


async def test_a_stream_is_for_one_message() -> None:
    async with talking.talking("raw") as (session, _, _):
        stream = session.open_stream()
        with pytest.raises(RuntimeError, match="the stream is not open"):
            await stream.write(b"x")
        async with stream:
            with pytest.raises(RuntimeError, match="a stream is for one message"):
                await stream.__aenter__()
        for again in (stream.__aenter__, stream.flush):
            with pytest.raises(RuntimeError):
                await again()


@each_kind
async def test_inside_an_open_message(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        await session.send(Frame.text("open", fin=False))
        with pytest.raises(RuntimeError, match="inside an open one"):
            await session.send_stream([b"x"])
        await session.send(Frame.text(""))
        await session.send_stream([b"x"], compress=False)
        assert (await received(peer))[-1] == Frame.binary(b"x")


# ---- S7, S8: what else leaves meanwhile ---------------------------------------------------------


@raw_and_managed
async def test_s7_nothing_gets_inside_a_frame(kind: str) -> None:
    """Not a Pong, not a Ping, not a Close, not bytes of the caller's own, not another message."""
    async with talking.talking(kind) as (session, raw, peer):
        async with session.open_stream(length=6) as out:
            await out.write(b"ab")
            await peer.send(Frame.ping(b"from the peer"))
            await settle()
            if kind == "raw":
                raw.send_nowait(Frame.pong(session.receive_nowait().payload))
            raw.send_nowait(Frame.ping(b"ours"))
            raw.write_bytes(b"\x81\x03raw")
            waiting = asyncio.ensure_future(session.send("waits"))
            prepared = PreparedFrame(Frame.text("broadcast"))
            assert rawws.broadcast([session], prepared).skipped == [session]
            with raw.cork():
                pass
            await out.write(b"cd")
            await settle()
            assert talking.waiting(peer) == []
            await out.write(b"ef")
            assert raw.frames_unsent == 0
        await bounded_wait(waiting)
        frames = await received(peer)
        assert frames[0] == Frame.binary(b"abcdef")
        assert [frame.payload for frame in frames[1:]] == [b"from the peer", b"ours", b"raw", b"waits"]


@raw_and_managed
async def test_s7_a_close_waits_for_the_end_of_the_frame(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        async with session.open_stream(length=4) as out:
            await out.write(b"ab")
            session.close_nowait(4000)
            await settle()
            assert session.closed and peer.receive_nowait() is None
            await out.write(b"cd")
        frames = await received(peer)
        assert [frame.payload[:4] for frame in frames] == [b"abcd", (4000).to_bytes(2, "big")]


@raw_and_managed
async def test_s7_the_peers_close_during_a_frame(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        async with session.open_stream(length=4) as out:
            await out.write(b"ab")
            await peer.close(4001)
            await settle()
            if kind == "raw":
                assert (await session.receive()).opcode is Opcode.CLOSE
                session.close_nowait(4001)
            await out.write(b"cd")
        assert (await bounded_wait(peer.receive())).payload == b"abcd"
        assert (await talking.next_reason(peer)).code == 4001


async def test_s7_the_end_of_the_session_waits_for_the_end_of_the_frame() -> None:
    for call in ("write_eof", "end"):
        async with talking.talking("raw") as (session, _, peer):
            async with session.open_stream(length=4) as out:
                await out.write(b"ab")
                ending = asyncio.ensure_future(getattr(session, call)())
                await settle()
                assert not peer.close_state.eof and not ending.done()
                await out.write(b"cd")
            assert (await bounded_wait(peer.receive())).payload == b"abcd"
            await eventually(lambda: peer.close_state.eof)
            await peer.end()
            await bounded_wait(ending)


@each_kind
async def test_s8_control_frames_leave_between_fragments(kind: str) -> None:
    async with talking.talking(kind) as (session, raw, peer):
        async with session.open_stream() as out:
            await out.write(b"ab")
            await out.flush()
            await peer.send(Frame.ping(b"answer"))
            await settle()
            if raw is session:
                session.send_nowait(Frame.pong((await session.receive()).payload))
            raw.send_nowait(Frame.ping(b"ours"))
            frames = await received(peer)
            assert [frame.opcode for frame in frames if not isinstance(frame, FrameChunk)][1:] == [10, 9]
            await out.write(b"cd")
        assert b"".join(frame.payload for frame in await received(peer)) == b"cd"


@each_kind
async def test_s8_a_close_cuts_a_message_in_fragments(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        with pytest.raises(rawws.SessionClosed, match=r"a Close frame \(4000\) was sent"):
            async with session.open_stream() as out:
                await out.write(b"ab")
                await out.flush()
                session.close_nowait(4000)
                await out.write(b"cd")
        frames = await received(peer)
        assert frames[0].payload == b"ab" and [frame.opcode for frame in frames[1:]] == [Opcode.CLOSE]


async def test_s8_a_listener_goes_on() -> None:
    """A raw listener waits while senders wait for room. Not for a message in parts: its pings would wait, too."""
    async with talking.talking("raw") as (session, _, peer):

        def answer(frame: Frame) -> None:
            if frame.opcode is Opcode.PING:
                session.send_nowait(Frame.pong(frame.payload))

        session.listen(answer)
        async with session.open_stream(length=2) as out:
            await out.write(b"a")
            waiting = asyncio.ensure_future(session.send("waits"))
            await peer.send(Frame.ping(b"1"))
            await settle()
            assert session.frames_unsent == 2  # the frame, and the Pong behind it
            await out.write(b"b")
        await bounded_wait(waiting)
        assert [frame.payload for frame in await received(peer)] == [b"ab", b"1", b"waits"]


async def test_s8_a_flood_of_pings_stops_a_listener() -> None:
    """The pongs wait in memory until the frame ends."""
    async with talking.talking("raw") as (session, _, peer):
        answered = []

        def answer(frame: Frame) -> None:
            session.send_nowait(Frame.pong(frame.payload))
            answered.append(frame)

        session.listen(answer)
        async with session.open_stream(length=1) as out:
            await out.write(b"")
            with peer.cork():
                for _ in range(3000):
                    peer.send_nowait(Frame.ping(b"x"))
            await out.write(b"")
            await settle()
            first = len(answered)
            await out.write(b"a")
        await eventually(lambda: len(answered) == 3000)
        assert first in (0, 1024, 3000)


@each_kind
async def test_s8_both_sides_stream_at_once(kind: str) -> None:
    """Neither waits for the other."""
    async with talking.talking(kind) as (session, _, peer):
        ours = asyncio.ensure_future(session.send_stream([NOISE] * 10))
        theirs = asyncio.ensure_future(peer.send_stream([NOISE] * 10))
        total = 0

        async def take(end: Any) -> None:
            nonlocal total
            size = 0
            while size < 3_000_000:
                size += len((await end.receive()).payload)
            total += size

        await bounded_wait(asyncio.gather(ours, theirs, take(session), take(peer)))
        assert total == 6_000_000


# ---- S9: other senders --------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("length", [None, 4])
async def test_s9_other_senders_wait(kind: str, length: int | None) -> None:
    async with talking.talking(kind) as (session, _, peer):
        async with session.open_stream(length=length) as out:
            await out.write(b"ab")
            sends = [asyncio.ensure_future(session.send(text)) for text in ("1", "2")]
            streams = [asyncio.ensure_future(session.send_stream([b"3"]))]
            await settle()
            assert session.outgoing_full and not session.can_send_now("x")
            with pytest.raises(rawws.ChannelOverflow, match=r"a message is being sent in parts, .* wait for its end"):
                session.send_nowait("x")
            assert session.outgoing.try_send("x") is False
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.wait_writable(), 0.01)
            await out.write(b"cd")
        await bounded_wait(asyncio.gather(*sends, *streams))
        text = b"".join(frame.payload for frame in await received(peer))
        assert text == b"abcd123"
        session.send_nowait("room again")


@each_managed
async def test_s9_messages_before_it_come_first(kind: str) -> None:
    """With compression in threads, too; and those after it wait for it."""
    async with talking.talking(kind) as (session, _, peer):
        before = [asyncio.ensure_future(session.send(NOISE)) for _ in range(3)]
        await asyncio.sleep(0)
        stream = asyncio.ensure_future(session.send_stream([b"x" * 70_000] * 3, fragment_size=50_000))
        await asyncio.sleep(0)
        after = [asyncio.ensure_future(session.send(NOISE)) for _ in range(3)]
        messages: list[bytes] = []
        current = b""
        while len(messages) < 7:
            item = await bounded_wait(peer.receive())
            current += item.payload
            if item.fin if isinstance(item, Frame) else item.last and item.header.fin:
                messages.append(current)
                current = b""
        assert messages == [NOISE] * 3 + [b"x" * 210_000] + [NOISE] * 3
        await bounded_wait(asyncio.gather(*before, stream, *after))


@each_kind
async def test_s9_with_an_outgoing_that_overflows(kind: str) -> None:
    """``on_overflow="close"`` is about room. A sender that waits for a message in parts waits all the same."""
    async with talking.talking(kind, outgoing=rawws.bounded(4, "close")) as (session, _, peer):
        async with session.open_stream() as out:
            await out.write(b"ab")
            await out.flush()
            prepared = PreparedFrame(Frame.text("prepared"))
            sends = [asyncio.ensure_future(session.send(item)) for item in ("1", prepared, NOISE)]
            await settle()
            await out.write(b"cd")
        await bounded_wait(asyncio.gather(*sends))
        payload = b"".join(frame.payload for frame in await received(peer))
        assert payload.startswith(b"abcd1prepared")


async def test_s9_a_sender_that_is_cancelled_leaves_the_others() -> None:
    async with talking.talking("raw") as (session, _, peer):
        async with session.open_stream() as out:
            sends = [asyncio.ensure_future(session.send_stream([text])) for text in (b"1", b"2", b"3")]
            await settle()
            sends[1].cancel()
            await settle()
            await out.write(b"0")
        await bounded_wait(asyncio.gather(sends[0], sends[2]))
        assert [frame.payload for frame in await received(peer)] == [b"0", b"1", b"3"]


@pytest.mark.parametrize("policy", ["skip", "disconnect", "wait"])
async def test_s9_broadcasts(policy: Any) -> None:
    """A session is not dropped because it sends something large."""
    async with talking.talking("raw") as (session, _, peer):
        async with session.open_stream() as out:
            await out.write(b"a")
            report = rawws.broadcast([session], "news", policy=policy)
            assert not report.disconnected
            done = asyncio.ensure_future(report._wait())
            await settle()
        await bounded_wait(done)
        payload = b"".join(frame.payload for frame in await received(peer))
        assert payload == (b"anews" if policy == "wait" else b"a")


# ---- S10: the length ----------------------------------------------------------------------------


@raw_and_managed
@pytest.mark.parametrize("as_file", [False, True])
async def test_s10_a_source_that_is_shorter(kind: str, as_file: bool) -> None:
    async with talking.talking(kind) as (session, _, peer):
        source: Any = io.BytesIO(b"abc") if as_file else [b"ab", b"c"]
        with pytest.raises(ValueError, match="the source ended after 3 of 4 bytes"):
            await bounded_wait(session.send_stream(source, length=4))
        with pytest.raises(rawws.ConnectionLost, match=r"inside a frame|aborted"):
            await bounded_wait(peer.receive())
        assert session.close_state.lost or session.closed


async def test_s10_nothing_has_left_of_an_empty_one() -> None:
    async with talking.talking("raw") as (session, _, peer):
        with pytest.raises(ValueError, match="after 0 of 4 bytes"):
            await session.send_stream([], length=4)
        await session.send("goes on")
        assert await received(peer) == [Frame.text("goes on")]


@raw_and_managed
@pytest.mark.parametrize("as_file", [False, True])
async def test_s10_a_source_that_is_longer(kind: str, as_file: bool) -> None:
    async with talking.talking(kind) as (session, _, peer):
        for source in (io.BytesIO(b"abcdef"),) if as_file else ([b"abcdef"], [b"abcd", b"ef"], [b"ab", b"cde", b"f"]):
            with pytest.raises(ValueError, match="the source has more than the 4 bytes that were announced"):
                await bounded_wait(session.send_stream(source, length=4))
            await session.send("goes on")
            assert await received(peer) == [Frame.binary(b"abcd"), Frame.text("goes on")]


async def test_s10_others_do_not_wait_for_the_source_of_a_complete_frame() -> None:
    async with talking.talking("raw") as (session, _, peer):
        more = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            yield b"abcd"
            await more.wait()

        sending = asyncio.ensure_future(session.send_stream(source(), length=4))
        await settle()
        await bounded_wait(session.send("another"))
        more.set()
        assert await bounded_wait(sending) == 4
        assert [frame.payload for frame in await received(peer)] == [b"abcd", b"another"]


# ---- S11: a source that fails -------------------------------------------------------------------


class SourceError(Exception):
    pass


def failing(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks
    raise SourceError


@each_kind
async def test_s11_among_fragments(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        with pytest.raises(SourceError):
            await bounded_wait(session.send_stream(failing(b"a" * 10, b"b"), fragment_size=5))
        frames = await received(peer)
        assert not any(frame.fin for frame in frames[:-1]) and len(frames) == 3
        assert frames[-1].close_reason is not None and frames[-1].close_reason.code == 1011


@each_kind
async def test_s11_before_anything_has_left(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        for length in (None, 5):
            with pytest.raises(SourceError):
                await bounded_wait(session.send_stream(failing(), length=length))
        await session.send("goes on")
        assert [frame.payload for frame in await received(peer)] == [b"goes on"]


@each_kind
async def test_s11_inside_a_frame(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        with pytest.raises(SourceError):
            await bounded_wait(session.send_stream(failing(b"ab"), length=5))
        with pytest.raises(rawws.ConnectionLost):
            await bounded_wait(peer.receive())


async def test_s11_an_error_of_the_session_is_left_to_the_handler() -> None:
    async with talking.talking("managed") as (session, _, peer):
        with pytest.raises(rawws.SessionClosed):
            async with session.open_stream() as out:
                await out.write(b"a")
                await out.flush()
                peer.close_nowait(4002)
                await bounded_wait(session.receive())
        frames = await received(peer)
        assert [frame.payload for frame in frames] == [b"a", (4002).to_bytes(2, "big")]


# ---- cancellation -------------------------------------------------------------------------------


@each_kind
async def test_cancelled_among_fragments_a_close_can_follow(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        sending = asyncio.ensure_future(session.send_stream(later(b"whole", b"not" * 100_000, *[b"x"] * 1000)))
        await settle(5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bounded_wait(sending)
        with pytest.raises(RuntimeError):
            await session.send("another")
        session.close_nowait(4000)
        frames = await received(peer)
        assert not any(frame.fin for frame in frames[:-1]) and frames[-1].opcode is Opcode.CLOSE


@each_kind
async def test_cancelled_inside_a_frame(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        sending = asyncio.ensure_future(session.send_stream(later(b"a", *[b"x"] * 1000), length=2000))
        await settle(5)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bounded_wait(sending)
        with pytest.raises(rawws.ConnectionLost):
            await bounded_wait(peer.receive())


@each_kind
@pytest.mark.parametrize("length", [None, 300_000])
async def test_cancelled_at_each_step(kind: str, length: int | None) -> None:
    """The parser of the peer finds nothing wrong with what has left."""
    for steps in range(0, 40, 3):
        async with talking.talking(kind, config=PerMessageDeflate(executor_above=None)) as (session, raw, _):
            wire = bytearray()
            tap(raw, wire)
            sending = asyncio.ensure_future(
                session.send_stream(later(*[NOISE[:30_000]] * 10), length=length, fragment_size=50_000)
            )
            for _ in range(steps):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            parser = FrameParser(masked=False)
            parser.feed(bytes(wire))
            assert parser.error is None
            assert length is not None or not parser.mid_frame


async def test_a_write_that_is_cancelled_ends_the_message() -> None:
    async with talking.talking("raw") as (session, _, peer):
        peer.pause_reading()
        with pytest.raises(RuntimeError, match="was cancelled, so the message cannot be completed"):
            async with session.open_stream() as out:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(out.write(NOISE), 0.05)
                for _ in range(3):  # bytes are missing, however often it is tried
                    with pytest.raises(RuntimeError, match="the message cannot be completed"):
                        await out.write(b"more")
        peer.resume_reading()
        assert (await talking.next_reason(peer_behind(peer, await received(peer)))).code == 1011


async def test_a_write_that_fails_ends_the_message() -> None:
    """An extension has taken the bytes and raised: what follows them must not pass for the whole."""

    class Failing(WebSocketExtension):
        calls = 0

        def process_outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
            self.calls += 1
            if self.calls == 2:
                raise ValueError("of an extension")
            return frame

    factory: Any = type("Factory", (), {"name": "failing", "rsv": (False, False, False)})
    server, client = rawws.memory_pair()
    session = rawws.DefaultWebSocketSession(server, extensions=[Failing(factory())])
    with pytest.raises(RuntimeError, match="the message cannot be completed"):
        async with session.open_stream(fragment_size=10) as out:
            with pytest.raises(ValueError, match="of an extension"):
                await out.write(b"x" * 25)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="the message cannot be completed"):
                    await out.write(b"more")
    assert [frame.payload for frame in [await client.receive()]] == [b"x" * 10]
    assert (await client.receive()).payload[:2] == (1011).to_bytes(2, "big")
    await talking.end(session, client)


def peer_behind(peer: Any, frames: list[Any]) -> Any:
    """The peer, whose next frame is the last of ``frames``."""
    peer.connection.queue.put_one(frames[-1])
    return peer


# ---- extensions ---------------------------------------------------------------------------------


@each_managed
async def test_compressed_fragments(kind: str) -> None:
    config = PerMessageDeflate()
    async with talking.talking(kind, config=config) as (session, raw, peer):
        parser, wire = FrameParser(masked=False), bytearray()
        tap(raw, wire)
        data = b"compress me " * 50_000
        for compress in (None, True, False):
            wire.clear()
            await bounded_wait(session.send_stream([data], compress=compress))
            frames: list[Any] = [*parser.feed(bytes(wire))]
            compressed = kind == "deflate" and compress is not False
            assert [frame.rsv1 for frame in frames] == [compressed] + [False] * (len(frames) - 1)
            assert (len(wire) < len(data) // 20) is compressed
            got = b"".join(item.payload for item in await received(peer))
            assert got == data
        await session.send("the window is that of the peer")
        assert b"".join(item.payload for item in await received(peer)) == b"the window is that of the peer"


async def test_a_frame_of_known_length_is_not_compressed() -> None:
    async with talking.talking("deflate") as (session, _, peer):
        await session.send(b"x" * 1000)
        await session.send_stream([b"x" * 1000], length=1000)
        await session.send(b"x" * 1000)
        assert [item.payload for item in await received(peer)] == [b"x" * 1000] * 3
        with pytest.raises(ValueError, match="RSV1 is set by an extension"):
            session.open_stream(length=5, rsv1=True)


async def test_other_extensions_have_to_see_every_frame() -> None:
    class Other(WebSocketExtension):
        pass

    factory: Any = type("Factory", (), {"name": "other", "rsv": (False, False, False)})
    server, client = rawws.memory_pair()
    session = rawws.DefaultWebSocketSession(server, extensions=[Other(factory())])
    with pytest.raises(RuntimeError, match="cannot go through the extension other"):
        await session.send_stream([b"x"], length=1)
    await session.send_stream([b"x"])
    await talking.end(session, client)


async def test_a_raw_session_that_applies_them() -> None:
    async with talking.talking("applied") as (session, _, peer):
        data = b"compress me " * 50_000
        await session.send_stream([data])
        small = session.stats.bytes_sent
        await session.send_stream([data], compress=False)
        assert small < 10_000 < len(data) < session.stats.bytes_sent
        assert b"".join(item.payload for item in await received(peer)) == data * 2


# ---- S12: time ------------------------------------------------------------------------------------


@pytest.mark.loops("clock")
async def test_s12_keepalive_waits_for_the_end_of_a_frame() -> None:
    """The Ping cannot leave before; then the peer has the whole of ``timeout`` for its Pong."""
    async with talking.talking("managed", ping_interval=10.0, timeout=5.0) as (session, _, peer):
        answering = asyncio.ensure_future(answer_pings(peer))
        async with session.open_stream(length=10) as out:
            for _ in range(10):
                await clock.advance(30.0)
                await out.write(b"x")
        await clock.advance(100.0)
        assert not session.closed
        answering.cancel()
        await clock.advance(100.0)
        assert session.limit == "timeout"


@pytest.mark.loops("clock")
@pytest.mark.parametrize("goes_on", [True, False])
async def test_s12_keepalive_waits_for_the_end_of_a_frame_of_the_peer(goes_on: bool) -> None:
    """Its Pong cannot come inside. A frame of which nothing more comes is no excuse."""
    async with talking.talking("managed", ping_interval=10.0, timeout=5.0) as (session, _, peer):
        session.begin()
        peer.write_bytes(b"\x82\xe4\0\0\0\0")  # 100 bytes
        for _ in range(50 if goes_on else 1):
            peer.write_bytes(b"x")
            await clock.advance(3.0)
        if goes_on:
            assert not session.closed
            peer.write_bytes(bytes(50))
            assert len((await session.receive()).payload) == 100
        await clock.advance(100.0)
        assert session.limit == "timeout"  # this peer does not answer pings


async def answer_pings(peer: Any) -> None:
    async for frame in peer:
        if isinstance(frame, Frame) and frame.opcode is Opcode.PING:
            await peer.send(Frame.pong(frame.payload))


@pytest.mark.loops("clock")
@pytest.mark.parametrize("length", [None, 10_000_000])
async def test_s12_write_timeout_counts_a_peer_that_reads_nothing(length: int | None) -> None:
    async with talking.talking("raw", write_timeout=8.0) as (session, _, peer):
        peer.pause_reading()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(rawws.ConnectionLost):
            await session.send_stream([NOISE] * 100, length=length)
        assert clock.is_time_of(8.0, began) and session.connection.limit == "write_timeout"


@pytest.mark.loops("clock")
async def test_s12_a_source_that_stops_does_not_hold_a_close_forever() -> None:
    """The rest of the frame has to come first. ``close_timeout`` counts the time in which nothing of it comes."""
    async with talking.talking("managed", close_timeout=4.0) as (session, _, _):
        loop, source = asyncio.get_running_loop(), asyncio.StreamReader()
        source.feed_data(b"abc")
        sending = asyncio.ensure_future(session.send_stream(source, length=4))
        await clock.idle()
        began = loop.time()
        await session.close()
        assert clock.is_time_of(4.0, began)
        source.feed_data(b"d")
        with pytest.raises(rawws.SessionClosed):
            await sending


# ---- the end ------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("length", [None, 30_000_000])
async def test_the_connection_is_lost_meanwhile(kind: str, length: int | None) -> None:
    async with talking.talking(kind) as (session, raw, peer):
        peer.pause_reading()
        sending = asyncio.ensure_future(session.send_stream([NOISE] * 100, length=length))
        await asyncio.sleep(0.05)
        peer.abort()
        with pytest.raises(rawws.ConnectionLost):
            await bounded_wait(sending)
        assert raw.frames_unsent == 0


@each_kind
async def test_nothing_can_be_streamed_after_the_end(kind: str) -> None:
    async with talking.talking(kind) as (session, _, _):
        session.close_nowait()
        with pytest.raises(rawws.SessionClosed):
            await session.send_stream([b"x"])
        session.abort()
        with pytest.raises(rawws.SessionClosed):
            await session.send_stream([b"x"], length=1)


async def test_a_handler_that_returns_inside_a_frame() -> None:
    """A task of its own goes on sending: the frame is completed, and then the stream ends."""
    async with talking.talking("raw") as (session, _, peer):
        tasks = []

        async def handle(session: Any) -> None:
            tasks.append(asyncio.ensure_future(session.send_stream(later(b"ab", b"cd"), length=4)))
            await settle(4)

        running = talking.run(session, handle)
        assert await bounded_wait(peer.receive()) == Frame.binary(b"abcd")
        await peer.end()
        await bounded_wait(running)
        assert await bounded_wait(tasks[0]) == 4


# ---- S1: constant memory --------------------------------------------------------------------------


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("length", [None, 64 * 2**20])
@pytest.mark.parametrize("kind", ["raw", "deflate"])
async def test_s1_memory_is_constant(kind: str, length: int | None) -> None:
    async with talking.talking(kind, config=PerMessageDeflate(max_inflated_size=None)) as (session, _, peer):
        total, taken = 64 * 2**20, 0

        def take(item: Any) -> None:
            nonlocal taken
            taken += len(item.payload)

        peer.frame_streaming_threshold = 64 * KIB
        peer.max_frame_size = None
        peer.listen(take)
        block = bytes(256 * KIB)
        await session.send_stream([block])  # what is made once: windows, threads
        await eventually(lambda: taken == len(block))
        tracemalloc.start()
        try:
            sent = await bounded_wait(session.send_stream((block for _ in range(total // len(block))), length=length))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sent == total
        await eventually(lambda: taken == total + len(block))
        assert peak < 3 * 2**20


@pytest.mark.parametrize("transport", pairs.TRANSPORTS)
@pytest.mark.parametrize("length", [None, 20 * 300_000])
async def test_s7_over_sockets(transport: str, length: int | None) -> None:
    """A peer that reads now and then, and pings all the time, gets every byte and every Pong."""
    peers = {"max_frame_size": None, "frame_streaming_threshold": 64 * KIB, "incoming": UNLIMITED}
    async with pairs.connected(transport, client_options=peers) as (server, client):
        session = rawws.DefaultWebSocketSession(server)
        session.begin()
        sending = asyncio.ensure_future(session.send_stream([NOISE] * 20, length=length))
        got, pongs, pings = bytearray(), 0, 0
        while len(got) < 20 * len(NOISE) or pongs < pings:
            if pings < 50:
                await client.send(Frame.ping(b"x"))
                pings += 1
            item = await bounded_wait(client.receive())
            if isinstance(item, Frame) and item.opcode is Opcode.PONG:
                pongs += 1
            else:
                got += item.payload
        assert await bounded_wait(sending) == len(got) and got == NOISE * 20
