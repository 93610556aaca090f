"""Clients for Python: each connects, echoes every message, and leaves when the connection is over."""

from __future__ import annotations

import asyncio
import codecs
import importlib
import importlib.metadata
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode

MAX_ECHO = 2**20  # bytes: a longer message is not sent back

KEEPALIVE = {"ping_interval": 1, "ping_timeout": 10}  # seconds: the catalogue waits 3 for a Ping

Client = Callable[[str], Awaitable[None]]


async def of_connect(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        with suppress(rawws.RawWSError):
            async with rawws.connect(
                http, url, extensions=[rawws.PerMessageDeflate()], ping_interval=1, timeout=10
            ) as session:
                async for message in session:
                    if len(message.payload) <= MAX_ECHO:
                        await session.send(message)


async def of_connect_raw(url: str) -> None:
    """A raw session answers nothing by itself, and leaves reserved bits and text to its user: this is such a user."""

    async def echo(session: rawws.WebSocketSession) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        async for frame in session:
            if frame.rsv1 or frame.rsv2 or frame.rsv3:
                return await session.close(1002)
            if frame.opcode is Opcode.PING:
                await session.send(Frame.pong(frame.payload))
            elif frame.opcode is Opcode.CLOSE:
                return await session.close(answer_to(frame.payload))
            elif frame.opcode is not Opcode.PONG:
                if frame.kind is Opcode.TEXT:
                    try:
                        decoder.decode(frame.payload, final=frame.fin)
                    except UnicodeDecodeError:
                        return await session.close(1007)
                await session.send(frame)

    async with aiohttp.ClientSession() as http:
        with suppress(rawws.RawWSError):
            async with rawws.connect_raw(http, url) as session:
                await echo(session)


def answer_to(payload: bytes) -> int | None:
    """The code that answers a Close."""
    if not payload:
        return None
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not rawws.may_be_sent(code):
        return 1002
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return 1007
    return code


async def of_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(url, compress=15, heartbeat=2.5) as socket:
        async for message in socket:
            if len(message.data) > MAX_ECHO:
                continue
            if message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data)


async def of_websockets(url: str) -> None:
    client = importlib.import_module("websockets.asyncio.client")
    async with client.connect(url, max_size=8 * 2**20, proxy=None, **KEEPALIVE) as connection:
        async for message in connection:
            if len(message) <= MAX_ECHO:
                await connection.send(message)


async def of_picows(url: str) -> None:
    picows: Any = importlib.import_module("picows")

    class Echo(picows.WSListener):  # type: ignore[misc]
        """As the documentation of picows has it: fragments are joined by the user."""

        def __init__(self) -> None:
            super().__init__()
            self.kind: Any = None
            self.parts: list[bytes] = []

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()
            elif frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
                if frame.msg_type != picows.WSMsgType.CONTINUATION:
                    self.kind = frame.msg_type
                self.parts.append(frame.get_payload_as_bytes())
                if frame.fin:
                    transport.send(self.kind, b"".join(self.parts))
                    self.parts = []

    transport, _ = await picows.ws_connect(
        Echo, url, enable_auto_ping=True, auto_ping_idle_timeout=2.5, auto_ping_reply_timeout=2.5
    )
    await transport.wait_disconnected()


def _talk(url: str) -> None:
    websocket: Any = importlib.import_module("websocket")
    socket = websocket.create_connection(url, timeout=30)
    try:
        while True:
            kind, data = socket.recv_data()
            if kind == websocket.ABNF.OPCODE_CLOSE:
                return
            if len(data) <= MAX_ECHO:
                socket.send(data, kind)
    finally:
        socket.shutdown()


async def of_websocket_client(url: str) -> None:
    """The package websocket-client, which blocks, in a thread."""
    await asyncio.to_thread(_talk, url)


CLIENTS: dict[str, tuple[str, Client]] = {
    "connect": ("aiohttp_rawws", of_connect),
    "connect_raw": ("aiohttp_rawws", of_connect_raw),
    "aiohttp": ("aiohttp", of_aiohttp),
    "websockets": ("websockets", of_websockets),
    "picows": ("picows", of_picows),
    "websocket-client": ("websocket-client", of_websocket_client),
}


def version_of(name: str) -> str | None:
    """The version of a client's package, or None if it is not installed."""
    package = CLIENTS[name][0]
    if package == "aiohttp_rawws":
        return rawws.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
