"""``scripted_server()``, ``Peer`` and ``Handshake``, each with a client of aiohttp or of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, testing
from aiohttp_rawws.testing import Handshake, Peer

from ..tools.peers import certificates
from ..tools.waiting import eventually

REQUEST = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_x8_a_script_with_a_client_of_aiohttp(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        assert peer.request.method == "GET"
        await peer.expect(Frame.text("hello"))
        await peer.send("world")
        assert (await peer.expect_close(1000)).code == 1000
        await peer.close(1000)
        await peer.half_close()
        await peer.expect_end("eof")

    async with testing.scripted_server(script) as server:
        async with http.ws_connect(server.url) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "world"
    assert server.connections == 1
    assert "TEXT FIN masked 5 bytes 'hello'" in str(server.transcripts[0])


async def test_a_violation_is_refused(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        peer.masking = True
        await peer.send("hello")
        await peer.expect_close(1002)

    async with testing.scripted_server(script) as server:
        async with rawws.connect(http, server.url) as session:
            with pytest.raises(rawws.ProtocolViolation):
                await session.receive()


async def test_what_a_script_raises_fails_the_block(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Frame.text("hello"), within=20)

    with pytest.raises(
        AssertionError, match=r"<Frame TEXT 'hello'> was expected, but <Frame TEXT 'bye'> came"
    ) as caught:
        async with testing.scripted_server(script) as server:
            async with rawws.connect(http, server.url) as session:
                await session.send("bye")
    assert "101 Switching Protocols" in str(caught.value)  # all that was on the wire


async def test_what_the_block_raises_comes_first(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_close(4000, within=20)

    with pytest.raises(KeyError):
        async with testing.scripted_server(script) as server:
            session = await rawws.connect(http, server.url)
            session.abort()
            raise KeyError


async def test_what_the_script_raises_is_not_hidden_by_the_client(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Frame.text("hello"), within=20)

    with pytest.raises(AssertionError, match=r"<Frame TEXT 'hello'> was expected, but <Frame TEXT 'bye'>") as caught:
        async with testing.scripted_server(script) as server:
            async with rawws.connect(http, server.url) as session:
                await session.send("bye")
                await session.receive()
    assert isinstance(caught.value.__cause__, rawws.SessionClosed)


async def cancels_itself(peer: Peer) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def fails(peer: Peer) -> None:
    pytest.fail("a reason")


async def loses_another_session(peer: Peer) -> None:
    server, client = rawws.memory_pair()
    server.abort()
    await client.receive()


async def loses_it_by_itself(peer: Peer) -> None:
    peer.abort()
    await peer.receive()


async def sends_behind_its_close(peer: Peer) -> None:
    await peer.close()
    await peer.send("x")


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        (cancels_itself, AssertionError, "the script was cancelled"),
        (fails, pytest.fail.Exception, "a reason"),
        (loses_another_session, rawws.ConnectionLost, "the connection ended"),
        (loses_it_by_itself, rawws.ConnectionLost, "the connection ended"),
        (sends_behind_its_close, rawws.SessionClosed, r"a Close frame \(1000\) was sent"),
    ],
)
@pytest.mark.parametrize("block_fails", [False, True])
async def test_no_failure_of_a_script_is_lost(
    script: testing.Script, error: type[BaseException], text: str, block_fails: bool
) -> None:
    """Also if the test says that its client must fail, and it did not."""
    with pytest.raises(error, match=text):
        async with testing.scripted_server(script) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(REQUEST)
            await eventually(lambda: server.errors)
            writer.close()
            if block_fails:
                with pytest.raises(KeyError):
                    pass


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("data", [b"", b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x80\0\0\0\0"])
async def test_a_client_that_leaves_is_no_failure_of_a_script(data: bytes) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.receive()
            await peer.close()

    async with testing.scripted_server(script) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(REQUEST + data)
        writer.write_eof()
        await eventually(lambda: server.transcripts and server.transcripts[0].end)
        writer.close()


async def test_cancellation_of_the_block_comes_first(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        raise AssertionError

    with pytest.raises(asyncio.CancelledError):
        async with testing.scripted_server(script) as server:
            async with rawws.connect_raw(http, server.url):
                await eventually(lambda: server.errors)
            raise asyncio.CancelledError


async def test_a_wait_of_a_script_is_not_the_limit_of_it(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive(0.05)

    with pytest.raises(asyncio.TimeoutError) as caught:
        async with testing.scripted_server(script) as server:
            async with rawws.connect_raw(http, server.url):
                await eventually(lambda: server.errors)
    assert "did not end" not in str(caught.value)


@pytest.mark.loops("asyncio")
async def test_a_client_that_does_not_read_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiohttp_rawws.testing.handshake.WITHIN", 0.1)

    async def script(peer: Peer) -> None:
        raise AssertionError("the handshake is not over")

    with pytest.raises(testing.ScriptTimeout, match=r"took nothing of the response for 0\.1 seconds"):
        async with testing.scripted_server(script, handshake=Handshake(body=bytes(2**25))) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            writer.write(REQUEST)
            await eventually(lambda: server.errors)
            writer.close()


async def test_a_block_without_a_client() -> None:
    async def script(peer: Peer) -> None:
        pass

    with pytest.raises(AssertionError, match="no client came"):
        async with testing.scripted_server(script):
            pass
    with pytest.raises(KeyError):
        async with testing.scripted_server(script):
            raise KeyError
    with pytest.raises(AssertionError, match="no client came to the scripted server: connections were opened, and not"):
        async with testing.scripted_server(script) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.close()
            await eventually(lambda: server.connections)
    async with testing.scripted_server(script) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)  # it may not be accepted yet
        writer.write(REQUEST)
        writer.close()


async def test_the_loss_of_the_connection_ends_a_script(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.receive(20)

    async with testing.scripted_server(script) as server:
        session = await rawws.connect_raw(http, server.url)
        session.abort(reset=True)


async def test_every_wait_has_a_limit(http: aiohttp.ClientSession) -> None:
    reached = []

    async def script(peer: Peer) -> None:
        with pytest.raises(AssertionError, match=r"nothing came within 0\.05 seconds"):
            await peer.expect(Opcode.TEXT, within=0.05)
        with pytest.raises(AssertionError, match=r"open after 0\.05 seconds"):
            await peer.expect_end(within=0.05)
        with pytest.raises(asyncio.TimeoutError):
            await peer.receive(0.05)
        reached.append(True)
        await asyncio.sleep(60)

    with pytest.raises(AssertionError, match="the script did not end within 1 seconds"):
        async with testing.scripted_server(script, limit=1) as server:
            async with rawws.connect_raw(http, server.url):
                await eventually(lambda: server.errors)
    assert reached


async def test_expect(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect(Opcode.PING)
        await peer.expect(lambda frame: frame.payload == b"2")
        await peer.expect(Frame.text("4"), skip=True)
        await peer.expect_close(1000, 4001)
        with pytest.raises(AssertionError, match="TEXT was expected, but the peer closed the session"):
            await peer.expect(Opcode.TEXT)

    async with testing.scripted_server(script) as server:
        async with rawws.connect_raw(http, server.url) as session:
            await session.send(Frame.ping(b"1"))
            for text in "234":
                await session.send(text)
            await session.close(4001)


async def test_probe(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        assert await peer.probe()
        await peer.expect(Opcode.TEXT)
        assert not await peer.probe(0.05)
        assert peer.probes == [True, False]

    async with testing.scripted_server(script) as server:
        session = await rawws.connect_raw(http, server.url)
        ping = await session.receive()
        await session.send(Frame.ping(b"keepalive"))
        await session.send(Frame.pong(b"another one"))
        await session.send(Frame.pong(ping.payload))
        assert await session.receive() == Frame.pong(b"keepalive")
        await session.send("and now no answer")
        assert (await session.receive()).opcode is Opcode.PING
        await session.end()


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_how_a_client_ends_is_seen(http: aiohttp.ClientSession, how: testing.End) -> None:
    ends: list[testing.End | None] = []

    async def script(peer: Peer) -> None:
        await peer.expect_end()
        ends.append(peer.transcript.end)
        with pytest.raises(AssertionError, match=f"but it ended by {how}"):
            await peer.expect_end("reset" if how == "eof" else "eof")

    async with testing.scripted_server(script) as server:
        session = await rawws.connect_raw(http, server.url)
        session.abort(reset=how == "reset")
    assert ends == [how]


async def test_faults(http: aiohttp.ClientSession) -> None:
    """Dripping, a frame without its end, a half-close."""

    async def script(peer: Peer) -> None:
        await peer.drip(Frame.text("slow"), 0.001)
        await peer.drip(peer.encode(Frame.binary(b"x" * 1000)), 0.001, size=400)
        peer.send_part(Frame.text("half"), 2)
        await peer.half_close()
        await peer.expect(Frame.text("still there"))

    async with testing.scripted_server(script) as server:
        session = await rawws.connect_raw(http, server.url)
        assert (await session.receive()).text == "slow"
        assert len((await session.receive()).payload) == 1000
        with pytest.raises(rawws.ConnectionLost):
            await session.receive()
        await session.send("still there")
        await session.end()


async def test_a_part_is_less_than_the_frame(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        for missing in (0, -1, 6, 7):
            with pytest.raises(ValueError, match="missing must be 1 to 5: the frame has 6 bytes"):
                peer.send_part(Frame.text("half"), missing)
        peer.send_part(Frame.text("half"), 5)

    async with testing.scripted_server(script) as server:
        async with rawws.connect_raw(http, server.url) as session:
            with pytest.raises(rawws.ConnectionLost):
                await session.receive()
            assert session.stats.bytes_received == 1


async def test_reset(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        peer.reset()

    async with testing.scripted_server(script) as server:
        session = await rawws.connect_raw(http, server.url)
        with pytest.raises(rawws.ConnectionLost):
            await session.receive(20)
        assert isinstance(session.close_state.error, ConnectionResetError)


class TestHandshake:
    """What the answer to the request can be."""

    async def answer(self, handshake: testing.HandshakeOf | None, request: bytes = b"") -> bytes:
        """The bytes that come."""

        async def script(peer: Peer) -> None:
            pass

        request = request or b"GET /x?y HTTP/1.1\r\nHost: here\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        async with testing.scripted_server(script, handshake=handshake) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                writer.write(request)
                return await asyncio.wait_for(reader.read(), 20)
            finally:
                writer.close()

    async def test_right(self) -> None:
        assert await self.answer(Handshake()) == (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )

    async def test_fields(self) -> None:
        handshake = Handshake(
            accept="wrong", drop=["connection"], headers=[("UPGRADE", "h2c"), ("X", "1"), ("X", "2")], reason="Yes"
        )
        assert await self.answer(handshake) == (
            b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: wrong\r\nUPGRADE: h2c\r\nX: 1\r\nX: 2\r\n\r\n"
        )

    async def test_status_and_body(self) -> None:
        handshake = Handshake(status=503, body=b"later", headers={"Retry-After": "5"})
        assert await self.answer(handshake) == (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nConnection: close\r\nRetry-After: 5\r\n\r\nlater"
        )
        assert await self.answer(Handshake(status=599, version="1.0")) == (
            b"HTTP/1.0 599 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    async def test_of_the_request(self) -> None:
        def handshake(request: testing.HandshakeRequest) -> Handshake:
            assert (request.target, request.headers["host"], request.protocols) == ("/x?y", "here", [])
            assert not request.offers("permessage-deflate")
            return Handshake(raw=request.key.encode())

        assert await self.answer(handshake) == b"dGhlIHNhbXBsZSBub25jZQ=="

    async def test_offers(self) -> None:
        def handshake(request: testing.HandshakeRequest) -> Handshake:
            assert request.protocols == ["a", "b"]
            assert request.offers("permessage-deflate")
            return Handshake(raw=b"yes")

        request = b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x-y\r\n"
        assert (
            await self.answer(handshake, request + b"Sec-WebSocket-Extensions: permessage-deflate; z\r\n\r\n") == b"yes"
        )

    async def test_early_bytes_cuts_and_interim_responses(self) -> None:
        handshake = Handshake(interim=b"HTTP/1.1 103 \r\n\r\n", early=b"\x81\x00", cut=[1, 5, 10_000], length=40)
        request = testing.HandshakeRequest(b"GET / HTTP/1.1\r\n\r\n")
        assert list(map(len, handshake.segments(request))) == [1, 4, 35]
        assert await self.answer(handshake) == b"HTTP/1.1 103 \r\n\r\nHTTP/1.1 101 Switching "

    async def test_none(self) -> None:
        assert await self.answer(None) == b""

    @pytest.mark.parametrize("drop", ["Upgrade", ""])
    def test_names_are_in_a_list(self, drop: str) -> None:
        with pytest.raises(TypeError, match="drop must be a list of names"):
            Handshake(drop=drop)
        with pytest.raises(TypeError, match="drop must be a list of names"):
            testing.handshake_request("ws://h", drop=drop)

    def test_subprotocols_are_as_they_were_offered(self) -> None:
        head = b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: Chat, v1.Json\r\nSec-WebSocket-Protocol: x\r\n\r\n"
        request = testing.HandshakeRequest(head)
        assert request.protocols == ["Chat", "v1.Json", "x"]
        assert request.listed("sec-websocket-protocol") == ["chat", "v1.json", "x"]

    def test_numbers_are_decimal_digits(self) -> None:
        for text, number in (("200", 200), ("\xb2", 0), ("-1", 0), ("9" * 5000, 0), ("", 0)):
            assert testing.HandshakeResponse(f"HTTP/1.1 {text} x\r\n\r\n".encode("latin-1")).status == number

    async def test_no_request(self) -> None:
        with pytest.raises(AssertionError, match="ended before a head of HTTP was complete: b'GET /'"):

            async def script(peer: Peer) -> None:
                pass

            async with testing.scripted_server(script) as server:
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"GET /")
                writer.close()
                await eventually(lambda: server.errors)


async def test_a_connection_that_is_not_used(http: aiohttp.ClientSession) -> None:
    """Browsers open some in advance. They are no failure."""

    async def script(peer: Peer) -> None:
        await peer.expect_end()

    async with testing.scripted_server(script) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        await eventually(lambda: server.transcripts)
        session = await rawws.connect_raw(http, server.url)
        session.abort()
    assert (server.connections, server.errors) == (2, [])


@pytest.mark.loops("asyncio")
@pytest.mark.loops("asyncio")
async def test_bytes_that_are_no_head_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of a client that speaks TLS."""
    monkeypatch.setattr("aiohttp_rawws.testing.server.WITHIN", 0.1)

    async def script(peer: Peer) -> None:
        pass

    for data, shown in ((b"\x16\x03\x01", r"b'\\x16\\x03\\x01'"), (b"", "nothing")):
        with pytest.raises(testing.ScriptTimeout, match=f"no head of HTTP came within 0.1 seconds, but {shown}"):
            async with testing.scripted_server(script) as server:
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(data)
                await eventually(lambda: server.errors)
                writer.close()


