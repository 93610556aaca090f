"""The opening handshake of clients, against aiohttp and against bytes. The ids are those of the requirements."""

from __future__ import annotations

import asyncio
import copy
import gzip
import pickle
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, HandshakeError, HandshakeRefused, Opcode, PerMessageDeflate, connect, connect_raw
from aiohttp_rawws.testing import Handshake, HandshakeOf, HandshakeRequest, Peer, scripted_server
from aiohttp_rawws.web import client_refusal

from ..tools.hand_server import HandPeer, answering, hand_server
from ..tools.peers import BINARY, CLOSE, PING, PONG, TEXT, certificates, frame, serving
from ..tools.waiting import eventually

RECEIVE = 20.0  # seconds; only a fault takes so long


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client_session:
        yield client_session


async def echo(request: web.Request) -> web.WebSocketResponse:
    """aiohttp's own WebSocket."""
    response = web.WebSocketResponse(protocols=("v2", "v1"))
    await response.prepare(request)
    async for message in response:
        if message.type is aiohttp.WSMsgType.TEXT:
            await response.send_str(message.data)
        else:
            await response.send_bytes(message.data)
    return response


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/", echo)
    return app


async def to_the_end(peer: Peer) -> None:
    """The client leaves."""
    await peer.expect_end(within=RECEIVE)


async def refuse_to_open(http: aiohttp.ClientSession, handshake: HandshakeOf, **options: Any) -> HandshakeError:
    """Connect to a server that answers so, which must raise HandshakeError and leave nothing."""
    async with scripted_server(to_the_end, handshake=handshake) as server:
        with pytest.raises(HandshakeError) as caught:
            await connect_raw(http, server.url, **options)
    return caught.value


# ---- first, that it works at all ----------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_raw_echo_of_aiohttp(http: aiohttp.ClientSession, tls: bool) -> None:
    async with serving(application(), tls=tls) as served:
        url = f"{'wss' if tls else 'ws'}://127.0.0.1:{served.port}/"
        async with connect_raw(http, url, ssl=certificates()[1] if tls else True) as session:
            assert isinstance(session, rawws.WebSocketClientSession)
            await session.send("hello")
            assert await session.receive(RECEIVE) == Frame.text("hello")
            await session.send(Frame.ping(b"p"))
            assert await session.receive(RECEIVE) == Frame.pong(b"p")
            assert session.response.status == 101
            assert session.protocol is None and session.history == ()
        await served.idle()


async def test_managed_echo_of_aiohttp(http: aiohttp.ClientSession) -> None:
    async with serving(application()) as served:
        options: Any = {"extensions": [PerMessageDeflate()], "protocols": ["v1", "v2"]}
        async with connect(http, f"ws://127.0.0.1:{served.port}/", **options) as session:
            assert isinstance(session, rawws.DefaultWebSocketClientSession)
            assert session.protocol == "v2" or session.protocol == "v1"
            assert session.extension(PerMessageDeflate) is not None
            for text in ("", "hello", "ab" * 100_000):
                await session.send(text)
                assert (await session.receive(RECEIVE)).text == text
            assert await asyncio.wait_for(session.ping(), RECEIVE) >= 0
            assert "Sec-WebSocket-Accept" in session.response.headers
        assert session.close_state.code == 1000


async def test_the_session_can_be_awaited(http: aiohttp.ClientSession) -> None:
    async with serving(application()) as served:
        session = await connect(http, f"ws://127.0.0.1:{served.port}/")
        await session.send("hello")
        assert (await session.receive(RECEIVE)).text == "hello"
        await session.close(4000, "bye")
        assert session.close_state.clean


# ---- C1: early frames ---------------------------------------------------------------------


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_c1_frames_with_the_101(http: aiohttp.ClientSession, managed: bool) -> None:
    """Frames in the segment of the 101 arrive once and in order."""

    async def script(peer: Peer) -> None:
        await peer.send("three")
        await to_the_end(peer)

    early = frame(TEXT, b"one", mask=None) + frame(TEXT, b"two", mask=None)
    async with scripted_server(script, handshake=Handshake(early=early)) as server:
        async with (connect if managed else connect_raw)(http, server.url, close_timeout=0.5) as session:
            assert [(await session.receive(RECEIVE)).text for _ in range(3)] == ["one", "two", "three"]


