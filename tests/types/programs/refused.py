"""Mistakes. A type checker reports each line that is marked, and no other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from aiohttp import ClientSession, web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, recording, testing

app = web.Application()
routes = rawws.RouteTableDef()


async def raw(session: rawws.WebSocketServerSession) -> None:
    """A raw handler."""


async def managed(session: rawws.DefaultWebSocketServerSession) -> None:
    """A managed handler."""


async def page(request: web.Request) -> web.Response:
    """An aiohttp handler."""
    return web.Response()


def not_async(session: rawws.DefaultWebSocketServerSession) -> None:
    """It returns nothing to await."""


async def check_origin(origin: str, request: web.Request, extra: int) -> bool:
    """It takes one argument more than it gets."""
    return True


# ---- options: unknown names, wrong types, options of another place ------------------------

rawws.setup(app, ping_intervall=20.0)  # refused
rawws.setup(app, options={"ping_interval": 20.0})  # refused
rawws.setup(app, max_frame_size="big")  # refused
rawws.setup(app, origin=None)  # refused
rawws.setup(app, origins=5)  # refused
rawws.setup(app, origins=check_origin)  # refused
rawws.setup(app, incoming=1024)  # refused
rawws.setup(app, on_error="ignore")  # refused
rawws.setup(app, close_timeout=None)  # refused
rawws.setup(app, converter=rawws.JSONConverter)  # refused
rawws.setup(app, observe="trace.jsonl")  # refused
rawws.setup(app, extensions=rawws.PerMessageDeflate())  # refused
rawws.setup(app, extensions=[rawws.PerMessageDeflate])  # refused
rawws.setup(app, protocol="chat")  # refused
rawws.setup(app, shutdown_code="1001")  # refused
rawws.websocket("/", managed, ping_intervall=20.0)  # refused
rawws.websocket("/", managed, max_sessions=5)  # refused
rawws.websocket("/", managed, protocol=5)  # refused
rawws.websocket("/", managed, negotiate_extensions="no")  # refused
rawws.websocket_raw("/", raw, max_frame_size="big")  # refused
rawws.websocket_raw("/", raw, before_upgrade=managed)  # refused
routes.websocket("/", ping_intervall=20.0)  # refused
routes.websocket("/", max_frame_size="big")  # refused
routes.websocket_raw("/", protocols=5)  # refused
routes.websocket_raw(path=5)  # refused
rawws.SessionOptions(ping_intervall=20.0)  # refused
rawws.SessionOptions(origins=None)  # refused
rawws.SessionOptions(ping_interval="20")  # refused
rawws.SessionOptions(4096)  # refused
rawws.SessionOptions().replace(ping_interval="20")  # refused
rawws.SessionOptions().ping_interval = 20.0  # refused
rawws.WebSocketOptions(max_session=5)  # refused
rawws.WebSocketOptions().replace(max_session=5)  # refused
rawws.bounded(1024, "wait")  # refused
seconds: timedelta = rawws.SessionOptions(ping_interval=timedelta(seconds=1)).ping_interval  # refused

# ---- handlers of another kind -------------------------------------------------------------

rawws.websocket("/", raw)  # refused
rawws.websocket("/", page)  # refused
rawws.websocket("/", not_async)  # refused
rawws.websocket_raw("/", managed)  # refused
rawws.websocket_raw("/", page)  # refused
rawws.websocket(raw)  # refused
rawws.websocket_raw(managed)  # refused
rawws.upgrade_handler(managed)  # refused
rawws.upgrade_handler(raw, managed=True)  # refused
rawws.upgrade_handler("/", raw)  # refused
rawws.upgrade_handler(raw, ping_intervall=20.0)  # refused
routes.websocket("/")(raw)  # refused
routes.websocket("/")(page)  # refused
routes.websocket_raw("/")(managed)  # refused
routes.websocket_raw("/")(page)  # refused


@routes.websocket("/decorated")  # refused
async def decorated(session: rawws.WebSocketServerSession) -> None:
    """A raw handler."""


@rawws.websocket_raw  # refused
async def bare(session: rawws.DefaultWebSocketServerSession) -> None:
    """A managed handler."""


async def upgrade(request: web.Request) -> web.StreamResponse:
    rawws.WebSocketUpgrade(request, handle=managed)  # refused
    rawws.WebSocketUpgrade(request, handle=page)  # refused
    rawws.WebSocketUpgrade(request, handle=raw, managed=True)  # refused
    rawws.WebSocketUpgrade(request)  # refused
    rawws.WebSocketUpgrade(request, handle=raw, ping_intervall=20.0)  # refused
    rawws.WebSocketUpgrade(request, handle=raw, max_sessions=5)  # refused
    rawws.WebSocketUpgrade(request, handle=raw, answer="echo")  # refused
    return rawws.WebSocketUpgrade(request, handle=managed, managed=True)


async def forward(request: web.Request, http: ClientSession) -> None:
    rawws.upstream_url("http://127.0.0.1:8000", request)  # refused
    rawws.proxy_upgrade(request, http)  # refused
    await rawws.proxy_upgrade(request, http, "http://127.0.0.1", forwarded="yes")  # refused
    await rawws.proxy_upgrade(request, http, "http://127.0.0.1", redirects="follow")  # refused
    await rawws.proxy_upgrade(request, http, "http://127.0.0.1", handle=raw)  # refused
    await rawws.proxy_upgrade(request, http, "http://127.0.0.1", headers={"X": "y"})  # refused
    await rawws.proxy_upgrade(request, http, "http://127.0.0.1", max_sessions=5)  # refused


async def on_start(session: rawws.WebSocketServerSession) -> None:
    """It takes raw sessions only, and there are managed ones."""


plugin = rawws.setup(app)
plugin.on_session_start.append(on_start)  # refused
plugin.on_session_end.append(page)  # refused
for each in app[rawws.WEBSOCKETS].sessions:
    print(each.requests)  # refused


async def streams(session: rawws.WebSocketSession, managed: rawws.DefaultWebSocketSession) -> None:
    session.receive_stream(5)  # refused
    session.receive_stream(max_size="1 GiB")  # refused
    await session.send_stream(5)  # refused
    await session.send_stream([b"x"], size=1)  # refused
    session.open_stream(length="1")  # refused
    await managed.write_eof()  # refused
    managed.as_stream(other_kind="drop")  # refused


async def sessions_of_tests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server, client = testing.server_pair()
    await rawws.run_session(server, managed)  # refused
    await rawws.run_session(client, raw)  # refused
    await rawws.run_managed(server, managed)  # refused
    await rawws.run_managed(testing.managed_server_pair().server, raw)  # refused
    testing.server_pair(request="/")  # refused
    testing.managed_server_pair(ping_intervall=20.0)  # refused
    testing.scripted_server(raw)  # refused
    testing.Handshake(status="101")  # refused
    rawws.memory_pair(x=1)  # refused
    rawws.memory_pair(strict="no")  # refused
    rawws.memory_pair(server_options={"strict": False})  # refused
    rawws.SessionOptions(strict="end")  # refused
    rawws.RawWebSocket(writer, reader)  # refused
    rawws.RawWebSocket(reader)  # refused
    rawws.RawWebSocket(reader, writer, ping_intervall=20.0)  # refused
    rawws.RawWebSocket(reader, writer, masking="yes")  # refused


# ---- frames -------------------------------------------------------------------------------

Frame.text(3)  # refused
Frame.text("x", finn=True)  # refused
Frame.text("x", True)  # refused
Frame.text("x")("y")  # refused
Frame.text("x").text()  # refused
Frame.text("x").replace(payloadd=b"")  # refused
Frame.text("x").replace(payload="x")  # refused
Frame.text("x").replace(mask=True)  # refused
Frame(1, "x")  # refused
Frame(1, b"x", True)  # refused
Frame.binary("x")  # refused
Frame.ping("x")  # refused
Frame.close("bye")  # refused
Frame.text("x").fin = False  # refused
rawws.PreparedFrame("x")  # refused


# ---- sessions -----------------------------------------------------------------------------


async def number() -> int:
    return 1


async def of_all(session: rawws.Session) -> None:
    wrong_task: asyncio.Task[str] = session.create_task(number())  # refused
    wrong_value: str = await session.receive_deserialized(dict)  # refused
    await session.receive_deserialized("dict")  # refused
    session.extension(rawws.PerMessageDeflate()).level  # refused
    session.extension(int)  # refused
    session.extensions[0].level  # refused
    await session.send(5)  # refused
    await session.send({"a": 1})  # refused
    session.send("x")  # refused
    session.send_nowait(None)  # refused
    await session.outgoing.send(5)  # refused
    session.outgoing.try_send(5)  # refused
    await session.close("bye")  # refused
    await session.close(reason=1000, text="bye")  # refused
    await session.listen(number)  # refused
    session.request  # refused
    session.on_message = print  # refused
    print(wrong_task, wrong_value)
    try:
        await session.receive()
    except rawws.DeserializeError as error:
        error.frame.text()  # refused


async def of_no_extension(session: rawws.Session) -> None:
    session.extension(5)  # refused


async def of_raw(session: rawws.WebSocketSession) -> None:
    await session.ping()  # refused
    await session.send("x", compress=True)  # refused
    session.masking = "yes"  # refused
    session.on_violation = "ignore"  # refused


async def of_managed(session: rawws.DefaultWebSocketSession) -> None:
    session.ping_interval = "20"  # refused
    await session.send("x", compress="yes")  # refused
    await session.ping("x")  # refused
    session.on_close = 5  # refused
    code: str = (await session.close_reason).code  # refused
    print(code)


rawws.broadcast([object()], "x")  # refused
rawws.broadcast(5, "x")  # refused
rawws.broadcast(app[rawws.WEBSOCKETS].sessions, 5)  # refused
rawws.broadcast(app[rawws.WEBSOCKETS].sessions, "x", policy="drop")  # refused


# ---- clients ------------------------------------------------------------------------------


async def client(http: ClientSession) -> None:
    rawws.connect("ws://example.org/", "ws://example.org/")  # refused
    rawws.connect(http, 5)  # refused
    rawws.connect(http, "ws://example.org/", heartbeat=5)  # refused
    rawws.connect(http, "ws://example.org/", protocols=5)  # refused
    rawws.connect(http, "ws://example.org/", open_timeout="5")  # refused
    rawws.connect_raw(http, "ws://example.org/", origins=None)  # refused
    rawws.connect_raw(http, "ws://example.org/", headers=fresh)  # refused
    rawws.reconnecting(http, "ws://example.org/", delays=5.0)  # refused
    rawws.reconnecting(http, "ws://example.org/", again=fresh)  # refused
    async with rawws.connect_raw(http, "ws://example.org/") as session:
        session.request  # refused
        await session.ping()  # refused


def write(text: str) -> None:
    """A function that redacts nothing."""


async def record(session: rawws.WebSocketSession) -> None:
    recording.Recorder("trace.jsonl", redact=write)  # refused
    recording.Recorder("trace.jsonl", max_payload="1 MiB")  # refused
    recording.Recorder("trace.jsonl").attach("/chat")  # refused
    recording.observe(session, 5)  # refused
    await recording.replay("trace.jsonl", session, source="peer")  # refused
    await recording.replay("trace.jsonl", session, ignore=["mask"])  # refused
    await recording.replay("trace.jsonl", session, pace="slow")  # refused
    recording.to_har("trace.jsonl")  # refused


async def fresh() -> dict[str, str]:
    """Header fields."""
    return {}
