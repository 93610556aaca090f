"""Behaviour of a raw session that only real sockets show."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws

from ..tools import peers, talking
from ..tools.waiting import eventually


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_a_handler_that_only_sends_ends_when_the_peer_resets(managed: bool) -> None:
    ended = asyncio.Event()

    async def flood(session: Any) -> None:
        try:
            while True:
                await session.send(b"x" * 1000)
        except rawws.ConnectionLost:
            ended.set()
            raise

    app = web.Application()
    app.add_routes([rawws.websocket("/", flood) if managed else rawws.websocket_raw("/", flood)])
    async with peers.serving(app) as served, served.peer() as peer:
        await peer.open()
        reading = asyncio.ensure_future(peer.read(3 * 2**20))  # both ends share the loop: the flood must give way
        await asyncio.wait_for(reading, 20)
        peer.reset()
        await asyncio.wait_for(ended.wait(), 20)
        await served.idle()


# ---- a peer that is slow, and reads on ------------------------------------------------------------

PIECES, SIZE = 15, 100_000  # frames of so many bytes
ALL = PIECES * (10 + SIZE)
CLOSE_TIMEOUT = 5.0  # seconds; reading takes longer. On a busy machine a peer may need some to answer our Close.


async def send_all(session: Any) -> None:
    for number in range(PIECES):
        await session.send(bytes([number]) * SIZE)


async def send_all_in_one(session: Any) -> None:
    """The kernel takes little of it and is always full; the rest is in a buffer of the transport, or one below TLS."""
    session.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    session.send_nowait(bytes(ALL - 10))


async def send_all_and_close(session: Any) -> None:
    await send_all(session)
    await session.close(4000)


async def send_all_and_fail(session: Any) -> None:
    await send_all(session)
    raise LookupError("of the handler's own")


SLOW_ROUTES: dict[str, tuple[Any, int | None, dict[str, Any]]] = {  # ..., the code of the Close
    "/raw": (send_all, None, {}),
    "/raw/one": (send_all_in_one, None, {}),
    "/raw/closes": (send_all_and_close, 4000, {}),
    "/raw/fails": (send_all_and_fail, 1011, {"on_error": "close-1011"}),
    "/managed": (send_all, 1000, {}),
    "/managed/one": (send_all_in_one, 1000, {}),
    "/managed/closes": (send_all_and_close, 4000, {}),
    "/managed/fails": (send_all_and_fail, 1011, {}),
}


async def read_slowly(served: peers.Served, path: str) -> bytes:
    """Open a session, read with pauses, and send pings meanwhile, which must not lead to a reset. A Close is answered.

    All of it takes longer than ``CLOSE_TIMEOUT``.
    """
    context = peers.certificates()[1] if served.tls else None
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (served.host, served.port))
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=context, server_hostname="127.0.0.1" if context else None, limit=32 * 1024
    )
    got = b""
    try:
        writer.write(peers.request_bytes(path))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), peers.TIMEOUT)
        while len(got) < ALL:
            await asyncio.sleep(0.27)
            goal = len(got) + 70_000
            while len(got) < min(goal, ALL):
                data = await asyncio.wait_for(reader.read(min(goal, ALL) - len(got)), peers.TIMEOUT)
                if not data:
                    return got
                got += data
            if len(got) < ALL // 2:  # later, all may be delivered, and the server gone
                writer.write(peers.frame(peers.PING, b"still here"))
        got += await asyncio.wait_for(reader.read(1), peers.TIMEOUT)
        writer.write(peers.close_frame(1000))
        with contextlib.suppress(OSError):  # TLS: the end of the server's side is that of ours, too
            got += await asyncio.wait_for(reader.read(), peers.TIMEOUT)
        return got
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_peer_that_reads_slowly_gets_everything(tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    """However the session ends: its own end is not the end of what it has sent."""
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    app = web.Application()
    rawws.setup(app, close_timeout=CLOSE_TIMEOUT)
    for path, (handle, _, options) in SLOW_ROUTES.items():
        route: Any = rawws.websocket if path.startswith("/managed") else rawws.websocket_raw
        app.add_routes([route(path, handle, auto_pong=False, **options)])
    async with peers.serving(app, tls=tls) as served:
        results = await asyncio.gather(*(read_slowly(served, path) for path in SLOW_ROUTES))
        for (path, (_, code, _)), got in zip(SLOW_ROUTES.items(), results):
            sizes = [ALL - 10] if path.endswith("/one") else [SIZE] * PIECES
            for number, size in enumerate(sizes):
                at = number * (10 + SIZE)
                assert got[at : at + 10 + size] == b"\x82\x7f" + struct.pack("!Q", size) + bytes([number]) * size, path
            close = b"" if code is None else got[ALL : ALL + 4]
            assert close == (b"" if code is None else got[ALL : ALL + 2] + struct.pack("!H", code)), path
        await served.idle()
    assert not [record for record in caplog.records if "limit" in record.getMessage()], caplog.text


# ---- a peer that resets while we send ---------------------------------------------------------------


async def send(session: Any) -> None:
    for _ in range(1000):
        await session.send("x" * 100)


async def send_nowait(session: Any) -> None:
    for _ in range(1000):
        session.send_nowait("x" * 100)


async def send_large(session: Any) -> None:
    for _ in range(50):
        await session.send(b"x" * 50_000)


async def send_prepared(session: Any) -> None:
    prepared = rawws.PreparedFrame(rawws.Frame.text("x" * 100))
    for _ in range(1000):
        await session.send(prepared)


async def send_broadcasts(session: Any) -> None:
    for _ in range(1000):
        rawws.broadcast([session], "x" * 100)


async def send_pings(session: Any) -> None:
    for _ in range(1000):
        session.send_nowait(rawws.Frame.ping(b"x"))


async def send_corked(session: Any) -> None:
    for _ in range(100):
        with session.cork():
            for _ in range(10):
                await session.send("x" * 100)


async def send_bytes(session: Any) -> None:
    raw = getattr(session, "raw", session)
    for _ in range(1000):
        raw.write_bytes(b"\x81\x01x")


BURSTS = [send, send_nowait, send_large, send_prepared, send_broadcasts, send_pings, send_corked, send_bytes]


@pytest.mark.parametrize("kind", ["raw", "managed", "deflate"])
async def test_a_reset_is_no_line_in_the_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that sends on before the loop has noticed: asyncio logs each write but four, and there are clients that
    always reset."""
    caplog.set_level(logging.INFO)
    counts: list[int] = []

    def route(burst: Any) -> Any:
        async def handle(session: Any) -> None:
            await session.receive()
            # The loop does not run, and the peer has reset. A blocking call, as a computation is.
            sockets.pop().close()
            time.sleep(0.05)  # noqa: ASYNC251
            await asyncio.wait_for(burst(session), peers.TIMEOUT)
            counts.append(session.stats.frames_sent)
            await session.receive()

        return handle

    app = web.Application()
    options: dict[str, Any] = {"extensions": [rawws.PerMessageDeflate()]} if kind == "deflate" else {}
    for burst in BURSTS:
        make: Any = rawws.websocket_raw if kind == "raw" else rawws.websocket
        app.add_routes([make(f"/{burst.__name__}", route(burst), **options)])
    sockets: list[socket.socket] = []
    async with peers.serving(app) as served:
        for burst in BURSTS:
            sock = socket.create_connection((served.host, served.port))
            sock.setblocking(False)
            headers = {"Sec-WebSocket-Extensions": "permessage-deflate"} if kind == "deflate" else None
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, peers.request_bytes(f"/{burst.__name__}", headers))
            assert b" 101 " in await asyncio.wait_for(loop.sock_recv(sock, 4096), peers.TIMEOUT)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
            sockets.append(sock)
            await loop.sock_sendall(sock, peers.frame(peers.TEXT, b"go"))
            await eventually(lambda: not sockets)
            await served.idle()
    assert not [record for record in caplog.records if record.levelno > logging.INFO], caplog.text


