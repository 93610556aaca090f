"""The pieces of one message of a managed session, for ``receive_stream()``."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..errors import PeerError
from ..wire.codec import FrameHeader
from ..wire.codes import CloseReason
from .arriving import ArrivingMessage, Use
from .awaitables import until_woken
from .connection import Connection
from .frame_source import header_of
from .queues import IncomingQueue
from .reasons import reason_for


class Receiver(Protocol):
    """The part of a managed session that a ``MessageSource`` uses."""

    @property
    def connection(self) -> Connection: ...
    def begin(self) -> None: ...
    def check_receiver(self) -> None: ...
    def has_ended(self) -> bool: ...
    def end_error(self) -> BaseException: ...
    def before_waiting(self) -> None: ...
    def after_taking(self) -> None: ...
    def arriving(self) -> ArrivingMessage: ...
    def after_pieces(self) -> None: ...
    def fail(self, error: BaseException, reason: CloseReason) -> None: ...


class MessageSource:
    """The message that is received next. See ``incoming_stream.StreamSource``.

    It is a whole message that waits already, or the one that is arriving.
    """

    __slots__ = ("_arriving", "_has_begun", "_messages", "_session", "arrived", "ended", "loop", "queue", "size")

    def __init__(self, session: Receiver, messages: IncomingQueue, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._messages = messages
        self.loop: asyncio.AbstractEventLoop = loop
        self._arriving: ArrivingMessage | None = None  # the message is this one
        self._has_begun = False
        self.queue: IncomingQueue = messages
        self.arrived: int = 0
        self.size: int | None = None
        self.ended: bool = False

    def claim(self) -> None:
        self._session.begin()
        self._session.check_receiver()
        self._messages.has_stream = True

    async def begin(self) -> FrameHeader:
        session, messages = self._session, self._messages
        arriving = session.arriving()
        arriving.wanted = True
        try:
            while not messages.count() and not arriving.is_untaken:
                session.before_waiting()
                if session.has_ended():
                    raise session.end_error()
                await until_woken(self.queue, self.loop)
        finally:
            arriving.wanted = False
        self._has_begun = True
        if messages.count():
            frame = messages.first()
            self.size = len(frame.payload)
            return header_of(frame)
        header = arriving.header
        assert header is not None  # it is untaken
        self._arriving = arriving
        self.queue = session.connection.consumer_queue = arriving.queue
        arriving.use = Use.STREAM
        self._note_end()  # an empty message may be over
        return header

    def take(self) -> bytes:
        payload: bytes = self.queue.take().payload
        self.arrived += len(payload)
        if self._arriving is None:
            self.ended = True
            self._session.after_taking()
        else:
            self._session.after_pieces()
            self._note_end()
        return payload

    def _note_end(self) -> None:
        arriving = self._arriving
        if arriving is not None and not self.ended:
            self.size = arriving.size
            if arriving.complete and not self.queue.count():
                self.ended = True
                self._release()

    def _release(self) -> None:
        """Make room for the next message."""
        arriving, self._arriving = self._arriving, None
        self._session.connection.consumer_queue = self._messages
        if arriving is not None:
            arriving.reset()
            self._session.after_pieces()

    def before_waiting(self) -> None:
        self._session.before_waiting()
        self._note_end()

    def is_over(self) -> bool:
        arriving = self._arriving
        return self._session.has_ended() or (arriving is not None and arriving.abandoned)

    def end_error(self) -> BaseException:
        return self._session.end_error()

    def refuse(self, error: PeerError) -> None:
        connection = self._session.connection
        self._session.fail(connection.own(error), reason_for(error))

    def leave(self) -> None:
        self._messages.has_stream = False
        if not self._has_begun:
            self._session.after_pieces()
        elif self._arriving is not None:
            self._arriving.use = Use.NOBODY
            self._session.connection.consumer_queue = self._messages
            self._session.after_pieces()
        elif not self.ended:
            self.take()
