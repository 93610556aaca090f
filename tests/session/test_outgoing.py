"""The order in which frames leave, what may come inside an open message, and that a sender lets others run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import (
    UNLIMITED,
    ChannelOverflow,
    ConnectionLost,
    Frame,
    JSONConverter,
    Opcode,
    PreparedFrame,
    SessionClosed,
    bounded,
    broadcast,
)
from aiohttp_rawws.session.queues import MAX_QUEUED_CONTROL

from ..tools.clock import advance, idle
from ..tools.talking import NOISE, bounded_wait, each_kind, fill, on_a_line, talking, texts, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")

ROOM = 3


def start(*coroutines: Any) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(coroutine) for coroutine in coroutines]


def said(peer: Any) -> list[str]:
    """The texts that the peer got."""
    return texts(waiting(peer))


# ---- order ----------------------------------------------------------------------------------


@each_kind
class TestOrder:
    async def test_senders_that_wait_leave_in_the_order_in_which_they_began(self, kind: str) -> None:
        names = [str(number) for number in range(20)]
        async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
            peer.pause_reading()
            fill(session)
            sends = start(*map(session.send, names))
            await settle()
            assert not any(task.done() for task in sends)
            peer.resume_reading()
            await bounded_wait(asyncio.gather(*sends))
            await session.flush()
            await idle()
            assert said(peer) == names

    @pytest.mark.parametrize("nowait", ["send_nowait", "try_send", "broadcast"])
    async def test_nothing_overtakes_a_sender_that_waits(self, kind: str, nowait: str) -> None:
        """After each step of the loop from the moment on at which room is made."""
        for steps in range(12):
            async with talking(kind, outgoing=bounded(ROOM)) as (session, _raw, peer):
                peer.pause_reading()
                fill(session)
                order = ["news"]
                (sending,) = start(session.send("news"))
                await settle()
                assert session.outgoing_full
                peer.resume_reading()
                for _ in range(steps):
                    await asyncio.sleep(0)
                if now(nowait, session, "at once"):
                    order.append("at once")
                else:
                    assert not sending.done()
                await bounded_wait(sending)
                await session.flush()
                await idle()
                assert said(peer) == order, steps

    async def test_a_sender_that_is_cancelled_sends_nothing_and_holds_nobody_up(self, kind: str) -> None:
        for steps in range(8):
            async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
                peer.pause_reading()
                fill(session)
                sends = start(*map(session.send, "abcd"))
                await settle()
                peer.resume_reading()
                for _ in range(steps):
                    await asyncio.sleep(0)
                cancelled = [sends[0].cancel(), sends[2].cancel()]
                results = await bounded_wait(asyncio.gather(*sends, return_exceptions=True))
                await session.flush()
                await idle()
                got = said(peer)
                assert got == sorted(got), steps
                # A call that is cancelled when its frame was accepted, and it has yet to hear of that, has sent it.
                assert {name for name, result in zip("abcd", results) if result is None} <= set(got)
                assert {"b", "d"} <= set(got)
                assert steps or cancelled == [True, True] and got == ["b", "d"]

    async def test_a_second_sender_that_is_woken_with_the_first_waits_if_that_fills_the_channel(
        self, kind: str
    ) -> None:
        async with talking(kind, outgoing=bounded(1, max_bytes=None)) as (session, raw, peer):
            peer.pause_reading()
            fill(session)
            sends = start(*(session.send(NOISE) for _ in range(6)))
            for _ in range(6):
                peer.resume_reading()
                await settle(2)
                peer.pause_reading()
                await settle()
                assert raw.frames_unsent <= 1
            peer.resume_reading()
            await bounded_wait(asyncio.gather(*sends))

    async def test_control_frames_overtake_senders_that_wait_and_a_close_does_not_wait(self, kind: str) -> None:
        async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
            peer.pause_reading()
            fill(session)
            (sending,) = start(session.send("too late"))
            await settle()
            await bounded_wait(session.send(Frame.pong(b"1")))
            session.send_nowait(Frame.ping(b"2"))
            assert session.outgoing.try_send(Frame.pong(b"3"))
            session.close_nowait(4000)
            await settle()
            in_turn = kind == "deflate"  # there it waits behind messages that wait to be compressed
            assert in_turn or isinstance(sending.exception(), SessionClosed)
            peer.resume_reading()
            await idle()
            got = [frame for frame in waiting(peer) if isinstance(frame, Frame)]
            assert [frame.payload[:2] for frame in got if frame.opcode.is_control] == [b"1", b"2", b"3", b"\x0f\xa0"]
            assert texts(got) == ["too late"] * in_turn
            assert got[-1].opcode is Opcode.CLOSE

    async def test_at_the_loss_all_of_them_hear_of_it(self, kind: str) -> None:
        async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
            peer.pause_reading()
            fill(session)
            sends = start(*map(session.send, "abc"), session.wait_writable(), session.flush())
            await settle()
            peer.abort()
            results = await bounded_wait(asyncio.gather(*sends, return_exceptions=True))
            assert [type(result) for result in results] == [ConnectionLost] * 3 + [type(None)] * 2


def now(how: str, session: Any, text: str) -> bool:
    """Send without waiting, in one of the ways there are. Returns whether it was sent."""
    if how == "try_send":
        return bool(session.outgoing.try_send(text))
    if how == "broadcast":
        return broadcast([session], text).delivered == 1
    try:
        session.send_nowait(text)
    except ChannelOverflow:
        return False
    return True


@pytest.mark.parametrize("kind", ["raw", "applied", "managed", "deflate"])
async def test_a_listener_is_held_while_a_sender_waits(kind: str) -> None:
    """It answers behind that sender, not before it."""
    async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
        peer.pause_reading()
        fill(session)
        order: list[str] = []

        def on_message(frame: Frame) -> None:
            order.append(f"answer {frame.text}")
            session.send_nowait(order[-1])

        session.listen(on_message)

        async def send() -> None:
            await session.send("news")
            order.append("news")

        (sending,) = start(send())
        for number in range(10):
            peer.send_nowait(str(number))
        await settle()
        assert order == []
        peer.resume_reading()
        await bounded_wait(sending)
        await advance(1)
        assert order == ["news", *(f"answer {number}" for number in range(10))]
        assert said(peer) == order


@each_kind
async def test_a_listener_goes_on_when_the_sender_that_held_it_is_cancelled(kind: str) -> None:
    async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
        peer.pause_reading()
        fill(session)
        heard: list[str] = []
        session.listen(lambda frame: heard.append(frame.text))
        (sending,) = start(session.send("news"))
        await settle()
        peer.send_nowait("a question")
        await settle()
        assert heard == []
        peer.resume_reading()
        sending.cancel()
        await idle()
        assert heard == ["a question"]


# ---- what does not wait ---------------------------------------------------------------------


CONTROL = {"ping": Frame.ping(b"p"), "pong": Frame.pong(b"p"), "close": Frame.close(1000)}


@each_kind
@pytest.mark.parametrize("control", CONTROL)
@pytest.mark.parametrize("prepared", [False, True], ids=["frame", "prepared"])
@pytest.mark.parametrize("flood", [0, MAX_QUEUED_CONTROL - 1, MAX_QUEUED_CONTROL])
async def test_try_send_is_false_exactly_where_send_would_wait(
    kind: str, control: str, prepared: bool, flood: int
) -> None:
    item: Any = PreparedFrame(CONTROL[control]) if prepared else CONTROL[control]
    outcomes = []
    for call in ("try_send", "send_nowait", "send"):
        async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
            peer.pause_reading()
            fill(session)
            for _ in range(flood):
                session.send_nowait(Frame.pong(b"flood"))
            free = session.can_send_now(item)
            if call == "send":
                (sending,) = start(session.send(item))
                await settle()
                # send() of a Close on a managed session goes on to wait for the end
                sent = sending.done() or session.close_state.sent is not None
                sending.cancel()
                await asyncio.wait([sending])
            elif call == "try_send":
                sent = session.outgoing.try_send(item)
            else:
                try:
                    session.send_nowait(item)
                    sent = True
                except ChannelOverflow:
                    sent = False
            assert sent is free
            outcomes.append(sent)
    assert outcomes == [control == "close" or flood < MAX_QUEUED_CONTROL] * 3


# ---- inside an open message -------------------------------------------------------------------


async def send(session: Any, item: Any) -> None:
    await session.send(item)


async def send_nowait(session: Any, item: Any) -> None:
    session.send_nowait(item)


async def try_send(session: Any, item: Any) -> None:
    session.outgoing.try_send(item)


async def send_serialized(session: Any, item: Any) -> None:
    await session.send_serialized(item)


async def send_json(session: Any, item: Any) -> None:
    await session.send_json(item)


async def as_a_broadcast(session: Any, item: Any) -> None:
    report = broadcast([session], item)
    assert report.skipped == [session] and report.delivered == 0
    raise RuntimeError("skipped")


async def as_a_broadcast_that_waits(session: Any, item: Any) -> None:
    report = await broadcast([session], item, policy="wait")
    assert report.skipped == [session] and report.delivered == 0
    raise RuntimeError("skipped")


TEXT = "news for everybody, more than a few bytes of them"
WHOLE: dict[str, Any] = {
    "str": TEXT,
    "bytes": TEXT.encode(),
    "bytearray": bytearray(TEXT, "utf-8"),
    "memoryview": memoryview(TEXT.encode()),
    "prepared": PreparedFrame(Frame.text(TEXT)),
    "large": PreparedFrame(Frame.binary(NOISE)),
}
CALLS: list[Callable[[Any, Any], Any]] = [
    send,
    send_nowait,
    try_send,
    send_serialized,
    send_json,
    as_a_broadcast,
    as_a_broadcast_that_waits,
]


@each_kind
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("masking", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("full", [False, True], ids=["writing", "waiting"])
async def test_a_whole_message_inside_an_open_one_is_refused(
    kind: str, call: Callable[[Any, Any], Any], masking: bool, full: bool
) -> None:
    """In every way to send it, and wherever it would go next. The open message goes on, and the next whole one."""
    options: dict[str, Any] = {"converter": JSONConverter(), "outgoing": UNLIMITED, "masking": masking}
    for item in ["x"] if call in (send_serialized, send_json) else WHOLE.values():
        async with talking(kind, **options) as (session, raw, peer):
            peer.connection.parser.masked = masking
            peer.pause_reading()
            if full:
                while not raw.connection.write_paused:
                    session.send_nowait(NOISE)
            await session.send(Frame.text("a story in ", fin=False))
            before = session.stats, session.frames_unsent
            with pytest.raises(RuntimeError):
                await bounded_wait(call(session, item))
            assert (session.stats, session.frames_unsent) == before
            await session.send(Frame.ping(b"may come between"))
            await session.send(Frame.text("two parts"))
            await session.send("and another one")
            peer.resume_reading()
            await idle()
            assert texts(waiting(peer)) == ["a story in ", "two parts", "and another one"]


@each_kind
async def test_a_whole_message_that_waits_while_another_one_is_opened(kind: str) -> None:
    """It was no mistake when the call began, and it is when it goes on."""
    async with talking(kind, outgoing=bounded(ROOM)) as (session, _, peer):
        peer.pause_reading()
        fill(session)
        opening, whole, closing = start(
            session.send(Frame.text("a ", fin=False)), session.send("whole"), session.send(Frame.text("story"))
        )
        await settle()
        peer.resume_reading()
        await bounded_wait(asyncio.wait([opening, whole, closing]))
        assert isinstance(whole.exception(), RuntimeError)
        assert opening.exception() is closing.exception() is None
        await session.send("the next one")
        await idle()
        assert said(peer) == ["a ", "story", "the next one"]


# ---- a fast peer ------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("item", ["bytes", "frame", "prepared", "serialized", "json", "close to a MiB", "channel"])
async def test_a_sender_lets_others_run_once_per_mebibyte(kind: str, item: str) -> None:
    """Even if the peer takes everything at once and ``send()`` has nothing to wait for."""
    size = 2**20 - 1 if item == "close to a MiB" else 1000
    payload = random.Random(3).randbytes(size)
    frame = Frame.binary(payload)
    prepared = PreparedFrame(frame)
    sends: dict[str, Callable[[Any], Any]] = {
        "frame": lambda session: session.send(frame),
        "prepared": lambda session: session.send(prepared),
        "serialized": lambda session: session.send_serialized("x" * size),
        "json": lambda session: session.send_json("x" * size),
        "channel": lambda session: session.outgoing.send(payload),
    }
    send = sends.get(item, lambda session: session.send(payload))
    async with on_a_line(kind, converter=JSONConverter(), outgoing=UNLIMITED) as (session, line):
        line.high = 2**40  # the peer takes everything
        in_a_row = most = 0

        async def others() -> None:
            nonlocal in_a_row, most
            while True:
                await asyncio.sleep(0)
                line.held.clear()
                most, in_a_row = max(most, in_a_row), 0

        (ticking,) = start(others())
        await asyncio.sleep(0)
        for _ in range(4 * 2**20 // size):
            await send(session)
            in_a_row += size
        await asyncio.sleep(0)
        ticking.cancel()
        assert 0 < most <= 2 * 2**20
