"""The receiving half of a managed session: frames in, messages out, control frames served meanwhile.

One source, two builds: as it stands, and compiled with the types in ``managed_receiving.pxd``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..errors import PeerError, PolicyViolation
from ..extensions.base import ExtensionPipeline
from ..wire.codec import Frame, FrameChunk, is_control, is_whole_message
from ..wire.codes import CloseCode, CloseReason, Opcode
from . import managed_messages, surface
from .awaitables import receiving
from .incoming_stream import IncomingStream
from .message_source import MessageSource
from .messages import check_whole
from .options import check_size
from .reasons import checked_reason, reason_for, to_raise
from .surface import Listening, check_receiver, checked_listener, mark_coroutine_functions

if TYPE_CHECKING:
    from ..extensions.base import WebSocketExtension

NO_EXTENSIONS = ExtensionPipeline()  # one for all sessions: it keeps nothing


class ManagedReceiving(managed_messages.ManagedMessages):
    """The receiving part of a managed session."""

    __slots__ = ()

    def start(self, extensions: Iterable[WebSocketExtension] | None = None) -> None:
        """Begin to take frames and to answer pings. Called automatically on first use.

        Args:
            extensions: Those that the session's messages go through, in the negotiated order. Default: those given to
                the constructor.

        Raises:
            ValueError: The extensions do not go together.
            RuntimeError: The session has been started already.
        """
        if self._started:
            raise RuntimeError("the session has been started already")
        if extensions is not None:
            self._extensions = tuple(extensions)
        self._pipeline = ExtensionPipeline(self._extensions) if self._extensions else NO_EXTENSIONS
        self._started = True
        size = self._options.max_message_size
        self._limit_of_message = -1 if size is None else size
        raw, connection = self._raw, self._connection
        if connection.queue.has_listener:
            raise RuntimeError("the raw session has a listener already")
        raw.frame_streaming_threshold = 0
        if not connection.receive_phase:
            connection.want_chunks()  # of a frame that has begun to arrive
            connection.want_frames()
        raw.on_violation = "raise"  # the Close is ours to send, after the answers to what came before
        happened = connection.happened()  # before anybody observed
        connection.observer = self._on_event
        self._restart_pinger()
        connection.listen(self._on_frame, self._queue)
        for event in happened:
            self._on_event(event)

    def begin(self) -> None:
        """Call ``start()``, if that was not done yet."""
        if not self._started:
            self.start()

    # ---- frames in --------------------------------------------------------------------

    def _on_frame(self, item: Frame | FrameChunk) -> None:
        if self._failure is not None:
            return  # section 7.1.7: nothing that comes after a violation is processed
        try:
            if is_control(item):
                self._on_control(item)
            elif not self._messages_ended:
                if self._defers and self._waits_in_pieces(item):
                    return
                if self._assembler is None and is_whole_message(item) and not self._extensions:
                    check_whole(item, self._limit_of_message)
                    self._deliver(item)
                    return
                message = self._assembled(item)
                if message is not None:
                    self._deliver(message)
        except PeerError as exc:
            self._connection.own(exc)
            self.fail(exc, reason_for(exc))

    # ---- control frames ---------------------------------------------------------------

    def _on_control(self, frame: Frame) -> None:
        opcode = frame.opcode
        if self._pipeline is not None:
            self._pipeline.incoming(frame)  # raises for a reserved bit
        if opcode is Opcode.CLOSE:
            self._on_close(checked_reason(frame.payload))
            return
        self._count_control()
        if opcode is Opcode.PING:
            if self.auto_pong and not self._connection.send_phase:
                pong = Frame.pong(frame.payload)
                if not self._connection.must_wait(pong):  # else a flood; a later Pong answers this Ping, too (5.5.3)
                    self._connection.send_frame(pong)
            if self.on_ping is not None:
                self._call(self.on_ping, frame.payload)
        elif opcode is Opcode.PONG:
            if self._latency is not None:
                self._latency.answered(frame.payload)
            if self.on_pong is not None:
                self._call(self.on_pong, frame.payload)

    def _count_control(self) -> None:
        """Enforce ``max_control_rate``. The clock is read once per ``max_control_rate`` frames."""
        limit = self._max_control_rate
        if limit is None:
            return
        if self._controls == 0:
            self._controls_since = self._loop.time()
        elif self._controls == limit:
            now = self._loop.time()
            if now - self._controls_since < 1.0:
                text = f"More than {limit} control frames came within a second"
                raise PolicyViolation(text, "max_control_rate", limit)
            self._controls = 0
            self._controls_since = now
        self._controls += 1

    def _on_close(self, reason: CloseReason) -> None:
        self._stop_pinger()
        closing = self._closing_handshake()
        closing.settle(reason)
        self._end_messages()
        if self.on_close is not None:
            self._call(self.on_close, reason)  # if it raises, the answer is 1011
        if self._failure is None and self.auto_close and not self._connection.send_phase:
            code = None if reason.code == CloseCode.NO_STATUS else reason  # the answer repeats it, section 5.5.1
            closing.answer(Frame.close(code), now=not self._queue.count())
        else:
            closing.go_on()

    # ---- receiving --------------------------------------------------------------------

    def receive(self, timeout: float | timedelta | None = None) -> Coroutine[Any, Any, Frame]:
        """Await the next whole message. A call that is cancelled or takes too long loses nothing.

        Iterating the session ends quietly after a Close and when the peer just went away.

        Args:
            timeout: Seconds to wait at most. Default: None (no limit).

        Raises:
            TimeoutError: The time is over (before Python 3.11 ``asyncio.TimeoutError``, which is another class there).
            SessionClosed: The end, after a Close frame.
            ConnectionLost: The end, without one; or a Ping was not answered.
            PeerError: The peer broke the protocol, or a limit.
            ChannelOverflow: ``incoming`` overflowed, and its ``on_overflow`` is "close".
            RuntimeError: Another task receives, or a listener does.
        """
        return receiving(self, False) if timeout is None else self._receive_within(timeout)

    def receive_nowait(self) -> Frame | None:
        """The next message if one waits, else None."""
        self.begin()
        if self._defers and not self._queue.count() and not self._queue.has_stream:
            self._join_pieces()
        return surface.Surface.receive_nowait(self)

    def receive_stream(self, *, max_size: int | None = None) -> IncomingStream:
        """Receive the next message while it arrives: ``async with session.receive_stream() as incoming``.

        Fragments are joined, compressed data is inflated in steps, text is checked, and control frames are served
        meanwhile. A message of any size passes in constant memory: while nobody reads, ``incoming`` limits what waits.
        ``max_message_size`` does not limit it; ``max_frame_size`` does, since it is checked when a header arrives.

        A message waits in pieces for this call until the first ``receive()``. After that messages are joined as they
        arrive, up to ``max_message_size``, unless the option ``frame_streaming_threshold`` is set, or this was called
        before.

        Args:
            max_size: Bytes that the stream may have when it is inflated. More are refused as a message above
                ``max_message_size`` is, with a FrameTooBig and a Close with 1009. Default: None (no limit).

        Returns:
            The stream. Entering its block waits for the header, and raises what ``receive()`` raises.
        """
        check_size("max_size", max_size)
        return IncomingStream(MessageSource(self, self._queue, self._loop), max_size)

    def check_receiver(self) -> None:
        """Raise RuntimeError if somebody receives. For layers of this package, like the next four."""
        check_receiver(self._queue)

    def has_ended(self) -> bool:
        """True if no further message will come."""
        return self._messages_ended

    def end_error(self) -> BaseException:
        """The error to raise at the end. The end counts as reported then."""
        self._connection.end_reported = True
        if self._failure is None:
            return self._connection.closed_error()
        self._failure_raised = True
        return to_raise(self._failure, self._connection.failure_traceback)

    def after_taking(self) -> None:
        """Note that a message was taken from the queue."""
        if self._queue.full or self._queue.ending:
            self._on_taken()

    def _before_waiting(self) -> None:
        self.begin()
        check_receiver(self._queue)
        if self._defers:
            self._join_pieces()
        self.before_waiting()

    def before_waiting(self) -> None:
        """Send what a task that waits must not hold up."""
        if self._closing is not None:
            self._closing.send_pending()
        connection = self._connection
        if connection.encoder.size:
            connection.write_batch()  # nothing is held back while this side waits

    def _is_over(self) -> bool:
        return self._messages_ended

    def _raise_end(self, iterating: bool) -> None:
        self._connection.end_reported = True
        self._raise_failure()
        if iterating:
            raise StopAsyncIteration
        raise self._connection.closed_error()

    def _on_taken(self) -> None:
        queue = self._queue
        if queue.full and queue.is_half_empty():
            queue.full = False
            self._connection.set_paused(self._arriving is not None and self._arriving.paused)

    def listen(self, on_message: Callable[[Frame], object]) -> Listening:
        """Have ``on_message(message)`` called for every message from now on, straight from the transport's callback.

        Messages that wait already are delivered before this returns. See ``WebSocketSession.listen``.

        Args:
            on_message: A plain function. It must not block, and sends with ``send_nowait()``. If it raises, the session
                is closed with 1011.

        Returns:
            An awaitable. It completes at the end of the messages, and raises what the callback or the peer failed with.
        """
        checked_listener("on_message", on_message)
        if self._listener is not None:
            raise RuntimeError("this session has a listener already")
        check_receiver(self._queue)
        self.begin()
        self._keeps_pieces = False
        self._join_pieces()
        connection = self._connection
        self._listener = on_message
        self._queue.has_listener = True
        self._queue.full = False
        while self._queue.count() and self._failure is None:  # abort() in the callback empties it
            self._deliver(self._queue.take())
        self._queue.take_all()
        connection.in_place = True
        connection.set_paused(self._arriving is not None and self._arriving.paused)
        if self._messages_ended and self._closing is not None:
            self._closing.send_pending()
        return Listening(self._until_heard)

    async def _until_heard(self) -> None:
        queue = self._queue
        if queue.waiter is not None:
            raise RuntimeError("listen() is already awaited")
        while not self._messages_ended:
            queue.waiter = self._loop.create_future()
            try:
                await queue.waiter
            finally:
                queue.waiter = None
        self._connection.end_reported = True
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_raised = True
            raise to_raise(self._failure, self._connection.failure_traceback)

    @property
    def incoming_ended(self) -> bool:
        """True if no further message will arrive. Some may still wait."""
        return self._messages_ended


mark_coroutine_functions(ManagedReceiving, "receive")
