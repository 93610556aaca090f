"""The ways of clients to a server, which are aiohttp's: TLS, unix sockets, IPv6, cookies, authentication, tracing. The
ids are those of the requirements. Proxies are in ``tests/system/test_client_proxies.py``."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import ssl
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import HandshakeRefused, connect, connect_raw
from aiohttp_rawws.testing import Handshake, HandshakeRequest

from ..conftest import LOOPS
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import certificates, serving
from ..tools.waiting import eventually

RECEIVE = 20.0


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client_session:
        yield client_session


async def echo(request: web.Request) -> web.WebSocketResponse:
    """aiohttp's own WebSocket."""
    response = web.WebSocketResponse()
    response.headers["X-Host"] = request.host
    response.set_cookie("seen", "yes")
    await response.prepare(request)
    async for message in response:
        await response.send_str(message.data)
    return response


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/", echo)
    return app


async def talk(session: Any) -> None:
    await session.send("hello")
    assert (await session.receive(RECEIVE)).text == "hello"


# ---- C17: a session that is dropped --------------------------------------------------------


@pytest.mark.parametrize("connecting", [connect_raw, connect], ids=["raw", "managed"])
@pytest.mark.parametrize("ended_by", ["peer", "ClientSession"])
async def test_c17_dropped_without_closing(connecting: Any, ended_by: str) -> None:
    """A session that was dropped without closing lasts until its peer or the ClientSession ends it."""
    leave = asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        await leave.wait()
        if ended_by == "peer":
            peer.reset()
        else:
            await peer.read_to_end()

    async with aiohttp.ClientSession() as http, hand_server(script) as server:
        connector: Any = http.connector
        session = await connecting(http, server.url)
        dropped = weakref.ref(session)
        del session
        leave.set()
        if ended_by == "ClientSession":
            await http.close()
        await eventually(lambda: not connector._acquired and not server.open)
        await asyncio.sleep(0.05)
        gc.collect()
        assert dropped() is None


def accepting(listener: socket.socket, accepted: list[socket.socket]) -> None:
    """Open one WebSocket, without an event loop."""
    connection, _ = listener.accept()
    accepted.append(connection)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(65536)
    connection.sendall(Handshake().head(HandshakeRequest(head)))


@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("connecting", [connect_raw, connect], ids=["raw", "managed"])
def test_c17_left_open_when_the_loop_is_closed(connecting: Any, loop_factory: Any) -> None:
    """It gives one ResourceWarning that names the session, beside those of asyncio and aiohttp, and no exception."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=accepting, args=(listener, accepted), daemon=True)
        thread.start()

        async def leave_open() -> Any:
            client_session = aiohttp.ClientSession()
            return client_session, await connecting(client_session, f"ws://127.0.0.1:{listener.getsockname()[1]}/feed")

        loop = loop_factory()
        left = loop.run_until_complete(asyncio.wait_for(leave_open(), RECEIVE))
        with pytest.warns(ResourceWarning) as caught:
            loop.close()
            del left
            gc.collect()
        thread.join(RECEIVE)
        accepted[0].close()
    assert len([each for each in caught if "/feed" in str(each.message) and "was not closed" in str(each.message)]) == 1


LEAVES_ALL_OPEN = """
import asyncio, sys
import aiohttp
import aiohttp_rawws

async def main():
    client_session = aiohttp.ClientSession()
    left.append(await aiohttp_rawws.connect(client_session, sys.argv[1]))
    left.append(client_session)

left = []
left.append(left)  # only the garbage collector can free it, after the modules
asyncio.run(main())
"""


def test_c17_left_open_when_the_interpreter_exits() -> None:
    """The same at the very end, when modules are being taken down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=accepting, args=(listener, accepted), daemon=True)
        thread.start()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/feed"
        command = [sys.executable, "-W", "always", "-c", LEAVES_ALL_OPEN, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RECEIVE, check=True)
        thread.join(RECEIVE)
        accepted[0].close()
    assert "was not closed before its event loop" in done.stderr
    assert "Exception ignored" not in done.stderr


# ---- C20: TLS -----------------------------------------------------------------------------


async def test_c20_a_context_of_ones_own(http: aiohttp.ClientSession) -> None:
    """An own context works; without it the failure names the host."""
    async with serving(application(), tls=True) as served:
        url = f"wss://localhost:{served.port}/"
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="localhost"):
            await connect_raw(http, url)
        async with connect(http, url, ssl=certificates()[1]) as session:
            await talk(session)
            assert session.get_extra_info("ssl_object") is not None
        async with connect(http, url, ssl=False) as session:
            await talk(session)


