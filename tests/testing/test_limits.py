"""No wait of a ``Peer`` is endless: each call of a raw session that may wait is tried with a client that is dead."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, testing
from aiohttp_rawws.session.phases import CALLS, INTERNAL, Outcome
from aiohttp_rawws.testing import Peer, ScriptTimeout
from aiohttp_rawws.testing.transcript import TapReader, TapWriter, Transcript

from ..tools.waiting import eventually

pytestmark = pytest.mark.loops("asyncio")

WITHIN = 0.1  # seconds
MUCH = bytes(16 * 2**20)  # more than the system takes for a peer that does not read


@asynccontextmanager
async def dead_client(blocked: bool = False, **options: Any) -> AsyncIterator[Peer]:
    """The peer of a client that sends nothing, and reads nothing. ``blocked``: what can be sent before has been."""
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transcript = Transcript()
        request = testing.HandshakeRequest(b"GET / HTTP/1.1\r\n\r\n")
        options.setdefault("converter", rawws.JSONConverter())
        peer = Peer(TapReader(reader, transcript), TapWriter(writer, transcript), transcript, request, **options)
        peers.put_nowait(peer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1)
    peer = await peers.get()
    try:
        peer.within = WITHIN
        if blocked:
            peer.write_bytes(MUCH)
            await eventually(lambda: peer.connection.write_paused)
            while not peer.outgoing_full:
                peer.send_nowait(b"x" * 2**16)
        yield peer
    finally:
        peer.abort()
        writer.transport.abort()
        server.close()
        await eventually(lambda: peer.close_state.lost)


def ignore(frame: Frame) -> None:
    pass


async def listen(peer: Peer) -> None:
    await peer.listen(ignore)


async def receive_stream(peer: Peer) -> None:
    async with peer.receive_stream():
        pass


async def enter_and_leave(peer: Peer) -> None:
    async with peer:
        pass


# The calls that wait, by their names in CALLS. Those that wait for room or delivery do so on a blocked connection.
RECEIVING: dict[str, Callable[[Peer], Awaitable[object]]] = {
    "receive()": lambda peer: peer.receive(),
    "async for": lambda peer: anext(peer),
    "receive_stream()": receive_stream,
    "receive_json()": lambda peer: peer.receive_json(),
    "receive_deserialized()": lambda peer: peer.receive_deserialized(),
    "incoming.receive()": lambda peer: peer.incoming.receive(),
    "async for incoming": lambda peer: anext(aiter(peer.incoming)),
    "listen()": listen,
    "wait_closed()": lambda peer: peer.wait_closed(),
}
SENDING: dict[str, Callable[[Peer], Awaitable[object]]] = {
    "send()": lambda peer: peer.send("x"),
    "outgoing.send()": lambda peer: peer.outgoing.send("x"),
    "send_json()": lambda peer: peer.send_json("x"),
    "send_serialized()": lambda peer: peer.send_serialized("x"),
    "send_stream()": lambda peer: peer.send_stream([b"x"]),
    "write_eof()": lambda peer: peer.write_eof(),
    "wait_writable()": lambda peer: peer.wait_writable(),
    "flush()": lambda peer: peer.flush(),
    "close()": lambda peer: peer.close(),
    "close_exceptionally()": lambda peer: peer.close_exceptionally(ValueError()),
}
ENDING: dict[str, Callable[[Peer], Awaitable[object]]] = {
    "end()": lambda peer: peer.end(),
    "async with": enter_and_leave,
}
OF_PEER: dict[str, Callable[[Peer], Awaitable[object]]] = {
    "expect": lambda peer: peer.expect(Opcode.TEXT),
    "expect_close": lambda peer: peer.expect_close(),
    "expect_end": lambda peer: peer.expect_end(),
}
OF_PEER_SENDING: dict[str, Callable[[Peer], Awaitable[object]]] = {
    "drip": lambda peer: peer.drip(b"x", 0),
    "half_close": lambda peer: peer.half_close(),
}


def test_every_call_that_waits_is_here() -> None:
    waiting = {call.name for call in CALLS if call.sessions != "managed" and call.first is Outcome.WAITS}
    assert waiting == {*RECEIVING, *SENDING, *ENDING}
    public = {name for name, each in inspect.getmembers(Peer, inspect.iscoroutinefunction) if not name.startswith("_")}
    tested = {name.removesuffix("()") for name in waiting} | {*OF_PEER, *OF_PEER_SENDING}
    assert public - tested == {"ends", "probe", "cancel_tasks", "limited"}  # see below
    assert not public & {name.removesuffix("()") for name in INTERNAL}


async def test_no_call_waits_forever_for_frames_or_the_end() -> None:
    for call in (RECEIVING | OF_PEER).values():
        async with dead_client() as peer:
            with pytest.raises(ScriptTimeout, match=r"0\.1 seconds"):
                await asyncio.wait_for(call(peer), 20)


async def test_no_call_waits_forever_until_the_other_side_reads() -> None:
    for call in (SENDING | OF_PEER_SENDING).values():
        async with dead_client(blocked=True) as peer:
            with pytest.raises(ScriptTimeout, match=r"0\.1 seconds. On the wire:\n(.*\n)* .*> "):
                await asyncio.wait_for(call(peer), 20)


async def test_the_end_of_a_dead_connection_is_no_error() -> None:
    for call in ENDING.values():
        for blocked in (False, True):
            async with dead_client(blocked, close_timeout=0.2) as peer:
                await asyncio.wait_for(call(peer), 20)
                assert peer.close_state.lost


async def test_ends_and_probe_answer_no() -> None:
    async with dead_client() as peer:
        assert not await peer.ends()
        assert not await peer.probe()
    async with dead_client(blocked=True) as peer:
        assert not await peer.probe()


async def test_tasks_of_the_peer_that_do_not_end() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.5)

    async with dead_client() as peer:
        task = peer.create_task(stubborn())
        await asyncio.sleep(0)
        with pytest.raises(ScriptTimeout, match=r"cancel_tasks\(\) took more than 0\.1 seconds"):
            await peer.cancel_tasks()
        await asyncio.wait([task], timeout=20)


async def test_streams() -> None:
    async with dead_client() as peer:
        peer.connection.feed(b"\x82\x05he")
        async with peer.receive_stream() as incoming:
            assert await incoming.read(2) == b"he"
            buffer = bytearray(1)
            for call in (incoming.read, lambda: anext(incoming), lambda: incoming.readinto(buffer), incoming.skip):
                with pytest.raises(ScriptTimeout, match=r"of a stream took more than 0\.1 seconds"):
                    await call()
            with pytest.raises(ScriptTimeout):
                await anext(aiter(incoming.text()))
    async with dead_client(blocked=True) as peer:
        with pytest.raises(ScriptTimeout):
            async with peer.open_stream() as out:
                await out.write(b"x")


async def test_byte_streams() -> None:
    """Also longer ones: only what the script awaits has the limit."""
    async with dead_client() as peer:
        reader, writer = peer.as_stream()
        for call in (reader.read, reader.readline, lambda: reader.readexactly(1), lambda: anext(reader)):
            with pytest.raises(ScriptTimeout, match=r"of a stream took more than 0\.1 seconds"):
                await call()
        peer.connection.feed(b"\x82\x02hi")
        assert await reader.read(2) == b"hi"
        writer.write(MUCH)
        with pytest.raises(ScriptTimeout, match=r"drain\(\) of a stream"):
            await writer.drain()
        writer.close()
        with pytest.raises(ScriptTimeout, match=r"wait_closed\(\) of a stream"):
            await writer.wait_closed()


async def test_a_call_may_say_otherwise() -> None:
    async with dead_client() as peer:
        asyncio.get_running_loop().call_later(0.3, peer.connection.feed, b"\x81\x01x\x81\x011\x81\x01y")
        assert await peer.receive(20) == Frame.text("x")
        assert await peer.receive_json(timeout=20) == 1
        assert await peer.expect(Frame.text("y"), within=20) == Frame.text("y")
        peer.within = 20
        asyncio.get_running_loop().call_later(0.3, peer.connection.feed, b"\x81\x01z")
        assert await anext(peer) == Frame.text("z")
        for timeout in (0, -1, "x"):
            with pytest.raises((TypeError, ValueError), match="timeout must be"):
                await peer.receive(timeout)  # type: ignore[arg-type]


def test_the_error_is_what_a_test_and_a_program_expect() -> None:
    assert issubclass(ScriptTimeout, AssertionError)
    assert issubclass(ScriptTimeout, asyncio.TimeoutError)


async def test_the_end_is_seen_behind_more_frames_than_the_session_takes() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_end("eof", within=20)

    async with testing.scripted_server(script) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + b"\x89\x80mask" * 50_000)
        writer.write_eof()
        await eventually(lambda: server.transcripts and server.transcripts[0].end, 20)
        writer.close()


async def test_frames_that_come_all_the_time_are_no_way_round_a_limit() -> None:
    async with dead_client() as peer:
        loop = asyncio.get_running_loop()

        floods = True

        def flood() -> None:
            peer.connection.feed(b"\x89\x00" * 20)
            if floods:
                loop.call_soon(flood)

        flood()
        with pytest.raises(ScriptTimeout, match=r"no such frame came within 0\.2 seconds"):
            await asyncio.wait_for(peer.expect(Opcode.TEXT, within=0.2, skip=True), 20)
        floods = False
        await asyncio.sleep(0)
