"""``pump()``: TLS, the log, wrong arguments, sessions of routes, and other libraries at both ends."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions
from aiohttp import WSMsgType, web

from aiohttp_rawws import (
    CloseReason,
    DefaultWebSocketSession,
    PerMessageDeflate,
    PumpReport,
    WebSocketServerSession,
    WebSocketSession,
    connect_raw,
    memory_pair,
    pump,
    setup,
    websocket_raw,
)
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_server

from ..tools.peers import BINARY, CLOSE, PING, TEXT, close_frame, frame, serving
from ..tools.pumped import from_server, pumped, read_frame, unpumped
from ..tools.talking import bounded_wait
from ..tools.waiting import eventually

FIN = 0x80
SECURE = {"a": {"tls_a": True}, "b": {"tls_b": True}, "both": {"tls_a": True, "tls_b": True}}
each_tls = pytest.mark.parametrize("tls", SECURE.values(), ids=SECURE)

# ---- TLS ----------------------------------------------------------------------------------


@each_tls
async def test_tls_frames_and_closes_pass(tls: dict[str, bool]) -> None:
    async with pumped(**tls) as on:  # type: ignore[arg-type]
        await on.passes_up(frame(TEXT, b"up" * 50_000))
        await on.passes_down(from_server(TEXT, b"down" * 50_000))
        await on.passes_up(close_frame(4000))
        await on.passes_down(from_server(CLOSE, b"\x0f\xa0"))
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.a.clean and report.b.clean


@each_tls
@pytest.mark.parametrize("leaves", ["client", "server"])
async def test_tls_g43_an_end_without_a_close_ends_the_other_side(tls: dict[str, bool], leaves: str) -> None:
    async with pumped(**tls) as on:  # type: ignore[arg-type]
        await on.passes_up(frame(TEXT, b"x"))
        first, second = (on.client, on.server) if leaves == "client" else (on.server, on.client)
        await first.close()
        assert await second.read_to_end() == b""
        await second.close()
        report = await on.report()
    assert report.first == ("a" if leaves == "client" else "b")
    assert report.a.sent is report.b.sent is None


async def test_tls_has_no_half_close_so_the_rest_is_delivered_and_both_end() -> None:
    async with pumped(tls_b=True) as on:
        data = frame(TEXT, b"x" * 1_000_000)
        await on.client.send(data)
        on.client.writer.write_eof()
        assert await on.server.read(len(data)) == data
        assert await on.server.read_to_end() == b""
        await on.server.close()
        assert await on.client.read_to_end() == b""
        await on.report()


@pytest.mark.parametrize("side", ["a", "b"])
async def test_a_tls_session_whose_loss_the_loop_has_yet_to_report(side: str) -> None:
    """Its transport has no protocol any more. It counts as one that ends now."""
    async with unpumped(tls_a=True, tls_b=True) as on:
        leaving, staying, session = (on.client, on.server, on.a) if side == "a" else (on.server, on.client, on.b)
        leaving.writer.transport.abort()
        while session.transport.get_protocol() is session.connection and not session.close_state.lost:
            await asyncio.sleep(0)
        closing = asyncio.create_task(staying.close())
        assert (await pump(on.a, on.b)).first == side  # in this step of this task
        await closing


# ---- the log ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["a", "b"])
async def test_g44_a_loss_is_logged_once_with_its_side(side: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiohttp_rawws")
    async with pumped() as on:
        (on.client if side == "a" else on.server).reset()
        await on.report()
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp_rawws"]
    assert len(lines) == 1
    assert lines[0].startswith(f"pump: side {side}, <WebSocketSession")


async def test_g44_a_limit_is_logged_once_with_its_side(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiohttp_rawws")
    async with pumped(b={"max_frame_size": 10}) as on:
        await on.server.send(from_server(TEXT, b"x" * 11))
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        await on.report()
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp_rawws"]
    assert len(lines) == 1 and "side b" in lines[0] and "max_frame_size" in lines[0]


async def test_frames_that_pass_are_in_the_log_of_frames(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "aiohttp_rawws.frames")
    async with pumped() as on:
        await on.passes_up(frame(TEXT, b"hello"))
    lines = [record.getMessage() for record in caplog.records if "hello" in record.getMessage()]
    assert [" < " in line for line in lines] == [True, False]


# ---- arguments ----------------------------------------------------------------------------


async def test_wrong_arguments() -> None:
    first, second = memory_pair(), memory_pair()
    managed = DefaultWebSocketSession(second.client)
    applied = memory_pair()
    offer = client_offer_header([PerMessageDeflate()])
    assert offer is not None
    applied.client.negotiated_extensions = negotiate_server([PerMessageDeflate()], [offer])[0]
    applied.client.apply_extensions()
    unstarted = WebSocketSession(second.client.transport, server=False)
    listened = memory_pair()
    listened.client.listen(lambda frame: None)
    wrong: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (TypeError, "b must be a raw session", managed, {}),
        (TypeError, "b must be a raw session", None, {}),
        (ValueError, "extensions applied", applied.client, {}),
        (ValueError, "role of a server", second.server, {}),
        (ValueError, "role of a server", first.server, {}),
        (RuntimeError, "not been started", unstarted, {}),
        (RuntimeError, "has a listener", listened.client, {}),
        (TypeError, "on_frame must be", second.client, {"on_frame": 5}),
        (TypeError, "on_loss must be", second.client, {"on_loss": 1001}),
        (ValueError, "may not be sent", second.client, {"on_loss": CloseReason(1006)}),
        (ValueError, "high_water", second.client, {"high_water": 0}),
        (TypeError, "high_water", second.client, {"high_water": None}),
        (ValueError, "idle_timeout", second.client, {"idle_timeout": 0}),
        (TypeError, "half_open_timeout", second.client, {"half_open_timeout": "soon"}),
    ]
    for error, text, session, how in wrong:
        with pytest.raises(error, match=text):
            await pump(first.server, session, **how)
    for pair in (first, second, applied, listened):
        pair.server.abort()
        await bounded_wait(pair.client.wait_closed())


async def test_a_session_that_is_pumped_cannot_be_received_from_or_pumped_again() -> None:
    async with pumped() as on:
        with pytest.raises(RuntimeError, match="listener"):
            await on.a.receive()
        with pytest.raises(RuntimeError, match="listener"):
            await pump(on.a, on.b)
        await on.passes_up(frame(TEXT, b"still"))


async def test_a_session_with_an_open_stream_cannot_be_pumped() -> None:
    """What passes would land inside of a frame that was begun, and the rest of one that is read would be lost."""
    async with unpumped() as on:
        async with on.b.open_stream(length=10) as out:
            await out.write(b"begun")
            with pytest.raises(RuntimeError, match="b has a message that is being sent"):
                await pump(on.a, on.b)
            await out.write(b"ended")
        async with on.b.open_stream() as out:
            await out.write(b"x" * 100_000)
            with pytest.raises(RuntimeError, match="b has a message that is being sent"):
                await pump(on.a, on.b)
        await on.client.send(frame(TEXT, b"x" * 1000)[:500])
        async with on.a.receive_stream() as incoming:
            assert await incoming.read(10)
            with pytest.raises(RuntimeError, match="a is read as a stream"):
                await pump(on.a, on.b)
            await on.client.send(frame(TEXT, b"x" * 1000)[500:])
        on.begin()
        await on.client.send(frame(PING, b"p"))
        assert await read_frame(on.server) == (FIN | BINARY, b"begunended")
        while (await read_frame(on.server))[0] != FIN | PING:
            pass


async def test_sessions_that_have_ended_before() -> None:
    async with unpumped() as on:
        on.a.abort()
        on.b.abort()
        await bounded_wait(asyncio.gather(on.a.wait_closed(), on.b.wait_closed()))
        on.begin()
        report = await on.report()
    assert report.a.lost and report.b.lost


async def test_a_session_to_which_something_waits_to_be_sent() -> None:
    """It goes first."""
    async with unpumped() as on:
        on.server.pause_reading()
        sent = 0
        while not on.b.outgoing_full:
            on.b.send_nowait(b"%04d" % sent + bytes(50_000))
            sent += 1
        on.begin()
        await on.client.send(frame(TEXT, b"behind"))
        on.server.resume_reading()
        for number in range(sent):
            payload = (await read_frame(on.server))[1]
            assert payload[:4] == b"%04d" % number
        assert await read_frame(on.server) == (FIN | TEXT, b"behind")


# ---- on a route, between other libraries -----------------------------------------------------


def gateway(url: str, reports: list[PumpReport], **how: Any) -> Any:
    async def handler(session: WebSocketServerSession) -> None:
        async with aiohttp.ClientSession() as http:
            behind = await connect_raw(http, url, strict="hop")
            reports.append(await pump(session, behind, **how))

    return websocket_raw("/", handler, strict="hop", origins=None)


async def echo_of_aiohttp(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT and message.data == "close":
            await ws.close(code=4001, message=b"as you wish")
        elif message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        else:
            await ws.send_bytes(message.data)
    return ws


async def test_between_aiohttp_and_aiohttp() -> None:
    reports: list[PumpReport] = []
    behind, app = web.Application(), web.Application()
    behind.router.add_get("/", echo_of_aiohttp)
    async with serving(behind) as upstream:
        setup(app)
        app.add_routes([gateway(f"ws://127.0.0.1:{upstream.port}/", reports)])
        async with serving(app) as front, aiohttp.ClientSession() as http:
            async with http.ws_connect(f"ws://127.0.0.1:{front.port}/", heartbeat=0.2) as ws:
                for size in (0, 1, 1000, 100_000, 1_000_000):
                    await ws.send_bytes(b"x" * size)
                    assert await ws.receive_bytes() == b"x" * size
                await asyncio.sleep(0.5)  # pings of both
                await ws.send_str("close")
                message = await bounded_wait(ws.receive())
                assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "as you wish")
            await eventually(lambda: reports)
            await front.idle()
            await upstream.idle()
    assert reports[0].a.clean and reports[0].b.clean and reports[0].first == "b"


async def test_between_websockets_and_websockets() -> None:
    reports: list[PumpReport] = []

    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, compression=None) as upstream:
        port = next(iter(upstream.sockets)).getsockname()[1]
        app = web.Application()
        setup(app)
        app.add_routes([gateway(f"ws://127.0.0.1:{port}/", reports)])
        async with serving(app) as front:
            async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{front.port}/") as connection:
                await connection.send(["frag", "ments"])
                assert await bounded_wait(connection.recv()) == "fragments"
                await bounded_wait(await connection.ping())
                await connection.close(3000, "done")
                assert (connection.close_code, connection.close_reason) == (3000, "done")
            await eventually(lambda: reports)
    assert reports[0].a.clean and reports[0].first == "a"


async def test_g45_shutdown_of_the_server_sends_1001_to_both() -> None:
    reports: list[PumpReport] = []
    codes: list[int | None] = []

    async def remember(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for _ in ws:
            pass
        codes.append(ws.close_code)
        return ws

    behind, app = web.Application(), web.Application()
    behind.router.add_get("/", remember)
    async with serving(behind) as upstream, aiohttp.ClientSession() as http:
        setup(app)
        app.add_routes([gateway(f"ws://127.0.0.1:{upstream.port}/", reports)])
        async with serving(app) as front:
            ws = await http.ws_connect(f"ws://127.0.0.1:{front.port}/")
            received = asyncio.create_task(ws.receive())
            await asyncio.sleep(0.1)
        message = await bounded_wait(received)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        await ws.close()
        await eventually(lambda: codes == [1001])
    assert reports[0].first is None and reports[0].a.clean
