"""The raw session over an in-memory pair: SPEC of the handler's side."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, cast

import pytest

from aiohttp_rawws.errors import ChannelOverflow, ConnectionLost, FrameTooBig, ProtocolViolation, SessionClosed
from aiohttp_rawws.session.memory import memory_pair
from aiohttp_rawws.session.options import UNLIMITED, bounded
from aiohttp_rawws.session.raw import WebSocketSession
from aiohttp_rawws.session.running import run_session
from aiohttp_rawws.wire.codec import Frame, PreparedFrame
from aiohttp_rawws.wire.codes import CloseCode, CloseReason, Opcode

from ..tools.clock import idle, is_time_of
from ..tools.talking import count_writes, end, masked, next_reason
from ..tools.waiting import settle

# ---- receiving ----------------------------------------------------------------------------


async def test_every_frame_arrives_as_it_came() -> None:
    server, client = memory_pair()
    sent = [
        Frame.text("Hel", fin=False),
        Frame.ping(b"in between"),
        Frame.text("lo"),
        Frame.binary(b"\x00\x01", rsv1=True),
        Frame.pong(b"unasked"),
        Frame.close(1000, "bye"),
    ]
    for frame in sent:
        await client.send(frame)
    got = [frame async for frame in server]
    assert [frame.opcode for frame in got] == [1, 9, 0, 2, 10, 8]
    assert got[2].kind is Opcode.TEXT
    assert got[3].rsv1
    assert [bytes(frame.payload) for frame in got] == [frame.payload for frame in sent]
    assert got[0].masking_key is not None
    assert got[5].close_reason == CloseReason(1000, "bye")
    assert server.frames_unsent == 0, "a raw session answers nothing"
    assert server.close_state.sent is None
    assert server.close_state.received == CloseReason(1000, "bye")
    assert server.close_state.first == "peer"
    await end(server, client)


async def test_receive_raises_session_closed_after_the_close_frame() -> None:
    server, client = memory_pair()
    await client.close(CloseReason(4000, "done"))
    frame = await server.receive()
    assert frame.opcode is Opcode.CLOSE
    for _ in range(2):
        with pytest.raises(SessionClosed) as caught:
            await server.receive()
        assert (caught.value.received, caught.value.sent) == (4000, None)
        assert not isinstance(caught.value, ConnectionLost)
    await end(server, client)


async def test_loss_ends_iteration_quietly_and_receive_with_connection_lost() -> None:
    server, client = memory_pair()
    await client.send("last words")
    await client.flush()
    await settle()
    client.abort()
    await client.wait_closed()
    assert [frame.text async for frame in server] == ["last words"], "what had arrived is not lost"
    with pytest.raises(ConnectionLost):
        await server.receive()
    with pytest.raises(ConnectionError):
        await server.send("too late")
    state = server.close_state
    assert state.lost and not state.clean and state.code == 1006
    await server.wait_closed()


async def test_loss_wakes_a_waiting_receiver() -> None:
    server, client = memory_pair()
    receiving = asyncio.ensure_future(server.receive())
    await settle()
    client.abort()
    with pytest.raises(ConnectionLost):
        await receiving
    await server.wait_closed()


async def test_second_receiver_is_refused_and_the_first_goes_on() -> None:
    server, client = memory_pair()
    first = asyncio.ensure_future(server.receive())
    await settle()
    with pytest.raises(RuntimeError, match="another task is already receiving"):
        await server.receive()
    with pytest.raises(RuntimeError, match="another task"):
        async for _ in server:
            pass
    await client.send("one")
    assert (await first).text == "one"
    await end(server, client)


@pytest.mark.loops("clock")
async def test_cancelled_receive_loses_nothing() -> None:
    server, client = memory_pair()
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(server.receive(), 10)
    waiting = asyncio.ensure_future(server.receive())
    await settle()
    client.send_nowait("kept")
    await asyncio.sleep(0)
    waiting.cancel()
    await settle()
    if waiting.cancelled():
        assert (await server.receive()).text == "kept"
    else:
        assert waiting.result().text == "kept"
    await end(server, client)


async def test_nothing_after_a_close_frame_is_delivered() -> None:
    server, client = memory_pair()
    client.write_bytes(masked(8, b"") + masked(1, b"ghost") + b"\xff\xff")
    assert [frame.opcode async for frame in server] == [Opcode.CLOSE]
    assert server.close_state.received == CloseReason(1005)
    await server.send("still possible")
    assert (await client.receive()).text == "still possible"
    await end(server, client)


async def test_receive_and_send_are_coroutines_to_whoever_makes_tasks_of_them() -> None:
    server, client = memory_pair()
    sending = client.send("one")
    assert asyncio.iscoroutine(sending)
    await asyncio.create_task(sending)
    await asyncio.gather(client.send("two"), client.send("three"))
    await settle()
    receiving = server.receive()
    assert asyncio.iscoroutine(receiving)
    assert (await asyncio.create_task(receiving)).text == "one"
    assert (await asyncio.wait_for(server.receive(), 20)).text == "two"
    early = asyncio.create_task(server.receive())
    early.cancel()
    await settle()
    assert early.cancelled()
    assert (await server.receive()).text == "three", "a task cancelled before it ran has taken nothing"
    late = asyncio.create_task(server.receive())
    await settle()
    await client.send("four")
    assert (await late).text == "four"
    unused = server.receive()
    unused.close()
    await end(server, client)


# ---- violations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "error", "code"),
    [
        (b"\x83\x80\0\0\0\0", ProtocolViolation, 1002),
        (b"\x81\x02hi", ProtocolViolation, 1002),
        (b"\x80\x80\0\0\0\0", ProtocolViolation, 1002),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", ProtocolViolation, 1002),
        (b"\x82\xff\x00\x00\x00\x00\x00\x40\x00\x01", FrameTooBig, 1009),
    ],
    ids=["opcode 3", "not masked", "stray continuation", "negative length", "one byte too big"],
)
async def test_violation_is_answered_and_raised_after_the_frames_before_it(
    wire: bytes, error: type[Exception], code: int
) -> None:
    server, client = memory_pair(max_frame_size=4 * 2**20)
    client.write_bytes(masked(1, b"fine") + wire)
    assert (await server.receive()).text == "fine"
    for _ in range(2):
        with pytest.raises(error):
            await server.receive()
    assert (await next_reason(client)).code == code
    assert server.close_state.sent is not None and server.close_state.sent.code == code
    assert isinstance(server.close_state.error, error)
    with pytest.raises(SessionClosed):
        await server.send("no more")
    await end(server, client)


async def test_the_close_frame_says_what_was_wrong() -> None:
    server, client = memory_pair()
    client.write_bytes(b"\x8b\x80\0\0\0\0")
    reason = await next_reason(client)
    assert reason.message.startswith("Received illegal frame: ")
    assert "11" in reason.message
    await end(server, client)


async def test_on_violation_raise_withholds_a_close_that_waits_behind_frames() -> None:
    server, client = memory_pair()
    with client.cork():
        client.send_nowait("one")
        client.write_bytes(masked(5, b""))
    await settle()
    server.on_violation = "raise"
    assert (await server.receive(5)).text == "one"
    with pytest.raises(ProtocolViolation):
        await server.receive(5)
    await server.send("two")
    await server.close(4000)
    assert [frame.payload async for frame in client] == [b"two", b"\x0f\xa0"]
    await end(server, client)


async def test_on_violation_raise_sends_nothing() -> None:
    server, client = memory_pair(on_violation="raise")
    client.write_bytes(b"\x83\x80\0\0\0\0")
    with pytest.raises(ProtocolViolation) as caught:
        await server.receive()
    assert server.close_state.sent is None
    await server.close_exceptionally(caught.value)
    assert (await next_reason(client)).code == 1002
    await end(server, client)


async def test_lenient_session_delivers_what_can_be_delivered() -> None:
    server, client = memory_pair(strict=False)
    client.write_bytes(b"\x81\x02hi" + masked(3, b"odd") + masked(9, b"p" * 200))
    got = [await server.receive() for _ in range(3)]
    assert [frame.opcode for frame in got] == [1, 3, 9]
    assert got[0].masking_key is None and got[0].text == "hi"
    assert got[2].payload == b"p" * 200
    await end(server, client)


async def test_limits_may_be_changed_while_running() -> None:
    server, client = memory_pair(max_frame_size=10)
    await client.send("x" * 10)
    await server.receive()
    server.max_frame_size = 11
    await client.send("x" * 11)
    assert len((await server.receive()).payload) == 11
    with pytest.raises(ValueError, match="max_frame_size"):
        server.max_frame_size = 0
    server.max_frame_size = None
    await client.send("x" * 100_000)
    assert len((await server.receive()).payload) == 100_000
    server.masking = True
    await server.send("masked by a server")
    with pytest.raises(ProtocolViolation):
        await client.receive()
    await end(server, client)


# ---- sending ------------------------------------------------------------------------------


async def test_str_is_text_and_bytes_are_binary() -> None:
    server, client = memory_pair()
    await server.send("tëxt")
    server.send_nowait(bytearray(b"bin"))
    await server.send(memoryview(b"view"))
    await server.send(PreparedFrame(Frame.text("prepared")))
    got = [await client.receive() for _ in range(4)]
    assert [(frame.opcode, frame.payload) for frame in got] == [
        (1, "tëxt".encode()),
        (2, b"bin"),
        (2, b"view"),
        (1, b"prepared"),
    ]
    wrong: Any
    for wrong in (5, None, ["x"]):
        with pytest.raises(TypeError, match="can be sent"):
            await server.send(wrong)
    await end(server, client)


async def test_fragments_get_opcode_0_and_a_change_of_kind_is_refused_at_send() -> None:
    server, client = memory_pair()
    await server.send(Frame.text("Hel", fin=False))
    with pytest.raises(RuntimeError):
        await server.send(Frame.binary(b"other kind"))
    await server.send(Frame.ping(b"may come between"))
    await server.send(Frame.text("lo"))
    with pytest.raises(RuntimeError):
        await server.send(Frame(Opcode.CONTINUATION, b"", kind=Opcode.TEXT))
    await server.send("next")
    got = [await client.receive() for _ in range(4)]
    assert [frame.opcode for frame in got] == [1, 9, 0, 1]
    await end(server, client)


async def test_after_close_nothing_can_be_sent_and_a_second_close_does_nothing() -> None:
    server, client = memory_pair()
    await server.close(1001, "going")
    await server.close(1000)
    for item in ("x", Frame.ping()):
        with pytest.raises(SessionClosed) as caught:
            await server.send(item)
        assert caught.value.sent == 1001
    assert [frame.close_reason async for frame in client] == [CloseReason(1001, "going")]
    assert server.close_state.first == "local"
    assert client.close_state.first == "peer"
    await client.close(1001)
    assert (await server.receive()).opcode is Opcode.CLOSE
    assert server.close_state.clean
    await end(server, client)


async def test_close_codes_that_may_not_cross_the_wire_are_refused_but_can_be_forced() -> None:
    server, client = memory_pair()
    for code in (1004, 1005, 1006, 1015, 999, 2999, 5000):
        with pytest.raises(ValueError):
            await server.close(code)
    server.send_raw(b"\x88\x02", b"\x03\xed")
    assert (await next_reason(client)).code == 1005
    await end(server, client)


@pytest.mark.parametrize(
    ("exc", "code", "message"),
    [
        (asyncio.CancelledError(), 1000, ""),
        (GeneratorExit(), 1000, ""),
        (KeyError("k"), 1011, "'k'"),
        (ValueError("é" * 100), 1011, "é" * 61),
        (FrameTooBig(7, 5), 1009, "Frame is too big: 7. Max size is 5"),
    ],
)
async def test_close_exceptionally(exc: BaseException, code: int, message: str) -> None:
    server, client = memory_pair()
    await server.close_exceptionally(exc)
    assert (await client.receive()).close_reason == CloseReason(code, message)
    await end(server, client)


async def test_send_waits_above_the_high_water_mark_and_keeps_the_order_of_senders() -> None:
    server, client = memory_pair(server_options=None, outgoing=bounded(2), incoming=bounded(4))
    client.pause_reading()
    chunk = bytes(60_000)
    senders = [asyncio.ensure_future(server.send(bytes([index]) + chunk)) for index in range(12)]
    await settle()
    waiting = [task for task in senders if not task.done()]
    assert 0 < len(waiting) < 12
    assert server.outgoing_full and len(server.outgoing) == 2
    assert server.outgoing.try_send("no room") is False
    with pytest.raises(ChannelOverflow):
        server.send_nowait("no room either")
    waiting[1].cancel()
    await settle()
    cancelled = senders.index(waiting[1])
    client.resume_reading()
    got = [(await client.receive()).payload[0] for _ in range(11)]
    assert got == [index for index in range(12) if index != cancelled]
    await asyncio.wait(senders)
    await end(server, client)


async def test_control_frames_overtake_waiting_data_but_close_does_not() -> None:
    server, client = memory_pair(outgoing=bounded(100))
    client.pause_reading()
    for _ in range(6):
        server.send_nowait(bytes(60_000))
    assert len(server.outgoing) > 0
    waiting = len(server.outgoing)
    server.send_nowait(Frame.pong(b"fast lane"))
    server.close_nowait(1000)
    client.resume_reading()
    got = [frame.opcode async for frame in client]
    assert got.index(Opcode.PONG) == 6 - waiting
    assert got[-1] is Opcode.CLOSE
    await end(server, client)


async def test_outgoing_overflow_closes_the_channel_and_keeps_what_waited() -> None:
    server, client = memory_pair(outgoing=bounded(3, on_overflow="close"))
    client.pause_reading()
    accepted = 0
    with pytest.raises(ChannelOverflow):
        for _ in range(100):
            await server.send(bytes(30_000))
            accepted += 1
    assert server.outgoing.closed
    with pytest.raises(ChannelOverflow):
        await server.send("x")
    client.resume_reading()
    for _ in range(accepted):
        assert len((await client.receive()).payload) == 30_000
    await end(server, client)


async def test_unlimited_outgoing_never_waits() -> None:
    server, client = memory_pair(outgoing=UNLIMITED)
    client.pause_reading()
    for _ in range(100):
        await server.send(bytes(60_000))
    client.resume_reading()
    for _ in range(100):
        await client.receive()
    await end(server, client)


async def test_flush_waits_for_the_peer_to_read() -> None:
    server, client = memory_pair(outgoing=UNLIMITED)
    client.pause_reading()
    for _ in range(10):
        await server.send(bytes(60_000))
    flushing = asyncio.ensure_future(server.flush())
    await settle()
    assert not flushing.done()
    client.resume_reading()
    await flushing
    assert server.frames_unsent == 0
    await end(server, client)
    await server.flush()


async def test_loss_wakes_waiting_senders_and_flushers() -> None:
    server, client = memory_pair(outgoing=bounded(1))
    client.pause_reading()
    tasks = [asyncio.ensure_future(server.send(bytes(90_000))) for _ in range(5)]
    tasks.append(asyncio.ensure_future(server.flush()))
    await settle()
    client.abort()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[-1] is None
    assert all(result is None or isinstance(result, ConnectionLost) for result in results)
    assert any(isinstance(result, ConnectionLost) for result in results)
    await end(server, client)


# ---- limits on incoming frames ------------------------------------------------------------


async def test_incoming_capacity_means_capacity_and_pauses_the_peer() -> None:
    server, client = memory_pair(server_options=None, incoming=bounded(5), outgoing=UNLIMITED)
    for index in range(1000):
        client.send_nowait(str(index))
    await settle()
    assert len(server.incoming) == 5
    assert [int((await server.receive()).text) for _ in range(1000)] == list(range(1000))
    assert server.incoming.try_receive() is None
    await end(server, client)


async def test_incoming_byte_bound_admits_one_frame_however_large() -> None:
    server, client = memory_pair(incoming=bounded(100, max_bytes=1000), outgoing=UNLIMITED)
    for size in (5000, 400, 400, 400, 400):
        client.send_nowait(bytes(size))
    await settle()
    assert len(server.incoming) == 1
    assert len((await server.receive()).payload) == 5000
    await settle()
    assert len(server.incoming) == 3
    assert [len((await server.receive()).payload) for _ in range(4)] == [400] * 4
    await end(server, client)


async def test_incoming_overflow_keeps_the_prefix_and_refuses_the_new_frame() -> None:
    server, client = memory_pair(incoming=bounded(3, on_overflow="close"))
    for index in range(10):
        client.send_nowait(str(index))
    await settle()
    assert [(await server.receive()).text for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(ChannelOverflow):
        await server.receive()
    assert server.incoming.closed
    await end(server, client)


async def test_a_hundred_thousand_frames() -> None:
    server, client = memory_pair()

    async def produce() -> None:
        for index in range(100_000):
            await client.send(index.to_bytes(4, "big"))
        await client.close()

    producer = asyncio.ensure_future(produce())
    expected = 0
    async for frame in server:
        if frame.opcode is Opcode.CLOSE:
            break
        assert int.from_bytes(frame.payload, "big") == expected
        expected += 1
    assert expected == 100_000
    await producer
    await end(server, client)


async def test_a_twenty_mebibyte_frame() -> None:
    server, client = memory_pair(max_frame_size=20 * 2**20)
    payload = bytes(range(256)) * (20 * 2**20 // 256)
    sending = asyncio.ensure_future(client.send(payload))
    assert (await server.receive()).payload == payload
    await sending
    await server.send(payload)
    assert (await client.receive()).payload == payload
    await end(server, client)


# ---- batching -----------------------------------------------------------------------------


async def test_replies_to_frames_that_came_together_leave_in_one_write() -> None:
    server, client = memory_pair()
    writes = count_writes(server)

    async def echo() -> None:
        async for frame in server:
            await server.send(frame)

    task = asyncio.ensure_future(echo())
    with client.cork():
        for index in range(16):
            client.send_nowait(f"{index:02}")
    for index in range(16):
        assert (await client.receive()).text == f"{index:02}"
    assert writes == [16 * 4]
    await client.send("alone")
    await client.receive()
    assert writes[1:] == [7]
    await end(server, client)
    await task


async def test_a_reply_is_not_held_back_while_the_handler_awaits_something_else() -> None:
    server, client = memory_pair()
    gate = asyncio.Event()

    async def handler() -> None:
        await server.send((await server.receive()).text)
        await server.receive()
        await gate.wait()

    task = asyncio.ensure_future(handler())
    with client.cork():
        client.send_nowait("first")
        client.send_nowait("second")
    assert (await asyncio.wait_for(client.receive(), 20)).text == "first"
    assert not task.done()
    gate.set()
    await task
    await end(server, client)


async def test_cork_collects_and_writes_pieces_of_64_kib() -> None:
    server, client = memory_pair()
    writes = count_writes(server)
    with server.cork():
        for _ in range(10):
            server.send_nowait(bytes(100))
        await settle()
        assert writes == []
    assert writes == [1020]
    del writes[:]
    with server.cork():
        for _ in range(100):
            server.send_nowait(bytes(1000))
    for _ in range(110):
        await client.receive()
    assert len(writes) == 2 and sum(writes) == 100 * 1004
    await end(server, client)


# ---- listen -------------------------------------------------------------------------------


async def test_listen_gets_every_frame_and_the_end() -> None:
    server, client = memory_pair()
    await client.send("queued before")
    await settle()
    got = []

    def on_frame(frame: Frame) -> None:
        got.append(frame)
        if frame.opcode is not Opcode.CLOSE:
            server.send_nowait(frame)

    listening = server.listen(on_frame)
    assert [frame.text for frame in got] == ["queued before"]
    await client.send(Frame.ping(b"p"))
    await client.close()
    await listening
    assert [frame.opcode for frame in got] == [1, 9, 8]
    assert [(await client.receive()).opcode for _ in range(2)] == [1, 9]
    with pytest.raises(RuntimeError, match="listener"):
        await server.receive()
    with pytest.raises(RuntimeError, match="listener"):
        server.listen(on_frame)
    await end(server, client)


async def test_listen_wants_a_plain_function() -> None:
    server, client = memory_pair()

    async def wrong(frame: Frame) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="plain function"):
        server.listen(wrong)
    with pytest.raises(TypeError):
        server.listen(cast(Any, None))
    await end(server, client)


async def test_what_a_listener_raises_comes_out_of_the_await() -> None:
    server, client = memory_pair()

    def on_frame(frame: Frame) -> None:
        raise LookupError(frame.text)

    await client.send("one")
    await client.send("two")
    with pytest.raises(LookupError, match="one"):
        await server.listen(on_frame)
    await end(server, client)


async def test_what_a_listener_raises_unheard_ends_the_connection() -> None:
    server, client = memory_pair()
    loop = asyncio.get_running_loop()
    reported = []
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def on_frame(frame: Frame) -> None:
        raise LookupError(frame.text)

    server.listen(on_frame)
    await client.send("one")
    await server.wait_closed()
    loop.set_exception_handler(handler)
    assert [type(exc) for exc in reported] == [LookupError]
    await end(server, client)


async def test_listen_raises_a_violation_and_ends_quietly_on_loss() -> None:
    server, client = memory_pair()
    client.write_bytes(b"\x83\x80\0\0\0\0")
    with pytest.raises(ProtocolViolation):
        await server.listen(lambda frame: None)
    await end(server, client)
    server, client = memory_pair()
    listening = asyncio.ensure_future(asyncio.wait_for(server.listen(lambda frame: None), 20))
    await settle()
    client.abort()
    await listening
    await end(server, client)


@pytest.mark.loops("clock")
async def test_listen_echo_to_a_peer_that_does_not_read_stays_bounded() -> None:
    server, client = memory_pair(server_options=None, outgoing=bounded(4), incoming=bounded(8), max_frame_size=2**20)
    server.listen(server.send_nowait)
    payload = bytes(50_000)
    count = 200

    async def produce() -> None:
        for index in range(count):
            await client.send(index.to_bytes(2, "big") + payload)

    producer = asyncio.ensure_future(produce())
    await idle()
    assert not producer.done(), "the pause has reached the sender"
    assert server.frames_unsent <= 4
    for index in range(count):
        assert (await client.receive()).payload[:2] == index.to_bytes(2, "big")
    await producer
    await end(server, client)


async def test_listener_is_held_by_pause_reading() -> None:
    server, client = memory_pair()
    got = []

    def on_frame(frame: Frame) -> None:
        got.append(frame.text)
        if len(got) == 2:
            server.pause_reading()

    server.listen(on_frame)
    with client.cork():
        for index in range(5):
            client.send_nowait(str(index))
    await settle()
    assert got == ["0", "1"]
    server.resume_reading()
    await settle()
    assert got == ["0", "1", "2", "3", "4"]
    await end(server, client)


# ---- the end ------------------------------------------------------------------------------


async def test_handler_returning_flushes_and_ends_without_a_close_frame() -> None:
    server, client = memory_pair(outgoing=UNLIMITED)

    async def handler(session: WebSocketSession) -> None:
        for index in range(50):
            session.send_nowait(bytes([index]) * 30_000)

    running = asyncio.ensure_future(run_session(server, handler))
    got = [frame async for frame in client]
    assert [(frame.opcode, frame.payload[0]) for frame in got] == [(2, index) for index in range(50)]
    await client.end()
    await running
    assert client.close_state.received is None
    assert client.close_state.code == 1006


async def test_handler_raising_is_logged_and_aborts(caplog: pytest.LogCaptureFixture) -> None:
    server, client = memory_pair()

    async def handler(session: WebSocketSession) -> None:
        raise LookupError("mine")

    await run_session(server, handler)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.records[0].name == "aiohttp_rawws"
    assert [frame async for frame in client] == []
    await client.wait_closed()


async def test_handler_raising_may_close_with_1011() -> None:
    server, client = memory_pair(on_error="close-1011")

    async def handler(session: WebSocketSession) -> None:
        await session.send("before")
        raise LookupError("a secret")

    running = asyncio.ensure_future(run_session(server, handler))
    got = [frame async for frame in client]
    assert got[0].text == "before"
    assert got[1].close_reason == CloseReason(CloseCode.INTERNAL_ERROR)
    await client.end()
    await running


async def test_the_peer_going_away_is_no_error_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    server, client = memory_pair()

    async def handler(session: WebSocketSession) -> None:
        while True:
            await session.receive()

    running = asyncio.ensure_future(run_session(server, handler))
    await settle()
    client.abort()
    await running
    assert not [record for record in caplog.records if record.levelno >= 30]


async def test_cancelled_handler_aborts_and_goes_on_being_cancelled() -> None:
    server, client = memory_pair()
    running = asyncio.ensure_future(run_session(server, lambda session: asyncio.sleep(100)))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [frame async for frame in client] == []
    await end(server, client)


@pytest.mark.loops("clock")
async def test_end_is_bounded_when_the_peer_never_reads() -> None:
    server, client = memory_pair(close_timeout=5, outgoing=UNLIMITED)
    client.pause_reading()
    for _ in range(100):
        server.send_nowait(bytes(30_000))
    began = asyncio.get_running_loop().time()
    await server.end()
    assert is_time_of(5, began)
    assert server.close_state.lost
    await end(client)


async def test_tasks_of_the_session_end_with_its_handler_before_the_connection_ends() -> None:
    server, client = memory_pair()
    ended = []

    async def ticker() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(server.close_state.lost)

    async def handler(session: WebSocketSession) -> None:
        session.create_task(ticker())
        await asyncio.sleep(0)  # it has begun
        await session.receive()

    running = asyncio.ensure_future(run_session(server, handler))
    await client.send("go")
    client_done = asyncio.ensure_future(client.end())
    await running
    await client_done
    assert ended == [False]
    late = ticker()
    with pytest.raises(SessionClosed):
        server.create_task(late)


async def test_tasks_are_cancelled_when_the_connection_is_lost() -> None:
    server, client = memory_pair()
    task = server.create_task(asyncio.sleep(100))
    client.abort()
    with pytest.raises(asyncio.CancelledError):
        await task
    await end(server, client)


@pytest.mark.loops("clock")
async def test_context_manager_closes() -> None:
    server, client = memory_pair()
    async with server:
        await server.send("hello")
    got = [frame async for frame in client]
    assert got[-1].close_reason == CloseReason(1000)
    await end(client)
    server, client = memory_pair()
    with pytest.raises(LookupError):
        async with server:
            raise LookupError("why")
    got = [frame async for frame in client]
    assert got[-1].close_reason == CloseReason(1011, "why")
    await end(client)


async def test_half_close_leaves_the_other_direction_open() -> None:
    server, client = memory_pair()
    await client.send("question")
    client.transport.write_eof()
    assert [frame.text async for frame in server] == ["question"]
    assert server.close_state.eof and not server.close_state.lost
    await server.send("answer")
    assert (await client.receive()).text == "answer"
    await end(server, client)


@pytest.mark.loops("clock")
async def test_a_half_open_connection_on_which_nothing_moves_is_ended() -> None:
    loop = asyncio.get_running_loop()
    server, client = memory_pair(close_timeout=5)
    began = loop.time()
    client.transport.write_eof()
    await server.wait_closed()
    assert 5 <= loop.time() - began <= 10
    await end(client)


async def test_loss_inside_a_frame_is_told() -> None:
    server, client = memory_pair()
    client.write_bytes(masked(1, b"whole") + b"\x81\x85\0\0\0\0he")
    client.transport.write_eof()
    assert (await server.receive()).text == "whole"
    with pytest.raises(ConnectionLost, match="inside a frame"):
        await server.receive()
    await end(server, client)


async def test_stats_and_repr() -> None:
    server, client = memory_pair()
    await client.send("12345")
    await server.send(await server.receive())
    await client.receive()
    stats = server.stats
    assert (stats.frames_received, stats.bytes_received) == (1, 11)
    assert (stats.frames_sent, stats.bytes_sent) == (1, 7)
    assert "open" in repr(server)
    assert repr(server.incoming) and repr(server.outgoing)
    await end(server, client)
    assert "1006" in repr(server)


async def test_sessions_can_be_forgotten() -> None:
    server, client = memory_pair()
    kept = weakref.WeakSet([server, client])
    await end(server, client)
    await settle()
    del server, client
    import gc

    gc.collect()
    assert not kept


async def test_extensions_are_none_on_a_raw_session() -> None:
    server, client = memory_pair()
    assert server.extensions == () and server.negotiated_extensions == ()
    with pytest.raises(LookupError):
        unknown: Any = object()
        server.extension(unknown)
    await end(server, client)