async def test_c1_cut_anywhere(http: aiohttp.ClientSession) -> None:
    """Wherever the bytes behind the 101 are cut, the frames arrive once and in order."""
    frames = frame(TEXT, b"one", mask=None) + frame(BINARY, b"x" * 200, mask=None) + frame(PING, mask=None)
    cuts = iter([0, 1, 2, 4, 5, 6, 8, 100, len(frames) - 1, len(frames)])

    def handshake(request: HandshakeRequest) -> Handshake:
        # The pause makes another segment; if not, the test shows less and passes.
        return Handshake(early=frames, cut=[len(Handshake().head(request)) + next(cuts)])

    async with scripted_server(to_the_end, handshake=handshake) as server:
        for _ in range(10):
            async with connect_raw(http, server.url) as session:
                opcodes = [(await session.receive(RECEIVE)).opcode for _ in range(3)]
                assert opcodes == [Opcode.TEXT, Opcode.BINARY, Opcode.PING]


async def test_c1_a_large_frame_with_the_101(http: aiohttp.ClientSession) -> None:
    """More early bytes than aiohttp reads at once arrive whole."""
    payload = bytes(range(256)) * 4096

    async with scripted_server(to_the_end, handshake=Handshake(early=frame(BINARY, payload, mask=None))) as server:
        async with connect_raw(http, server.url) as session:
            assert (await session.receive(RECEIVE)).payload == payload


async def test_c1_a_close_with_the_101(http: aiohttp.ClientSession) -> None:
    """A server may close at once."""

    async def script(peer: Peer) -> None:
        assert await peer.expect_close(4098, within=RECEIVE) == rawws.CloseReason(4098, "full")

    early = frame(CLOSE, b"\x10\x02full", mask=None)
    async with scripted_server(script, handshake=Handshake(early=early)) as server:
        session = await connect(http, server.url)
        with pytest.raises(rawws.SessionClosed) as caught:
            await session.receive(RECEIVE)
        assert caught.value.received == 4098
        await asyncio.wait_for(session.wait_closed(), RECEIVE)


async def test_c1_a_violation_with_the_101(http: aiohttp.ClientSession) -> None:
    """Messages before it are delivered, and answered before the Close."""

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=frame(TEXT, b"one", mask=None) + frame(PING, b"?", mask=None) + frame(5, mask=None))
        assert await peer.frame_of_client() == (0x80 | PONG, b"?")
        assert await peer.frame_of_client() == (0x80 | TEXT, b"one")
        opcode, payload = await peer.frame_of_client()
        assert (opcode, payload[:2]) == (0x80 | CLOSE, b"\x03\xea")

    async with hand_server(script) as server:
        session = await connect(http, server.url)
        with pytest.raises(rawws.ProtocolViolation):
            while True:
                await session.send(await session.receive(RECEIVE))
        await asyncio.wait_for(session.wait_closed(), RECEIVE)


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("slow", [False, True], ids=["at once", "traced"])
async def test_c1_a_server_that_leaves_at_once(managed: bool, tls: bool, slow: bool) -> None:
    """Frames that came with the 101 are delivered, also if the connection has ended before ``connect()`` returns."""

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=frame(TEXT, b"full", mask=None) + frame(CLOSE, b"\x10\x02", mask=None))

    async def wait(*args: object) -> None:
        await eventually(lambda: not server.open)
        await asyncio.sleep(0.1)

    tracing = aiohttp.TraceConfig()
    if slow:
        tracing.on_request_end.append(wait)
    connector = aiohttp.TCPConnector(limit=1)
    async with hand_server(script, tls=tls) as server:
        async with aiohttp.ClientSession(connector=connector, trace_configs=[tracing]) as http:
            for _ in range(3):
                options: Any = {"ssl": certificates()[1] if tls else True}
                session: Any = await (connect if managed else connect_raw)(http, server.url, **options)
                assert "GET " in repr(session) and session.response.status == 101
                assert (await session.receive(RECEIVE)).text == "full"
                if not managed:
                    assert (await session.receive(RECEIVE)).close_reason == rawws.CloseReason(4098)
                with pytest.raises(rawws.SessionClosed) as caught:
                    await session.receive(RECEIVE)
                assert caught.value.received == 4098
                await session.close()
                if not managed:
                    await session.end()
                await asyncio.wait_for(session.wait_closed(), RECEIVE)


