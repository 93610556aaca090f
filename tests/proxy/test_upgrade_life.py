"""Sessions of a gateway from the 101 to the end: handlers, errors, shutdown. The ids are those of the requirements."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws

from ..tools.gateways import HTTP, Gateway, gateway
from ..tools.hand_server import HandPeer, HandServer, hand_server
from ..tools.peers import CLOSE, TEXT, Peer, close_frame, frame, request_bytes, serving
from ..tools.waiting import eventually

TIMEOUT = 20.0

Client = rawws.WebSocketServerSession
Upstream = rawws.WebSocketClientSession


class Held:
    """A script that accepts and waits. The test has its connections in ``peers``."""

    def __init__(self) -> None:
        self.peers: list[HandPeer] = []
        self._leave = asyncio.Event()

    async def __call__(self, peer: HandPeer) -> None:
        await peer.accept()
        self.peers.append(peer)
        await self._leave.wait()

    def leave(self) -> None:
        self._leave.set()


@asynccontextmanager
async def connected(**how: Any) -> AsyncIterator[tuple[Peer, HandPeer, Gateway]]:
    """Both ends of one session through a gateway."""
    held = Held()
    async with hand_server(held) as server, gateway(server.url, **how) as served, served.peer() as peer:
        await peer.open()
        await eventually(lambda: held.peers)
        try:
            yield peer, held.peers[0], served
            await eventually(lambda: not served.held)
            if served.runner.server is not None:  # it has not been stopped
                await served.idle()
        finally:
            held.leave()


async def close_of_client(upstream: HandPeer) -> bytes:
    """The payload of the Close that is the next frame there."""
    first, payload = await upstream.frame_of_client()
    assert first == 0x80 | CLOSE
    return payload


# ---- the options of pump() -----------------------------------------------------------------------


async def test_half_open_timeout() -> None:
    async with connected(half_open_timeout=1.0, close_timeout=1.0) as (peer, upstream, _):
        await peer.send(close_frame(4000))
        assert await close_of_client(upstream) == b"\x0f\xa0"
        assert (await peer.frame())[1][:2] == struct.pack("!H", 1001)  # the upstream server has not answered
        upstream.writer.close()
        peer.writer.close()


async def test_on_loss() -> None:
    async with connected(on_loss=rawws.CloseReason(1014, "gone")) as (peer, upstream, _):
        upstream.reset()
        assert await peer.frame() == (CLOSE, b"\x03\xf6gone")
        peer.writer.close()


# ---- handlers of one's own, and their errors -----------------------------------------------------


async def test_a_handler_that_returns_ends_both() -> None:
    async def handle(client: Client, upstream: Upstream) -> None:
        await client.send((await upstream.receive()).text)

    async with connected(handle=handle) as (peer, upstream, _):
        await upstream.send(b"\x81\x02hi", b"\x81\x04more")
        assert await peer.frame() == (TEXT, b"hi")
        assert await peer.read_to_end() == b""
        assert await upstream.read_to_end() == b""
        peer.writer.close()
        upstream.writer.close()


@pytest.mark.parametrize("on_error", ["abort", "close-1011"])
async def test_g44_an_error_of_the_handler_ends_both_and_is_logged_once(
    on_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(client: Client, upstream: Upstream) -> None:
        await upstream.receive()
        raise ZeroDivisionError

    async with connected(handle=handle, on_error=on_error) as (peer, upstream, served):
        await upstream.send(b"\x81\x02hi")
        assert (await close_of_client(upstream))[:2] == struct.pack("!H", 1011)
        assert await upstream.read_to_end() == b""
        upstream.writer.close()
        try:
            rest = await peer.read_to_end()
        except ConnectionError:
            rest = b""
        assert rest == (b"\x88\x02\x03\xf3" if on_error == "close-1011" else b"")
        peer.writer.close()
        await eventually(lambda: len(served.errors) == 1)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "WebSocketServerSession GET / from 127.0.0.1" in record.getMessage()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_g44_the_end_of_either_session_is_no_error_of_the_handler(
    side: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(client: Client, upstream: Upstream) -> None:
        while True:
            if side == "client":
                await client.receive()
            else:
                await upstream.receive()

    async with connected(handle=handle) as (peer, upstream, served):
        ending, other = (peer, upstream) if side == "client" else (upstream, peer)
        ending.reset()
        try:
            assert await other.read_to_end() == b""
        except ConnectionError:
            pass
        other.writer.close()
        await eventually(lambda: not served.held)
        assert not served.errors
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_g44_on_frame_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    def on_frame(item: Any, source: rawws.WebSocketSession) -> Any:
        raise ZeroDivisionError

    async with connected(on_frame=on_frame) as (peer, upstream, served):
        await upstream.send(b"\x81\x02hi")
        assert (await close_of_client(upstream))[:2] == struct.pack("!H", 1011)
        assert (await peer.frame())[1][:2] == struct.pack("!H", 1011)
        peer.writer.close()
        upstream.writer.close()
        await eventually(lambda: len(served.errors) == 1)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_on_frame_sees_each_frame() -> None:
    seen: list[tuple[str, bytes]] = []

    def on_frame(item: Any, source: rawws.WebSocketSession) -> Any:
        seen.append((type(source).__name__, bytes(item.payload)))
        return rawws.Frame.text("changed") if item.opcode is rawws.Opcode.TEXT else item

    async with connected(on_frame=on_frame) as (peer, upstream, _):
        await peer.send(frame(TEXT, b"one"))
        assert await upstream.frame_of_client() == (0x80 | TEXT, b"changed")
        await upstream.send(b"\x82\x03two")
        assert await peer.frame() == (2, b"two")
        peer.writer.close()
        await upstream.read_to_end()
        upstream.writer.close()
    assert seen == [("WebSocketServerSession", b"one"), ("WebSocketClientSession", b"two")]


async def test_g49_idle_timeout_is_that_of_pump() -> None:
    """It is about bytes in either direction, which no session sees."""
    async with connected(plugin={"idle_timeout": 0.5}) as (peer, upstream, served):
        (session,) = served.app[rawws.WEBSOCKETS].sessions
        assert session.options.idle_timeout is None
        await peer.closed_by_server(1001)
        assert (await close_of_client(upstream))[:2] == struct.pack("!H", 1001)
        peer.writer.close()
        upstream.writer.close()


# ---- the plugin ----------------------------------------------------------------------------------


async def test_the_session_of_the_client_is_registered() -> None:
    held = Held()
    async with hand_server(held) as server, gateway(server.url) as served:
        async with served.peer() as peer:
            await peer.open("/path")
            (session,) = served.app[rawws.WEBSOCKETS].sessions
            assert session.request.path == "/path"
            peer.writer.close()
            await eventually(lambda: held.peers)
            await held.peers[0].read_to_end()
            held.leave()
            await eventually(lambda: not served.app[rawws.WEBSOCKETS].sessions)


@pytest.mark.parametrize("plugin", [{}, None], ids=["plugin", "bare"])
async def test_middlewares_and_signals_have_their_say(plugin: Any) -> None:
    """Fields can be added to the 101 and to a refusal by ``on_response_prepare``, and middlewares wrap the session."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Gateway"] = "1"

    async def script(peer: HandPeer) -> None:
        while "refuse" in ((await peer.request()) and peer.line):
            await peer.refuse("403 Forbidden", {"Content-Length": "2", "X-Gateway": "0"}, b"no")
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url, plugin=plugin, on_prepare=add) as served:
        assert (await served.ask("/refuse")).headers.getall("X-Gateway") == ["1"]
        async with served.peer() as peer:
            assert (await peer.open()).headers.getall("X-Gateway") == ["1"]
            peer.writer.close()
            await eventually(lambda: not served.held)


