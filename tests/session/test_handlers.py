"""Whose error it is when a handler raises, and what comes first when a peer breaks the rules."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiohttp_rawws import (
    ChannelOverflow,
    ConnectionLost,
    DefaultWebSocketSession,
    Frame,
    FrameTooBig,
    InvalidPayload,
    JSONConverter,
    Opcode,
    ProtocolViolation,
    SessionClosed,
    WebSocketSession,
    bounded,
    memory_pair,
)
from aiohttp_rawws.session.running import run_managed, run_session
from aiohttp_rawws.wire.codec import encode_header

from ..tools.newer import ExceptionGroup
from ..tools.waiting import settle

Session = WebSocketSession | DefaultWebSocketSession


async def run(kind: str, handle: Callable[[Any], Awaitable[None]], *sent: Frame | bytes, **options: Any) -> list[Frame]:
    """The frames that the peer receives if ``handle`` runs, and the peer has sent ``sent`` in one piece."""
    server, client = memory_pair(**options)
    with client.cork():
        for item in sent:
            if isinstance(item, bytes):
                client.write_bytes(item)
            else:
                client.send_nowait(item)
    if kind == "managed":
        task = asyncio.create_task(run_managed(DefaultWebSocketSession(server), handle))
    else:
        task = asyncio.create_task(run_session(server, handle))
    received: list[Frame] = []
    try:
        while True:
            received.append(await client.receive())
    except SessionClosed:
        pass
    client.abort()
    await asyncio.wait_for(task, 20)
    return received


async def take_text(session: Session) -> None:
    async for frame in session:
        await session.send(frame.text)


async def lose_another(session: Session) -> None:
    upstream, peer = memory_pair()
    peer.abort()
    await session.receive()
    try:
        await upstream.receive()
    finally:
        await upstream.wait_closed()
        await peer.wait_closed()


async def overflow_another(session: Session) -> None:
    upstream, peer = memory_pair(outgoing=bounded(1))
    await session.receive()
    peer.pause_reading()
    try:
        for _ in range(10):
            upstream.send_nowait(b"x" * 2**17)
    finally:
        upstream.abort()
        await upstream.wait_closed()
        await peer.wait_closed()


async def raise_a_closed_error(session: Session) -> None:
    await session.receive()
    raise SessionClosed("of the handler's own making")


async def listen_and_raise(session: Session) -> None:
    await session.listen(lambda frame: frame.text)


async def deserialize(session: Session) -> None:
    await session.receive_deserialized()


async def raise_in_a_group(session: Session) -> None:
    """As a task group does. Python 3.10 has none."""
    try:
        await take_text(session)
    except InvalidPayload as exc:
        if sys.version_info >= (3, 11):
            raise ExceptionGroup("of tasks", [exc]) from None
        raise


FOREIGN = [lose_another, overflow_another, raise_a_closed_error]
OF_THE_PAYLOAD = {take_text: 1007, listen_and_raise: 1007, raise_in_a_group: 1007, deserialize: 1003}


def named(handle: Any) -> str:
    return str(handle.__name__)


class TestErrorsOfTheHandler:
    """They are reported and answered like any other, whatever their class."""

    @pytest.mark.parametrize("handle", FOREIGN, ids=named)
    async def test_managed(self, handle: Any, caplog: pytest.LogCaptureFixture) -> None:
        (close,) = await run("managed", handle, Frame.binary(b"\xff"))
        assert close.close_reason is not None and close.close_reason.code == 1011
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    @pytest.mark.parametrize("handle", OF_THE_PAYLOAD, ids=named)
    async def test_what_a_payload_causes_on_a_managed_session_is_one_line_at_info(
        self, handle: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client must not make the server write tracebacks."""
        caplog.set_level(logging.INFO, "aiohttp_rawws")
        (close,) = await run("managed", handle, Frame.binary(b"\xff"), converter=JSONConverter())
        assert close.close_reason is not None and close.close_reason.code == OF_THE_PAYLOAD[handle]
        assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.INFO, None)]

    @pytest.mark.parametrize("handle", [*FOREIGN, *OF_THE_PAYLOAD], ids=named)
    @pytest.mark.parametrize("on_error", ["abort", "close-1011"])
    async def test_raw(self, handle: Any, on_error: str, caplog: pytest.LogCaptureFixture) -> None:
        received = await run("raw", handle, Frame.binary(b"\xff"), on_error=on_error, converter=JSONConverter())
        codes = [frame.close_reason.code for frame in received if frame.close_reason is not None]
        assert codes == ([1011] if on_error == "close-1011" else [])
        assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def receive_on(session: Session) -> None:
    while True:
        await session.receive()


async def send_on(session: Session) -> None:
    while True:
        await session.send("x")
        await asyncio.sleep(0)


