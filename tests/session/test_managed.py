"""The managed session over an in-memory pair; the peer is a raw session, so every frame of ours is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from aiohttp_rawws.errors import (
    ChannelOverflow,
    ConnectionLost,
    FrameTooBig,
    InvalidPayload,
    ProtocolViolation,
    SessionClosed,
)
from aiohttp_rawws.session.broadcast import broadcast
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.session.memory import memory_pair
from aiohttp_rawws.session.options import Periodic, WhenIdle, bounded
from aiohttp_rawws.session.raw import WebSocketSession
from aiohttp_rawws.wire.codec import Frame, encode_header
from aiohttp_rawws.wire.codes import CloseReason, Opcode

from ..tools.clock import advance, idle, is_time_of
from ..tools.talking import count_writes, end, masked, next_reason
from ..tools.waiting import settle


@asynccontextmanager
async def managed(**options: Any) -> AsyncIterator[tuple[DefaultWebSocketSession, WebSocketSession]]:
    """A managed server session and its raw client."""
    server, client = memory_pair(**options)
    session = DefaultWebSocketSession(server)
    session.start()
    try:
        yield session, client
    finally:
        await end(session, client)


async def test_fragments_become_one_message_with_control_frames_in_between() -> None:
    async with managed() as (session, client):
        for frame in (
            Frame.text("Hé", fin=False),
            Frame.ping(b"now"),
            Frame.text("l", fin=False),
            Frame.text(""),
            Frame.binary(b"\x01"),
        ):
            await client.send(frame)
        assert (await session.receive()) == Frame.text("Hél")
        assert (await session.receive()) == Frame.binary(b"\x01")
        assert (await client.receive()) == Frame.pong(b"now")


async def test_ping_is_answered_while_nobody_receives() -> None:
    async with managed() as (_, client):
        for number in range(5):
            await client.send(Frame.ping(bytes([number])))
        assert [(await client.receive()).payload for _ in range(5)] == [bytes([number]) for number in range(5)]


@pytest.mark.loops("clock")
async def test_hooks_and_switches() -> None:
    async with managed() as (session, client):
        seen: list[tuple[str, object]] = []
        session.on_ping = lambda payload: seen.append(("ping", payload))
        session.on_pong = lambda payload: seen.append(("pong", payload))
        session.on_close = lambda reason: seen.append(("close", reason.code))
        session.auto_pong = False
        session.auto_close = False
        await client.send(Frame.ping(b"a"))
        await client.send(Frame.pong(b"b"))
        await client.close(4000)
        with pytest.raises(SessionClosed):
            await session.receive()
        assert seen == [("ping", b"a"), ("pong", b"b"), ("close", 4000)]
        assert client.receive_nowait() is None
        await session.close(4001)
        assert [frame.opcode async for frame in client] == [Opcode.CLOSE]


async def test_the_peer_closes_first_and_the_reply_repeats_code_and_reason() -> None:
    async with managed() as (session, client):
        await client.send("last")
        await client.close(4000, "enough")
        assert [message.text async for message in session] == ["last"]
        assert (await session.close_reason) == CloseReason(4000, "enough")
        assert [frame.close_reason async for frame in client] == [CloseReason(4000, "enough")]
        assert session.close_state.clean and session.close_state.first == "peer"
        await client.end()
        await session.wait_closed()
        with pytest.raises(SessionClosed) as caught:
            await session.send("x")
        assert caught.value.received == 4000


async def test_messages_before_a_close_may_still_be_answered() -> None:
    async with managed() as (session, client):
        with client.cork():
            client.send_nowait("one")
            client.send_nowait("two")
            client.close_nowait(4000)
        async for message in session:
            await session.send(message.text.upper())
        assert [frame.payload for frame in [await client.receive() for _ in range(3)]] == [b"ONE", b"TWO", b"\x0f\xa0"]


async def test_messages_before_a_violation_may_still_be_answered() -> None:
    for wire in (masked(1, b"x", rsv2=True), masked(3, b""), masked(0, b"")):
        async with managed() as (session, client):
            client.write_bytes(masked(1, b"fine") + wire)
            with pytest.raises(ProtocolViolation):
                async for message in session:
                    await session.send(message)
            assert (await client.receive()).text == "fine"
            assert (await next_reason(client)).code == 1002


async def test_nothing_behind_a_violation_is_processed() -> None:
    async with managed() as (session, client):
        client.write_bytes(masked(1, b"x", rsv2=True) + masked(9, b"ping") + masked(1, b"text"))
        with pytest.raises(ProtocolViolation):
            await session.receive()
        assert [frame.opcode async for frame in client] == [Opcode.CLOSE]


async def test_replies_to_messages_that_came_together_leave_in_one_write() -> None:
    async with managed() as (session, client):
        writes = count_writes(session.raw)

        async def echo() -> None:
            async for message in session:
                await session.send(message)

        task = asyncio.ensure_future(echo())
        with client.cork():
            for number in range(16):
                client.send_nowait(f"{number:02}")
        for number in range(16):
            assert (await client.receive()).text == f"{number:02}"
        assert writes == [64]
        await client.send("alone")
        assert (await client.receive()).text == "alone"
        assert writes == [64, 7]
        client.abort()
        await task


@pytest.mark.loops("clock")
async def test_a_close_behind_messages_nobody_takes_is_answered_all_the_same() -> None:
    async with managed(close_timeout=5) as (session, client):
        with client.cork():
            client.send_nowait("not taken")
            client.close_nowait(4000)
        assert (await next_reason(client)).code == 4000
        assert [message.text async for message in session] == ["not taken"]


async def test_we_close_first_and_what_arrives_meanwhile_is_still_received() -> None:
    async with managed() as (session, client):
        closing = asyncio.ensure_future(session.close(CloseReason(1001, "bye")))
        assert (await client.receive()).close_reason == CloseReason(1001, "bye")
        await client.send("on its way")
        await client.close(1001)
        assert [message.text async for message in session] == ["on its way"]
        await client.end()
        await closing
        assert (await session.close_reason) == CloseReason(1001, "bye")
        assert session.close_state.clean and session.close_state.first == "local"


@pytest.mark.loops("clock")
async def test_close_is_bounded_when_the_peer_does_not_answer() -> None:
    async with managed(close_timeout=5) as (session, _):
        began = asyncio.get_running_loop().time()
        await session.close()
        assert is_time_of(5, began)
        assert session.close_state.lost
        assert session.close_state.received is None


@pytest.mark.loops("clock")
async def test_close_is_bounded_when_the_peer_does_not_read() -> None:
    async with managed(close_timeout=5, outgoing=bounded(1000, max_bytes=None)) as (session, client):
        client.pause_reading()
        for _ in range(20):
            session.send_nowait(bytes(30_000))
        began = asyncio.get_running_loop().time()
        await session.close()
        assert is_time_of(5, began)
        assert session.close_state.lost


async def test_a_peer_that_half_closes_is_1006_here_and_gets_our_close_all_the_same() -> None:
    async with managed() as (session, client):
        waiting = asyncio.ensure_future(session.receive())
        await settle()
        client.transport.write_eof()
        with pytest.raises(ConnectionLost):
            await waiting
        assert (await session.close_reason).code == 1006
        await session.send("it still reads")
        await session.close()
        assert [frame async for frame in client] == [Frame.text("it still reads"), Frame.close(1000)]
        assert (await session.close_reason).code == 1006


@pytest.mark.loops("clock")
async def test_a_half_closed_connection_on_which_nothing_moves_is_ended_without_a_close() -> None:
    async with managed(close_timeout=5) as (session, client):
        began = asyncio.get_running_loop().time()
        client.transport.write_eof()
        assert [frame async for frame in client] == []
        await session.wait_closed()
        assert is_time_of(5, began)


@pytest.mark.parametrize(
    ("wire", "error", "code"),
    [
        (masked(1, b"\xff"), InvalidPayload, 1007),
        (masked(1, b"\xce\xba\xe1", fin=False) + masked(0, b"\xff", fin=False), InvalidPayload, 1007),
        (masked(1, b"\xce"), InvalidPayload, 1007),
        (masked(1, b"x", rsv1=True), ProtocolViolation, 1002),
        (masked(9, b"x", rsv3=True), ProtocolViolation, 1002),
        (masked(8, b"\x03"), ProtocolViolation, 1002),
        (masked(8, b"\x03\xed"), ProtocolViolation, 1002),
        (masked(8, b"\x03\xe8\xff"), InvalidPayload, 1007),
        (masked(3, b""), ProtocolViolation, 1002),
        (b"\x81\x00", ProtocolViolation, 1002),
        (masked(2, b"x" * 101), FrameTooBig, 1009),
        (masked(2, b"x" * 60, fin=False) + masked(0, b"x" * 41), FrameTooBig, 1009),
    ],
    ids=[
        "bad byte",
        "bad byte in a fragment",
        "cut character",
        "rsv1",
        "rsv on a ping",
        "one byte close",
        "close 1005",
        "close reason not utf-8",
        "opcode",
        "not masked",
        "too big",
        "too big together",
    ],
)
async def test_what_the_rfc_refuses(wire: bytes, error: type[Exception], code: int) -> None:
    async with managed(max_message_size=100, on_violation="close") as (session, client):
        client.write_bytes(masked(1, b"fine") + wire)
        assert (await session.receive()).text == "fine"
        for _ in range(2):
            with pytest.raises(error):
                await session.receive()
        assert (await next_reason(client)).code == code
        assert [frame async for frame in client] == []
        assert (await session.close_reason).code == code
        await client.end()
        await session.wait_closed()


@pytest.mark.parametrize("size", [99, 100, 101])
@pytest.mark.parametrize("cut", [None, 50])
async def test_max_message_size(size: int, cut: int | None) -> None:
    async with managed(max_message_size=100) as (session, client):
        payload = bytes(size)
        if cut is None:
            await client.send(payload)
        else:
            await client.send(Frame.binary(payload[:cut], fin=False))
            await client.send(Frame.binary(payload[cut:]))
        if size <= 100:
            assert (await session.receive()).payload == payload
        else:
            with pytest.raises(FrameTooBig):
                await session.receive()


async def test_bad_text_fails_at_the_first_bad_byte_inside_an_unfinished_frame() -> None:
    async with managed() as (session, client):
        client.write_bytes(encode_header(Opcode.TEXT, 1000, masking_key=bytes(4)) + b"so far so good \xc0\x80")
        with pytest.raises(InvalidPayload):
            await session.receive()
        assert (await next_reason(client)).code == 1007


async def test_large_message_in_pieces() -> None:
    async with managed() as (session, client):
        text = "äöü" * 200_000
        sending = asyncio.ensure_future(client.send(text))
        assert (await session.receive()).text == text
        await sending
        await session.send(text)
        assert (await client.receive()).text == text


async def test_slow_reader_pauses_the_peer_and_still_closes() -> None:
    async with managed(incoming=bounded(3)) as (session, client):
        for number in range(50):
            client.send_nowait(str(number))
        await settle()
        assert [(await session.receive()).text for _ in range(50)] == [str(number) for number in range(50)]
        for number in range(10):
            client.send_nowait(str(number))
        await settle()
        closing = asyncio.ensure_future(session.close())
        assert (await client.receive()).opcode is Opcode.CLOSE
        await client.close()
        await client.end()
        await asyncio.wait_for(closing, 20)


async def test_incoming_overflow_closes_with_1008() -> None:
    async with managed(incoming=bounded(2, on_overflow="close")) as (session, client):
        with client.cork():
            for number in range(5):
                client.send_nowait(str(number))
        await settle()
        assert [(await session.receive()).text for _ in range(2)] == ["0", "1"]
        with pytest.raises(ChannelOverflow):
            await session.receive()
        assert (await next_reason(client)).code == 1008


# ---- keepalive ----------------------------------------------------------------------------


@pytest.mark.loops("clock")
async def test_pinger_pings_and_a_silent_peer_is_closed_with_1011() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with managed(ping_interval=20, timeout=10, close_timeout=5) as (session, client):
        ping = await client.receive()
        assert 20 <= loop.time() - began <= 21, "up to a thirty-second or a second late"
        sent = loop.time()
        assert ping.opcode is Opcode.PING
        assert ping.payload.startswith(b"[ping ") and ping.payload.endswith(b" ping]") and len(ping.payload) == 76
        await client.send(Frame.pong(b"not that one"))
        await client.send("data is no sign of life")
        assert (await session.receive()).text
        with pytest.raises(ConnectionLost, match="Ping timeout"):
            await session.receive()
        assert loop.time() - sent == pytest.approx(10)
        assert (await client.receive()).close_reason == CloseReason(1011, "Ping timeout")
        assert (await session.close_reason) == CloseReason(1011, "Ping timeout")
        await asyncio.wait_for(session.wait_closed(), 20)


@pytest.mark.loops("clock")
async def test_pongs_keep_the_session_alive_and_measure_it() -> None:
    async with managed(ping_interval=20, timeout=10) as (session, client):
        for delay in (1, 1, 1, 1, 3):
            ping = await client.receive()
            await advance(delay)
            await client.send(Frame.pong(ping.payload))
        await idle()
        assert session.rtt == pytest.approx(3)
        assert session.rtt_avg == pytest.approx(1 + (3 - 1) / 8)
        session.ping_interval = None
        await advance(100)
        assert client.receive_nowait() is None
        session.ping_interval = 20
        assert (await client.receive()).opcode is Opcode.PING


@pytest.mark.loops("clock")
async def test_any_data_is_alive_when_asked_for() -> None:
    mode = Periodic(any_data_is_alive=True)
    async with managed(keepalive=mode, ping_interval=30, timeout=30) as (session, client):
        for _ in range(10):
            await client.send("alive")
            await advance(20)
        assert session.close_state.sent is None


@pytest.mark.loops("clock")
async def test_when_idle_pings_only_when_nothing_arrives() -> None:
    mode = WhenIdle(payload=lambda: b"idle?")
    async with managed(keepalive=mode, ping_interval=60, timeout=None) as (_, client):
        for _ in range(8):
            await client.send("busy")
            await advance(15)
        assert client.receive_nowait() is None
        assert (await client.receive()) == Frame.ping(b"idle?")


@pytest.mark.loops("clock")
async def test_a_slow_application_is_no_reason_to_give_the_peer_up() -> None:
    async with managed(incoming=bounded(1), ping_interval=20, timeout=30) as (session, client):
        for _ in range(5):
            client.send_nowait("backlog")
        await advance(150)
        assert session.close_state.sent is None
        for _ in range(5):
            await session.receive()


async def test_ping_returns_the_round_trip_time() -> None:
    async with managed() as (session, client):
        pings = [asyncio.ensure_future(session.ping(payload)) for payload in (b"1", b"2", b"3")]
        await settle()
        with pytest.raises(RuntimeError, match="already waiting"):
            await session.ping(b"1")
        await client.send(Frame.pong(b"2"))
        assert await pings[0] >= 0 and await pings[1] >= 0, "a pong answers the pings before it, too"
        assert not pings[2].done()
        client.abort()
        with pytest.raises(ConnectionLost):
            await pings[2]


# ---- the rest -----------------------------------------------------------------------------


async def test_start_twice_and_managed_over_managed_are_refused() -> None:
    async with managed() as (session, _):
        with pytest.raises(RuntimeError):
            session.start()
        with pytest.raises(TypeError):
            DefaultWebSocketSession(cast(Any, session))
        waiting = asyncio.ensure_future(session.receive())
        await settle()
        with pytest.raises(RuntimeError, match="already receiving"):
            await session.receive()
        waiting.cancel()


async def test_starts_with_the_first_use() -> None:
    server, client = memory_pair()
    async with DefaultWebSocketSession(server) as session:
        await client.send("hello")
        assert (await session.receive()).text == "hello"
        await client.close()
        await client.end()
    assert session.close_state.lost


FIRST_USES: dict[str, Callable[[DefaultWebSocketSession], Any]] = {
    "receive()": lambda session: session.receive(),
    "receive_nowait()": lambda session: session.receive_nowait(),
    "try_receive()": lambda session: session.incoming.try_receive(),
    "iterating": lambda session: anext(session),
    "listen()": lambda session: session.listen(lambda message: None),
    "send()": lambda session: session.send("x"),
    "send_nowait()": lambda session: session.send_nowait("x"),
    "try_send()": lambda session: session.outgoing.try_send("x"),
    "broadcast()": lambda session: broadcast([session], "x"),
    "ping()": lambda session: session.ping(),
    "close_reason": lambda session: session.close_reason,
    "async with": lambda session: session.__aenter__(),
}


async def test_messages_before_a_violation_are_answered_before_the_close() -> None:
    """Also if all of it came before the start, as it does in the segment of the handshake."""
    server, client = memory_pair()
    session = DefaultWebSocketSession(server)
    with client.cork():
        client.send_nowait("early")
        client.send_nowait(Frame.ping(b"are you there?"))
        client.send_raw(b"\x85\x80", bytes(4))  # opcode 5
    await settle()
    session.start()
    with pytest.raises(ProtocolViolation):
        while True:
            await session.send(await session.receive(5))
    answers = [await client.receive(5) for _ in range(3)]
    assert answers[:2] == [Frame.pong(b"are you there?"), Frame.text("early")]
    assert answers[2].opcode is Opcode.CLOSE and answers[2].payload[:2] == b"\x03\xea"
    await end(session, client)


@pytest.mark.parametrize("use", FIRST_USES)
async def test_every_first_use_starts_it(use: str) -> None:
    """From then on it answers pings, and takes what came before."""
    server, client = memory_pair()
    session = DefaultWebSocketSession(server)
    client.send_nowait(Frame.ping(b"are you there?"))
    client.send_nowait("early")
    await settle()
    result = FIRST_USES[use](session)
    task = asyncio.ensure_future(wait_for(result)) if hasattr(result, "__await__") and use != "broadcast()" else None
    await settle()
    client.send_nowait(Frame.ping(b"and now?"))
    await settle()
    pongs = [frame.payload for frame in iter(client.receive_nowait, None) if frame.opcode is Opcode.PONG]
    assert pongs == [b"are you there?", b"and now?"]
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
    await end(session, client)


async def wait_for(awaitable: Awaitable[object]) -> object:
    return await awaitable


async def test_fragments_can_be_sent() -> None:
    async with managed() as (session, client):
        await session.send(Frame.text("a", fin=False))
        await session.send(Frame.text("b"))
        assert [(await client.receive()).opcode for _ in range(2)] == [1, 0]
        with pytest.raises(ValueError):
            await session.close(1006)


async def test_senders_keep_their_order_and_a_cancelled_one_sends_nothing() -> None:
    async with managed(outgoing=bounded(1)) as (session, client):
        client.pause_reading()
        senders = [asyncio.ensure_future(session.send(bytes([index]) + bytes(60_000))) for index in range(10)]
        await settle()
        waiting = [index for index, task in enumerate(senders) if not task.done()]
        senders[waiting[1]].cancel()
        client.resume_reading()
        got = [(await client.receive()).payload[0] for _ in range(9)]
        assert got == [index for index in range(10) if index != waiting[1]]
        await asyncio.wait(senders)


async def test_two_managed_sessions_talk() -> None:
    server, client = memory_pair()
    async with DefaultWebSocketSession(server) as a, DefaultWebSocketSession(client) as b:
        await a.send("from a")
        assert (await b.receive()).text == "from a"
        assert await b.ping() >= 0
    assert a.close_state.clean and b.close_state.clean


@pytest.mark.loops("clock")
async def test_an_interval_that_is_set_as_another_one_ends_is_counted_in_full() -> None:
    loop = asyncio.get_running_loop()
    async with managed(ping_interval=20, timeout=None) as (session, client):
        ends = loop.time() + 20 + 20 / 32  # when the timer that sessions share calls the pingers

        def change() -> None:
            session.ping_interval = 30

        loop.call_at(ends + cast(Any, loop)._clock_resolution / 2, change)  # in the same iteration, behind that timer
        await advance(20 + 29)
        assert client.receive_nowait() is None
        assert (await client.receive()).opcode is Opcode.PING
        assert 30 <= loop.time() - ends <= 31
