"""The transport changes hands: early bytes, headers, loss, ends, over real sockets, plain and TLS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import http_parser, web
from aiohttp.base_protocol import BaseProtocol

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode
from aiohttp_rawws.web.takeover import keeps_early_bytes

from ..tools import peers
from ..tools.peers import BINARY, PING, PONG, TEXT, Peer, Served, close_frame, frame, serving

pytestmark = pytest.mark.loops("asyncio", "uvloop", "debug")

Session = rawws.WebSocketServerSession


async def echo(session: Session) -> None:
    async for received in session:
        if received.opcode is Opcode.CLOSE:
            await session.send(Frame.close(received.close_reason))
        elif received.opcode is Opcode.PING:
            await session.send(Frame.pong(received.payload))
        else:
            await session.send(received)


async def sleepy_echo(session: Session) -> None:
    await asyncio.sleep(0.1)
    await echo(session)


# ---- every way to a session ---------------------------------------------------------------


def by_decorator(handle: Any) -> tuple[web.Application, str]:
    routes = rawws.RouteTableDef()
    routes.websocket_raw("/ws")(handle)
    app = web.Application()
    rawws.setup(app)
    app.add_routes(routes)
    return app, "/ws"


def by_decorator_without_plugin(handle: Any) -> tuple[web.Application, str]:
    app = web.Application()
    app.add_routes([rawws.websocket_raw("/ws", handle)])
    return app, "/ws"


def by_pathless_decorator(handle: Any) -> tuple[web.Application, str]:
    app = web.Application()
    app.router.add_get("/ws", rawws.websocket_raw(handle))
    return app, "/ws"


def by_bare_return(handle: Any) -> tuple[web.Application, str]:
    async def handler(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=handle)

    app = web.Application()
    rawws.setup(app)
    app.router.add_get("/ws", handler)
    return app, "/ws"


def by_preparing(handle: Any) -> tuple[web.Application, str]:
    async def handler(request: web.Request) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=handle)
        await upgrade.prepare(request)
        return upgrade

    app = web.Application()
    app.router.add_get("/ws", handler)
    return app, "/ws"


def by_view(handle: Any) -> tuple[web.Application, str]:
    class View(web.View):
        async def get(self) -> web.StreamResponse:
            return rawws.WebSocketUpgrade(self.request, handle=handle)

    app = web.Application()
    rawws.setup(app)
    app.router.add_view("/ws", View)
    return app, "/ws"


LEVEL = web.AppKey("LEVEL", int)


def nested(
    kind: Callable[[Any], tuple[web.Application, str]],
) -> Callable[[Any], tuple[web.Application, str]]:
    @web.middleware
    async def mark(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        response.headers.add("X-Level", str(request.app[LEVEL]))
        return response

    def make(handle: Any) -> tuple[web.Application, str]:
        app, path = kind(handle)
        app.middlewares.append(mark)
        app[LEVEL] = 0
        for level in (1, 2):
            outer = web.Application(middlewares=[mark])
            outer[LEVEL] = level
            outer.add_subapp(f"/level{level}", app)
            app, path = outer, f"/level{level}{path}"
        rawws.setup(app)
        return app, path

    make.__name__ = f"{kind.__name__}_nested"
    return make


WAYS = [
    by_decorator,
    by_decorator_without_plugin,
    by_pathless_decorator,
    by_bare_return,
    by_preparing,
    by_view,
    nested(by_decorator),
    nested(by_decorator_without_plugin),
    nested(by_bare_return),
    nested(by_view),
]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def connected(way: Any, handle: Any, **how: Any) -> AsyncIterator[tuple[Served, Peer, str]]:
    app, path = way(handle)
    async with serving(app, **how) as served:
        async with served.peer() as peer:
            yield served, peer, path
        await served.idle()


# ---- bytes behind the handshake -----------------------------------------------------------


async def test_frames_in_the_handshakes_segment(way: Any, tls: bool) -> None:
    async with connected(way, echo, tls=tls) as (_, peer, path):
        await peer.open(path, early=frame(TEXT, b"one") + frame(PING, b"two"))
        assert await peer.frame() == (TEXT, b"one")
        assert await peer.frame() == (PONG, b"two")
        await peer.send(frame(BINARY, b"three"))
        assert await peer.frame() == (BINARY, b"three")
        await peer.finish()


async def test_a_long_tail_while_the_handler_sleeps(way: Any, tls: bool) -> None:
    sent = [bytes([number]) * 8192 for number in range(100)]
    tail = b"".join(frame(BINARY, payload) for payload in sent)
    assert len(tail) > 800_000
    async with connected(way, sleepy_echo, tls=tls) as (_, peer, path):
        peer.writer.write(peers.request_bytes(path) + tail)
        assert (await peer.answer()).status == 101
        for payload in sent:
            assert await peer.frame() == (BINARY, payload)
        await peer.finish()


async def test_one_large_frame_behind_the_handshake(tls: bool) -> None:
    payload = bytes(range(256)) * 4000
    async with connected(by_bare_return, sleepy_echo, tls=tls) as (_, peer, path):
        peer.writer.write(peers.request_bytes(path) + frame(BINARY, payload))
        assert (await peer.answer()).status == 101
        assert await peer.frame() == (BINARY, payload)
        await peer.finish()


@pytest.mark.parametrize("cut", [1, 3, 7, 10])
async def test_half_a_frame_behind_the_handshake(cut: int) -> None:
    data = frame(TEXT, b"hello")
    async with connected(by_bare_return, echo) as (_, peer, path):
        await peer.open(path, early=data[:cut])
        await asyncio.sleep(0.01)
        await peer.send(data[cut:])
        assert await peer.frame() == (TEXT, b"hello")
        await peer.finish()


# Spellings of the two fields, and the answer: aiohttp's parsers do not see an upgrade in a list.
ALONE = [
    {"Upgrade": "websocket"},
    {"Upgrade": "WebSocket"},
    {"Upgrade": "\twebsocket\t"},
    {"Upgrade": "websocket\r\nUpgrade: h2c"},
    {"Upgrade": "websocket\r\nUpgrade: websocket"},
    {"Connection": "keep-alive, Upgrade"},
    {"Connection": "keep-alive ,\tUPGRADE , "},
    {"Connection": "keep-alive\r\nConnection: upgrade"},
    {"Connection": "Upgrade, close"},
]
LISTS = [
    {"Upgrade": "websocket, h2c"},
    {"Upgrade": "h2c, websocket"},
    {"Upgrade": "h2c,websocket"},
    {"Upgrade": "websocket,"},
    {"Upgrade": ",websocket"},
    {"Upgrade": "websocket, websocket"},
    {"Upgrade": "h2c\r\nUpgrade: websocket"},
    {"Upgrade": "\r\nUpgrade: websocket"},
]


TWO_WAYS = pytest.mark.parametrize("way", [by_decorator, by_bare_return], ids=lambda way: way.__name__)


@TWO_WAYS
@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("fields", ALONE, ids=repr)
async def test_spellings_that_keep_early_frames(way: Any, fields: dict[str, str | None]) -> None:
    async with connected(way, echo) as (_, peer, path):
        await peer.open(path, fields, early=frame(TEXT, b"early"))
        assert await peer.frame() == (TEXT, b"early")
        await peer.finish()


@TWO_WAYS
@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("fields", LISTS, ids=repr)
async def test_a_list_in_upgrade_is_refused(way: Any, fields: dict[str, str | None]) -> None:
    """Whatever stands behind it: nothing is lost in silence, nothing is read as a request."""
    request = peers.request_bytes("/", upgrade=False)
    for early in (b"", frame(TEXT, b"early"), frame(TEXT, request, mask=bytes(4)), request, request[:9]):
        async with connected(way, echo) as (_, peer, path):
            await peer.send(peers.request_bytes(path, fields), early)
            answer = await peer.answer()
            assert (answer.status, "alone" in answer.text) == (426, True)
            assert answer.headers["Upgrade"] == "websocket"
            assert await peer.read_to_end() == b""


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("parser", [http_parser.HttpRequestParser, http_parser.HttpRequestParserPy])
@pytest.mark.parametrize("fields", [*ALONE, *LISTS], ids=repr)
async def test_what_the_parsers_of_aiohttp_take_for_an_upgrade(parser: Any, fields: dict[str, str | None]) -> None:
    loop = asyncio.get_running_loop()
    data = peers.request_bytes("/", fields)
    messages, upgraded, tail = parser(BaseProtocol(loop), loop, 2**16).feed_data(data + b"early")
    assert upgraded is (fields in ALONE)
    assert tail == (b"early" if upgraded else b"")
    assert keeps_early_bytes(messages[0][0].headers) is upgraded


async def test_requests_before_the_handshake(way: Any) -> None:
    async with connected(way, echo) as (_, peer, path):
        early = frame(TEXT, b"x")
        first = b"" if peers.LOSES_TAILS else early
        await peer.send(peers.request_bytes("/nowhere", upgrade=False), peers.request_bytes(path), first)
        assert (await peer.answer()).status == 404
        assert (await peer.answer()).status == 101
        await peer.send(early[len(first) :])
        assert await peer.frame() == (TEXT, b"x")
        await peer.finish()


@pytest.mark.parametrize("of_the_plugin", [False, True], ids=["route", "plugin"])
async def test_the_first_frame_can_be_streamed(of_the_plugin: bool) -> None:
    """Its header and a part of its payload come with the handshake, before the handler runs."""
    payload = bytes(range(256)) * 2000
    got: list[Any] = []

    async def take(session: Session) -> None:
        async for item in session:
            got.append(item)
            if not isinstance(item, rawws.FrameChunk) or item.last:
                break

    options: dict[str, Any] = {"frame_streaming_threshold": 1000, "max_frame_size": None}
    app = web.Application()
    rawws.setup(app, **(options if of_the_plugin else {}))
    app.add_routes([rawws.websocket_raw("/", take, **({} if of_the_plugin else options))])
    wire = frame(BINARY, payload)
    async with serving(app) as served, served.peer() as peer:
        await peer.open(early=wire[:5000])
        await peer.send(wire[5000:])
        await peer.read_to_end()
    assert all(isinstance(item, rawws.FrameChunk) for item in got)
    assert b"".join(item.payload for item in got) == payload


# ---- headers of the 101 -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [by_bare_return, by_view], ids=lambda kind: kind.__name__)
async def test_middlewares_of_every_level_add_headers(kind: Any) -> None:
    @web.middleware
    async def outermost(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        response.set_cookie("seen", "yes")
        response.enable_compression()
        return response

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Prepared"] = str(response.status)

    app, path = nested(kind)(echo)
    app.middlewares.append(outermost)
    app.on_response_prepare.append(on_prepare)
    async with serving(app) as served, served.peer() as peer:
        answer = await peer.open(path)
        assert answer.headers.getall("X-Level") == ["0", "1", "2"]
        assert answer.headers["X-Prepared"] == "101"
        assert answer.headers["Set-Cookie"].startswith("seen=yes")
        assert answer.headers["Connection"] == "Upgrade"
        assert not {"Content-Length", "Transfer-Encoding", "Content-Encoding", "Content-Type"} & set(answer.headers)
        await peer.finish()


@pytest.mark.parametrize("kind", [by_decorator, by_decorator_without_plugin], ids=lambda kind: kind.__name__)
async def test_headers_of_the_101_of_a_route(kind: Any) -> None:
    """The middlewares are around the session. What they add when it has ended is too late."""

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Prepared"] = str(response.status)

    app, path = nested(kind)(echo)
    app.on_response_prepare.append(on_prepare)
    async with serving(app) as served, served.peer() as peer:
        answer = await peer.open(path)
        assert answer.headers["X-Prepared"] == "101"
        assert "X-Level" not in answer.headers
        await peer.finish()


# ---- ends ---------------------------------------------------------------------------------


async def test_the_peer_goes_in_every_way(tls: bool) -> None:
    """The handler's iteration ends, and aiohttp forgets the connection."""
    ended: list[tuple[Any, ...]] = []

    async def handle(session: Session) -> None:
        await session.send("hello")
        async for _ in session:
            pass
        state = session.close_state
        ended.append((state.lost or state.eof, state.received and state.received.code))

    app, path = by_decorator(handle)
    async with serving(app, tls=tls) as served:
        for leave in ("close", "reset", "half-close", "close-frame", "mid-frame"):
            async with served.peer() as peer:
                await peer.open(path)
                assert await peer.frame() == (TEXT, b"hello")
                if leave == "reset":
                    peer.reset()
                elif leave == "half-close" and not tls:
                    peer.writer.write_eof()
                    assert await peer.read_to_end() == b""
                elif leave == "close-frame":
                    await peer.send(close_frame(1000))
                    assert await peer.read_to_end() == b""
                elif leave == "mid-frame":
                    await peer.send(frame(TEXT, b"never whole")[:-3])
            await served.idle()
        assert not app[rawws.WEBSOCKETS].sessions
    assert len(ended) == 5
    assert [code for _, code in ended] == [None, None, None, 1000, None]
    assert all(gone for gone, code in ended if code is None)