# ---- both directions at once ------------------------------------------------------------------------

MESSAGES, LENGTH, BUFFER = 500, 4096, 8192  # 2 MB each way, through small buffers of the kernel


async def tcp_pair() -> tuple[rawws.WebSocketSession, rawws.WebSocketSession]:
    """Two raw sessions over a connection whose reads are small, as they are over a network."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Any] = loop.create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport)

    listening, connecting = socket.socket(), socket.socket()
    for sock in (listening, connecting):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    listening.bind(("127.0.0.1", 0))
    server = await loop.create_server(Accepting, sock=listening)
    connecting.setblocking(False)
    await loop.sock_connect(connecting, listening.getsockname())
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=connecting)
    client = rawws.WebSocketSession(transport, server=False)
    session = rawws.WebSocketSession(await accepted)
    client.start()
    session.start()
    server.close()  # not wait_closed(), which from Python 3.12 on waits for the connections
    return session, client


async def send_numbered(session: Any) -> None:
    for number in range(MESSAGES):
        await session.send(struct.pack("!I", number) * (LENGTH // 4))


async def receive_numbered(session: Any) -> None:
    for number in range(MESSAGES):
        assert (await session.receive()).payload == struct.pack("!I", number) * (LENGTH // 4)


async def echo(session: Any) -> None:
    async for frame in session:
        await session.send(frame.payload)


async def echo_in_a_listener(session: Any) -> None:
    await session.listen(lambda frame: session.send_nowait(frame.payload))


async def send_and_receive(session: Any) -> None:
    await asyncio.gather(send_numbered(session), receive_numbered(session))


@pytest.mark.parametrize("near", ["raw", "managed", "deflate"])
@pytest.mark.parametrize("far", [send_and_receive, echo, echo_in_a_listener], ids=lambda far: far.__name__)
@pytest.mark.parametrize("far_managed", [False, True], ids=["raw peer", "managed peer"])
async def test_both_directions_at_once(near: str, far: Any, far_managed: bool) -> None:
    """One task sends, one receives, and so does the peer: everything comes through."""
    raw_session, raw_client = await tcp_pair()
    ours, theirs = talking.negotiated(rawws.PerMessageDeflate()) if near == "deflate" else ((), ())
    session: Any = raw_session if near == "raw" else rawws.DefaultWebSocketSession(raw_session, extensions=ours)
    client: Any = rawws.DefaultWebSocketSession(raw_client, extensions=theirs) if far_managed else raw_client
    if near == "deflate" and not far_managed:
        raw_client.negotiated_extensions = tuple(theirs)
        raw_client.apply_extensions()
    other = asyncio.ensure_future(far(client))
    try:
        await asyncio.wait_for(send_and_receive(session), peers.TIMEOUT)
        if far is send_and_receive:
            await asyncio.wait_for(other, peers.TIMEOUT)
    finally:
        raw_session.abort()
        raw_client.abort()
        await raw_session.wait_closed()
        await raw_client.wait_closed()
        await asyncio.wait([other])
        assert other.exception() is None or isinstance(other.exception(), rawws.SessionClosed)


# ---- reset ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("reset", [False, True])
async def test_abort_with_a_reset(managed: bool, reset: bool, tls: bool) -> None:
    """The socket is clean, so that without ``reset`` the peer sees an end of the stream."""

    async def handle(session: Any) -> None:
        await session.send("hello")
        await session.receive()
        session.abort(reset=reset)

    app = web.Application()
    app.add_routes([rawws.websocket("/", handle) if managed else rawws.websocket_raw("/", handle)])
    async with peers.serving(app, tls=tls) as served, served.peer() as peer:
        await peer.open()
        assert await peer.frame() == (peers.TEXT, b"hello")
        await peer.send(peers.frame(peers.TEXT, b"go"))
        if reset:
            with pytest.raises(ConnectionResetError):
                await peer.read_to_end()
        else:
            assert await peer.read_to_end() == b""
        await served.idle()


async def test_a_reset_without_a_socket() -> None:
    server, client = rawws.memory_pair()
    server.abort(reset=True)
    with pytest.raises(rawws.ConnectionLost):
        await client.receive()
