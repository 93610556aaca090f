"""The sending side of a connection: encoding and write batching, on top of the queue before the transport.

One source, two builds: as it stands, and compiled with the types in ``outgoing.pxd``.

``transport.write()`` is a system call on every loop. So frames that are sent while received ones wait to be taken are
collected and leave in one write: when the last received frame has been taken, at 64 KiB, or one loop iteration later at
the latest. A frame that is sent when nothing waits leaves at once. While the transport takes no bytes, frames wait in
the queue of ``send_queue.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame, FrameEncoder, PreparedFrame, is_close, is_control
from .delivery import acknowledged, kernel_queue
from .life import wake_all
from .phases import Event, SendPhase
from .queues import IncomingQueue
from .reasons import reason_of
from .send_queue import SendQueue
from .transports import bytes_unsent

if TYPE_CHECKING:
    from ..extensions.base import ExtensionPipeline
    from ..wire.codes import CloseReason
    from .options import SessionOptions

BATCH = 64 * 1024  # bytes at which a batch is written
UNJOINED = 32 * 1024  # a payload of this size or more is not copied behind its header,
UNJOINED_ALONE = 256 * 1024  # or of this size, where that takes a write, and mostly a packet, of its own
OPCODE, CLOSE = 0x0F, 0x08  # in the first byte of a frame
SEND_DONE = int(SendPhase.DONE)
# Writes in a row, with nothing read in between, after which the transport is asked whether it is closing. asyncio and
# uvloop log a warning from the fifth write to a broken connection on.
WRITES_BETWEEN_CHECKS = 4


class OutgoingHalf(SendQueue):
    """The sending side of one connection over an asyncio transport, in either role."""

    __slots__ = (
        "_corked", "_flush_scheduled", "_unchecked", "batching", "bytes_sent", "consumer_queue", "encoder",
        "frames_sent", "gathers", "pipeline",
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
        super().__init__(transport, loop, options.outgoing)
        if new_masking_key is None:
            self.encoder: FrameEncoder = FrameEncoder(masking=masking, strict=options.strict)
        else:
            self.encoder = FrameEncoder(masking=masking, strict=options.strict, new_masking_key=new_masking_key)
        self.consumer_queue: IncomingQueue = queue  # tasks receive from it; while it has items, more will be sent
        self.pipeline: ExtensionPipeline | None = None
        self._corked = 0
        self.batching: bool = False  # the session says that more is coming
        self._flush_scheduled = False
        self._unchecked = 0  # writes since the transport was asked
        self.frames_sent: int = 0
        self.bytes_sent: int = 0
        self.gathers: bool = False  # the transport writes several pieces with one system call

    # ---- frames -----------------------------------------------------------------------

    def send_frame(self, frame: Frame, compress: bool | None = None) -> None:
        """Send ``frame`` behind those before it, without waiting. Ask ``must_wait()`` first.

        Args:
            frame: The frame.
            compress: The sender's wish for the extensions that a raw session applies. Default: None (they decide).

        Raises:
            SessionClosed: Nothing more can be sent; see ``cannot_send()`` for its kinds.
            RuntimeError: The frame may not come here (a text fragment inside a binary message). Nothing has changed.
        """
        if self.send_phase:
            raise self.cannot_send()
        if self.pipeline is not None:
            frame = self.pipeline.outgoing(frame, compress)
        encoder = self.encoder
        if self.write_paused or self._queue_out is not None:
            self._enqueue_frame(frame)
        elif len(frame._payload) >= UNJOINED and not encoder.masking:
            self._send_large(frame)
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

    def _send_large(self, frame: Frame) -> None:
        """Write a frame whose payload is best not copied behind its header."""
        encoder = self.encoder
        payload = frame.payload
        if self.gathers:
            encoder.append_header(frame)
            self._write_both(encoder.take(), payload)
        elif len(payload) < UNJOINED_ALONE:
            wire = encoder.encode(frame)
            self.write_batch()
            self._write(wire)
        else:
            encoder.append_header(frame)
            self.write_batch()
            self._write(payload)

    def send_now(self, frame: Frame, compress: bool | None = None) -> None:
        """Call ``send_frame()``. For modules that are not compiled."""
        self.send_frame(frame, compress)

    def send_prepared(self, prepared: PreparedFrame) -> None:
        """Send the bytes of ``prepared`` as they are. They are not copied, even if they wait."""
        if self.encoder.masking or self.pipeline is not None or is_close(prepared.frame):
            self.check_whole(prepared.frame)
            self.send_frame(prepared.frame)
            return
        if self.send_phase:
            raise self.cannot_send()
        self.encoder.encode(prepared)  # gives ``wire`` back, and raises inside an open message
        waiting = self._queue_out
        if self._overflow_out_closes and waiting is not None and waiting.is_full() and not is_control(prepared.frame):
            raise self.fail_outgoing()
        self.send_bytes(prepared.wire)
        self.frames_sent += 1

    def check_whole(self, message: Any) -> None:
        """Raise RuntimeError if ``message``, a whole one, would come inside an open message, unless nothing more can be
        sent: then sending it raises that."""
        if self.encoder.mid_message and not self.send_phase and not is_control(message):
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
        if self.connection_phase or self.send_phase == SEND_DONE or self.outgoing_failure is not None:
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
        self._count_write()

    def _count_write(self) -> None:
        self._unchecked += 1
        if self._unchecked >= WRITES_BETWEEN_CHECKS:
            # Once the peer has reset the connection, a transport silently drops what is written until the loop runs
            # again. A handler that sends many frames in a row must not go on.
            self._unchecked = 0
            if self.transport.is_closing() and not self.connection_phase:
                self.dropped = True
                self._end_turns()
                self.move(Event.WRITE_FAILED)

    def _write_both(self, batch: bytes, payload: bytes) -> None:
        self.bytes_sent += len(batch) + len(payload)
        self.transport.writelines((batch, payload))
        self._count_write()

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

    def _enqueue_frame(self, frame: Frame) -> None:
        waiting = self._waiting_frames()
        if is_control(frame) and not is_close(frame) and waiting.has_room_for_control():
            waiting.put_control(self.encoder.encode(frame))
            return
        if self._overflow_out_closes and not is_control(frame) and waiting.is_full():
            raise self.fail_outgoing()
        waiting.put(self.encoder.encode(frame))

    def unsent(self) -> int:
        """Frames that wait for the transport, with the one that is being sent in pieces."""
        return SendQueue.unsent(self) + (self.encoder.missing > 0)

    def undelivered(self) -> int:
        """Bytes that were accepted and that the peer has not taken, as far as the system reports it."""
        if self.dropped:
            return 0
        waiting = 0 if self._queue_out is None else self._queue_out.size_of_all()
        held = bytes_unsent(self.transport) + kernel_queue(self.transport)
        return int(self.encoder.size + self.encoder.missing + waiting + held)

    def bytes_taken(self) -> int:
        """Bytes that the peer has taken so far, as far as the system reports it."""
        if self.dropped:
            return int(self.bytes_sent)
        count = acknowledged(self.transport)
        if count is not None:
            return count
        held = bytes_unsent(self.transport) + kernel_queue(self.transport)
        return int(self.bytes_sent - held)

    def drain(self) -> None:
        """Give the transport the frames that waited, control frames first. Called when it takes bytes again, and when
        a frame that was sent in pieces is complete: until then, nothing else may leave."""
        encoder = self.encoder
        while self._queue_out is not None and not self.write_paused and not encoder.missing:
            wire = self._queue_out.take()
            if wire is None:
                self._queue_out = None
            else:
                encoder.append_bytes(wire)
            if encoder.size and (wire is None or encoder.size >= BATCH):
                self.write_batch()
        self.wake_senders()

    # ---- who waits --------------------------------------------------------------------

    def drained(self) -> asyncio.Future[None] | None:
        """Return a future that is done when nothing waits for the transport any more. None if nothing waits. If nothing
        more is accepted, the rest of a frame that is being sent in pieces counts, too."""
        if self.encoder.size:
            self.write_batch()
        owed = self.send_phase and self.encoder.missing
        if self.is_lost() or not (self.write_paused or SendQueue.unsent(self) or owed):
            return None
        self._waiting_frames()  # so that ``drain()`` notices the end of the pause
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._drain_waiters is None:
            self._drain_waiters = []
        self._drain_waiters.append(waiter)
        return waiter

    def forget_outgoing(self) -> None:
        """Drop everything that was not written and wake all senders, because the connection is lost."""
        self._queue_out = None
        self.encoder.take()
        self.encoder.give_up()
        self._end_turns()
        if self._drain_waiters is not None:
            waiters, self._drain_waiters = self._drain_waiters, None
            wake_all(waiters)
