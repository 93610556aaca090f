"""One frame to many sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, PreparedFrame, Session, bounded, broadcast, memory_pair
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.session.memory import MemoryPair

from ..tools.talking import end, negotiated


class Pairs:
    def __init__(self) -> None:
        self.all: list[rawws.WebSocketSession] = []

    def __call__(self, **options: Any) -> MemoryPair:
        pair = memory_pair(**options)
        self.all += pair
        return pair

    def deflated(self, **parameters: Any) -> tuple[DefaultWebSocketSession, DefaultWebSocketSession]:
        """Two managed sessions with permessage-deflate."""
        near, far = negotiated(rawws.PerMessageDeflate(**parameters))
        server, client = self()
        ours = DefaultWebSocketSession(server, extensions=near)
        theirs = DefaultWebSocketSession(client, extensions=far)
        ours.start()
        theirs.start()
        return ours, theirs


@pytest.fixture
async def pairs() -> AsyncIterator[Pairs]:
    made = Pairs()
    yield made
    await end(*made.all)


@pytest.mark.parametrize("item", ["text", b"bytes", Frame.text("text"), PreparedFrame(Frame.binary(b"x" * 50_000))])
async def test_everybody_gets_it(pairs: Pairs, item: rawws.Sendable) -> None:
    several = [pairs() for _ in range(5)]
    report = broadcast((server for server, _ in several), item)
    assert (report.delivered, report.skipped, report.ended) == (5, [], [])
    got = {(await client.receive()).payload for _, client in several}
    assert len(got) == 1


async def test_managed_sessions_and_maskers_get_it_too(pairs: Pairs) -> None:
    plain, plain_client = pairs()
    masking, masked_peer = pairs()[::-1]  # the client's end masks
    deflated = [pairs.deflated(server_no_context_takeover=True) for _ in range(3)]
    takeover, takeover_peer = pairs.deflated()
    sessions: list[Session] = [DefaultWebSocketSession(plain), masking, *(ours for ours, _ in deflated), takeover]
    readers: list[Session] = [plain_client, masked_peer, takeover_peer, *(theirs for _, theirs in deflated)]
    for number in range(3):
        text = f"{number} " * 500
        assert broadcast(sessions, text).delivered == len(sessions)
        for peer in readers:
            assert (await peer.receive()).text == text
    assert masking.masking


async def test_compression_is_done_once_for_the_same_parameters(pairs: Pairs) -> None:
    calls: list[Frame] = []

    def counted(frame: Frame) -> bool:
        calls.append(frame)
        return True

    factory = rawws.PerMessageDeflate(server_no_context_takeover=True, compress_if=counted)
    others = []
    for _ in range(4):
        server, client = pairs()
        others.append((DefaultWebSocketSession(server, extensions=negotiated(factory)[0]), client))
    report = broadcast([ours for ours, _ in others], "y" * 1000)
    assert report.delivered == 4
    assert len(calls) == 1
    wires = {(await client.receive()).payload for _, client in others}
    assert len(wires) == 1 and len(wires.pop()) < 100


def fill(session: rawws.WebSocketSession) -> None:
    while not session.outgoing_full:
        session.send_nowait(bytes(60_000))


async def test_slow_sessions_are_skipped(pairs: Pairs) -> None:
    fast, fast_client = pairs()
    slow, slow_client = pairs(outgoing=bounded(2))
    slow_client.pause_reading()
    fill(slow)
    report = broadcast([slow, fast], "news")
    assert report.delivered == 1 and report.skipped == [slow]
    assert (await fast_client.receive()).text == "news"


async def test_slow_sessions_are_disconnected(pairs: Pairs) -> None:
    slow, slow_client = pairs(outgoing=bounded(2))
    slow_client.pause_reading()
    fill(slow)
    assert broadcast([slow], "news", policy="disconnect").disconnected == [slow]
    await slow.wait_closed()


async def test_slow_sessions_are_waited_for(pairs: Pairs) -> None:
    slow, slow_client = pairs(outgoing=bounded(2))
    gone, gone_client = pairs(outgoing=bounded(2))
    fast, fast_client = pairs()
    for client in (slow_client, gone_client):
        client.pause_reading()
    fill(slow)
    fill(gone)
    sending = asyncio.ensure_future(broadcast([slow, gone, fast], "news", policy="wait"))
    assert (await fast_client.receive()).text == "news"
    gone_client.abort()
    slow_client.resume_reading()
    while (frame := await slow_client.receive()).opcode is not Opcode.TEXT:
        pass
    assert frame.text == "news"
    report = await sending
    assert report.delivered == 2 and report.ended == [gone]


async def test_sessions_that_are_over_and_open_messages(pairs: Pairs) -> None:
    ended, _ = pairs()
    closing, _ = pairs()
    inside, inside_client = pairs()
    ended.abort()
    await ended.wait_closed()
    await closing.close()
    await inside.send(Frame.text("begun", fin=False))
    report = broadcast([ended, closing, inside], "news")
    assert report.delivered == 0
    assert report.ended == [ended, closing] and report.skipped == [inside]
    assert broadcast([inside], Frame.ping(b"may come between")).delivered == 1
    assert [(await inside_client.receive()).opcode for _ in range(2)] == [1, 9]


@pytest.mark.parametrize("position", [0, 1, 3])
@pytest.mark.parametrize("parameters", [{"server_no_context_takeover": True}, {}], ids=["no takeover", "takeover"])
@pytest.mark.parametrize("prepared", [False, True])
async def test_a_session_inside_a_message_harms_nobody(
    pairs: Pairs, position: int, parameters: dict[str, Any], prepared: bool
) -> None:
    """Whichever of the group it is, also the first, and whatever the others are: they get the broadcast as it is."""
    group = [pairs.deflated(**parameters) for _ in range(4)]
    raw, raw_peer = pairs()
    masking, masked_peer = pairs()[::-1]
    inside, inside_peer = group[position]
    news = "news for everybody, more than a few bytes"
    await inside.send(Frame.text("a story in ", fin=False))
    item = PreparedFrame(Frame.text(news)) if prepared else news
    readers: list[Session] = [raw_peer, masked_peer, *(theirs for _, theirs in group if theirs is not inside_peer)]
    for _ in range(3):
        report = broadcast([*(ours for ours, _ in group), raw, masking], item)
        assert (report.delivered, report.skipped, report.ended) == (5, [inside], [])
        for peer in readers:
            assert (await asyncio.wait_for(peer.receive(), 20)).text == news
    await inside.send(Frame.text("two parts"))
    assert (await asyncio.wait_for(inside_peer.receive(), 20)).text == "a story in two parts"
    assert broadcast([inside], item).delivered == 1
    assert (await asyncio.wait_for(inside_peer.receive(), 20)).text == news


@pytest.mark.parametrize("applied", [False, True], ids=["plain", "applied"])
async def test_a_raw_session_inside_a_message_harms_nobody(pairs: Pairs, applied: bool) -> None:
    factory = rawws.PerMessageDeflate(server_no_context_takeover=True)
    group = []
    for _ in range(3):
        server, client = pairs()
        if applied:
            server.negotiated_extensions, client.negotiated_extensions = negotiated(factory)
            server.apply_extensions()
            client.apply_extensions()
        group.append((server, client))
    inside, inside_peer = group[0]
    await inside.send(Frame.binary(b"begun", fin=False))
    report = broadcast([server for server, _ in group], "x" * 1000)
    assert (report.delivered, report.skipped) == (2, [inside])
    await inside.send(Frame.binary(b"done"))
    assert [(await inside_peer.receive()).payload for _ in range(2)] == [b"begun", b"done"]
    for _, client in group[1:]:
        assert (await client.receive()).text == "x" * 1000


async def test_wrong_arguments() -> None:
    policy: Any = "hope"
    with pytest.raises(ValueError, match="policy"):
        broadcast([], "x", policy=policy)
    with pytest.raises(ValueError, match="whole message"):
        broadcast([], Frame.text("x", fin=False))
    with pytest.raises(TypeError):
        broadcast([], cast(Any, 5))


async def test_what_is_no_session_is_refused(pairs: Any) -> None:
    server, _ = pairs()
    mixed: list[Any] = [server, object()]
    with pytest.raises(TypeError, match=r"^broadcast\(\) sends to sessions, not to <object object at "):
        broadcast(mixed, "news")
    nested: list[Any] = [[server]]
    with pytest.raises(TypeError, match=r"not to \[<"):
        broadcast(nested, "news")
