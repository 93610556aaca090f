"""Limits of the plugin: sessions at a time, the time of a handshake, and the count of what was refused."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws.web.seats import group

from .peers import PING, TEXT, Peer, Served, close_frame, eventually, frame, serving

TOO_MANY = (503, "Too many WebSockets are open here\n")
TOO_MANY_OF_YOURS = (429, "Too many WebSockets of your address are open here\n")


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


async def test_a_seat_is_given_back_however_the_connection_ends() -> None:
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
    assert plugin._seats._by_address == {}  # no address is remembered


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


def test_group() -> None:
    assert group("192.0.2.1") == group("::ffff:192.0.2.1") == "192.0.2.1"
    assert group("2001:db8::1") == group("2001:db8::ffff:0:1") == "2001:db8::/64"
    assert group("fe80::1%eth0") == "fe80::/64"
    assert group("") is group(None) is None
    assert group("what a middleware made up") == "what a middleware made up"


@pytest.mark.parametrize("name", ["max_sessions", "max_sessions_per_address"])
def test_they_are_the_plugins(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        rawws.websocket_raw("/", echo, **{name: 1})
    with pytest.raises(ValueError, match=name):
        rawws.setup(web.Application(), **{name: 0})
    with pytest.raises(TypeError, match=name):
        rawws.setup(web.Application(), **{name: True})


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
    async with serving(app) as served:  # 504 is aiohttp's; 503 ours, before Python 3.11, which cannot tell them apart
        assert (await served.ask()).status == (504 if sys.version_info >= (3, 11) else 503)


# ---- what is counted ----------------------------------------------------------------------


async def test_refused_counts_handshakes_and_sessions() -> None:
    app, plugin = application(
        max_frame_size=100, max_message_size=150, max_control_rate=3, max_fragments=2, idle_timeout=0.5
    )
    fragment = frame(0, b"", fin=False)
    cases: list[tuple[str, str, bytes, int]] = [
        ("/", "max_frame_size", frame(TEXT, bytes(101)), 1009),
        ("/managed", "max_frame_size", frame(TEXT, bytes(101)), 1009),
        ("/managed", "max_message_size", frame(TEXT, bytes(80), fin=False) + frame(0, bytes(80)), 1009),
        ("/managed", "max_fragments", frame(TEXT, b"", fin=False) + fragment * 2, 1008),
        ("/managed", "max_control_rate", frame(PING) * 4, 1008),
        ("/", "idle_timeout", b"", 1001),
    ]
    expected: dict[str, int] = {}
    async with serving(app) as served:
        for path, option, wire, code in cases:
            async with connected(served, 1, path) as (peer,):
                await peer.send(wire)
                opcode, payload = await peer.frame()
                while opcode == 10:  # the answers to the pings that were admitted
                    opcode, payload = await peer.frame()
                assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)
                await peer.send(close_frame(code))
            await served.idle()
            expected[option] = expected.get(option, 0) + 1
            assert plugin.refused == expected
        assert (await served.ask("/", {"Origin": "http://elsewhere"})).status == 403
        expected["origins"] = 1
    assert plugin.refused == expected


async def test_write_timeout_is_counted() -> None:
    async def flood(session: Any) -> None:
        while True:
            await session.send(bytes(100_000))

    app, plugin = application(rawws.websocket_raw("/flood", flood), write_timeout=0.2)
    async with serving(app) as served:
        async with connected(served, 1, "/flood"):
            await eventually(lambda: plugin.refused == {"write_timeout": 1})
        await served.idle()


async def test_defaults() -> None:
    _, plugin = application()
    options = plugin.options
    assert (options.write_timeout, options.handshake_timeout) == (60.0, 10.0)
    assert (options.idle_timeout, options.max_lifetime) == (None, None)
    assert (options.max_sessions, options.max_sessions_per_address) == (None, None)
    assert not plugin.refused
