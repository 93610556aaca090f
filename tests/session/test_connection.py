"""The loss of a connection has a path of its own, which nothing of the application's can block."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import (
    ConnectionLost,
    Frame,
    SessionClosed,
    SessionOptions,
    WebSocketSession,
    bounded,
)

from ..tools.clock import idle
from ..tools.talking import (
    Line,
    bounded_wait,
    each_kind,
    each_managed,
    fill,
    on_a_line,
    over,
    raw_and_managed,
    run,
    talking,
)
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


class AppError(Exception):
    """A mistake of the application."""


def fail(*_: object) -> None:
    raise AppError


def reported() -> list[BaseException]:
    """The reports to the loop from now on. They are expected, and no failure of the test."""
    found: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: found.append(context["exception"]))
    return found


def end_by(how: str, line: Line) -> None:
    if how == "close":
        line.give(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
    elif how == "eof":
        line.end()
    elif how == "violation":
        line.give(b"\x83\x80abcd")
    elif how == "reset":
        line.lose(ConnectionResetError())
    else:
        line.lose()


ENDS = ("close", "eof", "violation", "reset", "loss")


class Previous(asyncio.BaseProtocol):
    """A protocol that had the transport before."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.lost = fails, False

    def pause_writing(self) -> None:
        pass

    resume_writing = pause_writing

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        if self.fails:
            raise AppError


# ---- callbacks that raise -------------------------------------------------------------------

ALL_CALLBACKS = ("on_end", "on_closed", "previous")


@raw_and_managed
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("failing", [(), ("on_end",), ("on_closed",), ("previous",), ALL_CALLBACKS])
async def test_callbacks_that_raise_hold_nothing_up(kind: str, end: str, failing: tuple[str, ...]) -> None:
    """All callbacks of the end are called, and each error is reported once."""
    found = reported()
    line, previous, closed = Line(), Previous("previous" in failing), []

    def on_closed() -> None:
        closed.append(True)
        if "on_closed" in failing:
            raise AppError

    raw = WebSocketSession(
        line, previous_protocol=previous, on_closed=on_closed, options=SessionOptions(outgoing=bounded(2))
    )
    session = over(kind, raw, None, None)
    ended: list[bool] = []

    def on_end() -> None:
        ended.append(True)
        if "on_end" in failing:
            raise AppError

    raw.on_end(on_end)
    raw.start()
    session.begin() if kind == "managed" else None
    while not session.outgoing_full:
        session.send_nowait(bytes(50_000))
    calls = [session.send("x"), session.flush(), session.wait_closed(), session.wait_writable()]
    if kind == "managed":
        calls += [until(session.close_reason), session.receive()]
    tasks = [asyncio.ensure_future(call) for call in calls]
    task = session.create_task(session.wait_closed())
    await settle()
    end_by(end, line)
    if kind == "raw":
        raw.receive_nowait()  # the Close
    await settle()
    assert ended == [True]
    line.lose()
    await bounded_wait(asyncio.wait([*tasks, task]))
    assert closed == [True] and previous.lost
    assert isinstance(tasks[0].exception(), SessionClosed)
    assert all(other.exception() is None for other in tasks[1:5])
    assert [type(error) for error in found] == [AppError] * len(failing)
    assert session.close_state.lost


async def until(awaitable: Any) -> Any:
    return await awaitable


async def test_on_end_of_an_input_that_has_ended_is_called_at_once_and_may_raise() -> None:
    found = reported()
    async with on_a_line("raw") as (session, line):
        line.end()
        session.on_end(fail)
        assert [type(error) for error in found] == [AppError]
        session.on_end(lambda: None)


@pytest.mark.parametrize("end", ["reset", "loss"])
async def test_a_handler_whose_on_end_raises_gives_its_place_back(end: str) -> None:
    """As a server counts them."""
    found = reported()
    seats = 2
    for _ in range(5):
        assert seats
        seats -= 1

        def give_back() -> None:
            nonlocal seats
            seats += 1

        line = Line()
        session = WebSocketSession(line, on_closed=give_back)
        session.start()

        async def handle(session: Any) -> None:
            session.on_end(fail)
            await session.wait_closed()

        task = run(session, handle)
        await settle()
        end_by(end, line)
        await bounded_wait(task)
    assert seats == 2 and len(found) == 5


