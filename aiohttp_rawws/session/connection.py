"""One WebSocket connection as the protocol of an asyncio transport: the transport's calls, and the start.

One source, two builds: as it stands, and compiled with the types in ``connection.pxd``. It stands on the two halves,
``outgoing.py`` and ``incoming.py``, and on ``ending.py``, ``streaming.py`` and ``life.py``; ``phases.py`` draws the
whole.

The loop reads into a buffer that all its connections share, so an idle connection holds none. The rest of a large
payload is read straight into that payload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .awaitables import step
from .delivery import StallTimer
from .life import wake_all
from .phases import Event, SendPhase
from .reading import call_guarded
from .streaming import StreamingHalf
from .transports import attach, can_gather

if TYPE_CHECKING:
    from .options import SessionOptions

READ_BUFFER = 256 * 1024
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024  # uvloop's low mark is 16 bytes: set both, everywhere alike
SEND_DONE = int(SendPhase.DONE)

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


class ConnectionCore(StreamingHalf):
    """One WebSocket connection over an asyncio transport, in either role. Not thread-safe, like its loop.

    Args:
        server: The role: it decides which frames must be masked.
        previous_protocol: The protocol that had the transport before. It still gets the loss and the write pauses.
        on_lost: Called when the connection is lost, after everything else.
        new_masking_key: Source of masking keys, 4 bytes each. None: the system's.
    """

    __slots__ = (
        "_buffer",
        "_guard",
        "_on_lost",
        "_previous_protocol",
        "_target",
        "_view",
        "_write_timeout",
        "bytes_received",
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
        self._previous_protocol = previous_protocol
        self._on_lost: Callable[[], None] | None = on_lost
        self._buffer, self._view = read_buffer(loop)
        self._target: memoryview | None = None
        self.bytes_received: int = 0
        self._write_timeout = options.write_timeout
        self._guard: StallTimer | None = None

    def start(self, early: Iterable[bytes]) -> None:
        """Become the transport's protocol, then take the bytes that came before that.

        Raises:
            TypeError: The transport lacks a method that a session needs.
        """
        tap = self.tap
        transport = self.transport if tap is None else tap.transport
        attach(transport, self, high=HIGH_WATER, low=LOW_WATER)  # type: ignore[arg-type]  # a BufferedProtocol below
        self.gathers: bool = can_gather(transport)
        if tap is not None:
            tap.early = True
        for data in early:
            self.feed(data)
        if tap is not None:
            tap.early = False

    # ---- the transport's calls --------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.receive_phase:
            return self._view
        target = self.parser.target()
        if target is None:
            return self._view
        self._target = target
        return target

    def want_chunks(self) -> None:
        """See ``IncomingChunks``. The Windows proactor may be reading into a frame: that stays whole."""
        if self._target is not None and type(self._loop).__name__ == "ProactorEventLoop":
            return
        self._target = None
        StreamingHalf.want_chunks(self)

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._unchecked = 0
        if self.tap is not None:  # before the parser, which unmasks in place
            self.tap.received((self._view if self._target is None else self._target)[:nbytes])
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
        if self.tap is not None:
            self.tap.received(data)
        if not self.receive_phase:
            self.parse(data, nbytes)
            self.wake_receiver()

    def eof_received(self) -> bool:
        """The peer has ended its side of the stream.

        True keeps plain TCP writable after that, so that replies the peer waits for still reach it. TLS knows no
        half-close, and asyncio warns about True there.
        """
        self.eof = True
        if self.tap is not None:
            self.tap.ended("peer", "eof")
        self.end_input(Event.STREAM_ENDED)
        if self.is_lost() or not self.transport.can_write_eof():
            return False
        if self.connection_phase:
            self.continue_disconnecting()
        elif self.send_phase == SEND_DONE:
            self.disconnect(keep_received=True)  # both sides have ended: nothing else would close the transport
        else:
            # The peer may as well be gone for good: a side on which nothing moves is not kept.
            self.watch_half_open()
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
        self.stop_timers()
        if self._guard is not None:
            self._guard.stop()
            self._guard = None
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
            if self.tap is not None:
                if exc is not None:
                    self.tap.ended("peer", "reset")
                self.tap.lost(self.state(), self.tap.limit or self.limit)
                self.drop_tap()
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
        if self.listener is not None or self.connection_phase or self._ends_output:
            # A transport of asyncio that is closed or aborted in here would report its loss twice.
            self._loop.call_soon(self._go_on_after_pause)

    def _go_on_after_pause(self) -> None:
        self.continue_listening()
        if self.connection_phase:
            self.continue_disconnecting()
        elif self._ends_output:
            self.finish_output()

    def _is_writing_again(self) -> bool:
        if not self.write_paused:
            self._guard = None
        return not self.write_paused

    def _write_overdue(self) -> None:
        self._guard = None
        self.end_at_limit("write_timeout", f"the peer took nothing for {self._write_timeout} seconds")


class Connection(ConnectionCore, asyncio.BufferedProtocol):
    """The protocol of the transport. asyncio and aiofastnet ask ``isinstance(protocol, BufferedProtocol)``."""

    __slots__ = ()
