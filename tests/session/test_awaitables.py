"""``send()`` and ``receive()`` are coroutines: they do nothing before they are awaited, and are awaited once."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

import pytest

from aiohttp_rawws import (
    ConnectionLost,
    DefaultWebSocketSession,
    Frame,
    JSONConverter,
    PreparedFrame,
    SessionClosed,
    WebSocketSession,
    _build,
    bounded,
)
from aiohttp_rawws.session.awaitables import receiving

from ..tools.clock import idle
from ..tools.newer import ExceptionGroup, TaskGroup, needs_groups
from ..tools.talking import NOISE, bounded_wait, each_kind, fill, talking, texts, waiting
from ..tools.waiting import settle

clock = pytest.mark.loops("clock")

SENDS: dict[str, Callable[[Any], Any]] = {
    "str": lambda session: session.send("x"),
    "bytes": lambda session: session.send(b"x"),
    "frame": lambda session: session.send(Frame.text("x")),
    "prepared": lambda session: session.send(PreparedFrame(Frame.text("x"))),
    "channel": lambda session: session.outgoing.send("x"),
    "serialized": lambda session: session.send_serialized("x"),
    "json": lambda session: session.send_json("x"),
    "close": lambda session: session.send(Frame.close(1000)),
    "close()": lambda session: session.close(),
    "close(code=)": lambda session: session.close(code=1001, message=b"x"),
    "large": lambda session: session.send(NOISE),
}
RECEIVES: dict[str, Callable[[Any], Any]] = {
    "receive()": lambda session: session.receive(),
    "receive(timeout=)": lambda session: session.receive(timeout=5),
    "json": lambda session: session.receive_json(),
    "anext()": lambda session: session.__anext__(),
    "channel": lambda session: session.incoming.receive(),
    "deserialized": lambda session: session.receive_deserialized(),
}
each_send = pytest.mark.parametrize("call", SENDS)
each_receive = pytest.mark.parametrize("call", RECEIVES)


# ---- nothing before it is awaited -------------------------------------------------------------


@clock
@each_kind
@each_send
async def test_a_send_that_is_not_awaited_sends_nothing(kind: str, call: str) -> None:
    async with talking(kind, converter=JSONConverter()) as (session, _, peer):
        coroutine = SENDS[call](session)
        await settle()
        assert session.stats.frames_sent == 0 and session.close_state.sent is None
        coroutine.close()
        await settle()
        assert session.stats.frames_sent == 0 and not waiting(peer)


@clock
@each_kind
@each_send
async def test_a_task_that_is_cancelled_before_it_runs_sends_nothing(kind: str, call: str) -> None:
    async with talking(kind, converter=JSONConverter()) as (session, _, _peer):
        task = asyncio.ensure_future(SENDS[call](session))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.stats.frames_sent == 0


@clock
@each_kind
@each_receive
async def test_a_receive_that_is_not_awaited_takes_nothing(kind: str, call: str) -> None:
    async with talking(kind, converter=JSONConverter()) as (session, _, peer):
        peer.send_nowait("1")
        session.receive_nowait()
        await settle()
        coroutine = RECEIVES[call](session)
        await settle()
        assert session.frames_waiting == 1
        coroutine.close()
        task = asyncio.ensure_future(RECEIVES[call](session))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.frames_waiting == 1
        assert await bounded_wait(session.receive()) == Frame.text("1")


# ---- errors come out of the await ----------------------------------------------------------------

WRONG: dict[str, Callable[[Any], Any]] = {
    "a wrong type": lambda session: session.send(5),
    "a lone surrogate": lambda session: session.send("\ud800"),
    "no converter": lambda session: session.send_serialized("x"),
    "no such value": lambda session: session.receive_deserialized(),
    "an unsendable code": lambda session: session.close(1006),
    "two codes": lambda session: session.close(1000, code=1001),
    "no time": lambda session: session.receive(timeout=0),
    "no JSON": lambda session: session.send_json({1, 2}),
}


@clock
@each_kind
@pytest.mark.parametrize("call", [*SENDS, *WRONG])
async def test_an_error_comes_out_of_the_await_and_not_of_the_call(kind: str, call: str) -> None:
    """So gather(), lists of sends and task groups contain it."""
    async with talking(kind, converter=None if call in WRONG else JSONConverter()) as (session, _, _peer):
        if call in SENDS:
            session.abort()
            await settle()
        good = bounded_wait(asyncio.sleep(0, "good"))
        make = SENDS.get(call) or WRONG[call]
        bad = make(session)
        results = await asyncio.gather(good, bad, return_exceptions=True)
        assert results[0] == "good"
        closes = call.startswith("close(") or (call == "close" and kind in ("managed", "deflate"))
        assert results[1] is None if closes else isinstance(results[1], Exception)
        again = asyncio.ensure_future(make(session))
        await asyncio.wait([again])
        assert (again.exception() is None) is closes


@needs_groups
@clock
@each_kind
async def test_a_task_group_contains_it(kind: str) -> None:
    async with talking(kind) as (session, _, _peer), talking(kind) as (other, _, other_peer):
        session.abort()
        await settle()
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup() as group:
                group.create_task(other.send("good"))
                group.create_task(session.send("bad"))
        assert [type(error) for error in caught.value.exceptions] == [ConnectionLost]
        await idle()
        assert texts(waiting(other_peer)) == ["good"]


@clock
@each_kind
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_one_session_that_is_over_does_not_keep_others_from_being_sent_to(kind: str, position: int) -> None:
    async with talking(kind) as one, talking(kind) as two, talking(kind) as three:
        talks = [one, two, three]
        over = talks.pop(position)
        over.session.abort()
        await settle()
        results = await asyncio.gather(
            *(talk.session.send("news") for talk in (one, two, three)), return_exceptions=True
        )
        assert [isinstance(result, SessionClosed) for result in results] == [n == position for n in range(3)]
        await idle()
        assert [texts(waiting(talk.peer)) for talk in talks] == [["news"]] * 2


@clock
@each_kind
async def test_each_call_is_an_object_of_its_own(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        sends = [session.send(str(number)) for number in range(5)]
        assert len({id(send) for send in sends}) == 5
        done = [await result for result in asyncio.as_completed(sends)]
        assert done == [None] * 5
        await idle()
        assert sorted(texts(waiting(peer))) == ["0", "1", "2", "3", "4"]


# ---- from another thread --------------------------------------------------------------------------


@pytest.mark.loops("asyncio", "uvloop")
@each_kind
async def test_run_coroutine_threadsafe_sends_on_the_loop(kind: str) -> None:
    """asyncio's way to do something from another thread. Each message arrives whole, in the order of its thread."""
    loop = asyncio.get_running_loop()
    count, names = 300, "abc"
    async with talking(kind) as (session, _, peer):
        session.receive_nowait()
        futures: list[Any] = []

        def work(name: str) -> None:
            for number in range(count):
                text = f"{name}:{number}:" + "x" * (200 + number % 300)
                futures.append(asyncio.run_coroutine_threadsafe(session.send(text), loop))

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # the loop has not run since
        assert session.stats.frames_sent == 0
        got: dict[str, list[int]] = {name: [] for name in names}
        for _ in range(count * len(names)):
            name, number, fill = (await bounded_wait(peer.receive())).text.split(":")
            assert fill == "x" * (200 + int(number) % 300)
            got[name].append(int(number))
        assert got == {name: list(range(count)) for name in names}
        await bounded_wait(asyncio.gather(*map(asyncio.wrap_future, futures)))


