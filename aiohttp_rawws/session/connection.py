"""The transport after the takeover: reading, dispatch, write batching, flow control, loss.

One source, two builds: imported as it stands, and compiled (types in its ``.pxd``).
Names without underscore are what the session uses.

Reading. The loop reads into a buffer that all connections of the loop share, so an idle connection holds
none; the rest of a large payload is read straight into that payload. Frames parsed from one read are
handed on together.

Writing. ``transport.write()`` is a system call on every loop, so frames sent while others wait to be
taken are collected and leave in one write: when the last received frame has been taken, at 64 KiB, or
one loop iteration later at the latest. A frame sent when nothing waits leaves at once. While the
transport is above its high-water mark frames wait in ``_out``; pings and pongs overtake them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ChannelOverflow, PeerError, RawWSError, SessionClosed
from ..wire.codec import Frame, FrameEncoder, FrameParser, PreparedFrame, is_close, is_control
from ..wire.codes import CloseReason
from .awaitables import step, wake
from .buffers import read_buffer
from .closing import PATIENCE, closed_error, reason_for, reason_of
from .queues import IncomingQueue, OutgoingQueue
from .state import CloseState, Side

if TYPE_CHECKING:
    from ..extensions.base import ExtensionPipeline
    from .options import SessionOptions

BATCH = 64 * 1024  # a batch of frames is written when it reaches this
UNJOINED = 32 * 1024  # a payload from this size on is written by itself, not copied behind its header
OPCODE, CLOSE = 0x0F, 0x08  # in the first byte of a frame
UNCHECKED = 16  # writes in a row, with nothing read in between, after which the transport is asked whether it still is
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024  # uvloop's low mark is 16 bytes: set both, everywhere alike


def wake_all(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class ConnectionCore:
    """One WebSocket connection over an asyncio transport, either role. Not thread-safe, like its loop."""

    __slots__ = (
        "__weakref__", "_buffer", "_corked", "_discarding", "_drain_waiters", "_flush_scheduled",
        "_half_open_handle", "_half_open_timeout", "_host", "_in_overflow_closes", "_loop", "_on_lost", "_out",
        "_out_capacity", "_out_max_bytes", "_out_overflow_closes", "_reading_paused", "_room_waiters",
        "_sent_before_check", "_target", "_transport", "_unchecked", "_unsent_close", "_view", "answers_violations",
        "batching", "broken", "bytes_received", "bytes_sent", "close_received", "close_sent", "encoder",
        "ended_waiter", "ending", "eof", "error", "failure", "frames_received", "frames_sent", "heard", "held",
        "incoming_ended", "listener", "local_first", "lost", "on_end", "overflowed", "parser", "pipeline", "queue",
        "taken_from", "write_paused",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        server: bool,
        options: SessionOptions,
        host: Any,
        on_lost: Callable[[], None],
        new_masking_key: Callable[[], bytes] | None,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._host = host
        self._on_lost: Callable[[], None] | None = on_lost
        self._buffer, self._view = read_buffer(loop)
        self._target: memoryview | None = None
        self.parser = FrameParser(masked=server, strict=options.strict, max_frame_size=options.max_frame_size)
        masking = not server if options.masking is None else options.masking
        if new_masking_key is None:
            self.encoder = FrameEncoder(masking=masking, strict=options.strict)
        else:
            self.encoder = FrameEncoder(masking=masking, strict=options.strict, new_masking_key=new_masking_key)
        self.answers_violations = options.on_violation == "close"
        self._unsent_close: Frame | None = None
        self._half_open_timeout = options.close_timeout

        # received, not yet taken
        incoming, outgoing = options.incoming, options.outgoing
        self.queue = IncomingQueue(incoming.capacity, incoming.max_bytes)
        self.taken_from = self.queue  # where tasks receive from: a session behind ``listener`` has a queue of its own
        self._in_overflow_closes = incoming.on_overflow == "close"
        self.listener: Callable[[Any], object] | None = None
        self.on_end: Callable[[], object] | None = None
        self.pipeline: ExtensionPipeline | None = None
        self.incoming_ended = False  # nothing more will be queued
        self.failure: BaseException | None = None  # what receive() raises instead of a plain end
        self.error: BaseException | None = None  # the same, or the transport's error
        self.heard = False  # somebody was told of ``failure``
        self._discarding = False
        self.held = False  # not reading on: the session said so
        self._reading_paused = False

        # sent, not yet taken by the transport
        self._out: OutgoingQueue | None = None
        self._out_capacity = -1 if outgoing.capacity is None else outgoing.capacity
        self._out_max_bytes = -1 if outgoing.max_bytes is None else outgoing.max_bytes
        self._out_overflow_closes = outgoing.on_overflow == "close"
        self.overflowed = False
        self.write_paused = False
        self._corked = 0
        self.batching = False  # the session says that more is coming
        self._flush_scheduled = False
        self._room_waiters: list[asyncio.Future[None]] | None = None
        self._drain_waiters: list[asyncio.Future[None]] | None = None
        self.ended_waiter: asyncio.Future[None] | None = None

        # the closing handshake and the end
        self.close_sent: CloseReason | None = None
        self.close_received: CloseReason | None = None
        self.local_first = False
        self.ending = False
        self.eof = False
        self.broken = False  # a write found the transport gone; the loop has yet to say so
        self._unchecked = 0  # writes since that was looked at
        self.lost = False
        self._half_open_handle: asyncio.TimerHandle | None = None
        self._sent_before_check = 0

        self.frames_received = 0
        self.bytes_received = 0
        self.frames_sent = 0
        self.bytes_sent = 0

    # ---- the transport's calls --------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._discarding:
            return self._view
        target = self.parser.target()
        if target is None:
            return self._view
        self._target = target
        return target

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._unchecked = 0
        if self._target is not None:
            self._target = None
            if not self._discarding:
                self._received(self.parser.advance(nbytes))
        else:
            self._parse(self._buffer, nbytes)
        if self._has_woken():  # the last thing to do: the task may run in here, and end the session
            step(self.taken_from)

    def eof_received(self) -> bool:
        """True keeps plain TCP writable after the peer's half-close, so that replies it waits for still reach it.
        TLS knows no half-close: asyncio warns about True there."""
        self.eof = True
        self._end_incoming(None)
        if self.ended_waiter is not None and not self.ended_waiter.done():
            self.ended_waiter.set_result(None)
        if self.lost or not self._transport.can_write_eof():
            return False
        if not self.ending:
            # The peer may as well be gone for good: a side on which nothing moves is not kept.
            self._sent_before_check = self.bytes_sent
            self._half_open_handle = self._loop.call_later(self._half_open_timeout, self._check_half_open)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        if exc is not None and self.error is None:
            self.error = exc
        self._target = None
        if self._half_open_handle is not None:
            self._half_open_handle.cancel()
            self._half_open_handle = None
        self._out = None
        if self.listener is not None and self.queue.count() and not self._discarding:
            self._listen_on()  # what waited for the peer to read; nothing else would hand it over now
        self._end_incoming(None)
        self._wake_senders()
        if self.ended_waiter is not None and not self.ended_waiter.done():
            self.ended_waiter.set_result(None)
        on_lost, self._on_lost = self._on_lost, None
        host, self._host = self._host, None
        try:
            if on_lost is not None:
                on_lost()
        finally:
            if host is not None:
                host.connection_lost(exc)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._host is not None:
            self._host.pause_writing()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._host is not None:
            self._host.resume_writing()
        self._drain()

    # ---- receiving --------------------------------------------------------------------

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that came some other way than by the transport's reads: behind the handshake, from a stream."""
        nbytes = len(data)
        self.bytes_received += nbytes
        self._parse(data, nbytes)
        self._wake_receiver()

    def _parse(self, data: Any, nbytes: int) -> None:
        if self._discarding:
            return
        if self._in_overflow_closes or self.listener is not None:
            self._received(self.parser.feed(data, nbytes, -1, -1))
            return
        frames, size = self.queue.room(), self.queue.room_in_bytes()
        if size == 0:
            frames = 0
        self._received(self.parser.feed(data, nbytes, frames, size))

    def _received(self, items: list[Any]) -> None:
        if items:
            self.frames_received += len(items)
            if self.parser.closed and self.close_received is None:
                # before the handler sees the Close, so that who was first is known by then
                self.close_received = reason_of(items[len(items) - 1])  # compiled without wraparound: not [-1]
                self.local_first = self.close_sent is not None
            if self.pipeline is not None:
                items = self._transformed(items)
            if self.listener is not None and not self.queue.count():
                self._call_listener(items)
            else:
                self._enqueue(items)
        if self.parser.closed:
            self._end_incoming(None)
        elif self.parser.error is not None:
            self._violated(self.parser.error)

    def _has_woken(self) -> bool:
        """Whether a task waits for what waits for it."""
        queue = self.taken_from
        return queue.waiter is not None and queue.count() > 0 and not queue.has_listener

    def _wake_receiver(self) -> None:
        if self._has_woken():
            wake(self.taken_from)

    def apply(self, pipeline: ExtensionPipeline) -> None:
        """Have frames go through ``pipeline`` from now on, those not yet taken included."""
        self.pipeline = pipeline
        self.queue.put(self._transformed(self.queue.take_all()))

    def _transformed(self, items: list[Any]) -> list[Any]:
        assert self.pipeline is not None
        result: list[Any] = []
        try:
            for item in items:
                result.extend(self.pipeline.incoming(item))
        except PeerError as exc:
            self._discarding = True
            self._loop.call_soon(self._violated, exc)  # behind what was good
        return result

    def _violated(self, error: PeerError) -> None:
        """The peer broke the rules: tell the reader and, unless that is left to the handler, the peer."""
        if self.incoming_ended:
            return
        self._end_incoming(self.own(error))
        if self.answers_violations:
            self._unsent_close = Frame.close(reason_for(error))
            if self.queue.count() and self.listener is None:  # they may be answered first
                self._loop.call_later(min(PATIENCE, self._half_open_timeout), self.send_farewell)
            else:
                self.send_farewell()

    def send_farewell(self) -> None:
        """Send the Close that answers a violation, when the frames before that have been taken, or took too long."""
        close, self._unsent_close = self._unsent_close, None
        if close is not None and self.close_sent is None and not self.has_ended():
            self.put(close)

    def _enqueue(self, items: list[Any]) -> None:
        queue = self.queue
        if self._in_overflow_closes:
            admitted = queue.admit(items)
            if len(admitted) < len(items):  # what waits stays readable, the frame too many is refused
                self._discarding = True
                waiting = f"{queue.count() + len(admitted)} frames wait"
                self._end_incoming(self.own(ChannelOverflow(f"incoming overflowed: {waiting}")))
            items = admitted
        queue.put(items)
        if queue.is_full() and not self._in_overflow_closes:
            queue.full = True
            self._govern_reading()

    def refill(self) -> None:
        """Read on, half of the bound being free: one frame at a time would cost a pause and a resume for each."""
        self.queue.full = False
        self._parse(b"", 0)  # what the parser holds back comes first, and may fill the channel again
        self._govern_reading()

    def _govern_reading(self) -> None:
        """Pause or resume the transport, whichever the reasons to pause now ask for."""
        wanted = not self._discarding and (
            self.queue.full or self.held or (self.listener is not None and self.is_outgoing_full())
        )
        if wanted != self._reading_paused and not self.eof and not self.lost:
            self._reading_paused = wanted
            if wanted:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _end_incoming(self, error: BaseException | None) -> None:
        if self.incoming_ended:
            return
        self.incoming_ended = True
        if error is not None:
            self.failure = self.error = error
        waiter = self.queue.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self._tell_end()

    def _tell_end(self) -> None:
        """Call ``on_end`` once nothing more will be received and the listener has had everything."""
        if self.on_end is not None and self.incoming_ended and (not self.queue.count() or self.failure):
            on_end, self.on_end = self.on_end, None
            on_end()

    def when_ended(self, callback: Callable[[], object]) -> None:
        if self.on_end is not None:
            raise RuntimeError("on_end() has a callback already")
        self.on_end = callback
        self._tell_end()

    def discard_input(self) -> None:
        """Read on and throw away: what the peer still sends must not sit in the socket, or closing resets it."""
        self._discarding = True
        self.queue.take_all()
        self._end_incoming(None)
        self._govern_reading()

    def hold(self, held: bool) -> None:
        """The session's own pause."""
        self.held = held
        if held or self.listener is None:
            self._govern_reading()
        else:
            self._listen_on()

    # ---- a listener instead of a queue ------------------------------------------------

    def listen(self, listener: Callable[[Any], object]) -> None:
        self.listener = listener
        self.queue.has_listener = True
        self._listen_on()

    def _listen_on(self) -> None:
        """Hand over what was queued, then what the parser holds back."""
        self.queue.full = False
        if self.queue.count():
            self._call_listener(self.queue.take_all())
        if not self.queue.count():
            self._parse(b"", 0)
            self._tell_end()
        self._govern_reading()
        self._wake_receiver()

    def _call_listener(self, items: list[Any]) -> None:
        listener = self.listener
        assert listener is not None
        taken = 0
        self._corked += 1
        try:
            for item in items:
                if self.held or self.is_outgoing_full():
                    break
                taken += 1
                listener(item)
        except Exception as exc:
            self._discarding = True
            if self.lost and isinstance(exc, SessionClosed):  # it answers, and nobody is there: no error of its own
                self._end_incoming(None)
            else:
                self._end_incoming(exc)
                self._loop.call_soon(self._report_unheard)
        finally:
            self._corked -= 1
        if not self._corked and self.encoder.size:
            self.write_batch()
        if taken < len(items) and not self._discarding:
            self.queue.put(items[taken:])
            self._govern_reading()

    def _report_unheard(self) -> None:
        """A listener failed and nobody awaits ``listen()`` to hear of it."""
        if not self.heard and self.queue.waiter is None:
            self.heard = True
            self._loop.call_exception_handler(
                {"message": "Error in a WebSocket listener", "exception": self.failure, "protocol": self}
            )
            self.abort()

    # ---- sending ----------------------------------------------------------------------

    def put(self, frame: Frame) -> None:
        """Send ``frame`` after those before it; never waits. The caller has asked ``is_outgoing_full()``.

        Raises SessionClosed, ConnectionLost; RuntimeError and the state unchanged for a frame that may not
        come here (a text fragment inside a binary message).
        """
        if self.close_sent is not None or self.has_ended():
            raise self.cannot_send()
        if self.pipeline is not None:
            frame = self.pipeline.outgoing(frame)
        encoder = self.encoder
        if self.write_paused or self._out is not None:
            self._put_aside(frame)
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
            self.close_sent = reason_of(frame)
            self.local_first = self.close_received is None

    def put_prepared(self, prepared: PreparedFrame) -> None:
        """Send wire bytes that were made once for many sessions; they are not copied where they wait."""
        if self.encoder.masking or self.pipeline is not None or is_close(prepared.frame):
            self.put(prepared.frame)
            return
        if self.close_sent is not None:
            raise self.cannot_send()
        self.encoder.encode(prepared)  # gives ``wire`` back, and raises where a message is open
        if self._out_overflow_closes and self.is_outgoing_full():
            self.overflowed = True
        self.put_bytes(prepared.wire)
        self.frames_sent += 1

    def put_ready(self, prepared: PreparedFrame) -> bool:
        """``put_prepared()`` where nothing is in its way: the bytes go to the transport as they are. Returns False, and
        has done nothing, where anything is."""
        encoder = self.encoder
        if (
            self.close_sent is not None
            or self._out is not None
            or self.pipeline is not None
            or self.write_paused
            or self.has_ended()
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

    def put_bytes(self, data: bytes) -> None:
        """Send bytes as they are, between frames."""
        if self.has_ended():
            raise self.cannot_send()
        if self.write_paused or self._out is not None:
            self._aside().put(data)
        elif len(data) >= UNJOINED or not (self.encoder.size or self._holds_back()):
            if self.encoder.size:
                self.write_batch()
            self._write(data)
        else:
            self.encoder.append_bytes(data)
            self._batch()

    def _holds_back(self) -> bool:
        """More is likely to be sent at once: collect it."""
        return self._corked > 0 or self.batching or self.taken_from.count() > 0

    def _batch(self) -> None:
        """Write now, or leave it to whoever writes next when there is more to come."""
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
        if self.lost:
            self.encoder.take()
            return
        data = self.encoder.take()
        self._write(data)

    def _write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self._transport.write(data)
        self._unchecked += 1
        if self._unchecked >= UNCHECKED:
            # Reset by the peer, a transport drops what is written, without a word, until the loop runs again. A handler
            # that sends in a row must not go on for ever.
            self._unchecked = 0
            self.broken = self._transport.is_closing()

    def has_ended(self) -> bool:
        """Nothing can be written any more."""
        return self.ending or self.lost or self.broken or self.overflowed

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

    def _aside(self) -> OutgoingQueue:
        if self._out is None:
            self._out = OutgoingQueue(self._out_capacity, self._out_max_bytes)
        return self._out

    def _put_aside(self, frame: Frame) -> None:
        out = self._aside()
        if is_control(frame) and not is_close(frame) and out.has_lane():
            out.put_control(self.encoder.encode(frame))
            return
        if self._out_overflow_closes and not is_control(frame) and out.is_full():
            self.overflowed = True
            raise self.cannot_send()
        out.put(self.encoder.encode(frame))

    def is_outgoing_full(self) -> bool:
        return self._out is not None and self._out.is_full()

    def must_wait(self, frame: Frame) -> bool:
        """Whether ``frame`` has to wait while outgoing is full: Close never, ping and pong only in a flood."""
        if self._out_overflow_closes or is_close(frame) or self.close_sent is not None or self.ending:
            return False
        return not is_control(frame) or (self._out is not None and not self._out.has_lane())

    def unsent(self) -> int:
        """Frames that wait for the transport."""
        return 0 if self._out is None else self._out.count()

    def _drain(self) -> None:
        """The transport takes bytes again: give it what waited, control frames first."""
        encoder = self.encoder
        while self._out is not None and not self.write_paused:
            wire = self._out.take()
            if wire is None:
                self._out = None
            else:
                encoder.append_bytes(wire)
            if encoder.size and (wire is None or encoder.size >= BATCH):
                self.write_batch()
        self._wake_senders()
        if self.listener is not None and not self._discarding and not self.is_outgoing_full():
            self._listen_on()

    def _wake_senders(self) -> None:
        if self._room_waiters is not None and (self.lost or not self.is_outgoing_full()):
            waiters, self._room_waiters = self._room_waiters, None
            wake_all(waiters)
        if self._drain_waiters is not None and (self.lost or self._out is None):
            waiters, self._drain_waiters = self._drain_waiters, None
            wake_all(waiters)

    def room(self) -> asyncio.Future[None] | None:
        """A future for the moment when outgoing is not full; None if that is now."""
        if self.lost or not self.is_outgoing_full():
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._room_waiters is None:
            self._room_waiters = []
        self._room_waiters.append(waiter)
        return waiter

    def drained(self) -> asyncio.Future[None] | None:
        """A future for the moment when nothing waits for the transport any more; None if that is now."""
        if self.encoder.size:
            self.write_batch()
        if self.lost or (self._out is None and not self.write_paused):
            return None
        self._aside()  # so that the end of the pause is noticed
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._drain_waiters is None:
            self._drain_waiters = []
        self._drain_waiters.append(waiter)
        return waiter

    def cannot_send(self) -> Exception:
        """Why nothing more can be sent."""
        if self.overflowed:
            return self.own(ChannelOverflow("outgoing overflowed: the peer reads too slowly"))
        return self.closed_error()

    def closed_error(self) -> Exception:
        return self.own(closed_error(self.state(), self.parser.mid_frame))

    def own(self, error: RawWSError) -> RawWSError:
        """``error``, to be told from those of other sessions."""
        error._source = self
        return error

    def owns(self, exc: BaseException) -> bool:
        return isinstance(exc, RawWSError) and exc._source is self

    def state(self) -> CloseState:
        first: Side | None = None
        if self.close_sent is not None or self.close_received is not None:
            first = "local" if self.local_first else "peer"
        return CloseState(
            self.close_sent, self.close_received, first, self.lost or self.broken, self.eof, self.error
        )

    # ---- the end ----------------------------------------------------------------------

    def start(self, early: Iterable[bytes]) -> None:
        """Become the transport's protocol, then take the bytes that came before that."""
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._transport.set_protocol(self)  # type: ignore[arg-type]  # the subclass is a BufferedProtocol
        for data in early:
            self.feed(data)

    def _check_half_open(self) -> None:
        self._half_open_handle = None
        if self.lost or self.ending:
            return
        if self.bytes_sent == self._sent_before_check:
            if self._transport.is_closing():
                self._transport.abort()  # what it still holds is not read
                return
            self._transport.close()
        self._sent_before_check = self.bytes_sent
        self._half_open_handle = self._loop.call_later(self._half_open_timeout, self._check_half_open)

    def abort(self) -> None:
        if not self.lost:
            self.ending = True
            self._transport.abort()


class Connection(ConnectionCore, asyncio.BufferedProtocol):
    """What ``transport.set_protocol()`` gets. asyncio and aiofastnet ask ``isinstance(protocol, BufferedProtocol)``."""

    __slots__ = ()
