"""Clients through proxies that are not ours: tinyproxy (HTTP) and microsocks (SOCKS5). C18 and C19 of the requirements.

On Debian: apt-get install tinyproxy-bin microsocks. Without them the tests are skipped, unless RAWWS_REQUIRE_PROXIES is
set.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from aiohttp_rawws import HandshakeRefused, connect, connect_raw

from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import certificates, serving

pytestmark = [pytest.mark.interop, pytest.mark.loops("asyncio", "uvloop")]

RECEIVE = 20.0


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("RAWWS_REQUIRE_PROXIES"):
        pytest.fail(f"RAWWS_REQUIRE_PROXIES is set, and {reason}")
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(program: str, port: int, *arguments: str) -> AsyncIterator[None]:
    """Run a proxy until the block ends. It listens on ``port`` when the block begins."""
    found = shutil.which(program)
    if found is None:
        unavailable(f"there is no {program} on PATH")
    process = await asyncio.create_subprocess_exec(found, *arguments, stdout=DEVNULL, stderr=DEVNULL)
    try:
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None, f"{program} has ended with {process.returncode}"
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
        else:
            raise AssertionError(f"{program} does not listen")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


def socks() -> Any:
    """The module ``aiohttp_socks``."""
    try:
        return importlib.import_module("aiohttp_socks")
    except ImportError:
        unavailable("there is no aiohttp-socks")


@asynccontextmanager
async def tinyproxy(folder: Path, *lines: str) -> AsyncIterator[URL]:
    port = free_port()
    configuration = folder / "tinyproxy.conf"
    base = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20", "Allow 127.0.0.1", "LogLevel Critical"]
    configuration.write_text("\n".join([*base, f'LogFile "{folder}/log"', *lines, ""]))
    async with running("tinyproxy", port, "-d", "-c", str(configuration)):
        yield URL(f"http://127.0.0.1:{port}")


async def echo(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse()
    await response.prepare(request)
    async for message in response:
        await response.send_str(message.data)
    return response


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/", echo)
    return app


async def talk(session: Any) -> None:
    for text in ("hello", "x" * 100_000):
        await session.send(text)
        assert (await session.receive(RECEIVE)).text == text


# ---- an HTTP proxy ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "environment"])
async def test_c18_wss_by_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """``wss:`` goes through an HTTP proxy by CONNECT, named by an argument or by the environment."""
    async with serving(application(), tls=True) as served, tinyproxy(tmp_path, f"ConnectPort {served.port}") as proxy:
        url = f"wss://localhost:{served.port}/"
        options: Any = {"ssl": certificates()[1]}
        if how == "environment":
            monkeypatch.setenv("wss_proxy", str(proxy))
            monkeypatch.setenv("https_proxy", str(proxy))
            monkeypatch.setenv("no_proxy", "")
        else:
            options["proxy"] = proxy
        async with aiohttp.ClientSession(trust_env=how == "environment") as http:
            async with connect(http, url, **options) as session:
                await talk(session)
                assert session.get_extra_info("peername")[1] == proxy.port
            async with connect_raw(http, url, **options) as raw:
                await raw.send("hello")
                assert (await raw.receive(RECEIVE)).text == "hello"


async def test_c18_authentication(tmp_path: Path) -> None:
    """The proxy's user and password go to the proxy only, and its refusal is told apart from the server's."""
    fields_of_server: list[set[str]] = []

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        fields_of_server.append({name.lower() for name in fields})
        if len(fields_of_server) > 1:
            await peer.refuse("407 Odd", {"Content-Length": "0"})
            return
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script, tls=True) as server:
        async with tinyproxy(tmp_path, f"ConnectPort {server.port}", "BasicAuth user secret") as proxy:
            options: Any = {"ssl": certificates()[1]}
            async with aiohttp.ClientSession() as http:
                with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
                    await connect_raw(http, server.url, proxy=proxy, **options)
                assert caught.value.status in (401, 407)
                with_password = proxy.with_user("user").with_password("secret")
                async with connect_raw(http, server.url, proxy=with_password, **options):
                    pass
                with pytest.raises(HandshakeRefused):  # the server's own 407
                    await connect_raw(http, server.url, proxy=with_password, **options)
    assert "proxy-authorization" not in fields_of_server[0]


async def test_c18_a_port_that_the_proxy_does_not_connect_to(tmp_path: Path) -> None:
    """A proxy that refuses is an error of its own, with its status."""
    async with aiohttp.ClientSession() as http, tinyproxy(tmp_path, "ConnectPort 443") as proxy:
        with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
            await connect_raw(http, "wss://127.0.0.1:9/", proxy=proxy)
        assert caught.value.status == 403


async def test_c18_a_proxy_that_is_not_there() -> None:
    """So is one that does not listen."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await connect_raw(http, "wss://127.0.0.1:9/", proxy=f"http://127.0.0.1:{free_port()}")


async def test_c18_ws_through_an_http_proxy(tmp_path: Path) -> None:
    """aiohttp sends CONNECT for TLS only: ``ws:`` is sent as a plain request, and this proxy does not know upgrades."""
    async with serving(application()) as served, tinyproxy(tmp_path) as proxy:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(HandshakeRefused) as caught:
                await connect_raw(http, f"ws://127.0.0.1:{served.port}/", proxy=proxy)
            assert caught.value.status == 400


# ---- a SOCKS proxy ------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_c19_socks(tls: bool) -> None:
    """``ws:`` and ``wss:`` go through a SOCKS proxy by the connector of aiohttp-socks."""
    aiohttp_socks = socks()
    port = free_port()
    async with running("microsocks", port, "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "password"):
        async with serving(application(), tls=tls) as served:
            url = f"{'wss' if tls else 'ws'}://localhost:{served.port}/"
            connector = aiohttp_socks.ProxyConnector.from_url(f"socks5://user:password@127.0.0.1:{port}")
            async with aiohttp.ClientSession(connector=connector) as http:
                async with connect(http, url, ssl=certificates()[1] if tls else True) as session:
                    await talk(session)
            connector = aiohttp_socks.ProxyConnector.from_url(f"socks5://user:wrong@127.0.0.1:{port}")
            async with aiohttp.ClientSession(connector=connector) as http:
                with pytest.raises(aiohttp_socks.ProxyError):
                    await connect(http, url)


async def test_c19_a_socks_proxy_that_does_not_answer() -> None:
    """``open_timeout`` covers the SOCKS proxy, too."""
    aiohttp_socks = socks()

    async def silent(peer: HandPeer) -> None:
        await peer.read_to_end()

    async with hand_server(silent) as server:
        connector = aiohttp_socks.ProxyConnector.from_url(f"socks5://127.0.0.1:{server.port}")
        async with aiohttp.ClientSession(connector=connector) as http:
            with pytest.raises(asyncio.TimeoutError):
                await connect(http, "ws://example.org/", open_timeout=1)
