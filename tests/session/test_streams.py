"""Sessions over readers and writers of other libraries, whose errors are of any class."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiohttp_rawws import ConnectionLost, DefaultWebSocketSession, Frame, RawWebSocket, SessionClosed, bounded

from ..tools.clock import advance
from ..tools.peers import TEXT, frame
from ..tools.talking import bounded_wait, run
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


class ChannelError(Exception):
    """The error of a library whose connection is gone."""


class Reader:
    """Passes on the bytes that it is given, then ends as the test wants."""

    def __init__(self, *data: bytes, then: BaseException | None = None) -> None:
        self.data = list(data)
        self.then = then
        self.failing = asyncio.Event()

    async def read(self, size: int) -> bytes:
        if self.data:
            return self.data.pop(0)
        if self.then is None:
            await self.failing.wait()
            return b""
        await asyncio.sleep(1)
        raise self.then


class Writer:
    """Takes everything, and fails at the named calls."""

    def __init__(self, *failing: str, error: BaseException | None = None) -> None:
        self.failing = failing
        self.error = ChannelError("the channel is gone") if error is None else error
        self.written = b""
        self.closed = 0

    def _maybe_fail(self, name: str) -> None:
        if name in self.failing:
            raise self.error

    def write(self, data: bytes) -> None:
        self._maybe_fail("write")
        self.written += data

    async def drain(self) -> None:
        await asyncio.sleep(1)
        self._maybe_fail("drain")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._maybe_fail("write_eof")

    def close(self) -> None:
        self.closed += 1
        self._maybe_fail("close")

    async def wait_closed(self) -> None:
        await asyncio.sleep(1)
        self._maybe_fail("wait_closed")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


ERRORS = [ChannelError("gone"), OSError("gone"), ConnectionResetError(), EOFError(), ValueError("closed"), KeyError(1)]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
each_form = pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])


def session_over(reader: Reader, writer: Any, managed: bool, **options: Any) -> Any:
    raw = RawWebSocket(reader, writer, **options)
    return DefaultWebSocketSession(raw) if managed else raw


@each_form
@each_error
@pytest.mark.parametrize("messages", [0, 1, 10])
async def test_a_reader_that_raises(managed: bool, error: BaseException, messages: int) -> None:
    """The session is lost with that error, after what was received."""
    reader = Reader(*(frame(TEXT, b"%d" % number) for number in range(messages)), then=error)
    writer = Writer()
    session = session_over(reader, writer, managed, incoming=bounded(4))
    for number in range(messages):
        assert (await bounded_wait(session.receive())).text == str(number)
    with pytest.raises(ConnectionLost):
        await bounded_wait(session.receive())
    assert session.close_state.lost and session.close_state.error is error
    assert writer.closed
    await bounded_wait(session.wait_closed())
    error.__traceback__ = None


@each_form
@pytest.mark.parametrize("where", ["read", "drain", "wait_closed"])
async def test_a_reader_or_writer_that_is_cancelled_inside(managed: bool, where: str) -> None:
    """A task of the library's own was, which it awaits."""
    cancelled = asyncio.CancelledError()
    reader, writer = Reader(then=cancelled if where == "read" else None), Writer(where, error=cancelled)
    session = session_over(reader, writer, managed, close_timeout=2)
    if where == "wait_closed":
        await bounded_wait(session.close() if managed else session.end())
    else:
        if where == "drain":
            session.send_nowait(bytes(100_000))
        with pytest.raises(ConnectionLost):
            await bounded_wait(session.receive())
    await bounded_wait(session.wait_closed())


@each_form
async def test_a_reader_that_ends(managed: bool) -> None:
    reader = Reader(frame(TEXT, b"last"))
    reader.failing.set()
    session = session_over(reader, Writer(), managed, close_timeout=2)
    assert [message.text async for message in session] == ["last"]
    await bounded_wait(run(session, nothing))


async def nothing(session: Any) -> None:
    pass


