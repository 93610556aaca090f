"""The receiving side of a connection: parsing, the queue of frames, the listener that takes their place, and pausing.

One source, two builds: as it stands, and compiled with the types in ``incoming.pxd``.

Frames that were parsed from one read are passed on together. A received frame waits at one of three places, and each
empties into the one before it: ``queue``, from which it is taken; ``_untransformed``, frames that extensions have not
seen yet; and the parser, which holds bytes. ``_enqueue()`` alone fills the queue, and it alone stops reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ChannelOverflow, PeerError, SessionClosed
from ..wire.codec import Frame, FrameChunk
from .logtext import address_of
from .phases import Event, ReceivePhase
from .queues import IncomingQueue
from .reading import ReadingHalf
from .reasons import CLOSE_DELAY, reason_for, reason_of
from .transports import abort

if TYPE_CHECKING:
    from types import TracebackType

    from ..extensions.base import ExtensionPipeline
    from ..wire.codes import CloseReason

OPEN, CLOSING, DONE = map(int, ReceivePhase)


class IncomingHalf(ReadingHalf):
    """The receiving side of one connection, on top of its sending side."""

    __slots__ = ()

    # ---- bytes in ---------------------------------------------------------------------

    def parse(self, data: Any, nbytes: int) -> None:
        """Parse ``nbytes`` of ``data``, and pass on as many frames as there is room for."""
        if self._untransformed is not None:
            self._received(self.parser.feed(data, nbytes, 0, 0))
        elif self._overflow_in_closes or self.listener is not None:
            self._received(self.parser.feed(data, nbytes, -1, -1))
        else:
            frames, size = self.queue.free_slots(), self.queue.free_bytes()
            if size == 0:
                frames = 0
            self._received(self.parser.feed(data, nbytes, frames, size))

    def _received(self, items: list[Any]) -> None:
        if items:
            last = items[len(items) - 1]  # compiled without wraparound: not [-1]
            # As frames_in() counts them: this is done for each read.
            count = len(items) - 1 if isinstance(last, FrameChunk) and not last.last else len(items)
            self.frames_received: int = self.frames_received + count
            if self.parser.closed and self.close_received is None:
                # Before the handler sees the Close, so that ``close_state.first`` is set by then.
                self.close_received: CloseReason | None = reason_of(last)
                self.local_first: bool = self.close_sent is not None
                if self.receive_phase == OPEN:
                    self.queue.ending = True
                    self.move(Event.CLOSE_RECEIVED)
            if self.pipeline is not None:
                self._untransformed = items if self._untransformed is None else self._untransformed + items
                self._transform()
            else:
                self._add(items)
        if self.parser.error is not None:
            self._violated(self.parser.error)
        elif items and self.parser.closed:
            self.check_all_taken()
        if self._has_skipped:
            self._has_skipped = False
            self._pass_on()  # there is more room than the parser was given

    def _add(self, items: list[Any]) -> None:
        """Pass ``items`` on to the listener, or to the queue if there is none or it has to wait."""
        if self._skipping:
            items = self._without_skipped(items)
        if self.listener is not None and not self.queue.count() and not self._delivering:
            self._deliver(items)
        else:
            self._enqueue(items)

    def _transform(self) -> None:
        """Pass frames through the extensions, one by one, as long as the queue has room for the results."""
        while self._untransformed is not None and not self.queue.full:
            if self.listener is not None and not self._may_deliver():
                break
            item = self._untransformed.pop(0)
            if not self._untransformed:
                self._untransformed = None
            ready: list[Any] = []
            error: PeerError | None = None
            try:
                ready.extend(self.pipeline.incoming(item))  # type: ignore[union-attr]  # asked by the callers
            except PeerError as exc:
                error = exc
                self._untransformed = None
            self._add(ready)
            if error is not None:
                self._violated(error)

    def _enqueue(self, items: list[Any]) -> None:
        """Put ``items`` into the queue, and stop reading if that fills it."""
        queue = self.queue
        if self._overflow_in_closes and not queue.has_listener:
            admitted = queue.admit(items)
            if len(admitted) < len(items):  # what waits stays readable; the frame too many is refused
                text = f"incoming overflowed: {queue.count() + len(admitted)} frames wait"
                queue.put(admitted)
                self._untransformed = None
                self.end_input(Event.INPUT_FAILED, self.own(ChannelOverflow(text)))
                return
        queue.put(items)
        if queue.is_full() and not self._overflow_in_closes:
            queue.full = True
            self.update_reading()

    def refill(self) -> None:
        """Go on reading, because half of the queue was taken. (To do so for every frame would cost too much.)"""
        self.queue.full = False
        self._pass_on()
        self.update_reading()

    def _pass_on(self) -> None:
        """Fill the queue: with frames that are not transformed yet, then with bytes that are not parsed yet."""
        if self.failure is not None:
            return
        if self._untransformed is not None:
            self._transform()
        if self._untransformed is None and not self.queue.full and self.receive_phase != DONE:
            self.parse(b"", 0)

    def apply(self, pipeline: ExtensionPipeline) -> None:
        """Let frames go through ``pipeline`` from now on, including those that were not taken yet."""
        self.pipeline: ExtensionPipeline | None = pipeline
        self.queue.full = False
        waiting = self.queue.take_all()
        if waiting:
            self._untransformed = waiting
            self._transform()
        self.update_reading()
        self.check_all_taken()

    # ---- pausing ----------------------------------------------------------------------

    def set_paused(self, paused: bool) -> None:
        """Pause or resume reading for the session."""
        self.paused_by_user = paused
        if paused or self.listener is None:
            self.update_reading()
        else:
            self.continue_listening()

    # ---- the end of the input ---------------------------------------------------------

    def end_input(self, event: Event, error: BaseException | None = None) -> None:
        """Note the end of the input. Items from before can still be taken; after them ``error`` is raised, if any."""
        if error is not None and self.failure is None and self.receive_phase != DONE:
            self.failure: BaseException | None = error
            if self.error is None:
                self.error: BaseException | None = error
        if self.receive_phase == OPEN:
            self.queue.ending = True
            self.inside_frame: bool = self.parser.mid_frame
            self.move(event)
            self.update_reading()
        self.wake_at_end()
        self.check_all_taken()

    def check_all_taken(self) -> None:
        """Note that the last frame has been taken, if the end of the input is known and nothing waits any more."""
        if self.receive_phase == CLOSING and not self._delivering and not self.queue.count():
            self._pass_on()
            if not self.queue.count() and self._untransformed is None and self.receive_phase == CLOSING:
                self._finish_input(Event.ALL_TAKEN)

    def discard_input(self) -> None:
        """Drop all frames that wait. Reading goes on: if bytes of the peer stayed in the socket, closing it would reset
        the connection."""
        self.queue.take_all()
        self.queue.full = False
        self._untransformed = None
        if self.receive_phase == CLOSING:
            self._finish_input(Event.ALL_TAKEN)

    # ---- violations -------------------------------------------------------------------

    def _violated(self, error: PeerError) -> None:
        """End the input, because the peer broke the protocol. Send a Close, unless ``on_violation`` is "raise"."""
        if self.failure is not None or self.receive_phase == DONE:
            return
        if self.tap is not None:
            self.tap.violated(error)
        if self.answers_violations and not self.send_phase:
            self._pending_close = Frame.close(reason_for(error))
        self.end_input(Event.INPUT_FAILED, self.own(error))
        if self.receive_phase == DONE:
            self.send_pending_close()
        elif self._pending_close is not None:  # what waits may be answered first
            self.delay_pending_close(CLOSE_DELAY)

    # ---- a listener instead of the queue ----------------------------------------------

    def listen(
        self,
        listener: Callable[[Any], object],
        consumer_queue: IncomingQueue | None = None,
        describe: Callable[[], str] | None = None,
    ) -> None:
        """Deliver every frame to ``listener`` from now on.

        Args:
            consumer_queue: The listener only fills this queue, from which tasks receive. None: it answers in place.
            describe: Says whose listener it is, for the report of an error.
        """
        self.listener: Callable[[Any], object] | None = listener
        self._describe = describe
        self.queue.has_listener = True
        if consumer_queue is not None:
            self.consumer_queue = consumer_queue
            self.in_place = False
        self.continue_listening()
        self.release()

    def continue_listening(self) -> None:
        """Deliver frames that were held back, until the listener has to wait again."""
        if self.listener is None or self._delivering:
            return
        self.queue.full = False
        if self.queue.count():
            self._deliver(self.queue.take_all())
        if not self.queue.count() and self._may_deliver():
            self._pass_on()
        self.check_all_taken()
        self.update_reading()
        self.wake_receiver()

    def _may_have_to_wait(self) -> bool:
        """True if something must be checked before the next frame is delivered."""
        return self.paused_by_user or self._queue_out is not None or self._turns is not None

    def _may_deliver(self) -> bool:
        if self.receive_phase == DONE:
            return False
        if self.is_lost():  # what was received is delivered; but a layer that paused takes it when it has room
            return self.in_place or not self.paused_by_user
        return not self.paused_by_user and not (self.in_place and self.stops_listener())

    def _deliver(self, items: list[Any]) -> None:
        listener = self.listener
        taken = 0
        self._delivering = True
        self._corked += 1
        try:
            for item in items:
                if (self._may_have_to_wait() or self.receive_phase == DONE) and not self._may_deliver():
                    break
                taken += 1
                listener(item)  # type: ignore[misc]  # asked by the callers
        except Exception as exc:
            self._listener_failed(exc)
        finally:
            self._delivering = False
            self._corked -= 1
        if not self._corked and self.encoder.size:
            self.write_batch()
        if taken < len(items) and self.receive_phase != DONE:
            self._enqueue(items[taken:])
            self.update_reading()

    def _listener_failed(self, exc: Exception) -> None:
        self.queue.take_all()
        self._untransformed = None
        if self.receive_phase == DONE:
            return
        if not (self.owns(exc) and isinstance(exc, SessionClosed)):  # else it tried to answer after our end
            self.failure = exc
            self.failure_traceback: TracebackType | None = exc.__traceback__
            if self.error is None:
                self.error = exc
            self._loop.call_soon(self._report_failure)
        self.queue.ending = True
        self._finish_input(Event.LISTENER_FAILED)

    def _report_failure(self) -> None:
        """Report the exception of a listener to the loop, because nobody awaits ``listen()``."""
        if not self.failure_reported and not self.listen_awaited and self.failure is not None:
            self.failure_reported = True
            whose = f"with {address_of(self.transport)}" if self._describe is None else self._describe()
            message = f"Error in the listener of a WebSocket, {whose}"
            self._loop.call_exception_handler({"message": message, "exception": self.failure, "protocol": self})
            self.abort()

    def abort(self) -> None:
        """End the connection at once: nothing more is written, and nothing more is delivered to a listener."""
        if self.is_lost() or (self.dropped and self.connection_phase):
            return
        self.dropped = True
        if self.receive_phase == OPEN:
            self.inside_frame = self.parser.mid_frame
        self.queue.ending = True
        self.move(Event.ABORT)
        self.forget_outgoing()
        if self.queue.has_listener:
            self.discard_input()
        self.wake_at_end()
        self.check_all_taken()
        abort(self.transport)