# ---- awaited once ---------------------------------------------------------------------------------


@clock
@each_kind
@pytest.mark.parametrize("first_ends", ["with a frame", "with the end", "cancelled"])
async def test_one_receive_that_two_tasks_await(kind: str, first_ends: str) -> None:
    """The second has made a mistake; the first is not disturbed."""
    async with talking(kind) as (session, _, peer):
        coroutine = session.receive()

        async def take() -> Frame:
            frame: Frame = await coroutine
            return frame

        first, second = (asyncio.ensure_future(take()) for _ in range(2))
        await settle()
        assert isinstance(second.exception(), RuntimeError)
        assert not first.done()
        if first_ends == "with a frame":
            peer.send_nowait("one")
            assert (await bounded_wait(first)).text == "one"
        elif first_ends == "cancelled":
            first.cancel()
        else:
            peer.abort()
        await bounded_wait(asyncio.wait([first]))
        assert first.cancelled() or (first.exception() is not None) is (first_ends == "with the end")
        with pytest.raises(RuntimeError):
            await coroutine
        if first_ends != "with the end":
            peer.send_nowait("two")
            assert (await bounded_wait(session.receive())).text == "two"


@clock
@each_kind
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits for room"])
async def test_one_send_that_two_tasks_await(kind: str, waits: bool) -> None:
    async with talking(kind, outgoing=bounded(2)) as (session, _, peer):
        if waits:
            peer.pause_reading()
            fill(session)
        coroutine = session.send("once")

        async def send() -> None:
            await coroutine

        first, second = (asyncio.ensure_future(send()) for _ in range(2))
        await settle()
        assert isinstance(second.exception(), RuntimeError)
        peer.resume_reading()
        await bounded_wait(first)
        await session.flush()
        await idle()
        assert texts(waiting(peer)) == ["once"]


