"""aiohttp-session, aiohttp-security, aiohttp-cors, two tools for Swagger, and pytest-aiohttp."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp_cors
import aiohttp_security
import aiohttp_session
import aiohttp_swagger
import aiohttp_swagger3
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient

import aiohttp_rawws as rawws

from ..tools.peers import TEXT, Answer, Served, frame, serving

pytestmark = [
    pytest.mark.loops("asyncio", "uvloop"),
    # These libraries keep what is theirs under names that are texts.
    pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning"),
]

Handle = Callable[[Any], Awaitable[object]]
each_kind = pytest.mark.parametrize("kind", [rawws.websocket_raw, rawws.websocket], ids=["raw", "managed"])


async def echo(session: Any) -> None:
    async for message in session:
        if message.opcode is rawws.Opcode.CLOSE:
            await session.close(message.close_reason)
        else:
            await session.send(message)


def application(*middlewares: Any, **options: Any) -> web.Application:
    app = web.Application(middlewares=middlewares)
    rawws.setup(app, close_timeout=2.0, **options)
    return app


async def said(served: Served, path: str, headers: Mapping[str, str | None] | None = None) -> str:
    """The first message of the socket at ``path``."""
    async with served.peer() as peer:
        await peer.open(path, headers)
        opcode, payload = await peer.frame()
        assert opcode == TEXT
        await peer.finish()
        return payload.decode()


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


# ---- aiohttp-session ----------------------------------------------------------------------


async def log_in(request: web.Request) -> web.Response:
    session = await aiohttp_session.new_session(request)
    session["user"] = request.query["user"]
    return web.Response()


async def who(request: web.Request) -> web.Response:
    return web.json_response(dict(await aiohttp_session.get_session(request)))


async def greet(socket: Any) -> None:
    session = await aiohttp_session.get_session(socket.request)
    await socket.send(f"hello {session['user']}")
    session["greeted"] = True  # too late for a cookie
    await echo(socket)


async def must_be_logged_in(request: web.BaseRequest) -> None:
    assert isinstance(request, web.Request)
    session = await aiohttp_session.get_session(request)
    if "user" not in session:
        session["wanted"] = request.path
        raise web.HTTPUnauthorized(text="log in first")


@each_kind
async def test_a_socket_reads_the_session_of_its_cookie(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = application(aiohttp_session.session_middleware(aiohttp_session.SimpleCookieStorage()))
    app.add_routes([web.get("/log-in", log_in), web.get("/who", who), kind("/chat", greet)])
    async with serving(app) as served:
        cookie = cookie_of(await served.ask("/log-in?user=alice", upgrade=False))
        assert await said(served, "/chat", cookie) == "hello alice"
        answer = await served.ask("/who", cookie, upgrade=False)
        assert json.loads(answer.text) == {"user": "alice"}  # a 101 saves nothing, as with aiohttp's own response
    assert not caplog.records


@each_kind
async def test_a_refusal_saves_the_session(kind: Any) -> None:
    app = application(aiohttp_session.session_middleware(aiohttp_session.SimpleCookieStorage()))
    app.add_routes([web.get("/who", who), kind("/chat", greet, before_upgrade=must_be_logged_in)])
    async with serving(app) as served:
        answer = await served.ask("/chat")
        assert (answer.status, answer.text) == (401, "log in first")
        answer = await served.ask("/who", cookie_of(answer), upgrade=False)
        assert json.loads(answer.text) == {"wanted": "/chat"}


# ---- aiohttp-security ---------------------------------------------------------------------


class Permissions(aiohttp_security.AbstractAuthorizationPolicy):
    async def authorized_userid(self, identity: str) -> str:
        return identity

    async def permits(self, identity: str | None, permission: Any, context: Any = None) -> bool:
        return identity == "alice"


async def may_chat(request: web.BaseRequest) -> None:
    assert isinstance(request, web.Request)
    await aiohttp_security.check_permission(request, "chat")


@each_kind
async def test_permissions(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Any) -> None:
        await session.send(str(await aiohttp_security.authorized_userid(session.request)))
        if not await aiohttp_security.permits(session.request, "chat"):
            await aiohttp_security.check_permission(session.request, "chat")
        await echo(session)

    async def remember(request: web.Request) -> web.Response:
        response = web.Response()
        await aiohttp_security.remember(request, response, request.query["user"])
        return response

    app = application(aiohttp_session.session_middleware(aiohttp_session.SimpleCookieStorage()))
    app.add_routes([web.get("/log-in", remember)])
    app.add_routes([kind("/chat", handle, before_upgrade=may_chat), kind("/late", handle, on_error="close-1011")])
    aiohttp_security.setup(app, aiohttp_security.SessionIdentityPolicy(), Permissions())
    async with serving(app) as served:
        cookies = {
            user: cookie_of(await served.ask(f"/log-in?user={user}", upgrade=False)) for user in ("alice", "bob")
        }
        assert (await served.ask("/chat")).status == 401
        assert (await served.ask("/chat", cookies["bob"])).status == 403
        assert await said(served, "/chat", cookies["alice"]) == "alice"
        assert await said(served, "/late", cookies["alice"]) == "alice"
        assert not caplog.records
        async with served.peer() as peer:
            await peer.open("/late", cookies["bob"])
            assert await peer.frame() == (TEXT, b"bob")
            await peer.closed_by_server(1011)  # no 403: the 101 was sent
    (record,) = caplog.records
    assert record.exc_info is not None and isinstance(record.exc_info[1], web.HTTPForbidden)


# ---- aiohttp-cors -------------------------------------------------------------------------

ELSEWHERE = "https://elsewhere.example"
PREFLIGHT = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "GET"}


async def page(request: web.Request) -> web.Response:
    return web.Response(text="page")


@pytest.mark.parametrize("first", ["socket", "page"])
async def test_cors_over_all_routes(first: str, caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    chat = [rawws.websocket("/chat", echo), web.get("/chat", page)]
    app.add_routes(
        [
            *(chat if first == "socket" else chat[::-1]),
            rawws.websocket_raw("/rooms/{room}", echo, origins=[ELSEWHERE]),
            rawws.websocket_raw("/rooms/{room}", echo, protocol="v2"),
            web.get("/plain", page),
        ]
    )
    options = aiohttp_cors.ResourceOptions()  # type: ignore[no-untyped-call]
    cors = aiohttp_cors.setup(app, defaults={ELSEWHERE: options})
    for route in list(app.router.routes()):  # as its documentation does
        cors.add(route)
    async with serving(app) as served:
        for path in "/chat", "/rooms/1", "/plain":
            answer = await served.ask(path, PREFLIGHT, method="OPTIONS", upgrade=False)
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, ELSEWHERE)
        for path in "/chat", "/plain":
            answer = await served.ask(path, {"Origin": ELSEWHERE}, upgrade=False)
            assert (answer.text, answer.headers["Access-Control-Allow-Origin"]) == ("page", ELSEWHERE)
        # CORS says nothing about WebSockets: origins= does.
        assert (await served.ask("/chat", {"Origin": ELSEWHERE})).status == 403
        for path, headers in {
            "/chat": {"Origin": "http://127.0.0.1"},
            "/rooms/1": {"Origin": ELSEWHERE},
            "/rooms/2": {"Sec-WebSocket-Protocol": "v2"},
        }.items():
            async with served.peer() as peer:
                await peer.open(path, headers)
                await peer.send(frame(TEXT, b"x"))
                assert await peer.frame() == (TEXT, b"x")
                await peer.finish()
    assert ["its origin is" in record.msg for record in caplog.records] == [True]


# ---- Swagger ------------------------------------------------------------------------------


async def join(session: Any) -> None:
    """The socket of a room.

    ---
    summary: Joins a room
    parameters:
      - name: room
        in: path
        required: true
        schema:
          type: string
    responses:
      '101':
        description: a WebSocket
    """
    await session.send(f"welcome to {session.request.match_info['room']}")
    await echo(session)


async def documented(served: Served) -> Any:
    """The summaries in the document, by path."""
    paths = json.loads((await served.ask("/doc/swagger.json", upgrade=False)).text)["paths"]
    return {path: methods["get"]["summary"] for path, methods in paths.items() if "get" in methods}


@pytest.mark.loops("asyncio")
@each_kind
async def test_aiohttp_swagger_goes_over_all_routes(kind: Any) -> None:
    app = application()
    app.add_routes([kind("/rooms/{room}", join), web.get("/rooms/{room}", page)])
    aiohttp_swagger.setup_swagger(app, swagger_url="/doc")
    async with serving(app) as served:
        assert await documented(served) == {"/rooms/{room}": "Joins a room"}
        assert await said(served, "/rooms/1") == "welcome to 1"
        assert (await served.ask("/rooms/1", upgrade=False)).text == "page"


@pytest.mark.loops("asyncio")
@each_kind
@pytest.mark.parametrize("validate", [True, False])
async def test_aiohttp_swagger3_adds_routes(kind: Any, validate: bool) -> None:
    """It has a router of its own, which hands every route to that of the application."""
    app = application()
    swagger = aiohttp_swagger3.SwaggerDocs(
        app, validate=validate, swagger_ui_settings=aiohttp_swagger3.SwaggerUiSettings(path="/doc")
    )
    (route,) = swagger.add_routes([kind("/rooms/{room}", join, name="room")])
    swagger.add_get("/other/{room}", kind(join))
    async with serving(app) as served:
        assert await documented(served) == {"/rooms/{room}": "Joins a room", "/other/{room}": "Joins a room"}
        assert await said(served, "/rooms/1") == "welcome to 1"
        assert await said(served, "/other/2") == "welcome to 2"
        assert (await served.ask("/rooms/1", upgrade=False)).status == 426
    assert (route.name, app.router["room"].canonical) == ("room", "/rooms/{room}")


# ---- pytest-aiohttp -----------------------------------------------------------------------


@pytest.fixture
async def client(aiohttp_client: Any) -> TestClient[web.Request, web.Application]:
    app = application()
    chat = rawws.websocket("/chat", echo, extensions=[rawws.PerMessageDeflate()])
    app.add_routes([chat, rawws.websocket_raw("/raw", echo), web.get("/chat", page)])
    return await aiohttp_client(app)


@pytest.fixture
async def open_socket(client: TestClient[web.Request, web.Application]) -> ClientWebSocketResponse:
    """A WebSocket that a test may leave open."""
    return await client.ws_connect("/chat")


@pytest.mark.parametrize("path", ["/chat", "/raw"])
async def test_the_fixture_of_pytest_aiohttp(client: TestClient[web.Request, web.Application], path: str) -> None:
    async with client.ws_connect(path, compress=15) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=10) == "hello"
        assert socket.compress == (15 if path == "/chat" else 0)
        await socket.close(code=4001)
    assert socket.close_code == 4001
    with pytest.raises(WSServerHandshakeError):
        await client.ws_connect(path, origin=ELSEWHERE)


async def test_a_socket_that_is_left_open(open_socket: ClientWebSocketResponse) -> None:
    await open_socket.send_str("hello")
    message = await open_socket.receive(timeout=10)
    assert (message.type, message.data) == (WSMsgType.TEXT, "hello")
