"""A raw session over a pair of asyncio streams, such as a TCP or TLS connection, a pipe or an SSH channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from .options import SessionOptions, SessionOptionsDict
from .raw import WebSocketSession
from .transports import abort, bytes_unsent

if TYPE_CHECKING:
    from typing_extensions import Unpack

READ_SIZE = 64 * 1024


class AsyncReader(Protocol):
    """The reader of a stream, such as ``asyncio.StreamReader``."""

    def read(self, n: int, /) -> Awaitable[bytes]:
        """Return at most ``n`` bytes when some have come, and b"" at the end of the stream."""


class AsyncWriter(Protocol):
    """The writer of a stream, such as ``asyncio.StreamWriter``."""

    def write(self, data: bytes, /) -> object:
        """Send ``data``, or keep it until it can be sent."""

    def drain(self) -> Awaitable[object]:
        """Wait until more can be written."""

    def close(self) -> object:
        """Close the stream."""


class StreamTransport(asyncio.Transport):
    """An asyncio transport over a reader and a writer."""

    def __init__(self, reader: AsyncReader, writer: AsyncWriter) -> None:
        """
        Args:
            reader: The reader.
            writer: The writer. If it has them, ``async wait_closed()``, ``can_write_eof()``, ``write_eof()``,
                ``get_extra_info()`` and ``transport`` are used, too.

        Raises:
            TypeError: One of them lacks a method.
        """
        super().__init__()
        for name, stream, methods in (("reader", reader, ("read",)), ("writer", writer, ("write", "drain", "close"))):
            for method in methods:
                if not callable(getattr(stream, method, None)):
                    raise TypeError(f"{name} must be a stream, and {stream!r} has no {method}()")
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer: Any = writer  # it may have more than an AsyncWriter
        self._protocol: Any = None
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False
        self._lost = False
        self._undrained = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._paused = False
        self._pump: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        if self._pump is None:
            self._pump = self._loop.create_task(self._read(), name="rawws-stream-reader")

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        asked = getattr(self._writer, "get_extra_info", None)
        try:
            return default if asked is None else asked(name, default)
        except AttributeError:  # of a closed TLS transport, before Python 3.12
            return default

    def is_closing(self) -> bool:
        return self._closing

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                data = await self._reader.read(READ_SIZE)
                if not data:
                    break
                await self._reading.wait()
                self._protocol.feed(data)
        except (Exception, asyncio.CancelledError) as exc:  # the reader may be of another library, with its own errors
            self._lose(exc)
            return
        if not self._lost and not self._protocol.eof_received():
            self.close()

    def is_reading(self) -> bool:
        return self._reading.is_set()

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._lost:
            return
        try:
            self._writer.write(bytes(data))
        except Exception as exc:
            self._closing = True  # the session checks it after a write
            self._loop.call_soon(self._lose, exc)
            return
        self._undrained += len(data)
        if self._draining is None:
            if self._undrained <= self._high and not self._buffered():
                self._undrained = 0
                return
            self._draining = self._loop.create_task(self._drain(), name="rawws-stream-drain")
        if self._undrained > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def _buffered(self) -> int:
        """Return the bytes that the writer has not sent. If that is unknown, return 1, so that drain() is called."""
        transport = getattr(self._writer, "transport", None)
        return 1 if transport is None else bytes_unsent(transport)

    async def _drain(self) -> None:
        try:
            while self._undrained:
                self._undrained = 0
                await self._writer.drain()
        except (Exception, asyncio.CancelledError) as exc:
            self._lose(exc)
            return
        finally:
            self._draining = None
        if self._paused and not self._lost:
            self._paused = False
            self._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        transport = getattr(self._writer, "transport", None)
        return self._undrained if transport is None else bytes_unsent(transport)

    def can_write_eof(self) -> bool:
        asked = getattr(self._writer, "can_write_eof", None)
        return False if asked is None else bool(asked())

    def write_eof(self) -> None:
        try:
            self._writer.write_eof()
        except Exception as exc:
            self._closing = True
            self._loop.call_soon(self._lose, exc)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._ending = self._loop.create_task(self._close(), name="rawws-stream-close")

    async def _close(self) -> None:
        exc: BaseException | None = None
        try:
            if self._draining is not None:
                await asyncio.wait([self._draining])
            self._writer.close()
            if hasattr(self._writer, "wait_closed"):
                await self._writer.wait_closed()
        except (Exception, asyncio.CancelledError) as error:
            exc = error
        self._lose(exc)

    def abort(self) -> None:
        self._closing = True
        transport = getattr(self._writer, "transport", None)
        if transport is not None:
            abort(transport)
        else:
            self._close_writer()
        self._loop.call_soon(self._lose, None)

    def _close_writer(self) -> None:
        try:
            self._writer.close()
        except Exception:  # the connection is lost already
            pass

    def _lose(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        for task in (self._pump, self._draining, self._ending):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        if exc is not None:
            self._close_writer()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)


class RawWebSocket(WebSocketSession):
    """A raw session over a reader and a writer. There is no opening handshake, and reading starts at once.

    *You receive control frames, fragments stay separate, and you do the closing handshake.*
    """

    __slots__ = ()

    def __init__(
        self,
        reader: AsyncReader,
        writer: AsyncWriter,
        *,
        server: bool = True,
        new_masking_key: Callable[[], bytes] | None = None,
        **options: Unpack[SessionOptionsDict],
    ) -> None:
        """
        Args:
            reader: An ``asyncio.StreamReader``, or any object with ``async read(n) -> bytes``.
            writer: An ``asyncio.StreamWriter``, or any object with ``write(data)``, ``async drain()`` and ``close()``.
            server: This is the server's side: the peer must mask its frames, and ours are not masked. Default: True.
            new_masking_key: A function that returns 4 bytes, for tests. Default: None (random keys).
            options: Options of ``SessionOptions``, as keywords.

        Raises:
            TypeError: An option is unknown or of the wrong type, or ``reader`` or ``writer`` lacks a method.
            ValueError: An option is out of range.
        """
        settings = SessionOptions.of(options)
        transport = StreamTransport(reader, writer)
        super().__init__(transport, server=server, options=settings, new_masking_key=new_masking_key)
        self.start()
