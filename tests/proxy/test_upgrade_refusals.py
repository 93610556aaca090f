"""Upstream servers of a gateway that refuse, answer badly, or do not answer. The ids are those of the requirements."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

import aiohttp_rawws as rawws

from ..tools.gateways import Gateway, gateway
from ..tools.hand_server import HandPeer, hand_server
from ..tools.peers import LOSES_TAILS, TEXT, Peer, frame, request_bytes
from ..tools.waiting import eventually

NOISE = random.Random(1).randbytes(3 * 2**20)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def head_of(peer: Peer) -> tuple[int, CIMultiDict[str]]:
    answer = await peer.answer(body=False)
    return answer.status, answer.headers


async def whole_body(peer: Peer, fields: CIMultiDict[str], first: bytes = b"") -> bytes:
    """The body, which begins with ``first``, and ends with the connection or its last chunk."""
    rest = first + await peer.read_to_end()
    if fields.get("Transfer-Encoding") != "chunked":
        return rest
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        body += rest[:count]
        assert rest[count : count + 2] == b"\r\n"
        rest = rest[count + 2 :]
        if not count:
            assert not rest
            return bytes(body)
    raise AssertionError("the last chunk is missing")


REFUSALS = {
    "302": ("302 Found", {"Location": "/login?next=%2F", "Content-Length": "0"}, b""),
    "401": ("401 Unauthorized", {"WWW-Authenticate": 'Basic realm="x"', "Content-Length": "5"}, b"first"),
    "403": ("403 Go Away", {"Content-Type": "text/x-own", "Content-Length": "2"}, b"no"),
    "404": ("404 Not Found", {"Content-Length": "0"}, b""),
    "426": (
        "426 Upgrade Required",
        {"Upgrade": "websocket", "Sec-WebSocket-Version": "13, 8", "Content-Length": "0"},
        b"",
    ),
    "200": ("200 OK", {"Content-Length": "4"}, b"page"),
    "200 that looks like a 101": ("200 OK", {"Upgrade": "websocket", "Content-Length": "4"}, b"page"),
    "204": ("204 No Content", {}, b""),
    "502": ("502 Bad Gateway", {"Retry-After": "7", "Content-Length": "3"}, b"bad"),
    "599": ("599 Of Mine", {"Content-Length": "3"}, b"own"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_g2_a_refusal_is_relayed(name: str) -> None:
    status, fields, body = REFUSALS[name]

    async def script(peer: HandPeer) -> None:
        await peer.request()
        connection = {"Connection": "Upgrade"} if "Upgrade" in fields else {}
        await peer.refuse(status, {**fields, **connection, "X-Own": "1", "Keep-Alive": "timeout=9"}, body)
        assert await peer.read_to_end() == b""  # G3: nothing that the client sends comes here

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes(), frame(TEXT, b"early"), SMUGGLED)
        head = await asyncio.wait_for(peer.reader.readuntil(b"\r\n"), 20)
        assert head == f"HTTP/1.1 {status}\r\n".encode()
        got: CIMultiDict[str] = CIMultiDict()
        while (line := await peer.reader.readuntil(b"\r\n")) != b"\r\n":
            key, _, value = line.decode().strip().partition(": ")
            got.add(key, value)
        if name == "200 that looks like a 101":
            assert "Upgrade" not in got
        else:
            assert {key: got[key] for key in fields} == fields
        assert got["X-Own"] == "1"
        assert "Keep-Alive" not in got
        assert got["Connection"] == ("Upgrade, close" if name == "426" else "close")
        assert await whole_body(peer, got) == body
        await eventually(lambda: not served.held)
        assert not served.errors
        assert server.connections == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_g2_a_large_body_as_it_came(framing: str) -> None:
    """Compressed as the upstream server has sent it, without a limit, and while it comes."""
    packed = gzip.compress(NOISE)
    half = len(packed) // 2
    go = asyncio.Event()
    fields = {"Content-Encoding": "gzip", "ETag": '"x"'}
    if framing == "length":
        fields["Content-Length"] = str(len(packed))
    elif framing == "chunked":
        fields["Transfer-Encoding"] = "chunked"

    def framed(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("403 Forbidden", fields, framed(packed[:half]))
        await go.wait()
        await peer.send(framed(packed[half:]), b"0\r\n\r\n" if framing == "chunked" else b"")
        if framing != "close":
            await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes("/", {"Accept-Encoding": "gzip"}))
        status, got = await head_of(peer)
        assert status == 403
        assert got["Content-Encoding"] == "gzip"
        assert got.get("Content-Length") == fields.get("Content-Length")
        first = await peer.read(1000)  # the rest has not been sent
        go.set()
        assert await whole_body(peer, got, first) == packed
        await eventually(lambda: not served.held)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_g2_a_body_that_breaks_off_does_not_look_whole(framing: str) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        if framing == "length":
            await peer.refuse("500 Broken", {"Content-Length": "1000"}, b"half")
        else:
            await peer.refuse("500 Broken", {"Transfer-Encoding": "chunked"}, b"4\r\nhalf\r\n")

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        assert (await head_of(peer))[0] == 500
        try:
            rest = await peer.read_to_end()
        except ConnectionError:
            rest = b""
        assert not rest.endswith(b"0\r\n\r\n")
        assert len(rest) < 1000
        await eventually(lambda: not served.held)
        assert not served.errors


async def test_g2_a_client_that_leaves_during_the_body_ends_it() -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("500 Broken", {"Content-Length": "1000"}, b"half")
        await peer.read_to_end()  # and nothing more comes from here

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        await head_of(peer)
        assert await peer.read(4) == b"half"
        peer.reset()
        await eventually(lambda: not served.held and not server.open)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_g22_a_body_that_stalls_ends_with_the_connection(framing: str) -> None:
    """The limit is one on silence: a body that takes longer than that arrives as long as bytes come."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        fields = {"length": {"Content-Length": "1000"}, "chunked": {"Transfer-Encoding": "chunked"}, "close": {}}
        await peer.refuse("403 Forbidden", fields[framing])
        for _ in range(5):
            await asyncio.sleep(0.3)
            await peer.send(b"4\r\nhalf\r\n" if framing == "chunked" else b"half")
        await peer.read_to_end()  # and nothing more comes from here

    async with hand_server(script) as server, gateway(server.url, connect_timeout=1.0) as served, served.peer() as peer:
        await peer.send(request_bytes())
        assert (await head_of(peer))[0] == 403
        got = bytearray()
        with pytest.raises(ConnectionError):  # else the client would take it for whole
            while part := await asyncio.wait_for(peer.reader.read(1000), 20):
                got += part
        assert got.count(b"half") == 5
        await eventually(lambda: not served.held and not server.open)
        assert not served.errors


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_g22_a_client_that_does_not_read_the_body_is_dropped(
    framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiohttp_rawws")

    async def script(peer: HandPeer) -> None:
        await peer.request()
        size = 64 * 2**20
        fields = {"Content-Length": str(size)} if framing == "length" else {"Transfer-Encoding": "chunked"}
        await peer.refuse("403 Forbidden", fields)
        for _ in range(size // 2**16):
            peer.writer.write(bytes(2**16) if framing == "length" else b"10000\r\n" + bytes(2**16) + b"\r\n")
            await peer.writer.drain()

    async with hand_server(script) as server, gateway(server.url, write_timeout=0.5) as served, served.peer() as peer:
        await peer.send(request_bytes())
        peer.pause_reading()
        await eventually(lambda: server.connections and not served.held and not server.open)
        assert "was not read for 0.5 seconds, GET / from 127.0.0.1" in caplog.text
        assert not served.errors
        peer.reset()


async def test_g2_the_connection_to_the_upstream_server_is_used_again() -> None:
    async def script(peer: HandPeer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.refuse("403 Forbidden", {"Content-Length": "2"}, b"no")
        await peer.accept()
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served:
        for _ in range(2):
            assert (await served.ask()).text == "no"
        async with served.peer() as peer:
            await peer.open()
            assert server.connections == 1
            peer.reset()
        await eventually(lambda: not served.held)


async def test_g3_what_follows_a_refusal_is_no_request() -> None:
    """Neither here nor there, also if it comes later."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("403 Forbidden", {"Content-Length": "2"}, b"no")
        assert await peer.read_to_end() == b""

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        assert (await peer.answer()).text == "no"
        try:
            await peer.send(SMUGGLED)
            assert await peer.read_to_end() == b""
        except ConnectionError:
            pass
        assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_g4_redirects(status: int) -> None:
    """They are relayed or refused, and never followed."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse(f"{status} There", {"Location": f"http://127.0.0.1:{other.port}/", "Content-Length": "0"})
        await peer.read_to_end()

    async with hand_server(script) as other, hand_server(script) as server:
        async with gateway(server.url) as served:
            answer = await served.ask("/", {"Authorization": "secret"})
            assert answer.status == status
            assert answer.headers["Location"] == f"http://127.0.0.1:{other.port}/"
        async with gateway(server.url, redirects="refuse") as served:
            answer = await served.ask()
            assert answer.status == 502
            assert "Location" not in answer.headers
            await eventually(lambda: not served.held)
        assert not other.connections


BAD: dict[str, dict[str, str | list[str] | None]] = {
    "another key": {"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
    "no key": {"Sec-WebSocket-Accept": None},
    "no Upgrade": {"Upgrade": None},
    "another Upgrade": {"Upgrade": "h2c"},
    "no Connection": {"Connection": None},
    "Connection: close": {"Connection": "close"},
    "two subprotocols": {"Sec-WebSocket-Protocol": "a, b"},
    "a subprotocol that was not offered": {"Sec-WebSocket-Protocol": "c"},
    "a subprotocol in another case": {"Sec-WebSocket-Protocol": "A"},
    "a body": {"Content-Length": "5"},
    "extensions that are not text": {"Sec-WebSocket-Extensions": "?"},
    "parameters that are not text": {"Sec-WebSocket-Extensions": "x-known; a=?"},
    "parameters with a control character": {"Sec-WebSocket-Extensions": "x-known; a=\x01"},
    "an extension in another case": {"Sec-WebSocket-Extensions": "X-Known"},
    "an extension that was not offered": {"Sec-WebSocket-Extensions": "x-known, x-other"},
}


@pytest.mark.parametrize("name", BAD)
async def test_g6_a_bad_101_is_502(name: str) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.send(peer.head(BAD[name]).replace(b"?", b"\xe9"))
        assert await peer.read_to_end() == b""  # its connection is closed

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        early = b"" if LOSES_TAILS else frame(TEXT, b"early")
        offers = {"Sec-WebSocket-Protocol": "a, b", "Sec-WebSocket-Extensions": "x-known; a=1, x-more"}
        await peer.send(request_bytes("/", offers), early)
        answer = await peer.answer()
        assert answer.status == 502
        assert await peer.read_to_end() == b""
        await eventually(lambda: not served.held and not server.open)
        assert not served.errors


@pytest.mark.parametrize("on", ["the client's side", "the upstream server's side"])
async def test_g6_an_extension_must_be_offered_on_both_sides(on: str) -> None:
    """``headers=`` may change the offers on the way."""

    def edited(request: object, fields: CIMultiDict[str]) -> None:
        fields.popall("Sec-WebSocket-Extensions", None)
        if on == "the client's side":
            fields["Sec-WebSocket-Extensions"] = "x-own"

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.send(peer.head({"Sec-WebSocket-Extensions": "x-own" if on == "the client's side" else "x-known"}))
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url, headers=edited) as served, served.peer() as peer:
        await peer.send(request_bytes("/", {"Sec-WebSocket-Extensions": "x-known"}))
        assert (await peer.answer()).status == 502


@pytest.mark.parametrize("status", ["101 Switching Protocols", "403 Forbidden"])
@pytest.mark.parametrize("value", [b"a\x01b", b"a\x7fb", b"a\xe9b"])
async def test_g9_a_field_that_cannot_be_sent_is_left_out(status: str, value: bytes) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        fields = {"X-Wrong": "<?>", "X-Right": "a\tb"}
        head = peer.head(fields) if status.startswith("101") else peer.refusal(status, fields, b"no")
        await peer.send(head.replace(b"<?>", value))
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        answer = await peer.answer(body=False)
        # aiohttp's parser may have refused the whole answer
        assert answer.status in (int(status[:3]), 502)
        if answer.status != 502:
            assert "X-Wrong" not in answer.headers
            assert answer.headers["X-Right"] == "a\tb"
        assert not served.errors


@pytest.mark.parametrize("reason", [b"G\xc3\xb6", b"G\xe9", b"", b"a\x01b", b"a\tb"])
async def test_g2_the_reason_of_a_refusal(reason: bytes) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.send(peer.refusal("403 <?>", {"Content-Length": "2"}, b"no").replace(b"<?>", reason))
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        line = await asyncio.wait_for(peer.reader.readline(), 20)
        assert line.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 502 "))
        if reason == b"G\xc3\xb6":
            assert line == b"HTTP/1.1 403 G\xc3\xb6\r\n"
        await peer.read_to_end()
        assert not served.errors


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 101 \r\nUpg", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02"]
)
async def test_g6_an_answer_that_is_none_is_502(answer: bytes) -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.send(answer)

    async with hand_server(script) as server, gateway(server.url) as served:
        assert (await served.ask()).status == 502
        await eventually(lambda: not served.held)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Transfer-Encoding: gzip, chunked", 502),  # the coding would be lost
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 502),
        (b"Transfer-Encoding: Chunked", 403),
        (b"Content-Length: 11\r\nContent-Length: 2", 502),
        (b"Content-Length: 11\r\nTransfer-Encoding: chunked", 502),
    ],
)
async def test_g2_a_body_whose_end_or_coding_is_not_clear(fields: bytes, status: int) -> None:
    """Not every parser of aiohttp refuses all of these."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\n", fields, b"\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        await peer.read_to_end()

    async with hand_server(script) as server, gateway(server.url) as served, served.peer() as peer:
        await peer.send(request_bytes())
        assert (await peer.answer(body=False)).status == status
        await peer.read_to_end()
        await eventually(lambda: not served.held)
        assert not served.errors


# ---- G22: in time -----------------------------------------------------------------------------


async def status_of(served: Gateway) -> int:
    answer = await served.ask()
    await eventually(lambda: not served.held)
    assert not served.errors
    return answer.status


async def test_g22_refused_connections_are_502() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with gateway(f"http://127.0.0.1:{taken.getsockname()[1]}") as served:
            assert await status_of(served) == 502


class NoSuchHost(AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        raise OSError(None, f"no such host: {host}")

    async def close(self) -> None:
        """There is nothing to close."""


async def test_g22_an_unknown_host_is_502() -> None:
    async with gateway("http://up.example", connector=lambda: aiohttp.TCPConnector(resolver=NoSuchHost())) as served:
        assert await status_of(served) == 502


async def test_g22_no_answer_is_504() -> None:
    """The limit covers the wait for the 101."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        assert await peer.read_to_end() == b""

    async with hand_server(script) as server:
        for other in (10.0, 0.001):  # handshake_timeout is about functions of the options, and would be 503
            async with gateway(server.url, connect_timeout=0.2, handshake_timeout=other) as served:
                assert await status_of(served) == 504
                await eventually(lambda: not server.open)


