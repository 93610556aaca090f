"""The plugin: options, the registry of live sessions, signals, shutdown."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import WEBSOCKETS, Frame, Opcode

from ..tools import peers
from ..tools.peers import TEXT, close_frame, frame, serving
from ..tools.waiting import eventually

Session = rawws.WebSocketServerSession


async def until_closed(session: Session) -> None:
    """Waits for the peer's Close, answers it, returns."""
    await session.send("hello")
    async for received in session:
        if received.opcode is Opcode.CLOSE:
            await session.close(1000)


async def says_options(session: Session) -> None:
    options = session.options
    await session.send(f"{options.max_frame_size} {options.close_timeout}")
    await session.receive()


def application(handle: Any = until_closed, route: dict[str, Any] | None = None, **options: Any) -> web.Application:
    app = web.Application()
    rawws.setup(app, **options)
    routes = rawws.websocket_raw("/", handle, **(route or {})), rawws.websocket("/managed", handle, **(route or {}))
    app.add_routes(routes)
    return app


async def said(served: peers.Served, path: str = "/") -> str:
    async with served.peer() as peer:
        await peer.open(path)
        _, payload = await peer.frame()
        await peer.send(close_frame())
        await peer.read_to_end()
        return payload.decode()


# ---- setup and options --------------------------------------------------------------------


def test_setup() -> None:
    app = web.Application()
    plugin = rawws.setup(app, max_frame_size=100, ping_interval=None)
    assert isinstance(plugin, rawws.WebSockets)
    assert app[WEBSOCKETS] is plugin
    assert plugin.options.max_frame_size == 100
    assert (plugin.closing, len(plugin.sessions), list(plugin.sessions)) == (False, 0, [])
    with pytest.raises(RuntimeError, match="before"):
        rawws.setup(app)


def test_setup_comes_first() -> None:
    started, mounted = web.Application(), web.Application()
    started.add_subapp("/mounted", mounted)
    started.freeze()
    for app in (started, mounted):
        with pytest.raises(RuntimeError, match="before"):
            rawws.setup(app)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_frame_sise": 1}, TypeError),
        ({"protocol": "chat"}, TypeError),
        ({"origin_check": None}, TypeError),
        ({"max_frame_size": -1}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"ping_interval": -1}, ValueError),
        ({"close_timeout": None}, TypeError),
        ({"shutdown_code": 1006}, ValueError),
        ({"shutdown_code": 999}, ValueError),
        ({"shutdown_code": "1001"}, TypeError),
        ({"shutdown_reason": "x" * 124}, ValueError),
        ({"origins": "everybody"}, ValueError),
    ],
    ids=str,
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    app = web.Application()
    with pytest.raises(error, match=next(iter(options))):
        rawws.setup(app, **options)
    assert WEBSOCKETS not in app


async def test_options_of_routes_override_the_plugins() -> None:
    app = application(says_options, {"max_frame_size": 7}, max_frame_size=100, close_timeout=3)
    app.add_routes([rawws.websocket_raw("/plain", says_options)])

    async def bare(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=says_options, close_timeout=2)

    app.router.add_get("/bare", bare)
    async with serving(app) as served:
        assert await said(served) == "7 3.0"
        assert await said(served, "/plain") == "100 3.0"
        assert await said(served, "/bare") == "100 2.0"


async def test_defaults_without_the_plugin() -> None:
    app = web.Application()
    app.add_routes([rawws.websocket_raw("/", says_options)])
    async with serving(app) as served:
        assert await said(served) == f"{4 * 2**20} 10.0"


async def test_an_inner_application_with_a_plugin_of_its_own() -> None:
    inner = web.Application()
    inner_plugin = rawws.setup(inner, max_frame_size=5)
    counts: list[tuple[int, int]] = []

    async def handle(session: Session) -> None:
        assert session.app is inner
        counts.append((len(inner_plugin.sessions), len(outer_plugin.sessions)))
        await says_options(session)

    inner.add_routes([rawws.websocket_raw("/", handle)])

    async def bare(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=handle)

    inner.router.add_get("/bare", bare)
    outer = application(says_options, max_frame_size=9)
    outer_plugin = outer[WEBSOCKETS]
    outer.add_subapp("/inner", inner)
    async with serving(outer) as served:
        assert await said(served) == "9 10.0"
        assert await said(served, "/inner/") == "5 10.0"
        assert await said(served, "/inner/bare") == "5 10.0"
    assert counts == [(1, 0), (1, 0)]


