"""A server made of bytes, for tests of clients that need several requests on one connection, or bytes between them.

All others use ``aiohttp_rawws.testing.scripted_server()``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from multidict import CIMultiDictProxy

from aiohttp_rawws.testing import Handshake, HandshakeRequest

from .peers import Peer, certificates

TIMEOUT = 20.0  # seconds; only a fault takes so long

Fields = Mapping[str, str | list[str] | None]


def answering(fields: Fields | None = None, early: bytes = b"") -> Handshake:
    """A 101 with other fields: None takes one out, a list has a line for each value."""
    given = [(name, value if isinstance(value, list) else [value]) for name, value in (fields or {}).items()]
    return Handshake(
        headers=[(name, each) for name, values in given for each in values if each is not None],
        drop=[name for name, values in given if values == [None]],
        early=early,
    )


class HandPeer(Peer):
    """The server's end of one connection.

    Attributes:
        last: The last request.
        line: Its request line.
        fields: Its header fields.
    """

    last: HandshakeRequest

    @property
    def line(self) -> str:
        return self.last.line

    @property
    def fields(self) -> CIMultiDictProxy[str]:
        return self.last.headers

    async def send(self, *data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise ConnectionResetError("the client has gone")  # uvloop would raise a RuntimeError
        await super().send(*data)

    async def request(self) -> CIMultiDictProxy[str]:
        """Read the head of the next request."""
        self.last = HandshakeRequest(await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), TIMEOUT))
        return self.fields

    def head(self, fields: Fields | None = None) -> bytes:
        """The 101 that answers the last request. ``fields`` override its fields; None takes one out."""
        return answering(fields).head(self.last)

    async def accept(self, fields: Fields | None = None, early: bytes = b"") -> None:
        """Read a request and answer it with ``head(fields)``, with ``early`` in the same segment."""
        await self.request()
        await self.send(self.head(fields), early)

    def refusal(self, status: str, fields: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
        """A whole answer."""
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (fields or {}).items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def refuse(self, status: str, fields: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Answer the last request with another status, such as "403 Forbidden"."""
        await self.send(self.refusal(status, fields, body))

    async def frame_of_client(self) -> tuple[int, bytes]:
        """The next frame: (first octet, payload unmasked). It must be masked."""
        first, length = await self.read(2)
        assert length & 0x80, "a client must mask"
        length &= 0x7F
        if length == 126:
            length = int.from_bytes(await self.read(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.read(8), "big")
        key = await self.read(4)
        payload = await self.read(length)
        return first, bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


Script = Callable[[HandPeer], Awaitable[object]]


class HandServer:
    """A running server.

    Attributes:
        port: Its port.
        url: Its URL, ``ws:`` or ``wss:``.
        connections: How many were accepted so far.
        open: How many are open: their script runs, or the other side has not ended them.
    """

    def __init__(self, tls: bool) -> None:
        self.tls = tls
        self.port = 0
        self.connections = 0
        self.open = 0
        self.errors: list[BaseException] = []

    @property
    def url(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}/"


@asynccontextmanager
async def hand_server(script: Script, *, tls: bool = False) -> AsyncIterator[HandServer]:
    """Run ``script(peer)`` for every connection. When it returns, the connection is ended. What it raises fails the
    test, unless that is the loss of the connection."""
    served = HandServer(tls)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        served.open += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = HandPeer(reader, writer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as exc:
            served.errors.append(exc)
        finally:
            served.open -= 1
            writer.close()
            tasks.discard(task)
            try:  # else a reset would be reported as an exception that nobody has retrieved
                await asyncio.wait_for(writer.wait_closed(), 1)
            except (OSError, asyncio.TimeoutError):
                pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificates()[0] if tls else None)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(set(tasks), timeout=TIMEOUT)
    assert not served.errors, served.errors
