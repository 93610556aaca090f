"""Messages that wait to be compressed: no full channel, in order, and not passed by a Close."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from aiohttp_rawws import (
    UNLIMITED,
    ChannelOverflow,
    ConnectionLost,
    Frame,
    Opcode,
    PerMessageDeflate,
    PreparedFrame,
    SessionClosed,
    bounded,
    broadcast,
)

from ..tools.clock import idle
from ..tools.talking import NOISE, Talk, bounded_wait, talking, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


class Threads:
    """Executors that run nothing before ``let_go()``."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.held: list[Any] = []
        loop: Any = self.loop
        loop.run_in_executor = self._run

    def _run(self, executor: object, function: Any, *args: Any) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        self.held.append((future, function, args))
        return future

    def let_go(self) -> None:
        """Run what is held, and hold nothing more."""
        self.loop.__dict__.pop("run_in_executor", None)
        held, self.held = self.held, []
        for future, function, args in held:
            if not future.done():
                try:
                    future.set_result(function(*args))
                except Exception as exc:
                    future.set_exception(exc)


@pytest.fixture
async def threads() -> Any:
    held = Threads()
    yield held
    held.let_go()


async def compressing(talk: Talk, threads: Threads) -> asyncio.Task[None]:
    """A task whose message is being compressed."""
    task = asyncio.ensure_future(talk.session.send(NOISE))
    await settle()
    assert len(threads.held) == 1 and not task.done()
    return task


TAKEOVER = {"with takeover": PerMessageDeflate(), "without": PerMessageDeflate(server_no_context_takeover=True)}
each_config = pytest.mark.parametrize("config", TAKEOVER.values(), ids=list(TAKEOVER))


async def received(talk: Talk, count: int) -> list[bytes]:
    """So many messages that the peer got."""
    messages: list[bytes] = []
    parts = b""
    while len(messages) < count:
        item = await bounded_wait(talk.peer.receive())
        parts += item.payload
        if getattr(item, "last", True):
            messages.append(parts)
            parts = b""
    return messages


@each_config
@pytest.mark.parametrize("policy", ["skip", "disconnect", "wait"])
@pytest.mark.parametrize("prepared", [False, True])
async def test_a_broadcast_reaches_a_session_that_compresses(
    config: PerMessageDeflate, policy: Any, prepared: bool, threads: Threads
) -> None:
    """It is not a slow one, and the broadcast leaves behind what is being compressed."""
    async with talking("deflate", config=config) as talk, talking("managed") as other:
        sending = await compressing(talk, threads)
        assert not talk.session.outgoing_full
        item: Any = PreparedFrame(Frame.text("news")) if prepared else "news"
        report = broadcast([other.session, talk.session], item, policy=policy)
        assert report.delivered == 2 and not report.skipped and not report.disconnected
        threads.let_go()
        await bounded_wait(sending)
        assert await received(talk, 2) == [NOISE, b"news"]


@each_config
@pytest.mark.parametrize("call", ["send_nowait", "try_send", "send", "broadcast", "outgoing.send", "send_whole"])
async def test_what_is_sent_meanwhile_leaves_in_its_turn(
    config: PerMessageDeflate, call: str, threads: Threads
) -> None:
    async with talking("deflate", config=config) as talk:
        sends = [await compressing(talk, threads)]
        texts = [f"{call} {number}" for number in range(10)]
        for text in texts:
            if call == "send":
                sends.append(asyncio.ensure_future(talk.session.send(text)))
                await asyncio.sleep(0)
            elif call == "outgoing.send":
                sends.append(asyncio.ensure_future(talk.session.outgoing.send(text)))
                await asyncio.sleep(0)
            elif call == "try_send":
                assert talk.session.outgoing.try_send(text)
            elif call == "broadcast":
                assert broadcast([talk.session], text).delivered == 1
            elif call == "send_whole":
                talk.session.send_whole(PreparedFrame(Frame.text(text)), {})
            else:
                talk.session.send_nowait(text)
        assert talk.session.frames_unsent == 11
        threads.let_go()
        await bounded_wait(asyncio.gather(*sends))
        assert await received(talk, 11) == [NOISE, *(text.encode() for text in texts)]


@each_config
@pytest.mark.parametrize("close", ["close()", "close_nowait()", "send()", "the handler's return"])
async def test_a_close_does_not_pass_them(config: PerMessageDeflate, close: str, threads: Threads) -> None:
    """Messages are sent in the order of the calls of ``send()``, and no call fails."""
    async with talking("deflate", config=config) as talk:
        session = talk.session
        sends = [await compressing(talk, threads)]
        session.send_nowait("behind it")
        sends.append(asyncio.ensure_future(session.send("and behind that")))
        await settle()
        closing = None
        if close == "close()":
            closing = asyncio.ensure_future(session.close(4000))
        elif close == "send()":
            closing = asyncio.ensure_future(session.send(Frame.close(4000)))
        else:
            session.close_nowait(4000)
        late = asyncio.ensure_future(session.send("too late"))
        await settle()
        assert session.close_state.sent is None
        threads.let_go()
        await bounded_wait(asyncio.gather(*sends))
        assert await received(talk, 3) == [NOISE, b"behind it", b"and behind that"]
        last = await bounded_wait(talk.peer.receive())
        assert last == Frame.close(4000)
        with pytest.raises(SessionClosed):
            await bounded_wait(late)
        talk.peer.close_nowait()
        talk.peer.transport.write_eof()
        await bounded_wait(closing if closing is not None else session.wait_closed())
        assert session.close_state.clean


