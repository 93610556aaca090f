"""Handlers that do not notice the loss of their connection: the registry, the warning, ``disconnect_grace``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws
from aiohttp_rawws import WEBSOCKETS
from aiohttp_rawws.session.memory import MemoryTransport

from ..tools.clock import advance
from ..tools.peers import serving
from ..tools.waiting import eventually

Handle = Callable[[Any], Awaitable[object]]
Upgrade: Any = rawws.WebSocketUpgrade  # whose types tell raw handlers from managed ones


async def push_only(session: Any) -> None:
    await asyncio.Event().wait()  # a feed that is quiet


async def sends_once(session: Any) -> None:
    await asyncio.sleep(10)
    try:
        await session.send("an item")
    except rawws.SessionClosed:
        pass
    await asyncio.Event().wait()


async def receives(session: Any) -> None:
    async for _ in session:
        pass
    await asyncio.Event().wait()


async def receives_with_errors(session: Any) -> None:
    with pytest.raises(rawws.SessionClosed):
        await session.receive()
    await asyncio.Event().wait()


async def listens(session: Any) -> None:
    await session.listen(lambda frame: None)
    await asyncio.Event().wait()


async def has_a_callback(session: Any) -> None:
    session.on_end(lambda: None)
    await asyncio.Event().wait()


async def waits_for_the_end(session: Any) -> None:
    await session.wait_closed()
    await asyncio.Event().wait()


async def waits_for_the_reason(session: Any) -> None:
    await session.close_reason
    await asyncio.Event().wait()


async def pings(session: Any) -> None:
    with pytest.raises(rawws.SessionClosed):
        await session.ping()
    await asyncio.Event().wait()


AWARE = [receives, receives_with_errors, listens, has_a_callback, waits_for_the_end, sends_once]
AWARE_MANAGED = [waits_for_the_reason, pings]


def opened(
    app: web.Application | None, handle: Handle, managed: bool, **options: Any
) -> tuple[rawws.WebSocketUpgrade, asyncio.Task[None], rawws.WebSocketSession]:
    """An upgrade over memory, the task of its session, and its client."""
    request = make_mocked_request("GET", "/feed", app=app)
    upgrade = Upgrade(request, handle=handle, managed=managed, **options)
    ours, theirs = MemoryTransport.pair()
    client = rawws.WebSocketSession(theirs, server=False)
    client.start()
    return upgrade, upgrade.upgrade(ours), client


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def plugged(**options: Any) -> web.Application:
    app = web.Application()
    rawws.setup(app, **options)
    return app


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.loops("clock")
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("with_plugin", [False, True], ids=["alone", "plugin"])
async def test_an_unaware_handler_is_reported_after_a_minute(
    managed: bool, with_plugin: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = plugged() if with_plugin else web.Application()
    _, task, client = opened(app, push_only, managed)
    await advance(1000)
    client.abort()
    await advance(59)
    assert not warnings(caplog)
    await advance(2)
    (line,) = warnings(caplog)
    assert "60 seconds" in line and "disconnect_grace" in line
    await advance(1000)
    assert len(warnings(caplog)) == 1
    assert not task.done()
    await stopped(task)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("handle", AWARE, ids=lambda handle: handle.__name__)
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_a_handler_that_knows_goes_on_as_long_as_it_likes(
    handle: Handle, managed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if managed and handle is has_a_callback:
        pytest.skip("a managed session has no on_end()")
    _, task, client = opened(plugged(disconnect_grace=30), handle, managed)
    await advance(1)
    client.abort()
    await advance(1000)
    assert not task.done()
    assert not warnings(caplog)
    await stopped(task)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("handle", AWARE_MANAGED, ids=lambda handle: handle.__name__)
async def test_a_managed_handler_that_knows(handle: Handle, caplog: pytest.LogCaptureFixture) -> None:
    _, task, client = opened(plugged(disconnect_grace=30), handle, True)
    await advance(1)
    client.abort()
    await advance(1000)
    assert not task.done() and not warnings(caplog)
    await stopped(task)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("of_the_route", [False, True], ids=["plugin", "route"])
@pytest.mark.parametrize("grace", [0.5, 30, 100])
async def test_disconnect_grace(
    managed: bool, of_the_route: bool, grace: float, caplog: pytest.LogCaptureFixture
) -> None:
    app = plugged() if of_the_route else plugged(disconnect_grace=grace)
    options = {"disconnect_grace": grace} if of_the_route else {}
    _, task, client = opened(app, push_only, managed, **options)
    await advance(200)
    client.abort()
    await advance(grace - 0.1)
    assert not task.done()
    await advance(0.2)
    assert task.done()
    assert not task.cancelled() and task.exception() is None  # for the middlewares it is an end as any other
    assert len(warnings(caplog)) == (grace > 60)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_the_time_begins_with_the_loss(managed: bool) -> None:
    """Not with the Close of the peer, which nobody may have answered."""
    _, task, client = opened(plugged(disconnect_grace=30, close_timeout=50), push_only, managed)
    await client.close(1000)
    await advance(29)
    assert not task.done()
    client.abort()
    await advance(40)
    assert task.done()


@pytest.mark.loops("clock")
async def test_a_handler_that_learns_of_the_loss_later_goes_on() -> None:
    _, task, client = opened(plugged(disconnect_grace=30), sends_once, True)
    client.abort()
    await advance(1000)  # it sent after 10 seconds
    assert not task.done()
    await stopped(task)


@pytest.mark.loops("clock")
async def test_a_handler_that_refuses_to_be_cancelled() -> None:
    cancelled = 0

    async def handle(session: Any) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
        await asyncio.sleep(100)

    _, task, client = opened(plugged(disconnect_grace=1), handle, False)
    await advance(1)
    client.abort()
    await advance(50)
    assert cancelled == 1 and not task.done()
    await advance(100)
    assert task.done() and not task.cancelled()


@pytest.mark.parametrize("value", [0, -1, float("nan"), "1", True])
def test_values_of_the_option(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="disconnect_grace"):
        rawws.setup(web.Application(), disconnect_grace=value)


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_a_session_leaves_the_registry_with_its_connection(
    managed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Under a runner with its defaults, as ``web.run_app()``: the handler goes on, the session is not live."""
    app = plugged(max_sessions=1)
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def handle(session: Any) -> None:
        await go_on.wait()
        ended.set()

    app.add_routes([rawws.websocket("/", handle) if managed else rawws.websocket_raw("/", handle)])
    async with serving(app) as served:
        async with served.peer() as peer:
            await peer.open()
            await eventually(lambda: len(app[WEBSOCKETS].sessions) == 1)
            if managed:
                await peer.finish()
            else:
                peer.reset()
        await eventually(lambda: not len(app[WEBSOCKETS].sessions))
        assert not list(app[WEBSOCKETS].sessions) and not ended.is_set()
        async with served.peer() as peer:
            await peer.open()  # the place is free, too
        go_on.set()
        await asyncio.wait_for(ended.wait(), 10)
        await served.idle()


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_shutdown_cancels_an_unaware_handler(managed: bool) -> None:
    app = plugged(close_timeout=0.1)
    seen: list[str] = []

    @web.middleware
    async def around(request: web.Request, handler: Any) -> Any:
        response = await handler(request)
        seen.append("the middleware goes on")
        return response

    async def handle(session: Any) -> None:
        seen.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    app.middlewares.append(around)
    app.add_routes([rawws.websocket("/", handle) if managed else rawws.websocket_raw("/", handle)])
    async with serving(app) as served:
        async with served.peer() as peer:
            await peer.open()
            await eventually(lambda: seen)
            peer.reset()
        await eventually(lambda: not len(app[WEBSOCKETS].sessions))
    assert seen == ["began", "cancelled", "the middleware goes on"]
