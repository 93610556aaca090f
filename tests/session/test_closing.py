"""The closing handshake of a managed session, whoever begins it, however, and whatever is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import (
    UNLIMITED,
    ChannelConfig,
    ChannelOverflow,
    CloseReason,
    ConnectionLost,
    Frame,
    Opcode,
    PreparedFrame,
    SessionClosed,
    bounded,
    broadcast,
)

from ..tools.clock import advance, idle, is_time_of
from ..tools.talking import NOISE, bounded_wait, each_managed, fill, raw_and_managed, run, talking, texts, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")

T = 8.0  # close_timeout
CLOSE = Frame.close(4000, "bye")
REASON = CloseReason(4000, "bye")


def close_frames(items: list[Any]) -> list[CloseReason | None]:
    return [item.close_reason for item in items if isinstance(item, Frame) and item.opcode is Opcode.CLOSE]


# ---- the ways to begin ------------------------------------------------------------------------


async def close(session: Any) -> None:
    await session.close(REASON)


async def close_nowait(session: Any) -> None:
    session.close_nowait(REASON)


async def send(session: Any) -> None:
    await session.send(CLOSE)


async def send_prepared(session: Any) -> None:
    await session.send(PreparedFrame(CLOSE))


async def send_nowait(session: Any) -> None:
    session.send_nowait(CLOSE)


async def send_nowait_prepared(session: Any) -> None:
    session.send_nowait(PreparedFrame(CLOSE))


async def try_send(session: Any) -> None:
    assert session.outgoing.try_send(CLOSE)


async def outgoing_send(session: Any) -> None:
    await session.outgoing.send(CLOSE)


async def as_a_broadcast(session: Any) -> None:
    assert broadcast([session], CLOSE).delivered == 1


async def as_a_prepared_broadcast(session: Any) -> None:
    assert broadcast([session], PreparedFrame(CLOSE), policy="disconnect").delivered == 1


async def corked(session: Any) -> None:
    with session.cork():
        session.send_nowait(CLOSE)


async def by_the_raw_session(session: Any) -> None:
    session.raw.send_nowait(CLOSE)


async def from_a_listener(session: Any) -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(session.send_nowait, CLOSE)
    await asyncio.sleep(0)


WAYS: list[Callable[[Any], Any]] = [
    close,
    close_nowait,
    send,
    send_prepared,
    send_nowait,
    send_nowait_prepared,
    try_send,
    outgoing_send,
    as_a_broadcast,
    as_a_prepared_broadcast,
    corked,
    by_the_raw_session,
    from_a_listener,
]
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@each_managed
@each_way
class TestEveryWayToSendAClose:
    @pytest.mark.parametrize("first_use", [False, True], ids=["begun", "first use"])
    async def test_a_mute_peer_is_dropped_after_close_timeout(
        self, kind: str, way: Callable[[Any], Any], first_use: bool
    ) -> None:
        async with talking(kind, close_timeout=T) as (session, _raw, peer):
            if first_use and way is by_the_raw_session:
                first_use = False  # then nobody is asked to close
            if not first_use:
                session.begin()
            began = asyncio.get_running_loop().time()
            closing = asyncio.ensure_future(way(session))
            reason = asyncio.ensure_future(until(session.close_reason))
            await settle()
            assert reason.done() and reason.result() == REASON
            assert close_frames(waiting(peer)) == [REASON]
            await bounded_wait(session.wait_closed(), 2 * T)
            assert is_time_of(T, began)
            assert session.connection.limit == "close_timeout"
            await closing

    async def test_the_peers_answer_ends_it_at_once(self, kind: str, way: Callable[[Any], Any]) -> None:
        async with talking(kind, close_timeout=T) as (session, _raw, peer):
            session.begin()
            closing = asyncio.ensure_future(way(session))
            await settle()
            peer.close_nowait(4000)
            began = asyncio.get_running_loop().time()
            await idle()
            peer.transport.write_eof()
            await bounded_wait(session.wait_closed())
            assert asyncio.get_running_loop().time() == began
            assert session.close_state.clean and session.connection.limit is None
            await closing

    async def test_a_handler_that_closes_so_and_waits(self, kind: str, way: Callable[[Any], Any]) -> None:
        """It hears of the end, with a mute peer, too."""
        ended: list[float] = []

        async def handle(session: Any) -> None:
            closing = asyncio.ensure_future(way(session))
            async for _ in session:
                pass
            ended.append(asyncio.get_running_loop().time())
            await closing

        async with talking(kind, close_timeout=T) as (session, _raw, _peer):
            began = asyncio.get_running_loop().time()
            await bounded_wait(run(session, handle))
            assert is_time_of(T, began)
            assert len(ended) == 1

    async def test_nothing_follows_it(self, kind: str, way: Callable[[Any], Any]) -> None:
        async with talking(kind, close_timeout=T) as (session, _raw, peer):
            session.begin()
            closing = asyncio.ensure_future(way(session))
            await settle()
            for attempt in (session.send("x"), session.send(Frame.ping()), session.ping()):
                with pytest.raises(SessionClosed):
                    await bounded_wait(attempt)
            with pytest.raises(SessionClosed):
                session.send_nowait("x")
            assert broadcast([session], "x").ended == [session]
            session.close_nowait()
            assert close_frames(waiting(peer)) == [REASON]
            session.abort()
            await closing


async def until(awaitable: Any) -> Any:
    return await awaitable


# ---- our Close, and more on its way than ``incoming`` holds --------------------------------------

Begin = Callable[[Any], None]


async def returns(session: Any) -> None:
    await asyncio.sleep(1)


async def raises(session: Any) -> None:
    await asyncio.sleep(1)
    raise LookupError("of the handler's own")


async def closes(session: Any) -> None:
    await asyncio.sleep(1)
    await session.close()


async def closes_and_stays(session: Any) -> None:
    await asyncio.sleep(1)
    session.close_nowait()
    await session.wait_closed()


async def sends_a_close(session: Any) -> None:
    await asyncio.sleep(1)
    session.send_nowait(Frame.close(1000))
    await session.wait_closed()


async def stays(session: Any) -> None:
    await session.wait_closed()


HANDLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "the handler returns": (returns, {}),
    "the handler raises": (raises, {}),
    "close()": (closes, {}),
    "close_nowait()": (closes_and_stays, {}),
    "a Close frame": (sends_a_close, {}),
    "max_lifetime": (stays, {"max_lifetime": 1.0}),
}


@each_managed
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("before", [0, 3, 4, 5, 50], ids=lambda count: f"{count} before")
@pytest.mark.parametrize("limit", [bounded(4), bounded(max_bytes=40)], ids=["frames", "bytes"])
async def test_the_peers_close_is_seen_behind_whatever_it_has_sent(
    kind: str, handler: str, before: int, limit: ChannelConfig
) -> None:
    """And what does not fit ``incoming`` any more is not kept."""
    handle, options = HANDLERS[handler]
    for behind in (0, 3, 5, 3000):
        async with talking(kind, close_timeout=T, incoming=limit, **options) as (session, _raw, peer):
            task = run(session, handle)
            for _ in range(before):
                peer.send_nowait(b"x" * 10)
            await advance(1.0)
            assert session.close_state.sent is not None
            for _ in range(behind):
                peer.send_nowait(b"x" * 10)
            peer.close_nowait(1000)
            began = asyncio.get_running_loop().time()
            await idle()
            assert session.frames_waiting <= 4 and session.connection.queue.count() == 0
            peer.transport.write_eof()
            await bounded_wait(task)
            assert asyncio.get_running_loop().time() == began
            assert session.close_state.clean and session.connection.limit is None


@each_managed
@pytest.mark.parametrize("before", [0, 4, 50])
async def test_a_flood_behind_our_close_is_not_kept(kind: str, before: int) -> None:
    """Until close_timeout, which it does not put off."""
    async with talking(kind, close_timeout=T, incoming=bounded(4)) as (session, _raw, peer):
        session.begin()
        for _ in range(before):
            peer.send_nowait(bytes(1000))
        await settle()
        began = asyncio.get_running_loop().time()
        session.close_nowait()
        while not session.close_state.lost:
            for _ in range(100):
                peer.send_nowait(bytes(1000))
            await asyncio.sleep(0.25)
            assert session.frames_waiting <= 4 and session.connection.queue.count() == 0
        assert is_time_of(T, began - 0.25)


@each_managed
async def test_what_fits_is_received_behind_our_close(kind: str) -> None:
    async with talking(kind, incoming=bounded(4)) as (session, _raw, peer):
        session.close_nowait()
        for number in range(10):
            peer.send_nowait(str(number))
        peer.close_nowait()
        await idle()
        assert texts([message async for message in session]) == [*"0123"]


@each_managed
@pytest.mark.parametrize("when", ["a listener of its own", "taken as it comes"])
async def test_what_is_taken_at_once_is_received_behind_our_close(kind: str, when: str) -> None:
    async with talking(kind, incoming=bounded(4)) as (session, _raw, peer):
        got: list[str] = []

        async def take() -> None:
            async for message in session:
                got.append(message.text)

        if when == "taken as it comes":
            taking = asyncio.ensure_future(take())
        else:
            taking = asyncio.ensure_future(until(session.listen(lambda message: got.append(message.text))))
        await settle()
        session.close_nowait()
        for number in range(50):
            peer.send_nowait(str(number))
            await settle(3)
        peer.close_nowait()
        await idle()
        assert got == [str(number) for number in range(50)]
        await bounded_wait(taking)


# ---- the answer to the peer's Close -----------------------------------------------------------


@each_managed
@pytest.mark.parametrize(
    "reason",
    [CloseReason(1000), CloseReason(1001, "going"), CloseReason(3000, "ä€𝄞"), CloseReason(4999, "x" * 123), None],
    ids=lambda reason: str(reason and reason.code),
)
@pytest.mark.parametrize("waits", [False, True], ids=["nothing waits", "messages wait"])
async def test_the_answer_repeats_code_and_reason(kind: str, reason: CloseReason | None, waits: bool) -> None:
    async with talking(kind) as (session, _raw, peer):
        session.begin()
        if waits:
            peer.send_nowait("taken first")
        peer.close_nowait(reason)
        assert (await bounded_wait(session.close_reason)) == (reason or CloseReason(1005))
        if waits:
            await bounded_wait(session.receive())
            with pytest.raises(SessionClosed):
                await bounded_wait(session.receive())
        await idle()
        assert close_frames(waiting(peer)) == [reason]
        assert session.close_state.clean


@each_managed
@pytest.mark.parametrize("crossing", [False, True])
async def test_a_half_closed_peer_gets_our_close(kind: str, crossing: bool) -> None:
    """When the handler returns: it is 1000 for the peer, and 1006 here."""
    done: list[BaseException] = []

    async def handle(session: Any) -> None:
        try:
            while True:
                await session.send((await session.receive()).text.upper())
        except ConnectionLost as exc:
            done.append(exc)

    async with talking(kind) as (session, _raw, peer):
        task = run(session, handle)
        await settle()
        peer.send_nowait("a")
        if not crossing:
            await settle()
        peer.transport.write_eof()
        await bounded_wait(task)
        frames = waiting(peer)
        assert texts(frames) == ["A"]
        assert close_frames(frames) == [CloseReason(1000)]
        assert (await session.close_reason).code == 1006
        assert len(done) == 1


# ---- behind messages that are not sent yet ------------------------------------------------------


@raw_and_managed
@pytest.mark.parametrize("reads", [False, True], ids=["mute", "reading"])
async def test_close_with_a_sender_that_waits(kind: str, reads: bool) -> None:
    await close_behind_a_sender(kind, reads)


@pytest.mark.parametrize("reads", [False, True], ids=["mute", "reading"])
@pytest.mark.parametrize("senders", [1, 5])
async def test_close_behind_messages_that_wait_to_be_compressed(reads: bool, senders: int) -> None:
    """The limit holds for them, too: a peer that takes nothing does not hold a session that closes."""
    await close_behind_a_sender("deflate", reads, senders)


async def close_behind_a_sender(kind: str, reads: bool, senders: int = 1) -> None:
    async with talking(kind, close_timeout=T, outgoing=bounded(2)) as (session, raw, peer):
        peer.pause_reading()
        fill(session)
        sends = [asyncio.ensure_future(session.send(NOISE)) for _ in range(senders)]
        await settle()
        began = asyncio.get_running_loop().time()
        closing = asyncio.ensure_future(session.close())
        ending = asyncio.ensure_future(raw.end()) if kind == "raw" else closing
        if reads:
            await advance(T / 2)
            peer.resume_reading()
            while not (reasons := close_frames(waiting(peer))):
                await advance(0.1)
            assert reasons == [CloseReason(1000)]
            peer.close_nowait()
            peer.transport.write_eof()
            await bounded_wait(ending, T)
            assert not session.close_state.lost or session.connection.limit is None
        else:
            await bounded_wait(ending, 2 * T)
            assert is_time_of(T, began)
        await bounded_wait(closing)
        for result in await bounded_wait(asyncio.gather(*sends, return_exceptions=True)):
            assert result is None or isinstance(result, SessionClosed)


async def test_close_behind_a_message_that_overflows_outgoing() -> None:
    """No Close can be sent then, and the session ends all the same."""
    async with talking("deflate", close_timeout=T, outgoing=bounded(2, "close")) as (session, _raw, peer):
        peer.pause_reading()
        session.begin()
        sends = [asyncio.ensure_future(session.send(NOISE)) for _ in range(10)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(session.close())
        results = await bounded_wait(asyncio.gather(*sends, return_exceptions=True))
        assert [type(result) for result in results if result is not None][:1] == [ChannelOverflow]
        peer.resume_reading()
        peer.transport.write_eof()
        await bounded_wait(closing, 3 * T)
        assert session.close_state.sent is None


async def test_unlimited_outgoing_does_not_put_off_the_end() -> None:
    async with talking("managed", close_timeout=T, outgoing=UNLIMITED) as (session, _raw, peer):
        peer.pause_reading()
        for _ in range(100):
            session.send_nowait(NOISE)
        began = asyncio.get_running_loop().time()
        await bounded_wait(session.close(), 2 * T)
        assert is_time_of(T, began)


async def test_a_close_that_waits_behind_a_full_incoming_ends_the_messages_all_the_same() -> None:
    """This side closes, too, so what the raw session holds is dropped, the peer's Close with it."""
    async with talking("managed", incoming=bounded(2)) as (session, _, peer):
        session.begin()
        with peer.cork():
            for text in "012345":
                peer.send_nowait(text)
            peer.close_nowait(4000)
        await settle()
        session.close_nowait()
        with pytest.raises(SessionClosed):
            while True:
                await bounded_wait(session.receive())
