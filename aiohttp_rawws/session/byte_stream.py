"""``as_stream()``: a session as asyncio's reader and writer of bytes, for programs that speak over TCP.

``FrameTransport`` stands where the transport of a socket would: asyncio's own ``StreamReaderProtocol`` and
``StreamWriter`` do the rest, so that they behave as ever. Bytes that are written become frames, payloads become bytes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..errors import ChannelOverflow, ConnectionLost, PeerError, SessionClosed
from ..wire.codec import Frame, FrameChunk
from ..wire.codes import CloseCode, CloseReason, Opcode
from .gates import Gate
from .reasons import checked_reason, reason_for, to_raise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from typing_extensions import Buffer

    from .connection import Connection

FRAME_SIZE = 64 * 1024  # bytes
READER_LIMIT = 64 * 1024  # bytes, as asyncio has it
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024  # bytes before the session, above and below which writing is paused
ORDERLY = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS})  # closes that are an end of file
OtherKind = Literal["refuse", "take"]


class ByteSession(Protocol):
    """The part of a session that a byte stream uses. Raw and managed sessions have it."""

    def listen(self, listener: Any, /) -> Awaitable[None]: ...
    def send(self, item: Any) -> Awaitable[None]: ...
    def send_nowait(self, item: Any) -> None: ...
    def can_send_now(self, item: Any) -> bool: ...
    def close_nowait(self, reason: Any, /) -> None: ...
    def abort(self) -> None: ...


class RawSession(ByteSession, Protocol):
    """The part of a raw session that a byte stream uses."""

    @property
    def connection(self) -> Connection: ...
    def wait_closed(self) -> Awaitable[None]: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class FrameReader(asyncio.StreamReader):
    """asyncio's reader. An error at the end is raised when all bytes that came before it have been read."""

    _failure: Exception | None = None

    def set_exception(self, exc: Exception) -> None:
        self._failure = exc
        self.feed_eof()

    def exception(self) -> Exception | None:
        return self._failure

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise to_raise(self._failure, None)  # a copy: its traceback holds the reader

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        if not data and n != 0:
            self._check_failure()
        return data

    async def readexactly(self, n: int) -> bytes:
        try:
            return await super().readexactly(n)
        except asyncio.IncompleteReadError as exc:
            if not exc.partial:
                self._check_failure()
            raise

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        try:
            return await super().readuntil(separator)
        except asyncio.IncompleteReadError as exc:
            if not exc.partial:
                self._check_failure()
            raise


class FrameWriter(asyncio.StreamWriter):
    """asyncio's writer. ``write()`` sends frames, ``write_eof()`` and ``close()`` send a Close with 1000.

    Bytes that are written after the peer's Close are dropped, and ``drain()`` raises ConnectionResetError then.
    """

    async def drain(self) -> None:
        """Wait until the peer has read on, so that less than 64 KiB wait.

        Raises:
            ConnectionResetError: The peer has closed, the connection is lost, or bytes that were written were dropped.
        """
        transport = self.transport
        if isinstance(transport, FrameTransport):
            transport.check_writable()
        try:
            await super().drain()
        except ConnectionLost as exc:
            raise ConnectionResetError(str(exc)) from None
        if isinstance(transport, FrameTransport):
            transport.check_dropped()  # in asyncio, too, a drain() that waits fails with the connection


def check_arguments(kind: Opcode, frame_size: int, other_kind: str) -> None:
    """Check the arguments of ``as_stream()``. Raise ValueError or TypeError for a wrong one."""
    if kind not in (Opcode.TEXT, Opcode.BINARY):
        raise ValueError(f"kind must be Opcode.TEXT or Opcode.BINARY, not {kind.name}")
    if isinstance(frame_size, bool) or not isinstance(frame_size, int):
        raise TypeError(f"frame_size must be a number of bytes, not {frame_size!r}")
    least = 4 if kind is Opcode.TEXT else 1  # a character
    if frame_size < least:
        raise ValueError(f"frame_size must be at least {least}, not {frame_size}")
    if other_kind not in ("refuse", "take"):
        raise ValueError(f'other_kind must be "refuse" or "take", not {other_kind!r}')


def whole_characters(text: bytearray, size: int) -> int:
    """Return how many of the first ``size`` bytes of ``text``, which is UTF-8, are whole characters."""
    start = size
    while start > max(size - 4, 0) and text[start - 1] & 0xC0 == 0x80:
        start -= 1  # back to the first byte of the last character
    if start:
        first = text[start - 1]
        needed = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        if size - start + 1 < needed:
            return start - 1
    return size


