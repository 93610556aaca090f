"""``python -m demos.gateway ADDRESS`` in front of an application, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

import aiohttp_rawws as rawws
from demos import gateway

from ..tools.hand_server import HandPeer, HandServer, hand_server
from ..tools.peers import Peer, Served, request_bytes, serving
from ..tools.programs import free_port
from ..tools.serving import serve

pytestmark = pytest.mark.loops("asyncio")

NOISE = random.Random(1).randbytes(5 * 2**20)
PACKED = gzip.compress(b"packed" * 1000)


class Application:
    """An application that says what it has got."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.go = asyncio.Event()

    async def show(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = {"method": request.method, "path": request.raw_path, "fields": [*request.headers.items()]}
        response = web.json_response({**told, "size": len(body), "hash": hashlib.sha256(body).hexdigest()})
        response.headers.extend([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Own", "1")])
        response.set_status(int(request.query.get("status", 200)))
        return response

    async def packed(self, request: web.Request) -> web.Response:
        return web.Response(body=PACKED, headers={"Content-Encoding": "gzip"})

    async def large(self, request: web.Request) -> web.Response:
        return web.Response(body=NOISE)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Two events, the second of them when the test says so."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await self.go.wait()
        await response.write(b"data: 2\n\n")
        return response

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(NOISE)
        except ConnectionError:
            self.gone.set()
        return response

    async def broken(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def first_bytes(self, request: web.Request) -> web.Response:
        """Answer before the body is complete."""
        data = await request.content.readany()
        self.go.set()
        async for piece in request.content.iter_any():
            data += piece
        return web.Response(text=f"{len(data)}")

    async def echo(self, session: rawws.DefaultWebSocketServerSession) -> None:
        async for message in session:
            await session.send(message)

    def make(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        rawws.setup(app)
        app.add_routes(
            [
                rawws.websocket("/echo", self.echo, protocols=["v1"], extensions=[rawws.PerMessageDeflate()]),
                web.get("/packed", self.packed),
                web.get("/large", self.large),
                web.get("/events", self.events),
                web.get("/endless", self.endless),
                web.get("/broken", self.broken),
                web.post("/first-bytes", self.first_bytes),
            ]
        )
        app.router.add_route("*", "/{tail:(?s:.*)}", self.show)
        return app


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar, auto_decompress=False) as session:
        yield session


@asynccontextmanager
async def fronted() -> AsyncIterator[tuple[str, Application]]:
    """The address of the gateway, and the application behind it."""
    application = Application()
    async with serving(application.make()) as upstream:
        app = gateway.init_in_front_of(f"http://127.0.0.1:{upstream.port}")
        async with serving(app) as served:
            yield f"http://127.0.0.1:{served.port}", application
            application.go.set()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"])
async def test_requests_and_their_answers(client: aiohttp.ClientSession, method: str) -> None:
    async with fronted() as (url, _):
        body = NOISE if method in ("POST", "PUT", "PATCH") else None
        fields = [("Cookie", "x=1"), ("X-Own", "1"), ("X-Own", "2"), ("X-Forwarded-For", "1.2.3.4"), ("TE", "trailers")]
        target = URL(f"{url}/a%2Fb//c%0A?d=+%20", encoded=True)
        async with client.request(
            method, target, data=None if body is None else io.BytesIO(body), headers=fields
        ) as answer:
            seen = await answer.json()
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert (seen["method"], seen["path"]) == (method, "/a%2Fb//c%0A?d=+%20")
        assert seen["size"] == len(body or b"")
        assert seen["hash"] == hashlib.sha256(body or b"").hexdigest()
        got = [(name.lower(), value) for name, value in seen["fields"]]
        assert ("cookie", "x=1") in got
        assert [value for name, value in got if name == "x-own"] == ["1", "2"]
        assert dict(got)["x-forwarded-for"] == "127.0.0.1"
        assert dict(got)["host"] == url.removeprefix("http://")
        assert "te" not in dict(got)


@pytest.mark.parametrize("status", [204, 304, 302, 404, 500])
async def test_statuses(client: aiohttp.ClientSession, status: int) -> None:
    async with fronted() as (url, _), client.get(f"{url}/?status={status}", allow_redirects=False) as answer:
        assert answer.status == status
        assert answer.headers["X-Own"] == "1"
        assert bool(await answer.read()) is (status not in (204, 304))


async def test_bodies_as_they_came(client: aiohttp.ClientSession) -> None:
    async with fronted() as (url, _):
        async with client.get(f"{url}/packed") as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.read() == PACKED
        async with client.get(f"{url}/large") as answer:
            assert answer.content_length == len(NOISE)
            assert await answer.read() == NOISE
        async with client.head(f"{url}/large") as answer:
            assert answer.content_length == len(NOISE)
            assert await answer.read() == b""


async def test_bodies_go_while_they_come(client: aiohttp.ClientSession) -> None:
    async with fronted() as (url, application):
        async with client.get(f"{url}/events") as answer:
            assert await answer.content.readuntil(b"\n\n") == b"data: 1\n\n"
            application.go.set()
            assert await answer.read() == b"data: 2\n\n"
        application.go.clear()

        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.wait_for(application.go.wait(), 20)  # the other side has it
            yield b"second"

        async with client.post(f"{url}/first-bytes", data=pieces()) as answer:
            assert await answer.text() == "11"


async def test_a_client_that_leaves_ends_the_body(client: aiohttp.ClientSession) -> None:
    async with fronted() as (url, application):
        async with client.get(f"{url}/endless") as answer:
            await answer.content.readany()
        await asyncio.wait_for(application.gone.wait(), 20)


async def test_a_body_that_breaks_off(client: aiohttp.ClientSession) -> None:
    async with fronted() as (url, _), client.get(f"{url}/broken") as answer:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_websockets(client: aiohttp.ClientSession) -> None:
    async with fronted() as (url, _):
        for compress in (0, 15):
            socket = client.ws_connect(f"{url}/echo", protocols=["v1"], compress=compress, origin=url)
            async with socket as ws:
                assert (ws.protocol, bool(ws.compress)) == ("v1", bool(compress))
                for message in ("hello", "x" * 300_000):
                    await ws.send_str(message)
                    assert await ws.receive_str() == message


async def test_upgrades_that_are_none(client: aiohttp.ClientSession) -> None:
    """They are requests like others, without the upgrade."""
    async with fronted() as (url, _):
        for method, fields in (
            ("GET", {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "x"}),
            ("POST", {"Upgrade": "websocket", "Connection": "Upgrade"}),
        ):
            async with client.request(method, f"{url}/", headers=fields, data=b"body") as answer:
                seen = await answer.json()
            names = {name.lower() for name, _ in seen["fields"]}
            assert not names & {"upgrade", "http2-settings"}
            assert (seen["method"], seen["size"]) == (method, 4)


async def test_a_server_that_is_not_there(client: aiohttp.ClientSession) -> None:
    port = free_port()
    async with serving(gateway.init_in_front_of(f"http://127.0.0.1:{port}")) as served:
        async with client.get(f"http://127.0.0.1:{served.port}/") as answer:
            assert answer.status == 502
            assert f"http://127.0.0.1:{port} cannot be reached" in await answer.text()
        assert (await served.ask()).status == 502  # an upgrade
        async with served.peer() as peer:
            await peer.send(request_bytes("/../x", upgrade=False))
            assert (await peer.answer()).status == 400


class Behind:
    """A server made of bytes, behind the gateway.

    Attributes:
        got: What has arrived: the number of its connection, the request line, the fields, and the body.
        ends: For each connection that has ended what came behind the last request that was answered.
        is_early: Answer a request with a body before its body is read.
        hangs_up: End the connection in the middle of the next body.
    """

    def __init__(self) -> None:
        self.got: list[tuple[int, str, CIMultiDict[str], bytes]] = []
        self.ends: asyncio.Queue[bytes] = asyncio.Queue()
        self.begun = asyncio.Event()  # the first bytes of a body are here
        self.is_early = False
        self.hangs_up = False
        self.reply = ("200 OK", {"Content-Length": "2"}, b"ok")
        self.connections = 0
        self.front: Served
        self.server: HandServer

    async def serve(self, peer: HandPeer) -> None:
        self.connections += 1
        number = self.connections
        while True:
            fields = CIMultiDict(await peer.request())
            line = peer.line
            if self.is_early and ("Transfer-Encoding" in fields or "Content-Length" in fields):
                await peer.read(1)
                self.got.append((number, line, fields, b""))
                await peer.refuse(*self.reply)
                break
            body = await self.body(peer, fields)
            if body is None:
                break
            self.got.append((number, line, fields, body))
            status, named, content = self.reply
            await peer.refuse(status, named, b"" if line.startswith("HEAD") else content)
        if not self.hangs_up:
            self.ends.put_nowait(await peer.read_to_end())

    async def body(self, peer: HandPeer, fields: CIMultiDict[str]) -> bytes | None:
        """Read a body, in each of the two ways in which HTTP has it. None: it is not complete."""
        body = b""
        try:
            if fields.get("Transfer-Encoding") == "chunked":
                assert "Content-Length" not in fields
                while size := int(await peer.reader.readuntil(b"\r\n"), 16):
                    body += await peer.read(size)
                    self.begun.set()
                    assert await peer.read(2) == b"\r\n"
                assert await peer.read(2) == b"\r\n"
                return body
            length = int(fields.get("Content-Length", 0))
            if length:
                body = await peer.read(1)
                self.begun.set()
                if self.hangs_up:
                    return None
                body += await peer.read(length - 1)
            return body
        except asyncio.IncompleteReadError:
            return None

    async def victim(self) -> tuple[int, str, CIMultiDict[str], bytes]:
        """Ask as another client, and return what has arrived of it."""
        answer = await self.front.ask("/victim", {"Cookie": "secret"}, upgrade=False)
        assert (answer.status, answer.body) == (200, b"ok")
        _, line, fields, body = self.got[-1]
        assert (line, fields["Cookie"], body) == ("GET /victim HTTP/1.1", "secret", b"")
        return self.got[-1]


@asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    """A server made of bytes and the gateway in front of it."""
    made = Behind()
    async with hand_server(made.serve) as made.server:
        app = gateway.init_in_front_of(f"http://127.0.0.1:{made.server.port}")
        async with serving(app) as made.front:
            yield made


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("body", [b"hi", b"A" * 5000], ids=["shorter", "longer"])
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate"])
async def test_bodies_that_aiohttp_inflates(coding: str, body: bytes, in_chunks: bool) -> None:
    packed = zlib.compress(body) if coding == "deflate" else gzip.compress(body)
    length: dict[str, str | None] = {"Content-Length": str(len(packed))}
    if in_chunks:
        length = {"Transfer-Encoding": "chunked"}
    async with behind() as server:
        answer = await server.front.ask(
            "/one",
            {"Content-Encoding": coding, **length},
            method="POST",
            upgrade=False,
            body=chunks(packed) + chunks(b"") if in_chunks else packed,
        )
        assert answer.status == 200
        _, line, fields, got = server.got[0]
        assert (line, got) == ("POST /one HTTP/1.1", body)
        assert fields["Transfer-Encoding"] == "chunked"
        assert not {"content-length", "content-encoding"} & {name.lower() for name in fields}
        assert (await server.victim())[0] == 1  # the same connection, and in step


async def test_bodies_in_a_coding_that_aiohttp_does_not_know() -> None:
    async with behind() as server:
        for number, fields in enumerate(({"Content-Encoding": "x-own"}, {"Content-Encoding": "gzip, x-own"})):
            given = {**fields, "Content-Length": "6"}
            await server.front.ask("/", given, method="PUT", upgrade=False, body=b"packed")
            _, _, got, body = server.got[2 * number]
            assert (got["Content-Encoding"], body) == (fields["Content-Encoding"], b"packed")
            assert "Content-Length" not in got
            assert (await server.victim())[0] == 1


async def test_codings_that_are_wrong() -> None:
    async with behind() as server:
        twice = {"Content-Encoding": "gzip\r\nContent-Encoding: gzip", "Content-Length": str(len(PACKED))}
        answer = await server.front.ask("/", twice, method="POST", upgrade=False, body=PACKED)
        assert answer.status == 415
        assert not server.got
        wrong = {"Content-Encoding": "gzip", "Content-Length": "9"}
        answer = await server.front.ask("/", wrong, method="POST", upgrade=False, body=b"not a zip")
        assert answer.status == 400
        assert not server.got
        await server.victim()


@pytest.mark.parametrize(
    ("method", "given", "body", "length"),
    [
        ("GET", {}, b"", None),
        ("HEAD", {}, b"", None),
        ("OPTIONS", {}, b"", None),
        ("GET", {"Content-Encoding": "gzip"}, b"", None),
        ("GET", {"Content-Length": "0"}, b"", "0"),
        ("GET", {"Content-Length": "4"}, b"body", "4"),
        ("POST", {"Content-Length": "0"}, b"", "0"),
        ("POST", {"Content-Length": "0", "Content-Encoding": "gzip"}, b"", "0"),
        ("POST", {}, b"", "0"),
        ("DELETE", {"Content-Length": "4"}, b"body", "4"),
        ("POST", {"Content-Length": "4", "Connection": "content-length"}, b"body", "4"),
        ("POST", {"Transfer-Encoding": "chunked"}, b"", None),
    ],
)
async def test_lengths_of_bodies(method: str, given: dict[str, str], body: bytes, length: str | None) -> None:
    in_chunks = "Transfer-Encoding" in given
    async with behind() as server:
        sent = chunks(b"") if in_chunks else body
        answer = await server.front.ask("/", given, method=method, upgrade=False, body=sent)
        assert answer.status == 200
        _, line, fields, got = server.got[0]
        assert (line, got) == (f"{method} / HTTP/1.1", body)
        assert fields.get("Content-Length") == length
        assert fields.get("Transfer-Encoding") == ("chunked" if in_chunks else None)
        assert (await server.victim())[0] == 1


async def begin(peer: Peer, how: str) -> bytes:
    """Send a request, and of its body the beginning. Return the rest."""
    fields: dict[str, str | None] = {"Content-Length": "1000"}
    body, rest = b"begin", b"x" * 995
    if how == "chunked":
        fields = {"Transfer-Encoding": "chunked"}
        body, rest = chunks(b"begin"), chunks(rest, b"")
    elif how == "gzip":
        packed = gzip.compress(NOISE[:50_000])
        fields = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
        body, rest = packed[:20_000], packed[20_000:]
    await peer.send(request_bytes("/", fields, method="POST", upgrade=False, body=body))
    return rest


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_an_answer_before_the_end_of_the_body(how: str) -> None:
    async with behind() as server:
        server.is_early = True
        async with server.front.peer() as peer:
            rest = await begin(peer, how)
            assert (await peer.answer()).body == b"ok"
            server.is_early = False
            assert (await server.victim())[0] == 2  # not on the connection that waits for the rest
            await peer.send(rest)
            assert not (await asyncio.wait_for(server.ends.get(), 20)).endswith(rest[-5:])
            await peer.send(request_bytes("/next", upgrade=False))  # the client is in step, too
            assert (await peer.answer()).body == b"ok"
            assert server.got[-1][:2] == (2, "GET /next HTTP/1.1")


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_a_client_that_leaves_in_its_body(how: str, leave: str) -> None:
    async with behind() as server:
        async with server.front.peer() as peer:
            await begin(peer, how)
            await asyncio.wait_for(server.begun.wait(), 20)
            if leave == "reset":
                peer.reset()
        assert await asyncio.wait_for(server.ends.get(), 20) == b""
        assert not server.got  # it was not taken for a whole one
        assert (await server.victim())[0] == 2


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_a_client_that_leaves_in_its_body_while_it_is_answered(how: str) -> None:
    async with behind() as server:
        server.is_early = True
        reply, server.reply = server.reply, ("200 OK", {"Content-Length": "2"}, b"o")
        async with server.front.peer() as peer:
            await begin(peer, how)
            assert (await peer.answer(body=False)).status == 200
            assert await peer.read(1) == b"o"
        assert not (await asyncio.wait_for(server.ends.get(), 20)).endswith(b"0\r\n\r\n")
        server.is_early, server.reply = False, reply
        assert (await server.victim())[0] == 2


async def test_a_body_is_not_sent_twice() -> None:
    """aiohttp's client repeats requests that it takes for safe."""
    async with behind() as server:
        await server.victim()
        server.hangs_up = True
        fields = {"Content-Length": "10"}
        answer = await server.front.ask("/", fields, method="PUT", upgrade=False, body=b"helloworld")
        assert answer.status == 502
        server.hangs_up = False
        await server.victim()
        assert [line for _, line, *_ in server.got] == ["GET /victim HTTP/1.1"] * 2


async def test_a_client_that_waits_for_100() -> None:
    async with behind() as server, server.front.peer() as peer:
        fields = {"Expect": "100-continue", "Content-Length": "4"}
        await peer.send(request_bytes("/", fields, method="POST", upgrade=False))
        assert (await peer.answer()).status == 100
        await peer.send(b"body")
        assert (await peer.answer()).status == 200
        _, _, got, body = server.got[0]
        assert (got["Content-Length"], body) == ("4", b"body")
        assert "Expect" not in got


async def test_a_101_that_nobody_has_asked_for() -> None:
    async with behind() as server:
        reply = server.reply
        server.reply = ("101 Switching Protocols", {"Connection": "upgrade", "Upgrade": "other"}, b"")
        answer = await server.front.ask("/", upgrade=False)
        assert answer.status == 502
        server.reply = reply
        assert (await server.victim())[0] == 2


async def test_fields_that_cannot_be_sent_are_left_out() -> None:
    async with behind() as server, server.front.peer() as peer:
        server.reply = ("403 a\x01b", {"X-Bad": "a\x01b", "X-Good": "a\tb", "Content-Length": "2"}, b"no")
        await peer.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Bad: \xff\r\nX-Good: \xc3\xa9\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.body, answer.headers["X-Good"]) == (403, b"no", "a\tb")
        assert "X-Bad" not in answer.headers
        assert [name for name in server.got[0][2] if name.startswith("X-Bad")] == []
        assert "X-Good" in server.got[0][2]


async def test_a_426_names_the_protocol() -> None:
    async with behind() as server:
        server.reply = ("426 Upgrade Required", {"Upgrade": "websocket", "Connection": "Upgrade"}, b"")
        answer = await server.front.ask("/", upgrade=False)
        assert (answer.headers["Upgrade"], answer.headers["Connection"]) == ("websocket", "Upgrade")


async def test_claims_and_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    names = ["X-Forwarded-For", "X-FORWARDED-Port", "x-forwarded-user", "X-Forwarded-", "Forwarded", "X-Real-IP"]
    async with behind() as server:
        await server.front.ask("/", {**dict.fromkeys(names, "forged"), "X-Forward": "mine"}, upgrade=False)
        fields = server.got[0][2]
    assert "forged" not in fields.values()
    assert {name for name in fields if name.startswith("X-")} == {
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forward",
    }
    assert "Authorization" not in fields


def test_from_the_command_line(tmp_path: Path) -> None:
    """A gateway in front of another one, which shows the page of the demo."""

    async def look(port: int) -> None:
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/gateway/seen") as answer:
                seen = dict((await answer.json())["fields"])
                assert seen["X-Forwarded-For"] == "127.0.0.1"
            async with client.ws_connect(f"http://127.0.0.1:{port}/gateway/echo") as ws:
                assert "fields" in await ws.receive_json()
                await ws.send_str("hello")
                assert await ws.receive_json() == {"message": "hello"}

    with serve("-m", "demos.gateway", "--port", "0") as behind:
        with serve("-m", "demos.gateway", behind, "--port", "0") as front:
            asyncio.run(look(int(front.rpartition(":")[2])))
