"""F8: ``write_eof()`` ends our direction of the TCP stream behind all that was accepted, and reading goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import UNLIMITED, Frame, Opcode

from ..tools import clock, pairs, talking
from ..tools.pairs import connected
from ..tools.talking import bounded_wait
from ..tools.waiting import eventually, settle

each_transport = pytest.mark.parametrize("transport", pairs.HALF_CLOSING)
PIECE = bytes(100_000)


@each_transport
async def test_f8_each_side_ends_its_direction(transport: str) -> None:
    async with connected(transport) as (server, client):
        await server.send("the last of ours")
        await bounded_wait(server.write_eof())
        assert server.closed and not server.connection.connection_phase
        assert (await bounded_wait(client.receive())).text == "the last of ours"
        with pytest.raises(rawws.ConnectionLost):
            await bounded_wait(client.receive())
        await client.send("still read")
        await client.send(Frame.ping(b"this, too"))
        assert (await bounded_wait(server.receive())).text == "still read"
        await client.write_eof()
        assert (await bounded_wait(server.receive())).opcode is Opcode.PING
        with pytest.raises(rawws.ConnectionLost):
            await bounded_wait(server.receive())
        await bounded_wait(server.wait_closed())
        await bounded_wait(client.wait_closed())


@each_transport
async def test_f8_the_peer_has_ended_first(transport: str) -> None:
    """Both directions have ended then, so the connection has to go; what waits can be taken all the same."""
    async with connected(transport) as (server, client):
        await client.send("before")
        await client.write_eof()
        await eventually(lambda: server.close_state.eof)
        await server.send("an answer")
        await bounded_wait(server.write_eof())
        await bounded_wait(server.wait_closed())
        assert (await bounded_wait(server.receive())).text == "before"
        assert (await bounded_wait(client.receive())).text == "an answer"
        await bounded_wait(client.wait_closed())


@each_transport
async def test_f8_everything_that_was_accepted_is_delivered(transport: str) -> None:
    """It waits for a peer that does not read, and the end comes behind the last byte."""
    async with connected(transport, outgoing=UNLIMITED, client_options={"incoming": UNLIMITED}) as (server, client):
        client.pause_reading()
        for _ in range(100):
            server.send_nowait(PIECE)
        ending = asyncio.ensure_future(server.write_eof())
        await settle()
        assert not ending.done() and server.closed
        client.resume_reading()
        await bounded_wait(ending)
        frames = [frame async for frame in client]
        assert [frame.payload for frame in frames] == [PIECE] * 100


async def test_f8_senders_that_wait_are_refused() -> None:
    async with connected("memory", outgoing=rawws.bounded(1)) as (server, client):
        client.pause_reading()
        talking.fill(server)
        sending = asyncio.ensure_future(server.send("too late"))
        await settle()
        ending = asyncio.ensure_future(server.write_eof())
        with pytest.raises(rawws.SessionClosed, match="write_eof"):
            await bounded_wait(sending)
        client.resume_reading()
        await bounded_wait(ending)


@pytest.mark.parametrize("after_close", [False, True])
async def test_f8_nothing_can_be_sent_afterwards(after_close: bool) -> None:
    async with connected("memory") as (server, client):
        if after_close:
            await server.close(4000)
        await server.write_eof()
        text = r"a Close frame \(4000\) was sent" if after_close else "write_eof.. has ended our direction"
        for send in (server.send_nowait, server.write_bytes, lambda data: server.send_raw(b"\x82\x01", data)):
            with pytest.raises(rawws.SessionClosed, match=text):
                send(b"x")
        with pytest.raises(rawws.SessionClosed, match=text):
            await server.send("x")
        await server.close()
        await server.flush()
        await server.write_eof()
        received = [frame.opcode async for frame in client]
        assert received == ([Opcode.CLOSE] if after_close else [])


async def test_f8_what_a_cork_holds_is_sent_first() -> None:
    async with connected("memory") as (server, client):
        with server.cork():
            server.send_nowait("held back")
            await server.write_eof()
        assert [frame.text async for frame in client] == ["held back"]


async def test_f8_the_answer_to_a_violation_is_sent_first() -> None:
    async with connected("memory") as (server, client):
        client.send_nowait("waits")
        client.write_bytes(b"\x83\x80abcd")
        await settle()
        await server.write_eof()
        assert (await talking.next_reason(client)).code == 1002


async def test_f8_cancelled_it_goes_on_by_itself() -> None:
    async with connected("memory", client_options={"incoming": UNLIMITED}) as (server, client):
        client.pause_reading()
        talking.fill(server)
        ending = asyncio.ensure_future(server.write_eof())
        await settle()
        ending.cancel()
        await settle()
        client.resume_reading()
        async for _ in client:
            pass
        assert client.close_state.eof and not server.close_state.lost


async def test_f8_tls_cannot() -> None:
    """It has no half-close. Nothing has changed by the attempt."""
    async with connected("tls") as (server, client):
        with pytest.raises(
            NotImplementedError, match=r"cannot end one side of the stream alone, as TLS cannot: end\(\)"
        ):
            await server.write_eof()
        assert not server.closed
        await server.send("goes on")
        assert (await bounded_wait(client.receive())).text == "goes on"


@each_transport
async def test_f8_a_peer_that_is_gone(transport: str) -> None:
    """Nothing is raised: the loss is reported where it always is."""
    async with connected(transport) as (server, client):
        client.abort(reset=True)
        await bounded_wait(server.write_eof())
        await bounded_wait(server.wait_closed())
        await server.write_eof()
        with pytest.raises(rawws.ConnectionLost):
            await server.receive()


@each_transport
async def test_f8_end_and_a_handlers_return(transport: str) -> None:
    async def handle(session: Any) -> None:
        await session.send("all")
        await session.write_eof()
        assert (await session.receive()).text == "thanks"

    async with connected(transport) as (server, client):
        running = talking.run(server, handle)
        assert [frame.text async for frame in client] == ["all"]
        await client.send("thanks")
        await client.end()
        await bounded_wait(running)
        assert server.close_state.lost and not server.connection.limit


@pytest.mark.loops("clock")
async def test_f8_a_silent_peer_may_take_its_time() -> None:
    """Only the handler, or ``idle_timeout``, knows how long to wait for the peer's frames."""
    patient = {"close_timeout": 10_000.0}  # a peer that sends nothing after our end is half open for it
    async with connected("memory", close_timeout=5.0, client_options=patient) as (server, client):
        await server.write_eof()
        await clock.advance(3000.0)
        await client.send("after a long time")
        assert (await server.receive()).text == "after a long time"


@pytest.mark.loops("clock")
async def test_f8_close_timeout_counts_from_the_end() -> None:
    """After ``end()`` a peer that does not end its direction has ``close_timeout`` seconds."""
    async with connected("memory", close_timeout=5.0, client_options={"close_timeout": 10_000.0}) as (server, _):
        loop = asyncio.get_running_loop()
        await server.write_eof()
        await clock.advance(100.0)
        began = loop.time()
        await server.end()
        assert clock.is_time_of(5.0, began)


@pytest.mark.loops("clock")
async def test_f8_close_timeout_counts_for_a_peer_that_reads_nothing() -> None:
    """Both directions end, and the peer does not take what was sent."""
    async with connected("memory", close_timeout=5.0) as (server, client):
        client.pause_reading()
        talking.fill(server)
        client.transport.write_eof()
        await settle()
        ending = asyncio.ensure_future(server.write_eof())
        await server.wait_closed()
        await ending
        assert server.connection.limit in (None, "close_timeout")


async def test_f8_a_managed_session_has_the_closing_handshake_instead() -> None:
    async with connected("memory") as (server, _):
        managed = rawws.DefaultWebSocketSession(server)
        assert not hasattr(managed, "write_eof")
