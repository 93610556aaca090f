"""An application as servers of others run it, and the probe of a client that has reached it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, UnixConnector, web
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import InvalidStatus

import aiohttp_rawws as rawws

ROOT = Path(__file__).parents[2]
NOISE = random.Random(1).randbytes(300_000)
LIMIT = 20.0  # seconds that only a fault takes
CODES = web.AppKey("CODES", list[int | None])  # of the sessions that have ended

# ---- the application ----------------------------------------------------------------------


def page_of_the_docs(name: str) -> str:
    return (ROOT / "docs" / "howto" / name).read_text(encoding="utf-8")


def block_of_the_docs(name: str, language: str, containing: str = "") -> str:
    """The first block of this language on a page that contains this text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page_of_the_docs(name), re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if containing in block)


def middleware_of_the_docs(app: web.Application) -> None:
    """Install the middleware of the page on proxies, which believes the proxy."""
    exec(block_of_the_docs("proxies.md", "python", "X-Forwarded-For"), {"web": web, "app": app})


async def page(request: web.Request) -> web.Response:
    return web.Response(text="page")


async def echo(session: rawws.DefaultWebSocketServerSession) -> None:
    async for message in session:
        await session.send(message)
    session.app[CODES].append(session.close_state.code)


async def raw_echo(session: rawws.WebSocketServerSession) -> None:
    async for frame in session:
        if frame.opcode is rawws.Opcode.PING:
            await session.send(rawws.Frame.pong(frame.payload))
        elif frame.opcode is rawws.Opcode.CLOSE:
            session.app[CODES].append(session.close_state.code)
            await session.close(frame.close_reason or 1000)
        else:
            await session.send(frame)


async def push(session: rawws.DefaultWebSocketServerSession) -> None:
    """Sends, and then waits for what never comes. It never receives."""
    for number in range(3):
        await session.send(str(number))
    await asyncio.Event().wait()


async def bye(session: rawws.DefaultWebSocketServerSession) -> None:
    await session.send("bye")
    await session.close(4002, "go away")


async def state(request: web.Request) -> web.Response:
    live = sorted(session.request.path for session in request.app[rawws.WEBSOCKETS].sessions)
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    told = {"live": live, "codes": request.app[CODES], "remote": request.remote, "loop": loop, "pid": os.getpid()}
    return web.json_response(told)


async def say_ready(app: web.Application) -> None:
    print(f"ready: {os.getpid()}", flush=True)


def application() -> web.Application:
    app = web.Application()
    app.on_startup.append(say_ready)
    codes: list[int | None] = []
    app[CODES] = codes
    rawws.setup(app, close_timeout=5.0)
    middleware_of_the_docs(app)
    app.add_routes(
        [
            rawws.websocket("/chat", echo, extensions=[rawws.PerMessageDeflate()]),
            web.get("/chat", page),
            rawws.websocket_raw("/raw", raw_echo),
            rawws.websocket("/push", push, close_timeout=0.2, disconnect_grace=0.2),
            rawws.websocket("/bye", bye),
            web.get("/state", state),
        ]
    )
    return app


app = application()


async def make() -> web.Application:
    return application()


def init(arguments: list[str]) -> web.Application:
    """For ``python -m aiohttp.web``."""
    return application()


# ---- a client of it -----------------------------------------------------------------------


@dataclass
class Address:
    """Where clients reach the application.

    Attributes:
        url: ``http://127.0.0.1:8081`` or the like.
        unix: The path of a Unix socket, or None.
        tls: The TLS context of clients, or None.
    """

    url: str
    unix: Path | None = None
    tls: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def connect(self, path: str, **how: Any) -> Any:
        how = {"compression": None, "max_size": 2**20, "open_timeout": LIMIT, "close_timeout": LIMIT, **how}
        url = self.url.replace("http", "ws", 1) + path
        if self.unix is not None:
            return unix_connect(str(self.unix), url, **how)
        return connect(url, proxy=None, ssl=self.tls, **how)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        connector = TCPConnector() if self.unix is None else UnixConnector(str(self.unix))
        async with ClientSession(connector=connector) as http:
            async with http.get(self.url + path, headers=headers, ssl=self.tls or True) as response:
                return response.status, await response.text()

    async def state(self, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        return json.loads((await self.get("/state", headers))[1])

    async def refused(self, path: str, **how: Any) -> int:
        """The status that refuses a handshake."""
        with pytest.raises(InvalidStatus) as refusal:
            async with self.connect(path, **how):
                pass
        return refusal.value.response.status_code


async def receive(client: ClientConnection) -> Any:
    return await asyncio.wait_for(client.recv(), LIMIT)


async def becomes(address: Address, name: str, value: object) -> None:
    """Wait until the application, which must be one process, tells this of its state."""
    loop = asyncio.get_running_loop()
    until = loop.time() + LIMIT
    while (told := (await address.state())[name]) != value:
        assert loop.time() < until, f"{name} is {told}, not {value}"
        await asyncio.sleep(0.05)


async def probe(address: Address) -> None:
    """Try what sessions can do. The application runs in one process, and nobody has used it before."""
    # a page and a socket on one path; the origin of a browser on this port
    assert await address.get("/chat") == (200, "page")
    async with address.connect("/chat", origin=address.url, compression="deflate") as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        for message in "hello" * 1000, NOISE, "":
            await client.send(message)
            assert await receive(client) == message
        await asyncio.wait_for(await client.ping(), LIMIT)
        await client.close(4001, "done")
    assert client.close_code == 4001
    assert await address.refused("/chat", origin="https://elsewhere.example") == 403

    # raw frames, among them fragments
    async with address.connect("/raw", origin=address.url) as client:
        await client.send([NOISE[:1000], NOISE[1000:]])
        assert await receive(client) == NOISE
        await asyncio.wait_for(await client.ping(), LIMIT)
        await client.close(4003)
    assert client.close_code == 4003
    await becomes(address, "codes", [4001, 4003])

    # a code of the server's
    async with address.connect("/bye") as client:
        assert await receive(client) == "bye"
        await asyncio.wait_for(client.wait_closed(), LIMIT)
    assert (client.close_code, client.close_reason) == (4002, "go away")

    # a handler that only sends, and a client that vanishes
    async with address.connect("/push") as client:
        assert [await receive(client) for _ in range(3)] == ["0", "1", "2"]
        await becomes(address, "live", ["/push"])
        client.transport.abort()
    await becomes(address, "live", [])
