"""Routes: what a WebSocket route matches, what it leaves to others, and what is answered when nobody serves
it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws

from ..tools import peers
from ..tools.peers import CLOSE, TEXT, Served, serving

Handle = Callable[[rawws.WebSocketServerSession], Any]


def saying(text: str) -> Handle:
    async def handle(session: rawws.WebSocketServerSession) -> None:
        await session.send(text)
        await session.receive()

    return handle


def page(text: str = "page") -> Any:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=text)

    return handler


def application(*routes: Any, plugin: bool = True, **options: Any) -> web.Application:
    app = web.Application()
    if plugin:
        rawws.setup(app, **options)
    app.add_routes(routes)
    return app


async def said(served: Served, path: str, protocols: str | None = None, **more: str | None) -> str:
    """The message of the socket at ``path``."""
    async with served.peer() as peer:
        answer = await peer.open(path, {"Sec-WebSocket-Protocol": protocols, **more})
        assert answer.headers.get("Sec-WebSocket-Protocol") in (None, *(protocols or "").split(", "))
        opcode, payload = await peer.frame()
        assert opcode == TEXT
        await peer.send(peers.close_frame())
        assert await peer.read_to_end() == b""
        return payload.decode()


# ---- a page and a socket ------------------------------------------------------------------


@pytest.mark.parametrize("page_first", [True, False])
@pytest.mark.parametrize("path", ["/chat", "/", "/chat/{room}", r"/chat/{room:\d+}", "/a/{tail:.*}"])
async def test_a_page_and_a_socket_share_a_path(path: str, page_first: bool) -> None:
    routes = [web.get(path, page()), rawws.websocket_raw(path, saying("socket"))]
    at = {"/chat/{room}": "/chat/1", r"/chat/{room:\d+}": "/chat/1", "/a/{tail:.*}": "/a/b/c"}.get(path, path)
    async with serving(application(*(routes if page_first else routes[::-1]))) as served:
        assert (await served.ask(at, upgrade=False)).text == "page"
        assert (await served.ask(at, upgrade=False, method="HEAD")).status == 200
        assert await said(served, at) == "socket"
        # HTTP/1.0 has no upgrade: the page's
        assert (await served.ask(at, version="1.0")).text == "page"


@pytest.mark.parametrize("page_first", [True, False])
async def test_names_of_variables_do_not_matter(page_first: bool) -> None:
    routes = [web.get("/chat/{name}", page()), rawws.websocket_raw("/chat/{room}", saying("socket"))]
    async with serving(application(*(routes if page_first else routes[::-1]))) as served:
        assert (await served.ask("/chat/1", upgrade=False)).text == "page"
        assert await said(served, "/chat/1") == "socket"


@pytest.mark.parametrize("page_first", [True, False])
async def test_a_wider_page_gets_what_the_socket_leaves(page_first: bool) -> None:
    routes = [web.get("/{anything:.*}", page()), rawws.websocket_raw("/chat", saying("socket"))]
    async with serving(application(*(routes if page_first else routes[::-1]))) as served:
        assert (await served.ask("/chat", upgrade=False)).text == "page"
        assert await said(served, "/chat") == "socket"


async def test_one_table_keeps_one_order() -> None:
    routes = rawws.RouteTableDef()

    @routes.get("/before")
    async def before(request: web.Request) -> web.Response:
        return web.Response(text="before")

    @routes.websocket_raw("/chat", name="chat")
    async def chat(session: rawws.WebSocketServerSession) -> None:
        await session.send(session.request.path)
        await session.receive()

    @routes.get("/chat")
    async def the_page(request: web.Request) -> web.Response:
        return web.Response(text="page")

    @routes.view("/view")
    class View(web.View):
        async def get(self) -> web.Response:
            return web.Response(text="view")

    routes.static("/tests", "tests")
    assert len(routes) == 5
    assert [type(route).__name__ for route in routes] == [
        "RouteDef",
        "WebSocketRouteDef",
        "RouteDef",
        "RouteDef",
        "StaticDef",
    ]
    assert routes[1] in routes
    assert len(routes[:2]) == 2
    assert "count=5" in repr(routes)
    assert chat.__name__ == "chat"  # as it was, to be called or used again

    app = application(*routes)
    assert str(app.router["chat"].url_for()) == "/chat"
    async with serving(app) as served:
        for path in ("before", "view"):
            assert (await served.ask(f"/{path}", upgrade=False)).text == path
        assert (await served.ask("/chat", upgrade=False)).text == "page"
        assert (await served.ask("/tests/conftest.py", upgrade=False)).status == 200
        assert await said(served, "/chat") == "/chat"


async def test_add_routes_returns_the_routes() -> None:
    app = web.Application()
    (route,) = app.add_routes([rawws.websocket_raw("/chat/{room}", saying("x"), name="chat")])
    assert route.method == "GET"
    assert route.name == "chat"
    assert str(route.url_for(room="a b")) == "/chat/a%20b"
    assert route.resource is app.router["chat"]
    assert route.resource.canonical == "/chat/{room}"
    assert route.get_info()["formatter"] == "/chat/{room}"
    assert list(app.router.routes()) == [route]
    assert len(app.router["chat"]) == 1


async def test_match_info_reaches_the_handler() -> None:
    async def handle(session: rawws.WebSocketServerSession) -> None:
        await session.send(session.request.match_info["room"])
        await session.receive()

    async with serving(application(rawws.websocket_raw(r"/chat/{room:[a-z]+}/ws", handle))) as served:
        assert await said(served, "/chat/blue/ws") == "blue"
        assert (await served.ask("/chat/7/ws")).status == 404


# ---- subprotocols -------------------------------------------------------------------------

OFFERS = [
    ("v1", "v1"),
    ("v2", "v2"),
    ("v2, v1", "v1"),  # the first route registered
    ("V1", "any"),
    ("x, v2", "v2"),
    (None, "any"),
]


@pytest.mark.parametrize("order", ["v1 v2 any page", "page any v1 v2", "any v1 page v2"])
async def test_sockets_by_subprotocol(order: str) -> None:
    definitions = {
        "v1": rawws.websocket_raw("/chat", saying("v1"), protocol="v1"),
        "v2": rawws.websocket_raw("/chat", saying("v2"), protocol="v2"),
        "any": rawws.websocket_raw("/chat", saying("any")),
        "page": web.get("/chat", page()),
    }
    async with serving(application(*(definitions[name] for name in order.split()))) as served:
        for offered, expected in OFFERS:
            assert await said(served, "/chat", offered) == expected, offered
        assert (await served.ask("/chat", upgrade=False)).text == "page"


async def test_a_page_gets_the_upgrade_nobody_else_wants() -> None:
    routes = [rawws.websocket_raw("/chat", saying("v1"), protocol="v1"), web.get("/chat", page())]
    async with serving(application(*routes)) as served:
        assert (await served.ask("/chat", {"Sec-WebSocket-Protocol": "v2"})).text == "page"


async def test_a_choice_in_the_servers_order() -> None:
    async def handle(session: rawws.WebSocketServerSession) -> None:
        await session.send(str(session.protocol))
        await session.receive()

    async with serving(application(rawws.websocket_raw("/", handle, protocols=["b", "a"]))) as served:
        assert await said(served, "/", "a, b") == "b"
        assert await said(served, "/", "a") == "a"
        assert await said(served, "/", "c") == "None"
        assert await said(served, "/") == "None"


# ---- what is answered when nothing matches ------------------------------------------------


async def test_refusals_instead_of_404() -> None:
    routes = [
        rawws.websocket_raw("/chat", saying("x")),
        rawws.websocket_raw("/sub/{room}", saying("x"), protocol="v1"),
        rawws.websocket_raw("/sub/{other}", saying("x"), protocol="v2"),
    ]
    async with serving(application(*routes)) as served:
        answer = await served.ask("/chat", upgrade=False)
        assert answer.status == 426
        assert answer.headers["Upgrade"] == "websocket"
        assert answer.headers["Connection"] == "Upgrade"
        answer = await served.ask("/chat", {"Connection": "keep-alive"})
        assert (answer.status, "Connection" in answer.text) == (400, True)
        answer = await served.ask("/chat", version="1.0")
        assert (answer.status, "HTTP/1.1" in answer.text) == (400, True)
        answer = await served.ask("/sub/1", {"Sec-WebSocket-Protocol": "v3"})
        assert (answer.status, "v1, v2" in answer.text, "v3" in answer.text) == (400, True, True)
        assert (await served.ask("/sub/1")).status == 400
        assert (await served.ask("/sub/1", upgrade=False)).status == 426
        assert (await served.ask("/nowhere")).status == 404
        assert (await served.ask("/nowhere", upgrade=False)).status == 404
        for method in ("POST", "HEAD", "OPTIONS"):
            answer = await served.ask("/chat", upgrade=False, method=method)
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_other_methods_of_a_shared_path() -> None:
    routes = [rawws.websocket_raw("/chat", saying("x")), web.post("/chat", page())]
    async with serving(application(*routes)) as served:
        assert (await served.ask("/chat", upgrade=False, method="POST")).text == "page"
        assert (await served.ask("/chat", upgrade=False)).status == 426
        assert (await served.ask("/chat", upgrade=False, method="PUT")).headers["Allow"] == "GET,POST"


async def test_a_refused_request_keeps_its_connection() -> None:
    async with (
        serving(application(rawws.websocket_raw("/chat", saying("socket")))) as served,
        served.peer() as peer,
    ):
        await peer.send(peers.request_bytes("/chat", upgrade=False))
        assert (await peer.answer()).status == 426
        await peer.open("/chat")
        assert await peer.frame() == (TEXT, b"socket")


async def test_middlewares_see_the_refusal() -> None:
    seen = []

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as exc:
            seen.append((exc.status, request.match_info.http_exception is exc))
            raise

    app = web.Application(middlewares=[watch])
    app.add_routes([rawws.websocket_raw("/chat", saying("x"))])
    async with serving(app) as served:
        assert (await served.ask("/chat", upgrade=False)).status == 426
        assert (await served.ask("/chat", {"Sec-WebSocket-Version": "8"})).status == 426
    assert seen == [(426, True), (426, False)]


# ---- applications in applications ---------------------------------------------------------


@pytest.mark.parametrize("page_first", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("path", ["/chat", "", "/chat/{room}"])
async def test_nested_applications(path: str, depth: int, page_first: bool) -> None:
    definitions = [
        web.get(path, page()),
        web.get(path + "/other", page("other")),
        rawws.websocket_raw(path, saying("any")),
        rawws.websocket_raw(path, saying("v1"), protocol="v1"),
        web.post(path, page("posted")),
    ]
    inner = web.Application()
    inner.add_routes(definitions if page_first else definitions[::-1])
    prefix = ""
    for level in range(depth):
        outer = web.Application()
        outer.add_subapp(f"/level{level}", inner)
        inner, prefix = outer, f"/level{level}{prefix}"
    rawws.setup(inner)
    at = prefix + path.replace("{room}", "1")
    async with serving(inner) as served:
        assert (await served.ask(at, upgrade=False)).text == "page"
        assert (await served.ask(at + "/other", upgrade=False)).text == "other"
        assert (await served.ask(at, upgrade=False, method="POST")).text == "posted"
        assert await said(served, at) == "any"
        assert await said(served, at, "v1") == "v1"


async def test_refusals_inside_a_mounted_application() -> None:
    inner = application(rawws.websocket_raw("/chat", saying("x")), plugin=False)
    app = application()
    app.add_subapp("/inner", inner)
    async with serving(app) as served:
        assert (await served.ask("/inner/chat", upgrade=False)).status == 426
        assert (await served.ask("/inner/chat", upgrade=False, method="PUT")).status == 405
        assert (await served.ask("/inner/nowhere", upgrade=False)).status == 404


@pytest.mark.parametrize("page_first", [True, False])
async def test_domains(page_first: bool) -> None:
    definitions = [web.get("/chat", page()), rawws.websocket_raw("/chat", saying("inner"))]
    inner = application(*(definitions if page_first else definitions[::-1]), plugin=False)
    app = application(web.get("/outer", page("outer page")))
    app.add_domain("inner.example", inner)
    app.add_routes([rawws.websocket_raw("/outer", saying("outer"))])  # the domain has no place in the index
    async with serving(app) as served:
        assert await said(served, "/outer") == "outer"
        assert (await served.ask("/outer", upgrade=False)).text == "outer page"
        assert await said(served, "/chat", Host="inner.example") == "inner"
        assert (await served.ask("/chat", {"Host": "inner.example"}, upgrade=False)).text == "page"
        assert (await served.ask("/chat")).status == 404


async def test_the_order_of_the_rest_stays() -> None:
    definitions = [
        web.get("/x/{a}/p", page("first")),
        web.get(r"/x/{b:\d+}", page("number")),
        web.get("/x/{c}", page("any")),
        rawws.websocket_raw("/x/{d}", saying("socket")),
        web.get(r"/x/{e:[a-z]+}", page("never")),
    ]
    async with serving(application(*definitions)) as served:
        assert (await served.ask("/x/1", upgrade=False)).text == "number"
        assert (await served.ask("/x/b", upgrade=False)).text == "any"
        assert (await served.ask("/x/b/p", upgrade=False)).text == "first"
        assert await said(served, "/x/1") == "socket"


# ---- without a path -----------------------------------------------------------------------


async def test_without_a_path() -> None:
    routes = rawws.RouteTableDef()

    @routes.get("/options")
    @rawws.websocket_raw(protocol="v1", max_frame_size=100)
    async def with_options(session: rawws.WebSocketServerSession) -> None:
        """Says hello."""
        await session.send(f"{session.protocol} {session.max_frame_size}")
        await session.receive()

    @routes.get("/bare")
    @rawws.websocket_raw
    async def bare(session: rawws.WebSocketServerSession) -> None:
        await session.send("bare")
        await session.receive()

    async def greet(greeting: str, session: rawws.WebSocketServerSession) -> None:
        await session.send(greeting)
        await session.receive()

    assert (with_options.__name__, with_options.__doc__) == ("with_options", "Says hello.")
    app = application(*routes)
    app.router.add_get("/called", rawws.websocket_raw(saying("called")))
    app.router.add_get("/partial", rawws.websocket_raw(functools.partial(greet, "hello")))
    async with serving(app) as served:
        assert await said(served, "/options", "v1") == "v1 100"
        assert await said(served, "/bare") == "bare"
        assert await said(served, "/called") == "called"
        assert await said(served, "/partial") == "hello"
        assert (await served.ask("/options")).status == 400
        assert (await served.ask("/bare", upgrade=False)).status == 426


async def name_of(session: Any) -> None:
    """Says its kind."""
    await session.send(type(session).__name__)
    await session.receive()


async def test_upgrade_handler() -> None:
    raw, managed = "WebSocketServerSession", "DefaultWebSocketServerSession"
    handlers = {
        raw: [
            rawws.upgrade_handler(name_of),
            rawws.upgrade_handler(managed=False)(name_of),
            rawws.upgrade_handler()(name_of),
            rawws.websocket_raw(name_of),
        ],
        managed: [
            rawws.upgrade_handler(name_of, managed=True),
            rawws.upgrade_handler(managed=True)(name_of),
            rawws.websocket(name_of),
        ],
    }
    app = application()
    for kind, made in handlers.items():
        for number, handler in enumerate(made):
            assert (handler.__name__, handler.__doc__) == ("name_of", "Says its kind.")
            app.router.add_get(f"/{kind}/{number}", handler)
    async with serving(app) as served:
        for kind, made in handlers.items():
            for number in range(len(made)):
                async with served.peer() as peer:
                    await peer.open(f"/{kind}/{number}")
                    assert await peer.frame() == (TEXT, kind.encode())
                assert (await served.ask(f"/{kind}/{number}", upgrade=False)).status == 426


@pytest.mark.parametrize("managed", [False, True])
@pytest.mark.parametrize("negotiate", [None, False, True])
async def test_upgrade_handler_negotiates_for_managed_sessions(managed: bool, negotiate: bool | None) -> None:
    make: Any = rawws.upgrade_handler
    handler = make(managed=managed, negotiate_extensions=negotiate, extensions=[rawws.PerMessageDeflate()])(name_of)
    app = application()
    app.router.add_get("/", handler)
    async with serving(app) as served, served.peer() as peer:
        answer = await peer.open("/", {"Sec-WebSocket-Extensions": "permessage-deflate"})
        wanted = managed if negotiate is None else negotiate
        assert ("Sec-WebSocket-Extensions" in answer.headers) is wanted


MADE: dict[str, Callable[[Any], Any]] = {
    "upgrade_handler": lambda handler: rawws.upgrade_handler(handler),
    "websocket": lambda handler: rawws.websocket(handler),
    "websocket_raw": lambda handler: rawws.websocket_raw(handler),
}


@pytest.mark.parametrize("made", MADE)
async def test_an_aiohttp_handler_is_no_function_of_a_session(made: str) -> None:
    """The two are easily confused, since the decorators of a table leave the function as it is."""
    handler = MADE[made](name_of)
    again: list[Callable[[], Any]] = [
        *(functools.partial(make, handler) for make in MADE.values()),
        lambda: rawws.websocket("/", handler),
        lambda: rawws.RouteTableDef().websocket_raw("/")(handler),
    ]
    made_here = r"an aiohttp handler made by upgrade_handler\(\), "
    for call in again:
        with pytest.raises(TypeError, match=rf"^handler must be an async .*, not <function name_of.*>, {made_here}"):
            call()
    server, client = rawws.memory_pair()
    wrong: Any = server
    with pytest.raises(TypeError, match=rf"^name_of\(\) takes a request, not <WebSocketSession .*>: it is {made_here}"):
        await handler(wrong)
    for session in (server, client):
        session.abort()
        await session.wait_closed()


# ---- mistakes are reported where they are made --------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_frame_sise": 1}, TypeError, "max_frame_sise.*max_frame_size"),
        ({"shutdown_code": 1012}, TypeError, "shutdown_code"),
        ({"max_frame_size": 0}, ValueError, "max_frame_size"),
        ({"max_frame_size": "1"}, TypeError, "max_frame_size"),
        ({"origins": "*"}, ValueError, "origins"),
        ({"before_upgrade": 1}, TypeError, "before_upgrade"),
        ({"extensions": "deflate"}, TypeError, "extensions"),
        ({"protocol": "a b"}, ValueError, "protocol"),
        ({"protocol": ""}, ValueError, "protocol"),
        ({"protocols": "abc"}, TypeError, "protocols"),
        ({"protocols": ["a", "b c"]}, ValueError, "protocols"),
        ({"protocols": 5}, TypeError, "protocols"),
        ({"protocol": "a", "protocols": ["a"]}, TypeError, "not both"),
    ],
    ids=str,
)
def test_options_are_checked_at_definition(options: dict[str, Any], error: type[Exception], text: str) -> None:
    routes = rawws.RouteTableDef()
    with pytest.raises(error, match=text):
        routes.websocket_raw("/", **options)
    with pytest.raises(error, match=text):
        rawws.websocket_raw("/", saying("x"), **options)
    with pytest.raises(error, match=text):
        rawws.websocket_raw(saying("x"), **options)
    with pytest.raises(error, match=text):
        rawws.websocket_raw(**options)
    with pytest.raises(error, match=text):
        rawws.upgrade_handler(saying("x"), **options)
    with pytest.raises(error, match=text):
        rawws.upgrade_handler(**options)
    assert len(routes) == 0


def test_bad_arguments() -> None:
    bad: Any = rawws.websocket_raw
    for args, options in [
        (("/",), {}),
        (("/", saying("x"), 1), {}),
        ((saying("x"), "/"), {}),
        (("/", None), {}),
        ((1,), {}),
        ((saying("x"),), {"name": "chat"}),
    ]:
        with pytest.raises(TypeError):
            bad(*args, **options)
    with pytest.raises(ValueError, match="slash"):
        bad("chat", saying("x"))
    with pytest.raises(ValueError, match="slash"):
        rawws.RouteTableDef().websocket_raw("chat")


def test_bad_arguments_of_upgrade_handler() -> None:
    make: Any = rawws.upgrade_handler
    wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (("/",), {}),
        (("/", saying("x")), {}),
        ((saying("x"), 1), {}),
        ((1,), {}),
        ((saying("x"),), {"name": "chat"}),
        ((saying("x"),), {"managed": 1}),
        ((), {"managed": "x"}),
    ]
    for args, options in wrong:
        with pytest.raises(TypeError):
            make(*args, **options)


def test_what_aiohttp_refuses_of_a_route() -> None:
    app = application(web.get("/", page(), name="taken"))
    with pytest.raises(ValueError, match="taken"):
        app.add_routes([rawws.websocket_raw("/chat", saying("x"), name="taken")])
    with pytest.raises(ValueError, match="Invalid path"):
        app.add_routes([rawws.websocket_raw("/chat/{", saying("x"))])
    app.freeze()
    with pytest.raises(RuntimeError, match="frozen"):
        app.add_routes([rawws.websocket_raw("/late", saying("x"))])


async def test_a_get_behind_the_socket_is_a_route_of_its_own() -> None:
    app = application()
    app.add_routes([rawws.websocket_raw("/chat", saying("socket"))])
    resource = app.router.add_resource("/chat")
    resource.add_route("GET", page())
    async with serving(app) as served:
        assert (await served.ask("/chat", upgrade=False)).text == "page"
        assert await said(served, "/chat") == "socket"
        async with served.peer() as peer:
            await peer.open("/chat")
            await peer.frame()
            await peer.send(peers.frame(CLOSE))
            assert await peer.read_to_end() == b""
