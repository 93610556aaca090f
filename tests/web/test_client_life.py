"""Clients from the connection to its end: limits of time, cancellation, the connector, closing. The ids are those of
the requirements."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import (
    ConnectionLost,
    Frame,
    Opcode,
    ProtocolViolation,
    connect,
    connect_raw,
)

from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import CLOSE, PING, PONG, TEXT, certificates, frame, serving
from ..tools.waiting import eventually, settle

RECEIVE = 20.0  # seconds; only a fault takes so long
PROMPT = 10.0  # seconds that something may take whose limit is one second

each_kind = pytest.mark.parametrize("connecting", [connect_raw, connect], ids=["raw", "managed"])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client_session:
        yield client_session


async def silent(peer: HandPeer) -> None:
    """Take a connection and do nothing."""
    await peer.read_to_end()


async def opening(peer: HandPeer) -> None:
    """Open a WebSocket and do nothing."""
    await peer.accept()
    await peer.read_to_end()


async def answering(peer: HandPeer) -> None:
    """Open a WebSocket, answer a Close and end TCP."""
    await peer.accept()
    while True:
        first, payload = await peer.frame_of_client()
        if first & 0x0F == CLOSE:
            await peer.send(frame(CLOSE, payload, mask=None))
            return
        await peer.send(frame(first & 0x0F, payload, mask=None))


async def is_free(http: aiohttp.ClientSession) -> None:
    """The only place of the connector is free."""
    async with hand_server(opening) as server:
        session = await asyncio.wait_for(connect_raw(http, server.url).__aenter__(), RECEIVE)
        session.abort()
        await session.wait_closed()


# ---- C12, C13: limits of time -------------------------------------------------------------


async def test_c12_no_answer(http: aiohttp.ClientSession) -> None:
    """``open_timeout`` covers the wait for the 101, and leaves nothing."""
    async with hand_server(silent) as server:
        with pytest.raises(asyncio.TimeoutError, match="open_timeout"):
            await connect_raw(http, server.url, open_timeout=1.0)
        await eventually(lambda: not server.open)
    await is_free(http)


async def test_c12_a_101_one_byte_at_a_time(http: aiohttp.ClientSession) -> None:
    """A server that keeps on sending does not extend it."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        for byte in peer.head():
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.1)

    async with hand_server(script) as server:
        with pytest.raises(asyncio.TimeoutError, match="within 1 seconds"):
            await connect_raw(http, server.url, open_timeout=1)
        await eventually(lambda: not server.open)


async def test_c12_tls_that_does_not_answer(http: aiohttp.ClientSession) -> None:
    """It covers the TLS handshake."""
    async with hand_server(silent) as server:
        with pytest.raises(asyncio.TimeoutError):
            await connect_raw(http, server.url.replace("ws:", "wss:"), open_timeout=1)
        await eventually(lambda: not server.open)


