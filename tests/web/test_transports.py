"""Transports that cannot carry a session: found out before the 101, and by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws
from aiohttp_rawws.session.transports import METHODS

from ..tools.peers import TEXT, Answer, Peer, frame, request_bytes, serving

NEEDED_BY_AIOHTTP = {"write", "is_closing", "close", "get_extra_info"}  # without these it cannot answer

pytestmark = pytest.mark.loops("asyncio", "uvloop")


async def echo(session: rawws.WebSocketServerSession) -> None:
    async for message in session:
        await session.send(message)


class Wrapped:
    """The transport of another library: has the methods of the one inside, less those that a subclass takes away."""

    missing: str | None = None

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == self.missing:
            raise AttributeError(name)
        return getattr(self._inner, name)


class Fixed(Wrapped):
    """As on rloop 0.5."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise NotImplementedError("the protocol cannot be changed")


def lacking(method: str) -> type[Wrapped]:
    return type("Lacking", (Wrapped,), {"missing": method})


class Accepting(asyncio.Protocol):
    """Gives aiohttp's protocol a wrapped transport."""

    def __init__(self, http: Any, kind: type[Wrapped]) -> None:
        self.http, self.kind = http, kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.http.connection_made(self.kind(transport))

    def data_received(self, data: bytes) -> None:
        self.http.data_received(data)

    def eof_received(self) -> None:
        self.http.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.http.connection_lost(exc)

    def pause_writing(self) -> None:
        self.http.pause_writing()

    def resume_writing(self) -> None:
        self.http.resume_writing()


@asynccontextmanager
async def peer_over(kind: type[Wrapped], app: web.Application) -> AsyncIterator[Peer]:
    """A peer of ``app``, whose connection to it has a transport of this kind."""
    async with serving(app) as served:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Accepting(served.server(), kind), "127.0.0.1", 0)
        peer = Peer(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        try:
            yield peer
        finally:
            await peer.close()
            server.close()
            await server.wait_closed()
            await served.idle()


def route(managed: bool = False, **options: Any) -> web.AbstractRouteDef:
    return rawws.websocket("/", echo, **options) if managed else rawws.websocket_raw("/", echo, **options)  # type: ignore[arg-type]


def returned() -> web.AbstractRouteDef:
    async def handler(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=echo)

    return web.get("/", handler)


async def page(request: web.Request) -> web.Response:
    return web.Response(text="page")


def application(*routes: web.AbstractRouteDef, plugin: bool = True) -> web.Application:
    app = web.Application()
    if plugin:
        rawws.setup(app)
    app.add_routes([*routes, web.get("/page", page)])
    return app


async def asked(peer: Peer, path: str, **how: Any) -> Answer:
    await peer.send(request_bytes(path, **how))
    return await peer.answer()


@pytest.mark.parametrize("method", sorted({*METHODS} - NEEDED_BY_AIOHTTP))
async def test_a_missing_method_is_named(method: str, caplog: pytest.LogCaptureFixture) -> None:
    async with peer_over(lacking(method), application(route())) as peer:
        assert (await asked(peer, "/page", upgrade=False)).text == "page"
        answer = await asked(peer, "/")
        assert (answer.status, answer.headers["Connection"]) == (500, "close")
        assert await peer.read_to_end() == b""
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.name == "aiohttp_rawws"
    assert f"Lacking has no {method}()" in record.getMessage()
    assert record.exc_info is None


@pytest.mark.parametrize("routes", [[route()], [route(managed=True)], [returned()]], ids=["raw", "managed", "returned"])
@pytest.mark.parametrize("plugin", [True, False])
async def test_a_protocol_that_cannot_be_changed(
    routes: list[web.AbstractRouteDef], plugin: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    @web.middleware
    async def look(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as exc:
            seen.append(exc.status)
            raise
        return response

    app = application(*routes, plugin=plugin)
    app.middlewares.append(look)
    async with peer_over(Fixed, app) as peer:
        answer = await asked(peer, "/")
        assert (answer.status, "log" in answer.text) == (500, True)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "Fixed cannot do set_protocol(): NotImplementedError('the protocol cannot" in record.getMessage()
    assert seen == ([500] if routes[0].__class__ is rawws.WebSocketRouteDef else [])


async def test_nothing_is_asked_before(caplog: pytest.LogCaptureFixture) -> None:
    asked_for: list[web.Request] = []
    async with peer_over(Fixed, application(route(before_upgrade=asked_for.append))) as peer:
        assert (await asked(peer, "/")).status == 500
    async with peer_over(Fixed, application(route())) as peer:
        assert (await asked(peer, "/", headers={"Sec-WebSocket-Version": "12"})).status == 426
    assert not asked_for


async def test_a_type_of_transports_is_checked_once() -> None:
    class Counting(Wrapped):
        changes = 0

        def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
            Counting.changes += 1
            self._inner.set_protocol(protocol)

    for changes in (2, 3, 4):
        async with peer_over(Counting, application(route())) as peer:
            await peer.open(early=frame(TEXT, b"early"))
            assert await peer.frame() == (TEXT, b"early")
            await peer.send(frame(TEXT, b"late"))
            assert await peer.frame() == (TEXT, b"late")
        assert Counting.changes == changes


# ---- without a handshake ------------------------------------------------------------------


class Half(asyncio.Transport):
    """A subclass that leaves the rest to asyncio's base class, which raises NotImplementedError."""

    def write(self, data: Any) -> None:
        raise AssertionError("nothing is written")


async def test_any_other_transport() -> None:
    upgrade = rawws.WebSocketUpgrade(
        make_mocked_request("GET", "/", {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}), handle=echo
    )
    with pytest.raises(TypeError, match=r"Half has no set_protocol\(\)"):
        upgrade.upgrade(Half())
    with pytest.raises(TypeError, match=r"StreamReader has no set_protocol\(\)"):
        upgrade.upgrade(asyncio.StreamReader())
    with pytest.raises(TypeError, match=r"Fixed: NotImplementedError\('the protocol cannot be changed'\)"):
        rawws.WebSocketSession(Fixed(rawws.memory_pair()[0].transport)).start()  # type: ignore[arg-type]


async def test_streams_that_are_none() -> None:
    reader = asyncio.StreamReader()
    with pytest.raises(TypeError, match=r"writer .* has no drain\(\)"):
        transport: Any = rawws.memory_pair()[0].transport
        rawws.RawWebSocket(reader, transport)
    with pytest.raises(TypeError, match=r"reader .* has no read\(\)"):
        nothing: Any = None
        rawws.RawWebSocket(nothing, nothing)


# ---- rloop --------------------------------------------------------------------------------


async def on_rloop() -> None:
    async with serving(application(route())) as served:
        assert (await served.ask("/page", upgrade=False)).text == "page"
        assert (await served.ask("/")).status == 500


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # rloop leaves its own sockets to the collector
def test_rloop(caplog: pytest.LogCaptureFixture) -> None:
    """A loop whose transports keep their protocol for life."""
    rloop = pytest.importorskip("rloop")
    loop = rloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(on_rloop(), 20))
    finally:
        loop.close()
    assert "rloop._rloop.TCPTransport cannot do set_protocol()" in caplog.text
