"""The RAW session: every frame as it came, nothing automatic.

One source, two builds: as it stands, and compiled with the types in ``raw.pxd``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..extensions.base import ExtensionOf, ExtensionPipeline, ExtensionT, WebSocketExtension
from ..wire.codec import Frame
from ..wire.codes import CloseCode
from . import raw_sending
from .awaitables import receiving
from .connection import Connection
from .options import OnViolation, SessionOptions
from .phases import ReceivePhase
from .reasons import reason_for_exception, to_raise
from .surface import Listening, checked_listener, find_extension, mark_coroutine_functions
from .tasks import SessionTasks
from .transports import reset_when_closed

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

_DEFAULTS = SessionOptions()
DONE = int(ReceivePhase.DONE)


class WebSocketSession(raw_sending.RawSending):
    """A RAW session: *you receive control frames, fragments stay separate, and you do the closing handshake.*

    Iterate it, or call ``receive()``, from one task at a time; ``send()`` and everything else may be called from any
    number of tasks of the same loop. It ends when the transport is gone: by the peer, ``abort()``, ``end()``, or, on a
    server route, the handler's return.

    Args:
        transport: An asyncio transport. It is the session's from ``start()`` on.
        server: The role; it decides which frames must be masked (RFC 6455, section 5.1). Default: True.
        previous_protocol: The protocol that had the transport before. It still gets the loss and the write pauses.
        on_closed: Called without arguments when the connection is lost.
        new_masking_key: Source of masking keys, 4 bytes each. Default: the system's source of randomness.
    """

    __slots__ = ("_negotiated", "_on_closed", "_tasks", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        server: bool = True,
        options: SessionOptions = _DEFAULTS,
        previous_protocol: asyncio.BaseProtocol | None = None,
        on_closed: Callable[[], object] | None = None,
        new_masking_key: Callable[[], bytes] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._options = options
        self._on_closed = on_closed
        self._connection = Connection(
            transport, self._loop, server, options, previous_protocol, self._on_lost, new_masking_key
        )
        self._queue = self._connection.queue
        self._tasks: SessionTasks | None = None
        self._negotiated: tuple[WebSocketExtension, ...] = ()
        self._sent_since_yield = 0

    def start(self, early: Iterable[bytes] = ()) -> None:
        """Take the transport over.

        Args:
            early: Bytes that came before, such as those that followed the handshake.

        Raises:
            TypeError: The transport lacks a method that a session needs, as those of some event loops do.
        """
        self._connection.start(early)

    # ---- receiving --------------------------------------------------------------------

    def receive(self, timeout: float | timedelta | None = None) -> Coroutine[Any, Any, Frame]:
        """Await the next frame, as it came. A call that is cancelled or takes too long loses nothing.

        If ``frame_streaming_threshold`` is set, FrameChunks come, too. Iterating the session does not raise
        SessionClosed or ConnectionLost: it ends.

        Args:
            timeout: Seconds to wait at most. Default: None (no limit).

        Raises:
            TimeoutError: The time is over (before Python 3.11 ``asyncio.TimeoutError``, which is another class there).
            SessionClosed: The end, after a Close frame.
            ConnectionLost: The end, without one.
            PeerError: The peer broke the protocol.
            ChannelOverflow: ``incoming`` overflowed, and its ``on_overflow`` is "close".
            RuntimeError: Another task receives, or a listener does.
        """
        return receiving(self, False) if timeout is None else self._receive_within(timeout)

    def _before_waiting(self) -> None:
        if self._queue.has_listener:
            raise RuntimeError("this session has a listener, which gets every frame")
        if self._queue.waiter is not None:
            raise RuntimeError("another task is already receiving from this session")
        connection = self._connection
        connection.send_pending_close()
        if connection.encoder.size:
            connection.write_batch()  # nothing is held back while this side waits
        connection.check_all_taken()

    def _is_over(self) -> bool:
        return self._connection.receive_phase == DONE

    def _raise_end(self, iterating: bool) -> None:
        self._connection.end_reported = True
        self._raise_failure()
        if iterating:
            raise StopAsyncIteration
        raise self._connection.closed_error()

    def _on_taken(self) -> None:
        queue = self._queue
        if queue.full and queue.is_half_empty():
            self._connection.refill()
        if queue.ending and not queue.count():
            self._connection.check_all_taken()

    def _raise_failure(self) -> None:
        connection = self._connection
        if connection.failure is not None:
            connection.failure_reported = True
            raise to_raise(connection.failure, connection.failure_traceback)

    def listen(self, on_frame: Callable[[Frame], object]) -> Listening:
        """Have ``on_frame(frame)`` called for every frame from now on, straight from the transport's callback.

        There is no queue and no task switch. Frames that wait already are delivered before this returns.

        Args:
            on_frame: A plain function. It must not block, and sends with ``send_nowait()``, in one write per read. It
                is not called, and the transport is paused, while ``outgoing`` is full, while a task waits in
                ``send()``, and between ``pause_reading()`` and ``resume_reading()``.

        Returns:
            An awaitable. It completes when every frame was delivered and no further one will come, and raises what the
            callback or the peer failed with. If nobody awaits it, a callback's exception goes to the loop's exception
            handler and ends the connection.
        """
        checked_listener("on_frame", on_frame)
        connection = self._connection
        if self._queue.has_listener:
            raise RuntimeError("this session has a listener already")
        if self._queue.waiter is not None:
            raise RuntimeError("another task is already receiving from this session")
        connection.listen(on_frame, None, self._described)
        return Listening(self._until_heard)

    async def _until_heard(self) -> None:
        connection = self._connection
        if connection.listen_awaited:
            raise RuntimeError("listen() is already awaited")
        connection.listen_awaited = True
        try:
            waiter = connection.until_done()
            if waiter is not None:
                await connection.wait_for(waiter)
            connection.end_reported = True
            self._raise_failure()
        finally:
            connection.listen_awaited = False

    @property
    def incoming_ended(self) -> bool:
        """True if no further frame will arrive. Some may still wait."""
        return bool(self._connection.receive_phase)

    def pause_reading(self) -> None:
        """Stop reading from the transport, so that TCP slows the peer down. Frames already here stay available."""
        self._connection.set_paused(True)

    def resume_reading(self) -> None:
        """Undo ``pause_reading()``."""
        self._connection.set_paused(False)

    def on_end(self, callback: Callable[[], object]) -> None:
        """Have ``callback()`` called once, when every frame was taken or delivered and no further one will come.

        That is after a Close, a violation, the end of the stream or the loss; at once if it is so already. An exception
        goes to the loop's exception handler.
        """
        self._connection.when_done(callback)

    # ---- the closing handshake and the end --------------------------------------------

    def abort(self, reset: bool = False) -> None:
        """Drop the connection at once: nothing more is written, no Close frame is sent, unsent bytes are lost.

        Args:
            reset: End the TCP connection with a reset (RST), which the peer cannot take for an end in order. Otherwise
                there is one only if bytes of the peer are unread. Default: False.
        """
        if reset:
            reset_when_closed(self._transport)
        self._connection.abort()

    async def end(self) -> None:
        """End the connection in order, without a Close frame of ours, and wait until it is gone.

        First everything that was accepted is delivered, as long as the peer takes it. Then our side of the TCP stream
        is ended, and the peer may end its own. Bytes that the peer still sends are thrown away. The connection is
        aborted if the peer takes nothing for ``close_timeout`` seconds, or if it has everything and does not end its
        side in that time (1 second if it has sent its Close). It is aborted, too, if this call is cancelled.
        """
        self._connection.disconnect()
        try:
            await self.wait_closed()
        except BaseException:
            self._connection.abort()
            raise

    async def wait_closed(self) -> None:
        """Wait until the transport is gone."""
        waiter = self._connection.until_lost()
        if waiter is not None:
            await self._connection.wait_for(waiter)
        self._connection.end_reported = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """Close (1000, or as ``close_exceptionally()`` says) unless that was done, then ``end()``."""
        self.close_nowait(CloseCode.NORMAL if exc is None else reason_for_exception(exc))
        await self.end()

    def _on_lost(self) -> None:
        on_closed, self._on_closed = self._on_closed, None
        try:
            if on_closed is not None:
                on_closed()
        finally:
            if self._tasks is not None:
                self._tasks.cancel()

    # ---- tasks of the session ---------------------------------------------------------

    def create_task(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task that lives no longer than the session.

        It is cancelled when the connection is lost or the handler has returned, whichever is first, and awaited before
        the session is over. SessionClosed or ConnectionLost of this session, raised in it, is not reported as an error.
        """
        if self._connection.connection_phase:
            coro.close()
            self._connection.end_reported = True
            raise self._connection.closed_error()
        if self._tasks is None:
            self._tasks = SessionTasks(self._connection)
        return self._tasks.add(self._loop, coro, name)

    async def cancel_tasks(self) -> None:
        """Cancel the session's tasks and wait for them. Raises none of their exceptions."""
        if self._tasks is not None:
            await self._tasks.join()

    @property
    def has_cancelled_tasks(self) -> bool:
        """True if tasks of ``create_task()`` were cancelled because the connection was lost."""
        return self._tasks is not None and self._tasks.cancelled_at_the_end

    # ---- what it is -------------------------------------------------------------------

    @property
    def on_violation(self) -> OnViolation:
        """The reaction to a violation by the peer, see ``SessionOptions``. Holds from now on."""
        return "close" if self._connection.answers_violations else "raise"

    @on_violation.setter
    def on_violation(self, value: OnViolation) -> None:
        self._connection.answers_violations = self._options.replace(on_violation=value).on_violation == "close"

    @property
    def frame_streaming_threshold(self) -> int | None:
        """Payload bytes above which a data frame that does not arrive in one read is delivered as FrameChunks while it
        arrives, so that it may be of any size. Holds from the next header on. Default: None (whole Frames)."""
        return self._connection.parser.chunk_above

    @frame_streaming_threshold.setter
    def frame_streaming_threshold(self, value: int | None) -> None:
        self._connection.parser.chunk_above = value

    @property
    def extensions(self) -> tuple[WebSocketExtension, ...]:
        """The extensions its frames go through: none on a raw session, unless ``apply_extensions()`` was called."""
        pipeline = self._connection.pipeline
        return () if pipeline is None else tuple(pipeline)

    def apply_extensions(self) -> None:
        """Put the negotiated extensions to work on this session.

        Frames that are taken or sent from now on are as if there were no extension, fragment by fragment.

        Raises:
            RuntimeError: It was called before, or a message is open.
        """
        connection = self._connection
        if connection.pipeline is not None:
            raise RuntimeError("the extensions have been applied already")
        if connection.encoder.mid_message:
            raise RuntimeError("extensions cannot be applied inside an outgoing message")
        if self._negotiated:
            connection.apply(ExtensionPipeline(self._negotiated))

    @property
    def negotiated_extensions(self) -> tuple[WebSocketExtension, ...]:
        """The extensions of the opening handshake. A raw session does not apply them: reserved bits and payloads are as
        on the wire."""
        return self._negotiated

    @negotiated_extensions.setter
    def negotiated_extensions(self, value: Iterable[WebSocketExtension]) -> None:
        self._negotiated = tuple(value)

    def extension(self, factory: ExtensionOf[ExtensionT]) -> ExtensionT:
        """Find a negotiated extension by its factory, the class of that, or its own class.

        Raises:
            LookupError: There is none.
        """
        return find_extension(self._negotiated, factory)

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, for ``get_extra_info()`` and socket options. Writing to it breaks the framing."""
        return self._transport

    def __repr__(self) -> str:
        state = self.close_state
        if state.lost:
            text = f"ended ({state.code})"
        elif state.sent or state.received:
            text = "closing"
        else:
            text = "open"
        return f"<{type(self).__name__} {self._described()}, {text}, {self.frames_waiting} frames waiting>"


mark_coroutine_functions(WebSocketSession, "receive")
