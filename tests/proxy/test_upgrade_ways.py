"""Ways between a gateway and its neighbours: TLS, Unix sockets, IPv6. The ids are those of the requirements."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

import aiohttp_rawws as rawws
from aiohttp_rawws.proxy.fields import add_forwarded

from ..tools.gateways import Gateway, gateway
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import TEXT, certificates, close_frame, frame, request_bytes, serving
from ..tools.waiting import eventually


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough for Unix sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="rawws-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def echo(session: rawws.DefaultWebSocketServerSession) -> None:
    async for message in session:
        fields = session.request.headers
        await session.send(f"{message.text} {fields['Host']} {fields.get('X-Forwarded-For')}")


def application() -> web.Application:
    app = web.Application()
    rawws.setup(app, origins=None)
    app.add_routes([rawws.websocket("/", echo)])
    return app


async def talk(served: Gateway, expected: str) -> None:
    async with served.peer() as peer:
        await peer.open()
        await peer.send(frame(TEXT, b"hello"))
        assert await peer.frame() == (TEXT, expected.encode())
        await peer.send(close_frame())
        await peer.closed_by_server(1000)
        assert await peer.read_to_end() == b""
        peer.writer.close()
        await eventually(lambda: not served.held)


@pytest.mark.parametrize("client_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_tls_to_the_upstream_server(client_tls: bool, scheme: str) -> None:
    async with serving(application(), tls=True) as upstream:
        url = f"{scheme}://localhost:{upstream.port}"
        async with gateway(url, ssl=certificates()[1], serve={"tls": client_tls}) as served:
            await talk(served, "hello 127.0.0.1 127.0.0.1")


async def test_tls_that_is_not_trusted_is_502() -> None:
    async with serving(application(), tls=True) as upstream:
        async with gateway(f"https://localhost:{upstream.port}") as served:
            assert (await served.ask()).status == 502
        async with gateway(f"http://localhost:{upstream.port}") as served:
            assert (await served.ask()).status == 502
        other: dict[str, Any] = {"ssl": certificates()[1], "server_hostname": "elsewhere.example"}
        async with gateway(f"https://localhost:{upstream.port}", **other) as served:
            assert (await served.ask()).status == 502


async def test_g21_http_1_1_is_the_only_protocol_that_is_offered() -> None:
    """A server that prefers HTTP/2 is not asked for it. aiohttp sees to that."""
    server, _ = certificates()
    chosen: list[str | None] = []

    async def script(peer: HandPeer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await peer.accept()
        await peer.read_to_end()

    server.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with hand_server(script, tls=True) as upstream, gateway(upstream.url, ssl=False) as served:
            async with served.peer() as peer:
                await peer.open()
                peer.writer.close()
                await eventually(lambda: not served.held)
    finally:
        server.set_alpn_protocols(["http/1.1"])
    assert chosen in (["http/1.1"], [None])  # earlier releases of aiohttp offer nothing


@pytest.mark.parametrize("which", ["client", "upstream"])
async def test_unix_sockets(which: str, folder: Path) -> None:
    path = folder / "socket"
    if which == "client":
        async with serving(application()) as upstream:
            async with gateway(f"http://127.0.0.1:{upstream.port}", serve={"unix": path}) as served:
                await talk(served, "hello 127.0.0.1 None")
    else:
        async with serving(application(), unix=path):
            connector = lambda: aiohttp.UnixConnector(str(path))  # noqa: E731
            async with gateway("http://any.example", connector=connector) as served:
                await talk(served, "hello 127.0.0.1 127.0.0.1")


@pytest.mark.parametrize(
    ("how", "trust", "expected"),
    [
        ("x-forwarded", (), None),
        ("x-forwarded", ("unix",), "1.2.3.4"),
        ("rfc7239", ("unix",), 'for=9.9.9.9, for=unknown;proto=http;host="127.0.0.1"'),
    ],
    ids=str,
)
async def test_g16_a_client_without_an_address(how: Any, trust: Any, expected: str | None, folder: Path) -> None:
    got: list[str | None] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        got.append(peer.fields.get("Forwarded" if how == "rfc7239" else "X-Forwarded-For"))

    async with (
        hand_server(script) as upstream,
        gateway(upstream.url, serve={"unix": folder / "socket"}, forwarded=how, trust=trust) as served,
        served.peer() as peer,
    ):
        await peer.send(request_bytes("/", {"X-Forwarded-For": "1.2.3.4", "Forwarded": "for=9.9.9.9"}))
        assert (await peer.answer()).status == 101
        await peer.read_to_end()
        peer.writer.close()
        await eventually(lambda: not served.held)
    assert got == [expected]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
async def on_ipv6() -> AsyncIterator[int]:
    """The port of the application on ``::1``."""
    runner = web.AppRunner(application(), shutdown_timeout=5.0)
    await runner.setup()
    await web.TCPSite(runner, "::1", 0).start()
    yield runner.addresses[0][1]
    await asyncio.wait_for(runner.cleanup(), 20)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("preserve_host", [True, False])
async def test_ipv6_to_the_upstream_server(on_ipv6: int, preserve_host: bool) -> None:
    async with gateway(f"http://[::1]:{on_ipv6}", preserve_host=preserve_host) as served:
        host = "127.0.0.1" if preserve_host else f"[::1]:{on_ipv6}"
        await talk(served, f"hello {host} 127.0.0.1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.1", 5), 'for=192.0.2.1;proto=http;host="h"'),
        (("2001:db8::1", 5, 0, 0), 'for="[2001:db8::1]";proto=http;host="h"'),
        (("fe80::1%eth0", 5, 0, 3), 'for="[fe80::1]";proto=http;host="h"'),
        (("::ffff:192.0.2.1", 5, 0, 0), 'for=192.0.2.1;proto=http;host="h"'),
        ("", 'for=unknown;proto=http;host="h"'),
    ],
    ids=str,
)
def test_g16_addresses_as_rfc_7239_has_them(address: Any, expected: str) -> None:
    transport = Mock()
    transport.get_extra_info = lambda name, default=None: address if name == "peername" else default
    request = make_mocked_request("GET", "/", {"Host": "h"}, transport=transport)
    fields: CIMultiDict[str] = CIMultiDict()
    add_forwarded(fields, request, "rfc7239")
    assert fields == {"Forwarded": expected}
