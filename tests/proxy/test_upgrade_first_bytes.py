"""The first bytes through a gateway, and clients that leave before there are any. The ids are those of the
requirements."""

from __future__ import annotations

import asyncio
import gc
import logging
import struct
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws

from ..tools.gateways import gateway
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import BINARY, LOSES_TAILS, PING, TEXT, Peer, frame, request_bytes, serving
from ..tools.waiting import eventually

TIMEOUT = 20.0
COUNT = 50


def text_of(index: int) -> bytes:
    return b"%d " % index * (index + 1)


SERVED = b"".join(bytes([0x80 | TEXT]) + struct.pack("!B", len(b"%d" % n)) + b"%d" % n for n in range(COUNT))
SENT = b"".join(frame(PING if index % 7 == 3 else TEXT, text_of(index)[:125]) for index in range(COUNT))


async def receive_numbers(peer: Peer) -> None:
    for number in range(COUNT):
        assert await peer.frame() == (TEXT, b"%d" % number)


class Upstream:
    """A script that waits before its 101, sends ``SERVED`` with it, and keeps what it gets.

    Attributes:
        asked: The request has come.
        go: It may answer.
        received: The bytes of frames that came.
    """

    def __init__(self, count: int = 0, cut: int | None = None) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.received = b""
        self._count = count
        self._cut = cut

    async def __call__(self, peer: HandPeer) -> None:
        await peer.request()
        assert not peer.reader._buffer  # type: ignore[attr-defined]  # G25: no frame comes before the 101
        self.asked.set()
        await self.go.wait()
        answer = peer.head() + SERVED
        for piece in [answer] if self._cut is None else [answer[: self._cut], answer[self._cut :]]:
            await peer.send(piece)
            await asyncio.sleep(0.01)
        self.received = await peer.read(self._count)
        await peer.read_to_end()


@pytest.mark.parametrize("plugin", [{}, None], ids=["plugin", "bare"])
@pytest.mark.parametrize("when", ["in the same segment", "before the 101", "after it"])
async def test_g25_g26_first_frames_of_both_sides(when: str, plugin: Any) -> None:
    """Once, in order, and behind the 101."""
    upstream = Upstream(len(SENT))
    async with (
        hand_server(upstream) as server,
        gateway(server.url, plugin=plugin) as served,
        served.peer() as peer,
    ):
        await peer.send(request_bytes(), SENT if when == "in the same segment" else b"")
        await asyncio.wait_for(upstream.asked.wait(), TIMEOUT)
        if when == "before the 101":
            for start in range(0, len(SENT), 1000):
                await peer.send(SENT[start : start + 1000])
                await asyncio.sleep(0.01)
        upstream.go.set()
        assert (await peer.answer()).status == 101
        if when == "after it":
            await peer.send(SENT)
        await receive_numbers(peer)
        await eventually(lambda: upstream.received == SENT)
        peer.writer.close()
        await eventually(lambda: not served.held and not server.open)


HEAD = 200  # the 101 of the tool has some bytes less


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("cut", [*range(120, HEAD, 3), 1, HEAD + 10])
async def test_g26_wherever_the_101_is_cut(cut: int) -> None:
    upstream = Upstream(0, cut)
    upstream.go.set()
    async with hand_server(upstream) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.open()
        await receive_numbers(peer)
        peer.writer.close()
        await eventually(lambda: not served.held and not server.open)


async def test_g26_a_server_that_ends_with_its_101() -> None:
    """Its frames and its Close arrive, and then the end."""

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=SERVED + b"\x88\x04\x0f\xa1by")

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.open()
        await receive_numbers(peer)
        assert await peer.frame() == (8, b"\x0f\xa1by")
        assert await peer.read_to_end() == b""
        peer.writer.close()
        await eventually(lambda: not served.held)


async def test_g27_a_client_that_sends_much_is_slowed_down() -> None:
    """Meanwhile the bytes are in the buffers of the system, and later none is missing."""
    piece = frame(BINARY, bytes(2**20), mask=bytes(4))
    count = 32
    upstream = Upstream(len(piece) * count)
    async with hand_server(upstream) as server, gateway(server.url) as served, served.peer() as peer:
        peer.writer.write(request_bytes())
        await asyncio.wait_for(upstream.asked.wait(), TIMEOUT)
        for _ in range(count):
            peer.writer.write(piece)
        transport = peer.writer.transport
        before = -1
        while transport.get_write_buffer_size() != before:
            before = transport.get_write_buffer_size()
            await asyncio.sleep(0.2)
        assert before > len(piece) * count // 2
        upstream.go.set()
        assert (await peer.answer()).status == 101
        await receive_numbers(peer)
        await eventually(lambda: upstream.received)
        assert upstream.received == piece * count
        peer.writer.close()
        await eventually(lambda: not served.held and not server.open)