@pytest.mark.parametrize("closing", [False, True], ids=["server", "ClientSession"])
async def test_c1_lost_before_it_was_open(closing: bool) -> None:
    """Without frames it is an error, as it is if the ClientSession was closed meanwhile."""

    async def script(peer: HandPeer) -> None:
        await peer.accept(early=frame(TEXT, b"hi", mask=None) if closing else b"")
        if closing:
            await peer.read_to_end()

    async def wait(*args: object) -> None:
        if closing:
            await client_session.close()
        await asyncio.sleep(0.1)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(wait)
    async with hand_server(script) as server, aiohttp.ClientSession(trace_configs=[tracing]) as client_session:
        with pytest.raises(ConnectionResetError, match="before the WebSocket was open"):
            await connect_raw(client_session, server.url)
        assert not getattr(client_session.connector, "_acquired", None)


# ---- C2: the 101 itself -------------------------------------------------------------------


async def test_c2_one_byte_a_segment(http: aiohttp.ClientSession) -> None:
    """A 101 that is split over many segments works."""

    handshake = Handshake(early=frame(TEXT, b"hello", mask=None), cut=range(1000))
    async with scripted_server(to_the_end, handshake=handshake) as server:
        async with connect_raw(http, server.url) as session:
            assert (await session.receive(RECEIVE)).text == "hello"


async def test_c2_many_fields(http: aiohttp.ClientSession) -> None:
    """8 KiB of fields work."""
    fields = {f"X-Field-{number}": "x" * 100 for number in range(70)}
    async with scripted_server(to_the_end, handshake=Handshake(headers=fields)) as server:
        async with connect_raw(http, server.url) as session:
            assert session.response.headers["X-Field-69"] == "x" * 100


async def test_c2_c33_limits_of_the_client_session() -> None:
    """The limits of the ClientSession hold for the 101, and reaching one is a clear error."""
    async with scripted_server(to_the_end, handshake=Handshake(headers={"X-Long": "x" * 9000})) as server:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientError, match="more than"):
                await connect_raw(http, server.url)
        async with aiohttp.ClientSession(max_field_size=16000, max_line_size=16000) as http:
            async with connect_raw(http, server.url) as session:
                assert len(session.response.headers["X-Long"]) == 9000


# ---- C3 to C7: a 101 that breaks the rules ------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Sec-WebSocket-Accept": None}, "given 0 times"),
        ({"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, "does not fit the key"),
        ({"Sec-WebSocket-Accept": ["a", "b"]}, "given 2 times"),
    ],
)
async def test_c3_accept(http: aiohttp.ClientSession, fields: dict[str, Any], text: str) -> None:
    """A wrong or missing Sec-WebSocket-Accept fails."""
    error = await refuse_to_open(http, answering(fields))
    assert text in str(error) and error.status == 502


async def test_c3_names_of_fields_in_any_case(http: aiohttp.ClientSession) -> None:
    """Field names are compared without case, and ours are spelt as in the RFC."""

    def handshake(request: HandshakeRequest) -> Handshake:
        assert {"Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"} <= set(map(str, request.headers))
        assert request.headers["Sec-WebSocket-Version"] == "13"
        return Handshake(raw=Handshake().head(request).replace(b"Sec-WebSocket-Accept", b"sec-websocket-ACCEPT"))

    async with scripted_server(to_the_end, handshake=handshake) as server:
        async with connect_raw(http, server.url):
            pass


@pytest.mark.parametrize(
    "connection", ["Upgrade, Keep-Alive", "keep-alive,upgrade", "UPGRADE", ["keep-alive", "Upgrade"]]
)
async def test_c4_connection_is_a_list(http: aiohttp.ClientSession, connection: Any) -> None:
    """``Connection: keep-alive, Upgrade`` passes, with frames in the same segment."""
    handshake = answering({"Connection": connection}, early=frame(TEXT, b"hello", mask=None))
    async with scripted_server(to_the_end, handshake=handshake) as server:
        async with connect_raw(http, server.url) as session:
            assert (await session.receive(RECEIVE)).text == "hello"


