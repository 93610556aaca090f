"""Clients against servers that are not ours: aiohttp, ``websockets``, picows, and ``ws`` of Node. C35 and others."""

from __future__ import annotations

import asyncio
import importlib
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import web

from aiohttp_rawws import Frame, HandshakeRefused, Opcode, PerMessageDeflate, connect, connect_raw

from ..tools.peers import serving
from .test_clients_node import modules  # noqa: F401  # a fixture

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

RECEIVE = 20.0
SIZES = (0, 1, 125, 126, 65535, 65536, 300_000)
TEXTS = ["", "Grüße, 世界! 🙂", *("ab" * (size // 2) for size in SIZES)]


def binary(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


# ---- the servers --------------------------------------------------------------------------


@asynccontextmanager
async def of_aiohttp(folder: Path) -> AsyncIterator[str]:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(protocols=["v1"])
        await response.prepare(request)
        async for message in response:
            if message.type is aiohttp.WSMsgType.TEXT:
                await response.send_str(message.data)
            else:
                await response.send_bytes(message.data)
        return response

    app = web.Application()
    app.router.add_get("/", echo)
    async with serving(app) as served:
        yield f"ws://127.0.0.1:{served.port}/"


@asynccontextmanager
async def of_websockets(folder: Path) -> AsyncIterator[str]:
    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    protocols: Any = ["v1"]
    async with websockets.serve(echo, "127.0.0.1", 0, subprotocols=protocols, max_size=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


@asynccontextmanager
async def of_picows(folder: Path) -> AsyncIterator[str]:
    try:
        picows: Any = importlib.import_module("picows")
    except ImportError:
        pytest.skip("there is no picows")

    class Echo(picows.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()
            elif frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
                transport.send(frame.msg_type, frame.get_payload_as_bytes(), frame.fin)

    def listener(request: Any) -> Any:
        if "sec-websocket-protocol" not in {name.lower() for name in request.headers}:
            return Echo()
        response = picows.WSUpgradeResponse.create_101_response(extra_headers={"Sec-WebSocket-Protocol": "v1"})
        return picows.WSUpgradeResponseWithListener(response, Echo())

    server = await picows.ws_create_server(listener, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@asynccontextmanager
async def of_node(folder: Path) -> AsyncIterator[str]:
    script = str(Path(__file__).with_name("ws_server.js"))
    env = {**os.environ, "NODE_PATH": str(folder)}
    process = await asyncio.create_subprocess_exec("node", script, env=env, stdout=PIPE)
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 60))
        yield f"ws://127.0.0.1:{port}/"
    finally:
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert b"error" not in output, output


Server = Callable[[Path], AbstractAsyncContextManager[str]]


@pytest.fixture(params=["aiohttp", "websockets", "picows", "node"])
def server(request: pytest.FixtureRequest) -> tuple[str, Callable[[], AbstractAsyncContextManager[str]]]:
    name: str = request.param
    folder: Path = request.getfixturevalue("modules") if name == "node" else Path()
    servers: dict[str, Server] = {
        "aiohttp": of_aiohttp,
        "websockets": of_websockets,
        "picows": of_picows,
        "node": of_node,
    }
    return name, lambda: servers[name](folder)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client_session:
        yield client_session


# ---- the tests ----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "deflate"])
async def test_c35_managed(http: aiohttp.ClientSession, server: Any, compression: bool) -> None:
    """Messages of all sizes, pings and the closing handshake."""
    name, serve = server
    async with serve() as url:
        extensions = [PerMessageDeflate()] if compression else []
        async with connect(http, url, extensions=extensions, protocols=["v2", "v1"]) as session:
            assert session.protocol == "v1"
            assert bool(session.extensions) is (compression and name != "picows")
            messages: list[str | bytes] = [*TEXTS, *map(binary, SIZES)]
            for message in messages:
                await session.send(message)
                received = await session.receive(RECEIVE)
                assert (received.text if isinstance(message, str) else received.payload) == message
            await asyncio.wait_for(session.ping(), RECEIVE)
        assert session.close_state.clean
        assert session.close_state.received is not None and session.close_state.received.code == 1000


async def test_c35_raw(http: aiohttp.ClientSession, server: Any) -> None:
    """Fragments with a ping between them, and a Close with a code of our own."""
    name, serve = server
    async with serve() as url:
        session = await connect_raw(http, url, protocols=["v1"])
        await session.send(Frame.text("Gr", fin=False))
        await session.send(Frame.ping(b"between"))
        await session.send(Frame.text("üße"))
        pongs, text = 0, ""
        while text != "Grüße":
            frame = await session.receive(RECEIVE)
            if frame.opcode is Opcode.PONG:
                assert frame.payload == b"between"
                pongs += 1
            else:
                text += bytes(frame.payload).decode()
        assert pongs == 1
        await session.send(Frame.close(4002, "bye"))
        close = await session.receive(RECEIVE)
        assert close.close_reason is not None
        assert close.close_reason.code == (
            1000 if name == "aiohttp" else 4002
        )  # aiohttp's server answers every code so
        await asyncio.wait_for(session.end(), RECEIVE)


async def test_c8_refusals_of_others(http: aiohttp.ClientSession) -> None:
    """What ``websockets`` says when it refuses is in the error."""

    async def handler(connection: Any) -> None:
        await connection.wait_closed()

    async with websockets.serve(handler, "127.0.0.1", 0, origins=["https://example.org"]) as served:  # type: ignore[list-item]
        url = f"ws://127.0.0.1:{next(iter(served.sockets)).getsockname()[1]}/"
        with pytest.raises(HandshakeRefused) as caught:
            await connect(http, url, origin="https://example.com")
        assert caught.value.status == 403
        assert b"example.com" in caught.value.body
        async with connect(http, url, origin="https://example.org"):
            pass


async def test_c1_early_frames_of_node(http: aiohttp.ClientSession, request: pytest.FixtureRequest) -> None:
    """What ``ws`` sends as soon as it is connected arrives."""
    async with of_node(request.getfixturevalue("modules")) as url:
        async with connect_raw(http, f"{url}early") as session:
            assert (await session.receive(RECEIVE)).text == "early"
            assert await session.receive(RECEIVE) == Frame.ping(b"early")
