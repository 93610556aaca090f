"""The hot half of the managed session: frames in, messages out, and messages sent. ``managed.py`` has the rest.

One source, two builds, like ``connection.py``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ChannelOverflow, PeerError
from ..wire.codec import Frame, FrameChunk, PreparedFrame, is_close, is_control, is_prepared, is_whole_message
from ..wire.codes import CloseCode, CloseReason
from . import queues
from .awaitables import done, receiving, wake
from .channels import Incoming, Outgoing
from .closing import reason_for
from .messages import MessageAssembler, check_whole
from .raw import Cork, Listening, Sendable, WebSocketSession, as_frame

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..extensions.base import ExtensionPipeline, WebSocketExtension
    from .options import SessionOptions



class ManagedCore(queues.Receiver):
    """Messages of one session, on top of a raw one. What it leaves to the subclass raises NotImplementedError here."""

    __slots__ = (
        "__weakref__", "_assembler", "_extensions", "_failure", "_limit_of_message", "_listener", "_options", "_over",
        "_overflow_closes", "_pipeline", "_raw", "_senders", "_sending", "_started", "_unsent_close",
    )

    def __init__(
        self, raw: WebSocketSession, extensions: tuple[WebSocketExtension, ...], options: SessionOptions
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._raw = raw
        self._options = options
        self._extensions = extensions
        self._started = False
        self._pipeline: ExtensionPipeline | None = None
        self._assembler: MessageAssembler | None = None  # from the first frame on that is no whole message
        self._limit_of_message = -1  # max_message_size; -1: none
        self._queue = queues.IncomingQueue(options.incoming.capacity, options.incoming.max_bytes)
        self._overflow_closes = options.incoming.on_overflow == "close"
        self._over = False  # no further message
        self._failure: BaseException | None = None
        self._unsent_close: Frame | None = None
        self._listener: Callable[[Frame], object] | None = None
        self._sending: asyncio.Lock | None = None
        self._senders = 0  # that hold the lock or are to await it

    def start(self) -> None:
        raise NotImplementedError

    def _on_control(self, frame: Frame) -> None:
        raise NotImplementedError

    def _fail(self, error: BaseException, reason: CloseReason) -> None:
        raise NotImplementedError

    def _send_farewell(self) -> None:
        raise NotImplementedError

    async def _send_close(self, frame: Frame) -> None:
        raise NotImplementedError

    def _begin(self) -> None:
        if not self._started:
            self.start()

    # ---- frames in --------------------------------------------------------------------

    def _on_frame(self, item: Frame | FrameChunk) -> None:
        if self._failure is not None:
            return  # section 7.1.7: nothing of what comes behind a violation is processed
        try:
            if is_control(item):
                self._on_control(item)
            elif not self._over:
                if self._assembler is None and is_whole_message(item) and not self._extensions:
                    check_whole(item, self._limit_of_message)
                    self._deliver(item)
                    return
                message = self._assembled(item)
                if message is not None:
                    self._deliver(message)
        except PeerError as exc:
            self._fail(self._raw._own(exc), reason_for(exc))

    def _assembled(self, item: Frame | FrameChunk) -> Frame | None:
        assembler = self._assembler
        if assembler is None:
            limit = None if self._limit_of_message < 0 else self._limit_of_message
            assembler = MessageAssembler(limit, self._pipeline, self._options.max_fragments)
            self._assembler = assembler
        return assembler.add(item)

    def _deliver(self, message: Frame) -> None:
        queue = self._queue
        if self._listener is not None:
            try:
                self._listener(message)
            except Exception as exc:
                self._fail(exc, CloseReason(CloseCode.INTERNAL_ERROR))
            return
        if self._overflow_closes and queue.is_full():
            text = f"incoming overflowed: {queue.count()} messages, {queue.size} bytes wait"
            reason = CloseReason(CloseCode.VIOLATED_POLICY, "Too many messages wait to be taken")
            self._fail(self._raw._own(ChannelOverflow(text)), reason)
            return
        queue.put_one(message)
        if not queue.full and not self._overflow_closes and queue.is_full():
            queue.full = True
            self._raw.pause_reading()

    def _end_messages(self, failure: BaseException | None) -> None:
        if not self._over:
            self._over = True
            self._failure = failure
        if self._queue.waiter is not None:
            wake(self._queue)

    # ---- receiving --------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Frame]:
        return receiving(self, True)

    def receive(self) -> Coroutine[Any, Any, Frame]:
        """Await the next whole message. Nothing is lost when the call is cancelled.

        At the end: SessionClosed after a closing handshake, ConnectionLost without one or when a Ping was not
        answered, PeerError when the peer broke the protocol or a limit, ChannelOverflow. RuntimeError while another
        task receives. Iterating ends quietly after a Close and when the peer just went away.
        """
        return receiving(self, False)

    def _before_waiting(self) -> None:
        self._begin()
        if self._queue.has_listener:
            raise RuntimeError("this session has a listener, which gets every message")
        if self._queue.waiter is not None:
            raise RuntimeError("another task is already receiving from this session")
        if self._unsent_close is not None:
            self._send_farewell()
        self._raw._write_batch()  # nothing is held back while we wait

    def _is_over(self) -> bool:
        return self._over

    def _raise_end(self, iterating: bool) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if iterating:
            raise StopAsyncIteration
        raise self._raw._closed_error()

    def _refill(self) -> None:
        self._queue.full = False
        self._raw.resume_reading()

    def receive_nowait(self) -> Frame | None:
        """The next message if one waits, else None."""
        if self._queue.waiter is not None or not self._queue.count():
            return None
        return self._take()  # type: ignore[no-any-return]

    def listen(self, on_message: Callable[[Frame], object]) -> Listening:
        """Have ``on_message(message)`` called for every message from now on, straight from the transport's callback.
        Messages that wait already are delivered before this returns. See the raw session's.

        on_message: a plain function; it must not block, and sends with ``send_nowait()``. When it raises, the session
            is closed with 1011.
        Returns an awaitable: it completes at the end of the messages, and raises what the callback or the peer failed
        with.
        """
        given: object = on_message
        if not callable(given) or inspect.iscoroutinefunction(given):
            raise TypeError(f"on_message must be a plain function, not {on_message!r}")
        if self._listener is not None:
            raise RuntimeError("this session has a listener already")
        if self._queue.waiter is not None:
            raise RuntimeError("another task is already receiving from this session")
        self._begin()
        self._listener = on_message
        self._queue.has_listener = True
        was_full, self._queue.full = self._queue.full, False
        for message in self._queue.take_all():
            if self._failure is None:
                self._deliver(message)
        if was_full:
            self._raw.resume_reading()
        if self._over:
            self._send_farewell()
        return Listening(self)

    async def _listened(self) -> None:
        queue = self._queue
        if queue.waiter is not None:
            raise RuntimeError("listen() is already awaited")
        while not self._over:
            queue.waiter = self._loop.create_future()
            try:
                await queue.waiter
            finally:
                queue.waiter = None
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def owns(self, exc: BaseException) -> bool:
        """Whether ``exc`` was raised because of this session; see the raw session's."""
        return self._raw.owns(exc)

    @property
    def incoming(self) -> Incoming:
        """The messages received and not yet taken, as a channel."""
        return Incoming(self)

    @property
    def frames_waiting(self) -> int:
        """Messages received and not yet taken."""
        return self._queue.count()

    @property
    def incoming_ended(self) -> bool:
        """No further message will arrive."""
        return self._over

    # ---- sending ----------------------------------------------------------------------

    def send(self, item: Sendable, *, compress: bool | None = None) -> Coroutine[Any, Any, None]:
        """Send a message (str: Text, bytes: Binary, Frame: as it is, fragments too); await what it returns. Waits only
        while ``outgoing`` is full (and gives way to other tasks once per MiB); cancelled then, nothing of it is sent.

        compress: True or False for this message, None = as the extension is configured. Raises like the raw
        session's ``send()``. Sending a Close is ``close()``.
        """
        self._begin()
        if not self._extensions:
            frame = item.frame if is_prepared(item) else item
            return self._send_close(frame) if is_close(frame) else self._raw._sent(item)
        frame = as_frame(item)
        pipeline = self._pipeline
        assert pipeline is not None
        if is_control(frame):
            return self._send_close(frame) if is_close(frame) else self._raw._sent(frame)
        if self._senders or self._raw.outgoing_full or pipeline.needs_thread(frame, compress):
            self._senders += 1  # here, not when it is awaited: nothing that is sent after this call may overtake it
            return self._send_in_turn(pipeline, frame, compress)
        self._send_transformed(frame, compress)
        return done()

    async def _send_in_turn(self, pipeline: ExtensionPipeline, frame: Frame, compress: bool | None) -> None:
        if self._sending is None:
            self._sending = asyncio.Lock()
        try:
            await self._sending.acquire()  # what is compressed first must leave first
        except BaseException:
            self._senders -= 1
            raise
        thread: asyncio.Task[None] | None = None
        try:
            if self._options.outgoing.on_overflow == "suspend":
                await self._raw.wait_writable()
            if pipeline.needs_thread(frame, compress):
                thread = self._loop.create_task(self._send_from_thread(frame))
            else:
                self._send_transformed(frame, compress)
        finally:
            if thread is None:
                self._turn_over(None)
        if thread is not None:
            thread.add_done_callback(self._turn_over)  # not before: who gives up waiting cannot call the thread back
            await asyncio.shield(thread)

    def _turn_over(self, thread: asyncio.Task[None] | None) -> None:
        self._senders -= 1
        if self._sending is not None:
            self._sending.release()

    def _send_transformed(self, frame: Frame, compress: bool | None) -> None:
        if self._raw.outgoing_ended:
            raise self._raw._closed_error()  # before the compressor has seen what the peer will not
        assert self._pipeline is not None
        self._raw._sent_now(self._pipeline.outgoing(frame, compress))

    async def _send_from_thread(self, frame: Frame) -> None:
        assert self._pipeline is not None
        self._raw._sent_now(await self._loop.run_in_executor(None, self._pipeline.outgoing, frame, True))

    def send_nowait(self, item: Sendable, *, compress: bool | None = None) -> None:
        """Like ``send()``, but never waits: ChannelOverflow where that would. Compresses in the calling thread."""
        self._begin()
        if not self._extensions:
            self._raw._sent_now(item)
            return
        frame = as_frame(item)
        if is_control(frame):
            self._raw._sent_now(item)
            return
        if self.outgoing_full:
            text = f"outgoing is full: {self.frames_unsent} frames wait for the peer to read"
            raise self._raw._own(ChannelOverflow(text))
        self._send_transformed(frame, compress)

    @property
    def outgoing_full(self) -> bool:
        """``send()`` would wait now."""
        return self._raw.outgoing_full or (self._sending is not None and self._sending.locked())

    @property
    def outgoing_ended(self) -> bool:
        """Nothing more can be sent."""
        return self._raw.outgoing_ended

    @property
    def outgoing(self) -> Outgoing:
        """The frames sent that the transport has not taken, as a channel."""
        return Outgoing(self)

    @property
    def frames_unsent(self) -> int:
        """Frames that wait for the transport to take bytes again."""
        return self._raw.frames_unsent

    async def wait_writable(self) -> None:
        """Wait until ``outgoing`` has room; see the raw session's."""
        await self._raw.wait_writable()

    def cork(self) -> Cork:
        """``with session.cork(): ...`` collects what is sent inside; see the raw session's."""
        return self._raw.cork()

    async def flush(self) -> None:
        """Wait until everything sent so far is with the transport; see the raw session's."""
        if self._sending is not None:
            async with self._sending:
                pass
        await self._raw.flush()


def send_to_all(sessions: Iterable[Any], prepared: PreparedFrame, others: list[Any]) -> int:
    """Send ``prepared`` to those of ``sessions`` that take its bytes as they are, here and now. Returns how many did;
    those with whom anything else is the case are put into ``others``."""
    count = 0
    for session in sessions:
        raw = session
        if isinstance(session, ManagedCore):
            managed = session
            if managed._extensions or not managed._started:
                others.append(session)
                continue
            raw = managed._raw
        if isinstance(raw, WebSocketSession):
            raw_session = raw
            if raw_session._connection.put_ready(prepared):
                count += 1
                continue
        others.append(session)
    return count