@each_form
@each_error
@pytest.mark.parametrize("where", ["write", "drain"])
async def test_a_writer_that_raises(managed: bool, error: BaseException, where: str) -> None:
    """``send()`` and ``receive()`` raise the loss."""
    writer = Writer(where, error=error)
    session = session_over(Reader(), writer, managed)
    receiving = asyncio.ensure_future(session.receive())
    await settle()
    with pytest.raises(ConnectionLost):
        for _ in range(100):
            await bounded_wait(session.send(bytes(100_000)))
    with pytest.raises(ConnectionLost):
        await bounded_wait(receiving)
    await bounded_wait(session.wait_closed())
    assert session.close_state.error is error
    error.__traceback__ = None


@each_form
@each_error
@pytest.mark.parametrize("where", ["close", "wait_closed", "write_eof", "drain"])
@pytest.mark.parametrize("way", ["end", "handler returns", "async with", "peer closes", "abort"])
async def test_a_writer_that_raises_at_the_end(managed: bool, error: BaseException, where: str, way: str) -> None:
    """The end comes all the same, in time, and raises nothing of it."""
    writer = Writer(where, error=error)
    reader = Reader(*([frame(8, b"\x03\xe8")] if way == "peer closes" else []))
    session = session_over(reader, writer, managed, close_timeout=5)

    async def handle(session: Any) -> None:
        if way == "peer closes":
            async for _ in session:
                pass
        session.send_nowait(Frame.pong(b"x" * 100)) if way != "peer closes" else None

    began = asyncio.get_running_loop().time()
    if way == "abort":
        session.abort()
    elif way == "async with":
        async with session:
            session.send_nowait("x")
    elif way == "end":
        await bounded_wait(session.close() if managed else session.end())
    else:
        await bounded_wait(run(session, handle))
    await bounded_wait(session.wait_closed())
    assert session.close_state.lost
    assert asyncio.get_running_loop().time() - began <= 2 * 5 + 3
    assert writer.closed
    await advance(5)
    error.__traceback__ = None


@each_form
async def test_a_writer_that_raises_wakes_a_handler_that_waits(managed: bool) -> None:
    class Stuck(Writer):
        async def drain(self) -> None:
            await asyncio.sleep(5)
            raise self.error

    outcomes: list[BaseException] = []

    async def handle(session: Any) -> None:
        try:
            while True:
                await session.send(bytes(100_000))
        except SessionClosed as exc:
            outcomes.append(exc)

    session = session_over(Reader(), Stuck(), managed)
    await bounded_wait(run(session, handle))
    assert [type(outcome) for outcome in outcomes] == [ConnectionLost]


class Bare:
    """The least that a writer must have."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


@each_form
@pytest.mark.parametrize("error", [None, ChannelError()], ids=["ends", "raises"])
async def test_a_writer_with_the_least_there_must_be(managed: bool, error: BaseException | None) -> None:
    reader, writer = Reader(frame(TEXT, b"hello"), then=error), Bare()
    if error is None:
        reader.failing.set()
    session = session_over(reader, writer, managed, close_timeout=2)
    await session.send("first")
    assert (await bounded_wait(session.receive())).text == "hello"
    with pytest.raises(ConnectionLost):
        await bounded_wait(session.receive())
    await bounded_wait(run(session, nothing))
    assert writer.written.startswith(b"\x81\x05first")


@each_form
async def test_a_reader_is_not_read_from_while_the_session_is_full(managed: bool) -> None:
    reader = Reader(*(frame(TEXT, b"%d" % number) for number in range(50)), then=ChannelError())
    session = session_over(reader, Writer(), managed, incoming=bounded(4))
    if managed:
        session.begin()
    await advance(10)
    assert len(reader.data) >= 40
    got = [message.text async for message in session]
    assert got == [str(number) for number in range(50)]


class ClosedTransport:
    """A TLS transport of asyncio before Python 3.12, once it is closed."""

    def get_write_buffer_size(self) -> int:
        raise AttributeError("'NoneType' object has no attribute 'get_write_buffer_size'")

    def abort(self) -> None:
        pass


class ClosedWriter(Writer):
    transport = ClosedTransport()

    def get_extra_info(self, name: str, default: object = None) -> Any:
        raise AttributeError("'NoneType' object has no attribute '_get_extra_info'")


async def test_the_end_of_a_tls_stream_that_is_closed() -> None:
    reader = Reader()
    session = RawWebSocket(reader, ClosedWriter())
    assert session.get_extra_info("socket") is None
    await session.send("hello")
    reader.failing.set()
    await bounded_wait(session.end())
    assert session.close_state.lost
