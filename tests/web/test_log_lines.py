"""Every line of the log about a session says which one it is: method, path and peer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import aiohttp_rawws as rawws

from ..tools.peers import TEXT, TIMEOUT, Peer, close_frame, frame, serving
from ..tools.waiting import eventually

PATH = "/room/lobby"
NAMED = re.compile(r"GET /room/lobby from 127\.0\.0\.1:[0-9]+")

Handle = Callable[[Any], Any]


class Reports(logging.Handler):
    """The lines of our loggers, and of the loop's exception handler."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def echo(session: Any) -> None:
    async for item in session:
        await session.send(item)


async def fail(session: Any) -> None:
    raise LookupError("of the handler")


async def as_text(session: Any) -> None:
    (await session.receive()).text  # noqa: B018


async def until_the_end(session: Any) -> None:
    while True:
        await session.receive()


async def fail_in_a_listener(session: Any) -> None:
    session.listen(lambda item: 1 / 0)
    await session.wait_closed()


async def fail_in_a_callback(session: Any) -> None:
    session.on_ping = lambda payload: 1 / 0
    await session.wait_closed()


def no_payload() -> bytes:
    raise LookupError("of keepalive")


async def hang(session: Any) -> None:
    while True:
        try:
            await asyncio.sleep(TIMEOUT)
        except asyncio.CancelledError:
            return


CASES: dict[str, tuple[str, Handle, bytes, dict[str, Any]]] = {
    "an error, raw": ("raw", fail, b"", {}),
    "an error, managed": ("managed", fail, b"", {}),
    "a payload": ("managed", as_text, frame(2, b"\xff"), {}),
    "the end, raw": ("raw", until_the_end, close_frame(), {}),
    "the end, managed": ("managed", until_the_end, close_frame(), {}),
    "a limit, raw": ("raw", echo, frame(TEXT, bytes(100)), {"max_frame_size": 99}),
    "a limit, managed": ("managed", echo, frame(TEXT, bytes(100)), {"max_frame_size": 99}),
    "a limit of time": ("managed", echo, b"", {"idle_timeout": 0.1, "close_timeout": 0.1}),
    "a listener, raw": ("raw", fail_in_a_listener, frame(TEXT), {}),
    "a callback": ("managed", fail_in_a_callback, frame(9), {"close_timeout": 0.2}),
    "keepalive": ("managed", echo, b"", {"ping_interval": 0.05, "keepalive": rawws.Periodic(payload=no_payload)}),
}


@pytest.mark.parametrize("case", CASES)
async def test_each_line(case: str) -> None:
    kind, handle, wire, options = CASES[case]
    route: Any = rawws.websocket if kind == "managed" else rawws.websocket_raw
    app = web.Application()
    plugin = rawws.setup(app, shutdown_reason="over")
    app.add_routes([route("/room/{name}", handle, **options)])
    reports = Reports()
    loop = asyncio.get_running_loop()
    before = loop.get_debug()
    handler_before: Any = getattr(loop, "_exception_handler", None)
    loop.set_exception_handler(lambda loop, context: reports.lines.append(context["message"]))
    logger = logging.getLogger("aiohttp_rawws")
    logger.addHandler(reports)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        async with serving(app) as served, served.peer() as peer:
            await peer.open(PATH)
            await eventually(lambda: plugin.sessions or reports.lines)
            await peer.send(wire)
            await eventually(lambda: reports.lines)
            peer.writer.transport.abort()
            await eventually(lambda: not plugin.sessions)
    finally:
        logger.removeHandler(reports)
        logger.setLevel(level)
        loop.set_exception_handler(handler_before)
        loop.set_debug(before)
    assert reports.lines
    for line in reports.lines:
        assert NAMED.search(line), line
        assert line.isascii() and line.isprintable()


async def test_at_shutdown() -> None:
    app = web.Application()
    plugin = rawws.setup(app, close_timeout=0.1)
    app.add_routes([rawws.websocket("/room/{name}", hang)])
    reports = Reports()
    logger = logging.getLogger("aiohttp_rawws")
    logger.addHandler(reports)
    logger.setLevel(logging.INFO)
    try:
        async with serving(app) as served, served.peer() as peer:
            await peer.open(PATH)
            await eventually(lambda: plugin.sessions)
            peer.pause_reading()
    finally:
        logger.removeHandler(reports)
        logger.setLevel(logging.NOTSET)
    assert reports.lines  # the handler had to be cancelled
    for line in reports.lines:
        assert NAMED.search(line), line


# ---- repr -----------------------------------------------------------------------------------


async def reprs_of(peer: Peer, seen: list[Any], path: str) -> tuple[str, str]:
    """The repr of a session while it is open, and when it is over."""
    await peer.open(path)
    await eventually(lambda: seen)
    session = seen[0]
    is_open = repr(session)
    await peer.send(close_frame())
    await eventually(lambda: session.close_state.lost)
    return is_open, repr(session)


@pytest.mark.parametrize("kind", ["raw", "managed"])
async def test_repr(kind: str) -> None:
    seen: list[Any] = []

    async def handle(session: Any) -> None:
        seen.append(session)
        async for item in session:
            if item.opcode is rawws.Opcode.CLOSE:
                await session.close()
                return

    route: Any = rawws.websocket if kind == "managed" else rawws.websocket_raw
    app = web.Application()
    rawws.setup(app)
    app.add_routes([route("/room/{name}", handle)])
    async with serving(app) as served, served.peer() as peer:
        host, port = peer.writer.get_extra_info("sockname")
        is_open, is_over = await reprs_of(peer, seen, "/room/x%0A%1b?token=secret")
    name = "DefaultWebSocketServerSession" if kind == "managed" else "WebSocketServerSession"
    about = f"GET /room/x%0A%1B from {host}:{port}"
    items = "messages" if kind == "managed" else "frames"
    assert is_open.replace("%1b", "%1B") == f"<{name} {about}, open, 0 {items} waiting>"
    assert is_over.replace("%1b", "%1B") == f"<{name} {about}, ended (1000), 0 {items} waiting>"
    seen.clear()


async def test_repr_of_clients() -> None:
    app = web.Application()
    rawws.setup(app)
    app.add_routes([rawws.websocket("/room/{name}", echo)])
    async with serving(app) as served, aiohttp.ClientSession() as http:
        url = f"ws://user:password@{served.host}:{served.port}/room/lobby?token=secret"
        about = f"GET http://{served.host}:{served.port}/room/lobby with {served.host}:{served.port}"
        async with rawws.connect_raw(http, url) as raw:
            assert repr(raw).replace("ws:", "http:") == f"<WebSocketClientSession {about}, open, 0 frames waiting>"
            await raw.close()
        async with rawws.connect(http, url) as managed:
            assert repr(managed).replace("ws:", "http:").startswith(f"<DefaultWebSocketClientSession {about}, open, ")


async def test_repr_without_a_request() -> None:
    server, client = rawws.memory_pair()
    assert repr(server) == "<WebSocketSession with memory:first, open, 0 frames waiting>"
    assert repr(rawws.DefaultWebSocketSession(client)).startswith("<DefaultWebSocketSession with memory:second, open")
    server.abort()
    client.abort()
    await server.wait_closed()
    await client.wait_closed()