@pytest.mark.parametrize("connection", [None, "keep-alive", "not-upgrade"])
async def test_c4_connection_without_upgrade(http: aiohttp.ClientSession, connection: str | None) -> None:
    """Without the token the connection fails."""
    error = await refuse_to_open(http, answering({"Connection": connection, "X": "close"}))
    assert "Connection" in str(error)


async def test_c5_upgrade_in_any_case(http: aiohttp.ClientSession) -> None:
    """``Upgrade`` is compared without case."""
    async with scripted_server(to_the_end, handshake=answering({"Upgrade": "WebSocket"})) as server:
        async with connect_raw(http, server.url, close_timeout=0.5):
            pass


@pytest.mark.parametrize("upgrade", [None, "h2c", "websocket2", "websocket, h2c", "web\u212aocket"])
async def test_c5_another_upgrade(http: aiohttp.ClientSession, upgrade: str | None) -> None:
    """Anything else but "websocket" fails (RFC 6455, section 4.1, step 2)."""
    error = await refuse_to_open(http, answering({"Upgrade": upgrade}))
    assert "Upgrade" in str(error)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), "v1"),
        (("v1",), "v2"),
        (("v1", "v2"), "v1, v2"),
        (("v1", "v2"), ["v1", "v2"]),
        (("v1",), ""),
        (("v1",), "V1"),
    ],
)
async def test_c6_a_subprotocol_that_was_not_offered(http: aiohttp.ClientSession, offered: Any, chosen: Any) -> None:
    """A subprotocol that was not offered fails, and so do two of them."""
    error = await refuse_to_open(http, answering({"Sec-WebSocket-Protocol": chosen}), protocols=offered)
    assert "subprotocol" in str(error)


async def test_c6_no_subprotocol(http: aiohttp.ClientSession) -> None:
    """None at all is accepted, unless one is required."""
    async with scripted_server(to_the_end) as server:
        async with connect_raw(http, server.url, protocols=["v1"], close_timeout=0.5) as session:
            assert session.protocol is None
    error = await refuse_to_open(http, answering({}), protocols=["v1"], require_protocol=True)
    assert "chose no subprotocol" in str(error)


@pytest.mark.parametrize(
    ("extensions", "answer"),
    [
        ((), "permessage-deflate"),
        ((PerMessageDeflate(),), "permessage-bzip2"),
        ((PerMessageDeflate(),), "permessage-deflate; unknown=1"),
        ((PerMessageDeflate(),), "permessage-deflate; server_max_window_bits=20"),
        ((PerMessageDeflate(),), ["permessage-deflate", "permessage-deflate"]),
        ((PerMessageDeflate(),), "permessage-deflate;;"),
    ],
)
async def test_c7_an_extension_that_was_not_offered(http: aiohttp.ClientSession, extensions: Any, answer: Any) -> None:
    """An extension that was not offered fails, and so do bad parameters and two of one; repeated lines count as one."""
    error = await refuse_to_open(http, answering({"Sec-WebSocket-Extensions": answer}), extensions=extensions)
    assert ("Sec-WebSocket-Extensions" in str(error) or "permessage-deflate" in str(error)) and error.status == 502


async def test_c7_an_offer_as_it_is(http: aiohttp.ClientSession) -> None:
    """A gateway offers the lines that it got, and the answer is not checked."""

    def handshake(request: HandshakeRequest) -> Handshake:
        lines = request.headers.getall("Sec-WebSocket-Extensions")
        assert lines == ["x-one; a=1,  x-two", "permessage-deflate"]
        return Handshake(headers={"Sec-WebSocket-Extensions": "x-three"})

    async with scripted_server(to_the_end, handshake=handshake) as server:
        offer = ["x-one; a=1,  x-two", "permessage-deflate"]
        async with connect_raw(http, server.url, offer=offer, close_timeout=0.5) as session:
            assert session.response.headers["Sec-WebSocket-Extensions"] == "x-three"
            assert session.negotiated_extensions == ()


