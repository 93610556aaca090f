"""Limits of a session at n-1, n and n+1: the Close for the peer, the error for the reader, the log, the count."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, SessionOptions
from aiohttp_rawws.errors import ChannelOverflow, FrameTooBig, PolicyViolation
from aiohttp_rawws.session import timeouts
from aiohttp_rawws.session.memory import MemoryTransport
from aiohttp_rawws.session.messages import MessageAssembler
from aiohttp_rawws.session.running import run_managed, run_session
from aiohttp_rawws.session.timeouts import SessionTimers, limit_of
from aiohttp_rawws.wire.codec import FrameChunk, FrameHeader

from ..tools.clock import advance, idle, is_time_of

pytestmark = pytest.mark.loops("clock")

T = 0.2  # seconds of a limit that a test waits for
SOON = 3 * T + 1.0


class Run:
    """A handler that runs over a server session, and what came of it."""

    def __init__(self, session: Any, client: rawws.WebSocketSession, task: asyncio.Task[None]) -> None:
        self.session, self.client, self.task = session, client, task
        self.reached: list[str] = []

    async def over(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.task), SOON)

    async def close_code(self) -> int | None:
        """The code of the Close that the client gets; it answers that one. None if there is none."""
        async for frame in self.client:
            if frame.opcode is Opcode.CLOSE:
                await self.client.close()
                return None if frame.close_reason is None else frame.close_reason.code
        return None


async def consume(session: Any) -> None:
    async for _ in session:
        pass


async def wait_for_ever(session: Any) -> None:
    await session.wait_closed()


@asynccontextmanager
async def running(
    kind: str, handle: Callable[[Any], Awaitable[object]] = consume, **options: Any
) -> AsyncIterator[Run]:
    options.setdefault("close_timeout", T)
    server, client = rawws.memory_pair(
        server_options=SessionOptions(**options), incoming=rawws.bounded(2), outgoing=rawws.UNLIMITED
    )
    reached: list[str] = []
    if kind == "raw":
        session: Any = server
        task = asyncio.create_task(run_session(server, handle, on_limit=reached.append))
    else:
        session = rawws.DefaultWebSocketSession(server)
        task = asyncio.create_task(run_managed(session, handle, on_limit=reached.append))
    run = Run(session, client, task)
    run.reached = reached
    await asyncio.sleep(0)
    try:
        yield run
    finally:
        client.abort()
        server.abort()
        await run.over()
        await client.wait_closed()


both = pytest.mark.parametrize("kind", ["raw", "managed"])


# ---- fragments per message ----------------------------------------------------------------


def message(fragments: int, payload: bytes = b"") -> list[Frame]:
    """A message in so many fragments, opcodes as on the wire."""
    frames = [Frame(Opcode.CONTINUATION, payload, fin=False, kind=Opcode.BINARY) for _ in range(fragments)]
    frames[0] = Frame(Opcode.BINARY, payload, fin=False)
    frames[-1] = Frame(frames[-1].opcode, payload, kind=Opcode.BINARY)
    return frames


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_max_fragments(limit: int, payload: bytes) -> None:
    assembler = MessageAssembler(None, max_fragments=limit)
    for count in (max(1, limit - 1), limit, 1, limit):
        *rest, last = message(count, payload)
        assert [assembler.add(frame) for frame in rest] == [None] * (count - 1)
        assert assembler.add(last) == Frame.binary(payload * count)
    *frames, last = message(limit + 1, payload)
    for frame in frames:
        assembler.add(frame)
    with pytest.raises(PolicyViolation) as caught:
        assembler.add(last)
    assert (caught.value.option, caught.value.limit, caught.value.close_code) == ("max_fragments", limit, 1008)


def test_max_fragments_counts_frames_and_not_the_chunks_they_come_in() -> None:
    assembler = MessageAssembler(None, max_fragments=2)

    def chunks(opcode: Opcode, fin: bool) -> list[FrameChunk]:
        header = FrameHeader(opcode, 3, kind=Opcode.BINARY, fin=fin)
        parts = [(b"", 0, False), (b"a", 0, False), (b"b", 1, False), (b"c", 2, True)]
        return [FrameChunk(header, payload, offset, last) for payload, offset, last in parts]

    for _ in range(2):
        for chunk in (*chunks(Opcode.BINARY, False), *chunks(Opcode.CONTINUATION, True)[:-1]):
            assert assembler.add(chunk) is None
        assert assembler.add(chunks(Opcode.CONTINUATION, True)[-1]) == Frame.binary(b"abcabc")
    for chunk in (*chunks(Opcode.BINARY, False), *chunks(Opcode.CONTINUATION, False)):
        assembler.add(chunk)
    with pytest.raises(PolicyViolation):  # at its header
        assembler.add(chunks(Opcode.CONTINUATION, True)[0])


@pytest.mark.parametrize(("count", "code"), [(4, None), (5, None), (6, 1008)])
async def test_max_fragments_of_a_session(count: int, code: int | None) -> None:
    async with running("managed", max_fragments=5) as run:
        for frame in message(count):
            await run.client.send(Frame.ping())  # which is no fragment
            await run.client.send(frame.replace(opcode=Opcode.BINARY, kind=None))
        if code is None:
            await run.client.close()
        assert await run.close_code() == code or code is None
        await run.over()
        assert run.reached == ([] if code is None else ["max_fragments"])


async def test_no_max_fragments() -> None:
    async with running("managed", max_fragments=None) as run:
        for frame in message(70_000):
            run.client.send_nowait(frame.replace(opcode=Opcode.BINARY, kind=None))
        await run.client.close()
        await run.over()
        assert run.reached == []


# ---- control frames per second ------------------------------------------------------------


@pytest.mark.parametrize("frame", [Frame.ping(b"x"), Frame.pong()], ids=["ping", "pong"])
@pytest.mark.parametrize("count", [9, 10, 11])
async def test_max_control_rate(frame: Frame, count: int) -> None:
    async with running("managed", max_control_rate=10) as run:
        for _ in range(count):
            await run.client.send(frame)
        if count <= 10:
            await run.client.close()
            assert await run.close_code() == 1000
        else:
            assert await run.close_code() == 1008
        await run.over()
        assert run.reached == ([] if count <= 10 else ["max_control_rate"])


async def test_max_control_rate_is_for_one_second() -> None:
    async with running("managed", max_control_rate=10) as run:
        for second in range(5):
            await advance(1.0 if second else 0.0)
            for _ in range(10):
                await run.client.send(Frame.ping())
        await advance(0.999)
        assert run.reached == []
        await run.client.send(Frame.ping())
        assert await run.close_code() == 1008
        await run.over()
        assert run.reached == ["max_control_rate"]


async def test_a_raw_session_counts_neither() -> None:
    async with running("raw", max_control_rate=1, max_fragments=1) as run:
        for frame in message(10):
            await run.client.send(Frame.ping())
            await run.client.send(frame.replace(opcode=Opcode.BINARY, kind=None))
        await run.client.close()
        await run.over()
        assert run.reached == []


# ---- sizes --------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("size", [99, 100, 101])
async def test_max_frame_size(kind: str, size: int) -> None:
    async with running(kind, max_frame_size=100) as run:
        await run.client.send(bytes(size))
        if size > 100:
            assert await run.close_code() == 1009
        await run.client.close()
        await run.over()
        assert run.reached == ([] if size <= 100 else ["max_frame_size"])


@pytest.mark.parametrize("size", [99, 100, 101])
async def test_max_message_size(size: int) -> None:
    async with running("managed", max_message_size=100) as run:
        for rest, fin in ((60, False), (size - 60, True)):
            await run.client.send(Frame.binary(bytes(rest), fin=fin))
        if size > 100:
            assert await run.close_code() == 1009
        await run.client.close()
        await run.over()
        assert run.reached == ([] if size <= 100 else ["max_message_size"])


# ---- queues -------------------------------------------------------------------------------


def bounds(unit: str, limit: int) -> rawws.ChannelConfig:
    if unit == "frames":
        return rawws.bounded(limit, "close", max_bytes=None)
    return rawws.bounded(None, "close", max_bytes=limit * 10)


@both
@pytest.mark.parametrize("unit", ["frames", "bytes"])
@pytest.mark.parametrize("count", [4, 5, 6])
async def test_incoming(kind: str, unit: str, count: int) -> None:
    async def wait_then_consume(session: Any) -> None:
        await ready.wait()
        async for item in session:
            if not item.opcode.is_control:
                taken.append(item)

    ready = asyncio.Event()
    taken: list[Any] = []
    async with running(kind, wait_then_consume, incoming=bounds(unit, 5)) as run:
        for _ in range(count):
            await run.client.send(bytes(10))
        await idle()
        ready.set()
        if count > 5 and kind == "managed":
            assert await run.close_code() == 1008
        run.client.close_nowait()
        await run.over()
        assert len(taken) == min(count, 5)
        if count > 5:
            assert run.reached == ["incoming"]
        else:  # a Close is never one too many: nothing comes after it
            assert run.reached == []


@both
@pytest.mark.parametrize("unit", ["frames", "bytes"])
@pytest.mark.parametrize("count", [4, 5, 6])
@pytest.mark.parametrize("reads", [True, False])
async def test_outgoing(kind: str, unit: str, count: int, reads: bool) -> None:
    refused = []

    async def send(session: Any) -> None:
        await session.send(bytes(100_000))  # the transport is full from here on
        for _ in range(count):
            try:
                await session.send(bytes(8))  # 10 bytes on the wire
            except ChannelOverflow:
                refused.append(1)
                raise

    async with running(kind, send, outgoing=bounds(unit, 5)) as run:
        run.client.pause_reading()
        await idle()
        assert len(refused) == max(0, count - 5)
        if reads:
            run.client.resume_reading()
            await run.close_code()
        await run.over()
        expected = ["outgoing"] if count > 5 else [] if reads else ["close_timeout"]
        assert run.reached == expected


@both
@pytest.mark.parametrize("unit", ["frames", "bytes"])
@pytest.mark.parametrize("count", [4, 5, 6])
async def test_outgoing_that_waits(kind: str, unit: str, count: int) -> None:
    sent = []

    async def send(session: Any) -> None:
        await session.send(bytes(100_000))  # the transport is full from here on
        for number in range(count):
            await session.send(bytes(8))
            sent.append(number)

    config = rawws.bounded(5, max_bytes=None) if unit == "frames" else rawws.bounded(None, max_bytes=50)
    async with running(kind, send, outgoing=config) as run:
        run.client.pause_reading()
        await idle()
        assert len(sent) == min(count, 5)
        assert run.session.outgoing_full or count < 5  # the Close of a managed session is a frame, too
        run.client.resume_reading()
        await run.close_code()
        await run.over()
        assert len(sent) == count
        assert run.reached == []


@both
async def test_a_full_outgoing_that_nobody_waits_for(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """``send_nowait()`` refuses; the handler lets it through."""
    caplog.set_level(logging.INFO, "aiohttp_rawws")

    async def send(session: Any) -> None:
        while True:
            session.send_nowait(bytes(100_000))

    async with running(kind, send, outgoing=rawws.bounded(2)) as run:
        assert await run.close_code() == (1008 if kind == "managed" else None)
        await run.over()
        assert run.reached == ["outgoing"]
    assert len([record for record in caplog.records if "limit outgoing" in record.getMessage()]) == 1


# ---- close_timeout ------------------------------------------------------------------------


async def close(session: Any) -> None:
    await session.close()


async def send_unread(session: Any) -> None:
    """Returns with more unsent than the transport takes."""
    session.send_nowait(bytes(500_000))


@both
@pytest.mark.parametrize("handle", [close, send_unread], ids=["the peer's Close", "what was sent"])
async def test_close_timeout(kind: str, handle: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    loop = asyncio.get_running_loop()
    async with running(kind, handle, close_timeout=T) as run:
        run.client.pause_reading()  # it gets nothing, and says nothing
        began = loop.time()
        await run.over()
        assert is_time_of(T, began)
        assert run.session.close_state.lost
        assert run.reached == ["close_timeout"]
    lines = [record for record in caplog.records if "limit close_timeout" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.INFO]


@both
@pytest.mark.parametrize("handle", [close, send_unread], ids=["the peer's Close", "what was sent"])
@pytest.mark.parametrize(("after", "late"), [(0.3, False), (0.7, False), (1.5, True)])
async def test_a_peer_that_ends_within_close_timeout(kind: str, handle: Any, after: float, late: bool) -> None:
    async with running(kind, handle, close_timeout=3 * T) as run:
        run.client.pause_reading()
        await advance(after * 3 * T)
        run.client.resume_reading()
        await run.close_code()
        await run.client.end()
        await run.over()
        assert run.reached == (["close_timeout"] if late else [])


# ---- idle_timeout, max_lifetime -----------------------------------------------------------


@both
async def test_idle_timeout(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    loop = asyncio.get_running_loop()
    async with running(kind, idle_timeout=T) as run:
        for _ in range(4):
            await advance(T / 2)
            await run.client.send("still here")
        assert run.reached == []
        last = loop.time()
        assert await run.close_code() == 1001
        assert is_time_of(T, last)
        await run.over()
        assert run.reached == ["idle_timeout"]
    lines = [record for record in caplog.records if "limit idle_timeout" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.INFO]


@both
async def test_a_slow_application_is_not_an_idle_peer(kind: str) -> None:
    async def slow(session: Any) -> None:
        await asyncio.sleep(3 * T)
        await consume(session)

    async with running(kind, slow, idle_timeout=T, incoming=rawws.bounded(1)) as run:
        for _ in range(5):
            run.client.send_nowait("x")
        await advance(2.5 * T)
        assert run.reached == []
        await run.client.close()
        await run.over()


@both
async def test_max_lifetime(kind: str) -> None:
    loop = asyncio.get_running_loop()
    async with running(kind, max_lifetime=T, idle_timeout=10 * T) as run:
        began = loop.time()
        assert await run.close_code() == 1001
        assert loop.time() - began == pytest.approx(T)
        await run.over()
        assert run.reached == ["max_lifetime"]


@both
@pytest.mark.parametrize("option", ["idle_timeout", "max_lifetime"])
async def test_a_peer_that_ignores_the_close_is_aborted(kind: str, option: str) -> None:
    loop = asyncio.get_running_loop()
    async with running(kind, wait_for_ever, close_timeout=T, **{option: T}) as run:
        run.client.pause_reading()
        began = loop.time()
        await run.over()
        assert is_time_of(2 * T, began)
        assert run.reached == [option, "close_timeout"]


@both
async def test_a_session_that_ends_stops_the_clock(kind: str) -> None:
    async with running(kind, max_lifetime=60.0, idle_timeout=60.0) as run:
        await run.client.close()
        await run.over()
        assert run.reached == []
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, SessionTimers) and found._timer is not None]


async def test_no_limit_of_time_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("SessionTimers were made")

    monkeypatch.setattr(timeouts, "SessionTimers", made)
    async with running("raw"), running("managed"):
        pass


async def test_by_hand() -> None:
    reached: list[str] = []
    server, client = rawws.memory_pair(close_timeout=T, idle_timeout=T, max_lifetime=10.0)
    timers = SessionTimers(server, reached.append)
    assert (await client.receive()).close_reason == rawws.CloseReason(1001, "Nothing was received for too long")
    await asyncio.wait_for(server.wait_closed(), SOON)
    assert reached == ["idle_timeout"]
    assert server.connection.limit == "close_timeout"  # which run_session() reports
    timers.stop()
    await client.end()


# ---- write_timeout ------------------------------------------------------------------------


async def flood(session: Any) -> None:
    while True:
        await session.send(bytes(10_000))


@both
async def test_a_peer_that_takes_nothing_is_aborted(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    loop = asyncio.get_running_loop()
    async with running(kind, flood, write_timeout=T) as run:
        run.client.pause_reading()
        began = loop.time()
        await run.over()
        assert is_time_of(T, began)
        assert run.session.close_state.lost
    assert "limit write_timeout: the peer took nothing for 0.2 seconds" in caplog.text


@both
async def test_a_peer_that_takes_little_is_not(kind: str) -> None:
    async with running(kind, flood, write_timeout=T) as run:
        for _ in range(10):
            run.client.pause_reading()
            await advance(T / 3)
            run.client.resume_reading()
            for _ in range(3):
                await run.client.receive()
        assert not run.task.done()


@both
async def test_silence_when_nothing_is_to_be_written_is_no_stall(kind: str) -> None:
    async with running(kind, write_timeout=T / 2) as run:
        run.client.pause_reading()
        await advance(2 * T)
        assert not run.session.close_state.lost


async def test_the_previous_protocol_hears_of_every_pause_and_of_the_loss() -> None:
    class Previous(asyncio.BaseProtocol):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def pause_writing(self) -> None:
            self.calls.append("pause")

        def resume_writing(self) -> None:
            self.calls.append("resume")

        def connection_lost(self, exc: BaseException | None) -> None:
            self.calls.append("lost")

    ours, theirs = MemoryTransport.pair()
    previous = Previous()
    session = rawws.WebSocketSession(
        ours,
        previous_protocol=previous,
        on_closed=lambda: previous.calls.append("closed"),
        options=SessionOptions(outgoing=rawws.UNLIMITED, write_timeout=T),
    )
    peer = rawws.WebSocketSession(theirs, server=False)
    session.start()
    peer.start()
    for _ in range(2):
        session.send_nowait(bytes(100_000))
        await peer.receive()
        await asyncio.sleep(0)
    assert previous.calls == ["pause", "resume"] * 2
    peer.pause_reading()
    session.send_nowait(bytes(500_000))
    await asyncio.wait_for(session.wait_closed(), SOON)
    assert previous.calls[-3:] == ["pause", "closed", "lost"]
    assert session.connection.limit == "write_timeout"
    await peer.wait_closed()


@pytest.mark.loops("asyncio")
async def test_write_timeout_over_streams() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = rawws.RawWebSocket(reader, writer, write_timeout=T)
        await run_session(session, flood)
        done.set()

    done = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await asyncio.wait_for(done.wait(), SOON + 2.0)
        writer.transport.abort()


# ---- options ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_fragments", "max_control_rate"])
def test_counts(name: str) -> None:
    options: Any = SessionOptions
    for value in (1, 10**9, None):
        assert getattr(options(**{name: value}), name) == value
    for value in (0, -1):
        with pytest.raises(ValueError, match=name):
            options(**{name: value})
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match=name):
            options(**{name: wrong})


@pytest.mark.parametrize("name", ["idle_timeout", "max_lifetime", "write_timeout"])
def test_times(name: str) -> None:
    options: Any = SessionOptions
    assert getattr(SessionOptions(), name) is None
    assert getattr(options(**{name: timedelta(minutes=1)}), name) == 60.0
    for value in (0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=name):
            options(**{name: value})
    with pytest.raises(TypeError, match=name):
        options(**{name: "1"})


def test_limit_of() -> None:
    assert limit_of(FrameTooBig(2, 1)) == "max_frame_size"
    assert limit_of(FrameTooBig(2, 1, "max_ratio")) == "max_ratio"
    assert limit_of(PolicyViolation("", "max_fragments", 1)) == "max_fragments"
    assert limit_of(ChannelOverflow()) == "incoming"
    assert limit_of(rawws.ProtocolViolation()) is limit_of(None) is None
