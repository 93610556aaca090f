"""One WebSocket connection as the protocol of an asyncio transport: the transport's calls, the start and the end.

One source, two builds: as it stands, and compiled with the types in ``connection.pxd``. It stands on the two halves,
``outgoing.py`` and ``incoming.py``, and on ``life.py``; ``phases.py`` draws the whole.

The loop reads into a buffer that all its connections share, so an idle connection holds none. The rest of a large
payload is read straight into that payload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .awaitables import step
from .delivery import DeliveryTimer, StallTimer
from .incoming import IncomingHalf
from .life import wake_all
from .phases import ConnectionPhase, Event, SendPhase
from .reading import call_guarded
from .transports import attach

if TYPE_CHECKING:
    from .frame_log import FrameLog
    from .options import SessionOptions

READ_BUFFER = 256 * 1024
LINGER = 1.0  # seconds that a peer which has sent its Close may take to end its side of the stream
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024  # uvloop's low mark is 16 bytes: set both, everywhere alike
DISCONNECTING = int(ConnectionPhase.DISCONNECTING)
SEND_CLOSING = int(SendPhase.CLOSING)

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[bytearray, memoryview]] = WeakKeyDictionary()


def read_buffer(loop: asyncio.AbstractEventLoop) -> tuple[bytearray, memoryview]:
    """The buffer that ``loop`` reads into, and the view to give it.

    ``get_buffer()`` and ``buffer_updated()`` run back to back, so all connections of a loop share one. The Windows
    proactor keeps the buffer in between: one for each connection there.
    """
    pair = _buffers.get(loop)
    if pair is None:
        buffer = bytearray(READ_BUFFER)
        pair = (buffer, memoryview(buffer))
        if type(loop).__name__ != "ProactorEventLoop":
            _buffers[loop] = pair
    return pair


class ConnectionCore(IncomingHalf):
    """One WebSocket connection over an asyncio transport, in either role. Not thread-safe, like its loop.

    Args:
        server: The role: it decides which frames must be masked.
        previous_protocol: The protocol that had the transport before. It still gets the loss and the write pauses.
        on_lost: Called when the connection is lost, after everything else.
        new_masking_key: Source of masking keys, 4 bytes each. None: the system's.
    """

    __slots__ = (
        "_buffer",
        "_delivery_timer",
        "_guard",
        "_half_open_handle",
        "_is_client",
        "_moved_before",
        "_on_lost",
        "_previous_protocol",
        "_target",
        "_view",
        "_write_timeout",
        "bytes_received",
        "limit",
        "limit_text",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        server: bool,
        options: SessionOptions,
        previous_protocol: Any,
        on_lost: Callable[[], None],
        new_masking_key: Callable[[], bytes] | None,
    ) -> None:
        super().__init__(transport, loop, server, options, new_masking_key)
        self._is_client = not server
        self._previous_protocol = previous_protocol
        self._on_lost: Callable[[], None] | None = on_lost
        self._buffer, self._view = read_buffer(loop)
        self._target: memoryview | None = None
        self.bytes_received: int = 0
        self.limit: str | None = None  # the option whose limit ended the connection
        self.limit_text: str = ""
        self._write_timeout = options.write_timeout
        self._guard: StallTimer | None = None
        self._delivery_timer: DeliveryTimer | None = None
        self._half_open_handle: asyncio.TimerHandle | None = None
        self._moved_before: tuple[int, int] | None = None

    def start(self, early: Iterable[bytes], log: FrameLog | None = None) -> None:
        """Become the transport's protocol, then take the bytes that came before that.

        Args:
            log: The log of this connection's frames, or None.

        Raises:
            TypeError: The transport lacks a method that a session needs.
        """
        # The subclass is a BufferedProtocol.
        attach(self.transport, self, high=HIGH_WATER, low=LOW_WATER)  # type: ignore[arg-type]
        if log is not None:
            self.frame_log: FrameLog | None = log
            self.transport: asyncio.Transport = log.watching(self.transport)
        for data in early:
            self.feed(data)

    # ---- the transport's calls --------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.receive_phase:
            return self._view
        target = self.parser.target()
        if target is None:
            return self._view
        self._target = target
        return target

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._unchecked = 0
        if self.receive_phase:  # the end of the input is known: whatever follows is not for us
            self._target = None
            return
        if self._target is not None:
            self._target = None
            self._received(self.parser.advance(nbytes))
        else:
            self.parse(self._buffer, nbytes)
        if self.is_awaited():  # the last thing to do: the task may run in here, and end the session
            step(self.consumer_queue)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that the transport did not read into our buffer: those behind the handshake, or of a stream."""
        nbytes = len(data)
        self.bytes_received += nbytes
        if not self.receive_phase:
            self.parse(data, nbytes)
            self.wake_receiver()

    def eof_received(self) -> bool:
        """The peer has ended its side of the stream.

        True keeps plain TCP writable after that, so that replies the peer waits for still reach it. TLS knows no
        half-close, and asyncio warns about True there.
        """
        self.eof = True
        self.end_input(Event.STREAM_ENDED)
        if self.is_lost() or not self.transport.can_write_eof():
            return False
        if self.connection_phase:
            self._continue_disconnecting()
        else:
            # The peer may as well be gone for good: a side on which nothing moves is not kept.
            self._watch_half_open()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.is_lost():
            return
        self.dropped = True
        if exc is not None and self.error is None:
            self.error: BaseException | None = exc
        if not self.receive_phase:
            self.inside_frame: bool = self.parser.mid_frame
        self._target = None
        self.queue.ending = True
        self._stop_timers()
        try:
            self.move(Event.LOST)
            self.forget_outgoing()
            if self._lost_waiters is not None:
                waiters, self._lost_waiters = self._lost_waiters, None
                wake_all(waiters)
            self.wake_at_end()
            self.continue_listening()
            self.check_all_taken()
            self.release()
        finally:
            on_lost, self._on_lost = self._on_lost, None
            previous, self._previous_protocol = self._previous_protocol, None
            if on_lost is not None:
                call_guarded(self._loop, self.transport, on_lost)
            if previous is not None:
                call_guarded(self._loop, self.transport, previous.connection_lost, exc)

    def pause_writing(self) -> None:
        self.write_paused: bool = True
        if self._write_timeout is not None and self._guard is None:
            # A fast sender pauses and goes on all the time: the timer runs on until it finds that writing goes on.
            self._guard = StallTimer(self._loop, self, self._write_timeout, self._is_writing_again, self._write_overdue)
        if self._previous_protocol is not None:
            self._previous_protocol.pause_writing()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._previous_protocol is not None:
            self._previous_protocol.resume_writing()
        self.drain()
        if self.listener is not None or self.connection_phase:
            # A transport of asyncio that is closed or aborted in here would report its loss twice.
            self._loop.call_soon(self._go_on_after_pause)

    def _go_on_after_pause(self) -> None:
        self.continue_listening()
        if self.connection_phase:
            self._continue_disconnecting()

    def _is_writing_again(self) -> bool:
        if not self.write_paused:
            self._guard = None
        return not self.write_paused

    def _write_overdue(self) -> None:
        self._guard = None
        self.end_at_limit("write_timeout", f"the peer took nothing for {self._write_timeout} seconds")

    # ---- who waits to send ------------------------------------------------------------

    def finish_turn(self, turn: asyncio.Future[None]) -> None:
        """Call ``leave_turn()``, and let a listener that was held go on."""
        self.leave_turn(turn)
        if self.in_place and not self.is_full():
            self.continue_listening()

    # ---- the end ----------------------------------------------------------------------

    def disconnect(self, keep_received: bool = False) -> None:
        """End the connection in order, without a Close frame of ours. Returns at once.

        First everything that was accepted is delivered, and our side of the stream is ended. Then the peer may end its
        own side, and the transport is closed. Bytes that the peer still sends are thrown away. The connection is
        aborted if the peer takes nothing for ``close_timeout`` seconds, or if it has everything and does not end its
        side in that time. A peer that has sent its Close has ``LINGER`` seconds for that, since it has no more to send.

        Args:
            keep_received: Frames that wait can still be taken. Default: False (they are dropped).
        """
        if self.connection_phase:
            return
        self.send_pending_close()
        if self.dropped:  # sending it found the connection broken
            return
        self._stop_timers()
        self.queue.ending = True
        self.move(Event.DISCONNECT)
        self._end_turns()
        if not keep_received:
            self.discard_input()
        grace = self._close_timeout if self.close_received is None else min(LINGER, self._close_timeout)
        self._delivery_timer = DeliveryTimer(
            self._loop, self, self._close_timeout, self._disconnect_overdue, grace, self._all_delivered
        )
        self._continue_disconnecting()

    def _all_delivered(self) -> None:
        self._continue_disconnecting()

    def _continue_disconnecting(self) -> None:
        """Take the next step of ``disconnect()``. Called when frames were written, or the peer has ended its side."""
        if self.connection_phase != DISCONNECTING or self.dropped:
            return
        transport = self.transport
        if self.send_phase == SEND_CLOSING:
            if self.unsent():
                return
            if self.encoder.size:
                self.write_batch()
            timer = self._delivery_timer
            if self._ends_both_directions() and timer is not None and not timer.is_delivered:
                return  # ``_all_delivered()`` goes on
            if self._is_client and not self.eof and self.close_sent is not None and self.close_received is not None:
                return  # the server ends TCP first (RFC 6455, section 7.1.1); the timer ends it if the server does not
            self.move(Event.OUTPUT_ENDED)
            if transport.is_closing():  # since the peer's end of the stream; once more would break a TLS transport
                return
            if not self.eof and transport.can_write_eof():
                # close() with input unread makes TCP send a reset, which can overtake our last frames.
                try:
                    transport.write_eof()
                except OSError:  # the peer has reset the connection, and the loop has yet to notice
                    self.abort()
            else:
                transport.close()
        elif self.eof and not transport.is_closing():
            transport.close()

    def _ends_both_directions(self) -> bool:
        """True if ending our side would end the peer's side, too, as in TLS, while the peer may be sending.

        The system would answer the peer's next bytes with a reset, which drops everything that is not delivered yet.
        """
        transport = self.transport
        has_ended = self.eof or self.close_received is not None or transport.is_closing()
        return not has_ended and not transport.can_write_eof()

    def _disconnect_overdue(self, undelivered: bool) -> None:
        self._delivery_timer = None
        if undelivered:
            left = f"{self.undelivered()} bytes or more were not taken in {self._close_timeout} seconds"
            self.end_at_limit("close_timeout", left)
        else:
            self.abort()

    def end_at_limit(self, option: str, text: str) -> None:
        """Abort the connection because the limit of ``option`` was reached."""
        if self.limit is None:
            self.limit, self.limit_text = option, text
        self.abort()

    def _watch_half_open(self) -> None:
        self._moved_before = (self.bytes_sent, self.bytes_taken())
        self._half_open_handle = self._loop.call_later(self._close_timeout, self._check_half_open)

    def _check_half_open(self) -> None:
        self._half_open_handle = None
        if self.connection_phase:
            return
        if (self.bytes_sent, self.bytes_taken()) == self._moved_before:
            self.disconnect(keep_received=True)
        else:
            self._watch_half_open()

    def _stop_timers(self) -> None:
        if self._half_open_handle is not None:
            self._half_open_handle.cancel()
            self._half_open_handle = None
        if self._close_delay is not None:
            self._close_delay.cancel()
            self._close_delay = None
        if self._delivery_timer is not None:
            self._delivery_timer.stop()
            self._delivery_timer = None
        if self._guard is not None and self.is_lost():
            self._guard.stop()
            self._guard = None


class Connection(ConnectionCore, asyncio.BufferedProtocol):
    """The protocol of the transport. asyncio and aiofastnet ask ``isinstance(protocol, BufferedProtocol)``."""

    __slots__ = ()