@pytest.mark.parametrize("fields", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
async def test_a_101_with_a_body(http: aiohttp.ClientSession, fields: dict[str, Any]) -> None:
    async with scripted_server(to_the_end, handshake=answering(fields)) as server:
        with pytest.raises((HandshakeError, aiohttp.ClientError)):
            await connect_raw(http, server.url)


# ---- C8 to C10: refusals ------------------------------------------------------------------


async def test_c8_status_fields_and_body(http: aiohttp.ClientSession) -> None:
    """A refusal has status, fields and body, and the connection goes back to the pool."""

    async def script(peer: HandPeer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.refuse("403 Forbidden", {"X-Why": "no token", "Content-Length": "9"}, b"no entry\n")
        await peer.read_to_end()

    async with hand_server(script) as server:
        for _ in range(2):
            with pytest.raises(HandshakeRefused) as caught:
                await connect_raw(http, server.url)
            refused = caught.value
            assert isinstance(refused, HandshakeError)
            assert (refused.status, refused.headers["x-why"], refused.body) == (403, "no token", b"no entry\n")
            assert "403 Forbidden" in str(refused)
        assert server.connections == 1
        await http.close()  # else its pool would keep the connection open for 15 seconds


async def test_c8_at_most_64_kib(http: aiohttp.ClientSession) -> None:
    """Of a large body the first 64 KiB are read, and the connection is closed."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("500 Oops", {"Content-Length": "10000000"})
        await peer.send(b"x" * 1_000_000)
        await peer.read_to_end()

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await connect_raw(http, server.url)
        assert caught.value.body == b"x" * 65536
        await eventually(lambda: not server.open)


async def test_c8_a_bomb(http: aiohttp.ClientSession) -> None:
    """A compressed body is inflated, to 64 KiB at most."""
    body = gzip.compress(bytes(50_000_000))

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("500 Oops", {"Content-Length": str(len(body)), "Content-Encoding": "gzip"}, body)
        await peer.read_to_end()

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await connect_raw(http, server.url)
        assert caught.value.body == bytes(65536)


@pytest.mark.parametrize("how", ["end", "reset", "chunked", "silence"])
async def test_c8_a_body_that_breaks_off(http: aiohttp.ClientSession, how: str) -> None:
    """A body that breaks off never hides the status."""
    done = asyncio.Event()

    async def script(peer: HandPeer) -> None:
        await peer.request()
        length = {"Transfer-Encoding": "chunked"} if how == "chunked" else {"Content-Length": "100"}
        await peer.refuse("401 Unauthorized", length, b"7\r\npartial" if how == "chunked" else b"partial")
        if how == "silence":
            await done.wait()
        elif how == "reset":
            await asyncio.sleep(0.1)
            peer.reset()

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await connect_raw(http, server.url, open_timeout=1.5 if how == "silence" else 10)
        done.set()
        assert caught.value.status == 401
        assert b"partial".startswith(caught.value.body) or how == "chunked"


async def test_c8_the_error_can_be_pickled() -> None:
    """The error can be pickled and copied, with all that it has."""
    refused = HandshakeRefused(302, "text", None, b"body", [URL("ws://a/")])
    refused.headers.add("Retry-After", "3")
    for other in (pickle.loads(pickle.dumps(refused)), copy.copy(refused)):
        assert str(other) == "text" and other.status == 302 and other.body == b"body"
        assert other.history == (URL("ws://a/"),) and other.headers["retry-after"] == "3"


async def test_c8_the_text_has_no_control_characters(http: aiohttp.ClientSession) -> None:
    """What the server sends as the reason cannot reach a terminal by the text of the error."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("403 No\x1b[31m", {"Content-Length": "0", "Connection": "close"})

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await connect_raw(http, server.url)
        assert str(caught.value).endswith("403 No\\x1b[31m")


async def test_c8_raise_for_status_of_the_client_session() -> None:
    """A ClientSession that raises for each status does not hide the body."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("404 Not Found", {"Content-Length": "2"}, b"no")

    async with aiohttp.ClientSession(raise_for_status=True) as http, hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await connect_raw(http, server.url)
        assert caught.value.body == b"no"


async def test_c9_the_client_session_works_after_a_refusal() -> None:
    """After a refusal, even with one connection only, the same ClientSession works at once."""
    app = application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="page")

    app.router.add_get("/page", page)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http, serving(app) as served:
        address = f"127.0.0.1:{served.port}"
        for _ in range(3):
            with pytest.raises(HandshakeRefused):
                await connect_raw(http, f"ws://{address}/missing")
            async with http.get(f"http://{address}/page") as response:
                assert await response.text() == "page"
        async with connect(http, f"ws://{address}/") as session:
            await session.send("hello")
            assert (await session.receive(RECEIVE)).text == "hello"


@pytest.mark.parametrize("open_timeout", [10, None])
async def test_c10_a_200_is_a_refusal(
    http: aiohttp.ClientSession, open_timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 200 instead of the 101 is a refusal and no hang, even if its body has no end."""
    monkeypatch.setattr(client_refusal, "BODY_TIMEOUT", 1.0)

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("200 OK", {"Content-Type": "text/event-stream"}, b"data: 1\n\n")
        while True:
            await asyncio.sleep(0.5)
            await peer.send(b"data: 2\n\n")

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await asyncio.wait_for(connect_raw(http, server.url, open_timeout=open_timeout).__aenter__(), RECEIVE)
        assert caught.value.status == 200
        assert caught.value.body.startswith(b"data: 1")
        await eventually(lambda: not server.open)


# ---- C11: redirects -----------------------------------------------------------------------


async def test_c11_a_redirect_is_a_refusal(http: aiohttp.ClientSession) -> None:
    """Redirects are off unless asked for."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("302 Found", {"Location": "/elsewhere", "Content-Length": "0"})

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused) as caught:
            await connect_raw(http, server.url)
        assert (caught.value.status, caught.value.headers["Location"]) == (302, "/elsewhere")
        assert server.connections == 1


@pytest.mark.parametrize("location", ["/b?c=d", "ws://127.0.0.1:{port}/b?c=d", "http://127.0.0.1:{port}/b?c=d#x"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_c11_followed(http: aiohttp.ClientSession, status: int, location: str) -> None:
    """``ws:`` locations are understood, and each hop has a new key. Within an origin all fields are kept."""
    keys: list[str] = []

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        keys.append(fields["Sec-WebSocket-Key"])
        assert fields["Authorization"] == "Bearer x" and fields["X-Mine"] == "1"
        if peer.line.startswith("GET /?q=1 "):
            to = location.format(port=server.port)
            await peer.refuse(f"{status} Elsewhere", {"Location": to, "Content-Length": "0", "Connection": "close"})
        else:
            assert peer.line == "GET /b?c=d HTTP/1.1"
            await peer.send(peer.head())
            await peer.read_to_end()

    headers = {"Authorization": "Bearer x", "X-Mine": "1"}
    async with hand_server(script) as server:
        options: Any = {"headers": headers, "params": {"q": "1"}, "max_redirects": 1, "close_timeout": 0.5}
        async with connect_raw(http, server.url, **options) as session:
            assert session.history == (URL(server.url),)
    assert len(set(keys)) == 2


async def test_c11_a_location_that_is_not_encoded(http: aiohttp.ClientSession) -> None:
    """A space or a letter that a URL cannot have is encoded. It would break the request line."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        if peer.line == "GET / HTTP/1.1":
            fields = {"Location": "/b c/\u00e9%2F?d=e f", "Content-Length": "0", "Connection": "close"}
            await peer.refuse("302 Found", fields)
        else:
            assert peer.line == "GET /b%20c/%C3%A9%2F?d=e+f HTTP/1.1"
            await peer.send(peer.head())
            await peer.read_to_end()

    async with hand_server(script) as server:
        async with connect_raw(http, server.url, max_redirects=1, close_timeout=0.5):
            pass


async def test_c11_secrets_stay_at_their_origin(http: aiohttp.ClientSession) -> None:
    """``Authorization``, ``Cookie``, the fields that the caller names and ``Host`` do not go to another origin."""

    async def target(peer: HandPeer) -> None:
        fields = await peer.request()
        assert not {"authorization", "cookie", "x-api-key"} & {name.lower() for name in fields}
        assert fields["X-Mine"] == "1" and fields["Host"] == f"127.0.0.1:{other.port}"
        await peer.send(peer.head())
        await peer.read_to_end()

    async def first(peer: HandPeer) -> None:
        fields = await peer.request()
        assert {"authorization", "cookie", "x-api-key"} <= {name.lower() for name in fields}
        await peer.refuse("307 There", {"Location": other.url, "Content-Length": "0"})

    headers = {"Authorization": "x", "Cookie": "a=b", "X-Api-Key": "k", "X-Mine": "1", "Host": "example.org"}
    async with hand_server(target) as other, hand_server(first) as server:
        options: Any = {"max_redirects": 3, "secret_headers": ["X-API-Key"], "close_timeout": 0.5}
        async with connect_raw(http, server.url, headers=headers, **options) as session:
            assert session.response.url == URL(other.url)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "", "http://[/"])
async def test_c11_a_location_that_leads_nowhere(http: aiohttp.ClientSession, location: str) -> None:
    """Such a redirect is a refusal whose text says why."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("302 Found", {"Location": location, "Content-Length": "0"})

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused, match="not followed"):
            await connect_raw(http, server.url, max_redirects=3)


async def test_c11_never_from_tls_to_plain() -> None:
    """TLS is never dropped to plain TCP."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("302 Found", {"Location": "ws://127.0.0.1:1/", "Content-Length": "0"})

    async with aiohttp.ClientSession() as http, hand_server(script, tls=True) as server:
        with pytest.raises(HandshakeRefused, match="from TLS"):
            await connect_raw(http, server.url, max_redirects=3, ssl=certificates()[1])


async def test_c11_defaults_of_the_client_session_do_not_leak() -> None:
    """Secret default fields of the ClientSession cannot be left out, so the redirect is not followed."""

    async def script(peer: HandPeer) -> None:
        await peer.request()
        await peer.refuse("302 Found", {"Location": "ws://localhost:1/", "Content-Length": "0"})

    async with aiohttp.ClientSession(headers={"Authorization": "x"}) as http, hand_server(script) as server:
        with pytest.raises(HandshakeRefused, match="would get authorization"):
            await connect_raw(http, server.url, max_redirects=3)


async def test_c11_max_redirects(http: aiohttp.ClientSession) -> None:
    """Not more hops than asked for."""

    async def script(peer: HandPeer) -> None:
        while True:
            await peer.request()
            await peer.refuse("302 Found", {"Location": "/again", "Content-Length": "0"})

    async with hand_server(script) as server:
        with pytest.raises(HandshakeRefused, match="more than 3 redirects") as caught:
            await connect_raw(http, server.url, max_redirects=3)
        assert len(caught.value.history) == 3
        await http.close()  # else its pool would keep the connection open for 15 seconds


# ---- C23, C25: what is sent ---------------------------------------------------------------


async def test_c23_fields(http: aiohttp.ClientSession) -> None:
    """Origin, Host, User-Agent and further fields can be set, and are sent once."""
    headers = [("Host", "example.org"), ("User-Agent", "me"), ("X-Mine", "1"), ("X-Mine", "2")]

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        assert fields.getall("X-Mine") == ["1", "2"]
        for name, value in [("Host", "example.org"), ("User-Agent", "me"), ("Origin", "https://example.org")]:
            assert fields.getall(name) == [value]
        for name in ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
            assert len(fields.getall(name)) == 1
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server:
        options: Any = {"headers": headers, "origin": "https://example.org", "close_timeout": 0.5}
        async with connect_raw(http, server.url, **options):
            pass


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"headers": {"Upgrade": "x"}}, ValueError, "belongs to the handshake"),
        ({"headers": {"connection": "close"}}, ValueError, "belongs to the handshake"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, ValueError, "belongs to the handshake"),
        ({"headers": {"Sec-WebSocket-Protocol": "x"}}, ValueError, "use protocols"),
        ({"headers": {"sec-websocket-extensions": "x"}}, ValueError, "use extensions or offer"),
        ({"headers": {"X": "a\r\nY: b"}}, ValueError, "not a valid header field"),
        ({"headers": {"X": 1}}, ValueError, "not a valid header field"),
        ({"headers": [("Host", "a"), ("host", "b")]}, ValueError, "twice"),
        ({"headers": 5}, TypeError, "headers must be"),
        ({"headers": {"Origin": "a"}, "origin": "b"}, ValueError, "together"),
        ({"origin": "a\nb"}, ValueError, "origin"),
        ({"protocols": "v1"}, TypeError, "list of names"),
        ({"protocols": [1]}, TypeError, "list of names"),
        ({"protocols": ["v 1"]}, ValueError, "token"),
        ({"protocols": ["a", "a"]}, ValueError, "twice"),
        ({"require_protocol": True}, ValueError, "needs protocols"),
        ({"require_protocol": 1, "protocols": ["a"]}, TypeError, "True or False"),
        ({"extensions": PerMessageDeflate}, TypeError, "list"),
        ({"extensions": [PerMessageDeflate]}, TypeError, "configurations"),
        ({"extensions": [PerMessageDeflate()], "offer": ["x"]}, ValueError, "together"),
        ({"offer": "x"}, TypeError, "list of lines"),
        ({"offer": ["x\n"]}, ValueError, "field value"),
        ({"open_timeout": 0}, ValueError, "open_timeout"),
        ({"open_timeout": "1"}, TypeError, "open_timeout"),
        ({"max_redirects": -1}, ValueError, "at least 0"),
        ({"max_redirects": True}, TypeError, "int"),
        ({"secret_headers": "x"}, TypeError, "list of names"),
        ({"max_frame_size": 0}, ValueError, "max_frame_size"),
        ({"heartbeat": 5}, TypeError, "Did you mean ping_interval"),
        ({"subprotocols": []}, TypeError, "Did you mean protocols"),
    ],
)
async def test_c23_options_are_checked_at_the_call(
    http: aiohttp.ClientSession, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """What cannot be sent is refused with a clear error, before anything is sent."""
    with pytest.raises(error, match=text):
        connect_raw(http, "ws://127.0.0.1:1/", **options)


async def test_c23_default_fields_of_the_client_session() -> None:
    """The defaults of a ClientSession go out, but cannot take part in the handshake."""

    async def script(peer: HandPeer) -> None:
        fields = await peer.request()
        assert fields["X-Default"] == "1"
        await peer.send(peer.head())
        await peer.read_to_end()

    async with hand_server(script) as server:
        async with aiohttp.ClientSession(headers={"X-Default": "1"}) as http:
            async with connect_raw(http, server.url, close_timeout=0.5):
                pass
        async with aiohttp.ClientSession(headers={"Sec-WebSocket-Protocol": "x"}) as http:
            with pytest.raises(ValueError, match="default field Sec-WebSocket-Protocol"):
                await connect_raw(http, server.url)


async def test_c25_urls_are_kept(http: aiohttp.ClientSession) -> None:
    """A URL is sent as it was given, ``http:`` counts as ``ws:``, and a base URL holds."""
    lines: list[str] = []

    async def script(peer: HandPeer) -> None:
        await peer.accept()
        lines.append(peer.line)
        await peer.read_to_end()

    async with hand_server(script) as server:
        address = f"127.0.0.1:{server.port}"
        target = "/a%2Fb%3A(%28//;x?q=%2B+%20&r="
        for scheme in ("ws", "http"):
            async with connect_raw(http, URL(f"{scheme}://{address}{target}", encoded=True), close_timeout=0.5):
                pass
        async with aiohttp.ClientSession(base_url=f"ws://{address}") as based:
            async with connect_raw(based, "/feed", params={"a": "b"}, close_timeout=0.5):
                pass
    assert lines == [f"GET {target} HTTP/1.1"] * 2 + ["GET /feed?a=b HTTP/1.1"]


async def test_c25_urls_that_are_refused(http: aiohttp.ClientSession) -> None:
    """A fragment is refused (RFC 6455, section 3), and so is another scheme."""
    for url in ("ws://127.0.0.1/#x", "ws://127.0.0.1/#", URL("ws://127.0.0.1/#x")):
        with pytest.raises(ValueError, match="fragment"):
            connect_raw(http, url)
    with pytest.raises(TypeError, match="url must be"):
        connect_raw(http, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"aiohttp\.ClientSession"):
        connect_raw("ws://127.0.0.1/", "ws://127.0.0.1/")  # type: ignore[arg-type]
    with pytest.raises(aiohttp.ClientError):
        await connect_raw(http, "ftp://127.0.0.1/")
