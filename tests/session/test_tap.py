"""Observers of a connection: they see each byte in each direction and every end, and change nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from aiohttp_rawws import Frame, SessionOptions, WebSocketSession, memory_pair
from aiohttp_rawws.errors import PeerError
from aiohttp_rawws.session.memory import MemoryTransport
from aiohttp_rawws.session.state import CloseState, Side
from aiohttp_rawws.session.tap import End, Observer

from ..tools.clock import idle
from ..tools.talking import bounded_wait, each_kind, end, hang_up, masked, on_a_line, over, talking
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


class Seen(Observer):
    """Keeps everything."""

    def __init__(self) -> None:
        self.bytes_in = b""
        self.bytes_out = b""
        self.early = b""
        self.errors: list[str] = []
        self.ends: list[tuple[Side, End]] = []
        self.states: list[tuple[CloseState, str | None]] = []

    def received(self, data: bytes, early: bool) -> None:
        assert type(data) is bytes
        self.bytes_in += data
        if early:
            self.early += data

    def sent(self, data: bytes) -> None:
        assert type(data) is bytes
        self.bytes_out += data

    def violated(self, error: PeerError) -> None:
        self.errors.append(str(error))

    def ended(self, side: Side, how: End) -> None:
        self.ends.append((side, how))

    def lost(self, state: CloseState, limit: str | None) -> None:
        self.states.append((state, limit))


def watching(session: WebSocketSession) -> Seen:
    seen = Seen()
    session.connection.watch(seen)
    return seen


# ---- bytes --------------------------------------------------------------------------------


@each_kind
async def test_both_sides_see_the_same_bytes(kind: str) -> None:
    """Small frames, batches, frames that are read in place, and those that are sent without a copy."""
    async with talking(kind) as (session, raw, peer):
        ours, theirs = watching(raw), watching(peer)
        for item in ("a", b"b" * 200_000, Frame.text("c", fin=False), Frame.text("d")):
            await session.send(item)
            await peer.send(item)
        with session.cork():
            session.send_nowait("e")
            session.send_nowait("f")
        await idle()
        stats, of_peer = raw.stats, peer.stats
    assert ours.bytes_out == theirs.bytes_in and len(ours.bytes_out) == stats.bytes_sent == of_peer.bytes_received
    assert ours.bytes_in == theirs.bytes_out and len(ours.bytes_in) == stats.bytes_received == of_peer.bytes_sent
    assert not ours.early and not theirs.early


@each_kind
async def test_received_bytes_are_as_on_the_wire(kind: str) -> None:
    """They are seen before they are unmasked in place."""
    wire = masked(2, b"x" * 300_000).replace(bytes(4), b"\x01\x02\x03\x04", 1)
    async with on_a_line(kind, max_frame_size=None) as (session, line):
        raw = session.raw if hasattr(session, "raw") else session
        seen = watching(raw)
        for at in range(0, len(wire), 70_000):
            line.give(wire[at : at + 70_000])
        assert seen.bytes_in == wire


async def test_early_bytes() -> None:
    near, far = MemoryTransport.pair()
    seen = Seen()
    early, later = masked(1, b"early"), masked(1, b"later")
    session = WebSocketSession(near, options=SessionOptions(observe=lambda raw: raw.connection.watch(seen)))
    peer = WebSocketSession(far, server=False)
    session.start([early[:3], early[3:]])
    peer.start()
    peer.write_bytes(later)
    await idle()
    assert (seen.early, seen.bytes_in) == (early, early + later)
    await end(session, peer)


async def test_bytes_that_the_session_ignores() -> None:
    """Those behind a Close, and behind a violation."""
    for first in (masked(8, b"\x03\xe8"), b"\x83\x80abcd"):
        async with on_a_line("raw") as (session, line):
            seen = watching(session)
            line.give(first)
            line.give(b"behind it")
            assert seen.bytes_in == first + b"behind it"
            assert len(seen.errors) == (first[0] == 0x83)


# ---- ends ---------------------------------------------------------------------------------


async def test_an_end_in_order() -> None:
    async with talking("raw") as (session, raw, peer):
        ours, theirs = watching(raw), watching(peer)
        await hang_up(peer)
        await settle()
        assert ours.ends == [("peer", "eof")]
        assert not ours.states
        await bounded_wait(session.end())
        await bounded_wait(peer.wait_closed())
    assert ours.ends == [("peer", "eof"), ("local", "eof")]
    ((state, limit),) = ours.states
    assert (state.lost, state.eof, limit) == (True, True, None)
    assert theirs.ends[0] == ("peer", "eof")


async def test_an_abort_and_a_reset() -> None:
    async with talking("raw") as (session, raw, peer):
        ours, theirs = watching(raw), watching(peer)
        session.abort()
        await idle()
    assert ours.ends == [("local", "abort")]
    assert theirs.ends == [("peer", "reset")]
    assert isinstance(theirs.states[0][0].error, ConnectionResetError)


async def test_a_limit() -> None:
    async with on_a_line("raw", write_timeout=5) as (session, _):
        seen = watching(session)
        while not session.connection.write_paused:
            session.send_nowait(bytes(30_000))
        await asyncio.sleep(6)
        await idle()
    assert seen.ends == [("local", "abort")]
    assert [limit for _, limit in seen.states] == ["write_timeout"]


# ---- on and off ---------------------------------------------------------------------------


@each_kind
async def test_nothing_is_there_without_an_observer(kind: str) -> None:
    async with talking(kind) as (_, raw, _peer):
        assert raw.connection.tap is None
        assert raw.connection.transport is raw.transport
        first, second = watching(raw), watching(raw)
        assert raw.connection.transport is not raw.transport
        raw.connection.stop_watching(first)
        raw.connection.stop_watching(first)
        assert raw.connection.tap is not None
        raw.connection.stop_watching(second)
        raw.connection.stop_watching(second)
        assert raw.connection.tap is None
        assert raw.connection.transport is raw.transport


@each_kind
async def test_nothing_is_kept(kind: str) -> None:
    server, client = memory_pair()
    session = over(kind, server, client, None)
    seen = watching(server)
    await client.send("x")
    await settle()
    await end(session, client)
    assert server.connection.tap is None
    assert server.connection.transport is server.transport
    assert len(seen.states) == 1
    server.connection.watch(seen)  # too late
    assert server.connection.tap is None
    gone = weakref.ref(server)
    gc.collect()
    gc.disable()
    try:
        del session, server
        assert gone() is None
    finally:
        gc.enable()


class Broken(Observer):
    def __init__(self, method: str) -> None:
        self.calls = 0
        setattr(self, method, self.fail)

    def fail(self, *arguments: Any) -> None:
        self.calls += 1
        raise ValueError("of the observer")


@pytest.mark.parametrize("method", ["received", "sent", "violated", "ended", "lost"])
async def test_an_observer_that_raises(method: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped, and logged once. Nobody else notices."""
    async with talking("raw") as (session, raw, peer):
        broken = Broken(method)
        raw.connection.watch(broken)
        seen = watching(raw)
        for number in range(3):
            await peer.send(f"{number}")
            assert (await bounded_wait(session.receive())).text == f"{number}"
            await session.send("answer")
            assert (await bounded_wait(peer.receive())).text == "answer"
        peer.write_bytes(b"\x83\x80abcd")
        await settle()
    assert broken.calls == 1
    assert len(seen.states) == len(seen.errors) == 1
    (record,) = [record for record in caplog.records if record.exc_info is not None]
    assert (record.name, record.levelno) == ("aiohttp_rawws", logging.ERROR)
    assert "Broken" in record.getMessage()


# ---- the option ---------------------------------------------------------------------------


async def test_the_option_gets_each_session() -> None:
    got: list[WebSocketSession] = []
    server, client = memory_pair(observe=got.append)
    assert got == [server, client]
    await end(server, client)


async def test_the_option_raises() -> None:
    """That is reported to the loop, and the session goes on."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: reported.append(context))

    def observe(session: object) -> None:
        raise ValueError("of the option")

    server, client = memory_pair(client_options=SessionOptions(observe=observe))
    loop.set_exception_handler(before)
    await server.send("x")
    assert (await bounded_wait(client.receive())).text == "x"
    assert [str(context["exception"]) for context in reported] == ["of the option"]
    await end(server, client)
