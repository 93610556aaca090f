"""The pieces of one frame of a raw session, for ``receive_stream()``."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..errors import PeerError
from ..wire.codec import Frame, FrameHeader
from .awaitables import until_woken
from .connection import Connection
from .queues import IncomingQueue


class Receiver(Protocol):
    """The part of a raw session that a ``FrameSource`` uses."""

    @property
    def connection(self) -> Connection: ...
    def check_receiver(self) -> None: ...
    def has_ended(self) -> bool: ...
    def end_error(self) -> BaseException: ...


def header_of(frame: Frame) -> FrameHeader:
    """The header of a whole frame."""
    length = len(frame.payload)
    bits = (frame.rsv1, frame.rsv2, frame.rsv3)
    return FrameHeader(frame.opcode, length, frame.kind, frame.fin, *bits, frame.masking_key)


class FrameSource:
    """The frame that is received next. See ``incoming_stream.StreamSource``."""

    __slots__ = ("_connection", "_has_begun", "_session", "arrived", "ended", "loop", "queue", "size")

    def __init__(self, session: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self.loop: asyncio.AbstractEventLoop = loop
        self._connection = session.connection
        self._has_begun = False
        self.queue: IncomingQueue = self._connection.queue
        self.arrived: int = 0
        self.size: int | None = None
        self.ended: bool = False

    def claim(self) -> None:
        self._session.check_receiver()
        self.queue.has_stream = True

    async def begin(self) -> FrameHeader:
        queue, connection = self.queue, self._connection
        try:
            while not queue.count():
                if not self.is_over():
                    connection.want_chunks()
                connection.before_waiting()
                if queue.count():
                    break
                if self.is_over():
                    raise self.end_error()
                await until_woken(self.queue, self.loop)
        finally:
            connection.want_frames()
        item = queue.first()
        if isinstance(item, Frame):
            header = header_of(item)
            self.size = header.length
        else:
            if item.offset:
                raise RuntimeError("receive() has taken a part of this frame already, and gives the rest")
            header = item.header
            self.size = header.length or None  # of an inflated frame it is not known
        self._has_begun = True
        return header

    def take(self) -> bytes:
        item = self.queue.take()
        payload: bytes = item.payload
        self.arrived += len(payload)
        if isinstance(item, Frame) or item.last:
            self.ended = True
            self.size = self.arrived
        self._connection.after_taking()
        return payload

    def before_waiting(self) -> None:
        self._connection.before_waiting()

    def is_over(self) -> bool:
        return self._session.has_ended()

    def end_error(self) -> BaseException:
        return self._session.end_error()

    def refuse(self, error: PeerError) -> None:
        self._connection.refuse(error)

    def leave(self) -> None:
        self.queue.has_stream = False
        if self._has_begun and not self.ended:
            if self.queue.count() and isinstance(self.queue.first(), Frame):
                self.take()
            else:
                self._connection.skip_frame()