async def test_a_writer_wakes_when_the_peer_goes() -> None:
    ended = asyncio.Event()

    async def handle(session: Session) -> None:
        try:
            while True:
                await session.send(b"x" * 100_000)
        finally:
            ended.set()

    app, path = by_decorator(handle)
    async with serving(app) as served:
        async with served.peer() as peer:
            await peer.open(path)
            await asyncio.sleep(0.1)
            assert not ended.is_set()
            peer.reset()
        await asyncio.wait_for(ended.wait(), 20)
        await served.idle()


async def test_what_was_sent_is_delivered_when_the_handler_returns(way: Any, tls: bool) -> None:
    async def handle(session: Session) -> None:
        for number in range(50):
            await session.send(bytes([number]) * 20_000)

    async with connected(way, handle, tls=tls) as (_, peer, path):
        await peer.open(path, early=frame(TEXT, b"unread"))
        for number in range(50):
            assert await peer.frame() == (BINARY, bytes([number]) * 20_000)
        assert await peer.read_to_end() == b""  # no Close frame of ours


@pytest.mark.parametrize("on_error", ["abort", "close-1011"])
async def test_the_handler_raises(on_error: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Session) -> None:
        await session.receive()
        raise LookupError("the handler's fault")

    app = web.Application()
    rawws.setup(app, on_error=on_error)
    app.add_routes([rawws.websocket_raw("/", handle)])
    with caplog.at_level(logging.DEBUG):
        async with serving(app) as served, served.peer() as peer:
            await peer.open("/")
            await peer.send(frame(TEXT, b"go"))
            if on_error == "close-1011":
                await peer.closed_by_server(1011)
                assert await peer.read_to_end() == b""
            else:
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await peer.read(1)
            await peer.close()
            await served.idle()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [(record.name, type(record.exc_info[1])) for record in errors if record.exc_info] == [
        ("aiohttp_rawws", LookupError)
    ]
    assert len(errors) == 1


