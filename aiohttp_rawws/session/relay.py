"""One side of a pump: it reads from its connection, and writes what came to that of the other side.

One source, two builds: as it stands, and compiled with the types in ``relay.pxd``. It takes the place of the connection
as the protocol of the transport, so that nothing but a look at the frames lies between a read and a write. ``Endings``,
which ``proxy/`` implements, decides how a direction ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from ..wire.as_received import as_received
from ..wire.codec import FrameChunk, FrameWatcher, is_close
from ..wire.codes import CloseCode, CloseReason
from .connection import Connection, read_buffer
from .phases import Event

if TYPE_CHECKING:
    from ..errors import RawWSError

NO_STATUS = CloseReason(CloseCode.NO_STATUS)


class Endings(Protocol):
    """The events at a side that may end a direction."""

    def close_passed(self, side: Any) -> None:
        """The peer's Close frame came, and has passed."""

    def stream_ended(self, side: Any) -> None:
        """The peer has ended its side of the stream."""

    def failed(self, side: Any, error: RawWSError) -> None:
        """The peer broke a rule that is checked. All that came before has passed."""

    def lost(self, side: Any, exc: BaseException | None) -> None:
        """The connection is lost."""

    def callback_failed(self, side: Any, exc: BaseException) -> None:
        """The callback that sees the frames has raised."""

    def observed(self, side: Any, event: Event) -> None:
        """The phases of the connection have moved on, see ``Life.move()``."""


