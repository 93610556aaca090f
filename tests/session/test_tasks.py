"""Tasks of a session end with it, and the session's own end in them is no error."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import Frame, SessionClosed, bounded

from ..tools.clock import advance
from ..tools.newer import ExceptionGroup, needs_groups
from ..tools.talking import Talk, bounded_wait, each_kind, fill, run, talking
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


def reported() -> list[str]:
    """The reports to the loop from now on."""
    found: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context["message"]))
    return found


# ---- what tasks do ----------------------------------------------------------------------------


async def send_on(session: Any) -> None:
    while True:
        await asyncio.sleep(1)
        await session.send("x")


async def ping_on(session: Any) -> None:
    while True:
        await asyncio.sleep(1)
        await session.send(Frame.ping())


async def send_now(session: Any) -> None:
    while True:
        await asyncio.sleep(1)
        session.send_nowait("x")


async def receive_on(session: Any) -> None:
    while True:
        await session.receive()


async def in_a_group(session: Any) -> None:
    try:
        await send_on(session)
    except SessionClosed as exc:
        raise ExceptionGroup("of tasks", [exc, ExceptionGroup("inner", [exc])]) from None


WORK: list[Any] = [send_on, ping_on, send_now, receive_on, pytest.param(in_a_group, marks=needs_groups)]


def we_close(talk: Talk) -> None:
    talk.session.close_nowait()


def peer_closes(talk: Talk) -> None:
    talk.peer.close_nowait()


def loss(talk: Talk) -> None:
    talk.peer.abort()


def abort(talk: Talk) -> None:
    talk.session.abort()


def violation(talk: Talk) -> None:
    talk.peer.write_bytes(b"\x83\x80abcd")


ENDINGS = [we_close, peer_closes, loss, abort, violation]


@each_kind
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
@pytest.mark.parametrize("kept", [False, True], ids=["dropped", "kept"])
async def test_the_sessions_own_end_in_a_task_is_not_reported(
    kind: str, work: Callable[[Any], Any], ending: Callable[[Talk], None], kept: bool
) -> None:
    """Also if the task is referred to, and before the connection is gone."""
    found = reported()
    async with talking(kind, close_timeout=3) as talk:
        if kind in ("managed", "deflate"):
            talk.session.begin()
        tasks = [talk.session.create_task(work(talk.session)) for _ in range(2 if work is not receive_on else 1)]
        await settle()
        ending(talk)
        await advance(10)
        if kept:
            talk.session.abort()
            await bounded_wait(asyncio.wait(tasks))
        del tasks
        talk.session.abort()
        await bounded_wait(talk.session.wait_closed())
        await settle()
        gc.collect()
        await settle()
    assert not found


@each_kind
async def test_an_error_of_their_own_is_reported_by_asyncio(kind: str) -> None:
    """As for any task that nobody awaits; and so is the end of another session."""
    found = reported()

    async def fail() -> None:
        raise LookupError("a mistake")

    async def end_of(other: Any) -> None:
        await other.receive()

    async with talking(kind) as talk, talking("raw") as other:
        talk.session.create_task(fail())
        talk.session.create_task(end_of(other.session))
        other.peer.abort()
        await settle()
        gc.collect()
        await settle()
    assert found == ["Task exception was never retrieved"] * 2


@needs_groups
@each_kind
async def test_a_group_with_an_error_of_their_own_is_reported(kind: str) -> None:
    found = reported()

    async def fail(session: Any) -> None:
        try:
            await session.receive()
        except SessionClosed as exc:
            raise ExceptionGroup("of tasks", [exc, LookupError("a mistake")]) from None

    async with talking(kind) as talk:
        talk.session.create_task(fail(talk.session))
        await settle()
        talk.peer.transport.write_eof()
        await settle()
        gc.collect()
        await settle()
    assert found == ["Task exception was never retrieved"]


@each_kind
async def test_an_overflow_in_a_task_is_the_sessions_own(kind: str) -> None:
    found = reported()

    async def overflow(session: Any) -> None:
        while True:
            session.send_nowait("x")

    async with talking(kind, outgoing=bounded(2)) as talk:
        talk.peer.pause_reading()
        fill(talk.session)
        task = talk.session.create_task(overflow(talk.session))
        await bounded_wait(asyncio.wait([task]))
        del task
        gc.collect()
        await settle()
    assert not found


async def wait_for(task: asyncio.Task[Any]) -> None:
    await task


@each_kind
async def test_a_task_that_awaits_another_one_of_its_session(kind: str) -> None:
    found = reported()
    async with talking(kind) as talk:
        inner = talk.session.create_task(send_on(talk.session))
        task = talk.session.create_task(wait_for(inner))
        await settle()
        talk.session.close_nowait()
        await advance(2)
        talk.session.abort()
        await bounded_wait(asyncio.wait([task, inner]))
        assert isinstance(task.exception(), SessionClosed)
        del task, inner
        gc.collect()
        await settle()
    assert not found


@each_kind
async def test_a_handler_hears_of_what_its_task_raised(kind: str) -> None:
    """That it is not reported does not mean that it is lost."""
    caught: list[BaseException] = []

    async def handle(session: Any) -> None:
        try:
            await session.create_task(send_on(session))
        except SessionClosed as exc:
            caught.append(exc)

    async with talking(kind, close_timeout=3) as talk:
        task = run(talk.session, handle)
        await settle()
        talk.session.close_nowait()
        await bounded_wait(task)
    assert len(caught) == 1
