"""``as_stream()``: a session as asyncio's reader and writer."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

import aiohttp_rawws as rawws
from aiohttp_rawws import ConnectionLost, DefaultWebSocketSession, Frame, Opcode

from ..tools import clock, pairs, peers, talking
from ..tools.talking import bounded_wait, each_kind, each_managed, raw_and_managed
from ..tools.waiting import eventually, settle

NOISE = random.Random(3).randbytes(1_000_000)


async def copy(reader: asyncio.StreamReader, writer: Any) -> None:
    """An echo, as it is written for asyncio's streams."""
    while data := await reader.read(10_000):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def both(server: Any, client: Any, kinds: str) -> tuple[Any, Any]:
    """Streams over two raw sessions, or over managed ones on top of them."""
    ends = [DefaultWebSocketSession(end) if kind == "m" else end for end, kind in zip((server, client), kinds)]
    return ends[0].as_stream(), ends[1].as_stream()


@pytest.mark.parametrize("transport", pairs.TRANSPORTS)
@pytest.mark.parametrize("kinds", ["mm", "rr", "mr"])
async def test_bytes_go_both_ways(transport: str, kinds: str) -> None:
    async with pairs.connected(transport) as (server, client):
        (near_reader, near_writer), (reader, writer) = both(server, client, kinds)
        echoing = asyncio.ensure_future(copy(near_reader, near_writer))

        async def send() -> None:
            for start in range(0, len(NOISE), 70_001):
                writer.write(NOISE[start : start + 70_001])
                await writer.drain()

        sending = asyncio.ensure_future(send())
        assert await bounded_wait(reader.readexactly(len(NOISE))) == NOISE
        await bounded_wait(sending)
        writer.write_eof()
        assert await bounded_wait(reader.read()) == b""
        await bounded_wait(echoing)
        writer.close()
        await bounded_wait(writer.wait_closed())
        assert server.close_state.clean and server.close_state.code == 1000


async def test_the_methods_of_asyncio() -> None:
    async with pairs.connected("memory") as (server, client):
        (_, near_writer), (reader, writer) = both(server, client, "mm")
        assert isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter)
        assert writer.get_extra_info("peername") == ("memory", "second")
        assert writer.can_write_eof() and not writer.is_closing()
        near_writer.writelines([b"one\n", b"tw", b"o\nthr"])
        near_writer.write(b"ee|four")
        assert await reader.readline() == b"one\n"
        assert await anext(aiter(reader)) == b"two\n"
        assert await reader.readuntil(b"|") == b"three|"
        assert await reader.readexactly(4) == b"four"
        assert not reader.at_eof()
        near_writer.close()
        assert near_writer.is_closing()
        with pytest.raises(asyncio.IncompleteReadError):
            await bounded_wait(reader.readexactly(1))
        assert reader.at_eof() and await reader.readline() == b""
        await bounded_wait(near_writer.wait_closed())
        await bounded_wait(writer.wait_closed())


@each_kind
async def test_another_sender_overflows_outgoing(kind: str) -> None:
    """What the stream has yet to send is dropped then, and ``drain()`` says why."""
    async with talking.talking(kind, outgoing=rawws.bounded(2, on_overflow="close")) as (session, _, peer):
        peer.pause_reading()
        _, writer = session.as_stream()
        writer.write(NOISE * 5)
        with pytest.raises(rawws.ChannelOverflow):
            for _ in range(10):
                session.send_nowait(NOISE[:100])
        peer.resume_reading()
        await settle()
        assert writer.transport.get_write_buffer_size() == 0
        with pytest.raises(ConnectionResetError, match="outgoing"):
            await bounded_wait(writer.drain())
        writer.write(b"dropped")
        peer.abort()
        await bounded_wait(session.wait_closed())


@each_kind
async def test_frames_are_cut_and_joined(kind: str) -> None:
    """Bytes are sent in frames of ``frame_size`` at most; those received may be cut as the peer likes."""
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream(frame_size=10)
        writer.write(b"x" * 25)
        writer.write(b"y")
        await writer.drain()
        await settle()
        frames = talking.waiting(peer)
        assert [(frame.kind, frame.payload) for frame in frames if frame.payload] == [
            (Opcode.BINARY, b"x" * 10),
            (Opcode.BINARY, b"x" * 10),
            (Opcode.BINARY, b"x" * 5),
            (Opcode.BINARY, b"y"),
        ]
        for frame in (
            Frame.binary(b"a", fin=False),
            Frame.ping(),
            Frame(0, b""),
            Frame.binary(b""),
            Frame.binary(b"b"),
        ):
            await peer.send(frame)
        assert await bounded_wait(reader.readexactly(2)) == b"ab"
        assert not reader.at_eof()
        assert (await bounded_wait(peer.receive())).opcode is Opcode.PONG
        writer.close()
        await peer.close(1000)