async def test_pings_and_pongs_do_not_wait_for_it(threads: Threads) -> None:
    async with talking("deflate") as talk:
        sending = await compressing(talk, threads)
        talk.peer.send_nowait(Frame.ping(b"1"))
        talk.session.send_nowait(Frame.ping(b"2"))
        await settle()
        assert sorted(frame.payload for frame in waiting(talk.peer)) == [b"1", b"2"]
        threads.let_go()
        await bounded_wait(sending)


@pytest.mark.parametrize("end", ["loss", "abort", "peer's close", "violation"])
async def test_the_end_while_one_is_compressed(end: str, threads: Threads) -> None:
    """All that wait hear of it, and nothing is left in the thread's hands."""
    async with talking("deflate", auto_close=False) as talk:
        sends = [await compressing(talk, threads)]
        sends += [asyncio.ensure_future(talk.session.send("x")) for _ in range(3)]
        talk.session.send_nowait("y")
        await settle()
        if end == "loss":
            talk.peer.abort()
        elif end == "abort":
            talk.session.abort()
        elif end == "violation":
            talk.peer.write_bytes(b"\x83\x80abcd")
        else:
            talk.peer.close_nowait()
        await settle()
        threads.let_go()
        results = await bounded_wait(asyncio.gather(*sends, return_exceptions=True))
        if end == "peer's close":
            assert results == [None] * 4
        else:
            assert {type(result) for result in results} <= {SessionClosed, ConnectionLost}
        assert talk.session.frames_unsent == 0 or end == "peer's close"


@pytest.mark.parametrize("capacity", [1, 2, 5])
async def test_as_many_wait_behind_it_as_outgoing_holds(capacity: int, threads: Threads) -> None:
    async with talking("deflate", outgoing=bounded(capacity)) as talk:
        session = talk.session
        sending = await compressing(talk, threads)
        for number in range(capacity):
            assert session.can_send_now("x") and not session.outgoing_full
            session.send_nowait(str(number))
        assert session.outgoing_full and not session.outgoing.try_send("x")
        with pytest.raises(ChannelOverflow, match=f"{capacity + 1} frames wait"):
            session.send_nowait("x")
        assert broadcast([session], "x").skipped == [session]
        writable = asyncio.ensure_future(session.wait_writable())
        flushed = asyncio.ensure_future(session.flush())
        await settle()
        assert not writable.done() and not flushed.done()
        threads.let_go()
        await bounded_wait(asyncio.gather(sending, writable, flushed))
        assert await received(talk, 1 + capacity) == [NOISE, *(b"%d" % number for number in range(capacity))]


async def test_outgoing_that_closes_does_so_for_large_messages_too() -> None:
    """A peer that reads nothing does not hold a sender whose messages are compressed in a thread."""
    async with talking("deflate", config=TAKEOVER["without"], outgoing=bounded(2, "close")) as talk:
        talk.peer.pause_reading()
        with pytest.raises(ChannelOverflow):
            for _ in range(20):
                await bounded_wait(talk.session.send(NOISE))
        assert talk.session.outgoing_ended


async def test_a_backlog_that_is_not_limited(threads: Threads) -> None:
    async with talking("deflate", outgoing=UNLIMITED) as talk:
        sending = await compressing(talk, threads)
        for _ in range(3000):
            talk.session.send_nowait("x")
        assert not talk.session.outgoing_full
        threads.let_go()
        await bounded_wait(sending)
        await bounded_wait(talk.session.flush())
        await idle()
        assert len(waiting(talk.peer)) >= 3001


async def test_a_compressor_that_fails_fails_the_call_it_worked_for(threads: Threads) -> None:
    class Failing:
        fails = False
        decompressobj = staticmethod(zlib.decompressobj)

        def compressobj(self, *args: Any, **kwargs: Any) -> Any:
            if self.fails:
                raise MemoryError("no room for a compressor")
            return zlib.compressobj(*args, **kwargs)

    backend = Failing()
    config = PerMessageDeflate(backend=backend)
    async with talking("deflate", config=config) as talk:
        backend.fails = True
        sending = await compressing(talk, threads)
        behind = asyncio.ensure_future(talk.session.send("behind", compress=False))
        await settle()
        threads.let_go()
        with pytest.raises(MemoryError):
            await bounded_wait(sending)
        await bounded_wait(behind)
        frame = await bounded_wait(talk.peer.receive())
        assert (frame.opcode, frame.text) == (Opcode.TEXT, "behind")
