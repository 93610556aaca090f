"""Limits of the plugin: sessions at a time, the time of a handshake, and the count of what was refused."""

from __future__ import annotations

import asyncio
import logging
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws.web.admission import ConnectionLimit, address_key

from ..tools.peers import BINARY, CLOSE, PING, TEXT, Peer, Served, close_frame, frame, serving
from ..tools.waiting import eventually

TOO_MANY = (503, "Too many WebSockets are open here\n")
TOO_MANY_OF_YOURS = (429, "Too many WebSockets are open from your address\n")


async def echo(session: Any) -> None:
    async for item in session:
        if item.opcode is rawws.Opcode.CLOSE:
            await session.close()
        else:
            await session.send(item)


def application(*routes: Any, middlewares: Any = (), **options: Any) -> tuple[web.Application, rawws.WebSockets]:
    app = web.Application(middlewares=middlewares)
    plugin = rawws.setup(app, **options)
    app.add_routes([rawws.websocket_raw("/", echo), rawws.websocket("/managed", echo), *routes])
    return app, plugin


async def asked(served: Served, headers: dict[str, str | None] | None = None, path: str = "/") -> tuple[int, str]:
    answer = await served.ask(path, headers)
    return answer.status, answer.text


@asynccontextmanager
async def connected(served: Served, count: int, path: str = "/", **headers: str) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(served.peer()) for _ in range(count)]
        for peer in peers:
            await peer.open(path, headers)
        yield peers