class RelayCore:
    """One side of a pump. Bytes pass as they are.

    Attributes:
        connection: The connection that it reads from.
        is_over: Nothing that still comes passes.
        is_close_passed: The Close frame that was sent to this side's peer is that of the other side's peer.
        frames_received, bytes_received: Frames and bytes that came.
        frames_sent, bytes_sent: Those of them that were sent to the other side.
    """

    __slots__ = (
        "_buffer",
        "_view",
        "bytes_received",
        "bytes_sent",
        "connection",
        "endings",
        "frames_received",
        "frames_sent",
        "is_close_passed",
        "is_over",
        "other",
        "watcher",
    )

    def __init__(self, connection: Connection, endings: Endings) -> None:
        self.connection: Connection = connection
        self.endings: Endings | None = endings
        self.other: RelayCore | None = None
        self.watcher: FrameWatcher | None = None
        self._buffer, self._view = read_buffer(asyncio.get_running_loop())
        self.is_over: bool = False
        self.is_close_passed: bool = False
        self.frames_received: int = 0
        self.bytes_received: int = 0
        self.frames_sent: int = 0
        self.bytes_sent: int = 0

    # ---- start and end ----------------------------------------------------------------

    def take_over(self, other: RelayCore) -> None:
        """Become the protocol of the transport, opposite to ``other``."""
        self.other = other
        connection = self.connection
        connection.queue.has_listener = True
        connection.observer = self.observed
        connection.end_reported = True  # to whoever awaits the pump
        if not connection.connection_phase:
            connection.stop_timers()  # those of a stream that has ended on one side: it may stay so here
        if connection.encoder.size:
            connection.write_batch()
        if not connection.is_lost():
            # The subclass is a BufferedProtocol.
            connection.transport.set_protocol(self)  # type: ignore[arg-type]

    def pass_held(self) -> None:
        """Pass on what the connection has received and nobody has taken."""
        connection, other = self.connection, self.other
        items = connection.queue.take_all()
        connection.queue.full = False
        message, missing, begun, later = connection.parser.detach()
        self.watcher = FrameWatcher(connection.parser, message, missing)
        wire, frames = b"".join([*map(as_received, items), begun]), 0
        for item in items:
            frames += not isinstance(item, FrameChunk) or item.last
        self.frames_received += frames
        self.bytes_received += len(wire)
        self.pass_bytes(wire, frames, missing)
        if items and is_close(items[len(items) - 1]):
            self.is_over = True
            other.note_close_sent(connection.close_received)  # type: ignore[union-attr]
        elif later:
            self.take(later, len(later))
        connection.check_all_taken()
        self.update_reading()

    def leave(self) -> None:
        """Forget the other side, and whoever decides. The connection is lost."""
        self.is_over = True
        self.other = self.endings = None

    def observed(self, event: Event) -> None:
        if self.endings is not None:
            self.endings.observed(self, event)

    # ---- bytes ------------------------------------------------------------------------

    def take(self, data: Any, nbytes: int) -> None:
        """Pass on ``nbytes`` bytes of ``data``, as far as they may pass."""
        connection, watcher = self.connection, self.watcher
        before = watcher.frames  # type: ignore[union-attr]  # there is one from pass_held() on
        wire = watcher.pass_on(data, nbytes)  # type: ignore[union-attr]
        frames = watcher.frames - before  # type: ignore[union-attr]
        self.bytes_received += nbytes
        self.frames_received += frames
        connection.frames_received += frames
        self.pass_bytes(wire, frames, watcher.missing)  # type: ignore[union-attr]
        if watcher.closed:  # type: ignore[union-attr]
            self.is_over = True
            reason = CloseReason.from_payload(watcher.close_payload)  # type: ignore[union-attr]
            self.note_close_received(NO_STATUS if reason is None else reason)
            self.other.note_close_sent(connection.close_received)  # type: ignore[union-attr]
            connection.check_all_taken()
            self.endings.close_passed(self)  # type: ignore[union-attr]
        elif watcher.error is not None:  # type: ignore[union-attr]
            self.is_over = True
            if connection.tap is not None:
                connection.tap.violated(watcher.error)  # type: ignore[union-attr]
            self.endings.failed(self, watcher.error)  # type: ignore[union-attr]

    def pass_bytes(self, wire: bytes, frames: int, missing: int) -> None:
        """Send ``wire`` to the other side. ``frames`` frames end in it, and ``missing`` bytes of the last do not come
        yet. If a Close was sent there, only the rest of a frame passes that had begun: that Close waits for it."""
        target = self.other.connection  # type: ignore[union-attr]
        if not wire or target.connection_phase:
            return
        if target.send_phase:
            owed = target.encoder.missing
            if not owed:
                return
            wire = wire[:owed]
            missing = owed - len(wire)
            frames = 0 if missing else 1
        target.send_relayed(wire, missing)
        target.frames_sent += frames
        self.frames_sent += frames
        self.bytes_sent += len(wire)

    def pass_rest(self) -> None:
        """The stream ends: pass on the part of a header that is held back."""
        self.pass_bytes(self.watcher.rest(), 0, 0)  # type: ignore[union-attr]

    def end_direction(self) -> None:
        """Nothing more passes from here."""
        self.is_over = True
        if self.other is not None and self.is_inside_frame():
            self.other.connection.give_up_relayed()

    def is_inside_frame(self) -> bool:
        """True if a part of a frame has passed, and its rest has not: nothing else may be sent to the other side."""
        watcher = self.watcher
        return watcher is not None and watcher.missing > 0

    def stop_holding(self) -> None:
        """Drop frames that wait for a callback. Nothing waits here."""

    def note_close_received(self, reason: CloseReason) -> None:
        """The peer's Close came."""
        connection = self.connection
        connection.close_received = reason
        connection.local_first = connection.close_sent is not None
        connection.queue.ending = True
        connection.move(Event.CLOSE_RECEIVED)

    def note_close_sent(self, reason: CloseReason | None) -> None:
        """The Close of the other side's peer was sent to this one's, unless one was sent before."""
        connection = self.connection
        if not connection.send_phase:
            self.is_close_passed = True
            connection.close_sent = reason
            connection.local_first = connection.close_received is None
            connection.move(Event.CLOSE_SENT)

    # ---- the transport's calls --------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        connection = self.connection
        connection.bytes_received += nbytes
        if connection.tap is not None:
            connection.tap.received(self._view[:nbytes])
        if not self.is_over and not connection.connection_phase:
            self.take(self._buffer, nbytes)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that the transport did not read into our buffer."""
        connection, nbytes = self.connection, len(data)
        connection.bytes_received += nbytes
        if connection.tap is not None:
            connection.tap.received(data)
        if not self.is_over and not connection.connection_phase:
            self.take(data, nbytes)

    def eof_received(self) -> bool:
        connection = self.connection
        if connection.connection_phase:
            return connection.eof_received()
        if connection.tap is not None:
            connection.tap.ended("peer", "eof")
        if not self.is_over:
            self.pass_rest()
        connection.eof = True
        connection.end_input(Event.STREAM_ENDED)
        if self.endings is not None:
            self.endings.stream_ended(self)
        return not connection.is_lost() and connection.transport.can_write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        try:
            self.connection.connection_lost(exc)
        finally:
            if self.endings is not None:
                self.endings.lost(self, exc)

    def pause_writing(self) -> None:
        self.connection.pause_writing()
        if self.other is not None:
            self.other.update_reading()

    def resume_writing(self) -> None:
        self.connection.resume_writing()
        if self.other is not None:
            self.other.update_reading()

    def update_reading(self) -> None:
        """Pause reading while the other side's connection takes no bytes."""
        if self.other is not None:
            self.connection.set_paused(self.other.connection.write_paused)


class Relay(RelayCore, asyncio.BufferedProtocol):
    """The protocol of the transport, see ``Connection``."""

    __slots__ = ()
