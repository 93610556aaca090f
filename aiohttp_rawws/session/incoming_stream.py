"""``receive_stream()``: the payload of one frame, or of one message, while it arrives.

A ``StreamSource`` brings the pieces: ``frame_source.py`` those of a frame on a raw session, ``message_source.py`` those
of a message on a managed one.
"""

from __future__ import annotations

import asyncio
import codecs
import operator
from collections import deque
from collections.abc import AsyncIterator
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import FrameTooBig, InvalidPayload, PeerError
from ..wire.codec import FrameHeader
from .awaitables import until_woken
from .connection import READ_BUFFER
from .queues import IncomingQueue
from .reasons import cut_short, to_raise

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

JOINED_BELOW = 16 * 1024  # pieces are joined up to this size if they wait already: a fast peer may send tiny fragments


class StreamSource(Protocol):
    """Where the pieces of one stream come from.

    Attributes:
        loop: The loop of the session.
        queue: The pieces that wait.
        arrived: Bytes that were taken from it.
        size: Bytes in all, None if that is not known yet.
        ended: The last piece was taken.
    """

    loop: asyncio.AbstractEventLoop
    queue: IncomingQueue
    arrived: int
    size: int | None
    ended: bool

    def claim(self) -> None:
        """Keep others from receiving. Raises RuntimeError if somebody does."""

    async def begin(self) -> FrameHeader:
        """Wait for the header."""

    def take(self) -> bytes:
        """Take the piece that waits, which may be empty; set ``ended`` with the last one."""

    def before_waiting(self) -> None:
        """Do what a task that waits must not hold up."""

    def is_over(self) -> bool:
        """True if no further piece will come."""

    def end_error(self) -> BaseException:
        """The error for the end of the session."""

    def refuse(self, error: PeerError) -> None:
        """End the session because the stream is too long."""

    def leave(self) -> None:
        """Let others receive what comes behind this stream. The rest of it is dropped."""


class _State(Enum):
    NEW = "use it as 'async with session.receive_stream() as incoming'"
    OPEN = "it is open"
    LEFT = "its block was left"


