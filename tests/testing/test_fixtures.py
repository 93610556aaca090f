"""The fixtures for users, as their tests use them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode
from aiohttp_rawws.testing import Peer
from aiohttp_rawws.testing.fixtures import (  # noqa: F401  # as pytest_plugins would load them
    RawwsClient,
    frame_log,
    rawws_client,
    rawws_pair,
    scripted_server,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def app() -> web.Application:
    async def raw(session: rawws.WebSocketServerSession) -> None:
        async for frame in session:
            if frame.opcode is Opcode.PING:
                await session.send(Frame.pong(frame.payload))
            elif frame.opcode is Opcode.CLOSE:
                await session.close(1000)

    async def shout(session: rawws.DefaultWebSocketServerSession) -> None:
        async for message in session:
            await session.send(message.text.upper())

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="page")

    app = web.Application()
    rawws.setup(app)
    app.add_routes([rawws.websocket_raw("/raw", raw), rawws.websocket("/shout", shout), web.get("/page", page)])
    return app


async def test_x8_rawws_client(rawws_client: type[RawwsClient], app: web.Application) -> None:  # noqa: F811
    async with rawws_client(app).connect_raw("/raw") as session:
        await session.send(Frame.ping(b"x"))
        assert await session.receive() == Frame.pong(b"x")


async def test_rawws_client_for_several_sessions(
    rawws_client: type[RawwsClient],  # noqa: F811
    app: web.Application,
) -> None:
    client = rawws_client(app)
    with pytest.raises(RuntimeError, match="the server runs while"):
        client.url("/page")
    async with client:
        async with client.connect("/shout") as first, client.connect("/shout", origin=None) as second:
            for session in (first, second):
                await session.send("hello")
                assert (await session.receive(20)).text == "HELLO"
        async with client.http.get(client.url("/page")) as response:
            assert await response.text() == "page"
    with pytest.raises(RuntimeError):
        _ = client.http


async def test_an_application_that_does_not_start_is_cleaned_up(
    rawws_client: type[RawwsClient],  # noqa: F811
    app: web.Application,
) -> None:
    seen = []

    async def resource(app: web.Application) -> AsyncIterator[None]:
        seen.append("opened")
        yield
        seen.append("closed")

    async def fails(app: web.Application) -> None:
        raise KeyError

    app.cleanup_ctx.append(resource)
    app.on_startup.append(fails)
    with pytest.raises(KeyError):
        async with rawws_client(app).connect_raw("/raw"):
            pass
    assert seen == ["opened", "closed"]


async def test_rawws_pair(rawws_pair: Callable[..., Any], frame_log: list[str]) -> None:  # noqa: F811
    server, client = rawws_pair(max_frame_size=100)
    await client.send("hello")
    assert (await server.receive()).text == "hello"
    server.abort()
    client.abort()
    assert any("< TEXT FIN masked 5 bytes 'hello'" in line for line in frame_log)


async def test_scripted_server(
    scripted_server: Callable[..., Any],  # noqa: F811
    frame_log: list[str],  # noqa: F811
) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Opcode.TEXT)

    async with scripted_server(script) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n\x81\x82\0\0\0\0hi")
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert any("TEXT FIN masked 2 bytes 'hi'" in line for line in frame_log)


FAILING = """
import pytest
from aiohttp_rawws import Frame

async def test_that_fails(rawws_pair):
    server, client = rawws_pair()
    await client.send("something sent")
    server.abort()
    client.abort()
    assert False

async def test_that_passes(rawws_pair):
    server, client = rawws_pair()
    await client.send("something else")
    server.abort()
    client.abort()
"""


def test_the_frames_are_shown_if_a_test_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["aiohttp_rawws.testing.fixtures"]\n')
    (tmp_path / "test_of_a_user.py").write_text(FAILING)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:aiohttp"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "1 failed, 1 passed" in result.stdout, result.stdout + result.stderr
    _, _, shown = result.stdout.partition("frames (< received, > sent)")
    assert "> TEXT FIN masked 14 bytes 'something sent'" in shown
    assert "something else" not in result.stdout


def test_no_suite_changes_by_installing_the_package() -> None:
    """There is no entry point for pytest, and the package does not need it."""
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "pytest11" not in setup
    code = "import sys, aiohttp_rawws.testing.__main__; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=50)