async def test_a_large_frame_is_read_as_it_comes() -> None:
    """On a raw session, whatever its size."""
    async with pairs.connected("memory", max_frame_size=None) as (server, client):
        reader, writer = server.as_stream()
        sending = asyncio.ensure_future(client.send(bytes(10_000_000)))
        assert len(await bounded_wait(reader.readexactly(200_000))) == 200_000
        count = 200_000
        while count < 10_000_000:
            count += len(await bounded_wait(reader.read(100_000)))
        await bounded_wait(sending)
        writer.transport.abort()


# ---- S17: the end -------------------------------------------------------------------------------


@raw_and_managed
@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_s17_an_orderly_close_is_the_end_of_the_file(kind: str, code: int | None) -> None:
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream()
        await peer.send(b"before")
        await peer.close(code)
        assert await bounded_wait(reader.read()) == b"before"
        assert reader.at_eof() and reader.exception() is None
        assert (await bounded_wait(peer.receive())).opcode is Opcode.CLOSE
        writer.close()
        await peer.end()
        await bounded_wait(writer.wait_closed())


@raw_and_managed
@pytest.mark.parametrize("end", ["code", "loss", "eof", "violation", "other kind"])
async def test_s17_other_ends_are_errors_behind_the_bytes(kind: str, end: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream()
        await peer.send(b"before")
        await settle()
        if end == "code":
            await peer.close(4000, "why")
        elif end == "loss":
            peer.abort()
        elif end == "eof":
            await talking.hang_up(peer)
        elif end == "violation":
            peer.write_bytes(b"\x83\x80abcd")
        else:
            await peer.send("text")
        await settle()
        assert await bounded_wait(reader.readexactly(6)) == b"before"
        for read in (reader.read(5), reader.read(), reader.readexactly(1), reader.readline(), reader.readuntil(b"x")):
            with pytest.raises(ConnectionLost) as raised:
                await bounded_wait(read)
            assert session.owns(raised.value)
        assert raised.value.received == (4000 if end == "code" else None)
        with pytest.raises(ConnectionResetError):
            await bounded_wait(writer.drain())
        writer.close()
        if end == "other kind":
            assert (await talking.next_reason(peer)).code == 1003
        peer.abort()
        with pytest.raises(ConnectionLost):
            await bounded_wait(writer.wait_closed())


async def test_s17_bytes_that_wait_before_a_loss_are_read() -> None:
    """Reading was paused when the peer sent the rest and was gone."""
    async with talking.talking("managed") as (session, _, peer):
        reader, writer = session.as_stream()
        sending = asyncio.ensure_future(peer.send(bytes(300_000)))
        await settle()
        await sending
        await peer.close(1000)
        assert len(await bounded_wait(reader.read())) == 300_000
        writer.close()


# ---- S18: frames of the other kind, and empty ones ----------------------------------------------


@raw_and_managed
async def test_s18_the_other_kind_is_taken_if_that_is_wanted(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream(other_kind="take")
        for frame in (Frame.text("grün"), Frame.binary(b""), Frame.binary(b"\x00")):
            await peer.send(frame)
        await peer.close()
        assert await bounded_wait(reader.read()) == "grün".encode() + b"\x00"
        writer.close()


@raw_and_managed
async def test_s18_text_frames_end_behind_characters(kind: str) -> None:
    text = "a grün € \U0001f600 " * 50
    async with talking.talking(kind) as (session, _, peer):
        _, writer = session.as_stream(kind=Opcode.TEXT, frame_size=7)
        for position in range(0, len(text.encode()), 5):
            writer.write(text.encode()[position : position + 5])
        writer.write_eof()
        frames = []
        while (frame := await bounded_wait(peer.receive())).opcode is not Opcode.CLOSE:
            frames.append(frame)
        assert "".join(frame.text for frame in frames) == text
        assert all(frame.kind is Opcode.TEXT and len(frame.payload) <= 7 for frame in frames)
        await peer.close()
        writer.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"kind": Opcode.PING}, ValueError),
        ({"kind": 0}, ValueError),
        ({"frame_size": 0}, ValueError),
        ({"frame_size": 3, "kind": Opcode.TEXT}, ValueError),
        ({"frame_size": None}, TypeError),
        ({"other_kind": "drop"}, ValueError),
    ],
    ids=str,
)
async def test_arguments(arguments: dict[str, Any], error: type[Exception]) -> None:
    async with talking.talking("raw") as (session, _, _):
        with pytest.raises(error):
            session.as_stream(**arguments)
        _, writer = session.as_stream()
        with pytest.raises(RuntimeError, match="has a listener already"):
            session.as_stream()
        with pytest.raises(RuntimeError, match="has a listener"):
            await session.receive()
        writer.close()


