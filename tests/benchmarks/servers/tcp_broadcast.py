"""The ceiling of a broadcast: an asyncio.Protocol that writes ready bytes to every transport and does nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

from serving import BACKLOG, HOST, serve

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
transports: set[Any] = set()


class Subscriber(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        if self.is_open:
            length, start = (data[1] & 127, 2) if data[1] & 127 < 126 else (int.from_bytes(data[2:4], "big"), 4)
            key, payload = data[start : start + 4], data[start + 4 :]
            plain = bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))
            wire = data[:1] + bytes([data[1] & 127]) + data[2:start] + plain
            assert len(plain) == length, "the load generator sends one frame at a time"
            for transport in transports:
                transport.write(wire)
            return
        key = data.split(b"Sec-WebSocket-Key:")[1].split(b"\r\n")[0].strip()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.is_open = True
        transports.add(self.transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        transports.discard(self.transport)


async def start() -> int:
    server = await asyncio.get_running_loop().create_server(Subscriber, HOST, 0, backlog=BACKLOG)
    return int(server.sockets[0].getsockname()[1])


serve(start)
