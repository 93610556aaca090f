"""The messages of a managed session: frames are joined to them, or wait in pieces for a stream.

One source, two builds: as it stands, and compiled with the types in ``managed_messages.pxd``.
"""

from __future__ import annotations

from typing import Any

from ..errors import ChannelOverflow, PeerError
from ..wire.codec import Frame, FrameChunk, is_whole_message, payload_size
from ..wire.codes import CloseCode, CloseReason
from . import managed_life
from .arriving import ArrivingMessage, Use
from .awaitables import wake
from .messages import MessageAssembler, check_whole
from .queues import IncomingQueue
from .reasons import reason_for


class ManagedMessages(managed_life.ManagedLife):
    """The part of a managed session that makes messages of data frames."""

    __slots__ = ()

    # ---- whole messages ---------------------------------------------------------------

    def _assembled(self, item: Frame | FrameChunk) -> Frame | None:
        assembler = self._assembler
        if assembler is None:
            assembler = self._make_assembler()
        return assembler.add(item)

    def _make_assembler(self) -> MessageAssembler:
        if self._assembler is None:
            limit = None if self._limit_of_message < 0 else self._limit_of_message
            self._assembler = MessageAssembler(limit, self._pipeline, self._options.max_fragments)
        return self._assembler

    def _deliver(self, message: Frame) -> None:
        queue = self._queue
        if self._listener is not None:
            self._call(self._listener, message)
            return
        if self._overflow_closes and queue.is_full():
            self._overflowed(queue)
            return
        closing = self._connection.close_sent is not None
        if closing and queue.is_full():
            return  # behind our Close: dropped, so that reading goes on to the peer's Close
        queue.put_one(message)
        if not queue.full and not self._overflow_closes and not closing and queue.is_full():
            queue.full = True
            self._connection.set_paused(True)

    # ---- messages in pieces -----------------------------------------------------------

    def _waits_in_pieces(self, item: Frame | FrameChunk) -> bool:
        """Take ``item`` in if its message is one that waits in pieces. Returns False if it is to be joined."""
        arriving, queue = self._arriving, self._queue
        if arriving is None or arriving.header is None:
            limit = self._limit_of_message
            if (
                (self._assembler is not None and self._assembler.is_open)
                or (queue.waiter is not None and not queue.has_stream and not queue.count())  # receive() waits for it
                or (is_whole_message(item) and not self._extensions and (limit < 0 or payload_size(item) <= limit))
            ):
                return False
            arriving = self._make_arriving()
        elif self._overflow_closes and arriving.queue.is_full() and not arriving.abandoned:
            self._overflowed(arriving.queue)
            return True
        arriving.add(item)
        self.after_pieces()
        return True

    def _make_arriving(self) -> ArrivingMessage:
        if self._arriving is None:
            self._arriving = ArrivingMessage(self._options, self._pipeline)  # type: ignore[arg-type]  # it has begun
        return self._arriving

    def after_pieces(self) -> None:
        """Go on with the message in pieces, since something has changed: it grew, pieces were taken, or it was left."""
        arriving = self._arriving
        if arriving is None:
            return
        try:
            if arriving.use is Use.NOBODY:
                arriving.skip()
            else:
                arriving.go_on()
        except PeerError as exc:
            self._connection.own(exc)
            self.fail(exc, reason_for(exc))
            return
        limit = self._limit_of_message
        if arriving.use is Use.STREAM:
            if arriving.complete:
                arriving.wake()
        elif arriving.wanted:
            if arriving.is_untaken and self._queue.waiter is not None:
                wake(self._queue)
        elif arriving.is_untaken and arriving.complete and (limit < 0 or arriving.produced <= limit):
            self._deliver(arriving.joined())
        self._pause_for_pieces(arriving, arriving.queue)

    def _pause_for_pieces(self, arriving: ArrivingMessage, queue: IncomingQueue) -> None:
        """Stop reading if the message in pieces is blocked, or go on."""
        if arriving.paused:
            if arriving.abandoned or (not arriving.is_blocked and queue.is_half_empty()):
                arriving.paused = False
                if not self._queue.full:
                    self._connection.set_paused(False)
        elif arriving.is_blocked and not arriving.abandoned:
            if self._connection.close_sent is not None:
                arriving.abandon()  # behind our Close: dropped, so that reading goes on to the peer's Close
            elif not self._overflow_closes or arriving.complete:
                arriving.paused = True
                self._connection.set_paused(True)
            elif arriving.rest is not None:
                self._overflowed(queue)

    def _overflowed(self, queue: IncomingQueue) -> None:
        text = f"incoming overflowed: {queue.count()} messages, or pieces of one, wait, {queue.size} bytes"
        reason = CloseReason(CloseCode.VIOLATED_POLICY, "Too many messages wait to be taken")
        self.fail(self._connection.own(ChannelOverflow(text)), reason)

    def _join_pieces(self) -> None:
        """Join the message that waits in pieces, since it is not for a stream."""
        self._defers = self._keeps_pieces
        arriving = self._arriving
        if arriving is None or not arriving.is_untaken:
            return
        try:
            message = self._joined(arriving)
        except PeerError as exc:
            self._connection.own(exc)
            self.fail(exc, reason_for(exc))
            return
        if message is not None:
            self._deliver(message)
        self._pause_for_pieces(arriving, arriving.queue)

    def _joined(self, arriving: ArrivingMessage) -> Frame | None:
        if not arriving.complete:
            return self._make_assembler().adopt(arriving)
        message = arriving.joined()
        check_whole(message, self._limit_of_message)
        return message

    def arriving(self) -> Any:
        """The message that waits in pieces; all do from now on. For layers of this package."""
        self._defers = self._keeps_pieces = True
        return self._make_arriving()
