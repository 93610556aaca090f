"""Sessions of each kind with a peer, and a connection whose far end is the test itself.

The kinds: "raw"; "applied", a raw session whose extensions were applied; "managed"; "deflate", a managed session that
compresses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from aiohttp_rawws import (
    UNLIMITED,
    CloseReason,
    DefaultWebSocketSession,
    Frame,
    PerMessageDeflate,
    Session,
    SessionOptions,
    WebSocketSession,
    memory_pair,
)
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from aiohttp_rawws.session.running import run_managed, run_session
from aiohttp_rawws.wire.codec import encode_header, is_control

KINDS = ("raw", "applied", "managed", "deflate")
each_kind = pytest.mark.parametrize("kind", KINDS)
raw_and_managed = pytest.mark.parametrize("kind", ["raw", "managed"])
each_managed = pytest.mark.parametrize("kind", ["managed", "deflate"])

LIMIT = 20.0  # seconds that only a fault takes


class Talk(NamedTuple):
    session: Any  # of the kind that is tested, on the server's side
    raw: WebSocketSession  # the same, or what is below it
    peer: WebSocketSession  # raw; it sees every frame


def negotiated(config: PerMessageDeflate) -> tuple[Any, Any]:
    """The two ends of one compression: the server's extensions, and the client's."""
    offer = client_offer_header([config])
    assert offer is not None
    ours, answer = negotiate_server([config], [offer])
    assert answer is not None
    return ours, negotiate_client([config], [answer])


def over(kind: str, raw: WebSocketSession, peer: WebSocketSession | None, config: PerMessageDeflate | None) -> Any:
    """A session of ``kind`` over ``raw``."""
    extensions: Iterable[Any] = ()
    if kind in ("applied", "deflate"):
        extensions, theirs = negotiated(PerMessageDeflate() if config is None else config)
        if peer is not None:
            peer.negotiated_extensions = theirs
            peer.apply_extensions()
    if kind == "applied":
        raw.negotiated_extensions = tuple(extensions)
        raw.apply_extensions()
    return raw if kind in ("raw", "applied") else DefaultWebSocketSession(raw, extensions=extensions)


@asynccontextmanager
async def talking(kind: str, *, config: PerMessageDeflate | None = None, **options: Any) -> AsyncIterator[Talk]:
    """A session with ``options``, and a peer without limits. Neither lasts longer than the block."""
    raw, peer = memory_pair(
        server_options=SessionOptions(**options), client_options=SessionOptions(incoming=UNLIMITED, outgoing=UNLIMITED)
    )
    try:
        yield Talk(over(kind, raw, peer, config), raw, peer)
    finally:
        await end(raw, peer)


async def bounded_wait(awaitable: Any, within: float = LIMIT) -> Any:
    return await asyncio.wait_for(awaitable, within)


async def end(*sessions: Session) -> None:
    """Drop their connections, and wait until nothing of them is left."""
    for session in sessions:
        session.abort()
    for session in sessions:
        await bounded_wait(session.wait_closed())


async def next_reason(session: Session) -> CloseReason:
    """The reason of the Close that is the next to be received."""
    reason = (await bounded_wait(session.receive())).close_reason
    assert reason is not None
    return reason


def count_writes(session: WebSocketSession) -> list[int]:
    """The sizes of what is written from now on."""
    sizes: list[int] = []
    transport: Any = session.transport
    write = transport.write

    def counting(data: bytes) -> None:
        sizes.append(len(data))
        write(data)

    transport.write = counting
    return sizes


async def hang_up(peer: WebSocketSession) -> None:
    """End the peer's side of the stream, behind what it has sent."""
    await bounded_wait(peer.flush())
    peer.transport.write_eof()


def run(session: Any, handle: Any, **how: Any) -> asyncio.Task[None]:
    """``handle`` over ``session``, as a route runs it."""
    runner: Any = run_managed if isinstance(session, DefaultWebSocketSession) else run_session
    return asyncio.get_running_loop().create_task(runner(session, handle, **how))


def waiting(session: WebSocketSession) -> list[Any]:
    """Take what waits: frames, or FrameChunks of one that is inflated."""
    return list(iter(session.receive_nowait, None))