class FrameTransport(asyncio.Transport):
    """The transport of a byte stream over a session."""

    def __init__(self, session: Any, raw: Any, *, kind: int, frame_size: int, other_kind: OtherKind) -> None:
        super().__init__()
        self._kind = Opcode(kind)
        check_arguments(self._kind, frame_size, other_kind)
        self._session: ByteSession | None = session  # until the connection is lost: it refers to this transport, too
        self._raw: RawSession = raw  # the same, or the raw session below it
        self._connection = raw.connection
        self._is_raw = raw is session
        self._frame_size = frame_size
        self._takes_all = other_kind == "take"
        self._loop = asyncio.get_running_loop()
        self._protocol: Any = None
        self._buffer = bytearray()  # written, and not yet accepted by the session
        self._pump: asyncio.Task[None] | None = None  # sends the buffer
        self._watch: asyncio.Task[None] | None = None  # waits for the end
        self._gate = Gate(self._connection)
        self._high, self._low = HIGH_WATER, LOW_WATER
        self._paused = False  # the protocol has been told to pause
        self._write_ended = False  # by write_eof() or close()
        self._has_dropped = False  # bytes that were written before that
        self._closing = False
        self._input_ended = False
        self._wants_more = True
        self._reported: ConnectionLost | None = None  # the error at the end of the input
        self._error: Exception | None = None

    def start(self, protocol: asyncio.StreamReaderProtocol) -> None:
        """Take the frames of the session from now on."""
        self._protocol = protocol
        protocol.connection_made(self)
        if self._is_raw:
            self._connection.parser.chunk_above = 0  # a large frame is read as it comes
        assert self._session is not None
        try:
            listening = self._session.listen(self._on_frame if self._is_raw else self._on_message)
        except BaseException:
            self._protocol = None  # it refers to this transport, too
            raise
        self._watch = self._loop.create_task(self._until_end(listening), name="rawws-byte-stream")

    # ---- frames in --------------------------------------------------------------------

    def _on_message(self, message: Frame) -> None:
        self._on_data(message.kind, message.payload)

    def _on_frame(self, item: Frame | FrameChunk) -> None:
        """Take a frame of a raw session, on which nobody else answers pings and the Close."""
        if isinstance(item, FrameChunk):
            self._on_data(item.header.kind, item.payload)
        elif not item.opcode.is_control:
            self._on_data(item.kind, item.payload)
        elif item.opcode is Opcode.PING:
            pong = Frame.pong(item.payload)
            if self._raw.can_send_now(pong) and not self._connection.send_phase:
                self._raw.send_nowait(pong)
        elif item.opcode is Opcode.CLOSE:
            try:
                reason = checked_reason(item.payload)
            except PeerError as exc:
                self._error = exc
                reason = reason_for(exc)
            self._raw.close_nowait(None if reason.code == CloseCode.NO_STATUS else reason)
            self._connection.disconnect(keep_received=True)

    def _on_data(self, kind: Opcode, payload: bytes) -> None:
        if self._closing or self._error is not None or not payload:
            return  # an empty frame is no end of file
        if kind is not self._kind and not self._takes_all:
            text = f"A {kind.name} frame in a stream of {self._kind.name} frames"
            self._error = ValueError(text)
            self._close(CloseReason(CloseCode.CANNOT_ACCEPT, text), end=True)
            self._report_end()  # the peer may take long to answer the Close
            return
        self._protocol.data_received(payload)

    async def _until_end(self, listening: Awaitable[None]) -> None:
        """Report the end of the input, and then that of the connection."""
        try:
            await listening
        except Exception as exc:
            if not self._input_ended:
                self._error = exc
        self._report_end()
        await self._raw.wait_closed()
        self._session = None
        if self._buffer:
            self._drop()
        protocol, self._protocol = self._protocol, None  # it refers to this transport, too
        protocol.connection_lost(self._reported)

    def _report_end(self) -> None:
        """Tell the reader how the input has ended, once."""
        if self._input_ended:
            return
        self._input_ended = True
        self._reported = self._end_error()
        if self._reported is None:
            self._protocol.eof_received()
        else:
            self._protocol.stream_failed(self._reported)

    def _end_error(self) -> ConnectionLost | None:
        """The error for the end of the input, None for an orderly one."""
        connection, state = self._connection, self._connection.state()
        if self._error is None:
            if state.received is not None and state.received.code in ORDERLY:
                return None
            if self._closing and not connection.dropped:
                return None
        cause: BaseException = connection.closed_error() if self._error is None else self._error
        codes = {"received": getattr(state.received, "code", None), "sent": getattr(state.sent, "code", None)}
        error = ConnectionLost(str(cause), **codes)
        error.__cause__ = cause
        connection.own(error)
        return error

    def pause_reading(self) -> None:
        self._wants_more = False
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, not before the loop runs: the reader does not expect bytes inside this call."""
        if not self._wants_more:
            self._wants_more = True
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._wants_more:
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        return not self._connection.reading_paused

    # ---- bytes out --------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Send ``data`` in frames. It is dropped if nothing more can be sent, as asyncio's transports do."""
        view = memoryview(data)
        if self._closing:
            return  # as it is there after close()
        if self._write_ended:
            raise RuntimeError("write() after write_eof()")
        if self._connection.send_phase or self._session is None:
            self._has_dropped = self._has_dropped or view.nbytes > 0
            return
        self._buffer += view
        self._send_buffer()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """Send all of these in one go."""
        self.write(b"".join(list_of_data))

    def _send_buffer(self) -> None:
        if self._pump is not None or self._session is None:
            self._check_pause()
            return
        while not self._connection.write_paused and (frame := self._next_frame()) is not None:
            if not self._session.can_send_now(frame):
                self._buffer[:0] = frame.payload
                break
            try:
                self._session.send_nowait(frame)
            except (SessionClosed, ChannelOverflow):
                self._drop()
        if self._next_size():
            self._pump = self._loop.create_task(self._send_rest(), name="rawws-byte-stream-sender")
        elif self._write_ended:
            self._end_output()
        self._check_pause()

    async def _send_rest(self) -> None:
        try:
            while True:
                await self._gate.room()
                frame = self._next_frame()
                if frame is None or self._session is None:
                    break
                await self._session.send(frame)
                self._check_pause()
        except (SessionClosed, ChannelOverflow):
            self._drop()
        finally:
            self._pump = None
            self._check_pause()
        if self._write_ended:
            self._end_output()

    def _drop(self) -> None:
        """Forget what was written and cannot be sent any more."""
        self._buffer.clear()
        self._has_dropped = True

    def _next_size(self) -> int:
        """Bytes of the next frame. A Text frame ends behind a character: the peer reads each as a whole."""
        size = min(len(self._buffer), self._frame_size)
        if self._kind is Opcode.TEXT and not (self._write_ended and size == len(self._buffer)):
            return whole_characters(self._buffer, size)
        return size

    def _next_frame(self) -> Frame | None:
        size = self._next_size()
        if not size:
            return None
        payload = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return Frame(self._kind, payload)

    def _check_pause(self) -> None:
        size = len(self._buffer)
        if self._protocol is None:
            return
        if not self._paused and size > self._high:
            self._paused = True
            self._protocol.pause_writing()
        elif self._paused and size <= self._low:
            self._paused = False
            self._protocol.resume_writing()

    def check_writable(self) -> None:
        """Raise ConnectionResetError if the peer has closed, or the connection is lost."""
        connection = self._connection
        if connection.outgoing_failure is not None:
            raise ConnectionResetError(str(connection.outgoing_failure))
        has_ended = self._input_ended or connection.close_received is not None or connection.connection_phase
        if has_ended and (connection.dropped or not self._closing):
            raise ConnectionResetError(str(connection.closed_error()))
        self.check_dropped()

    def check_dropped(self) -> None:
        """Raise ConnectionResetError if bytes that were written could not be sent."""
        if self._has_dropped:
            raise ConnectionResetError(str(self._connection.closed_error()))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._check_pause()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    # ---- the end ----------------------------------------------------------------------

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Send a Close with 1000 behind what was written. Bytes of the peer can be read until it closes, too."""
        if not self._write_ended:
            self._write_ended = True
            if self._pump is None:
                self._send_buffer()

    def _end_output(self) -> None:
        self._close(CloseReason(CloseCode.NORMAL), end=self._closing)

    def _close(self, reason: CloseReason, *, end: bool) -> None:
        """Send a Close. ``end``: end the connection, too, which a managed session does after the closing handshake."""
        if self._session is not None:
            self._session.close_nowait(reason)
        if end and self._is_raw:
            self._connection.disconnect()

    def close(self) -> None:
        """Send a Close with 1000 behind what was written, and end the connection. Nothing more is read."""
        if self._closing:
            return
        self._closing = True
        self.resume_reading()  # the peer's Close has to be seen
        if self._write_ended and self._pump is None:
            self._end_output()
        self.write_eof()

    def is_closing(self) -> bool:
        return self._closing or self._connection.connection_phase != 0

    def abort(self) -> None:
        self._closing = self._write_ended = True
        self._buffer.clear()
        if self._session is not None:
            self._session.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information of the transport below the session."""
        return self._raw.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol


class _Protocol(asyncio.StreamReaderProtocol):
    """asyncio's protocol for a pair of streams."""

    def __init__(self, reader: FrameReader) -> None:
        super().__init__(reader)
        self._frame_reader = reader

    def stream_failed(self, exc: Exception) -> None:
        """The input has ended with an error."""
        self._frame_reader.set_exception(exc)


def byte_streams(transport: FrameTransport, limit: int) -> tuple[asyncio.StreamReader, FrameWriter]:
    """Open the pair of streams over ``transport``."""
    loop = asyncio.get_running_loop()
    reader = FrameReader(limit=limit, loop=loop)
    protocol = _Protocol(reader)
    transport.start(protocol)
    return reader, FrameWriter(transport, protocol, reader, loop)
