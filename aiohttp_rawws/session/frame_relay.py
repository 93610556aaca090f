"""One side of a pump that goes frame by frame: a callback sees each frame, and says what is sent in its place.

One source, two builds: as it stands, and compiled with the types in ``frame_relay.pxd``. Frames of one read leave in
one write. A frame keeps its first byte whatever was sent before it: opcodes and fragments are between the two ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame, FrameChunk, apply_mask, new_masking_key
from ..wire.header_bits import CLOSE, CONTROL, FIN, OPCODE
from ..wire.headers import head_byte, header_bytes
from . import relay
from .connection import Connection
from .phases import Event
from .reasons import reason_of

if TYPE_CHECKING:
    from ..wire.chunks import FrameHeader

# As in outgoing.py, which has them as numbers of C.
BATCH = 64 * 1024  # bytes at which a batch is written
UNJOINED = 32 * 1024  # a payload of this size or more is written by itself


class FrameRelayCore(relay.RelayCore):
    """One side of a pump with a callback.

    Args:
        on_frame: Called with each item, and ``session``.
        high_water: Bytes that may wait for it before reading stops.

    Attributes:
        cancelled: The task that was cancelled because the pump ends, if there is one. It may not have ended yet.
    """

    __slots__ = (
        "_before_hold",
        "_ends_later",
        "_held",
        "_high_water",
        "_is_lost_later",
        "_key",
        "_on_frame",
        "_passed",
        "_session",
        "_target",
        "_to_come",
        "_waiting",
        "_written",
        "cancelled",
    )

    def __init__(
        self,
        connection: Connection,
        endings: relay.Endings,
        session: Any,
        on_frame: Callable[[Any, Any], Any],
        high_water: int,
    ) -> None:
        super().__init__(connection, endings)
        self._high_water = high_water
        self.cancelled: asyncio.Task[Any] | None = None
        self._session: Any = session
        self._on_frame: Any = on_frame
        self._target: Any = None  # the payload that the transport reads into
        self._held: Any = None  # the future that the first of the waiting items waits for
        self._waiting: list[Any] = []
        self._before_hold = 0  # bytes that came before
        self._ends_later = False  # the peer's stream ended behind what waits
        self._is_lost_later = False  # and the connection, too
        self._passed = 0  # frames that are complete since the last write
        # Of the frame that goes out in chunks:
        self._key: bytes | None = None
        self._written = 0
        self._to_come = 0

    # ---- start and end ----------------------------------------------------------------

    def pass_held(self) -> None:
        connection = self.connection
        items = connection.queue.take_all()
        connection.queue.full = False
        self._count(items)
        self._came(items)
        if not self.is_over:
            self._parsed(connection.parser.feed(b"", 0, -1, -1))
        connection.check_all_taken()
        self.update_reading()

    def leave(self) -> None:
        relay.RelayCore.leave(self)
        self._session = self._on_frame = None

    def stop_holding(self) -> None:
        """Drop what waits for an awaitable of the callback, and cancel that."""
        held, self._held = self._held, None
        if held is not None:
            self._waiting = []
            held.remove_done_callback(self._released)
            if isinstance(held, asyncio.Task):  # else it is a future of the callback's own
                held.cancel()
                self.cancelled = held
            self._lose_late()

    # ---- bytes in ---------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        if not self.is_over:
            target = self.connection.parser.target()
            if target is not None:
                self._target = target
                return target
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        connection = self.connection
        if self._target is None:
            relay.RelayCore.buffer_updated(self, nbytes)
            return
        if connection.tap is not None:  # before the parser, which unmasks in place
            connection.tap.received(self._target[:nbytes])
        self._target = None
        connection.bytes_received += nbytes
        if not self.is_over and not connection.connection_phase:
            self.bytes_received += nbytes
            self._parsed(connection.parser.advance(nbytes))

    def take(self, data: Any, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._parsed(self.connection.parser.feed(data, nbytes, -1, -1))

    def _parsed(self, items: list[Any]) -> None:
        connection = self.connection
        connection.frames_received += len(items)
        if items and connection.parser.closed:
            self.note_close_received(reason_of(items[len(items) - 1]))
        self._count(items)
        self._came(items)

    def _count(self, items: list[Any]) -> None:
        for item in items:
            if not isinstance(item, FrameChunk) or item.last:
                self.frames_received += 1

    # ---- frames -----------------------------------------------------------------------

    def _came(self, items: list[Any]) -> None:
        """Items have arrived: pass them on, or let them wait behind those that do."""
        if self._held is not None:
            self._waiting.extend(items)
            self.update_reading()
            return
        self._pass_items(items)
        if self._held is None:
            self._all_passed()

    def _pass_items(self, items: list[Any]) -> None:
        """Ask the callback about each item, until it wants to be waited for."""
        target = self.other.connection  # type: ignore[union-attr]  # from take_over() on
        on_frame, session = self._on_frame, self._session
        count = 0
        try:
            for item in items:
                count += 1
                if target.send_phase and not self._to_come:  # a Close was sent: nothing may follow
                    break
                result = on_frame(item, session)
                if result is item:
                    self._put(item)
                elif result is not None and not self._put_result(result):
                    self._hold(result, items[count:])
                    break
            self._write(self._to_come)
        except Exception as exc:
            self._callback_failed(exc)

    def _put_result(self, result: Any) -> bool:
        """Send what the callback returned. Returns False if that has to be waited for."""
        if isinstance(result, (Frame, FrameChunk)):
            self._put(result)
        elif isawaitable(result):
            return False
        elif isinstance(result, Iterable) and not isinstance(result, (str, bytes)):
            for item in result:
                self._put(item)
        else:
            raise TypeError(f"on_frame must return Frames, FrameChunks, None or an awaitable, not {result!r}")
        return True

    def _put(self, item: Any) -> None:
        """Put one item behind those before it."""
        target = self.other.connection  # type: ignore[union-attr]
        if target.send_phase and not self._to_come:
            return
        if isinstance(item, FrameChunk):
            self._put_chunk(item)
            return
        if not isinstance(item, Frame):
            raise TypeError(f"on_frame must return Frames, FrameChunks, None or an awaitable, not {item!r}")
        if self._to_come:
            raise ValueError("on_frame returned a Frame inside of a frame that goes out in FrameChunks")
        frame = item
        encoder = target.encoder
        payload = frame.payload  # raises if the frame was not made
        head = frame._head
        is_whole = (head & CONTROL or (head & FIN and head & OPCODE)) and not encoder.mid_message
        if not is_whole:  # the encoder would change it to what fits behind the frames before it
            key = new_masking_key() if encoder.masking else None
            encoder.append_bytes(header_bytes(head, len(payload), key))
            self._append(payload if key is None else apply_mask(payload, key))
        elif len(payload) < UNJOINED:
            encoder.append(frame)
        elif encoder.masking:
            self._write()
            self.pass_bytes(encoder.encode(frame), 0, 0)
        else:
            encoder.append_header(frame)
            self._append(payload)
        self._passed += 1
        if encoder.size >= BATCH:
            self._write()
        if head & OPCODE == CLOSE:
            self._write()
            self.other.note_close_sent(reason_of(frame))  # type: ignore[union-attr]

    def _put_chunk(self, chunk: FrameChunk) -> None:
        encoder, header, payload = self.other.connection.encoder, chunk.header, chunk.payload  # type: ignore[union-attr]
        if chunk.offset == 0 and not self._to_come:
            self._begin(header)
        elif chunk.offset != self._written or header.length != self._written + self._to_come:
            raise ValueError("on_frame returned a FrameChunk that does not continue the frame that goes out in chunks")
        size = len(payload)
        if size > self._to_come or chunk.last != (size == self._to_come):
            raise ValueError("on_frame returned a FrameChunk of another size than its header says")
        self._to_come -= size
        self._append(payload if self._key is None else apply_mask(payload, self._key, self._written), self._to_come)
        self._written += size
        if not self._to_come:
            self._written = 0
            self._passed += 1
        if encoder.size >= BATCH:
            self._write(self._to_come)

    def _begin(self, header: FrameHeader) -> None:
        """Begin a frame that goes out in chunks."""
        encoder = self.other.connection.encoder  # type: ignore[union-attr]
        head = head_byte(header.opcode, header.fin, header.rsv1, header.rsv2, header.rsv3)
        self._key = new_masking_key() if encoder.masking else None
        encoder.append_bytes(header_bytes(head, header.length, self._key))
        self._written, self._to_come = 0, header.length

    def _append(self, data: bytes, missing: int = 0) -> None:
        """Put bytes into the batch. If there are many, write them without a copy.

        Args:
            missing: Bytes by which the frame is not complete then. Default: 0.
        """
        if len(data) < UNJOINED:
            self.other.connection.encoder.append_bytes(data)  # type: ignore[union-attr]
        else:
            self._write(len(data) + missing)
            self.pass_bytes(data, 0, missing)

    def _write(self, missing: int = 0) -> None:
        """Write what was put since the last call. ``missing``: bytes by which the last frame is not complete."""
        passed, self._passed = self._passed, 0
        target = self.other.connection  # type: ignore[union-attr]
        self.pass_bytes(target.encoder.take(), 0, missing)
        if not target.send_phase:
            target.frames_sent += passed
            self.frames_sent += passed

    def is_inside_frame(self) -> bool:
        return self._to_come > 0

    # ---- waiting for the callback -----------------------------------------------------

    def _hold(self, awaitable: Any, rest: list[Any]) -> None:
        """Let this direction wait. Reading goes on for a while, so that a loss is noticed."""
        self._held = asyncio.ensure_future(awaitable)
        self._waiting = rest
        self._before_hold = self.bytes_received
        self._held.add_done_callback(self._released)

    def _released(self, held: asyncio.Future[Any]) -> None:
        if self._held is not held:
            return
        self._held = None
        waiting, self._waiting = self._waiting, []
        try:
            result = None if held.cancelled() else held.result()
            if result is not None and not self._put_result(result):
                raise TypeError(f"what on_frame had awaited returned an awaitable: {result!r}")
        except Exception as exc:
            self._callback_failed(exc)
        else:
            self._pass_items(waiting)
            if self._held is None:
                self._all_passed()
        self.update_reading()

    def _all_passed(self) -> None:
        """Nothing waits: act on what ended behind it."""
        connection = self.connection
        if not self.is_over and connection.parser.error is not None:
            self.is_over = True
            if connection.tap is not None:
                connection.tap.violated(connection.parser.error)
            self.endings.failed(self, connection.parser.error)  # type: ignore[union-attr]
        elif not self.is_over and connection.parser.closed:
            self.is_over = True
            connection.check_all_taken()
            self.endings.close_passed(self)  # type: ignore[union-attr]
        if self._ends_later and not connection.connection_phase:
            self._ends_later = False
            self.endings.stream_ended(self)  # type: ignore[union-attr]
        self._lose_late()

    def _lose_late(self) -> None:
        if self._is_lost_later and self.endings is not None:
            self._is_lost_later = False
            self.endings.lost(self, None)

    def _callback_failed(self, exc: Exception) -> None:
        self._waiting = []
        if self.endings is not None:
            self.endings.callback_failed(self, exc)
            self._all_passed()

    # ---- the transport's calls --------------------------------------------------------

    def eof_received(self) -> bool:
        connection = self.connection
        if self._held is None or connection.connection_phase:
            return relay.RelayCore.eof_received(self)
        self._ends_later = True
        connection.eof = True
        connection.end_input(Event.STREAM_ENDED)
        return connection.transport.can_write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        connection = self.connection
        if self._held is None or exc is not None or connection.connection_phase:
            self.stop_holding()
            relay.RelayCore.connection_lost(self, exc)
        else:  # in order: what waits may still pass
            self._is_lost_later = True
            connection.connection_lost(exc)

    def pass_rest(self) -> None:
        """Nothing is held back but bytes of a frame that is not complete."""

    def update_reading(self) -> None:
        """Pause reading while the other side's connection takes no bytes, or enough of them waits for the callback."""
        if self.other is not None:
            is_full = self._held is not None and self.bytes_received - self._before_hold >= self._high_water
            self.connection.set_paused(is_full or self.other.connection.write_paused)


class FrameRelay(FrameRelayCore, asyncio.BufferedProtocol):
    """The protocol of the transport, see ``Connection``."""

    __slots__ = ()