# ---- the loss wakes everybody -----------------------------------------------------------------

WAITING: dict[str, Callable[[Any], Any]] = {
    "send()": lambda session: session.send("x"),
    "outgoing.send()": lambda session: session.outgoing.send("x"),
    "flush()": lambda session: session.flush(),
    "wait_writable()": lambda session: session.wait_writable(),
    "wait_closed()": lambda session: session.wait_closed(),
    "close()": lambda session: session.close(),
    "close_exceptionally()": lambda session: session.close_exceptionally(LookupError()),
    "close_reason": lambda session: until(session.close_reason),
    "ping()": lambda session: session.ping(),
    "listen()": lambda session: until(session.listen(lambda frame: None)),
    "end()": lambda session: session.end(),
}


@each_kind
@pytest.mark.parametrize("call", WAITING)
@pytest.mark.parametrize("messages", [0, 5, 1000, 3000])
async def test_the_loss_wakes_whoever_waits_whatever_is_queued(kind: str, call: str, messages: int) -> None:
    """A handler that only waits for that ends, and so does what runs it."""
    managed = kind in ("managed", "deflate")
    if call in ("close_reason", "ping()") and not managed or call == "end()" and managed:
        return
    outcome: list[Any] = []

    async def handle(session: Any) -> None:
        try:
            outcome.append(await WAITING[call](session))
        except SessionClosed as exc:
            outcome.append(exc)

    async with talking(kind, outgoing=bounded(1), close_timeout=1000) as (session, raw, peer):
        peer.pause_reading()
        if call not in ("ping()", "close_reason"):
            fill(session)
        with peer.cork():
            for _ in range(messages):
                peer.send_nowait("thanks")
        await settle()
        task = run(session, handle)
        await settle()
        assert not task.done()
        peer.abort()
        await bounded_wait(task)
        assert len(outcome) == 1
        assert not isinstance(outcome[0], Exception) or raw.owns(outcome[0])


@each_managed
@pytest.mark.parametrize("messages", [0, 3, 4, 5, 8, 100])
async def test_close_reason_and_pings_at_a_loss_behind_messages(kind: str, messages: int) -> None:
    """They do not wait for somebody to take those; receive() still gets every one."""
    async with talking(kind, incoming=bounded(4)) as (session, _raw, peer):
        session.begin()
        reason = asyncio.ensure_future(until(session.close_reason))
        ping = asyncio.ensure_future(session.ping())
        await settle()
        for number in range(messages):
            peer.send_nowait(str(number))
        await settle()
        read = session.frames_waiting + session.connection.queue.count()
        peer.abort()
        assert (await bounded_wait(reason)).code == 1006
        with pytest.raises(ConnectionLost):
            await bounded_wait(ping)
        assert [message.text async for message in session] == [str(number) for number in range(read)]


@raw_and_managed
async def test_what_was_waiting_when_a_write_found_the_connection_broken(kind: str) -> None:
    """The transport is closed, and the loop has not reported it: ``send()`` raises, and nothing more is written."""
    async with on_a_line(kind) as (session, line):
        line._closing = True  # as after a reset
        before = line.writes
        with pytest.raises(ConnectionLost):
            for _ in range(100):
                await session.send("x")
        assert line.writes - before <= 4, "from the fifth write on, asyncio logs each of them"
        with pytest.raises(ConnectionLost):
            session.send_nowait("x")
        assert not session.close_state.lost
        line.lose(ConnectionResetError())
        assert session.close_state.lost


# ---- callbacks of a managed session -------------------------------------------------------------

CALLBACKS = {
    "on_ping": Frame.ping(b"x"),
    "on_pong": Frame.pong(b"x"),
    "on_close": Frame.close(1000),
    "listener": Frame.text("x"),
}


