"""Messages that are sent in parts: as fragments, or as one frame whose payload comes in pieces.

One source, two builds: as it stands, and compiled with the types in ``streaming.pxd``.

The sender of such a message has the first turn of all senders until its end. Between fragments, control frames leave as
ever. Inside a frame nothing else may leave (RFC 6455, section 5.4): there is a queue then, as there is while the
transport takes no bytes, and it is not emptied before the frame is complete. The parts themselves are never queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame
from .ending import EndingHalf
from .life import wake_all
from .send_queue import SendQueue

if TYPE_CHECKING:
    from .options import SessionOptions

JOINED = 32 * 1024  # a first piece of fewer bytes is copied behind its header, for a single write


class StreamingHalf(EndingHalf):
    """Both sides of one connection, with messages that are sent in parts."""

    __slots__ = ("_part_waiters",)

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        server: bool,
        options: SessionOptions,
        new_masking_key: Callable[[], bytes] | None,
    ) -> None:
        super().__init__(transport, loop, server, options, new_masking_key)
        self._part_waiters: list[asyncio.Future[None]] | None = None

    # ---- turns ------------------------------------------------------------------------

    def finish_turn(self, turn: asyncio.Future[None]) -> None:
        """Call ``leave_turn()``, and let a listener that was held go on."""
        self.leave_turn(turn)
        if self.in_place and not self.stops_listener():
            self.continue_listening()

    async def start_streaming(self) -> asyncio.Future[None]:
        """Wait for this sender's turn, and until nothing waits before it. Other senders then wait for its end.

        Returns:
            The turn, for ``end_streaming()``.

        Raises:
            SessionClosed: Nothing more can be sent; see ``cannot_send()`` for its kinds.
            RuntimeError: A message is open.
        """
        self._check_open()
        turn = self.take_turn()
        self.wake_senders()
        has_turn = False
        try:
            await turn
            self._check_open()  # all turns are woken at the end, while another message has the first
            self.streaming: bool = True
            has_turn = True
            if self.in_place:
                self.continue_listening()
            while (waiter := self.part_room()) is not None:
                await self.wait_for(waiter)
                self._check_open()
            self._check_open()
            if self.encoder.mid_message:
                raise RuntimeError("a message cannot be sent in parts inside an open one: finish that first")
        except BaseException:
            if has_turn:
                self.streaming = False
            self.finish_turn(turn)
            raise
        return turn

    def _check_open(self) -> None:
        if self.send_phase:
            raise self.cannot_send()

    def end_streaming(self, turn: asyncio.Future[None]) -> None:
        """The message has ended, or will not go on: let the next sender go on."""
        self.streaming = False
        self.finish_turn(turn)

    # ---- room -------------------------------------------------------------------------

    def part_room(self) -> asyncio.Future[None] | None:
        """Return a future that is done when the transport may take the next part, or when sending has ended. None if it
        may take it now, or never will."""
        if not self.write_paused or self.dropped or self.is_lost():
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._part_waiters is None:
            self._part_waiters = []
        self._part_waiters.append(waiter)
        return waiter

    def wake_senders(self) -> None:
        SendQueue.wake_senders(self)
        if self._part_waiters is not None and not self.write_paused:
            self._wake_parts()

    def _end_turns(self) -> None:
        SendQueue._end_turns(self)
        self._wake_parts()

    def _wake_parts(self) -> None:
        if self._part_waiters is not None:
            waiters, self._part_waiters = self._part_waiters, None
            wake_all(waiters)

    def stop_waiting(self, waiter: Any) -> None:
        """Forget ``waiter``, which nobody awaits any more."""
        if self._part_waiters is not None and waiter in self._part_waiters:
            self._part_waiters.remove(waiter)
        else:
            EndingHalf.stop_waiting(self, waiter)

    # ---- parts ------------------------------------------------------------------------

    def begin_frame(self, frame: Frame, length: int, first: bytes) -> None:
        """Send the header of a frame of ``length`` bytes, and the first piece of its payload.

        Args:
            frame: The frame, with an empty payload.
            first: At most ``length`` bytes.

        Raises:
            SessionClosed: Nothing more can be sent; see ``cannot_send()`` for its kinds.
        """
        self._check_open()
        if self.encoder.size:
            self.write_batch()
        header = self.encoder.begin(frame, length)
        self._waiting_frames()  # whatever else is sent waits there
        self._write_piece(header, first)

    def send_piece(self, data: bytes) -> None:
        """Send the next piece, after ``begin_frame()``. A frame that was begun may be completed after a Close, too.

        Args:
            data: At most as many bytes as are missing.

        Raises:
            SessionClosed: The connection is gone; see ``cannot_send()`` for its kinds.
        """
        if self.dropped or not self.encoder.missing:
            raise self.cannot_send()
        self._write_piece(b"", data)

    def _write_piece(self, header: bytes, data: bytes) -> None:
        encoder = self.encoder
        wire = encoder.piece(data)
        if not header:
            self._write(wire)
        elif len(wire) < JOINED:
            self._write(header + wire)
        elif self.gathers:
            self._write_both(header, wire)
        else:
            self._write(header)
            self._write(wire)
        if encoder.missing:
            return
        self.frames_sent: int = self.frames_sent + 1
        self.drain()
        if self.connection_phase:
            self.continue_disconnecting()
        elif self._ends_output:
            self.finish_output()

    def is_inside_frame(self) -> bool:
        """True while a frame of ours is sent in pieces, so that a Ping would have to wait for its end."""
        return self.encoder.missing > 0

    # ---- frames of another connection ---------------------------------------------------

    def send_relayed(self, data: bytes, missing: int) -> None:
        """Write bytes that another connection has received, even if the transport is paused: the caller stops reading.

        Anything else that is sent inside of a frame waits in the queue for its end.

        Args:
            missing: Bytes by which the last frame in ``data`` is not complete.
        """
        encoder = self.encoder
        if self._queue_out is not None and not encoder.missing:
            while (wire := self._queue_out.take()) is not None:
                encoder.append_bytes(wire)
            self._queue_out = None
        if encoder.size:
            self.write_batch()
        encoder.missing = missing
        self._write(data)
        if missing:
            self._waiting_frames()
        elif self._queue_out is not None:
            self.drain()

    def give_up_relayed(self) -> None:
        """The rest of the frame will not come. Nothing else can be sent any more."""
        if self.encoder.missing:
            self.encoder.give_up()
            self._queue_out = None