async def test_an_inner_application_without_one() -> None:
    inner = web.Application()
    apps = []

    async def handle(session: Session) -> None:
        apps.append(session.app)
        await says_options(session)

    inner.add_routes([rawws.websocket_raw("/", handle)])
    outer = application(max_frame_size=9)
    outer.add_subapp("/inner", inner)
    async with serving(outer) as served:
        assert await said(served, "/inner/") == "9 10.0"
    assert apps == [inner]


# ---- the registry and the signals ---------------------------------------------------------


async def test_live_sessions() -> None:
    app = application()
    plugin = app[WEBSOCKETS]
    async with serving(app) as served:
        async with served.peer() as one, served.peer() as two:
            for peer in (one, two):
                await peer.open("/")
                await peer.frame()
            assert len(plugin.sessions) == 2
            first = next(iter(plugin.sessions))
            assert isinstance(first, Session)
            assert first in plugin.sessions
            assert "2" in repr(plugin.sessions)
            for session in plugin.sessions:  # a copy: ending them meanwhile is fine
                await session.close(1012)
                await asyncio.sleep(0)
            for peer in (one, two):
                await peer.closed_by_server(1012)
                await peer.send(close_frame(1012))
                assert await peer.read_to_end() == b""
        await served.idle()
        assert len(plugin.sessions) == 0
        assert first not in plugin.sessions


async def test_signals() -> None:
    seen: list[Any] = []

    async def handle(session: Session) -> None:
        seen.append("handler")
        await session.send("hello")
        if session.request.path == "/fails":
            raise LookupError
        await session.receive()

    app = application(handle)
    app.add_routes([rawws.websocket_raw("/fails", handle)])
    plugin = app[WEBSOCKETS]

    async def start(session: rawws.ServerSession) -> None:
        seen.append(("start", session in plugin.sessions))

    async def end(session: rawws.ServerSession) -> None:
        seen.append(("end", session in plugin.sessions, session.close_state.lost))

    plugin.on_session_start.append(start)
    plugin.on_session_end.append(end)
    async with serving(app) as served:
        with pytest.raises(RuntimeError):
            plugin.on_session_start.append(start)
        assert await said(served) == "hello"
        await eventually(lambda: len(seen) == 3)
        assert seen == [("start", True), "handler", ("end", False, True)]
        seen.clear()
        async with served.peer() as peer:
            await peer.open("/fails")
        await eventually(lambda: len(seen) == 3)
        assert seen == [("start", True), "handler", ("end", False, True)]


async def test_signals_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    ran, ended = [], []

    async def handle(session: Session) -> None:
        ran.append(session)

    async def failing(session: rawws.ServerSession) -> None:
        raise LookupError("in a signal")

    async def end(session: rawws.ServerSession) -> None:
        ended.append(session)
        raise LookupError("at the end")

    app = application(handle)
    app[WEBSOCKETS].on_session_start.append(failing)
    app[WEBSOCKETS].on_session_end.append(end)
    async with serving(app) as served:
        async with served.peer() as peer:
            await peer.send(peers.request_bytes("/"))
            try:
                await peer.read_to_end()
            except ConnectionResetError:
                pass
        await eventually(lambda: ended)
    assert (len(ran), len(ended)) == (0, 1)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert {record.name for record in errors} == {"aiohttp_rawws"}
    assert ["in a signal" in str(record.exc_info) for record in errors] == [True, False]


async def test_end_is_told_of_cancelled_sessions() -> None:
    ended: list[rawws.ServerSession] = []

    async def handle(session: Session) -> None:
        await session.send("hello")
        await asyncio.sleep(60)

    async def end(session: rawws.ServerSession) -> None:
        await asyncio.sleep(0)
        ended.append(session)

    app = application(handle)
    app[WEBSOCKETS].on_session_end.append(end)
    async with serving(app, handler_cancellation=True) as served:
        async with served.peer() as peer:
            await peer.open("/")
            await peer.frame()
            peer.reset()
        await eventually(lambda: ended)
        assert not app[WEBSOCKETS].sessions


# ---- shutdown -----------------------------------------------------------------------------


async def test_shutdown_with_talking_peers() -> None:
    received: list[Any] = []

    async def handle(session: Session) -> None:
        await session.send("hello")
        async for incoming in session:
            received.append(incoming)

    app = application(handle, close_timeout=5, shutdown_code=1012, shutdown_reason="Back soon")
    async with serving(app) as served:
        async with served.peer() as one, served.peer() as two:
            for peer in (one, two):
                await peer.open("/")
                await peer.frame()
            start = time.monotonic()
            cleanup = asyncio.create_task(served.runner.cleanup())
            for peer in (one, two):
                opcode, payload = await peer.frame()
                assert (opcode, payload) == (peers.CLOSE, b"\x03\xf4Back soon")
                await peer.send(frame(TEXT, b"last words"), close_frame(1012))
                assert await peer.read_to_end() == b""
            await asyncio.wait_for(cleanup, 5)
            assert time.monotonic() - start < 2
    assert received.count(Frame.close(1012)) == 2  # the peer's Close arrives at the handler like any frame
    assert received.count(Frame.text("last words")) == 2