def masked(opcode: int, payload: bytes, **flags: bool) -> bytes:
    """A client's frame. Its masking key is zero, so that the payload reads as it is."""
    return encode_header(opcode, len(payload), masking_key=bytes(4), **flags) + payload


def texts(frames: Iterable[Frame]) -> list[str]:
    """The short data frames among ``frames``, as text."""
    short = [frame for frame in frames if len(frame.payload) < 1000]
    return [frame.text for frame in short if not is_control(frame)]


NOISE = random.Random(1).randbytes(40_000)  # two fill a transport in memory, also if they are compressed


def fill(session: Any) -> None:
    """Send until a data frame would have to wait; ``texts()`` shows nothing of it. The peer does not read."""
    while not session.connection.write_paused:
        session.send_nowait(NOISE)
    while not session.outgoing_full:
        session.send_nowait(NOISE)


class Line(asyncio.Transport):
    """The near end of a connection. The test is the far end: it takes and gives bytes when it likes.

    Attributes:
        held: Bytes that were written and not taken.
        taken: Bytes that were taken.
        has_ended: Our side of the stream was ended.
        lost: The connection is gone.
        aborted: ... because this side dropped it.
        broken: It is lost and has yet to report that, as a TLS transport of Python 3.10 in between.
        writes: How often something was written.
        high: Bytes above which the session has to pause.
    """

    def __init__(self, *, can_write_eof: bool = True, extra: dict[str, Any] | None = None) -> None:
        super().__init__(extra or {})
        self.held = bytearray()
        self.taken = bytearray()
        self.has_ended = self.lost = self.aborted = self.broken = False
        self.writes = 0
        self._loop = asyncio.get_running_loop()
        self._can_write_eof = can_write_eof
        self._protocol: Any = None
        self._closing = self._paused = False
        self._reading = True
        self.high, self._low = 64 * 1024, 16 * 1024

    # ---- what a session asks of it ----------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high, self._low = high or 64 * 1024, low or 16 * 1024

    def get_write_buffer_size(self) -> int:
        self._ask_inner()
        return len(self.held)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        if self.lost or self.aborted:
            return
        self.held += data
        if len(self.held) > self.high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self._can_write_eof

    def write_eof(self) -> None:
        self.has_ended = True

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._ask_inner()
        self._reading = False

    def resume_reading(self) -> None:
        self._ask_inner()
        self._reading = True

    def _ask_inner(self) -> None:
        if self.broken:
            raise AttributeError("'NoneType' object has no attribute of that name")

    def close(self) -> None:
        self._closing = True
        self._finish()

    def abort(self) -> None:
        self._closing = self.aborted = True
        self.held.clear()
        self._loop.call_soon(self.lose)

    # ---- what the far end does --------------------------------------------------------

    def take(self, count: int = 2**40) -> bytes:
        """Take so many bytes, or as many as there are."""
        data = bytes(self.held[:count])
        del self.held[:count]
        self.taken += data
        if self._paused and len(self.held) <= self._low and not self.lost:
            self._paused = False
            self._protocol.resume_writing()
        self._finish()
        return data

    def give(self, data: bytes) -> None:
        """Let ``data`` arrive, whether or not it is read."""
        while data and not self.lost:
            view = self._protocol.get_buffer(-1)
            count = min(len(view), len(data))
            view[:count] = data[:count]
            data = data[count:]
            self._protocol.buffer_updated(count)

    def end(self) -> None:
        """End the far side of the stream."""
        if not self.lost and not self._protocol.eof_received():
            self.close()

    def lose(self, exc: BaseException | None = None) -> None:
        if not self.lost:
            self.lost = self._closing = True
            protocol, self._protocol = self._protocol, None
            protocol.connection_lost(exc)

    def _finish(self) -> None:
        if self._closing and not self.held:
            self._loop.call_soon(self.lose)


@asynccontextmanager
async def on_a_line(
    kind: str, line: Line | None = None, config: PerMessageDeflate | None = None, **options: Any
) -> AsyncIterator[tuple[Any, Line]]:
    """A session over a ``Line``."""
    line = Line() if line is None else line
    raw = WebSocketSession(line, options=SessionOptions(**options))
    session = over(kind, raw, None, config)
    raw.start()
    try:
        yield session, line
    finally:
        await end(raw)