async def test_tls(http: aiohttp.ClientSession) -> None:
    server_context, client_context = certificates()

    async def script(peer: Peer) -> None:
        await peer.send("hello")
        await peer.expect_close(1000)
        await peer.half_close()
        await peer.expect_end()

    async with testing.scripted_server(script, ssl=server_context) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        async with rawws.connect(http, server.url, ssl=client_context) as session:
            assert (await session.receive()).text == "hello"


async def test_the_transcript_has_what_is_behind_a_close(http: aiohttp.ClientSession) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_close(1000)
        await peer.ends(0.2)
        transcript = peer.transcript
        assert (transcript.close, transcript.behind_close) == (rawws.CloseReason(1000), 8)

    async with testing.scripted_server(script) as server:
        session = await rawws.connect_raw(http, server.url)
        session.write_bytes(b"\x88\x82\0\0\0\0\x03\xe8" + b"\x81\x82\0\0\0\0hi")
        await session.end()


async def test_the_url_is_known_in_the_block() -> None:
    async def script(peer: Peer) -> None:
        pass

    for server in (testing.scripted_server(script), testing.misbehaving_server()):
        with pytest.raises(RuntimeError, match="the server has no port yet"):
            server.url if isinstance(server, testing.ScriptedServer) else server.url("rsv1")


def test_limits_are_checked() -> None:
    async def script(peer: Peer) -> None:
        pass

    with pytest.raises(ValueError, match="limit must be more than 0"):
        testing.scripted_server(script, limit=0)
    with pytest.raises(KeyError):
        testing.misbehaving_server(["no such thing"])