async def test_c12_a_backlog_that_is_full() -> None:
    """It covers TCP: a listener that accepts nothing more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        held = []
        for _ in range(4):  # until the backlog is full, and a further SYN gets no answer
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(address)
            held.append(each)
        try:
            async with aiohttp.ClientSession() as http:
                with pytest.raises(asyncio.TimeoutError):
                    await connect_raw(http, f"ws://127.0.0.1:{address[1]}/", open_timeout=1)
        finally:
            for each in held:
                each.close()


async def test_c12_dns_that_does_not_answer() -> None:
    """It covers DNS."""

    class Resolver(aiohttp.abc.AbstractResolver):
        async def resolve(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(3600)

        async def close(self) -> None:
            pass

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver())) as http:
        with pytest.raises(asyncio.TimeoutError):
            await connect_raw(http, "ws://example.org/", open_timeout=1)


async def test_c12_redirects_share_it(http: aiohttp.ClientSession) -> None:
    """A chain of redirects has one limit."""

    async def script(peer: HandPeer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.3)
            await peer.refuse("302 Found", {"Location": "/again", "Content-Length": "0"})

    async with hand_server(script) as server:
        with pytest.raises(asyncio.TimeoutError):
            await connect_raw(http, server.url, open_timeout=1, max_redirects=1000)


async def test_c12_waiting_for_a_free_connection(http: aiohttp.ClientSession) -> None:
    """It covers the wait for a place in the connector, and says so by the same error."""
    async with hand_server(answering) as server:
        async with connect(http, server.url):
            with pytest.raises(asyncio.TimeoutError):
                await connect(http, server.url, open_timeout=1)
        async with connect(http, server.url):
            pass


@each_kind
async def test_c13_timeouts_of_the_client_session_end_with_the_101(connecting: Any) -> None:
    """``ClientTimeout(total=, sock_read=)`` never fires after the 101."""
    timeout = aiohttp.ClientTimeout(total=0.4, sock_read=0.4)
    async with aiohttp.ClientSession(timeout=timeout) as http, hand_server(answering) as server:
        async with connecting(http, server.url) as session:
            await session.send("hello")
            await session.receive(RECEIVE)
            await asyncio.sleep(1.0)
            await session.send("hello")
            assert (await session.receive(RECEIVE)).text == "hello"


# ---- C14: cancellation --------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_c14_cancelled_anywhere(http: aiohttp.ClientSession, connecting: Any, tls: bool) -> None:
    """Cancelling at any await of ``connect`` leaves no socket, no place in the connector and no task."""
    context = certificates()[1] if tls else True
    opened = 0
    async with hand_server(answering, tls=tls) as server:
        before = asyncio.all_tasks()
        for step in range(40):
            task = asyncio.ensure_future(connecting(http, server.url, ssl=context).__aenter__())
            await settle(step)
            task.cancel()
            try:
                session = await task
            except asyncio.CancelledError:
                pass
            else:
                opened += 1  # the cancellation came too late
                session.abort()
                await session.wait_closed()
            await eventually(lambda: not server.open)
            del task
            await eventually(lambda: not asyncio.all_tasks() - before - serving_tasks())
        async with connecting(http, server.url, ssl=context) as session:  # with a limit of one connection
            await session.send("hello")
            assert (await session.receive(RECEIVE)).text == "hello"
    assert opened < 40


def serving_tasks() -> set[Any]:
    return {task for task in asyncio.all_tasks() if "serve" in repr(task.get_coro())}


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.05])
async def test_c14_cancelled_while_the_body_is_read(http: aiohttp.ClientSession, pause: float) -> None:
    """Cancelling while the body of a refusal is read closes the connection, and stays a cancellation."""
    answered = asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("403 Forbidden", {"Content-Length": "100"}, b"part")
        answered.set()
        await peer.read_to_end()

    async with hand_server(script) as server:
        task = asyncio.ensure_future(connect_raw(http, server.url).__aenter__())
        await answered.wait()
        await asyncio.sleep(pause)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: not server.open)
    await is_free(http)


@each_kind
async def test_c14_cancelled_while_it_closes(http: aiohttp.ClientSession, connecting: Any) -> None:
    """A block that is cancelled while it closes drops the connection."""

    async def stubborn(peer: HandPeer) -> None:
        await peer.accept()
        await asyncio.sleep(3600)

    async def use() -> None:
        async with connecting(http, server.url, close_timeout=3600):
            pass

    async with hand_server(stubborn) as server:
        task = asyncio.create_task(use())
        await eventually(lambda: server.connections)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await is_free(http)


@each_kind
async def test_two_blocks_cannot_share_one_call(connecting: Any) -> None:
    """The second block is refused, also while the first connects; one after the other they work."""
    async with aiohttp.ClientSession() as http, hand_server(answering) as server:
        shared = connecting(http, server.url, close_timeout=1.0)

        async def use() -> None:
            async with shared:
                await settle()

        results = await asyncio.gather(use(), use(), return_exceptions=True)
        assert results[0] is None and isinstance(results[1], RuntimeError)
        await use()
        assert server.connections == 2
        task = asyncio.ensure_future(shared.__aenter__())
        await settle(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await use()  # a try that has failed leaves it usable


@each_kind
async def test_a_task_of_it(http: aiohttp.ClientSession, connecting: Any) -> None:
    """A task can be made of a call, as of a coroutine, and be cancelled."""
    async with hand_server(answering) as server:
        session = await asyncio.create_task(connecting(http, server.url))
        waiting = asyncio.create_task(connecting(http, server.url))
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        session.abort()
        await session.wait_closed()
        never_started = asyncio.create_task(connecting(http, server.url))
        never_started.cancel()
        with pytest.raises(asyncio.CancelledError):
            await never_started
        connecting(http, server.url).close()
        assert server.connections == 1


@each_kind
async def test_a_generator_that_is_closed(http: aiohttp.ClientSession, connecting: Any) -> None:
    """To close a generator that has a session is no error: the session is closed with 1000."""
    codes: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        _, payload = await peer.frame_of_client()
        codes.append(payload)
        await peer.send(frame(CLOSE, payload, mask=None))

    async def sessions() -> AsyncGenerator[Any, None]:
        async with connecting(http, server.url) as session:
            yield session

    async with hand_server(script) as server:
        async with contextlib.aclosing(sessions()) as generator:
            async for _ in generator:
                break
    assert codes == [struct.pack("!H", 1000)]


# ---- C15 to C17: the connector ------------------------------------------------------------


async def ended_by(how: str, session: Any) -> None:
    """End ``session``, or wait until the server has ended it, as an application would."""
    raw = getattr(session, "raw", session)
    if how == "abort":
        session.abort()
    elif how == "end":
        await raw.end()
    elif how == "response":
        session.response.close()
    elif how == "close":
        await session.close()
    else:
        with pytest.raises(rawws.RawWSError):
            while True:
                await session.receive(RECEIVE)
    if session is raw:
        await session.end()  # a raw session does not end with a Close
    await asyncio.wait_for(session.wait_closed(), RECEIVE)


@each_kind
@pytest.mark.parametrize("how", ["close", "abort", "end", "response", "closed", "lost", "reset", "violation"])
async def test_c15_the_place_in_the_connector(http: aiohttp.ClientSession, connecting: Any, how: str) -> None:
    """The connector's place is held while the session is open, and is free once it has ended, whichever way."""
    connector: Any = http.connector
    released: list[object] = []
    release = connector._release

    def counting(*args: Any, **kwargs: Any) -> None:
        released.append(args)
        release(*args, **kwargs)

    connector._release = counting

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        if how == "closed":
            await peer.send(frame(CLOSE, b"\x03\xe8", mask=None))
        elif how == "reset":
            peer.reset()
            return
        elif how == "violation":
            await peer.send(b"\x83\x00")
        elif how == "lost":
            return
        while (await peer.frame_of_client())[0] != 0x80 | CLOSE:
            pass
        if how != "closed":
            await peer.send(frame(CLOSE, b"\x03\xe8", mask=None))

    async with hand_server(script) as server:
        for number in range(3):
            session = await asyncio.wait_for(connecting(http, server.url, close_timeout=1.0).__aenter__(), RECEIVE)
            if how in ("close", "abort", "end", "response"):
                assert connector._acquired
            await ended_by(how, session)
            assert not connector._acquired
            assert len(released) == number + 1
            assert session.response.closed
        assert server.connections == 3


