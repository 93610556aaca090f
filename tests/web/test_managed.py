"""Managed routes over TCP, with peers that are not ours."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import web

import aiohttp_rawws as rawws

from ..tools import peers

Serve = Callable[[web.Application], Awaitable[str]]
Session = rawws.DefaultWebSocketServerSession

TEXT = "Grüße, 世界! " * 500


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts an application; its base URL."""
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app, shutdown_timeout=5)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def echo_app(**options: Any) -> web.Application:
    routes = rawws.RouteTableDef()

    @routes.websocket("/echo")
    async def echo(session: Session) -> None:
        assert session.request.path == "/echo" and session.app is app
        async for message in session:
            await session.send(message)

    app = web.Application()
    rawws.setup(app, **options)
    app.add_routes(routes)
    return app


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
async def test_echo_to_websockets(serve: Serve, deflate: bool) -> None:
    extensions = [rawws.PerMessageDeflate()] if deflate else []
    url = await serve(echo_app(extensions=extensions))
    async with websockets.connect(url.replace("http", "ws") + "/echo") as ws:
        assert bool(ws.protocol.extensions) is deflate
        for data in (TEXT, b"\x00" * 300_000, "", b""):
            await ws.send(data)
            assert await ws.recv() == data
        await ws.send(["frag", "men", "ted"])
        assert await ws.recv() == "fragmented"
        await (await ws.ping())
    assert ws.close_code == 1000


@pytest.mark.parametrize("deflate", [0, 15])
async def test_echo_to_aiohttp(serve: Serve, deflate: int) -> None:
    url = await serve(echo_app(extensions=[rawws.PerMessageDeflate()]))
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(url + "/echo", compress=deflate, origin=url) as ws,
    ):
        assert ws.compress == deflate
        for _ in range(3):
            await ws.send_str(TEXT)
            assert await ws.receive_str() == TEXT
            await ws.send_bytes(bytes(100_000))
            assert await ws.receive_bytes() == bytes(100_000)
        await ws.ping(b"?")
        await ws.close(code=4000, message=b"done")
    assert ws.close_code == 4000


async def test_the_zlib_backend_of_aiohttp_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Backend:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(zlib, name)

    monkeypatch.setattr(aiohttp.compression_utils.ZLibBackend, "_zlib_backend", Backend())
    url = await serve(echo_app(extensions=[rawws.PerMessageDeflate()]))
    async with websockets.connect(url.replace("http", "ws") + "/echo") as ws:
        await ws.send(TEXT)
        assert await ws.recv() == TEXT
    assert {"compressobj", "decompressobj"} <= set(calls)


async def test_extensions_can_be_left_alone(serve: Serve) -> None:
    routes = rawws.RouteTableDef()

    @routes.websocket("/", negotiate_extensions=False)
    async def echo(session: Session) -> None:
        assert session.extensions == ()
        async for message in session:
            await session.send(message)

    @routes.websocket_raw("/raw", negotiate_extensions=True)
    async def raw(session: rawws.WebSocketServerSession) -> None:
        extension = session.extension(rawws.PerMessageDeflate)
        assert session.extensions == () and session.negotiated_extensions == (extension,)
        frame = await session.receive()
        assert frame.rsv1 and frame.payload != b"x" * 1000
        session.apply_extensions()
        assert session.extensions == (extension,)
        await session.send("y" * 1000)
        await session.send((await session.receive()).text)
        await session.receive()
        await session.close()

    app = web.Application()
    rawws.setup(app, extensions=[rawws.PerMessageDeflate(client_no_context_takeover=True)])
    app.add_routes(routes)
    url = (await serve(app)).replace("http", "ws")
    async with websockets.connect(url + "/") as ws:
        assert not ws.protocol.extensions
        await ws.send("plain")
        assert await ws.recv() == "plain"
    async with websockets.connect(url + "/raw") as ws:
        assert ws.protocol.extensions
        await ws.send("x" * 1000)
        assert await ws.recv() == "y" * 1000
        await ws.send("z" * 1000)
        assert await ws.recv() == "z" * 1000


async def test_handler_returning_closes_with_1000_and_raising_with_1011(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    routes = rawws.RouteTableDef()

    @routes.websocket("/returns")
    async def returns(session: Session) -> None:
        await session.send("bye")

    @routes.websocket("/raises")
    async def raises(session: Session) -> None:
        raise LookupError("a secret")

    app = web.Application()
    rawws.setup(app)
    app.add_routes(routes)
    url = (await serve(app)).replace("http", "ws")
    async with websockets.connect(url + "/returns") as ws:
        assert [message async for message in ws] == ["bye"]
        assert ws.close_code == 1000
    async with websockets.connect(url + "/raises") as ws:
        with pytest.raises(websockets.ConnectionClosedError):
            await ws.recv()
        assert (ws.close_code, ws.close_reason) == (1011, "")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.name for record in errors] == ["aiohttp_rawws"]


async def test_shutdown_says_1001_to_managed_sessions(serve: Serve) -> None:
    app = echo_app(shutdown_code=1012, shutdown_reason="back soon")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with websockets.connect(f"ws://127.0.0.1:{port}/echo") as ws:
        reading = asyncio.ensure_future(ws.wait_closed())
        await ws.send("hello")
        await ws.recv()
        assert len(app[rawws.WEBSOCKETS].sessions) == 1
        await asyncio.wait_for(runner.cleanup(), 5)
        await reading
        assert (ws.close_code, ws.close_reason) == (1012, "back soon")
    assert not len(app[rawws.WEBSOCKETS].sessions)


async def test_keepalive_options_reach_the_session(serve: Serve) -> None:
    url = await serve(echo_app(ping_interval=0.02, timeout=0.05, close_timeout=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    writer.write(peers.request_bytes("/echo"))
    await reader.readuntil(b"\r\n\r\n")
    data = await asyncio.wait_for(reader.read(-1), 5)
    assert data[0] == 0x89 and data[1] == 76
    assert data[78:82] == b"\x88\x0e\x03\xf3" and data[82:] == b"Ping timeout"
    writer.close()
    await writer.wait_closed()


async def test_early_frames_reach_a_managed_session(serve: Serve) -> None:
    url = await serve(echo_app())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    writer.write(peers.request_bytes("/echo") + peers.frame(peers.TEXT, b"early") + peers.close_frame())
    data = await asyncio.wait_for(reader.read(-1), 5)
    assert data.partition(b"\r\n\r\n")[2] == b"\x81\x05early\x88\x02\x03\xe8"
    writer.close()
    await writer.wait_closed()


async def test_forms_of_websocket(serve: Serve) -> None:
    async def handler(session: Session) -> None:
        await session.send(session.protocol or "none")

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="page")

    app = web.Application()
    app.add_routes(
        [
            rawws.websocket("/chat", handler, protocol="v2"),
            rawws.websocket("/chat", handler),
            web.get("/chat", page),
            web.get("/plain", rawws.websocket(handler)),
        ]
    )
    url = await serve(app)
    for path, offered, expected in (
        ("/chat", [websockets.Subprotocol("v2")], "v2"),
        ("/chat", None, "none"),
        ("/plain", None, "none"),
    ):
        async with websockets.connect(url.replace("http", "ws") + path, subprotocols=offered) as ws:
            assert await ws.recv() == expected
    async with aiohttp.ClientSession() as client, client.get(url + "/chat") as response:
        assert await response.text() == "page"
    with pytest.raises(TypeError, match="unknown option"):
        rawws.websocket("/", handler, no_such_option=1)  # type: ignore[call-overload]