@pytest.mark.parametrize("raised", [web.HTTPForbidden(), ConnectionResetError(), asyncio.TimeoutError()], ids=repr)
async def test_no_exception_becomes_http_in_the_stream(raised: Exception) -> None:
    async def handle(session: Session) -> None:
        await session.send("hello")
        raise raised

    async with connected(by_decorator, handle) as (_, peer, path):
        await peer.open(path)
        try:
            rest = await peer.read_to_end()
        except ConnectionResetError:
            rest = b""
        assert b"HTTP" not in rest


async def test_the_handler_is_cancelled_with_the_connection() -> None:
    cancelled = asyncio.Event()

    async def handle(session: Session) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    app, path = by_decorator(handle)
    async with serving(app, handler_cancellation=True) as served:
        async with served.peer() as peer:
            await peer.open(path)
            peer.reset()
        await asyncio.wait_for(cancelled.wait(), 20)
        await served.idle()
        assert not app[rawws.WEBSOCKETS].sessions


async def test_the_handler_is_cancelled_from_inside() -> None:
    async def handle(session: Session) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    async with connected(by_decorator, handle) as (_, peer, path):
        await peer.send(peers.request_bytes(path))
        try:
            rest = await peer.read_to_end()
        except ConnectionResetError:
            rest = b""
        assert b"HTTP/1.1 500" not in rest


