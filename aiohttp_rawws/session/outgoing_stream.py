"""``open_stream()``: a message that is sent while it is made, in constant memory."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame
from ..wire.codes import CloseCode, Opcode
from .gates import Gate, check_extensions

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer, Self

FRAGMENT_SIZE = 64 * 1024  # bytes
PIECE = 64 * 1024  # bytes of a frame of known length that are written at once
YIELD_EVERY_BYTES = 2**20  # a stream that never has to wait lets other tasks run after so many
INCOMPLETE = "a write() of this stream failed or was cancelled, so the message cannot be completed"
BUSY = "another task is already writing to this stream"


class OutgoingStream:
    """A message that is sent in parts, made by ``open_stream()``.

    ``async with session.open_stream() as out: await out.write(data)``. The block is this message's turn to send: other
    senders wait for its end. Calls of ``write()`` come from one task at a time.

    If the block is left by an exception, the message cannot be completed. Fragments: the session is closed with 1011,
    unless the exception is a cancellation, or of this session. A frame of known length: the connection is aborted. If
    nothing of the message has left, nothing happens.

    Attributes:
        length: Bytes of the frame, or None for fragments.
        sent: Bytes that ``write()`` has taken so far.
        is_prompt: Bytes that are held for a fragment leave as soon as the loop runs. May be set. Default: True.
    """

    def __init__(
        self,
        gate: Any,
        close: Callable[[int], object],
        *,
        opcode: int,
        length: int | None,
        rsv: tuple[bool, bool, bool],
        fragment_size: int,
        compress: bool | None,
    ) -> None:
        self._kind = Opcode(opcode)
        if self._kind.is_control or self._kind is Opcode.CONTINUATION:
            raise ValueError(f"a stream begins with a data frame, such as TEXT or BINARY, not {self._kind.name}")
        if isinstance(fragment_size, bool) or not isinstance(fragment_size, int):
            raise TypeError(f"fragment_size must be a number of bytes, not {fragment_size!r}")
        if fragment_size < 1:
            raise ValueError(f"fragment_size must be at least 1 byte, not {fragment_size}")
        if length is not None:
            length = operator.index(length)
            if not 0 <= length < 1 << 63:
                raise ValueError(f"a frame cannot be {length} bytes long")
            if compress:
                raise ValueError("a frame of known length is not compressed: leave out length, or compress")
            check_extensions(gate.extensions, rsv)
        self.length: int | None = length
        self.sent: int = 0
        self._gate: Gate = gate
        self._connection = gate.connection
        self._close = close
        self._rsv = rsv
        self._fragment_size = fragment_size
        self._compress = compress
        self._held: list[bytes | memoryview] = []  # of the next fragment
        self._held_size = 0
        self._asked_at = 0  # bytes that were held when the extensions were asked for the last time
        self._ended = False  # all of it has
        self._is_used = False
        self._is_open = False
        self._is_sending = False
        self._since_yield = 0
        self.is_prompt: bool = True
        self._handle: asyncio.Handle | None = None
        self._room: asyncio.Future[None] | None = None  # what is held waits for the transport
        self._error: BaseException | None = None  # of what left promptly

    # ---- the block --------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Wait for this message's turn.

        Raises:
            SessionClosed: Nothing more can be sent.
            RuntimeError: A message is open, or this stream has been used.
        """
        if self._is_used:
            raise RuntimeError("a stream is for one message: open another one")
        self._is_used = True
        await self._gate.enter()
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send the rest of the message.

        Raises:
            ValueError: Bytes of the announced length are missing. The connection was aborted, if the frame was begun.
            SessionClosed: The session has ended.
        """
        try:
            if exc is None:
                await self._finish()
            else:
                self._fail(exc)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._is_open = False
            self._ended = True
            self._stop_timer()
            self._held.clear()
            self._gate.leave()

    async def _finish(self) -> None:
        self._begin_sending()
        if self.length is None:
            await self._send_held(fin=True)
        elif self.sent < self.length:
            raise ValueError(f"the source ended after {self.sent} of {self.length} bytes")
        else:
            self._begin_empty()

    def _fail(self, exc: BaseException) -> None:
        """The message will not be completed."""
        if not self._gate.has_sent or self._is_complete:
            return
        if self.length is not None:
            self._connection.abort()
        elif isinstance(exc, Exception) and not self._connection.owns(exc):
            self._close(CloseCode.INTERNAL_ERROR)

    @property
    def _is_complete(self) -> bool:
        return self._ended or (self._gate.has_sent and self.sent == self.length)

    def _check_open(self) -> None:
        if self._error is not None:
            error, self._error = self._error, RuntimeError(INCOMPLETE)
            raise error
        if not self._is_open:
            raise RuntimeError('the stream is not open: use it in "async with session.open_stream() as out:"')

    def _begin_sending(self) -> None:
        self._check_open()
        if self._is_sending:
            raise RuntimeError(BUSY)
        self._is_sending = True

    # ---- writing ----------------------------------------------------------------------

    async def write(self, data: Buffer | str) -> None:
        """Send the next bytes of the message. Waits while the transport takes no more.

        Fragments: bytes are held until there are enough for a fragment, or until the loop runs again, whichever comes
        first. A frame of known length: they leave at once. If the call is cancelled, the message cannot be completed.

        Args:
            data: Any contiguous buffer; in a Text message also a str.

        Raises:
            ValueError: These are more bytes than the frame still takes. Those that it takes were sent.
            SessionClosed: The session has ended.
            RuntimeError: The stream is not open, or another task writes to it.
        """
        chunk = self._as_bytes(data)
        self._begin_sending()
        try:
            if self.length is None:
                await self._write_fragments(chunk)
            else:
                await self._write_pieces(chunk)
        except BaseException as exc:
            self._note_lost(exc)
            raise
        finally:
            self._is_sending = False

    def _note_lost(self, exc: BaseException) -> None:
        """Bytes were taken from the caller, and will not be sent: nothing may follow them."""
        if not self._is_complete and not self._connection.owns(exc):
            self._error = RuntimeError(INCOMPLETE)

    async def flush(self) -> None:
        """Send what is held as a fragment, now."""
        self._begin_sending()
        try:
            if self._held_size:
                await self._send_held(fin=False)
        except Exception as exc:  # one that is cancelled has lost nothing
            self._note_lost(exc)
            raise
        finally:
            self._is_sending = False

    def _as_bytes(self, data: Buffer | str) -> bytes:
        if type(data) is bytes:
            return data
        if isinstance(data, str):
            if self._kind is not Opcode.TEXT:
                raise TypeError("str can be sent in a Text message only (Opcode.TEXT); a file, opened as 'rb', in any")
            return data.encode()
        try:
            return bytes(memoryview(data))
        except TypeError:
            raise TypeError(f"bytes can be sent in a stream, not {type(data).__name__}") from None

    async def _write_fragments(self, chunk: bytes) -> None:
        position, size = 0, len(chunk)
        while self._held_size + size - position > self._fragment_size:  # one that is full may be the last
            stop = position + self._fragment_size - self._held_size
            self._hold(chunk, position, stop)
            position = stop
            await self._send_held(fin=False)
        self._hold(chunk, position, size)
        if not self._held_size or not self.is_prompt:
            return
        if self._gate.may_use_thread and self._held_size >= 2 * self._asked_at:
            self._asked_at = self._held_size
            held = self._head(fin=False, payload=b"".join(self._held))
            if self._gate.needs_thread(held, self._compress):  # not in the loop, as _send_soon() works
                await self._send_held(fin=False)
                return
        if self._handle is None and self._room is None:
            self._handle = asyncio.get_running_loop().call_soon(self._send_soon)

    def _hold(self, chunk: bytes, start: int, stop: int) -> None:
        if stop > start:
            self._held.append(chunk if stop - start == len(chunk) else memoryview(chunk)[start:stop])
            self._held_size += stop - start
            self.sent += stop - start

    def _fragment(self, fin: bool) -> Frame:
        held, self._held, self._held_size, self._asked_at = self._held, [], 0, 0
        return self._head(fin=fin, payload=b"".join(held))

    def _head(self, *, fin: bool, payload: bytes = b"") -> Frame:
        if self._gate.has_sent:
            return Frame(Opcode.CONTINUATION, payload, fin=fin, kind=self._kind)
        rsv1, rsv2, rsv3 = self._rsv
        return Frame(self._kind, payload, fin=fin, rsv1=rsv1, rsv2=rsv2, rsv3=rsv3)

    async def _wait_for_room(self) -> None:
        """Wait for room. The block may be left meanwhile, if another task writes."""
        await self._gate.room()
        self._check_open()

    async def _send_held(self, *, fin: bool) -> None:
        await self._wait_for_room()
        fragment = self._fragment(fin)
        size = len(fragment.payload)
        await self._gate.send(fragment, self._compress)
        if not self._is_open:  # left by another task while a thread worked on the first fragment
            self._close(CloseCode.INTERNAL_ERROR)
            self._check_open()
        if fin:
            self._ended = True
        else:
            await self._let_others_run(size)

    def _send_soon(self) -> None:
        """Send what is held: the source has let the loop run, so the next bytes may take long."""
        self._handle = None
        if self._is_sending or not self._is_open or not self._held_size or self._error is not None:
            return
        self._room = self._connection.part_room()
        if self._room is not None:
            self._room.add_done_callback(self._look_again)
            return
        try:
            self._gate.send_now(self._fragment(fin=False), self._compress)
        except Exception as exc:
            self._error = exc

    def _look_again(self, room: object) -> None:
        self._room = None
        if self._is_open and self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._send_soon)

    def _stop_timer(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._room is not None:
            self._room.remove_done_callback(self._look_again)
            self._connection.stop_waiting(self._room)
            self._room = None

    async def _write_pieces(self, chunk: bytes) -> None:
        assert self.length is not None
        view = memoryview(chunk)
        taken = min(len(chunk), self.length - self.sent)
        for start in range(0, taken, PIECE):
            stop = min(start + PIECE, taken)
            piece = chunk if stop - start == len(chunk) else bytes(view[start:stop])
            await self._wait_for_room()
            if self._gate.has_sent:
                self._connection.send_piece(piece)
            else:
                self._begin(self.length, piece)
            self.sent += len(piece)
            if self.sent == self.length:
                self._gate.leave()  # the frame is complete
            await self._let_others_run(len(piece))
        if taken < len(chunk):
            self._begin_empty()
            raise ValueError(f"the source has more than the {self.length} bytes that were announced")

    def _begin(self, length: int, first: bytes) -> None:
        self._connection.begin_frame(self._head(fin=True), length, first)
        self._gate.has_sent = True

    def _begin_empty(self) -> None:
        """Send the frame if it is one of 0 bytes, which has no piece to send it with."""
        if self.length == 0 and not self._gate.has_sent:
            self._begin(0, b"")

    async def _let_others_run(self, size: int) -> None:
        self._since_yield += size
        if self._since_yield >= YIELD_EVERY_BYTES:
            self._since_yield = 0
            await asyncio.sleep(0)
