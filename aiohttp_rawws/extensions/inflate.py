"""Inflating messages in steps, under a limit (RFC 7692, section 7.2.2)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from ..errors import FrameTooBig, InvalidPayload

TAIL = b"\x00\x00\xff\xff"  # the end of an empty uncompressed block: section 7.2.1 takes it off, 7.2.2 puts it back
STEP = 64 * 1024  # bytes inflated at a time
MAX_FINAL_BLOCKS = 1024  # in one message; see `_walk`

_FINAL_BLOCK = b"\x01\x00\x00\xff\xff"  # an empty uncompressed block that says it is the last one
_INPUT_STEP = 32 * 1024
_FIRST_WINDOW = 64


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self, mode: int = ..., /) -> bytes: ...


class Decompressor(Protocol):
    def decompress(self, data: bytes | memoryview, /, max_length: int = ...) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...


class ZlibBackend(Protocol):
    """The part of module zlib that is used. isal.isal_zlib, zlib_ng.zlib_ng and aiohttp's ZLibBackend have it too."""

    def compressobj(self, *args: Any, **kwargs: Any) -> Compressor: ...
    def decompressobj(self, *args: Any, **kwargs: Any) -> Decompressor: ...


class Inflater:
    """Inflates the messages that a peer sends on one connection, one after the other."""

    def __init__(
        self, backend: ZlibBackend, wbits: int, *, keep_context: bool, limit: int | None, max_ratio: float | None
    ) -> None:
        """
        Args:
            backend: A module like zlib.
            wbits: The peer's window is 2 ** wbits bytes, 8 to 15.
            keep_context: Keep the window from one message to the next. If False, nothing is held between messages.
            limit: Bytes that a message may have when inflated. None: any number.
            max_ratio: Inflated bytes that each compressed byte may give, checked above ``STEP`` inflated bytes. None:
                any number.
        """
        self._backend = backend
        self._error: type[Exception] = getattr(backend, "error", zlib.error)
        # Some peers that agree on 8 use 9 (zlib did so silently); reading with 9 costs 256 bytes.
        self._wbits = max(wbits, 9)
        self._keep_context = keep_context
        # Without context the stream is not used again, so a final block is added: the stream ends, unless the message
        # stops inside a block. With context zlib cannot report that.
        self._tail = TAIL if keep_context else TAIL + _FINAL_BLOCK
        self._limit = limit
        self._max_ratio = max_ratio
        self._stream: Decompressor | None = None  # None: the next byte begins a DEFLATE stream
        self._begin()
        self._first_room = self._room()

    def inflate(self, data: bytes, *, end: bool) -> bytes | Iterator[bytes]:
        """Inflate the next part of a message.

        Args:
            data: Compressed bytes.
            end: The message ends with them.

        Returns:
            The inflated bytes if one step is enough. Otherwise pieces of 1 to ``STEP`` bytes: the first is computed
            now, the others while they are taken. Take all of them before the next call.

        Raises:
            InvalidPayload: The data does not inflate. Also while the pieces are taken.
            FrameTooBig: The message is longer than a limit allows. Also while the pieces are taken.
        """
        if self._taken or not end or not data or len(data) > _INPUT_STEP:
            return self._in_steps(data, end)
        # Most messages come whole, are small and take a single call; the generators would double the time of those.
        # Nothing is counted for them: what leaves room in the first step has not reached a limit.
        source = data + self._tail
        stream = self._stream
        if stream is None:
            stream = self._open_stream()
        piece = self._step(stream, source, self._first_room)
        if (
            len(piece) == self._first_room
            or stream.unconsumed_tail
            or stream.unused_data
            or stream.eof == self._keep_context
        ):
            return self._finish(self._walk(source, len(data), piece))
        if not self._keep_context:
            self._stream = None
        return piece

    def _in_steps(self, data: bytes, end: bool) -> Iterator[bytes]:
        if end and not data and self._taken == 0:
            # Section 7.2.3.6 asks for one byte even in an empty message. No bytes at all are taken as an empty message.
            self._begin()
        elif not end:
            yield from self._walk(data, None)
        elif len(data) <= _INPUT_STEP:
            yield from self._finish(self._walk(data + self._tail, len(data)))
        else:  # not joined: the data may be huge
            yield from self._walk(data, None)
            yield from self._finish(self._walk(self._tail, 0))

    def _finish(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on ``pieces``, and check that the message ends with them."""
        yield from pieces
        if self._stream is not None and not self._keep_context:
            raise InvalidPayload("the compressed message ends inside a DEFLATE block")
        self._begin()

    def reset(self) -> None:
        """Drop a message that was not finished, and the window."""
        self._stream = None
        self._begin()

    def _begin(self) -> None:
        self._taken = 0  # compressed bytes of this message
        self._size = 0  # inflated bytes of this message
        self._final_blocks = 0

    def _walk(self, data: bytes, tail_at: int | None, first: bytes | None = None) -> Iterator[bytes]:
        """Inflate ``data``.

        A block with BFINAL set ends a stream of zlib, but not the message (sections 7.2.1 and 7.2.3.4): a new stream
        with an empty window inflates the rest. Each stream copies what it does not use. So after such a block it gets
        little at first and then more, and the number of these blocks is limited: otherwise a message of two-byte final
        blocks would take quadratic time.

        Args:
            data: Compressed bytes.
            tail_at: Where in ``data`` the tail of the message begins. None: it is not there.
            first: The result of a first step that was given all of ``data``.
        """
        view = memoryview(data)
        position, window = 0, _INPUT_STEP if first is None else len(view)
        while position < len(view):
            if position == tail_at and self._stream is None:
                return  # the last block was final, and the empty one that section 7.2.1 puts behind it is missing
            stream = self._open_stream()
            stop = min(position + window, len(view))
            part: bytes | memoryview = view[position:stop]
            self._taken += stop - position
            while True:
                room = self._room()
                piece = self._step(stream, part, room) if first is None else first
                first = None
                if piece:
                    self._count(len(piece))
                    yield piece
                part = stream.unconsumed_tail
                if stream.eof or not part and len(piece) < room:
                    break
            if stream.eof:
                unused = len(stream.unused_data)
                self._stream = None
                self._taken -= unused
                position, window = stop - unused, _FIRST_WINDOW
                self._final_blocks += tail_at is None or position <= tail_at
                if self._final_blocks > MAX_FINAL_BLOCKS:
                    raise InvalidPayload(f"a message of more than {MAX_FINAL_BLOCKS} final DEFLATE blocks")
            else:
                position, window = stop, min(window * 2, _INPUT_STEP)

    def _open_stream(self) -> Decompressor:
        if self._stream is None:
            self._stream = self._backend.decompressobj(wbits=-self._wbits)
        return self._stream

    def _step(self, stream: Decompressor, data: bytes | memoryview, room: int) -> bytes:
        try:
            return stream.decompress(data, room)
        except self._error as error:
            raise InvalidPayload(f"compressed data does not inflate: {error}") from error

    def _room(self) -> int:
        """Return how many bytes to inflate next: a step, or one more than the limit allows."""
        return STEP if self._limit is None else min(STEP, self._limit - self._size + 1)

    def _count(self, size: int) -> None:
        self._size += size
        if self._limit is not None and self._size > self._limit:
            raise FrameTooBig(self._size, self._limit, "max_inflated_size")
        if self._max_ratio is not None and self._size > max(STEP, self._max_ratio * self._taken):
            raise FrameTooBig(self._size, max(STEP, int(self._max_ratio * self._taken)), "max_ratio")
