"""A program with the main parts of the interface. Type checkers accept it as it stands."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from yarl import URL

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, recording, testing

if TYPE_CHECKING:
    from typing_extensions import Unpack, assert_type

app = web.Application()
routes = rawws.RouteTableDef()


# ---- handlers -----------------------------------------------------------------------------


@routes.websocket_raw("/raw", protocol="echo", max_frame_size=2**16, masking=None, on_error="close-1011")
async def raw(session: rawws.WebSocketServerSession) -> None:
    async for frame in session:
        if frame.opcode is Opcode.PING:
            await session.send(Frame.pong(frame.payload))


@routes.websocket(
    "/chat/{room}", ping_interval=20, timeout=timedelta(seconds=5), extensions=[rawws.PerMessageDeflate()]
)
async def managed(session: rawws.DefaultWebSocketServerSession) -> str:
    async for message in session:
        await session.send(message.text)
    return session.request.match_info["room"]


@routes.websocket_raw("/any-raw")
async def any_raw(session: rawws.WebSocketSession) -> None:
    await session.close(rawws.CloseReason(1000, "bye"))


@routes.websocket("/any-managed")
async def any_managed(session: rawws.DefaultWebSocketSession) -> None:
    await session.close(1000, "bye")


@routes.websocket_raw("/either")
@routes.websocket("/either")
async def either(session: rawws.Session) -> None:
    await session.send("hello")


@routes.websocket_raw("/short-names")
async def short_names(session: rawws.RawSession) -> None:
    await session.flush()


async def with_arguments(greeting: str, session: rawws.DefaultWebSocketServerSession, *, times: int = 1) -> None:
    await session.send(greeting * times)


class Rooms:
    async def join(self, session: rawws.DefaultWebSocketServerSession) -> None:
        await session.send(type(self).__name__)

    async def __call__(self, session: rawws.WebSocketServerSession) -> None:
        await session.flush()


app.add_routes(routes)
app.add_routes(
    [
        rawws.websocket("/join", Rooms().join, name="join"),
        rawws.websocket("/greet", partial(with_arguments, "hello", times=2)),
        rawws.websocket_raw("/rooms", Rooms(), protocols=["v2", "v1"]),
        web.get("/handler", rawws.websocket(managed)),
        web.get("/raw-handler", rawws.websocket_raw(raw, protocol="echo")),
        web.get("/upgrade-raw", rawws.upgrade_handler(raw, protocol="echo")),
        web.get("/upgrade-managed", rawws.upgrade_handler(managed, managed=True, max_message_size=None)),
    ]
)
raw_handler: rawws.RawHandler = raw
managed_handler: rawws.ManagedHandler = managed


@rawws.websocket_raw
async def bare(session: rawws.WebSocketServerSession) -> None:
    await session.flush()


@rawws.websocket(negotiate_extensions=False, max_message_size=None)
async def with_options(session: rawws.DefaultWebSocketServerSession) -> None:
    await session.flush()


@rawws.upgrade_handler
async def upgraded(session: rawws.WebSocketServerSession) -> None:
    await session.flush()


@rawws.upgrade_handler(managed=True)
async def upgraded_managed(session: rawws.DefaultWebSocketServerSession) -> None:
    await session.flush()


app.router.add_get("/upgraded", upgraded)
app.router.add_get("/upgraded-managed", upgraded_managed)
app.router.add_get("/bare", bare)
app.router.add_get("/with-options", with_options)


async def upgrade(request: web.Request) -> web.StreamResponse:
    if request.query.get("kind") == "managed":
        return rawws.WebSocketUpgrade(request, handle=managed, managed=True, install_extensions=True)
    if request.query.get("kind") == "answered":
        return rawws.WebSocketUpgrade(request, handle=raw, answer=rawws.Answer("echo", ["x-extension"]))
    return rawws.WebSocketUpgrade(request, protocol="echo", handle=raw, close_timeout=2)


async def forward(request: web.Request, http: ClientSession) -> web.StreamResponse:
    url = rawws.upstream_url(URL("http://127.0.0.1:8000"), request, strip="/app")
    if not rawws.is_upgrade(request):
        raise web.HTTPNotFound
    if request.query:
        return await rawws.proxy_upgrade(request, http, url, handle=rawws.pump, ssl=False, close_timeout=2)
    return await rawws.proxy_upgrade(
        request,
        http,
        url,
        headers=edit_fields,
        forwarded="rfc7239",
        trust=frozenset({"127.0.0.1"}),
        connect_timeout=timedelta(seconds=5),
        redirects="refuse",
        on_frame=lambda item, source: item,
        max_frame_size=2**20,
        origins="same-origin",
    )


def edit_fields(request: web.BaseRequest, fields: CIMultiDict[str]) -> None:
    fields["X-Remote"] = request.remote or ""


async def of_both(client: rawws.WebSocketServerSession, upstream: rawws.WebSocketClientSession) -> int:
    report: rawws.PumpReport = await rawws.pump(client, upstream)
    return report.a_to_b.frames_sent


pair_handler: rawws.PairHandler = of_both
edit_headers: rawws.EditHeaders = edit_fields


# ---- options ------------------------------------------------------------------------------


async def from_database(origin: str, request: web.Request) -> bool:
    return origin in request.app


def from_the_list(origin: str, request: web.BaseRequest) -> bool:
    return origin == request.host


async def add_fields(request: web.Request) -> Mapping[str, str]:
    return {"X-Path": request.path}


def refuse(request: web.Request) -> web.Response | None:
    return None if request.secure else web.Response(status=403)


def choose(request: web.Request, offered: tuple[str, ...]) -> str | None:
    return offered[0] if offered else None


async def choose_slowly(request: web.BaseRequest, offered: tuple[str, ...]) -> str | None:
    return None


plugin = rawws.setup(
    app,
    ping_interval=None,
    timeout=15.0,
    max_frame_size=4 * 2**20,
    incoming=rawws.bounded(100, max_bytes=None),
    outgoing=rawws.UNLIMITED,
    keepalive=rawws.WhenIdle(),
    converter=rawws.JSONConverter(),
    origins=["https://example.org", re.compile("https://.*")],
    before_upgrade=add_fields,
    idle_timeout=timedelta(minutes=5),
    max_sessions=1000,
    shutdown_code=1012,
)
rawws.websocket("/1", managed, origins="same-origin", before_upgrade=refuse, protocols=choose)
rawws.websocket("/2", managed, origins=from_database, before_upgrade=None, protocols=choose_slowly)
rawws.websocket("/3", managed, origins=from_the_list)
rawws.websocket("/4", managed, origins=None)

options = rawws.SessionOptions(ping_interval=timedelta(seconds=20), close_timeout=timedelta(seconds=2))
seconds: float | None = options.replace(ping_interval=timedelta(seconds=10)).ping_interval
whole: rawws.WebSocketOptions = rawws.WebSocketOptions(write_timeout=None).replace(max_sessions=5)


def my_setup(app: web.Application, **options: Unpack[rawws.PluginOptionsDict]) -> rawws.WebSockets:
    options.setdefault("ping_interval", 20.0)
    return rawws.setup(app, **options)


def my_route(path: str, handler: rawws.ManagedHandler, **options: Unpack[rawws.RouteOptionsDict]) -> None:
    app.add_routes([rawws.websocket(path, handler, **options)])


# ---- the plugin ---------------------------------------------------------------------------


async def announce(session: rawws.ServerSession) -> None:
    print(session.request.path, session.protocol)


plugin.on_session_start.append(announce)


async def show(request: web.Request) -> web.Response:
    sessions = request.app[rawws.WEBSOCKETS].sessions
    for session in sessions:
        print(session.request.remote, session.app, session.close_state.code)
        if isinstance(session, rawws.DefaultWebSocketServerSession):
            assert_type(session.raw, rawws.WebSocketServerSession)
    return web.Response(text=str(len(sessions)))


async def streams(session: rawws.WebSocketSession, managed: rawws.DefaultWebSocketSession) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"x"

    assert_type(await session.send_stream(BytesIO(b"x"), length=1), int)
    for either in (session, managed):
        async with either.receive_stream(max_size=2**30) as incoming:
            assert_type(incoming, rawws.IncomingStream)
            assert_type(incoming.header, rawws.FrameHeader)
            assert_type(incoming.size, int | None)
            async for chunk in incoming:
                assert_type(chunk, bytes)
            assert_type(await incoming.readinto(bytearray(10)), int)
            async for part in incoming.text():
                assert_type(part, str)
    await managed.send_stream(source(), compress=False)
    await managed.send_stream(["te", "xt"], opcode=Opcode.TEXT, fragment_size=10)
    async with session.open_stream(Opcode.TEXT, rsv1=True) as out:
        assert_type(out, rawws.OutgoingStream)
        await out.write(memoryview(b"x"))
        await out.flush()
    assert_type(out.sent, int)
    reader, writer = managed.as_stream(kind=Opcode.TEXT, other_kind="take")
    assert_type(reader, asyncio.StreamReader)
    assert_type(writer, rawws.FrameWriter)
    assert_type(await reader.read(), bytes)
    writer.write(b"x")
    await session.write_eof()


# ---- sessions without a server ------------------------------------------------------------


async def in_memory(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    rawws.SessionOptions(strict="hop")
    server, client = rawws.memory_pair(strict=False, client_options=rawws.SessionOptions(masking=False))
    assert_type(server, rawws.WebSocketSession)
    await rawws.run_session(client, any_raw)
    await rawws.run_managed(rawws.DefaultWebSocketSession(server), any_managed)
    await rawws.RawWebSocket(reader, writer, server=False, write_timeout=timedelta(seconds=1)).end()


async def script(peer: testing.Peer) -> None:
    await peer.expect(Opcode.TEXT, within=2.5)
    await peer.expect(Frame.text("hello"), skip=True)
    await peer.expect(lambda frame: frame.fin)
    reason: rawws.CloseReason = await peer.expect_close(1000, 1001)
    await peer.close(reason)
    await peer.expect_end("eof")


def handshake(request: testing.HandshakeRequest) -> testing.Handshake:
    return testing.Handshake(status=403 if request.offers("x") else 101, headers={"X": "1"}, drop=["Upgrade"])


async def scripts() -> None:
    async with testing.scripted_server(script, handshake=handshake) as scripted:
        await testing.scripted_client(scripted.url, script, request=testing.handshake_request(scripted.url))
    async with testing.misbehaving_server(["rsv1", "utf8-*"]) as misbehaving:
        verdicts: dict[str, testing.Verdict] = misbehaving.agent("me").verdicts()
        assert not verdicts, misbehaving.url("rsv1", "me")


async def in_tests() -> None:
    request = make_mocked_request("GET", "/chat/lobby", match_info={"room": "lobby"})
    server, client = testing.server_pair(request, app=app, max_frame_size=2**10)
    await rawws.run_session(server, raw)
    await client.send(Frame.ping())
    managed_server, managed_client = testing.managed_server_pair(extensions=[rawws.PerMessageDeflate()])
    await rawws.run_managed(managed_server, managed)
    await rawws.run_managed(managed_server, any_managed)
    assert_type(managed_client, rawws.DefaultWebSocketSession)


def hide(record: recording.Record) -> recording.Record:
    if isinstance(record, recording.FrameRecord) and record.opcode is Opcode.TEXT:
        return replace(record, payload=b"")
    return record


async def record(http: ClientSession, session: rawws.DefaultWebSocketServerSession) -> None:
    with recording.Recorder("trace.jsonl", max_payload=None, redact=hide, secret_headers=["X-Token"]) as recorder:
        rawws.setup(app, observe=recorder)
        stop = recorder.attach(session)
        stop()
        async with rawws.connect_raw(http, "ws://example.org/", observe=recorder.attach) as client:
            stop = recording.observe(client, print, max_payload=100)
    for each in recording.read("trace.jsonl"):
        if isinstance(each, recording.FrameRecord):
            assert_type(each.masking_key, bytes | None)
        elif isinstance(each, recording.CloseRecord):
            assert_type(each.client, rawws.CloseReason | None)
    assert_type(recording.to_har(recording.read("trace.jsonl")), dict[str, Any])


async def play(session: rawws.WebSocketSession) -> None:
    try:
        await recording.replay("trace.jsonl", session, source="server", pace="fast", ignore=["payload", "length"])
        await recording.replay(recording.read("trace.jsonl"), URL("wss://example.org/"), connection=3, timeout=5)
        await recording.replay("trace.jsonl", ("127.0.0.1", 8080), source="server", headers={"Set-Cookie": "a=b"})
    except recording.ReplayMismatch as mismatch:
        assert_type(mismatch.differences, tuple[recording.Difference, ...])


# ---- frames -------------------------------------------------------------------------------


def frames(frame: rawws.Frame) -> None:
    assert_type(Frame.text("hi"), rawws.Frame)
    assert_type(frame.text, str)
    assert_type(frame.replace(payload=memoryview(b"x"), rsv1=True, kind=None), rawws.Frame)
    Frame.text(b"\xe2\x82", fin=False, rsv1=True)
    Frame(Opcode.BINARY, bytearray(b"x"), fin=False)
    Frame(0, b"x", kind=Opcode.TEXT)
    Frame.close(rawws.CloseReason(3000, "bye"))
    rawws.PreparedFrame(Frame.binary(b"x"))
    match frame:
        case Frame(Opcode.PING, payload):
            assert_type(payload, bytes)
        case _:
            print(frame.close_reason and frame.close_reason.known_reason)


# ---- sessions -----------------------------------------------------------------------------


class Own(rawws.WebSocketExtension):
    level = 1


class OwnFactory(rawws.WebSocketExtensionFactory):
    name = "x-own"

    def accept(
        self, offer: rawws.WebSocketExtensionHeader
    ) -> tuple[rawws.WebSocketExtensionHeader, rawws.WebSocketExtension] | None:
        return offer, Own(self)

    def client_offers(self) -> list[rawws.WebSocketExtensionHeader]:
        return [rawws.WebSocketExtensionHeader(self.name)]

    def accept_response(self, response: rawws.WebSocketExtensionHeader) -> Own:
        return Own(self)


async def number() -> int:
    return 1


async def of_all(session: rawws.Session) -> None:
    assert_type(session.create_task(number()), asyncio.Task[int])
    assert_type(await session.receive_deserialized(dict), dict[Any, Any])
    print(await session.receive_deserialized((str, int)))
    assert_type(await session.receive_deserialized(), Any)
    assert_type(session.extension(rawws.PerMessageDeflate()), rawws.WebSocketDeflateExtension)
    assert_type(session.extension(rawws.PerMessageDeflate), rawws.WebSocketDeflateExtension)
    assert_type(session.extension(OwnFactory).level, int)
    assert_type(session.extension(Own).level, int)
    assert_type(session.extensions, tuple[rawws.WebSocketExtension, ...])
    assert_type(await session.receive(), rawws.Frame)
    assert_type(session.receive_nowait(), rawws.Frame | None)
    assert_type(session.incoming.try_receive(), rawws.Frame | None)
    assert_type(session.outgoing.try_send(memoryview(b"x")), bool)
    assert_type(session.stats.bytes_sent, int)
    assert_type(session.close_state.received, rawws.CloseReason | None)
    with session.cork():
        session.send_nowait(rawws.PreparedFrame(Frame.text("hi")))
    await session.listen(lambda frame: print(frame.payload))
    try:
        await session.send_serialized({"a": [1]})
    except rawws.DeserializeError as error:
        print(error.frame.payload, error.close_code)
    except rawws.SessionClosed as closed:
        assert_type(closed.received, int | None)


async def of_raw(session: rawws.WebSocketSession) -> None:
    session.masking = True
    session.max_frame_size = None
    session.frame_streaming_threshold = 2**20
    session.send_raw(rawws.encode_header(Opcode.TEXT, 2), b"hi")
    assert_type(session.negotiated_extensions, tuple[rawws.WebSocketExtension, ...])
    async with session:
        async for frame in session.incoming:
            assert_type(frame, rawws.Frame)


async def of_managed(session: rawws.DefaultWebSocketSession) -> None:
    session.ping_interval = timedelta(seconds=20)
    session.timeout = None
    session.on_ping = print
    assert_type(await asyncio.wait_for(session.ping(), 5), float)
    assert_type(session.rtt, float | None)
    assert_type(await session.close_reason, rawws.CloseReason)
    await session.send("hi", compress=False)


async def to_many(sessions: set[rawws.DefaultWebSocketServerSession]) -> None:
    result = rawws.broadcast(sessions, "hi")
    assert_type(result.skipped, list[rawws.Session])
    rawws.broadcast(app[rawws.WEBSOCKETS].sessions, b"hi", policy="disconnect")
    assert_type((await rawws.broadcast(list(sessions), Frame.text("hi"), policy="wait")).delivered, int)


# ---- clients ------------------------------------------------------------------------------


async def fresh() -> dict[str, str]:
    return {"Authorization": "Bearer x"}


def never_again(end: Exception | rawws.CloseReason) -> float | None:
    return None if isinstance(end, rawws.CloseReason) else rawws.transient(end)


async def client(http: ClientSession) -> None:
    async with rawws.connect_raw(http, "ws://example.org/", protocols=["v1"], open_timeout=5) as first:
        assert_type(first, rawws.WebSocketClientSession)
        async for frame in first:
            assert_type(frame, Frame)
    second = await rawws.connect(
        http, URL("wss://example.org/"), headers={"X": "1"}, ping_interval=timedelta(seconds=5)
    )
    assert_type(second, rawws.DefaultWebSocketClientSession)
    assert_type(second.protocol, str | None)
    assert_type(second.response, ClientResponse)
    await second.close()
    async for third in rawws.reconnecting(http, "ws://example.org/", headers=fresh, again=never_again):
        assert_type(third, rawws.DefaultWebSocketClientSession)
    async for fourth in rawws.reconnecting(http, "ws://example.org/", managed=False, delays=lambda: iter([1.0])):
        assert_type(fourth, rawws.WebSocketClientSession)
    try:
        await rawws.connect(http, "ws://example.org/", extensions=[rawws.PerMessageDeflate()], max_redirects=3)
    except rawws.HandshakeRefused as refused:
        assert_type(refused.retry_after, float | None)
        assert_type(refused.body, bytes)
        print(refused.status, refused.headers.get("Retry-After"), refused.history)