async def test_the_peer_is_gone_before_the_101(caplog: pytest.LogCaptureFixture) -> None:
    at_handler, go_on, ran = asyncio.Event(), asyncio.Event(), []

    @web.middleware
    async def slow(request: web.Request, handler: Any) -> web.StreamResponse:
        at_handler.set()
        await go_on.wait()
        return await handler(request)

    async def handle(session: Session) -> None:
        ran.append(session)
        await session.receive()

    for way in (by_decorator, by_decorator_without_plugin, by_bare_return):
        at_handler.clear()
        go_on.clear()
        app, path = way(handle)
        app.middlewares.append(slow)
        async with serving(app) as served:
            async with served.peer() as peer:
                await peer.send(peers.request_bytes(path))
                await at_handler.wait()
                peer.reset()
            await asyncio.sleep(0.05)
            go_on.set()
            await served.idle()
            await asyncio.sleep(0.05)
    assert not ran
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_middleware_that_fails_after_the_takeover(caplog: pytest.LogCaptureFixture) -> None:
    ran = []

    @web.middleware
    async def failing(request: web.Request, handler: Any) -> web.StreamResponse:
        await handler(request)
        raise LookupError

    async def handle(session: Session) -> None:
        ran.append(session)

    app, path = by_preparing(handle)
    app.middlewares.append(failing)
    async with serving(app) as served, served.peer() as peer:
        await peer.open(path)
        assert b"HTTP" not in await peer.read_to_end()
        await served.idle()
    assert not ran


