"""Sessions with a request, over memory: a handler sees what it would see on a route."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, testing

Pair = testing.ServerPair | testing.ManagedServerPair
PAIRS: list[Callable[..., Pair]] = [testing.server_pair, testing.managed_server_pair]
both = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.__name__)


def abort(pair: Pair) -> None:
    for session in pair:
        session.abort()


async def greet_raw(session: rawws.WebSocketServerSession) -> None:
    await session.send(f"Hello, {session.request.match_info['name']}")
    async for frame in session:
        if frame.opcode is Opcode.CLOSE:
            await session.close(frame.close_reason)
        else:
            await session.send(frame)


async def greet(session: rawws.DefaultWebSocketServerSession) -> None:
    await session.send(f"Hello, {session.request.match_info['name']}")
    async for message in session:
        await session.send(message)


async def test_a_raw_handler() -> None:
    request = make_mocked_request("GET", "/greet/Ada", match_info={"name": "Ada"})
    server, client = testing.server_pair(request)
    handler = asyncio.create_task(rawws.run_session(server, greet_raw))
    assert (await client.receive()).text == "Hello, Ada"
    await client.send(Frame.text("a", fin=False))
    assert await client.receive() == Frame.text("a", fin=False)
    await client.close(3000)
    assert (await client.receive()).close_reason == rawws.CloseReason(3000)
    await client.end()
    await handler
    assert server.request is request


async def test_a_managed_handler() -> None:
    request = make_mocked_request("GET", "/greet/Ada", match_info={"name": "Ada"})
    server, client = testing.managed_server_pair(request)
    handler = asyncio.create_task(rawws.run_managed(server, greet))
    assert (await client.receive()).text == "Hello, Ada"
    await client.ping()
    await client.send("x")
    assert (await client.receive()).text == "x"
    await client.close()
    await handler
    assert client.close_state.clean
    assert server.request is request


async def test_the_client_of_a_managed_handler_may_be_raw() -> None:
    server, client = testing.managed_server_pair(make_mocked_request("GET", "/", match_info={"name": "Ada"}))
    handler = asyncio.create_task(rawws.run_managed(server, greet))
    assert (await client.raw.receive()).text == "Hello, Ada"
    await client.raw.send(Frame.ping(b"x"))
    assert await client.raw.receive() == Frame.pong(b"x")
    await client.raw.close()
    assert (await client.raw.receive()).opcode is Opcode.CLOSE
    await client.raw.end()
    await handler


# ---- the request and the application ------------------------------------------------------


@both
async def test_without_a_request_there_is_one(pair: Callable[..., Pair]) -> None:
    made = pair(protocol="chat")
    request = made.server.request
    assert (request.method, request.path, request.host) == ("GET", "/", "localhost")
    assert request.headers["Upgrade"] == "websocket"
    assert request.headers["Sec-WebSocket-Protocol"] == made.server.protocol == "chat"
    assert made.server.app is request.app
    assert isinstance(made.server.app, web.Application)
    abort(made)


@both
async def test_the_application(pair: Callable[..., Pair]) -> None:
    app, other = web.Application(), web.Application()
    for made, expected in [
        (pair(app=app), app),
        (pair(make_mocked_request("GET", "/", app=app)), app),
        (pair(make_mocked_request("GET", "/", app=app), app=other), other),
    ]:
        assert made.server.app is expected
        assert made.server.protocol is None
        abort(made)


@both
async def test_a_mocked_application(pair: Callable[..., Pair]) -> None:
    request = make_mocked_request("GET", "/")
    made = pair(request)
    assert made.server.app is request.app
    abort(made)


async def test_a_request_of_a_low_level_server() -> None:
    request = make_mocked_request("GET", "/")
    bare = web.BaseRequest(
        request._message, request.content, request.protocol, request.writer, request.task, asyncio.get_running_loop()
    )
    made = testing.server_pair(bare)
    assert made.server.request is bare
    with pytest.raises(RuntimeError, match="without an application"):
        _ = made.server.app
    abort(made)


# ---- options ------------------------------------------------------------------------------


@both
async def test_options_are_those_of_the_server(pair: Callable[..., Pair]) -> None:
    made = pair(max_frame_size=10, client_options=rawws.SessionOptions(max_frame_size=20))
    assert made.server.options.max_frame_size == 10
    assert made.server.options.write_timeout == 60.0  # as on a route
    assert made.client.options.max_frame_size == 20
    abort(made)
    made = pair(max_frame_size=10)
    assert made.client.options == rawws.SessionOptions()
    abort(made)


@both
async def test_options_of_the_plugin_hold(pair: Callable[..., Pair]) -> None:
    app = web.Application()
    rawws.setup(app, max_frame_size=10, close_timeout=5)
    made = pair(app=app, close_timeout=2)
    assert (made.server.options.max_frame_size, made.server.options.close_timeout) == (10, 2.0)
    abort(made)


@both
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"x": 1}, "unknown option 'x'"),
        ({"max_sessions": 1}, "unknown option 'max_sessions'"),
        ({"close_timeout": "x"}, "close_timeout must be"),
        ({"negotiate_extensions": 1}, "negotiate_extensions must be True or False, not 1"),
    ],
)
async def test_wrong_options(pair: Callable[..., Pair], options: dict[str, Any], error: str) -> None:
    with pytest.raises(TypeError, match=f"^{error}"):
        pair(**options)


# ---- extensions ---------------------------------------------------------------------------


async def test_managed_sessions_apply_extensions() -> None:
    server, client = testing.managed_server_pair(extensions=[rawws.PerMessageDeflate()])
    assert server.extension(rawws.PerMessageDeflate).parameters == client.extension(rawws.PerMessageDeflate).parameters
    await client.send("x" * 10_000)
    assert (await server.receive()).text == "x" * 10_000
    assert server.stats.bytes_received < 100
    await asyncio.gather(server.close(), client.close())


async def test_raw_sessions_negotiate_extensions_if_asked() -> None:
    factories = [rawws.PerMessageDeflate(client_no_context_takeover=True)]
    server, client = testing.server_pair(extensions=factories)
    assert server.negotiated_extensions == client.negotiated_extensions == ()
    abort(testing.ServerPair(server, client))

    server, client = testing.server_pair(extensions=factories, negotiate_extensions=True)
    for session in (server, client):
        assert session.extensions == ()
        session.apply_extensions()
        assert session.extension(rawws.PerMessageDeflate()).parameters.client_no_context_takeover
    await client.send("x" * 10_000)
    assert (await server.receive()).text == "x" * 10_000
    assert server.stats.bytes_received < 100
    await asyncio.gather(server.end(), client.end())


@both
async def test_extensions_that_are_not_negotiated(pair: Callable[..., Pair]) -> None:
    made = pair(extensions=[rawws.PerMessageDeflate()], negotiate_extensions=False)
    assert made.server.extensions == made.client.extensions == ()
    abort(made)