class IncomingStream(AsyncIterator[bytes]):
    """The payload of one frame, on a managed session of one message, while it arrives. ``receive_stream()`` makes it.

    ``async with`` waits for the header. Inside the block iterate it, or call its methods, from one task at a time. A
    call that is cancelled loses nothing: the next one goes on at the same byte. When the block is left, the rest is
    dropped as it arrives, and the session receives what comes behind it.

    Each call that gives bytes raises:

    - ConnectionLost or SessionClosed: The session ended inside the stream. ``bytes_received`` and ``size`` of the error
      say how much had arrived. Bytes that arrived are given first.
    - FrameTooBig: The stream has more than ``max_size`` bytes.
    - PeerError: The peer broke the protocol, or a limit.
    - RuntimeError: Another task reads, or the block was left.
    """

    __slots__ = ("_header", "_held", "_max_size", "_received", "_source", "_state")

    def __init__(self, source: Any, max_size: int | None) -> None:
        self._source: StreamSource = source
        self._max_size = max_size
        self._state = _State.NEW
        self._header: FrameHeader | None = None
        self._held: deque[bytes | memoryview] = deque()  # taken from the source, and not given yet
        self._received = 0

    # ---- what it is -------------------------------------------------------------------

    @property
    def header(self) -> FrameHeader:
        """The header of the frame, of a message's first frame. Its ``length`` is the payload as it was sent."""
        if self._header is None:
            raise RuntimeError(f"the stream has no header yet: {self._state.value}")
        return self._header

    @property
    def size(self) -> int | None:
        """Bytes of the whole stream. None if that is not known before its end: the message comes in several frames, or
        compressed."""
        return self._source.size

    @property
    def received(self) -> int:
        """Bytes that were read so far, skipped ones included."""
        return self._received

    # ---- the block --------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise RuntimeError(f"a stream can be entered once, and {self._state.value}")
        source = self._source
        source.claim()
        try:
            self._header = await source.begin()
            if source.size is not None:
                self._check_size(source.size)
        except BaseException:
            self._state = _State.LEFT
            source.leave()
            raise
        self._state = _State.OPEN
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        self._state = _State.LEFT
        self._held.clear()
        queue = self._source.queue
        waiter, queue.waiter = queue.waiter, None
        if waiter is not None and not waiter.done():  # of a task that still reads: it gets a RuntimeError
            waiter.set_result(None)
        self._source.leave()

    # ---- reading ----------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next chunk: what one read of the socket has brought, at most 256 KiB."""
        piece = await self._piece()
        if not piece:
            raise StopAsyncIteration
        return self._given(piece, READ_BUFFER)

    async def read(self, n: int = -1) -> bytes:
        """Read what has arrived; wait if that is nothing.

        Args:
            n: Bytes to read at most. -1: all of the stream, which is waited for. Default: -1.

        Returns:
            1 to ``n`` bytes; empty at the end of the stream.
        """
        n = operator.index(n)  # before anything is taken
        if n == 0:
            return b""
        if n < 0:
            return await self._read_all()
        return self._given(await self._piece(), n)

    def _given(self, piece: bytes | memoryview, n: int) -> bytes:
        """Count at most ``n`` bytes of ``piece`` as read, and keep the others."""
        if len(piece) > n:
            view = memoryview(piece)
            self._held.appendleft(view[n:])
            piece = view[:n]
        self._received += len(piece)
        return bytes(piece)

    async def _read_all(self) -> bytes:
        parts: list[bytes | memoryview] = []
        try:
            while piece := await self._piece():
                parts.append(piece)
        except BaseException:
            self._held.extendleft(reversed(parts))
            raise
        self._received += sum(map(len, parts))
        return b"".join(parts)

    async def readinto(self, buffer: Buffer) -> int:
        """Read into ``buffer`` what has arrived; wait if that is nothing.

        Args:
            buffer: A writable buffer, such as a bytearray, a memoryview of it, or an ``mmap``.

        Returns:
            The number of bytes that were read; 0 at the end of the stream.
        """
        with memoryview(buffer) as whole, whole.cast("B") as view:
            if view.readonly:
                raise TypeError(f"a writable buffer is needed, not {type(buffer).__name__}")
            count = 0
            while count < len(view) and (not count or self._held or self._source.queue.count()):
                piece = await self._piece()
                if not piece:
                    break
                size = min(len(piece), len(view) - count)
                view[count : count + size] = memoryview(piece)[:size]
                if size < len(piece):
                    self._held.appendleft(memoryview(piece)[size:])
                count += size
                self._received += size
        return count

    def text(self, decoder: codecs.IncrementalDecoder | None = None) -> AsyncIterator[str]:
        """Iterate over the stream as text. A character may be cut by chunks, and comes out whole.

        Args:
            decoder: On a raw session, where a fragment may end inside a character: an incremental decoder that goes
                from one frame of the message to the next. Default: one for UTF-8, which the stream has to end in order.

        Returns:
            An async iterator of parts of the text. It raises InvalidPayload at the first byte that is not UTF-8.
        """
        return _Texts(self, decoder)

    async def skip(self) -> int:
        """Read the rest, and throw it away. Leaving the block does so, too, but does not wait.

        Returns:
            The number of bytes that were skipped.
        """
        limit, self._max_size = self._max_size, None
        count = 0
        try:
            while piece := await self._piece():
                count += len(piece)
                self._received += len(piece)
        finally:
            self._max_size = limit
        return count

    async def _piece(self) -> bytes | memoryview:
        """Wait for the next piece that is not empty. Empty at the end."""
        self._check_open()
        if self._held:
            return self._held.popleft()
        source = self._source
        queue = source.queue
        while not source.ended:
            if queue.waiter is not None:
                raise RuntimeError("another task is already reading from this stream")
            if queue.count():
                payload = source.take()
                if payload:
                    if len(payload) < JOINED_BELOW and queue.count():
                        payload = self._joined(payload)
                    if self._max_size is not None:
                        self._check_size(source.arrived)
                    return payload
                continue
            source.before_waiting()
            if queue.count() or source.ended:
                continue
            if source.is_over():
                raise cut_short(source.end_error(), source.arrived, source.size)
            await until_woken(queue, source.loop)
            self._check_open()
        return b""

    def _check_open(self) -> None:
        if self._state is not _State.OPEN:
            raise RuntimeError(f"the stream cannot be read: {self._state.value}")

    def _joined(self, payload: bytes) -> bytes:
        """Join ``payload`` with pieces that wait."""
        source, parts, size = self._source, [payload], len(payload)
        while size < JOINED_BELOW and source.queue.count() and not source.ended:
            payload = source.take()
            parts.append(payload)
            size += len(payload)
        return b"".join(parts)

    def _check_size(self, size: int) -> None:
        if self._max_size is not None and size > self._max_size:
            error = FrameTooBig(size, self._max_size, "max_size")
            self._source.refuse(error)
            raise to_raise(error, None)


class _Texts(AsyncIterator[str]):
    """The iterator of ``IncomingStream.text()``. (A generator would be over when it is cancelled.)"""

    __slots__ = ("_decoder", "_ends", "_stream")

    def __init__(self, stream: IncomingStream, decoder: codecs.IncrementalDecoder | None) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")() if decoder is None else decoder
        self._ends = decoder is None  # the text ends with the stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while chunk := await self._stream.read(READ_BUFFER):
            text = self._decoded(chunk, False)
            if text:
                return text
        text = self._decoded(b"", self._ends or self._stream.header.fin)
        if not text:
            raise StopAsyncIteration
        return text

    def _decoded(self, data: bytes, final: bool) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError as exc:
            raise InvalidPayload(f"Text is not UTF-8: {exc.reason}") from None
