"""The base of the receiving side: it pauses the transport, wakes the task that receives, and reports the end.

One source, two builds: as it stands, and compiled with the types in ``reading.pxd``. ``incoming.py`` moves the frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame, FrameParser
from .awaitables import wake
from .life import wake_all
from .logtext import address_of
from .outgoing import OutgoingHalf
from .phases import Event, ReceivePhase
from .queues import IncomingQueue
from .transports import set_reading

if TYPE_CHECKING:
    from types import TracebackType

    from .options import SessionOptions

OPEN, CLOSING, DONE = map(int, ReceivePhase)


def call_guarded(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, callback: Callable[..., object], *arguments: object
) -> None:
    """Call a callback of the application. If it raises, that is reported to the loop and goes no further."""
    try:
        callback(*arguments)
    except Exception as exc:
        message = f"Error in the callback {callback!r} of a WebSocket with {address_of(transport)}"
        loop.call_exception_handler({"message": message, "exception": exc})


class ReadingHalf(OutgoingHalf):
    """The state of the receiving side, on top of the sending side."""

    __slots__ = (
        "_close_delay",
        "_close_timeout",
        "_delivering",
        "_describe",
        "_done_waiters",
        "_has_skipped",
        "_on_done",
        "_overflow_in_closes",
        "_pending_close",
        "_skipping",
        "_untransformed",
        "_wants_chunks",
        "answers_violations",
        "failure_reported",
        "frames_received",
        "in_place",
        "listen_awaited",
        "listener",
        "parser",
        "paused_by_user",
        "queue",
        "reading_paused",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        server: bool,
        options: SessionOptions,
        new_masking_key: Callable[[], bytes] | None,
    ) -> None:
        incoming = options.incoming
        self.queue: IncomingQueue = IncomingQueue(incoming.capacity, incoming.max_bytes)
        masking = not server if options.masking is None else options.masking
        super().__init__(transport, loop, options, masking, self.queue, new_masking_key)
        self.parser: FrameParser = FrameParser(
            masked=server,
            strict=options.strict,
            max_frame_size=options.max_frame_size,
            chunk_above=options.frame_streaming_threshold,
        )
        self._overflow_in_closes = incoming.on_overflow == "close"
        self._untransformed: list[Any] | None = None
        self._wants_chunks = False  # a stream waits for the next header
        self._skipping = False  # the rest of a frame in chunks is dropped, because its stream was left
        self._has_skipped = False
        self.listener: Callable[[Any], object] | None = None
        self.in_place: bool = True  # the listener answers in place, so it has to wait while outgoing is full
        self._delivering = False
        self._describe: Callable[[], str] | None = None  # says whose listener it is
        self.listen_awaited: bool = False  # somebody awaits ``listen()``
        self._on_done: Callable[[], object] | None = None
        self._done_waiters: list[asyncio.Future[None]] | None = None
        self.failure_reported: bool = False  # ``failure`` has been raised or logged
        self.paused_by_user: bool = False
        self.reading_paused: bool = False  # the transport does not read
        self.answers_violations: bool = options.on_violation == "close"
        self._close_timeout = options.close_timeout
        self._pending_close: Frame | None = None  # the answer to a violation
        self._close_delay: asyncio.TimerHandle | None = None
        self.frames_received: int = 0

    # ---- pausing ----------------------------------------------------------------------

    def update_reading(self) -> None:
        """Pause the transport if there is a reason to, else resume it."""
        wanted = self.receive_phase == OPEN and (
            self.queue.full
            or self.paused_by_user
            or (self.listener is not None and self.in_place and self.stops_listener())
        )
        if wanted != self.reading_paused and not self.eof and not self.is_lost():
            self.reading_paused = wanted
            set_reading(self.transport, not wanted)

    # ---- skipping ---------------------------------------------------------------------

    def _without_skipped(self, items: list[Any]) -> list[Any]:
        """Drop the chunks of the frame whose stream was left. Returns the items that come after it."""
        self._has_skipped = True
        for index, item in enumerate(items):
            if item.last:
                self._skipping = False
                return items[index + 1 :]
        return []

    # ---- waking -----------------------------------------------------------------------

    def is_awaited(self) -> bool:
        """True if a task waits for an item that is there now."""
        queue = self.consumer_queue
        return queue.waiter is not None and queue.count() > 0 and not queue.has_listener

    def wake_receiver(self) -> None:
        if self.is_awaited():
            wake(self.consumer_queue)

    def wake_at_end(self) -> None:
        """Wake the task that receives, at the end of the input. It takes an item that waits, or raises the end."""
        if self.queue.waiter is not None:
            wake(self.queue)

    # ---- the end of the input ---------------------------------------------------------

    def _finish_input(self, event: Event) -> None:
        self.move(event)
        self.wake_at_end()
        if self.queue.has_listener:
            self.send_pending_close()
        if self._done_waiters is not None:
            waiters, self._done_waiters = self._done_waiters, None
            wake_all(waiters)
        self.update_reading()
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            self.end_reported = True
            call_guarded(self._loop, self.transport, on_done)
        self.release()

    def release(self) -> None:
        """Drop the references to the layer above if nothing more will be reported: it refers to us, too."""
        if self.receive_phase == DONE and self.is_lost():
            self.listener = None
            self._describe = None
            self.observer: Callable[[Event], object] | None = None
            self.failure_traceback: TracebackType | None = None

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once, when the receiving side is DONE; now if it is."""
        if self._on_done is not None:
            raise RuntimeError("on_end() has a callback already")
        if self.receive_phase == DONE:
            self.end_reported: bool = True
            call_guarded(self._loop, self.transport, callback)
        else:
            self._on_done = callback

    def stop_waiting(self, waiter: Any) -> None:
        """Forget ``waiter``, which nobody awaits any more."""
        if self._done_waiters is not None and waiter in self._done_waiters:
            self._done_waiters.remove(waiter)
        else:
            OutgoingHalf.stop_waiting(self, waiter)

    def until_done(self) -> asyncio.Future[None] | None:
        """Return a future that is done when the receiving side is DONE. None if it is."""
        if self.receive_phase == DONE:
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._done_waiters is None:
            self._done_waiters = []
        self._done_waiters.append(waiter)
        return waiter

    # ---- the answer to a violation ----------------------------------------------------

    def delay_pending_close(self, delay: float) -> None:
        self._close_delay = self._loop.call_later(min(delay, self._close_timeout), self.send_pending_close)

    def send_pending_close(self) -> None:
        """Send the Close for a violation, when the frames before it were taken, or were not taken in time."""
        if self._close_delay is not None:
            self._close_delay.cancel()
            self._close_delay = None
        close, self._pending_close = self._pending_close, None
        if close is not None and not self.send_phase:
            self.send_frame(close)

    def withhold_close(self) -> None:
        """Leave the answer to a violation to the layer above, also the one that still waits behind frames."""
        self.answers_violations = False
        if self._close_delay is not None:
            self._close_delay.cancel()
            self._close_delay = None
        self._pending_close = None