async def test_c15_the_next_is_served(http: aiohttp.ClientSession) -> None:
    """With ``limit=1`` a second ``connect`` waits for the end of the first, and is then served."""
    async with hand_server(answering) as server:
        first = await connect(http, server.url)
        waiting = asyncio.ensure_future(connect(http, server.url).__aenter__())
        await asyncio.sleep(0.2)
        assert not waiting.done() and server.connections == 1
        await first.close()
        second = await asyncio.wait_for(waiting, RECEIVE)
        await second.close()


@each_kind
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_c16_closing_the_client_session(connecting: Any, tls: bool) -> None:
    """Closing the ClientSession wakes ``receive()`` with a ConnectionLost that says so."""
    done = asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        await done.wait()

    async with hand_server(script, tls=tls) as server:
        http = aiohttp.ClientSession()
        session = await connecting(http, server.url, ssl=certificates()[1] if tls else True)
        receiving = asyncio.ensure_future(session.receive())
        await settle()
        await http.close()
        with pytest.raises(ConnectionLost, match="ClientSession of aiohttp was closed"):
            await asyncio.wait_for(receiving, PROMPT)
        await asyncio.wait_for(session.wait_closed(), PROMPT)
        done.set()


@each_kind
async def test_c16_iterating_ends(connecting: Any) -> None:
    """An iteration ends quietly with the ClientSession, as with any loss."""
    async with hand_server(opening) as server:
        http = aiohttp.ClientSession()
        session = await connecting(http, server.url)
        asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(http.close()))
        assert [frame async for frame in session] == []
        await asyncio.wait_for(session.wait_closed(), PROMPT)


# ---- C26, C27: pings ----------------------------------------------------------------------


async def test_c26_raw_pings(http: aiohttp.ClientSession) -> None:
    """A raw session gets pings, and answers none by itself."""

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=frame(PING, b"early", mask=None))
        await peer.send(frame(PING, b"late", mask=None))
        assert (await peer.frame_of_client()) == (0x80 | TEXT, b"no pong before this")

    async with hand_server(script) as server:
        session = await connect_raw(http, server.url)
        assert await session.receive(RECEIVE) == Frame.ping(b"early")
        assert await session.receive(RECEIVE) == Frame.ping(b"late")
        await session.send("no pong before this")
        await session.end()


