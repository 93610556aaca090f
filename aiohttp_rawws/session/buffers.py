"""What the loop reads into."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

READ_BUFFER = 256 * 1024

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[bytearray, memoryview]] = WeakKeyDictionary()


def read_buffer(loop: asyncio.AbstractEventLoop) -> tuple[bytearray, memoryview]:
    """The buffer ``loop`` reads into, with the view to hand out: ``get_buffer`` and ``buffer_updated`` run back
    to back, so all its connections share one. The Windows proactor keeps the buffer in between: one each."""
    pair = _buffers.get(loop)
    if pair is None:
        buffer = bytearray(READ_BUFFER)
        pair = (buffer, memoryview(buffer))
        if type(loop).__name__ != "ProactorEventLoop":
            _buffers[loop] = pair
    return pair
