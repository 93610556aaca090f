"""Texts of clients cannot forge a line of the log, nor reach a terminal."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws
from aiohttp_rawws.web.logtext import escaped, target

from ..tools.peers import serving
from ..tools.waiting import eventually

FORGED = "\nERROR root: forged\r\x1b[31m\x85\u2028\u202e\ud800\x7f"


async def echo(session: Any) -> None:
    await session.receive()


async def never(request: web.BaseRequest) -> None:
    await asyncio.sleep(60)


def fails(request: web.BaseRequest) -> None:
    raise LookupError("of the application")


def test_escaped() -> None:
    assert escaped("http://a/b?c=d'e\"f") == "http://a/b?c=d'e\"f"
    assert escaped(None) == "None"
    text = escaped(FORGED)
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith("\\nERROR root: forged\\r\\x1b[31m\\x85\\u2028")


def test_target() -> None:
    request = make_mocked_request("GET", "/a%0Ab%1b/\u2028?token=secret", {"Host": "a\nERROR\x85"})
    text = target(request.clone(scheme="ht\ntp"))
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith("ht\\ntp://a\\nERROR")
    assert text.endswith(("/a%0Ab%1b/\\u2028", "/a%0Ab%1B/%E2%80%A8"))


@web.middleware
async def behind_a_proxy(request: web.Request, handler: Any) -> web.StreamResponse:
    """Believes what the client says of itself, as far as one can."""
    return await handler(request.clone(remote=FORGED, scheme=f"http{FORGED}"))


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "origins": ({}, 403),
    "handshake_timeout": ({"origins": None, "before_upgrade": never, "handshake_timeout": 0.05}, 503),
    "max_sessions": ({"origins": None, "max_sessions": 1}, 503),
    "max_sessions_per_address": ({"origins": None, "max_sessions_per_address": 1}, 429),
    "error": ({"origins": None, "before_upgrade": fails}, 500),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_each_refusal_is_one_line(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return rawws.WebSocketUpgrade(request, handle=echo)

    options, status = REFUSED[name]
    app = web.Application()
    plugin = rawws.setup(app, **options)
    app.middlewares.append(behind_a_proxy)
    app.router.add_get("/room/{name}", handler)
    caplog.set_level(logging.DEBUG, "aiohttp_rawws")
    fields = {"Host": "here\x85there\u2028", "Origin": "http://else\x85where\u2028"}
    path = "/room/x%0AERROR%20root:%20forged%1b[31m%E2%80%A8%0d"
    async with serving(app) as served, served.peer() as first:
        if name.startswith("max"):
            await first.open("/room/x", {"Origin": None})
            await eventually(lambda: plugin.sessions)
        assert (await served.ask(path, fields)).status == status
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp_rawws"]
    (line,) = [line for line in lines if "WebSocket from" in line or "WebSocket on" in line]
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert line.isprintable()