@pytest.mark.parametrize("path", ["/", "/managed"])
async def test_shutdown_with_a_silent_peer(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = application(close_timeout=0.3)
    async with serving(app) as served, served.peer() as peer:
        await peer.open(path)
        await peer.frame()
        start = time.monotonic()
        cleanup = asyncio.create_task(served.runner.cleanup())
        await peer.closed_by_server(1001)
        await asyncio.wait_for(cleanup, 5)
        assert 0.25 < time.monotonic() - start < 2
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await peer.read(1)
    assert app[WEBSOCKETS].refused == {"close_timeout": 1}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("path", ["/", "/managed"])
async def test_shutdown_with_a_peer_that_does_not_read(path: str) -> None:
    async def handle(session: Session) -> None:
        while True:
            await session.send(b"x" * 2**20)

    app = application(handle, close_timeout=0.3)
    async with serving(app) as served, served.peer() as peer:
        await peer.open(path)
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.2)
        start = time.monotonic()
        await asyncio.wait_for(served.runner.cleanup(), 5)
        assert time.monotonic() - start < 2
    assert app[WEBSOCKETS].refused == {"close_timeout": 1}


async def test_shutdown_does_not_close_twice() -> None:
    async def handle(session: Session) -> None:
        await session.close(4000)
        async for _ in session:
            pass

    app = application(handle, close_timeout=0.3)
    async with serving(app) as served, served.peer() as peer:
        await peer.open("/")
        await peer.closed_by_server(4000)
        cleanup = asyncio.create_task(served.runner.cleanup())
        await asyncio.sleep(0.05)
        await peer.send(close_frame(4000))
        assert await peer.read_to_end() == b""
        await asyncio.wait_for(cleanup, 5)


async def test_upgrades_while_closing_are_refused() -> None:
    app = web.Application()
    rawws.setup(app, close_timeout=2)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=until_closed)

    app.router.add_get("/", handler)

    @web.middleware
    async def slow(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        arrived.set()
        await go_on.wait()
        return response

    app.middlewares.append(slow)
    async with serving(app) as served, served.peer() as peer:
        # Shutdown begins when the handshake has been checked and the 101 has not been sent.
        await peer.send(peers.request_bytes("/"))
        await arrived.wait()
        cleanup = asyncio.create_task(served.runner.cleanup())
        while not app[WEBSOCKETS].closing:
            await asyncio.sleep(0)
        go_on.set()
        answer = await peer.answer()
        assert (answer.status, answer.text) == (503, "Server is going down\n")
        await asyncio.wait_for(cleanup, 5)


async def test_shutdown_between_the_101_and_the_handler() -> None:
    app = web.Application()
    plugin = rawws.setup(app, close_timeout=2)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=until_closed)
        await upgrade.prepare(request)
        arrived.set()
        await go_on.wait()
        return upgrade

    app.router.add_get("/", handler)
    async with serving(app) as served, served.peer() as peer:
        await peer.open("/")
        await arrived.wait()
        cleanup = asyncio.create_task(served.runner.cleanup())
        while not plugin.closing:
            await asyncio.sleep(0)
        go_on.set()
        assert await peer.frame() == (TEXT, b"hello")
        await peer.closed_by_server(1001)
        await peer.send(close_frame(1001))
        assert await peer.read_to_end() == b""
        await asyncio.wait_for(cleanup, 5)


@pytest.mark.parametrize("finish", [True, False])
async def test_a_handler_that_outlives_its_session(finish: bool) -> None:
    """It has close_timeout more to return, then it is cancelled; server.cleanup() leaves nothing running."""
    cancelled = asyncio.Event()

    async def handle(session: Session) -> None:
        await session.send("hello")
        try:
            await asyncio.sleep(0.3 if finish else 60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    app = application(handle, close_timeout=0.2)
    async with serving(app) as served, served.peer() as peer:
        await peer.open("/")
        await peer.frame()
        await asyncio.wait_for(served.runner.cleanup(), 2)
        assert cancelled.is_set() is not finish
        assert not app[WEBSOCKETS].sessions
