"""The sources of ``send_stream()``: files, iterables, async iterables, and streams of other libraries."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from io import BytesIO
from typing import Any, Protocol

from .outgoing_stream import OutgoingStream

BLOCK = 64 * 1024  # bytes that are read from a file at once


class Readable(Protocol):
    """A binary file, or a stream with ``async read(n)``."""

    def read(self, n: int, /) -> Any:
        """Return at most ``n`` bytes, or b"" at the end; or an awaitable of that."""


StreamSource = AsyncIterable[Any] | Iterable[Any] | Readable
"""The argument of ``send_stream()``: an iterable or an async iterable of bytes, a binary file, or a stream with
``async read(n)``. For Text also of str."""


async def copy(source: StreamSource, stream: OutgoingStream) -> None:
    """Write all of ``source`` to ``stream``, which is open. A generator that is not read to its end is closed.

    Raises:
        TypeError: ``source`` is no source of bytes.
        Exception: Any exception of the source, or of ``write()``.
    """
    if isinstance(source, (bytes, bytearray, memoryview, str)):
        await stream.write(source)
        return
    read = getattr(source, "read", None)
    has_other_way = hasattr(source, "__aiter__") and not inspect.iscoroutinefunction(read)
    if callable(read) and not has_other_way and _takes_size(read):
        await _copy_file(read, stream, in_thread=not isinstance(source, BytesIO))
    elif isinstance(source, AsyncIterable):
        chunks = aiter(source)
        try:
            async for chunk in chunks:
                await stream.write(chunk)
        except BaseException:
            if isinstance(chunks, AsyncGenerator):  # made for this call, mostly, so that nobody else can close it
                await chunks.aclose()
            raise
    elif isinstance(source, Iterable):
        stream.is_prompt = False  # it is never waited for
        items = iter(source)
        try:
            for chunk in items:
                await stream.write(chunk)
        except BaseException:
            if isinstance(items, Generator):
                items.close()
            raise
    else:
        raise TypeError(f"an iterable of bytes or a binary file can be sent, not {type(source).__name__}")


def _takes_size(read: Any) -> bool:
    """False for a ``read()`` that reads all, as that of a response or of a part of a form."""
    try:
        signature = inspect.signature(read)
    except (TypeError, ValueError):  # of some methods in C it is not known
        return True
    try:
        signature.bind(BLOCK)
    except TypeError:
        return False
    return True


async def _copy_file(read: Callable[[int], Any], stream: OutgoingStream, *, in_thread: bool) -> None:
    is_async = inspect.iscoroutinefunction(read)
    stream.is_prompt = is_async  # bytes of a file do not come late
    loop = asyncio.get_running_loop()
    while True:
        # One byte too many shows that the source is longer than it should be.
        size = BLOCK if stream.length is None else min(stream.length - stream.sent + 1, BLOCK)
        chunk = read(size) if is_async or not in_thread else await loop.run_in_executor(None, read, size)
        if isinstance(chunk, Awaitable):
            chunk = await chunk
        if chunk is None:
            raise BlockingIOError("the file does not block, and has nothing to read now")
        if not chunk:
            return
        await stream.write(chunk)