async def test_c26_managed_pings_while_nobody_receives(http: aiohttp.ClientSession) -> None:
    """A managed session answers pings while nobody receives, also one that came with the 101."""

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=frame(PING, b"early", mask=None))
        assert await peer.frame_of_client() == (0x80 | PONG, b"early")
        await peer.send(frame(PING, b"late", mask=None))
        assert await peer.frame_of_client() == (0x80 | PONG, b"late")
        seen.set()
        await peer.read_to_end()

    seen = asyncio.Event()
    async with hand_server(script) as server:
        session = await connect(http, server.url)
        await asyncio.wait_for(seen.wait(), RECEIVE)
        session.abort()
        await session.wait_closed()


async def test_c26_auto_pong_off(http: aiohttp.ClientSession) -> None:
    """Answering can be switched off, and the pings are seen."""
    seen: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        await peer.send(frame(PING, b"1", mask=None), frame(TEXT, b"go", mask=None))
        assert await peer.frame_of_client() == (0x80 | TEXT, b"no pong")
        await peer.read_to_end()

    async with hand_server(script) as server:
        session = await connect(http, server.url, auto_pong=False)
        session.on_ping = seen.append
        await session.receive(RECEIVE)
        await session.send("no pong")
        assert seen == [b"1"]
        await session.raw.end()


async def test_c27_keepalive(http: aiohttp.ClientSession) -> None:
    """A ping without an answer ends the session, and the error names the ping."""

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        assert (await peer.frame_of_client())[0] == 0x80 | PING
        first, payload = await peer.frame_of_client()
        assert first == 0x80 | CLOSE and payload[:2] == struct.pack("!H", 1011)

    async with hand_server(script) as server:
        session = await connect(http, server.url, ping_interval=0.2, timeout=1.0, close_timeout=1.0)
        with pytest.raises(ConnectionLost, match="Ping timeout"):
            await session.receive(RECEIVE)
        assert session.limit == "timeout"
        await asyncio.wait_for(session.wait_closed(), PROMPT)


async def test_c27_any_bytes_are_a_sign_of_life(http: aiohttp.ClientSession) -> None:
    """If so set, any byte counts as life."""

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        for _ in range(20):
            await asyncio.sleep(0.1)
            await peer.send(frame(TEXT, b"x", mask=None))
        await peer.read_to_end()

    async with hand_server(script) as server:
        options: Any = {"keepalive": rawws.Periodic(any_data_is_alive=True), "ping_interval": 0.3, "timeout": 1.0}
        session = await connect(http, server.url, **options)
        for _ in range(20):
            assert (await session.receive(RECEIVE)).text == "x"
        session.abort()
        await session.wait_closed()


@each_kind
@pytest.mark.parametrize("option", ["idle_timeout", "max_lifetime"])
async def test_limits_of_time_hold_for_clients(http: aiohttp.ClientSession, connecting: Any, option: str) -> None:
    """``idle_timeout`` and ``max_lifetime`` close the session with 1001."""

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        first, payload = await peer.frame_of_client()
        assert (first, payload[:2]) == (0x80 | CLOSE, struct.pack("!H", 1001))
        await peer.send(frame(CLOSE, payload, mask=None))

    async with hand_server(script) as server:
        session = await connecting(http, server.url, **{option: 0.5})
        with pytest.raises(rawws.SessionClosed):
            while True:
                await session.receive(RECEIVE)
        session.abort()
        await session.wait_closed()


# ---- C28, C29: closing --------------------------------------------------------------------


async def shrug(peer: HandPeer) -> None:
    """Take no notice of anything."""
    await peer.accept()
    await asyncio.sleep(3600)


async def flood(peer: HandPeer) -> None:
    """Send for ever."""
    await peer.accept()
    peer.writer.transport.set_write_buffer_limits(high=0)
    while True:
        await peer.send(frame(TEXT, b"x" * 10_000, mask=None))


async def answer_and_stay(peer: HandPeer) -> None:
    """Answer the Close, and never end TCP."""
    await peer.accept()
    while (await peer.frame_of_client())[0] != 0x80 | CLOSE:
        pass
    await peer.send(frame(CLOSE, b"\x03\xe8", mask=None))
    await asyncio.sleep(3600)


