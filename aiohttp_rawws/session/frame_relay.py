"""One side of a pump that goes frame by frame: a callback sees each frame, and says what is sent in its place.

One source, two builds: as it stands, and compiled with the types in ``frame_relay.pxd``. Frames of one read leave in
one write. A frame keeps its first byte whatever was sent before it: opcodes and fragments are between the two ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from ..wire.chunks import frames_in
from ..wire.codec import Frame, FrameChunk
from . import frame_passing
from .connection import Connection
from .phases import Event
from .reasons import reason_of

if TYPE_CHECKING:
    from .relay import Endings


ITEM_COST = 128  # bytes, about the memory of a frame beside its payload
STOPS_LOOP = (KeyboardInterrupt, SystemExit)


class FrameRelayCore(frame_passing.FramePassing):
    """One side of a pump with a callback.

    Args:
        on_frame: Called with each item, and ``session``.
        high_water: Bytes that may wait for it before reading stops: those of payloads, and ``ITEM_COST`` for each item.

    Attributes:
        cancelled: The task that was cancelled because the pump ends, if there is one. It may not have ended yet.
    """

    __slots__ = (
        "_ends_later",
        "_held",
        "_high_water",
        "_is_lost_later",
        "_on_frame",
        "_session",
        "_target",
        "_waiting",
        "_waiting_size",
        "cancelled",
    )

    def __init__(
        self,
        connection: Connection,
        endings: Endings,
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
        self._waiting: deque[Any] = deque()  # behind it
        self._waiting_size = 0  # bytes of these
        self._ends_later = False  # the peer's stream ended behind what waits
        self._is_lost_later = False  # and the connection, too

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
        frame_passing.FramePassing.leave(self)
        self._session = self._on_frame = None

    def stop_holding(self) -> None:
        """Drop what waits for an awaitable of the callback, and cancel that."""
        held, self._held = self._held, None
        if held is not None:
            self._drop_waiting()
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
            frame_passing.FramePassing.buffer_updated(self, nbytes)
            return
        if connection.tap is not None:  # before the parser, which unmasks in place
            connection.tap.received(self._target[:nbytes])
        self._target = None
        connection.bytes_received += nbytes
        if not self.is_over and not connection.connection_phase:
            self.bytes_received: int = self.bytes_received + nbytes
            self._parsed(connection.parser.advance(nbytes))

    def take(self, data: Any, nbytes: int) -> None:
        self.bytes_received += nbytes
        self._parsed(self.connection.parser.feed(data, nbytes, -1, -1))

    def _parsed(self, items: list[Any]) -> None:
        connection = self.connection
        connection.frames_received += self._count(items)
        if items and connection.parser.closed:
            self.note_close_received(reason_of(items[len(items) - 1]))
        self._came(items)

    def _count(self, items: list[Any]) -> int:
        """Count the frames that end in ``items``. Returns their number."""
        count = frames_in(items)
        self.frames_received: int = self.frames_received + count
        return count

    # ---- frames -----------------------------------------------------------------------

    def _came(self, items: list[Any]) -> None:
        """Items have arrived: pass them on, or let them wait behind those that do."""
        if self._held is None:
            self._pass_items(items)
        else:
            self._let_wait(items)
        if self._held is None:
            self._all_passed()
        else:
            self.update_reading()

    def _pass_items(self, items: list[Any]) -> None:
        """Pass items on, until the callback wants to be waited for."""
        count = 0
        try:
            for item in items:
                count += 1
                if self._pass_item(item):
                    self._let_wait(items[count:])
                    break
            self.write(self.to_come)
        except BaseException as exc:
            self._callback_failed(exc)
            if isinstance(exc, STOPS_LOOP):
                raise

    def _pass_waiting(self) -> None:
        """The same with those that wait."""
        waiting = self._waiting
        try:
            while waiting and self._held is None:
                item = waiting.popleft()
                self._waiting_size -= len(item.payload) + ITEM_COST
                self._pass_item(item)
            self.write(self.to_come)
        except BaseException as exc:
            self._callback_failed(exc)
            if isinstance(exc, STOPS_LOOP):
                raise

    def _pass_item(self, item: Any) -> bool:
        """Ask the callback about one item. Returns True if it wants to be waited for."""
        target = self.other.connection  # type: ignore[union-attr]  # from take_over() on
        if target.send_phase and not self.to_come:  # a Close was sent: nothing may follow
            return False
        result = self._on_frame(item, self._session)
        if result is item:
            self.put(item)
        elif result is not None and not self._put_result(result):
            self._hold(result)
            return True
        return False

    def _put_result(self, result: Any) -> bool:
        """Send what the callback returned. Returns False if that has to be waited for."""
        if isinstance(result, (Frame, FrameChunk)):
            self.put(result)
        elif isawaitable(result):
            return False
        elif isinstance(result, Iterable) and not isinstance(result, (str, bytes)):
            for item in result:
                self.put(item)
        else:
            raise TypeError(f"on_frame must return Frames, FrameChunks, None or an awaitable, not {result!r}")
        return True

    # ---- waiting for the callback -----------------------------------------------------

    def _hold(self, awaitable: Any) -> None:
        """Let this direction wait. Reading goes on for a while, so that a loss is noticed."""
        self._held = asyncio.ensure_future(awaitable)
        self._held.add_done_callback(self._released)

    def _released(self, held: asyncio.Future[Any]) -> None:
        if self._held is not held:
            return
        self._held = None
        try:
            result = held.result()
            if result is not None and not self._put_result(result):
                raise TypeError(f"what on_frame had awaited returned an awaitable: {result!r}")
        except BaseException as exc:  # its task has raised what stops the loop there already
            self._callback_failed(exc)
        else:
            self._pass_waiting()
            if self._held is None:
                self._all_passed()
        self.update_reading()

    def _all_passed(self) -> None:
        """Nothing waits: act on what ended behind it."""
        connection = self.connection
        if not self.is_over and connection.parser.error is not None:
            self.is_over: bool = True
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

    def _let_wait(self, items: list[Any]) -> None:
        for item in items:
            self._waiting_size += len(item.payload) + ITEM_COST
        self._waiting.extend(items)

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_size = 0

    def _callback_failed(self, exc: BaseException) -> None:
        self._drop_waiting()
        if self.endings is not None:
            self.endings.callback_failed(self, exc)
            self._all_passed()

    # ---- the transport's calls --------------------------------------------------------

    def eof_received(self) -> bool:
        connection = self.connection
        if self._held is None or connection.connection_phase:
            return frame_passing.FramePassing.eof_received(self)
        self._ends_later = True
        connection.eof = True
        if connection.tap is not None:
            connection.tap.ended("peer", "eof")
        connection.end_input(Event.STREAM_ENDED)
        return connection.transport.can_write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        connection = self.connection
        if self._held is None or exc is not None or connection.connection_phase:
            self.stop_holding()
            frame_passing.FramePassing.connection_lost(self, exc)
        else:  # in order: what waits may still pass
            self._is_lost_later = True
            connection.connection_lost(exc)

    def pass_rest(self) -> None:
        """Nothing is held back but bytes of a frame that is not complete."""

    def update_reading(self) -> None:
        """Pause reading while the other side's connection takes no bytes, or enough of them waits for the callback."""
        if self.other is not None:
            is_full = self._held is not None and self._waiting_size >= self._high_water
            self.connection.set_paused(is_full or self.other.connection.write_paused)


class FrameRelay(FrameRelayCore, asyncio.BufferedProtocol):
    """The protocol of the transport, see ``Connection``."""

    __slots__ = ()
