"""Sending on a managed session, by several tasks of which some give up."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttp_rawws import ChannelOverflow, Frame, PreparedFrame, bounded, memory_pair
from aiohttp_rawws.extensions.deflate import PerMessageDeflate
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from aiohttp_rawws.session.managed import DefaultWebSocketSession

from ..tools.waiting import eventually, settle

BIG = "a large text, of which there is more than would be compressed in the loop's own thread. " * 100


class Held:
    """zlib whose compressors wait, in their thread, until they are let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.decompressobj = zlib.decompressobj

    def compressobj(self, *args: Any, **kwargs: Any) -> Any:
        compressor = zlib.compressobj(*args, **kwargs)
        held = self

        class Compressor:
            flush = compressor.flush

            def compress(self, data: bytes) -> bytes:
                if len(data) > 1000:
                    held.begun.set()
                    assert held.let_go.wait(10)
                return compressor.compress(data)

        return Compressor()


@asynccontextmanager
async def deflating(**options: Any) -> AsyncIterator[tuple[Held, DefaultWebSocketSession, DefaultWebSocketSession]]:
    """Two managed sessions that compress; the server's compressor is held."""
    backend = Held()
    offer = client_offer_header([PerMessageDeflate()])
    assert offer is not None
    ours, answer = negotiate_server([PerMessageDeflate(backend=backend, executor_above=1000)], [offer])
    assert answer is not None
    raw_server, raw_client = memory_pair(**options)
    server = DefaultWebSocketSession(raw_server, extensions=ours)
    client = DefaultWebSocketSession(raw_client, extensions=negotiate_client([PerMessageDeflate()], [answer]))
    server.start()
    client.start()
    yield backend, server, client
    backend.let_go.set()
    await asyncio.gather(server.close(), client.close())


@pytest.fixture
async def compressing() -> Any:
    async with deflating() as held:
        yield held


async def test_a_cancelled_message_that_a_thread_compresses_is_not_overtaken(compressing: Any) -> None:
    """With context takeover what is compressed first must leave first, or the peer cannot inflate the rest."""
    backend, server, client = compressing
    cancelled = asyncio.create_task(server.send(BIG))
    await eventually(backend.begun.is_set)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    small = asyncio.create_task(server.send("a large text, and small"))
    await settle()
    assert not small.done()
    backend.let_go.set()
    await small
    assert (await client.receive()).text == BIG
    assert (await client.receive()).text == "a large text, and small"


async def test_a_message_given_up_behind_one_in_a_thread_leaves_nothing_behind(compressing: Any) -> None:
    backend, server, client = compressing
    first = asyncio.create_task(server.send(BIG))
    given_up = asyncio.create_task(server.send("given up"))
    await eventually(backend.begun.is_set)
    assert not server.outgoing_full, "there is room behind it"
    assert server.frames_unsent == 2
    given_up.cancel()
    backend.let_go.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await server.send("last")
    assert server.frames_unsent == 0
    assert [(await client.receive()).text for _ in range(2)] == [BIG, "last"]


async def test_outgoing_is_full_when_as_many_wait_behind_a_message_in_a_thread_as_it_holds() -> None:
    async with deflating(outgoing=bounded(2)) as (backend, server, client):
        sends = [asyncio.create_task(server.send(BIG))]
        await eventually(backend.begun.is_set)
        for full in (False, False, True):
            assert server.outgoing_full is full
            if full:
                with pytest.raises(ChannelOverflow):
                    server.send_nowait("one too many")
            else:
                server.send_nowait("waits")
        writable = asyncio.create_task(server.wait_writable())
        await settle()
        assert not writable.done()
        backend.let_go.set()
        await asyncio.gather(writable, *sends)
        assert [(await client.receive()).text for _ in range(3)] == [BIG, "waits", "waits"]


async def test_many_senders_keep_their_order(compressing: Any) -> None:
    backend, server, client = compressing
    texts = [BIG if number == 3 else str(number) for number in range(10)]
    senders = [asyncio.create_task(server.send(text)) for text in texts]
    await settle()
    backend.let_go.set()
    await asyncio.gather(*senders)
    assert [(await client.receive()).text for _ in texts] == texts


@pytest.mark.parametrize("prepared", [False, True], ids=["frame", "prepared"])
async def test_a_close_frame_begins_the_closing_handshake(prepared: bool) -> None:
    raw_server, raw_client = memory_pair()
    server, client = DefaultWebSocketSession(raw_server), DefaultWebSocketSession(raw_client)
    client.start()
    frame = Frame.close(3000, "bye")
    await server.send(PreparedFrame(frame) if prepared else frame)
    assert (await server.close_reason).code == 3000
    assert server.close_state.clean
    await client.wait_closed()
