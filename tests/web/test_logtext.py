"""Texts of clients cannot forge a line of the log, nor reach a terminal."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

import aiohttp_rawws as rawws
from aiohttp_rawws.session.logtext import escaped
from aiohttp_rawws.web.logtext import described, described_error

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


class Peer:
    """As much of a transport as the log asks for."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def get_extra_info(self, key: str, default: Any = None) -> Any:
        assert key == "peername"
        if isinstance(self.name, Exception):
            raise self.name
        return self.name


ADDRESSES: dict[str, tuple[Any, str | None, str]] = {
    "tcp": (("192.0.2.1", 4711), "192.0.2.1", "192.0.2.1:4711"),
    "ipv6": (("2001:db8::1", 4711, 0, 0), "2001:db8::1", "[2001:db8::1]:4711"),
    "unix": ("", "", "a peer without an address"),
    "unix with a name": ("/run/client.sock", "/run/client.sock", "/run/client.sock"),
    "lost": (None, None, "a peer without an address"),
    "lost, and the request remembers": (None, "192.0.2.1", "192.0.2.1 via a peer without an address"),
    "a proxy": (("127.0.0.1", 4711), "192.0.2.1", "192.0.2.1 via 127.0.0.1:4711"),
    "a proxy on a unix socket": ("", "192.0.2.1", "192.0.2.1 via a peer without an address"),
    "forged": (("127.0.0.1", 4711), "a\nb", "a\\nb via 127.0.0.1:4711"),
    "forged and long": (("127.0.0.1", 4711), "\n" * 500, "\\n" * 120 + "... via 127.0.0.1:4711"),
    "in memory": (("memory", "first"), None, "memory:first"),
    "of another library": (RuntimeError("no"), None, "a peer without an address"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_the_peer(name: str) -> None:
    peername, remote, text = ADDRESSES[name]
    request = make_mocked_request("GET", "/chat").clone(remote=remote)  # type: ignore[arg-type]  # it takes None, too
    assert described(request, Peer(peername)) == f"GET /chat from {text}"  # type: ignore[arg-type]


def test_the_request() -> None:
    request = make_mocked_request("GET", "/a%0Ab%1b/\u2028?token=secret")
    text = described(request.clone(method="GE\nT", remote=FORGED))
    assert text.isascii()
    assert text.isprintable()
    assert text.startswith(("GE\\nT /a%0Ab%1b/\\u2028 from \\nERROR", "GE\\nT /a%0Ab%1B/%E2%80%A8 from \\nERROR"))


INFO = aiohttp.RequestInfo(
    URL("ws://u:secret@a/?secret"), "GET", CIMultiDictProxy(CIMultiDict({"Authorization": "secret"}))
)
ERRORS: list[tuple[BaseException, str]] = [
    (aiohttp.ClientHttpProxyError(INFO, (), status=407, message="No\n"), "ClientHttpProxyError: 407 No\\n"),
    (aiohttp.ServerTimeoutError("Connection timeout to host ws://a/?secret"), "ServerTimeoutError"),
    (asyncio.TimeoutError(), "TimeoutError"),
    (ConnectionResetError(104, "Reset\x1b"), "ConnectionResetError: [Errno 104] Reset\\x1b"),
    (rawws.HandshakeRefused(403, "refused"), "HandshakeRefused: refused"),
]


@pytest.mark.parametrize(("error", "text"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])
def test_errors(error: BaseException, text: str) -> None:
    """Errors of aiohttp hold the URL and the fields of the request."""
    assert described_error(error) == text


def test_a_long_path_is_cut() -> None:
    text = described(make_mocked_request("GET", f"/{'x' * 1000}"), Peer(("192.0.2.1", 4711)))  # type: ignore[arg-type]
    assert text.startswith(f"GET /{'x' * 119}... from ")


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
    (line,) = [line for line in lines if "a WebSocket" in line]
    assert len(line.splitlines()) == 1
    assert "GET /room/x%0AERROR%20root:%20forged%1" in line
    if name == "error":  # of the request as aiohttp has it, since the middleware is over
        assert " from 127.0.0.1:" in line
    else:
        assert " from \\nERROR root: forged" in line
        assert " via 127.0.0.1:" in line
    assert line.isascii()
    assert line.isprintable()