async def test_before_upgrade_comes_first() -> None:
    """A client that is refused here costs the upstream server nothing."""

    def check(request: web.Request) -> Any:
        if "token" not in request.headers:
            raise web.HTTPUnauthorized
        return {"X-Checked": "yes"}

    held = Held()
    async with hand_server(held) as server, gateway(server.url, before_upgrade=check) as served:
        assert (await served.ask()).status == 401
        assert not server.connections
        async with served.peer() as peer:
            assert (await peer.open("/", {"Token": "1"})).headers["X-Checked"] == "yes"
            peer.reset()
            await eventually(lambda: not served.held)
        held.leave()


async def test_a_low_level_server() -> None:
    """There is no application."""
    held = Held()
    async with hand_server(held) as server, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def forward(request: web.BaseRequest) -> web.StreamResponse:
            return await rawws.proxy_upgrade(request, http, rawws.upstream_url(URL(server.url), request))

        async with serving(web.Server(forward)) as served, served.peer() as peer:
            await peer.open()
            await eventually(lambda: held.peers)
            await peer.send(frame(TEXT, b"hello"))
            assert await held.peers[0].frame_of_client() == (0x80 | TEXT, b"hello")
            peer.writer.close()
            await held.peers[0].read_to_end()
            held.leave()


# ---- G45: shutdown -------------------------------------------------------------------------------