# ---- S19: writing -------------------------------------------------------------------------------


@raw_and_managed
async def test_s19_writes_after_the_peers_close_fail_in_drain(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream()
        await peer.close(1000)
        assert await bounded_wait(reader.read()) == b""
        for _ in range(3):
            writer.write(b"too late")
        with pytest.raises(ConnectionResetError):
            await bounded_wait(writer.drain())
        writer.close()
        await peer.end()
        await bounded_wait(writer.wait_closed())
        with pytest.raises(ConnectionResetError):
            await bounded_wait(writer.drain())


@raw_and_managed
async def test_half_close(kind: str) -> None:
    """``write_eof()`` is our Close; the peer's bytes still come until it closes."""
    async with talking.talking(kind) as (session, _, peer):
        reader, writer = session.as_stream()
        writer.write(b"all of it")
        writer.write_eof()
        writer.write_eof()
        with pytest.raises(RuntimeError, match=r"write\(\) after write_eof"):
            writer.write(b"more")
        assert (await bounded_wait(peer.receive())).payload == b"all of it"
        assert (await talking.next_reason(peer)).code == 1000
        await peer.send(b"an answer")
        assert await bounded_wait(reader.readexactly(9)) == b"an answer"
        assert not reader.at_eof()
        await peer.close(1000)
        assert await bounded_wait(reader.read()) == b""
        await peer.end()
        await bounded_wait(writer.wait_closed())


@each_kind
async def test_drain_waits_for_a_peer_that_does_not_read(kind: str) -> None:
    async with talking.talking(kind) as (session, _, peer):
        _, writer = session.as_stream()
        peer.pause_reading()
        writer.write(NOISE)
        draining = asyncio.ensure_future(writer.drain())
        await settle(50)
        assert not draining.done() and writer.transport.get_write_buffer_size() > 64 * 1024
        assert session.connection.undelivered() < 300_000
        peer.resume_reading()
        got = 0
        while got < len(NOISE):
            got += len((await bounded_wait(peer.receive())).payload)
        await bounded_wait(draining)
        writer.close()
        assert (await talking.next_reason(peer)).code == 1000
        await peer.close()


@raw_and_managed
async def test_a_reader_that_does_not_read_stops_the_peer(kind: str) -> None:
    async with talking.talking(kind, max_message_size=None, incoming=rawws.bounded(4)) as (session, _, peer):
        reader, writer = session.as_stream()
        sending = asyncio.ensure_future(peer.send_stream([NOISE] * 5, fragment_size=10_000))
        await settle(200)
        if kind == "raw":
            assert not sending.done() and session.connection.bytes_received < 1_000_000
            got = 0
            while got < 5_000_000:
                got += len(await bounded_wait(reader.read(100_000)))
        else:  # messages are joined first
            assert len(await bounded_wait(reader.readexactly(5_000_000))) == 5_000_000
        await bounded_wait(sending)
        writer.close()


@pytest.mark.loops("clock")
async def test_keepalive_while_the_reader_does_not_read() -> None:
    """A Pong cannot be seen while this side reads nothing."""
    async with talking.talking("managed", ping_interval=10.0, timeout=5.0) as (session, _, peer):
        reader, writer = session.as_stream()
        sending = asyncio.ensure_future(peer.send(bytes(400_000)))
        await clock.advance(1000.0)
        assert not session.closed
        await reader.readexactly(400_000)
        await sending
        await clock.advance(100.0)
        assert session.limit == "timeout"  # this peer does not answer pings
        with pytest.raises(ConnectionLost):
            await reader.read()
        writer.close()


@raw_and_managed
@pytest.mark.loops("clock")
async def test_close_is_bounded(kind: str) -> None:
    """A peer that answers nothing has ``close_timeout`` seconds."""
    async with talking.talking(kind, close_timeout=4.0) as (_, raw, _):
        session = raw if kind == "raw" else DefaultWebSocketSession(raw)
        _, writer = session.as_stream()
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(b"x")
        writer.close()
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionLost:
            pass
        assert clock.is_time_of(4.0, began)


@raw_and_managed
async def test_close_while_the_reader_is_full(kind: str) -> None:
    """The rest of the peer's bytes is thrown away, so that its Close is seen."""
    async with talking.talking(kind) as (session, _, peer):
        _, writer = session.as_stream()
        for _ in range(5):
            await peer.send(NOISE[:100_000])
        await settle(50)
        writer.close()
        assert (await talking.next_reason(peer)).code == 1000
        await peer.close()
        await peer.end()
        await bounded_wait(writer.wait_closed())


@each_managed
async def test_other_senders_and_streams(kind: str) -> None:
    """A stream in parts and pings may use the session, too; the bytes wait for their turn."""
    async with talking.talking(kind) as (session, raw, peer):
        _, writer = session.as_stream()
        async with session.open_stream() as out:
            await out.write(b"a")
            writer.write(b"b" * 100_000)
            await raw.send(Frame.ping())
            await settle()
            await out.write(b"a")
        got = b""
        while len(got) < 100_002:
            item = await bounded_wait(peer.receive())
            got += item.payload
        assert got.replace(b"b", b"") == b"aa" and got.startswith(b"aa")
        writer.transport.abort()


async def test_abort() -> None:
    async with talking.talking("managed") as (session, _, peer):
        reader, writer = session.as_stream()
        writer.transport.abort()
        with pytest.raises(ConnectionLost):
            await bounded_wait(peer.receive())
        await eventually(lambda: session.close_state.lost)
        assert writer.is_closing()
        with pytest.raises((ConnectionLost, asyncio.IncompleteReadError)):
            await bounded_wait(reader.readexactly(1))


# ---- real peers ---------------------------------------------------------------------------------


async def echo(session: Any) -> None:
    await copy(*session.as_stream())


def app() -> web.Application:
    application = web.Application()
    rawws.setup(application, extensions=[rawws.PerMessageDeflate()], max_frame_size=None)
    application.add_routes([rawws.websocket_raw("/raw", echo), rawws.websocket("/managed", echo)])
    return application


@pytest.mark.parametrize("path", ["/raw", "/managed"])
@pytest.mark.parametrize("compress", [0, 15])
async def test_aiohttps_client(path: str, compress: int) -> None:
    async with peers.serving(app()) as served, ClientSession() as http:
        async with http.ws_connect(f"http://{served.host}:{served.port}{path}", compress=compress) as socket:
            for start in range(0, len(NOISE), 50_000):
                await socket.send_bytes(NOISE[start : start + 50_000])
            await socket.ping()
            got = bytearray()
            while len(got) < len(NOISE):
                message = await bounded_wait(socket.receive())
                assert message.type is WSMsgType.BINARY
                got += message.data
            assert got == NOISE
        assert socket.close_code == 1000
        await served.idle()


@pytest.mark.parametrize("path", ["/raw", "/managed"])
async def test_the_client_of_websockets(path: str) -> None:
    client = pytest.importorskip("websockets.asyncio.client")
    async with peers.serving(app()) as served:
        async with client.connect(f"ws://{served.host}:{served.port}{path}", max_size=None) as socket:
            sending = asyncio.ensure_future(socket.send(iter([NOISE[:400_000], NOISE[400_000:]])))
            got = b""
            while len(got) < len(NOISE):
                got += await bounded_wait(socket.recv())
            assert got == NOISE
            await bounded_wait(sending)
            await bounded_wait(await socket.ping())
        assert socket.close_code == 1000
        await served.idle()


async def test_a_program_that_speaks_over_tcp() -> None:
    """HTTP over WebSocket, by aiohttp's own parser: a request through one stream, served from the other."""
    async with pairs.connected("tcp") as (server, client):
        (near_reader, near_writer), (reader, writer) = both(server, client, "mm")

        async def serve() -> None:
            head = await near_reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET /path")
            near_writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            near_writer.write_eof()
            await near_writer.drain()

        serving = asyncio.ensure_future(serve())
        writer.write(b"GET /path HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await bounded_wait(reader.read())).endswith(b"\r\n\r\nhello")
        await bounded_wait(asyncio.wait([serving]))
        writer.close()
        near_writer.close()
