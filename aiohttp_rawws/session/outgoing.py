"""The sending side of a connection: encoding, write batching, the queue before the transport, and who waits for it.

One source, two builds: as it stands, and compiled with the types in ``outgoing.pxd``.

``transport.write()`` is a system call on every loop. So frames that are sent while received ones wait to be taken are
collected and leave in one write: when the last received frame has been taken, at 64 KiB, or one loop iteration later at
the latest. A frame that is sent when nothing waits leaves at once. While the transport is above its high-water mark,
frames wait in ``_queue_out``; pings and pongs overtake data there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame, FrameEncoder, PreparedFrame, is_close, is_control
from .delivery import acknowledged, kernel_queue
from .life import Life, wake_all
from .phases import Event
from .queues import IncomingQueue, OutgoingQueue
from .reasons import reason_of

if TYPE_CHECKING:
    from ..extensions.base import ExtensionPipeline
    from ..wire.codes import CloseReason
    from .options import SessionOptions

BATCH = 64 * 1024  # bytes at which a batch is written
UNJOINED = 32 * 1024  # a payload of this size or more is written by itself, not copied behind its header
OPCODE, CLOSE = 0x0F, 0x08  # in the first byte of a frame
# Writes in a row, with nothing read in between, after which the transport is asked whether it is closing. asyncio and
# uvloop log a warning from the fifth write to a broken connection on.
WRITES_BETWEEN_CHECKS = 4


class OutgoingHalf(Life):
    """The sending side of one connection over an asyncio transport, in either role."""

    __slots__ = (
        "_corked", "_drain_waiters", "_flush_scheduled", "_max_bytes_out", "_max_frames_out",
        "_overflow_out_closes", "_queue_out", "_room_waiters", "_turns", "_unchecked", "batching", "bytes_sent",
        "consumer_queue", "encoder", "frames_sent", "pipeline", "write_paused",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        options: SessionOptions,
        masking: bool,
        queue: IncomingQueue,
        new_masking_key: Callable[[], bytes] | None,
    ) -> None:
        super().__init__(transport, loop)
        if new_masking_key is None:
            self.encoder: FrameEncoder = FrameEncoder(masking=masking, strict=options.strict)
        else:
            self.encoder = FrameEncoder(masking=masking, strict=options.strict, new_masking_key=new_masking_key)
        outgoing = options.outgoing
        self.consumer_queue: IncomingQueue = queue  # tasks receive from it; while it has items, more will be sent
        self.pipeline: ExtensionPipeline | None = None
        self._max_frames_out = -1 if outgoing.capacity is None else outgoing.capacity
        self._max_bytes_out = -1 if outgoing.max_bytes is None else outgoing.max_bytes
        self._overflow_out_closes = outgoing.on_overflow == "close"
        self._queue_out: OutgoingQueue | None = None  # while the transport takes nothing
        self.write_paused: bool = False
        self._corked = 0
        self.batching: bool = False  # the session says that more is coming
        self._flush_scheduled = False
        self._turns: deque[asyncio.Future[None]] | None = None  # of senders that wait, in the order of their calls
        self._room_waiters: list[asyncio.Future[None]] | None = None
        self._drain_waiters: list[asyncio.Future[None]] | None = None
        self._unchecked = 0  # writes since the transport was asked
        self.frames_sent: int = 0
        self.bytes_sent: int = 0

    # ---- frames -----------------------------------------------------------------------

    def send_frame(self, frame: Frame) -> None:
        """Send ``frame`` behind those before it, without waiting. Ask ``must_wait()`` first.

        Raises:
            SessionClosed: Nothing more can be sent; see ``cannot_send()`` for its kinds.
            RuntimeError: The frame may not come here (a text fragment inside a binary message). Nothing has changed.
        """
        if self.send_phase:
            raise self.cannot_send()
        if self.pipeline is not None:
            frame = self.pipeline.outgoing(frame)
        encoder = self.encoder
        if self.write_paused or self._queue_out is not None:
            self._enqueue_frame(frame)
        elif len(frame._payload) >= UNJOINED and not encoder.masking:
            encoder.append_header(frame)
            self.write_batch()
            payload = frame.payload
            self._write(payload)
        elif encoder.size or self._holds_back():
            encoder.append(frame)
            self._batch()
        else:
            self._write(encoder.encode(frame))
        self.frames_sent += 1
        if frame._head & OPCODE == CLOSE:
            self.close_sent: CloseReason | None = reason_of(frame)
            self.local_first: bool = self.close_received is None
            self._end_turns()
            self.move(Event.CLOSE_SENT)

    def send_now(self, frame: Frame) -> None:
        """Call ``send_frame()``. For modules that are not compiled."""
        self.send_frame(frame)

    def send_prepared(self, prepared: PreparedFrame) -> None:
        """Send the bytes of ``prepared`` as they are. They are not copied, even if they wait."""
        if self.encoder.masking or self.pipeline is not None or is_close(prepared.frame):
            self.check_whole(prepared.frame)
            self.send_frame(prepared.frame)
            return
        if self.send_phase:
            raise self.cannot_send()
        self.encoder.encode(prepared)  # gives ``wire`` back, and raises inside an open message
        if self._overflow_out_closes and not is_control(prepared.frame) and self.is_full():
            raise self.fail_outgoing()
        self.send_bytes(prepared.wire)
        self.frames_sent += 1

    def check_whole(self, message: Any) -> None:
        """Raise RuntimeError if ``message``, a whole one, would come inside an open message."""
        if self.encoder.mid_message and not is_control(message):
            raise RuntimeError("a whole message cannot be sent inside an open one: finish that first, with Frames")

    def try_send_prepared(self, prepared: PreparedFrame) -> bool:
        """Fast path of ``send_prepared()``: write the bytes now, or return False and change nothing."""
        encoder = self.encoder
        if (
            self.send_phase
            or self._queue_out is not None
            or self._turns is not None
            or self.pipeline is not None
            or self.write_paused
            or encoder.masking
            or encoder.size
            or encoder.mid_message
            or self._holds_back()
            or is_close(prepared.frame)
        ):
            return False
        self._write(prepared.wire)
        self.frames_sent += 1
        return True

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, behind the frames before them. Allowed after a Close, too."""
        if self.connection_phase or self.outgoing_failure is not None:
            raise self.cannot_send()
        if self.write_paused or self._queue_out is not None:
            self._waiting_frames().put(data)
        elif len(data) >= UNJOINED or not (self.encoder.size or self._holds_back()):
            if self.encoder.size:
                self.write_batch()
            self._write(data)
        else:
            self.encoder.append_bytes(data)
            self._batch()

    # ---- batches ----------------------------------------------------------------------

    def _holds_back(self) -> bool:
        """True if more is likely to be sent at once, so that it pays to collect it."""
        return self._corked > 0 or self.batching or self.consumer_queue.count() > 0

    def _batch(self) -> None:
        """Write now, or collect if more is likely to be sent at once."""
        if self._holds_back():
            if self.encoder.size >= BATCH:
                self.write_batch()
            elif not self._corked and not self._flush_scheduled:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush_batch)
        else:
            self.write_batch()

    def write_batch(self) -> None:
        """Give what was collected to the transport."""
        data = self.encoder.take()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.transport.write(data)
        self._unchecked += 1
        if self._unchecked >= WRITES_BETWEEN_CHECKS:
            # Once the peer has reset the connection, a transport silently drops what is written until the loop runs
            # again. A handler that sends many frames in a row must not go on.
            self._unchecked = 0
            if self.transport.is_closing() and not self.connection_phase:
                self.dropped = True
                self._end_turns()
                self.move(Event.WRITE_FAILED)

    def _flush_batch(self) -> None:
        self._flush_scheduled = False
        if self.encoder.size:
            self.write_batch()

    def cork(self) -> None:
        self._corked += 1

    def uncork(self) -> None:
        self._corked -= 1
        if not self._corked and self.encoder.size:
            self.write_batch()

    # ---- the queue before the transport -----------------------------------------------

    def _waiting_frames(self) -> OutgoingQueue:
        if self._queue_out is None:
            self._queue_out = OutgoingQueue(self._max_frames_out, self._max_bytes_out)
        return self._queue_out

    def _enqueue_frame(self, frame: Frame) -> None:
        waiting = self._waiting_frames()
        if is_control(frame) and not is_close(frame) and waiting.has_room_for_control():
            waiting.put_control(self.encoder.encode(frame))
            return
        if self._overflow_out_closes and not is_control(frame) and waiting.is_full():
            raise self.fail_outgoing()
        waiting.put(self.encoder.encode(frame))

    def is_congested(self) -> bool:
        """True if anything waits. Only then ``must_wait()`` needs to be called."""
        return self._queue_out is not None or self._turns is not None

    def is_full(self) -> bool:
        """True if a data frame must wait for room, or for senders that came before."""
        return self._turns is not None or (self._queue_out is not None and self._queue_out.is_full())

    def must_wait(self, frame: Any) -> bool:
        """True if ``send()`` of this frame would wait. A Close never waits, a ping or pong only in a flood of them."""
        if self.send_phase or is_close(frame):
            return False
        if is_control(frame):  # those that cannot overtake wait among the data
            return self._queue_out is not None and not self._queue_out.has_room_for_control() and self.is_full()
        return self.is_full() and (self._turns is not None or not self._overflow_out_closes)

    def unsent(self) -> int:
        """Frames that wait for the transport."""
        return 0 if self._queue_out is None else self._queue_out.count()

    def undelivered(self) -> int:
        """Bytes that were accepted and that the peer has not taken, as far as the system reports it."""
        if self.dropped:
            return 0
        waiting = 0 if self._queue_out is None else self._queue_out.size_of_all()
        held = self.transport.get_write_buffer_size() + kernel_queue(self.transport)
        return int(self.encoder.size + waiting + held)

    def bytes_taken(self) -> int:
        """Bytes that the peer has taken so far, as far as the system reports it."""
        if self.dropped:
            return int(self.bytes_sent)
        count = acknowledged(self.transport)
        if count is not None:
            return count
        held = self.transport.get_write_buffer_size() + kernel_queue(self.transport)
        return int(self.bytes_sent - held)

    def drain(self) -> None:
        """Give the transport the frames that waited, control frames first. Called when it takes bytes again."""
        encoder = self.encoder
        while self._queue_out is not None and not self.write_paused:
            wire = self._queue_out.take()
            if wire is None:
                self._queue_out = None
            else:
                encoder.append_bytes(wire)
            if encoder.size and (wire is None or encoder.size >= BATCH):
                self.write_batch()
        self.wake_senders()

    # ---- who waits --------------------------------------------------------------------

    def take_turn(self) -> asyncio.Future[None]:
        """Return a future that is done when it is this sender's turn and there is room."""
        turn: asyncio.Future[None] = self._loop.create_future()
        if self._turns is None:
            self._turns = deque()
        self._turns.append(turn)
        return turn

    def leave_turn(self, turn: asyncio.Future[None]) -> None:
        """End a turn: its sender has sent, or was cancelled."""
        turns = self._turns
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                self._turns = None
        self.wake_senders()

    def wake_senders(self) -> None:
        """Wake the next sender in turn, or, if there is none, those who wait for room or for everything to be sent."""
        turns = self._turns
        if turns is not None and (self._queue_out is None or not self._queue_out.is_full()):
            first = turns[0]
            if not first.done():
                first.set_result(None)
        if self._room_waiters is not None and (self.send_phase or not self.is_full()):
            waiters, self._room_waiters = self._room_waiters, None
            wake_all(waiters)
        if self._drain_waiters is not None and (self.is_lost() or self._queue_out is None):
            waiters, self._drain_waiters = self._drain_waiters, None
            wake_all(waiters)

    def _end_turns(self) -> None:
        """Wake all senders, because nothing more can be sent. Each gets the error when it tries to send."""
        if self._turns is not None:
            wake_all(list(self._turns))
        if self._room_waiters is not None:
            waiters, self._room_waiters = self._room_waiters, None
            wake_all(waiters)

    def room(self) -> asyncio.Future[None] | None:
        """Return a future that is done when a data frame has room. None if it has room, or nothing can be sent."""
        if self.send_phase or not self.is_full():
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._room_waiters is None:
            self._room_waiters = []
        self._room_waiters.append(waiter)
        return waiter

    def drained(self) -> asyncio.Future[None] | None:
        """Return a future that is done when nothing waits for the transport any more. None if nothing waits."""
        if self.encoder.size:
            self.write_batch()
        if self.is_lost() or (self._queue_out is None and not self.write_paused):
            return None
        self._waiting_frames()  # so that ``drain()`` notices the end of the pause
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._drain_waiters is None:
            self._drain_waiters = []
        self._drain_waiters.append(waiter)
        return waiter

    def stop_waiting(self, waiter: Any) -> None:
        """Forget ``waiter``, which nobody awaits any more."""
        if self._room_waiters is not None and waiter in self._room_waiters:
            self._room_waiters.remove(waiter)
        elif self._drain_waiters is not None and waiter in self._drain_waiters:
            self._drain_waiters.remove(waiter)
        else:
            Life.stop_waiting(self, waiter)

    def forget_outgoing(self) -> None:
        """Drop everything that was not written and wake all senders, because the connection is lost."""
        self._queue_out = None
        self.encoder.take()
        self._end_turns()
        if self._drain_waiters is not None:
            waiters, self._drain_waiters = self._drain_waiters, None
            wake_all(waiters)
