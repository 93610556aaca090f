"""Two clients made by hand, to test the verdicts: one that does what RFC 6455 says, and one that checks nothing.

They share nothing with the package. Both echo every message. The first can be lenient in some things.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import struct
import zlib
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LIMIT = 2**20
PATIENCE = 4.0  # seconds for the handshake, and for the end of TCP behind a Close
CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
OFFER = "permessage-deflate; client_no_context_takeover"


class Violation(Exception):
    """Its first argument is the code of the Close."""


class Rules:
    """What a client refuses.

    Attributes:
        lenient: The names of rules that it does not know.
    """

    def __init__(self, lenient: Collection[str] = ()) -> None:
        self.lenient = lenient

    def refuse(self, rule: str, code: int = 1002) -> None:
        """Raise Violation, unless the client is lenient there."""
        if rule not in self.lenient:
            raise Violation(code, rule)


class Stream:
    """The bytes of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def send(self, opcode: int, payload: bytes, masked: bool = True) -> None:
        head = bytes([0x80 | opcode])
        bit = 0x80 if masked else 0
        if len(payload) < 126:
            head += bytes([bit | len(payload)])
        elif len(payload) < 65536:
            head += bytes([bit | 126]) + struct.pack("!H", len(payload))
        else:
            head += bytes([bit | 127]) + struct.pack("!Q", len(payload))
        if masked:
            key = os.urandom(4)
            stream = (key * (len(payload) // 4 + 1))[: len(payload)]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")
            head += key
        self.writer.write(head + payload)
        await self.writer.drain()

    async def header(self) -> tuple[int, bool, int]:
        """First octet, masked, length."""
        first, second = await self.read(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.read(8))
        return first, bool(second & 0x80), length


def request(url: str, key: str, offer: bool) -> bytes:
    parts = urlsplit(url)
    more = f"Sec-WebSocket-Extensions: {OFFER}\r\n" if offer else ""
    return (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    ).encode()


async def opened(url: str, key: str, offer: bool) -> Stream:
    parts = urlsplit(url)
    stream = Stream(*await asyncio.open_connection(parts.hostname, parts.port, limit=64 * 1024))
    stream.writer.write(request(url, key, offer))
    return stream


# ---- by the book --------------------------------------------------------------------------


def tokens(fields: list[tuple[str, str]], name: str) -> list[str]:
    return [token.strip().lower() for found, value in fields if found == name for token in value.split(",")]


def agreed(fields: list[tuple[str, str]]) -> bool:
    """True if the answer to the offer of the extension is right and yes, False if it is no."""
    values = [value for name, value in fields if name == "sec-websocket-extensions"]
    if not values:
        return False
    if len(values) > 1 or "," in values[0]:
        raise Violation(0, "more than one extension")
    name, *parameters = (part.strip() for part in values[0].split(";"))
    if name != "permessage-deflate" or len(parameters) != len({part.partition("=")[0] for part in parameters}):
        raise Violation(0, f"not offered: {values[0]}")
    bits = {f"server_max_window_bits={number}" for number in range(8, 16)}
    if not set(parameters) <= {"server_no_context_takeover", "client_no_context_takeover", *bits}:
        raise Violation(0, f"bad parameters: {values[0]}")
    return True


async def checked_handshake(stream: Stream, key: str, rules: Rules) -> bool:
    while True:
        head = await stream.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        if not first.startswith(("HTTP/1.1 100 ", "HTTP/1.1 103 ")):
            break
    if not first.startswith(("HTTP/1.1 101 ", "HTTP/1.0 101 ")):
        rules.refuse("status")
    fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
    accepts = [value for name, value in fields if name == "sec-websocket-accept"]
    if not accepts:
        rules.refuse("no accept")
    elif len(accepts) > 1:
        rules.refuse("accept twice")
    elif accepts != [accept]:
        rules.refuse("case of accept" if accepts[0].lower() == accept.lower() else "accept")
    if tokens(fields, "upgrade") != ["websocket"]:
        rules.refuse("upgrade")
    if "upgrade" not in tokens(fields, "connection"):
        rules.refuse("connection")
    if any(name == "sec-websocket-protocol" for name, _ in fields):
        rules.refuse("protocol")
    try:
        return agreed(fields)
    except Violation:
        rules.refuse("extension")
        return True


class Messages:
    """Frames put together, with all that RFC 6455 and RFC 7692 check."""

    def __init__(self, deflate: bool, rules: Rules) -> None:
        self.deflate = deflate
        self.rules = rules
        self.inflater = zlib.decompressobj(-15)
        self.kind = 0
        self.compressed = False
        self.size = 0
        self.data = b""
        self.fragments = 0

    async def next_frame(self, stream: Stream) -> tuple[int, bytes]:
        """(opcode, payload) of the next control frame or whole message."""
        while True:
            first, second = await stream.read(2)
            opcode, fin, rsv1, masked = first & 15, bool(first & 0x80), bool(first & 0x40), bool(second & 0x80)
            is_unknown = opcode in (*range(3, 8), *range(11, 16))
            for rule, broken in (
                ("rsv1", rsv1 and (not self.deflate or opcode not in (TEXT, BINARY))),
                ("rsv2", first & 0x20),
                ("rsv3", first & 0x10),
                ("mask", masked),
                ("opcode", is_unknown),
                ("fin", opcode >= 8 and not fin),
                ("control size", opcode >= 8 and second & 0x7F > 125),
                ("continuation", opcode == 0 and not self.kind),
                ("inside", 0 < opcode < 8 and self.kind),
            ):
                if broken:
                    self.rules.refuse(rule)
            length = await self.length(stream, second & 0x7F)
            if self.size + length > LIMIT:
                self.rules.refuse("limit", 1009)
            key = await stream.read(4 * masked)
            payload = await stream.read(length)
            if masked:
                payload = bytes(octet ^ key[index % 4] for index, octet in enumerate(payload))
            if is_unknown:
                continue
            if opcode >= 8:
                return opcode, payload
            if opcode or not self.kind:
                self.kind, self.compressed, self.data, self.size, self.fragments = opcode or BINARY, rsv1, b"", 0, 0
            self.size += length
            self.fragments += 1
            self.data += self.inflated(payload, fin) if self.compressed and self.deflate else payload
            self.check_text(fin)
            if fin:
                kind, self.kind, self.size = self.kind, 0, 0
                return kind, self.data

    async def length(self, stream: Stream, length: int) -> int:
        if length == 126:
            (length,) = struct.unpack("!H", await stream.read(2))
            if length < 126:
                self.rules.refuse("length")
        elif length == 127:
            (length,) = struct.unpack("!Q", await stream.read(8))
            if length < 2**16:
                self.rules.refuse("length")
            if length >= 2**63:
                self.rules.refuse("highest bit")
                length -= 2**63
        return length

    def inflated(self, payload: bytes, fin: bool) -> bytes:
        data = payload + b"\x00\x00\xff\xff" * fin
        try:
            found = self.inflater.decompress(data, LIMIT - len(self.data) + 1)
            if self.inflater.eof:
                self.inflater = zlib.decompressobj(-15)
        except zlib.error:
            self.rules.refuse("deflate", 1007)
            return b""
        if len(found) + len(self.data) > LIMIT:
            self.rules.refuse("bomb", 1009)
        return found

    def check_text(self, fin: bool) -> None:
        if self.kind == TEXT:
            try:
                self.data.decode()
            except UnicodeDecodeError as exc:
                if exc.reason == "unexpected end of data":
                    if fin:
                        self.rules.refuse("end of text", 1007)
                elif fin or "text early" not in self.rules.lenient:
                    self.rules.refuse("text", 1007)
                if fin:
                    self.data = self.data.decode(errors="replace").encode()


def answer_to_close(payload: bytes, rules: Rules) -> bytes:
    if not payload:
        return b""
    if len(payload) == 1:
        rules.refuse("size of close")
        return b""
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        rules.refuse("reason", 1007)
    if int.from_bytes(payload[:2], "big") not in CODES:
        rules.refuse("code")
        return b""
    return payload[:2]


async def conversation(stream: Stream, deflate: bool, rules: Rules) -> None:
    messages = Messages(deflate, rules)
    while True:
        opcode, payload = await messages.next_frame(stream)
        if opcode == PING:
            if "pings at once" not in rules.lenient or not messages.kind:
                await stream.send(PONG, payload)
        elif opcode == CLOSE:
            await stream.send(CLOSE, answer_to_close(payload, rules))
            return
        elif opcode in (TEXT, BINARY):
            for _ in range(2 if "once" in rules.lenient else 1):
                await stream.send(opcode, payload)


async def careful(url: str, lenient: Collection[str] = ()) -> None:
    """The client that does what RFC 6455 says.

    Args:
        url: The URL.
        lenient: The rules that it does not know. Default: none.
    """
    rules = Rules(lenient)
    key = base64.b64encode(os.urandom(16)).decode()
    stream = await opened(url, key, offer=True)
    try:
        deflate = await asyncio.wait_for(checked_handshake(stream, key, rules), PATIENCE)
        try:
            await conversation(stream, deflate, rules)
        except Violation as exc:
            await stream.send(CLOSE, struct.pack("!H", exc.args[0]))
        while await asyncio.wait_for(stream.reader.read(2**16), PATIENCE):
            pass  # the server ends TCP first
    except (Violation, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        pass
    finally:
        stream.writer.close()


# ---- and not ------------------------------------------------------------------------------


async def sloppy(url: str, masked: bool = True, behind: bytes = b"") -> None:
    """A client that checks nothing: whatever the server answers is a 101, and whatever comes is a message. It does not
    notice the end of a connection without a Close."""
    stream = await opened(url, "dGhlIHNhbXBsZSBub25jZQ==", offer=True)
    try:
        with suppress(asyncio.LimitOverrunError):
            await stream.reader.readuntil(b"\r\n\r\n")
        while True:
            first, has_mask, length = await stream.header()
            key = await stream.read(4 * has_mask)
            payload = await stream.read(min(length, 2**24))
            opcode = first & 15
            if opcode == PING:
                await stream.send(PONG, payload, masked)
            elif opcode == CLOSE:
                await stream.send(CLOSE, payload, masked)
                if behind:
                    await stream.send(TEXT, behind, masked)
                await stream.reader.read()
                return
            elif opcode != PONG:
                await stream.send(TEXT, payload or key, masked)
    except (asyncio.IncompleteReadError, OSError):
        await asyncio.sleep(60)
    finally:
        stream.writer.close()


async def unmasked(url: str) -> None:
    """A client that does not mask."""
    await sloppy(url, masked=False)


async def talkative(url: str) -> None:
    """A client that goes on behind its Close."""
    await sloppy(url, behind=b"and another thing")


async def leaving(url: str) -> None:
    """A client that resets TCP when it has read the response."""
    stream = await opened(url, "dGhlIHNhbXBsZSBub25jZQ==", offer=False)
    await stream.reader.readuntil(b"\r\n\r\n")
    linger = struct.pack("ii", 1, 0)  # seconds
    stream.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.writer.transport.abort()


async def closing(url: str) -> None:
    """A client that closes when it has read the response."""
    stream = await opened(url, "dGhlIHNhbXBsZSBub25jZQ==", offer=False)
    try:
        await stream.reader.readuntil(b"\r\n\r\n")
        await stream.send(CLOSE, b"\x03\xe8")
        await stream.reader.read()
    finally:
        stream.writer.close()