@clock
@each_kind
async def test_a_receive_that_waited_and_was_dropped_is_in_nobodys_way(kind: str) -> None:
    """A coroutine that somebody drove for a while and let go of."""
    async with talking(kind) as (session, _, peer):
        coroutine: Coroutine[Any, Any, Frame] = session.receive()
        assert coroutine.send(None) is not None
        del coroutine
        gc.collect()
        peer.send_nowait("for the next")
        assert (await bounded_wait(session.receive())).text == "for the next"


# ---- a forgotten await ------------------------------------------------------------------------------


@clock
@each_kind
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda session: session.send("x"), "send"),
        (lambda session: session.receive(), "receive"),
        (lambda session: session.__anext__(), "receive"),
        (lambda session: session.outgoing.send("x"), "Outgoing.send"),
        (lambda session: session.incoming.receive(), "Incoming.receive"),
    ],
)
async def test_a_forgotten_await_warns(kind: str, call: Callable[[Any], Any], name: str) -> None:
    """As it does for any coroutine; also for the next one, whose object may be the same."""
    async with talking(kind) as (session, _, peer):
        for _ in range(3):
            with pytest.warns(RuntimeWarning, match=f"coroutine '{name}' was never awaited"):
                call(session)
                gc.collect()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                await session.send("x")
                peer.send_nowait("y")
                await bounded_wait(session.receive())
                task = asyncio.ensure_future(session.receive())
                await settle()
                task.cancel()
                await asyncio.wait([task])
        await idle()
        assert texts(waiting(peer)) == ["x"] * 3


@clock
@each_kind
async def test_what_may_stay_unawaited_does_not_warn(kind: str) -> None:
    async with talking(kind) as (session, _, _peer):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.listen(lambda frame: None)
            if kind in ("managed", "deflate"):
                session.close_reason  # noqa: B018
            gc.collect()


# ---- what they look like ------------------------------------------------------------------------

can_be_marked = pytest.mark.skipif(
    _build.COMPILED and sys.version_info < (3, 11), reason="on Python 3.10 a compiled function cannot be marked"
)


@can_be_marked
@pytest.mark.parametrize("cls", [WebSocketSession, DefaultWebSocketSession])
@pytest.mark.parametrize(
    "name",
    ["send", "receive", "close", "flush", "send_json", "receive_json", "send_serialized", "receive_deserialized"],
)
def test_frameworks_see_coroutine_functions(cls: type, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.14 has it in inspect alone
        if sys.version_info < (3, 14):
            assert asyncio.iscoroutinefunction(getattr(cls, name))
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(getattr(cls, name))


@can_be_marked
@pytest.mark.parametrize("cls", [WebSocketSession, DefaultWebSocketSession])
def test_a_mock_of_a_session_can_be_awaited(cls: type) -> None:
    async def main() -> None:
        session = mock.create_autospec(cls, instance=True)
        session.receive.return_value = Frame.text("from a mock")
        assert (await session.receive()).text == "from a mock"
        await session.send("x")
        session.send.assert_awaited_once_with("x")
        session.send_nowait("y")
        session.send_nowait.assert_called_once_with("y")
        assert not isinstance(session.send_nowait, mock.AsyncMock)
        spec = mock.AsyncMock(spec=cls)
        await spec.send("x")
        spec.send.assert_awaited_once()

    asyncio.run(main())


@clock
@each_kind
async def test_they_are_coroutines(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        for call in (session.send("x"), session.receive()):
            assert asyncio.iscoroutine(call)
            assert inspect.isawaitable(call)
            assert isinstance(call, Coroutine)
            call.close()
            call.close()
            with pytest.raises(RuntimeError):
                await call
        with pytest.raises(LookupError):
            session.receive().throw(LookupError())
        with pytest.raises(LookupError):
            session.send("x").throw(LookupError)
        assert session.stats.frames_sent == 0
        coroutine = receiving(session, False)
        coroutine.send(None)
        with pytest.raises(LookupError):
            coroutine.throw(LookupError())
        peer.send_nowait("later")
        assert (await bounded_wait(session.receive())).text == "later"