# ---- where it runs ------------------------------------------------------------------------


@pytest.mark.skipif(
    not hasattr(asyncio, "open_unix_connection"), reason="this system has no unix sockets: Linux and macOS have"
)
async def test_unix_socket(tmp_path: Path) -> None:
    app, path = by_decorator(echo)
    async with serving(app, unix=tmp_path / "s") as served, served.peer() as peer:
        await peer.open(path, early=frame(TEXT, b"early"))
        assert await peer.frame() == (TEXT, b"early")
        await peer.finish()


async def test_low_level_server(caplog: pytest.LogCaptureFixture) -> None:
    apps: list[Any] = []

    async def handle(session: Session) -> None:
        with pytest.raises(RuntimeError, match="without an application"):
            apps.append(session.app)
        await echo(session)

    async def bare(request: web.BaseRequest) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=handle)

    async def preparing(request: web.BaseRequest) -> web.StreamResponse:
        upgrade = rawws.WebSocketUpgrade(request, handle=handle)
        await upgrade.prepare(request)
        return upgrade

    for handler, early in ((bare, b""), (preparing, frame(TEXT, b"early"))):
        async with serving(web.Server(handler)) as served:
            async with served.peer() as peer:
                await peer.open("/", early=early)
                if early:
                    assert await peer.frame() == (TEXT, b"early")
                await peer.send(frame(TEXT, b"hello"))
                assert await peer.frame() == (TEXT, b"hello")
                await peer.finish()
            answer = await served.ask("/", upgrade=False)
            assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
            assert (await served.ask("/", {"Sec-WebSocket-Version": "12"})).status == 426
            await served.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_access_log(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(session: Session) -> None:
        await session.send("hello")
        await session.receive()
        await asyncio.sleep(0.2)

    app, path = by_decorator(handle)
    with caplog.at_level(logging.INFO, "aiohttp.access"):
        async with serving(app, access_log_format='"%r" %s %b %Tf') as served, served.peer() as peer:
            await peer.open(path)
            assert await peer.frame() == (TEXT, b"hello")
            await peer.send(close_frame())
            assert await peer.read_to_end() == b""
            await served.idle()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]
    start, _, seconds = line.rpartition(" ")
    assert start == '"GET /ws HTTP/1.1" 101 7'
    assert 0.2 <= float(seconds) < 20


async def test_idle_connections_outlive_the_keep_alive_timeout() -> None:
    app, path = by_decorator(echo)
    async with serving(app, keepalive_timeout=0.1) as served, served.peer() as peer:
        await peer.open(path)
        await asyncio.sleep(0.4)
        await peer.send(frame(TEXT, b"still here"))
        assert await peer.frame() == (TEXT, b"still here")
        await peer.finish()