async def test_c20_server_hostname_and_host(http: aiohttp.ClientSession) -> None:
    """The name in the certificate and ``Host`` may differ from the address."""
    async with serving(application(), tls=True) as served:
        authority = trustme.CA()
        other = ssl.create_default_context()
        authority.configure_trust(other)
        url = f"wss://127.0.0.1:{served.port}/"
        options: Any = {"ssl": certificates()[1], "server_hostname": "localhost", "headers": {"Host": "example.org"}}
        async with connect(http, url, **options) as session:
            await talk(session)
            assert session.response.headers["X-Host"] == "example.org"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await connect(http, url, ssl=certificates()[1], server_hostname="example.com")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await connect(http, url, ssl=other)


async def test_c20_client_certificate_and_fingerprint(http: aiohttp.ClientSession) -> None:
    """A client certificate is sent, and a fingerprint is checked."""
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_certificate = authority.issue_cert("localhost")
    server_certificate.configure_cert(server_context)
    authority.configure_trust(server_context)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    authority.issue_cert("client@example.org").configure_cert(client_context)

    der = ssl.PEM_cert_to_DER_cert(server_certificate.cert_chain_pems[0].bytes().decode())
    right, wrong = hashlib.sha256(der).digest(), bytes(32)
    runner = web.AppRunner(application(), shutdown_timeout=5.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context).start()
        url = f"wss://localhost:{runner.addresses[0][1]}/"
        async with connect(http, url, ssl=client_context) as session:
            await talk(session)
    finally:
        await runner.cleanup()
    async with serving(application(), tls=True) as served:
        address = f"wss://localhost:{served.port}/"
        with pytest.raises(aiohttp.ServerFingerprintMismatch):
            await connect_raw(http, address, ssl=aiohttp.Fingerprint(wrong))
        async with connect_raw(http, address, ssl=certificates()[1]) as session:
            der = session.get_extra_info("ssl_object").getpeercert(True)
        right = hashlib.sha256(der).digest()
        async with connect(http, address, ssl=aiohttp.Fingerprint(right)) as session:
            await talk(session)


# ---- C21, C22: addresses ------------------------------------------------------------------


async def test_c21_unix_sockets(tmp_path: Path) -> None:
    """A UnixConnector works, with the ``Host`` of the URL."""
    path = tmp_path / "socket"
    async with serving(application(), unix=path):
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
            for connecting in (connect_raw, connect):
                async with connecting(http, "ws://example.org/") as session:
                    await talk(session)
                    assert session.response.headers["X-Host"] == "example.org"


async def test_c22_ipv6(http: aiohttp.ClientSession) -> None:
    """An IPv6 literal works."""
    runner = web.AppRunner(application(), shutdown_timeout=5.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "::1", 0).start()
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = runner.addresses[0][1]
        async with connect(http, f"ws://[::1]:{port}/") as session:
            await talk(session)
            assert session.response.headers["X-Host"] == f"[::1]:{port}"
    finally:
        await runner.cleanup()


