"""Where a handler runs: a route's inside the middlewares, a returned upgrade's behind them, ``run()``'s at once.

And what becomes of exceptions, of the cancellation of handlers, and of anything but the upgrade that is returned.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame

from ..tools.peers import CLOSE, TEXT, Peer, Served, close_frame, frame, serving
from ..tools.waiting import eventually

pytestmark = pytest.mark.loops("asyncio", "uvloop")

Session = rawws.WebSocketServerSession | rawws.DefaultWebSocketServerSession
Handle = Callable[[Any], Awaitable[object]]
Upgrade: Any = rawws.WebSocketUpgrade  # whose types tell raw handlers from managed ones
ACCESS = '"%r" %s %Tf'


async def echo(session: Session) -> None:
    async for message in session:
        if message.opcode is rawws.Opcode.CLOSE:
            await session.send(Frame.close(1000))  # a managed session does that itself
        else:
            await session.send(message)


# ---- the places ---------------------------------------------------------------------------


def of_a_route(handle: Handle, managed: bool) -> web.AbstractRouteDef:
    return rawws.websocket("/", handle) if managed else rawws.websocket_raw("/", handle)


def of_a_handler(handle: Handle, managed: bool) -> web.AbstractRouteDef:
    return web.get("/", rawws.websocket(handle) if managed else rawws.websocket_raw(handle))


def on_the_spot(handle: Handle, managed: bool) -> web.AbstractRouteDef:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await Upgrade(request, handle=handle, managed=managed).run()

    return web.get("/", handler)


def of_a_view(handle: Handle, managed: bool) -> web.AbstractRouteDef:
    class View(web.View):
        async def get(self) -> web.StreamResponse:
            return await Upgrade(self.request, handle=handle, managed=managed).run()

    return web.view("/", View)


def returned(handle: Handle, managed: bool) -> web.AbstractRouteDef:
    async def handler(request: web.Request) -> web.StreamResponse:
        return Upgrade(request, handle=handle, managed=managed)

    return web.get("/", handler)


Place = Callable[[Handle, bool], web.AbstractRouteDef]
INSIDE: list[Place] = [of_a_route, of_a_handler, on_the_spot, of_a_view]


def name_of(function: Callable[..., object]) -> str:
    return function.__name__


def application(
    route: web.AbstractRouteDef, *middlewares: Any, plugin: str = "outer", nested: bool = False, **options: Any
) -> web.Application:
    """An application with ``route`` at "/".

    Args:
        route: The route.
        middlewares: Those of the application, outermost first.
        plugin: Where the plugin is: "outer", "inner" (with ``nested``) or "nowhere".
        nested: The route is in an application inside.
        options: Those of the plugin.
    """
    app = inner = web.Application(middlewares=middlewares)
    if nested:
        inner = web.Application()
    inner.add_routes([route])
    if plugin != "nowhere":
        rawws.setup(inner if plugin == "inner" else app, **{"close_timeout": 2.0, **options})
    if nested:
        app.add_subapp("/inner", inner)
    return app


@asynccontextmanager
async def connected(app: web.Application, path: str = "/", **runner: Any) -> AsyncIterator[tuple[Served, Peer]]:
    async with serving(app, access_log_format=ACCESS, **runner) as served, served.peer() as peer:
        await peer.open(path)
        yield served, peer


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


class Resource:
    """What a middleware holds for its request, such as a session of a database."""

    def __init__(self) -> None:
        self.held = False
        self.seen: list[BaseException | None] = []
        self.ended = asyncio.Event()

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def hold(request: web.Request, handler: Any) -> Any:
            self.held = True
            try:
                response = await handler(request)
                self.seen.append(None)
                return response
            except BaseException as exc:
                self.seen.append(exc)
                raise
            finally:
                self.held = False
                self.ended.set()

        return hold


# ---- inside the middlewares, and behind them ----------------------------------------------


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("place", INSIDE, ids=name_of)
@pytest.mark.parametrize("plugin", ["outer", "inner", "nowhere"])
async def test_middlewares_hold_what_they_hold_for_the_session(
    place: Place, managed: bool, plugin: str, caplog: pytest.LogCaptureFixture
) -> None:
    resource = Resource()
    held: list[bool] = []

    async def handle(session: Session) -> None:
        held.append(resource.held)
        await echo(session)
        held.append(resource.held)

    caplog.set_level(logging.INFO, "aiohttp.access")
    app = application(place(handle, managed), resource.middleware, plugin=plugin, nested=True)
    async with connected(app, "/inner/") as (served, peer):
        await peer.send(frame(TEXT, b"x"))
        assert await peer.frame() == (TEXT, b"x")
        assert resource.held
        await peer.finish()
        await served.idle()
    assert held == [True, True]
    assert resource.seen == [None]
    assert [line.rsplit(" ", 1)[0] for line in access_lines(caplog)] == ['"GET /inner/ HTTP/1.1" 101']
    assert not errors(caplog)


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_a_returned_upgrade_runs_behind_the_middlewares(managed: bool, caplog: pytest.LogCaptureFixture) -> None:
    resource = Resource()
    held: list[bool] = []

    async def handle(session: Session) -> None:
        held.append(resource.held)
        await echo(session)

    caplog.set_level(logging.INFO, "aiohttp.access")
    async with connected(application(returned(handle, managed), resource.middleware)) as (served, peer):
        await peer.finish()
        await served.idle()
    assert (held, resource.seen) == ([False], [None])
    assert [line.rsplit(" ", 1)[0] for line in access_lines(caplog)] == ['"GET / HTTP/1.1" 101']


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("place", [of_a_route, returned], ids=name_of)
async def test_the_access_log_has_the_whole_duration(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Session) -> None:
        await asyncio.sleep(1.1)

    caplog.set_level(logging.INFO, "aiohttp.access")
    async with connected(application(place(handle, True))) as (_, peer):
        await peer.closed_by_server(1000)
        await peer.send(close_frame())
        await peer.read_to_end()
        await eventually(lambda: access_lines(caplog))
    (line,) = access_lines(caplog)
    assert float(line.rsplit(" ", 1)[1]) > 1.0


@pytest.mark.parametrize("place", INSIDE, ids=name_of)
async def test_context_variables(place: Place) -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: list[str] = []

    @web.middleware
    async def log_in(request: web.Request, handler: Any) -> Any:
        token = user.set("alice")
        try:
            response = await handler(request)
            seen.append(user.get())
            return response
        finally:
            user.reset(token)

    async def handle(session: Session) -> None:
        seen.append(user.get())
        user.set("bob")
        await echo(session)

    async with connected(application(place(handle, False), log_in)) as (served, peer):
        await peer.finish()
        await served.idle()
    assert seen == ["alice", "bob" if sys.version_info >= (3, 11) else "alice"]


@pytest.mark.parametrize("place", INSIDE, ids=name_of)
async def test_a_time_limit_of_a_middleware(place: Place) -> None:
    seen: list[str] = []

    @web.middleware
    async def limit(request: web.Request, handler: Any) -> Any:
        try:
            return await asyncio.wait_for(handler(request), 0.05)
        except asyncio.TimeoutError:
            seen.append("too long")
            raise

    async def handle(session: Session) -> None:
        try:
            await session.receive()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with connected(application(place(handle, False), limit)) as (served, peer):
        with pytest.raises(ConnectionResetError):  # the connection is aborted: nothing else comes
            assert not await peer.read_to_end()
            raise ConnectionResetError
        await served.idle()
    assert seen == ["cancelled", "too long"]


@pytest.mark.parametrize("place", INSIDE, ids=name_of)
async def test_run_may_not_be_called_twice(place: Place) -> None:
    failed: list[BaseException] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=echo)
        await upgrade.run()
        try:
            await upgrade.run()
        except RuntimeError as exc:
            failed.append(exc)
        return upgrade

    async with connected(application(web.get("/", handler))) as (served, peer):
        await peer.finish()
        await served.idle()
    assert "before" in str(failed[0])


async def test_run_after_prepare() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=echo)
        await upgrade.prepare(request)
        return await upgrade.run()

    app = application(web.get("/", handler), plugin="nowhere")
    async with serving(app) as served, served.peer() as peer:
        await peer.open(early=frame(TEXT, b"early"))
        assert await peer.frame() == (TEXT, b"early")
        await peer.finish()


async def test_a_refusal_is_raised_by_run_and_seen_by_middlewares() -> None:
    resource = Resource()
    async with serving(application(on_the_spot(echo, False), resource.middleware)) as served:
        answer = await served.ask(headers={"Sec-WebSocket-Version": "12"})
    assert answer.status == 426
    assert isinstance(resource.seen[0], web.HTTPException)


# ---- what a handler raises ----------------------------------------------------------------

RAISED: list[Exception] = [
    ValueError("broken"),
    web.HTTPForbidden(text="no HTTP here"),
    web.HTTPFound("/elsewhere"),
    asyncio.TimeoutError("too slow"),
    ConnectionResetError("of a database"),
    rawws.HandshakeError(400, "too late"),
]


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("exc", RAISED, ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("plugin", ["outer", "inner", "nowhere"])
@pytest.mark.parametrize("place", [of_a_route, on_the_spot], ids=name_of)
async def test_an_exception_passes_the_middlewares_and_is_never_http(
    place: Place, plugin: str, exc: Exception, managed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    resource = Resource()

    async def handle(session: Session) -> None:
        await session.send("hello")
        raise exc

    caplog.set_level(logging.INFO, "aiohttp.access")
    app = application(place(handle, managed), resource.middleware, plugin=plugin, nested=plugin == "inner")
    async with connected(app, "/inner/" if plugin == "inner" else "/") as (served, peer):
        assert await peer.frame() == (TEXT, b"hello")
        if managed:
            await peer.closed_by_server(1011)
            await peer.send(close_frame(1011))
        assert b"HTTP" not in await end_of(peer)
        await served.idle()
    assert resource.seen == ([None] if plugin == "inner" else [exc])
    assert [record.exc_info[1] for record in errors(caplog) if record.exc_info] == [exc]
    if plugin != "nowhere":
        assert [line.split('" ')[1].split()[0] for line in access_lines(caplog)] == ["101"]


async def end_of(peer: Peer) -> bytes:
    """What still comes. The peer ends its side first, for which the server would wait a second."""
    try:
        peer.writer.write_eof()
        return await peer.read_to_end()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("place", [of_a_route, on_the_spot, returned], ids=name_of)
async def test_the_end_of_the_session_is_no_error_of_the_middlewares(
    place: Place, managed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    resource = Resource()

    async def handle(session: Session) -> None:
        while True:
            await session.send((await session.receive()).payload)

    async with connected(application(place(handle, managed), resource.middleware)) as (served, peer):
        peer.reset()
        await served.idle()
        await eventually(lambda: resource.seen)
    assert resource.seen == [None]
    assert not errors(caplog)


async def translate(request: web.Request, handler: Any) -> Any:
    try:
        return await handler(request)
    except ValueError as exc:
        raise web.HTTPInternalServerError(text="an error page") from exc


async def replace_errors(request: web.Request, handler: Any) -> Any:
    try:
        return await handler(request)
    except ValueError:
        return web.Response(text="an error page")


async def replace_all(request: web.Request, handler: Any) -> Any:
    await handler(request)
    return web.Response(text="maintenance")


async def forbid_afterwards(request: web.Request, handler: Any) -> Any:
    await handler(request)
    raise web.HTTPForbidden(text="quota exceeded")


async def fail_afterwards(request: web.Request, handler: Any) -> Any:
    await handler(request)
    raise ZeroDivisionError("of the middleware")


async def return_nothing(request: web.Request, handler: Any) -> Any:
    await handler(request)


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize(
    "middleware",
    [translate, replace_errors, replace_all, forbid_afterwards, fail_afterwards, return_nothing],
    ids=name_of,
)
@pytest.mark.parametrize("plugin", ["outer", "inner", "nowhere"])
@pytest.mark.parametrize("place", [of_a_route, on_the_spot, returned], ids=name_of)
@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
async def test_whatever_middlewares_do_afterwards_is_never_http(
    place: Place, plugin: str, middleware: Any, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if place is returned and plugin == "nowhere":
        pytest.skip("a returned upgrade needs the plugin: nothing has been sent when the middlewares have run")
    ran = []

    async def handle(session: Session) -> None:
        ran.append(session)
        await session.send("hello")
        if raises:
            raise ValueError("of the handler")

    nested = plugin == "inner"
    app = application(place(handle, True), web.middleware(middleware), plugin=plugin, nested=nested)
    async with serving(app) as served, served.peer() as peer:
        if place is returned and plugin == "outer":
            # The middlewares have run before the 101: whatever they answer is the answer.
            answer = await served.ask("/")
            assert answer.status == {
                replace_all: 200,
                forbid_afterwards: 403,
                fail_afterwards: 500,
                return_nothing: 500,
            }.get(middleware, 101)
            return
        await peer.open("/inner/" if nested else "/")
        if ran or place is not returned:
            assert await peer.frame() == (TEXT, b"hello")
            opcode, payload = await peer.frame()
            assert (opcode, payload[:2]) == (CLOSE, (1011 if raises else 1000).to_bytes(2, "big"))
            await peer.send(close_frame())
        rest = await end_of(peer)
        assert b"HTTP" not in rest and b"page" not in rest and b"quota" not in rest
        await served.idle()
    mine = [record for record in errors(caplog) if record.exc_info and str(record.exc_info[1]) == "of the handler"]
    if place is not returned:
        answered = plugin == "nowhere" and middleware in (translate, replace_errors)  # then nobody else logs it
        assert len(mine) == (raises and not answered)


@pytest.mark.parametrize("plugin", ["outer", "nowhere"])
@pytest.mark.parametrize(
    "end", [ValueError("before the handler"), web.Response(text="another")], ids=["raises", "other"]
)
async def test_a_prepared_upgrade_that_is_not_returned(plugin: str, end: Any, caplog: pytest.LogCaptureFixture) -> None:
    ran = []

    async def handle(session: Session) -> None:
        ran.append(session)

    async def handler(request: web.Request) -> web.StreamResponse:
        await rawws.WebSocketUpgrade(request, handle=handle, managed=True).prepare(request)
        if isinstance(end, Exception):
            raise end
        response: web.Response = end
        return response

    async with connected(application(web.get("/", handler), plugin=plugin)) as (served, peer):
        if plugin == "outer":
            await peer.closed_by_server(1011)
            await peer.send(close_frame(1011))
        assert not await end_of(peer)
        await served.idle()
    assert not ran
    if plugin == "outer" or isinstance(end, Exception):
        (record,) = errors(caplog)
        assert record.exc_info is not None


# ---- handler_cancellation -----------------------------------------------------------------


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("place", [of_a_route, on_the_spot, returned], ids=name_of)
@pytest.mark.parametrize("plugin", ["outer", "nowhere"])
async def test_a_handler_is_cancelled_while_the_session_is_open(
    place: Place, plugin: str, managed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[BaseException] = []

    async def handle(session: Session) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as exc:
            seen.append(exc)
            raise

    caplog.set_level(logging.INFO, "aiohttp.access")
    app = application(place(handle, managed), plugin=plugin)
    async with connected(app, handler_cancellation=True) as (served, peer):
        if not managed:  # a managed session answers the Close, and the handler still knows nothing of it
            peer.reset()
        else:
            await peer.finish()
        await eventually(lambda: seen)
        await served.idle()
    assert isinstance(seen[0], asyncio.CancelledError)
    assert not access_lines(caplog)
    assert not errors(caplog)


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("place", [of_a_route, on_the_spot, returned], ids=name_of)
@pytest.mark.parametrize("plugin", ["outer", "nowhere"])
async def test_nothing_is_cancelled_after_both_closes(
    place: Place, plugin: str, managed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    finished = asyncio.Event()
    go_on = asyncio.Event()

    async def handle(session: Session) -> None:
        await echo(session)
        await go_on.wait()  # such as what is written to a database at the end
        finished.set()

    caplog.set_level(logging.INFO, "aiohttp.access")
    app = application(place(handle, managed), plugin=plugin)
    async with connected(app, handler_cancellation=True) as (served, peer):
        await peer.send(close_frame())
        await peer.closed_by_server(1000)
        if not managed:
            peer.writer.close()
        else:
            await peer.read_to_end()
        await asyncio.sleep(0.2)
        go_on.set()
        await asyncio.wait_for(finished.wait(), 10)
        await served.idle()
    assert [line.split('" ')[1].split()[0] for line in access_lines(caplog)] == ["101"]
    assert not errors(caplog)


# ---- aiohttp's transport after the takeover -----------------------------------------------


async def test_what_the_request_still_tells() -> None:
    told: list[Any] = []

    async def handle(session: Any) -> None:
        request = session.request
        told.append((request.transport.get_extra_info("peername")[0], request.remote, request.transport.is_closing()))
        with pytest.raises(ConnectionResetError):
            request.transport.write(b"HTTP")
        with pytest.raises(ConnectionResetError):
            request.transport.writelines([b"HTTP"])
        told.append(request.transport.get_write_buffer_size())
        request.transport.close()  # ends the session, as it ends any connection
        await echo(session)

    async with connected(application(of_a_route(handle, False))) as (served, peer):
        assert b"HTTP" not in await peer.read_to_end()
        await served.idle()
    assert told == [("127.0.0.1", "127.0.0.1", False), 0]
