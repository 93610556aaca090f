"""nginx and HAProxy in front, with the configurations of docs/howto/proxies.md as they stand there.

Both are Debian's. Without them the tests are skipped, unless RAWWS_REQUIRE_PROXIES is set.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from playwright.async_api import async_playwright

from ..system.test_browser import EXECUTABLE, FLAGS
from ..tools.peers import serving
from ..tools.programs import find, serving_on_a_port
from .deployed import Address, application, becomes, block_of_the_docs, probe, receive

pytestmark = [pytest.mark.interop, pytest.mark.loops("asyncio"), pytest.mark.timeout(120)]

REQUIRE = "RAWWS_REQUIRE_PROXIES"


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


Command = Callable[[int], Sequence[str]]


def nginx(folder: Path, upstream: str, tls: str = "") -> Command:
    """The command of an nginx with the configuration of the page."""
    program = find("nginx", "nginx-light", REQUIRE)
    page = block_of_the_docs("proxies.md", "nginx")

    def command(port: int) -> Sequence[str]:
        site = replaced(page, {"listen 80;": f"listen 127.0.0.1:{port}{tls};", "http://127.0.0.1:8080": upstream})
        temporary = [f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        settings = [
            "daemon off; master_process off;",  # one process, of this user, that ends with the test
            f"pid {folder}/pid; error_log stderr;",
            "events {}",
            "http { access_log off;",
            *temporary,
            site,
            "}",
        ]
        config = folder / "nginx.conf"
        config.write_text("\n".join(settings), encoding="utf-8")
        return [program, "-p", str(folder), "-e", "stderr", "-c", str(config)]

    return command


def haproxy(folder: Path, upstream: str) -> Command:
    program = find("haproxy", "haproxy", REQUIRE)
    page = block_of_the_docs("proxies.md", "haproxy")
    server = upstream.removeprefix("http://").removeprefix("unix:")

    def command(port: int) -> Sequence[str]:
        config = folder / "haproxy.cfg"
        config.write_text(replaced(page, {":80\n": f"127.0.0.1:{port}\n", "127.0.0.1:8080": server}), encoding="utf-8")
        return [program, "-db", "-f", str(config)]

    return command


@asynccontextmanager
async def behind(proxy: Callable[..., Command], folder: Path, unix: bool = False, **how: Any) -> AsyncIterator[Address]:
    """The application behind a proxy on a free port, over TCP or a Unix socket."""
    path = folder / "socket" if unix else None
    async with serving(application(), unix=path) as served:
        upstream = f"http://127.0.0.1:{served.port}" if path is None else f"http://unix:{path}"
        with serving_on_a_port(proxy(folder, upstream, **how), folder / "log") as port:
            yield Address(f"http://127.0.0.1:{port}")


each_proxy = pytest.mark.parametrize("proxy", [nginx, haproxy], ids=["nginx", "haproxy"])


@each_proxy
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_sessions(proxy: Any, unix: bool, folder: Path) -> None:
    async with behind(proxy, folder, unix) as address:
        await probe(address)


async def test_tls_ends_at_nginx(folder: Path) -> None:
    """The application sees http, the browser https."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "pem")
    tls = f" ssl; ssl_certificate {folder}/pem; ssl_certificate_key {folder}/pem"
    async with behind(nginx, folder, tls=tls) as address:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        await probe(Address(address.url.replace("http", "https", 1), tls=context))


TALK = """
    () => new Promise((resolve, reject) => {
        const socket = new WebSocket(location.href.replace("http", "ws"));
        socket.onopen = () => socket.send("from a browser");
        socket.onmessage = event => { resolve(event.data); socket.close(4001) };
        socket.onclose = event => reject(`closed with ${event.code}`);
    })
"""


@pytest.mark.skipif(EXECUTABLE is None and not os.environ.get("RAWWS_REQUIRE_BROWSER"), reason="no Chromium on PATH")
@pytest.mark.xdist_group("browser")
async def test_a_browser_on_this_port(folder: Path) -> None:
    """The page and its socket are at one address, whose port is none of HTTP's."""
    assert EXECUTABLE is not None, "RAWWS_REQUIRE_BROWSER is set, and there is no Chromium on PATH"
    async with behind(nginx, folder) as address, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        page = await browser.new_page()
        await page.goto(f"{address.url}/chat")
        assert await page.evaluate(TALK) == "from a browser"
        await browser.close()
        await becomes(address, "codes", [4001])


@each_proxy
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_the_address_of_the_client(proxy: Any, unix: bool, folder: Path) -> None:
    """The middleware of the page believes the proxy, and not what the client has sent to it."""
    async with behind(proxy, folder, unix) as address:
        for forged in {}, {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "203.0.113.7, 203.0.113.8"}:
            assert (await address.state(forged))["remote"] == "127.0.0.1"


@each_proxy
async def test_the_proxy_ends(proxy: Any, folder: Path) -> None:
    """Its sessions end at both sides."""
    async with serving(application()) as served:
        direct = Address(f"http://127.0.0.1:{served.port}")
        with serving_on_a_port(proxy(folder, direct.url), folder / "log") as port:
            client = await Address(f"http://127.0.0.1:{port}").connect("/push")
            assert await receive(client) == "0"
            await becomes(direct, "live", ["/push"])
        await asyncio.wait_for(client.wait_closed(), 20)
        assert client.close_code == 1006
        await becomes(direct, "live", [])


@each_proxy
async def test_the_application_ends(proxy: Any, folder: Path) -> None:
    """Its clients get 1001 through the proxy."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(application()))
        with serving_on_a_port(proxy(folder, f"http://127.0.0.1:{served.port}"), folder / "log") as port:
            address = Address(f"http://127.0.0.1:{port}")
            clients = [await address.connect(path) for path in ("/chat", "/raw")]
            await becomes(address, "live", ["/chat", "/raw"])
            await asyncio.wait_for(stack.aclose(), 20)
            await asyncio.wait_for(asyncio.gather(*(client.wait_closed() for client in clients)), 20)
    assert [client.close_code for client in clients] == [1001, 1001]