async def stop(served: Gateway, within: float) -> None:
    await asyncio.wait_for(served.runner.cleanup(), within)


async def test_g45_the_shutdown_closes_both_sides() -> None:
    async with connected(plugin={"shutdown_code": 1012, "close_timeout": 10.0}) as (peer, upstream, served):
        stopping = asyncio.ensure_future(stop(served, TIMEOUT))
        payload = await close_of_client(upstream)
        assert payload[:2] == struct.pack("!H", 1012)
        await peer.closed_by_server(1012)
        await peer.send(close_frame(1012))
        await upstream.send(bytes([0x88, len(payload)]) + payload)
        upstream.writer.close()
        assert await peer.read_to_end() == b""
        peer.writer.close()
        await stopping


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize(
    ("silent", "own"),
    [("client", False), ("upstream", False), ("both", False), ("both", True)],
    ids=["client", "upstream", "both", "handler"],
)
async def test_g45_the_shutdown_waits_for_nobody_too_long(silent: str, own: bool) -> None:
    """``close_timeout`` is the limit for peers that do not answer, and for a handler."""

    async def handle(client: Client, upstream: Upstream) -> None:
        await asyncio.Event().wait()  # it notices nothing

    how: dict[str, Any] = {"handle": handle} if own else {}
    async with connected(plugin={"close_timeout": 0.5}, **how) as (peer, upstream, served):
        stopping = asyncio.ensure_future(stop(served, TIMEOUT))
        assert (await close_of_client(upstream))[:2] == struct.pack("!H", 1001)
        await peer.closed_by_server(1001)
        if silent == "upstream":
            await peer.send(close_frame(1001))
        if silent == "client":
            await upstream.send(b"\x88\x02\x03\xe9")
        await stopping
        for end in (peer, upstream):
            try:
                await end.read_to_end()
            except ConnectionError:
                pass
            end.writer.close()


async def test_g45_data_that_nobody_takes_is_discarded() -> None:
    """A client reads nothing, and the upstream server has sent it much."""
    async with connected(plugin={"close_timeout": 0.5}) as (peer, upstream, served):
        peer.pause_reading()
        for _ in range(500):
            upstream.writer.write(b"\x82\x7e\xff\xff" + bytes(65535))
        await asyncio.sleep(0.1)
        await stop(served, TIMEOUT)
        for end in (peer, upstream):
            end.writer.transport.abort()


async def test_g45_without_the_plugin_the_server_cancels() -> None:
    """aiohttp cancels the handler after its own limit, and both sides get 1001."""
    how: dict[str, Any] = {"serve": {"shutdown_timeout": 0.2}, "close_timeout": 0.5, "plugin": None}
    async with connected(**how) as (peer, upstream, served):
        stopping = asyncio.ensure_future(stop(served, TIMEOUT))
        assert (await close_of_client(upstream))[:2] == struct.pack("!H", 1001)
        await upstream.send(b"\x88\x02\x03\xe9")
        upstream.writer.close()
        await stopping
        peer.writer.close()


async def test_g45_a_shutdown_while_the_upstream_server_is_asked() -> None:
    """The client gets 503, and the upstream server is dropped."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(peer.head())
        assert await peer.read_to_end() == b""

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        served.app[rawws.WEBSOCKETS].closing = True
        go.set()
        assert (await peer.answer()).status == 503
        await eventually(lambda: not served.held and not server.open)


async def test_g50_the_targets_change_under_live_sessions() -> None:
    """A gateway is a function of the request: another target holds for new sessions."""
    first, second = Held(), Held()
    async with hand_server(first) as one, hand_server(second) as two:
        targets = {"now": one}

        def current() -> HandServer:
            return targets["now"]

        http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

        async def forward(request: web.Request) -> web.StreamResponse:
            url = rawws.upstream_url(URL(current().url), request)
            return await rawws.proxy_upgrade(request, request.app[HTTP], url)

        app = web.Application()
        app[HTTP] = http
        app.router.add_get("/", forward)
        async with http, serving(app) as served, served.peer() as old, served.peer() as new:
            await old.open()
            targets["now"] = two
            await new.open()
            await eventually(lambda: first.peers and second.peers)
            for peer, upstream in ((old, first), (new, second)):
                await peer.send(frame(TEXT, b"hello"))
                assert await upstream.peers[0].frame_of_client() == (0x80 | TEXT, b"hello")
            for peer in (old, new):
                peer.writer.close()
            for upstream in (first, second):
                await upstream.peers[0].read_to_end()
                upstream.leave()