# ---- sessions at a time -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/managed"])
async def test_max_sessions(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    app, plugin = application(max_sessions=3)
    async with serving(app) as served:
        for _ in range(2):  # what was given back can be taken again
            async with connected(served, 3, path) as peers:
                assert len(plugin.sessions) == 3
                assert await asked(served, path=path) == TOO_MANY
                assert await asked(served, path=path) == TOO_MANY
                await peers[0].finish()
                await eventually(lambda: len(plugin.sessions) == 2)
                async with connected(served, 1, path):
                    assert await asked(served, path=path) == TOO_MANY
            await served.idle()
    assert plugin.refused == {"max_sessions": 6}
    assert len([record for record in caplog.records if "(max_sessions)" in record.getMessage()]) == 6


async def test_max_sessions_holds_for_handshakes_at_the_same_time() -> None:
    waiting = asyncio.Event()

    async def wait(request: web.BaseRequest) -> None:
        await waiting.wait()

    async def slow(request: web.Request, response: web.StreamResponse) -> None:
        await asyncio.sleep(0.01)  # between the check and the takeover

    app, _ = application(max_sessions=3, before_upgrade=wait)
    app.on_response_prepare.append(slow)
    async with serving(app) as served:
        asking = [asyncio.create_task(served.ask()) for _ in range(8)]
        await asyncio.sleep(0.05)
        waiting.set()
        assert sorted([(await task).status for task in asking]) == [101] * 3 + [503] * 5
        await served.idle()
        async with connected(served, 3):
            assert await asked(served) == TOO_MANY


async def test_a_slot_is_released_however_the_connection_ends() -> None:
    async def fail(request: web.Request, response: web.StreamResponse) -> None:
        if "fail" in request.query:
            raise RuntimeError("in on_response_prepare")

    async def prepare_and_fail(request: web.Request) -> web.StreamResponse:
        await rawws.WebSocketUpgrade(request, handle=echo).prepare(request)
        raise RuntimeError("behind the 101")

    async def never_sent(request: web.Request) -> web.StreamResponse:
        await rawws.WebSocketUpgrade(request, handle=echo).check()
        return web.Response(text="something else")

    async def raises(session: Any) -> None:
        raise RuntimeError("in the handler")

    app, _ = application(
        web.get("/prepare", prepare_and_fail),
        web.get("/never", never_sent),
        rawws.websocket_raw("/raises", raises),
        max_sessions=1,
    )
    app.on_response_prepare.append(fail)
    async with serving(app) as served:
        for path in ("/?fail", "/prepare", "/never", "/raises", "/managed?fail"):
            async with served.peer() as peer:
                await peer.send(b"GET " + path.encode() + b" HTTP/1.1\r\n" + UPGRADE_LINES)
                try:
                    await asyncio.wait_for(peer.reader.read(64), 5.0)
                except OSError:
                    pass
            await served.idle()
        async with connected(served, 1) as peers:
            peers[0].reset()
            await served.idle()
        async with connected(served, 1):
            assert await asked(served) == TOO_MANY


UPGRADE_LINES = (
    b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@web.middleware
async def believe_everybody(request: web.Request, handler: Any) -> web.StreamResponse:
    return await handler(request.clone(remote=request.headers.get("X-From", "192.0.2.1")))


async def test_max_sessions_per_address() -> None:
    app, plugin = application(max_sessions_per_address=2, middlewares=[believe_everybody])
    async with serving(app) as served:
        async with connected(served, 2, **{"X-From": "192.0.2.7"}), connected(served, 1, **{"X-From": "192.0.2.8"}):
            assert await asked(served, {"X-From": "192.0.2.7"}) == TOO_MANY_OF_YOURS
            async with connected(served, 1, **{"X-From": "192.0.2.8"}):
                assert await asked(served, {"X-From": "192.0.2.8"}) == TOO_MANY_OF_YOURS
        await served.idle()
        async with connected(served, 2, **{"X-From": "2001:db8:1:2:3::1"}):
            assert await asked(served, {"X-From": "2001:db8:1:2:4::1"}) == TOO_MANY_OF_YOURS
            async with connected(served, 1, **{"X-From": "2001:db8:1:3::1"}):
                pass
        await served.idle()
    assert plugin.refused == {"max_sessions_per_address": 3}


async def test_forwarded_fields_are_not_believed() -> None:
    app, _ = application(max_sessions_per_address=1)
    async with serving(app) as served, connected(served, 1):
        for field in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            value = "for=192.0.2.9" if field == "Forwarded" else "192.0.2.9"
            assert await asked(served, {field: value}) == TOO_MANY_OF_YOURS


async def test_peers_without_an_address_are_not_told_apart(tmp_path: Any) -> None:
    app, _ = application(max_sessions_per_address=1)
    async with serving(app, unix=tmp_path / "socket") as served, connected(served, 3):
        pass


def test_no_address_is_remembered() -> None:
    limit = ConnectionLimit(None, 2)
    slots = [limit.acquire(address) for address in ("192.0.2.7", "192.0.2.7", "192.0.2.8", None)]
    assert (limit.count, limit.by_address) == (4, {"192.0.2.7": 2, "192.0.2.8": 1})
    for slot in [*slots, *slots]:
        assert slot is not None
        slot.release()
    assert (limit.count, limit.by_address) == (0, {})


def test_address_key() -> None:
    assert address_key("192.0.2.1") == address_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:0:1") == "2001:db8::/64"
    assert address_key("fe80::1%eth0") == "fe80::/64"
    assert address_key("") is address_key(None) is None
    assert address_key("what a middleware made up") == "what a middleware made up"


@pytest.mark.parametrize("name", ["max_sessions", "max_sessions_per_address"])
def test_they_are_the_plugins(name: str) -> None:
    route: Any = rawws.websocket_raw
    setup: Any = rawws.setup
    with pytest.raises(TypeError, match=name):
        route("/", echo, **{name: 1})
    with pytest.raises(ValueError, match=name):
        setup(web.Application(), **{name: 0})
    with pytest.raises(TypeError, match=name):
        setup(web.Application(), **{name: True})


# ---- the time of a handshake --------------------------------------------------------------


async def never(*args: Any) -> Any:
    await asyncio.sleep(60)


async def in_time(*args: Any) -> Any:
    await asyncio.sleep(0.05)


SLOW: list[dict[str, Any]] = [{"before_upgrade": never}, {"origins": never}, {"protocols": never}]


@pytest.mark.parametrize("route", [rawws.websocket_raw, rawws.websocket])
@pytest.mark.parametrize("options", SLOW, ids=lambda options: "".join(options))
async def test_handshake_timeout(route: Any, options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    app, plugin = application(route("/slow", echo, **options), handshake_timeout=0.1)
    loop = asyncio.get_running_loop()
    async with serving(app) as served:
        began = loop.time()
        headers: dict[str, str | None] = {"Sec-WebSocket-Protocol": "a"}
        if "origins" in options:
            headers["Origin"] = "http://a"
        assert await asked(served, headers, "/slow") == (503, "The handshake took too long\n")
        assert 0.09 <= loop.time() - began < 2.0
    assert plugin.refused == {"handshake_timeout": 1}
    assert len([record for record in caplog.records if "(handshake_timeout)" in record.getMessage()]) == 1


@pytest.mark.parametrize("timeout", [1.0, None, timedelta(seconds=1)])
async def test_a_handshake_in_time(timeout: Any) -> None:
    app, plugin = application(before_upgrade=in_time, handshake_timeout=timeout)
    async with serving(app) as served, connected(served, 1) as peers:
        await peers[0].finish()
    assert not plugin.refused


async def test_a_timeout_of_the_applications_own() -> None:
    async def fail(request: web.BaseRequest) -> None:
        raise TimeoutError("of a database")

    app, _ = application(before_upgrade=fail)
    async with serving(app) as served:  # 504 is aiohttp's; 503 ours, before Python 3.11, which has no way to know
        assert (await served.ask()).status == (504 if sys.version_info >= (3, 11) else 503)


# ---- what is counted ----------------------------------------------------------------------


async def flood(session: Any) -> None:
    while True:
        await session.send(bytes(100_000))


async def overflow(session: Any) -> None:
    while True:
        session.send_nowait(bytes(100_000))


async def take_nothing(session: Any) -> None:
    await session.wait_closed()


async def wait_and_take(session: Any) -> None:
    await asyncio.sleep(0.05)
    await echo(session)


async def leave(session: Any) -> None:
    """Sends more than the buffers of a connection take, and returns."""
    while not session.outgoing_full:
        session.send_nowait(bytes(100_000))


def deflated(size: int) -> bytes:
    """A compressed frame of so many zeros."""
    compressor = zlib.compressobj(9, wbits=-15)
    payload = compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    wire = bytearray(frame(BINARY, payload[:-4]))
    wire[0] |= 0x40  # rsv1
    return bytes(wire)


@dataclass
class Limit:
    """An option, what reaches it, and the code of the Close that comes; None if the connection is aborted."""

    name: str
    options: dict[str, Any]
    code: int | None
    wire: bytes = b""
    handle: Any = echo
    managed: bool = True
    reads: bool = True


def deflate(**options: Any) -> dict[str, Any]:
    return {"extensions": [rawws.PerMessageDeflate(**options)]}


CLOSING = rawws.bounded(2, "close")
FRAGMENT = frame(0, b"", fin=False)
LIMITS = [
    *(Limit("max_frame_size", {"max_frame_size": 99}, 1009, frame(TEXT, bytes(100)), managed=m) for m in (True, False)),
    Limit("max_message_size", {"max_message_size": 150}, 1009, frame(TEXT, bytes(80), fin=False) + frame(0, bytes(80))),
    Limit("max_fragments", {"max_fragments": 2}, 1008, frame(TEXT, b"", fin=False) + FRAGMENT * 2),
    Limit("max_control_rate", {"max_control_rate": 3}, 1008, frame(PING) * 4),
    Limit("max_inflated_size", deflate(max_inflated_size=100), 1009, deflated(101)),
    Limit("max_ratio", deflate(max_ratio=2), 1009, deflated(2**20)),
    Limit("incoming", {"incoming": CLOSING}, 1008, frame(TEXT) * 3, take_nothing),
    Limit("incoming", {"incoming": CLOSING}, None, frame(TEXT) * 3, wait_and_take, managed=False),
    # No Close can be sent any more, and what was accepted is delivered if the peer takes it within close_timeout.
    Limit("outgoing", {"outgoing": CLOSING, "close_timeout": 0.2}, None, b"", overflow, reads=False),
    Limit("outgoing", {"outgoing": CLOSING}, None, b"", flood, managed=False, reads=False),
    *(Limit("idle_timeout", {"idle_timeout": 0.2}, 1001, managed=m) for m in (True, False)),
    *(Limit("max_lifetime", {"max_lifetime": 0.2}, 1001, managed=m) for m in (True, False)),
    Limit("timeout", {"ping_interval": 0.05, "timeout": 0.1}, 1011),
    *(Limit("write_timeout", {"write_timeout": 0.2}, None, b"", flood, managed=m, reads=False) for m in (True, False)),
    *(Limit("close_timeout", {"close_timeout": 0.2}, None, b"", leave, managed=m, reads=False) for m in (True, False)),
]


@pytest.mark.parametrize("where", ["plugin", "route"])
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.name}-{'managed' if limit.managed else 'raw'}")
async def test_each_limit(limit: Limit, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """As an option of the plugin and of the route: the Close, one line at INFO, the count."""
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    route: Any = rawws.websocket if limit.managed else rawws.websocket_raw
    of_plugin, of_route = (limit.options, {}) if where == "plugin" else ({}, limit.options)
    app, plugin = application(route("/limited", limit.handle, **of_route), **of_plugin)
    headers = {"Sec-WebSocket-Extensions": "permessage-deflate"} if "extensions" in limit.options else {}
    async with serving(app) as served:
        async with connected(served, 1, "/limited", **headers) as (peer,):
            if not limit.reads:
                peer.pause_reading()
            await peer.send(limit.wire)
            if limit.code is not None:
                while (got := await peer.frame())[0] != CLOSE:
                    pass  # what was in order before it
                assert int.from_bytes(got[1][:2], "big") == limit.code
                await peer.send(close_frame(limit.code))
                await peer.close()
            await eventually(lambda: plugin.refused == {limit.name: 1})
            await eventually(lambda: not plugin.sessions)
        await served.idle()
    assert plugin.refused == {limit.name: 1}
    lines = [record for record in caplog.records if f"limit {limit.name}: " in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.INFO]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_refused_origin_is_counted() -> None:
    app, plugin = application()
    async with serving(app) as served:
        assert (await served.ask("/", {"Origin": "http://elsewhere"})).status == 403
    assert plugin.refused == {"origins": 1}


async def test_defaults() -> None:
    _, plugin = application()
    options = plugin.options
    assert (options.write_timeout, options.handshake_timeout) == (60.0, 10.0)
    assert (options.idle_timeout, options.max_lifetime) == (None, None)
    assert (options.max_sessions, options.max_sessions_per_address) == (None, None)
    assert not plugin.refused