A_CLOSE, A_VIOLATION = Frame.close(1000), b"\x83\x80\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("kind", "handle", "sent"),
    [
        ("raw", receive_on, A_CLOSE),
        ("raw", receive_on, A_VIOLATION),
        ("raw", send_on, A_VIOLATION),  # after a Close it may send on
        ("managed", receive_on, A_CLOSE),
        ("managed", receive_on, A_VIOLATION),
        ("managed", send_on, A_CLOSE),
        ("managed", send_on, A_VIOLATION),
    ],
)
async def test_the_sessions_own_end_is_no_error(
    kind: str, handle: Any, sent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    received = await run(kind, handle, sent, strict=True)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    if kind == "managed":
        assert received[-1].opcode is Opcode.CLOSE


def test_owns_tells_sessions_apart() -> None:
    async def main() -> None:
        one, other = memory_pair()
        other.abort()
        with pytest.raises(ConnectionLost) as lost:
            await one.receive()
        assert one.owns(lost.value)
        assert not other.owns(lost.value)
        assert not one.owns(InvalidPayload("of somebody's making"))
        await one.wait_closed()
        await other.wait_closed()

    asyncio.run(main())


BAD = {
    "an opcode": (encode_header(3, 0, masking_key=bytes(4)), 1002, ProtocolViolation),
    "a length": (encode_header(2, 101, masking_key=bytes(4)), 1009, FrameTooBig),
}


@pytest.mark.parametrize("bad", BAD)
class TestViolationBehindFrames:
    """Frames before it are delivered and may be answered, however TCP cut the bytes."""

    async def test_replies_leave_before_the_close(self, bad: str) -> None:
        wire, code, error = BAD[bad]
        raised: list[BaseException] = []

        async def echo(session: WebSocketSession) -> None:
            try:
                while True:
                    await session.send(await session.receive())
            except BaseException as exc:
                raised.append(exc)
                raise

        received = await run("raw", echo, Frame.text("1"), Frame.text("2"), wire, max_frame_size=100)
        assert [frame.payload for frame in received[:-1]] == [b"1", b"2"]
        assert received[-1].close_reason is not None and received[-1].close_reason.code == code
        assert [type(exc) for exc in raised] == [error]

    @pytest.mark.loops("clock")
    async def test_a_handler_that_takes_nothing_does_not_hold_it_back(
        self, bad: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wire, code, _ = BAD[bad]

        async def sleep(session: WebSocketSession) -> None:
            await asyncio.sleep(10)
            sent.append(session.close_state.sent)

        sent: list[Any] = []
        received = await run("raw", sleep, Frame.text("1"), wire, max_frame_size=100, close_timeout=5)
        assert [frame.close_reason.code for frame in received if frame.close_reason is not None] == [code]
        assert [reason.code for reason in sent] == [code], "it was sent long before the handler returned"

    async def test_a_handler_that_returns_sends_it(self, bad: str) -> None:
        wire, code, _ = BAD[bad]

        async def one(session: WebSocketSession) -> None:
            await session.send((await session.receive()).payload)

        received = await run("raw", one, Frame.text("1"), Frame.text("2"), wire, max_frame_size=100)
        assert received[0].payload == b"1"
        assert [frame.close_reason.code for frame in received if frame.close_reason is not None] == [code]

    async def test_a_close_of_the_handlers_own_takes_its_place(self, bad: str) -> None:
        wire, _, _ = BAD[bad]

        async def close(session: WebSocketSession) -> None:
            await session.receive()
            await session.close(4000)

        received = await run("raw", close, Frame.text("1"), Frame.text("2"), wire, max_frame_size=100)
        assert [frame.close_reason.code for frame in received if frame.close_reason is not None] == [4000]


@pytest.mark.parametrize("capacity", [1, 4])
async def test_a_close_behind_a_full_channel_is_no_overflow(capacity: int) -> None:
    server, client = memory_pair(incoming=bounded(capacity, "close"))
    with client.cork():
        for number in range(capacity):
            await client.send(str(number))
        await client.send(Frame.close(1000))
    await settle()
    frames = [frame async for frame in server]
    assert [frame.opcode for frame in frames] == [*[Opcode.TEXT] * capacity, Opcode.CLOSE]
    assert server.close_state.error is None
    server.abort()
    client.abort()
    await server.wait_closed()
    await client.wait_closed()


async def test_and_a_frame_too_many_before_it_is() -> None:
    server, client = memory_pair(incoming=bounded(2, "close"))
    with client.cork():
        for number in range(3):
            await client.send(str(number))
        await client.send(Frame.close(1000))
    await settle()
    with pytest.raises(ChannelOverflow):
        async for _ in server:
            pass
    server.abort()
    client.abort()
    await server.wait_closed()
    await client.wait_closed()