async def test_c22_a_dead_first_address() -> None:
    """With happy eyeballs a first address that does not answer costs a moment, not the whole limit."""
    with socket.socket() as listener:  # nobody accepts: the second SYN and all others get no answer
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        held = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", port))
            held.append(each)

        class Resolver(aiohttp.abc.AbstractResolver):
            async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
                common = {"hostname": host, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
                return [{**common, "host": address} for address in ("127.0.0.2", "127.0.0.1")]

            async def close(self) -> None:
                pass

        runner = web.AppRunner(application(), shutdown_timeout=5.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            connector = aiohttp.TCPConnector(resolver=Resolver(), happy_eyeballs_delay=0.25)
            async with aiohttp.ClientSession(connector=connector) as http:
                async with connect(http, f"ws://example.org:{port}/", open_timeout=10) as session:
                    await talk(session)
        finally:
            await runner.cleanup()
            for each in held:
                each.close()


# ---- C24: cookies and authentication ------------------------------------------------------


async def test_c24_cookies() -> None:
    """Cookies of the jar go out, and those of the 101 come in."""
    async with serving(application()) as served:
        url = f"ws://127.0.0.1:{served.port}/"
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, cookies={"mine": "1"}) as http:
            async with connect(http, url) as session:
                assert session.response.cookies["seen"].value == "yes"
            assert {cookie.key: cookie.value for cookie in jar} == {"mine": "1", "seen": "yes"}

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        assert fields["Cookie"] == "mine=1"
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server, aiohttp.ClientSession(cookies={"mine": "1"}) as http:
        http.cookie_jar.update_cookies({"mine": "1"})
        async with connect_raw(http, server.url):
            pass


@pytest.mark.parametrize("how", ["header", "url"])
async def test_c24_basic_and_bearer(http: aiohttp.ClientSession, how: str) -> None:
    """Basic authentication by the URL, a bearer token by a field."""

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        assert fields.getall("Authorization") == ["Bearer x" if how == "header" else "Basic dXNlcjpwdw=="]
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server:
        if how == "header":
            async with connect_raw(http, server.url, headers={"Authorization": "Bearer x"}):
                pass
        else:
            async with connect_raw(http, server.url.replace("//", "//user:pw@")):
                pass


@pytest.mark.skipif(not hasattr(aiohttp, "DigestAuthMiddleware"), reason="aiohttp has it since 3.12")
async def test_c24_digest() -> None:
    """Digest authentication by the middleware of aiohttp: the first try is refused, the second opens."""
    seen: list[str] = []

    async def script(peer: HandPeer) -> None:
        while True:
            fields = await peer.request()
            seen.append(fields.get("Authorization", ""))
            if len(seen) == 1:
                challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
                await peer.refuse("401 Unauthorized", {"WWW-Authenticate": challenge, "Content-Length": "0"})
            else:
                await peer.send(peer.head())
                await peer.read_to_end()
                return

    middleware = aiohttp.DigestAuthMiddleware("user", "password")
    async with hand_server(script) as server, aiohttp.ClientSession(middlewares=[middleware]) as http:
        async with connect_raw(http, server.url):
            pass
    assert seen[0] == "" and seen[1].startswith('Digest username="user"')


# ---- C34: tracing -------------------------------------------------------------------------


async def test_c34_tracing() -> None:
    """aiohttp's tracing fires for the handshake, in its order."""
    events: list[str] = []
    trace = aiohttp.TraceConfig()

    def note(name: str) -> Any:
        async def signal(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:
            events.append(name)

        return signal

    names = ["request_start", "connection_create_start", "connection_create_end", "request_headers_sent", "request_end"]
    for name in [*names, "request_exception"]:
        getattr(trace, f"on_{name}").append(note(name))
    async with serving(application()) as served, aiohttp.ClientSession(trace_configs=[trace]) as http:
        url = f"ws://127.0.0.1:{served.port}/"
        async with connect(http, url) as session:
            await talk(session)
        assert events == names
        events.clear()
        with pytest.raises(HandshakeRefused):
            await connect(http, f"{url}missing")
        assert events == names


# ---- C35: loops ---------------------------------------------------------------------------


async def test_c35_our_own_server(http: aiohttp.ClientSession) -> None:
    """A client and a server of this package, on each loop, with compression."""

    async def handle(session: rawws.DefaultWebSocketServerSession) -> None:
        async for message in session:
            await session.send(message)

    app = web.Application()
    app.add_routes([rawws.websocket("/", handle, extensions=[rawws.PerMessageDeflate()])])
    rawws.setup(app)
    async with serving(app) as served:
        url = f"ws://127.0.0.1:{served.port}/"
        async with connect(http, url, extensions=[rawws.PerMessageDeflate()]) as session:
            for size in (0, 125, 126, 65535, 65536, 1_000_000):
                await session.send(b"ab" * (size // 2))
                assert (await session.receive(RECEIVE)).payload == b"ab" * (size // 2)
        assert session.close_state.clean


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_c35_aiofastnet(tls: bool) -> None:
    """Over the transports of aiofastnet."""
    aiofastnet = pytest.importorskip("aiofastnet")

    async def run() -> None:
        async with serving(application(), tls=tls) as served, aiohttp.ClientSession() as http:
            url = f"{'wss' if tls else 'ws'}://localhost:{served.port}/"
            for connecting in (connect_raw, connect):
                async with connecting(http, url, ssl=certificates()[1] if tls else True) as session:
                    raw: Any = getattr(session, "raw", session)
                    assert "aiofastnet" in type(raw.transport).__module__
                    await talk(session)

    loop = aiofastnet.loop_factory()()
    try:
        loop.run_until_complete(asyncio.wait_for(run(), RECEIVE))
    finally:
        loop.close()
