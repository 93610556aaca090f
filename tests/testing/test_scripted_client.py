"""``scripted_client()``, with servers of this package."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode
from aiohttp_rawws.testing import HandshakeRequest, Peer, handshake_request, scripted_client

from ..tools.peers import Served, certificates, serving


async def echo(session: rawws.DefaultWebSocketServerSession) -> None:
    async for message in session:
        await session.send(message)


def application() -> web.Application:
    app = web.Application()
    rawws.setup(app, close_timeout=1)
    app.add_routes([rawws.websocket("/", echo)])
    return app


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(application()) as served:
        yield served


async def test_x8_a_script(served: Served) -> None:
    async def script(peer: Peer) -> None:
        assert peer.response is not None and peer.response.status == 101
        await peer.send("hello")
        await peer.expect(Frame.text("hello"))
        assert await peer.probe()
        await peer.close(4000)
        await peer.expect_close(4000)

    await scripted_client(f"ws://127.0.0.1:{served.port}/", script)


async def test_a_violation(served: Served) -> None:
    async def script(peer: Peer) -> None:
        peer.masking = False
        await peer.send("hello")
        await peer.expect_close(1002)
        await peer.expect_end("eof")

    await scripted_client(f"ws://127.0.0.1:{served.port}/", script)


async def test_frames_in_the_segment_of_the_request(served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}/"

    async def script(peer: Peer) -> None:
        await peer.expect(Frame.text("early"))

    early = b"\x81\x85\0\0\0\0early"
    await scripted_client(url, script, request=handshake_request(url) + early)


async def test_a_refusal(served: Served) -> None:
    url = f"ws://127.0.0.1:{served.port}/"

    async def script(peer: Peer) -> None:
        assert peer.response is not None
        assert peer.response.status == 403
        assert b"origin" in peer.response.body.lower()

    await scripted_client(url, script, request=handshake_request(url, headers={"Origin": "http://evil.example"}))


async def test_half_a_request(served: Served) -> None:
    async def script(peer: Peer) -> None:
        assert peer.response is None
        await peer.drip(b"GET / HTTP/1.1\r\n", 0.001)
        await peer.half_close()
        await peer.expect_end()

    await scripted_client(f"ws://127.0.0.1:{served.port}/", script, request=b"", wait=False)


async def test_what_a_script_raises_is_raised(served: Served) -> None:
    async def script(peer: Peer) -> None:
        await peer.send("hello")
        await peer.expect(Opcode.PING)

    with pytest.raises(AssertionError, match=r"a frame PING was expected, but <Frame TEXT 'hello'> came"):
        await scripted_client(f"ws://127.0.0.1:{served.port}/", script)


async def test_a_script_has_a_limit(served: Served) -> None:
    async def script(peer: Peer) -> None:
        await asyncio.sleep(60)

    with pytest.raises(AssertionError, match="the script did not end within 1 seconds"):
        await scripted_client(f"ws://127.0.0.1:{served.port}/", script, limit=1)


async def test_a_wait_of_a_script_is_not_the_limit_of_it(served: Served) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive(0.05)

    with pytest.raises(asyncio.TimeoutError):
        await scripted_client(f"ws://127.0.0.1:{served.port}/", script)


async def test_a_script_that_is_cancelled_has_failed(served: Served) -> None:
    async def script(peer: Peer) -> None:
        raise asyncio.CancelledError

    with pytest.raises(AssertionError, match="the script was cancelled"):
        await scripted_client(f"ws://127.0.0.1:{served.port}/", script)


@pytest.mark.parametrize("url", ["/path", "ws://", "//host/", "ftp://127.0.0.1:1/", "host:80"])
async def test_urls_are_checked(url: str) -> None:
    async def script(peer: Peer) -> None:
        raise AssertionError("there is no connection")

    with pytest.raises(ValueError, match="the URL must begin with ws:"):
        await scripted_client(url, script)


async def test_no_server() -> None:
    async def script(peer: Peer) -> None:
        raise AssertionError("there is no connection")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError):
            await scripted_client(f"ws://127.0.0.1:{unused.getsockname()[1]}/", script)


@pytest.mark.loops("asyncio")
async def test_tls() -> None:
    async def script(peer: Peer) -> None:
        await peer.send("hello")
        await peer.expect(Frame.text("hello"))
        await peer.close(1000)
        await peer.expect_close(1000)

    async with serving(application(), tls=True) as served:
        await scripted_client(f"wss://127.0.0.1:{served.port}/", script, ssl=certificates()[1])


def test_request() -> None:
    request = HandshakeRequest(handshake_request("ws://[::1]:80/a%20b?c=d"))
    assert (request.method, request.target, request.headers["Host"]) == ("GET", "/a%20b?c=d", "[::1]")
    assert len(request.key) == 24
    other = handshake_request("ws://h", headers=[("host", "x"), ("A", "1")], drop=["UPGRADE"], method="POST")
    assert other.startswith(b"POST / HTTP/1.1\r\nConnection: Upgrade\r\n")
    assert other.endswith(b"\r\nhost: x\r\nA: 1\r\n\r\n")
    assert b"Upgrade: " not in other