@each_kind
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("script", [shrug, flood, answer_and_stay], ids=lambda script: script.__name__)
async def test_c28_close_is_bounded(http: aiohttp.ClientSession, connecting: Any, script: Any, tls: bool) -> None:
    """``close()`` ends on every path: a silent server, one that sends for ever, one that never ends TCP or TLS."""
    async with hand_server(script, tls=tls) as server:
        began = time.monotonic()
        async with connecting(http, server.url, close_timeout=1.0, ssl=certificates()[1] if tls else True):
            pass
        assert time.monotonic() - began < PROMPT
        await is_free(http)


@each_kind
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_c28_abort_is_at_once(http: aiohttp.ClientSession, connecting: Any, tls: bool) -> None:
    """``abort()`` waits for nobody."""
    async with hand_server(shrug, tls=tls) as server:
        options: Any = {"close_timeout": 3600, "ssl": certificates()[1] if tls else True}
        session = await connecting(http, server.url, **options)
        session.abort()
        await asyncio.wait_for(session.wait_closed(), PROMPT)
        await is_free(http)


@pytest.mark.parametrize("first", ["client", "server"])
async def test_c29_the_server_ends_tcp_first(http: aiohttp.ClientSession, first: str) -> None:
    """After both Closes the client waits for the server to end TCP (section 7.1.1)."""
    seen: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        if first == "server":
            await peer.send(frame(CLOSE, b"\x03\xe8", mask=None))
        assert (await peer.frame_of_client())[0] == 0x80 | CLOSE
        if first == "client":
            await peer.send(frame(CLOSE, b"\x03\xe8", mask=None))
        try:
            seen.append(await asyncio.wait_for(peer.reader.read(1), 0.3))  # b"" if the client has ended TCP
        except asyncio.TimeoutError:
            pass

    async with hand_server(script) as server:
        session = await connect(http, server.url)
        if first == "client":
            await session.close()
        else:
            await asyncio.wait_for(session.wait_closed(), PROMPT)
        assert seen == []
        assert session.close_state.clean


# ---- C31, C32: masking --------------------------------------------------------------------


async def test_c31_masking_keys(http: aiohttp.ClientSession) -> None:
    """Frames are masked, each with another key."""
    keys: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        for _ in range(10):
            first, length = await peer.read(2)
            assert (first, length) == (0x82, 0x80 | 4)
            keys.append(await peer.read(4))
            await peer.read(4)
        await peer.read_to_end()

    async with hand_server(script) as server:
        session = await connect_raw(http, server.url)
        for _ in range(10):
            await session.send(b"\0\0\0\0")
        await eventually(lambda: len(keys) == 10)
        session.abort()
        await session.wait_closed()
    assert len(set(keys)) == 10


async def test_c31_unmasked(http: aiohttp.ClientSession) -> None:
    """``masking=False`` sends unmasked, which a strict server refuses with 1002."""

    async def echo(request: web.Request) -> web.StreamResponse:
        async def handle(session: rawws.WebSocketServerSession) -> None:
            async for each in session:
                await session.send(each)

        return await rawws.WebSocketUpgrade(request, handle=handle).run()

    app = web.Application()
    app.router.add_get("/", echo)
    async with serving(app) as served:
        session = await connect_raw(http, f"ws://127.0.0.1:{served.port}/", masking=False)
        await session.send("hello")
        received = await session.receive(RECEIVE)
        assert received.opcode is Opcode.CLOSE
        assert received.close_reason is not None and received.close_reason.code == 1002
        await session.end()


@each_kind
async def test_c32_a_masked_frame_of_the_server(http: aiohttp.ClientSession, connecting: Any) -> None:
    """A masked frame from the server fails with 1002 (section 5.1), unless ``strict`` is off."""
    codes: list[bytes] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=frame(TEXT, b"hello"))
        first, payload = await peer.frame_of_client()
        if first == 0x80 | CLOSE:
            codes.append(payload[:2])

    async with hand_server(script) as server:
        session = await connecting(http, server.url)
        with pytest.raises(ProtocolViolation):
            await session.receive(RECEIVE)
        await eventually(lambda: codes)
        session.abort()
        await session.wait_closed()
        assert codes == [struct.pack("!H", 1002)]
        session = await connecting(http, server.url, strict=False)
        assert (await session.receive(RECEIVE)).text == "hello"
        session.abort()
        await session.wait_closed()