@each_managed
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("before", [0, 3], ids=["nothing waits", "messages wait"])
class TestCallbacksThatRaise:
    """1011 for the peer, and the error for whoever receives."""

    async def set_off(self, session: Any, peer: Any, callback: str, before: int, error: Exception) -> Any:
        """Returns what ``listen()`` did, if that is it."""
        listening = None

        def raise_it(_: object) -> None:
            raise error

        session.begin()
        if callback == "listener":
            listening = session.listen(raise_it)
        else:
            setattr(session, callback, raise_it)
            for number in range(before):
                peer.send_nowait(str(number))
        peer.send_nowait(CALLBACKS[callback])
        for _ in range(3):
            peer.outgoing_ended or peer.send_nowait("behind it")
        await settle()
        return listening

    @pytest.mark.parametrize("how", ["receive", "iterate", "channel", "deserialized"])
    async def test_the_handler_hears_of_it(self, kind: str, callback: str, before: int, how: str) -> None:
        if callback == "listener" and (how != "receive" or before):
            return
        error = AppError()
        async with talking(kind) as (session, _raw, peer):
            listening = await self.set_off(session, peer, callback, before, error)
            got: list[str] = []
            with pytest.raises(AppError) as caught:
                if listening is not None:
                    await bounded_wait(until(listening))
                while how == "receive":
                    got.append((await bounded_wait(session.receive())).text)
                async for message in session if how == "iterate" else session.incoming:
                    got.append(message.text)
            assert caught.value is error
            assert got == [str(number) for number in range(before)] or callback == "listener"
            error.__traceback__ = None
            await idle()
            reasons = [frame.close_reason for frame in iter(peer.receive_nowait, None)]
            assert [reason.code for reason in reasons if reason is not None] == [1011]
            peer.abort()
            await bounded_wait(session.wait_closed())

    async def test_nobody_hears_of_it_and_it_is_reported(self, kind: str, callback: str, before: int) -> None:
        found = reported()
        async with talking(kind, close_timeout=1) as (session, _raw, peer):
            await self.set_off(session, peer, callback, before, AppError())
            await bounded_wait(session.wait_closed())
            await settle()
        assert [type(error) for error in found] == [AppError]
        found.clear()

    async def test_a_handler_that_does_not_receive_ends_all_the_same(
        self, kind: str, callback: str, before: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = reported()

        async def handle(session: Any) -> None:
            await self.set_off(session, peer, callback, before, AppError())
            await until(session.close_reason)

        async with talking(kind, close_timeout=1) as (session, _raw, peer):
            await bounded_wait(run(session, handle))
        assert [type(error) for error in found] == [AppError]
        found.clear()

    async def test_a_handler_that_lets_it_through_is_logged_once(
        self, kind: str, callback: str, before: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = AppError()

        async def handle(session: Any) -> None:
            listening = await self.set_off(session, peer, callback, before, error)
            if listening is not None:
                await listening
            while True:
                await session.receive()

        async with talking(kind, close_timeout=1) as (session, _raw, peer):
            await bounded_wait(run(session, handle))
            assert (await session.close_reason).code in (1011, 1000)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        caplog.clear()
        error.__traceback__ = None


@each_managed
@pytest.mark.parametrize("callback", CALLBACKS)
async def test_a_callback_that_answers_after_the_end_is_no_mistake(kind: str, callback: str) -> None:
    """It may send what cannot be sent any more: the session's own end is no error of it."""
    async with talking(kind, close_timeout=1) as (session, _raw, peer):
        session.begin()
        if callback == "listener":
            session.listen(lambda _: session.send_nowait("an answer"))
        else:
            setattr(session, callback, lambda _: session.send_nowait("an answer"))
        session.close_nowait(4000)
        peer.send_nowait(CALLBACKS[callback])
        await settle()
        if callback != "on_close":
            peer.close_nowait(4000)
        await idle()
        peer.transport.write_eof()
        await bounded_wait(session.wait_closed())
        assert session.close_state.clean
        assert session.close_state.sent.code == 4000


@each_managed
@pytest.mark.parametrize("callback", ["on_ping", "on_pong", "on_close", "listener"])
async def test_a_callback_that_ends_the_session(kind: str, callback: str) -> None:
    for call in ("abort", "close_nowait"):
        async with talking(kind, close_timeout=1) as (session, _raw, peer):
            session.begin()

            def act(_: object, session: Any = session, call: str = call) -> None:
                getattr(session, call)()

            if callback == "listener":
                session.listen(act)
            else:
                setattr(session, callback, act)
            peer.send_nowait(CALLBACKS[callback])
            await settle()
            await bounded_wait(session.wait_closed())
