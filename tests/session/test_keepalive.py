"""Pings go on for as long as the session does, whatever stands in their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import Frame, Opcode, Periodic, SessionClosed, WhenIdle, bounded
from aiohttp_rawws.session.queues import MAX_QUEUED_CONTROL

from ..tools.clock import advance, idle
from ..tools.talking import Talk, bounded_wait, each_managed, fill, talking, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")

INTERVAL, TIMEOUT = 20.0, 10.0
each_mode = pytest.mark.parametrize("mode", [Periodic, WhenIdle])


def constant() -> bytes:
    return b"the same each time"


def raising() -> bytes:
    raise LookupError("of the payload's own")


PAYLOADS: dict[str, Any] = {
    "constant": constant,
    "raising": raising,
    "too long": lambda: bytes(126),
    "no bytes": lambda: "text",
    "None": lambda: None,
}


def reported() -> list[BaseException]:
    found: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context["exception"]))
    return found


async def next_ping(talk: Talk) -> Frame:
    """The next Ping that the peer gets, and how long it took at most."""
    while True:
        frame = await bounded_wait(talk.peer.receive(), 3 * INTERVAL)
        if frame.opcode is Opcode.PING:
            return frame


async def is_dropped(talk: Talk) -> bool:
    """True if a peer that is silent from now on is noticed."""
    await advance(2 * INTERVAL + TIMEOUT)
    return talk.session.close_state.sent is not None and talk.session.close_state.sent.code == 1011


# ---- payloads -------------------------------------------------------------------------------


@each_managed
@each_mode
@pytest.mark.parametrize("payload", PAYLOADS)
async def test_any_payload_keeps_the_pings_going(kind: str, mode: type[Periodic], payload: str) -> None:
    """A payload that cannot be sent is reported, and a random one takes its place."""
    found = reported()
    keepalive = mode(payload=PAYLOADS[payload])
    async with talking(kind, ping_interval=INTERVAL, timeout=TIMEOUT, keepalive=keepalive) as talk:
        talk.session.begin()
        for _ in range(5):
            ping = await next_ping(talk)
            talk.peer.send_nowait(Frame.pong(ping.payload))
        assert talk.session.close_state.sent is None
        assert len(found) == (0 if payload == "constant" else 5)
        assert await is_dropped(talk)


@each_managed
@each_mode
@pytest.mark.parametrize("setting", ["timeout", "ping_interval", "both", "off and on", "many times"])
@pytest.mark.parametrize("payload", ["constant", "random"])
async def test_a_restart_while_a_ping_is_out(kind: str, mode: type[Periodic], setting: str, payload: str) -> None:
    keepalive = mode(payload=constant) if payload == "constant" else mode()
    async with talking(kind, ping_interval=INTERVAL, timeout=TIMEOUT, keepalive=keepalive) as talk:
        session = talk.session
        session.begin()
        for answers in (True, False):
            ping = await next_ping(talk)
            if setting in ("timeout", "both"):
                session.timeout = TIMEOUT
            if setting in ("ping_interval", "both"):
                session.ping_interval = INTERVAL
            if setting == "off and on":
                session.ping_interval = None
                await advance(3 * INTERVAL)
                session.ping_interval = INTERVAL
            if setting == "many times":
                for _ in range(100):
                    session.ping_interval = INTERVAL
            if answers:
                talk.peer.send_nowait(Frame.pong(ping.payload))
        await next_ping(talk)
        assert await is_dropped(talk)


@each_managed
async def test_a_ping_of_the_application_with_the_same_payload(kind: str) -> None:
    """Each gets its Pong; neither is in the way of the other."""
    keepalive = Periodic(payload=constant)
    async with talking(kind, ping_interval=INTERVAL, timeout=TIMEOUT, keepalive=keepalive) as talk:
        talk.session.begin()
        own = asyncio.ensure_future(talk.session.ping(constant()))
        await next_ping(talk)
        await next_ping(talk)
        with pytest.raises(RuntimeError, match="already waiting"):
            await talk.session.ping(constant())
        talk.peer.send_nowait(Frame.pong(constant()))
        await bounded_wait(own)
        talk.peer.send_nowait(Frame.pong(constant()))
        await settle()
        own = asyncio.ensure_future(talk.session.ping(constant()))
        assert await is_dropped(talk)
        with pytest.raises(SessionClosed):
            await bounded_wait(own)


# ---- what stands in the way -------------------------------------------------------------------


def flood(talk: Talk) -> None:
    """The lane of the control frames is full."""
    fill(talk.session)
    for _ in range(MAX_QUEUED_CONTROL):
        talk.session.send_nowait(Frame.pong(b"flood"))


def a_sender_waits(talk: Talk) -> None:
    fill(talk.session)
    talk.session.create_task(talk.session.send("waits"))


def full(talk: Talk) -> None:
    fill(talk.session)


@each_managed
@each_mode
@pytest.mark.parametrize("way", [full, a_sender_waits, flood], ids=lambda way: way.__name__)
async def test_pings_go_on_when_what_stood_before_them_is_gone(
    kind: str, mode: type[Periodic], way: Callable[[Talk], None]
) -> None:
    async with talking(
        kind, ping_interval=INTERVAL, timeout=None, keepalive=mode(), outgoing=bounded(2), close_timeout=1000
    ) as talk:
        talk.session.begin()
        talk.peer.pause_reading()
        way(talk)
        await advance(5 * INTERVAL)
        assert talk.session.close_state.sent is None
        talk.peer.resume_reading()
        await idle()
        waiting(talk.peer)
        for _ in range(3):
            await next_ping(talk)
        talk.session.timeout = TIMEOUT
        await next_ping(talk)
        assert await is_dropped(talk)


@each_managed
@pytest.mark.parametrize("way", [full, a_sender_waits], ids=lambda way: way.__name__)
async def test_a_peer_that_reads_nothing_is_noticed(kind: str, way: Callable[[Talk], None]) -> None:
    """Its Ping waits at the head of what it does not read."""
    async with talking(kind, ping_interval=INTERVAL, timeout=TIMEOUT, outgoing=bounded(2), close_timeout=5) as talk:
        talk.session.begin()
        talk.peer.pause_reading()
        way(talk)
        await advance(2 * INTERVAL + TIMEOUT)
        assert talk.session.limit == "timeout"
        await bounded_wait(talk.session.wait_closed())


@each_managed
@pytest.mark.parametrize("count", [4, 10])
async def test_a_full_incoming_says_nothing_of_the_peer_and_later_it_counts_again(kind: str, count: int) -> None:
    async with talking(kind, ping_interval=INTERVAL, timeout=TIMEOUT, incoming=bounded(4)) as talk:
        talk.session.begin()
        for _ in range(count):
            talk.peer.send_nowait("x")
        await advance(10 * INTERVAL)
        assert talk.session.close_state.sent is None
        for _ in range(count):
            await bounded_wait(talk.session.receive())
        assert await is_dropped(talk)


@each_managed
async def test_pings_stop_with_our_close_and_with_the_peers(kind: str) -> None:
    for ours in (True, False):
        async with talking(kind, ping_interval=1.0, timeout=None, auto_close=False, close_timeout=1000) as talk:
            talk.session.begin()
            await next_ping(talk)
            if ours:
                talk.session.close_nowait()
            else:
                talk.peer.close_nowait()
            await settle()
            waiting(talk.peer)
            await advance(100)
            assert not waiting(talk.peer)
            talk.session.ping_interval = 1.0
            talk.session.timeout = 1.0
            await advance(100)
            assert not waiting(talk.peer)


@each_managed
async def test_a_callback_of_on_pong_that_changes_the_interval(kind: str) -> None:
    async with talking(kind, ping_interval=INTERVAL, timeout=TIMEOUT) as talk:
        session = talk.session
        session.on_pong = lambda _: setattr(session, "ping_interval", INTERVAL)
        session.begin()
        for _ in range(5):
            ping = await next_ping(talk)
            talk.peer.send_nowait(Frame.pong(ping.payload))
        assert await is_dropped(talk)
