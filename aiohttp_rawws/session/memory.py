"""Two connected sessions in one process, without a socket. Most tests of this package use them, and yours can."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from .options import SessionOptions, SessionOptionsDict
from .raw import WebSocketSession

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MemoryTransport(asyncio.Transport):
    """One end of an in-memory stream that behaves like TCP: ordered bytes, half-close, reset, flow control.

    Bytes are delivered by the loop, never inside ``write()``. Writes of one iteration of the loop arrive together.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        super().__init__({"peername": ("memory", name), "sockname": ("memory", name)})
        self._loop = loop
        self._peer: MemoryTransport | None = None
        self._protocol: Any = None
        self._inbox = bytearray()  # written by the peer, not yet delivered here
        self._inbox_ended = False
        self._eof_delivered = False
        self._delivery: asyncio.Handle | None = None
        self._reading = True
        self._closing = self._aborted = False
        self._write_ended = False
        self._lost = False
        self._low, self._high = 16 * 1024, 64 * 1024
        self._paused_writer = False

    @classmethod
    def pair(cls) -> tuple[MemoryTransport, MemoryTransport]:
        """Return the two ends of one stream."""
        loop = asyncio.get_running_loop()
        first, second = cls(loop, "first"), cls(loop, "second")
        first._peer, second._peer = second, first
        return first, second

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._schedule()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def is_closing(self) -> bool:
        return self._closing

    # ---- writing ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._write_ended:
            raise RuntimeError("write() after write_eof()")
        peer = self._peer
        if self._lost or not data:
            return
        if peer is None or peer._lost:
            self._loop.call_soon(self._lose, ConnectionResetError("the other end is gone"))
            return
        peer._inbox += data
        if len(peer._inbox) > self._high and not self._paused_writer:
            self._paused_writer = True
            self._protocol.pause_writing()
        peer._schedule()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return 0 if self._peer is None else len(self._peer._inbox)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._write_ended:
            return
        self._write_ended = True
        if self._peer is not None:
            self._peer._inbox_ended = True
            self._peer._schedule()

    # ---- reading ----------------------------------------------------------------------

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def _schedule(self) -> None:
        if self._delivery is None and self._protocol is not None and not self._lost:
            self._delivery = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self._lost or not self._reading:
            return
        if self._inbox:
            view = self._protocol.get_buffer(-1)
            count = min(len(view), len(self._inbox))
            view[:count] = self._inbox[:count]
            del self._inbox[:count]
            try:
                self._protocol.buffer_updated(count)
            except Exception as exc:
                self._loop.call_exception_handler({"message": "buffer_updated() failed", "exception": exc})
                self._lose(exc)
                return
            self._relieve_writer()
        if self._inbox:
            self._schedule()
        elif self._inbox_ended and not self._eof_delivered:
            self._eof_delivered = True
            if not self._protocol.eof_received():
                self.close()
        if self._peer is not None and self._peer._closing:
            self._peer._finish_close()

    def _relieve_writer(self) -> None:
        writer = self._peer
        if writer is not None and writer._paused_writer and len(self._inbox) <= writer._low:
            writer._paused_writer = False
            if not writer._aborted and not writer._lost:
                writer._protocol.resume_writing()

    # ---- the end ----------------------------------------------------------------------

    def close(self) -> None:
        """Deliver the bytes that were written, then end both directions."""
        if self._closing:
            return
        self._closing = True
        self._reading = False
        self.write_eof()
        self._finish_close()

    def _finish_close(self) -> None:
        if not self._lost and (self._peer is None or self._peer._lost or not self._peer._inbox):
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Drop all bytes that were not delivered. The other end gets ConnectionResetError."""
        self._closing = self._aborted = True
        peer = self._peer
        if peer is not None and not peer._lost:
            peer._inbox.clear()
            self._loop.call_soon(peer._lose, ConnectionResetError("the other end aborted"))
        self._loop.call_soon(self._lose, None)

    def _lose(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        self._inbox.clear()
        self._relieve_writer()
        peer, self._peer = self._peer, None
        if peer is not None and not peer._lost:
            peer._inbox_ended = True
            peer._schedule()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)


class MemoryPair(NamedTuple):
    """Two connected sessions, made by ``memory_pair()``.

    Attributes:
        server: The session with the server's role.
        client: The session with the client's role.
    """

    server: WebSocketSession
    client: WebSocketSession


def memory_pair(
    *,
    server_options: SessionOptions | None = None,
    client_options: SessionOptions | None = None,
    **options: Unpack[SessionOptionsDict],
) -> MemoryPair:
    """Connect two raw sessions in memory: ``server, client = memory_pair()``. They are open, without a handshake.

    A loop must be running. End each session with ``await session.end()`` or ``session.abort()``.

    Args:
        server_options: The options of the server's side. Default: None (``options``).
        client_options: The options of the client's side. Default: None (``options``).
        options: Options of ``SessionOptions`` for both sides, as keywords.

    Returns:
        The two sessions.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: An option is out of range.
    """
    for name, value in (("server_options", server_options), ("client_options", client_options)):
        if value is not None and not isinstance(value, SessionOptions):
            raise TypeError(f"{name} must be SessionOptions or None, not {value!r}")
    both = SessionOptions.of(options)
    first, second = MemoryTransport.pair()

    pair = MemoryPair(
        WebSocketSession(first, server=True, options=server_options or both),
        WebSocketSession(second, server=False, options=client_options or both),
    )
    pair.server.start()
    pair.client.start()
    return pair