@pytest.mark.parametrize("limits", [{"limit": 1}, {"limit_per_host": 1}, {"limit": 9, "limit_per_host": 1}], ids=str)
async def test_g22_a_connector_without_room_is_503(limits: dict[str, int], caplog: pytest.LogCaptureFixture) -> None:
    """It is not the upstream server that is too slow, and the log says so."""

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        await peer.read_to_end()

    async with hand_server(script) as server:
        limited = gateway(server.url, connector=lambda: aiohttp.TCPConnector(**limits), connect_timeout=0.2)  # type: ignore[arg-type]
        async with limited as served, served.peer() as peer:
            await peer.open()
            assert (await served.ask()).status == 503
            assert server.connections == 1 and "full" in caplog.text
            peer.reset()
            await eventually(lambda: not served.held)


async def test_g22_no_answer_on_the_only_connection_is_504() -> None:
    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.read_to_end()

    async with hand_server(script) as server:
        limited = gateway(server.url, connector=lambda: aiohttp.TCPConnector(limit=1), connect_timeout=0.2)
        async with limited as served:
            assert await status_of(served) == 504


async def test_g22_a_full_gateway_is_503() -> None:
    async def script(peer: HandPeer) -> None:
        await peer.accept()
        await peer.read_to_end()

    async with hand_server(script) as server:
        async with gateway(server.url, plugin={"max_sessions": 1}) as served, served.peer() as peer:
            await peer.open()
            assert (await served.ask()).status == 503
            assert server.connections == 1
            peer.reset()
            await eventually(lambda: not served.held)
        async with gateway(server.url) as served:
            served.app[rawws.WEBSOCKETS].closing = True
            assert await status_of(served) == 503


async def test_g22_a_gateway_that_is_full_when_the_upstream_server_answers() -> None:
    """The place is taken while the other one waits for its 101."""
    waiting = asyncio.Event()
    go = asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.request()
        if "slow" in peer.line:
            waiting.set()
            await go.wait()
        await peer.send(peer.head())
        await peer.read_to_end()

    async with (
        hand_server(script) as server,
        gateway(server.url, plugin={"max_sessions": 1}) as served,
        served.peer() as slow,
        served.peer() as fast,
    ):
        await slow.send(request_bytes("/slow"))
        await asyncio.wait_for(waiting.wait(), 20)
        await fast.open("/fast")
        go.set()
        assert (await slow.answer()).status == 503
        await eventually(lambda: server.open == 1 and served.held == 1)
        fast.reset()
        await eventually(lambda: not served.held and not server.open)