@pytest.mark.parametrize(
    ("size", "refused"), [(300, "here"), (300, "there"), (30 * 2**20, "there")], ids=["here", "there", "much"]
)
async def test_g27_a_client_that_sends_much_and_is_refused(size: int, refused: str) -> None:
    """It can send all of that, and gets the answer."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        if refused == "there":
            await peer.refuse("502 Bad Gateway", {"Content-Length": "200000"}, bytes(100_000))
            await peer.send(bytes(100_000))
        else:
            await peer.send(b"nonsense\r\n\r\n")

    asked, go = asyncio.Event(), asyncio.Event()
    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        if refused == "there" or not LOSES_TAILS:
            peer.writer.write(frame(BINARY, bytes(size), mask=bytes(4)))
        await asyncio.sleep(0.05)
        go.set()
        answer = await peer.answer()
        assert answer.status == 502
        if refused == "there":
            assert answer.body == bytes(200_000)
        await eventually(lambda: not served.held)


# ---- G23: clients that leave --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("plugin", [{}, None], ids=["plugin", "bare"])
async def test_g23_a_client_that_leaves_meanwhile(how: str, plugin: Any) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        assert await peer.read_to_end() == b""  # its connection ends, and not for a limit of time

    asked = asyncio.Event()
    async with (
        hand_server(script) as server,
        gateway(server.url, plugin=plugin, connect_timeout=None) as served,
        served.peer() as peer,
    ):
        await peer.send(request_bytes(), frame(TEXT, b"early"))
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        if how == "reset":
            peer.reset()
        else:
            peer.writer.close()
        await eventually(lambda: not served.held and not server.open)
        await served.idle()
        assert not served.errors


async def test_g23_the_server_cancels_its_handlers() -> None:
    """aiohttp cancels them if it is asked to."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        assert await peer.read_to_end() == b""

    asked = asyncio.Event()
    cancelling: dict[str, Any] = {"handler_cancellation": True}
    async with hand_server(script) as server, gateway(server.url, serve=cancelling) as served, served.peer() as peer:
        await peer.send(request_bytes())
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        peer.reset()
        await eventually(lambda: not served.held and not server.open)
        await served.idle()


async def test_g23_a_client_that_leaves_just_before_its_101() -> None:
    """The upstream server has accepted, and its session ends, too."""

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        accepted.set()
        assert await peer.read_to_end() == b""

    async def leave(request: web.Request, response: web.StreamResponse) -> None:
        await asyncio.wait_for(accepted.wait(), TIMEOUT)
        peer.writer.close()
        await eventually(lambda: request.transport is None)

    accepted = asyncio.Event()
    async with hand_server(script) as server, gateway(server.url, on_prepare=leave) as served, served.peer() as peer:
        await peer.send(request_bytes())
        await eventually(accepted.is_set)
        await eventually(lambda: not served.held and not server.open)
        await served.idle()
        assert not served.errors


@pytest.mark.parametrize("late", [False, True])
async def test_g3_whoever_answers_instead_the_connection_is_closed(late: bool) -> None:
    """A limit of time around the gateway, for example."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        assert await peer.read_to_end() == b""

    async def forward(request: web.BaseRequest) -> web.StreamResponse:
        lines.append(request.path)
        target = rawws.upstream_url(URL(server.url), request)
        asking = asyncio.ensure_future(rawws.proxy_upgrade(request, http, target))
        await asyncio.wait_for(asked.wait(), TIMEOUT)
        asking.cancel()
        await asyncio.wait([asking])
        return web.Response(status=504)

    asked, lines = asyncio.Event(), list[str]()
    async with hand_server(script) as server, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        async with serving(web.Server(forward)) as served, served.peer() as peer:
            other = request_bytes("/other", upgrade=False)
            await peer.send(request_bytes(), b"" if late else other)
            assert (await peer.answer()).status == 504
            if late:
                await peer.send(other)
            assert await peer.read_to_end() == b""
        await eventually(lambda: not server.open)
    assert lines == ["/"]


async def test_g23_the_access_log_says_who_left(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        asked.set()
        await peer.read_to_end()

    asked = asyncio.Event()
    with caplog.at_level(logging.INFO, "aiohttp.access"):
        async with hand_server(script) as server, gateway(server.url) as served:
            async with served.peer() as peer:
                await peer.send(request_bytes())
                await asyncio.wait_for(asked.wait(), TIMEOUT)
            await eventually(lambda: not served.held)
            await served.idle()
    assert [
        record.getMessage().split('"')[2].split()[0] for record in caplog.records if "GET" in record.getMessage()
    ] == ["499"]


def alive() -> int:
    gc.collect()
    return sum(isinstance(each, (rawws.WebSocketUpgrade, rawws.WebSocketSession)) for each in gc.get_objects())


async def test_nothing_is_left_of_handshakes_that_ended_in_each_way() -> None:
    before = alive()

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        way = fields.get("X-Way")
        if way == "bad":
            await peer.send(peer.head({"Sec-WebSocket-Accept": "x"}))
        elif way == "refused":
            await peer.refuse("403 Forbidden", {"Content-Length": "2", "Connection": "close"}, b"no")
        elif way == "open":
            await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served:
        for way in ("bad", "refused", "open", "silent") * 10:
            async with served.peer() as peer:
                await peer.send(request_bytes("/", {"X-Way": way}))
                if way != "silent":
                    await peer.answer()
                peer.reset()
        await eventually(lambda: not served.held)
        await served.idle()
        await eventually(lambda: alive() <= before)
        assert not served.errors
