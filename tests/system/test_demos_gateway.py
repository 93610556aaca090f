"""``python -m demos.gateway ADDRESS`` in front of an application, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws
from demos import gateway

from ..tools.peers import request_bytes, serving
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
        app.router.add_route("*", "/{tail:.*}", self.show)
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
        target = URL(f"{url}/a%2Fb//c?d=+%20", encoded=True)
        async with client.request(
            method, target, data=None if body is None else io.BytesIO(body), headers=fields
        ) as answer:
            seen = await answer.json()
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert (seen["method"], seen["path"]) == (method, "/a%2Fb//c?d=+%20")
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
