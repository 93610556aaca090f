"""``WebSocketUpgrade`` as a response object: what it says, what it checks, how it refuses."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame
from aiohttp_rawws.extensions.deflate import PerMessageDeflate
from aiohttp_rawws.session.memory import MemoryTransport
from aiohttp_rawws.web import handshake
from aiohttp_rawws.web.refusal import refusal

from ..tools import peers
from ..tools.peers import TEXT, Answer, close_frame, frame, serving

Session = rawws.WebSocketServerSession


async def handle(session: Session) -> None:
    await session.send(f"{session.protocol}")
    await session.receive()


def mocked(headers: dict[str, str] | None = None) -> web.Request:
    return make_mocked_request("GET", "/chat", {**peers.UPGRADE, **(headers or {})})


# ---- the object ---------------------------------------------------------------------------


async def test_what_it_says_before_it_is_sent() -> None:
    request = mocked()
    upgrade = rawws.WebSocketUpgrade(request, "chat", True, handle=handle)
    assert isinstance(upgrade, web.StreamResponse)
    assert upgrade.request is request
    assert upgrade.protocol == "chat"
    assert upgrade.install_extensions is True
    assert upgrade.handle is handle
    assert (upgrade.status, upgrade.reason, upgrade.prepared) == (101, "Switching Protocols", False)
    assert upgrade.content_length is None
    assert upgrade.trailers() is None  # type: ignore[func-returns-value]
    assert upgrade.session is None
    assert upgrade.headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": peers.ACCEPT,
        "Sec-WebSocket-Protocol": "chat",
    }


async def test_defaults() -> None:
    upgrade = rawws.WebSocketUpgrade(mocked(), handle=handle)
    assert upgrade.protocol is None
    assert upgrade.install_extensions is False
    assert "Sec-WebSocket-Protocol" not in upgrade.headers
    assert upgrade.options == rawws.WebSocketOptions()


async def test_state_of_its_own() -> None:
    upgrade = rawws.WebSocketUpgrade(mocked(), handle=handle)
    key: Any = web.ResponseKey("user", str) if hasattr(web, "ResponseKey") else "user"
    upgrade[key] = "anna"
    assert upgrade[key] == "anna"
    assert len(upgrade) == 1


async def test_no_private_name_is_shared_with_aiohttp() -> None:
    upgrade = rawws.WebSocketUpgrade(mocked(), handle=handle)
    ours = {name for name in {**vars(upgrade), **vars(rawws.WebSocketUpgrade)} if not name.endswith("__")}
    base = web.StreamResponse()
    private = {name for name in {*vars(base), *dir(web.Response)} if name.startswith("_")}
    assert not {name for name in ours - set(vars(base)) if name in private} - {"_abc_impl"}


async def test_content_is_refused() -> None:
    upgrade = rawws.WebSocketUpgrade(mocked(), handle=handle)
    upgrade.content_length = None
    with pytest.raises(RuntimeError, match="no content"):
        upgrade.content_length = 5
    upgrade.enable_compression()
    upgrade.enable_chunked_encoding()
    assert (upgrade.compression, upgrade.chunked) == (False, False)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_frame_sise": 1}, TypeError),
        ({"max_frame_size": 0}, ValueError),
        ({"shutdown_code": 1012}, TypeError),
        ({"protocol": "a b"}, ValueError),
        ({"protocol": "a", "protocols": ["b"]}, TypeError),
        ({"protocol": "a", "answer": rawws.Answer()}, TypeError),
        ({"protocols": ["a"], "answer": rawws.Answer()}, TypeError),
        ({"install_extensions": True, "answer": rawws.Answer()}, TypeError),
        ({"answer": "a"}, TypeError),
        ({"handle": None}, TypeError),
    ],
    ids=str,
)
async def test_mistakes(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        rawws.WebSocketUpgrade(mocked(), **{"handle": handle, **options})


# ---- an answer that somebody else has chosen -----------------------------------------------


LINES = ("permessage-deflate; server_max_window_bits=9", "x-other")


async def test_an_answer_is_sent_as_it_is() -> None:
    """Whatever the client has offered, and the options of the server say."""

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = rawws.Answer(request.query.get("protocol"), LINES)
        upgrade = rawws.WebSocketUpgrade(
            request, handle=tell, answer=answer, extensions=[PerMessageDeflate()], before_upgrade=lambda _: {"X-A": "1"}
        )
        assert upgrade.protocol == answer.protocol
        return await upgrade.run()

    async def tell(session: Session) -> None:
        await session.send(f"{session.protocol} {session.negotiated_extensions}")
        await session.receive()

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(app) as served:
        for query, chosen in {"?protocol=b": "b", "": None}.items():
            async with served.peer() as peer:
                answer = await peer.open(f"/{query}", {"Sec-WebSocket-Protocol": "a, b"})
                assert answer.headers.getall("Sec-WebSocket-Extensions") == list(LINES)
                assert answer.headers.get("Sec-WebSocket-Protocol") == chosen
                assert answer.headers["X-A"] == "1"
                assert await peer.frame() == (TEXT, f"{chosen} ()".encode())
                await peer.send(close_frame())


async def test_an_answer_may_be_set_until_it_is_sent() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=handle)
        assert await upgrade.check() is None
        upgrade.answer = rawws.Answer("late", "x-line")
        await upgrade.prepare(request)
        assert upgrade.answer == rawws.Answer("late", ["x-line"])
        with pytest.raises(RuntimeError, match="sent already"):
            upgrade.answer = None
        return upgrade

    app = web.Application()
    app.router.add_get("/", handler)
    async with serving(app) as served, served.peer() as peer:
        answer = await peer.open("/")
        assert (answer.headers["Sec-WebSocket-Protocol"], answer.headers["Sec-WebSocket-Extensions"]) == (
            "late",
            "x-line",
        )
        assert await peer.frame() == (TEXT, b"late")
        await peer.send(close_frame())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("a b",), ValueError),
        (("",), ValueError),
        ((5,), TypeError),
        ((None, "x\r\nSet-Cookie: a=1"), ValueError),
        ((None, ["x", "y\n"]), ValueError),
        ((None, b"x"), TypeError),
        ((None, [b"x"]), TypeError),
        ((None, 5), TypeError),
    ],
    ids=str,
)
def test_mistakes_in_an_answer(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        rawws.Answer(*arguments)


# ---- extensions ---------------------------------------------------------------------------


@pytest.mark.parametrize("install", [True, False])
async def test_negotiated_extensions_are_not_applied(install: bool) -> None:
    async def tell(session: Session) -> None:
        received = await session.receive()
        assert isinstance(received, Frame)
        names = [extension.name for extension in session.negotiated_extensions]
        await session.send(f"{names} {session.extensions} {received.rsv1} {received.payload!r}")
        await session.receive()

    app = web.Application()
    rawws.setup(app, extensions=[PerMessageDeflate()])
    app.add_routes([rawws.websocket_raw("/", tell, negotiate_extensions=install)])
    async with serving(app) as served:
        async with served.peer() as peer:
            answer = await peer.open("/", {"Sec-WebSocket-Extensions": "x-unknown, permessage-deflate"})
            assert answer.headers.get("Sec-WebSocket-Extensions", "").startswith("permessage-deflate") is install
            await peer.send(frame(0x40 | TEXT, b"as it is"))
            opcode, payload = await peer.frame()
            names = ["permessage-deflate"] if install else []
            assert (opcode, payload.decode()) == (TEXT, f"{names} () True b'as it is'")
            await peer.send(close_frame())
        async with served.peer() as peer:
            answer = await peer.open("/")
            assert "Sec-WebSocket-Extensions" not in answer.headers
        if install:
            assert (await served.ask("/", {"Sec-WebSocket-Extensions": "permessage-deflate; =1"})).status == 400


# ---- any transport ------------------------------------------------------------------------


async def test_upgrade_over_any_transport() -> None:
    async def greet(session: Session) -> None:
        await session.send(f"hello {session.request.path}")
        received = await session.receive()
        await session.send(received)

    upgrade = rawws.WebSocketUpgrade(mocked(), handle=greet)
    ours, theirs = MemoryTransport.pair()
    client = rawws.WebSocketSession(theirs, server=False)
    client.start()
    task = upgrade.upgrade(ours, early=[frame(TEXT, b"ear"), frame(TEXT, b"ly")])
    assert isinstance(task, asyncio.Task)
    assert await client.receive() == Frame.text("hello /chat")
    assert await client.receive() == Frame.text("ear")
    assert [received async for received in client] == []
    await client.end()
    await asyncio.wait_for(task, 5)


async def test_upgrade_over_streams() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(rawws.WebSocketUpgrade(mocked(), handle=handle).upgrade(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    peer = peers.Peer(reader, writer)
    assert await peer.frame() == (TEXT, b"None")
    await peer.send(close_frame())
    assert await peer.read_to_end() == b""
    await peer.close()
    await asyncio.wait_for(tasks[0], 5)
    server.close()
    await server.wait_closed()


async def test_cancelling_the_task_aborts_the_session() -> None:
    ours, theirs = MemoryTransport.pair()
    client = rawws.WebSocketSession(theirs, server=False)
    client.start()
    task = rawws.WebSocketUpgrade(mocked(), handle=handle).upgrade(ours)
    assert await client.receive() == Frame.text("None")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(rawws.ConnectionLost):
        await client.receive()


# ---- refusals, in every way the response can be used --------------------------------------


def decorated(**options: Any) -> web.Application:
    app = web.Application()
    rawws.setup(app)
    app.router.add_get("/", rawws.websocket_raw(handle, **options))
    return app


def routed(**options: Any) -> web.Application:
    app = web.Application()
    app.add_routes([rawws.websocket_raw("/", handle, **options)])
    return app


def returned(**options: Any) -> web.Application:
    app = bare(**options)
    rawws.setup(app)
    return app


def bare(**options: Any) -> web.Application:
    async def handler(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=handle, **options)

    app = web.Application()
    app.router.add_route("*", "/", handler)
    return app


def view(**options: Any) -> web.Application:
    class View(web.View):
        async def get(self) -> web.StreamResponse:
            return rawws.WebSocketUpgrade(self.request, handle=handle, **options)

    app = web.Application()
    rawws.setup(app)
    app.router.add_view("/", View)
    return app


def preparing(**options: Any) -> web.Application:
    async def handler(request: web.Request) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=handle, **options)
        await upgrade.prepare(request)
        return upgrade

    app = web.Application()
    app.router.add_get("/", handler)
    return app


def low_level(**options: Any) -> web.Server:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=handle, **options)

    return web.Server(handler)


USES: list[Callable[..., Any]] = [decorated, routed, returned, bare, view, preparing, low_level]


@pytest.fixture(params=USES, ids=lambda use: use.__name__)
def use(request: pytest.FixtureRequest) -> Any:
    return request.param


async def answered(app: Any, headers: Mapping[str, str | None] | None = None, **how: Any) -> Answer:
    async with serving(app) as served:
        answer = await served.ask("/", headers, **how)
        await served.idle()
    return answer


async def test_refused_handshakes(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(use()) as served:
        refused: list[tuple[dict[str, str | None], int, str]] = [
            ({"Sec-WebSocket-Version": "8"}, 426, "version 13"),
            ({"Sec-WebSocket-Key": "x"}, 400, "Sec-WebSocket-Key"),
            ({"Sec-WebSocket-Key": None}, 400, "missing"),
            ({"Connection": "keep-alive"}, 400, "Connection"),
            ({"Upgrade": None}, 426, "upgrade"),
            ({"Origin": "http://evil.example"}, 403, "origin"),
            ({"Sec-WebSocket-Protocol": "a/b"}, 400, "a/b"),
        ]
        for headers, status, text in refused:
            answer = await served.ask("/", headers)
            assert (answer.status, text in answer.text) == (status, True), answer
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert (await served.ask("/", {"Sec-WebSocket-Version": "8"})).headers["Sec-WebSocket-Version"] == "13"
        bodies = [({"Content-Length": "3"}, b"abc"), ({"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n")]
        for fields, body in [] if peers.LOSES_TAILS else bodies:
            answer = await served.ask("/", fields, body=body)
            assert (answer.status, "body" in answer.text) == (400, True)
        await served.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_refused_handshake_closes_the_connection(use: Any) -> None:
    """One answer, whatever stands behind it: frames may well read as a request."""
    async with serving(use()) as served, served.peer() as peer:
        behind = frame(TEXT, peers.request_bytes("/", upgrade=False), mask=bytes(4)) + peers.request_bytes("/")
        await peer.send(peers.request_bytes("/", {"Sec-WebSocket-Version": "8"}), behind)
        assert "close" in (await peer.answer()).headers["Connection"]
        assert await peer.read_to_end() == b""


def refuses_with_a_response(request: web.BaseRequest, *rest: object) -> web.Response:
    return web.Response(status=403, text="no")


def refuses_and_keeps_alive(request: web.BaseRequest) -> web.Response:
    return web.Response(status=403, text="no", headers={"Connection": "keep-alive"})


def raises_a_refusal(*args: object) -> None:
    raise web.HTTPForbidden(text="no")


def fails(*args: object) -> None:
    raise ZeroDivisionError("no")


REFUSALS: dict[str, tuple[dict[str, Any], int]] = {
    "returned": ({"before_upgrade": refuses_with_a_response}, 403),
    "returned-keep-alive": ({"before_upgrade": refuses_and_keeps_alive}, 403),
    "raised": ({"before_upgrade": raises_a_refusal}, 403),
    "failed": ({"before_upgrade": fails}, 500),
    "origins": ({"origins": raises_a_refusal}, 403),
    "protocols": ({"protocols": raises_a_refusal}, 403),
    "protocol": ({"protocol": "chat"}, 400),
    "not-listed": ({"origins": ["http://there.example"]}, 403),
}


def with_admin(app: Any, reached: list[str]) -> Any:
    """``app``, and everything else is served by a page; on a web.Server, which has no routes, by its handler."""

    async def admin(request: web.BaseRequest) -> web.StreamResponse:
        reached.append(request.path)
        return web.Response(text="secret")

    if isinstance(app, web.Application):
        app.router.add_get("/admin", admin)
        return app
    assert app.request_handler is not None
    upgrade = app.request_handler

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return await (admin if request.path == "/admin" else upgrade)(request)

    return web.Server(handler)


async def refused_in_one_segment(app: Any, status: int) -> Answer:
    """Send a handshake and a request behind it; only the first is answered, and then the server hangs up."""
    reached: list[str] = []
    async with serving(with_admin(app, reached)) as served, served.peer() as peer:
        handshake = peers.request_bytes("/", {"Origin": "http://here.example"})
        await peer.send(handshake + peers.request_bytes("/admin", upgrade=False))
        answer = await peer.answer()
        assert answer.status == status
        assert await peer.read_to_end() == b""
        await served.idle()
    assert reached == []
    return answer


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_came_behind_a_refused_handshake_is_not_read(use: Any, name: str) -> None:
    options, status = REFUSALS[name]
    answer = await refused_in_one_segment(use(**{"origins": None, **options}), status)
    assert "close" in handshake.elements(answer.headers, "Connection")


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("use", [decorated, routed, returned, view], ids=lambda use: use.__name__)
async def test_a_middleware_that_answers_in_place_of_the_refusal(use: Any, name: str) -> None:
    @web.middleware
    async def errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as exc:
            return web.json_response({"error": exc.reason}, status=exc.status)
        except ZeroDivisionError:
            return web.json_response({"error": "sorry"}, status=500)
        return response

    options, status = REFUSALS[name]
    app = use(**{"origins": None, **options})
    app.middlewares.append(errors_as_json)
    await refused_in_one_segment(app, status)


async def test_a_request_that_asked_for_no_upgrade_keeps_its_connection(use: Any) -> None:
    async with serving(use()) as served, served.peer() as peer:
        for _ in range(2):
            await peer.send(peers.request_bytes("/", upgrade=False))
            assert (await peer.answer()).status == 426


async def test_a_required_protocol(use: Any) -> None:
    async with serving(use(protocol="chat")) as served:
        answer = await served.ask("/", {"Sec-WebSocket-Protocol": "Chat, x"})
        assert (answer.status, "chat" in answer.text, "Chat, x" in answer.text) == (400, True, True)
        async with served.peer() as peer:
            answer = await peer.open("/", {"Sec-WebSocket-Protocol": "x, chat"})
            assert answer.headers.getall("Sec-WebSocket-Protocol") == ["chat"]
            assert await peer.frame() == (TEXT, b"chat")
            await peer.send(close_frame())


async def test_a_chosen_protocol(use: Any) -> None:
    async def last(request: web.BaseRequest, offered: tuple[str, ...]) -> str | None:
        await asyncio.sleep(0)
        return offered[-1] if offered and request.path == "/" else None

    for protocols in (last, lambda request, offered: offered[-1] if offered else None):
        async with serving(use(protocols=protocols)) as served:
            for offered, chosen in (("a, b", "b"), (None, None)):
                async with served.peer() as peer:
                    answer = await peer.open("/", {"Sec-WebSocket-Protocol": offered})
                    assert answer.headers.get("Sec-WebSocket-Protocol") == chosen
                    assert await peer.frame() == (TEXT, str(chosen).encode())
                    await peer.send(close_frame())


async def test_before_upgrade_adds_headers(use: Any) -> None:
    async def before(request: web.BaseRequest) -> dict[str, str]:
        return {"X-Server": request.method, "Set-Cookie": "a=b"}

    hooks: list[Any] = [
        before,
        lambda request: {"X-Server": "GET", "Set-Cookie": "a=b"},
        lambda request: [("X-Server", "GET"), ("Set-Cookie", "a=b")],
        lambda request: iter([("X-Server", "GET"), ("Set-Cookie", "a=b")]),
        lambda request: None,
    ]
    for hook in hooks:
        async with serving(use(before_upgrade=hook)) as served, served.peer() as peer:
            answer = await peer.open("/")
            if hook is not hooks[-1]:
                assert (answer.headers["X-Server"], answer.headers["Set-Cookie"]) == ("GET", "a=b")
            assert await peer.frame() == (TEXT, b"None")
            await peer.send(close_frame())


async def test_before_upgrade_repeats_a_field(use: Any) -> None:
    def cookies(request: web.BaseRequest) -> list[tuple[str, str]]:
        return [("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]

    async with serving(use(before_upgrade=cookies)) as served, served.peer() as peer:
        assert (await peer.open("/")).headers.getall("Set-Cookie") == ["a=b", "c=d"]
        await peer.frame()
        await peer.send(close_frame())


async def test_before_upgrade_refuses(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def returns(request: web.BaseRequest) -> web.Response:
        return web.json_response({"error": "who are you?"}, status=401, headers={"WWW-Authenticate": "Basic"})

    def raises(request: web.BaseRequest) -> None:
        raise web.HTTPUnauthorized(text='{"error": "who are you?"}', headers={"WWW-Authenticate": "Basic"})

    for hook in (returns, raises):
        answer = await answered(use(before_upgrade=hook))
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Basic")
        assert answer.text == '{"error": "who are you?"}'
        assert "Sec-WebSocket-Accept" not in answer.headers
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_before_upgrade_refuses_with_a_redirect(use: Any) -> None:
    def elsewhere(request: web.BaseRequest) -> None:
        raise web.HTTPFound("/login")

    answer = await answered(use(before_upgrade=elsewhere))
    assert (answer.status, answer.headers["Location"]) == (302, "/login")


@pytest.mark.parametrize(
    "hook",
    [
        lambda request: {"sec-websocket-accept": "x"},
        lambda request: {"Connection": "close"},
        lambda request: 5,
        lambda request: "X-Server: GET",
        lambda request: [("X-Server",)],
        lambda request: [("Connection", "close")],
        lambda request: {"X-Server": "GET\r\nConnection: close"},
        lambda request: {"X-Server": 5},
        lambda request: {"X Server": "GET"},
        lambda request: 1 / 0,
    ],
)
async def test_a_hook_that_fails(use: Any, hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert (await answered(use(before_upgrade=hook))).status == 500
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert error.exc_info
    assert error.exc_info[0] in (ValueError, TypeError, ZeroDivisionError)


async def test_a_choice_that_was_not_offered(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = use(protocols=lambda request, offered: "mine")
    assert (await answered(app, {"Sec-WebSocket-Protocol": "yours"})).status == 500
    assert "did not offer" in caplog.text


async def test_origins(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    async with serving(use()) as served:
        same = f"http://127.0.0.1:{served.port}"
        async with served.peer() as peer:
            await peer.open("/", {"Origin": same, "Host": same[7:]})
            await peer.frame()
            await peer.send(close_frame())
        assert (await served.ask("/", {"Origin": same})).status == 403  # the Host names another port
        assert (await served.ask("/", {"Origin": "null"})).status == 403
    refusals = [record for record in caplog.records if record.name == "aiohttp_rawws" and "origin" in record.msg]
    assert len(refusals) == 2  # test_refused_origins.py has their levels
    async with serving(use(origins=None)) as served, served.peer() as peer:
        await peer.open("/", {"Origin": "null"})
        await peer.frame()
        await peer.send(close_frame())


async def test_repeated_origins_are_refused() -> None:
    async with serving(decorated(origins=["http://a", "http://b"])) as served:
        assert (await served.ask("/", {"Origin": "http://a\r\nOrigin: http://b"})).status == 403


async def test_headers_of_middlewares_reach_the_refusal() -> None:
    @web.middleware
    async def mark(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Marked"] = "yes"
        response.set_cookie("a", "b")
        return response

    app = returned()
    app.middlewares.append(mark)
    answer = await answered(app, {"Sec-WebSocket-Version": "8"})
    assert (answer.status, answer.headers["X-Marked"]) == (426, "yes")
    assert answer.headers["Set-Cookie"].startswith("a=b")
    assert answer.headers["Connection"] == "Upgrade, close"


async def test_refusals_in_the_access_log(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    async with serving(use()) as served:
        answer = await served.ask("/", {"Sec-WebSocket-Version": "8"})
        await served.idle()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]
    assert '" 426 ' in line
    assert answer.status == 426


async def test_post_is_refused(use: Any) -> None:
    async with serving(use()) as served:
        answer = await served.ask("/", upgrade=False, method="POST")
        assert (answer.status, "GET" in answer.headers["Allow"]) == (405, True)


@pytest.mark.parametrize("size", [15, 16, 17, 32])
async def test_keys_of_other_lengths(use: Any, size: int) -> None:
    """A charging station sends 32 bytes: refused, unless the route is lenient."""
    key = base64.b64encode(bytes(size)).decode()
    if size != 16:
        answer = await answered(use(), {"Sec-WebSocket-Key": key})
        assert (answer.status, f"{size} bytes" in answer.text) == (400, True)
    async with serving(use(strict=False)) as served, served.peer() as peer:
        await peer.send(peers.request_bytes("/", {"Sec-WebSocket-Key": key}))
        answer = await peer.answer()
        assert (answer.status, answer.headers["Sec-WebSocket-Accept"]) == (101, handshake.accept_key(key))
        assert await peer.frame() == (TEXT, b"None")
        await peer.send(close_frame())


# ---- errors of the functions in the options -----------------------------------------------


HOOKS = ["before_upgrade", "origins", "protocols"]


def raises_status(status: int) -> Callable[..., Any]:
    async def function(*args: object) -> Any:
        raise rawws.HandshakeError(status, "not like that", {"X-Why": "because", "Retry-After": "5"})

    return function


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 418, 422, 426, 451, 499, 500, 503, 507, 599])
async def test_a_handshake_error_of_any_status(hook: str, status: int) -> None:
    answer = await refused_in_one_segment(routed(**{"origins": None, hook: raises_status(status)}), status)
    assert answer.text == "not like that\n"
    assert (answer.headers["X-Why"], answer.headers["Retry-After"]) == ("because", "5")
    assert "close" in handshake.elements(answer.headers, "Connection")
    assert answer.headers.get("Allow") == ("GET" if status == 405 else None)


async def test_a_handshake_error_in_every_way(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    for status in (401, 418):
        await refused_in_one_segment(use(origins=None, before_upgrade=raises_status(status)), status)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_every_status_makes_a_response() -> None:
    for status in range(400, 600):
        response = refusal(mocked(), rawws.HandshakeError(status, "no", {"Content-Type": "text/x", "X-Why": "so"}))
        assert isinstance(response, web.HTTPException)
        assert (response.status, response.text, response.headers["X-Why"]) == (status, "no\n", "so")
        assert response.headers["Content-Type"].startswith("text/x")


def test_allow_may_be_given() -> None:
    response = refusal(mocked(), rawws.HandshakeError(405, "no", {"allow": "POST"}))
    assert response.headers.getall("Allow") == ["POST"]


# ---- a check that was interrupted ---------------------------------------------------------


class Interrupted(BaseException):
    """Neither an Exception nor a cancellation."""


def hooked(hook: str, function: Callable[..., Any]) -> web.Application:
    """The handler checks twice, catches what the first check raises, and returns the upgrade."""

    async def handler(request: web.Request) -> web.StreamResponse:
        options: dict[str, Any] = {"origins": None, hook: function}
        upgrade = rawws.WebSocketUpgrade(request, handle=handle, **options)
        try:
            await asyncio.wait_for(upgrade.check(), 0.05)
        except (Interrupted, asyncio.TimeoutError, asyncio.CancelledError, LookupError):
            pass
        else:
            raise AssertionError("the check was not interrupted")
        return upgrade

    app = web.Application()
    rawws.setup(app)
    app.router.add_get("/", handler)
    return app


def interrupts_once(error: type[BaseException] | None, then: Callable[[], Any]) -> Callable[..., Any]:
    """A function of the options that fails, or takes too long if ``error`` is None, and does better the next time."""
    calls: list[object] = []

    async def function(*args: object) -> Any:
        calls.append(args)
        if len(calls) > 1:
            return then()
        if error is not None:
            raise error
        await asyncio.sleep(60)

    return function


def refuse() -> None:
    raise web.HTTPForbidden(text="no")


@pytest.mark.parametrize("error", [None, asyncio.CancelledError, LookupError], ids=str)
@pytest.mark.parametrize("hook", HOOKS)
async def test_an_interrupted_check_is_made_again(hook: str, error: type[BaseException] | None) -> None:
    fields = {"Origin": "http://a", "Sec-WebSocket-Protocol": "chat"}
    answer = await answered(hooked(hook, interrupts_once(error, refuse)), fields)
    assert answer.status == 403
    accepted = {"before_upgrade": {"X-Second": "yes"}, "origins": True, "protocols": "chat"}[hook]
    async with serving(hooked(hook, interrupts_once(error, lambda: accepted))) as served, served.peer() as peer:
        answer = await peer.open("/", fields)
        assert answer.headers.getall("X-Second", []) == (["yes"] if hook == "before_upgrade" else [])
        assert await peer.frame() == (TEXT, b"chat" if hook == "protocols" else b"None")
        await peer.send(close_frame())


@pytest.mark.parametrize("hook", HOOKS)
async def test_a_base_exception_does_not_count_as_a_check(hook: str) -> None:
    request = mocked({"Origin": "http://a"})
    function = interrupts_once(Interrupted, refuse)
    options: dict[str, Any] = {"origins": None, hook: function}
    upgrade = rawws.WebSocketUpgrade(request, handle=handle, **options)
    with pytest.raises(Interrupted):
        await upgrade.check()
    refused = await upgrade.check()
    assert refused is not None
    assert refused.status == 403
    assert await upgrade.check() is refused


async def test_frames_behind_a_cancelled_check_are_not_lost() -> None:
    sent = asyncio.Event()

    async def check_and_wait(request: web.Request) -> web.StreamResponse:
        function = interrupts_once(None, lambda: None)
        upgrade = rawws.WebSocketUpgrade(request, handle=greet, before_upgrade=function)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(upgrade.check(), 0.05)
        interrupted.set()
        await sent.wait()
        await asyncio.sleep(0.05)
        return upgrade

    async def greet(session: Session) -> None:
        for _ in range(2):
            received = await session.receive()
            await session.send(received)

    interrupted = asyncio.Event()
    app = web.Application()
    rawws.setup(app)
    app.router.add_get("/", check_and_wait)
    async with serving(app) as served, served.peer() as peer:
        await peer.send(peers.request_bytes("/"), frame(TEXT, b"one")[:3])
        await asyncio.wait_for(interrupted.wait(), 5)
        await peer.send(frame(TEXT, b"one")[3:], frame(TEXT, b"two"))
        sent.set()
        assert (await peer.answer()).status == 101
        assert await peer.frame() == (TEXT, b"one")
        assert await peer.frame() == (TEXT, b"two")


async def test_two_checks_at_a_time() -> None:
    """Both wait for the same decision; neither is passed over because the other began first."""
    decided = asyncio.Event()
    calls = []

    async def decide(request: web.BaseRequest) -> dict[str, str]:
        calls.append(request)
        await decided.wait()
        return {"X-Decided": "yes"}

    upgrade = rawws.WebSocketUpgrade(mocked(), handle=handle, before_upgrade=decide)
    checks = [asyncio.create_task(upgrade.check()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(check.done() for check in checks)
    with pytest.raises(RuntimeError, match="checked"):
        upgrade.options = rawws.WebSocketOptions()
    decided.set()
    assert await asyncio.gather(*checks) == [None, None]
    assert upgrade.headers.getall("X-Decided") == ["yes"]


@pytest.mark.parametrize("managed", [False, True])
async def test_the_session_has_the_fields_of_the_101(managed: bool) -> None:
    """With those of hooks and of ``on_response_prepare``."""
    got: list[Mapping[str, str] | None] = []

    async def look(session: rawws.ServerSession) -> None:
        got.append(session.response_headers)

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Signal"] = "b"

    app = web.Application()
    app.on_response_prepare.append(on_prepare)
    rawws.setup(app, before_upgrade=lambda request: {"X-Hook": "a"})
    route: Any = rawws.websocket if managed else rawws.websocket_raw
    app.add_routes([route("/", look)])
    async with serving(app) as served, served.peer() as peer:
        answer = await peer.open()
        await peer.read_to_end()
    (fields,) = got
    assert fields is not None
    assert dict(fields) == dict(answer.headers)
    assert (fields["X-Hook"], fields["X-Signal"]) == ("a", "b")
