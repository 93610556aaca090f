"""The RAW session: every frame as it came, nothing automatic.

One source, two builds, like ``connection.py``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ChannelOverflow, RawWSError
from ..extensions.base import ExtensionPipeline
from ..wire.codec import Frame, PreparedFrame, is_prepared
from ..wire.codes import CloseCode, CloseReason
from . import queues
from .awaitables import done, receiving
from .channels import Incoming, Outgoing
from .closing import reason_for_exception
from .connection import Connection
from .converters import deserialized, needs_converter, serialized
from .options import OnViolation, SessionOptions
from .state import CloseState, SessionStats

if TYPE_CHECKING:
    from typing_extensions import Self

Sendable = Frame | PreparedFrame | str | bytes | bytearray | memoryview

BREATH = 2**20  # bytes after which send() lets others run, waiting or not
LINGER = 1.0  # seconds the peer gets to end its side of the TCP stream after we ended ours

_DEFAULTS = SessionOptions()


def as_frame(item: Sendable) -> Frame:
    """What ``send()`` makes of its argument: str becomes Text, bytes become Binary."""
    if isinstance(item, Frame):
        return item
    if isinstance(item, PreparedFrame):
        return item.frame
    if isinstance(item, str):
        return Frame.text(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return Frame.binary(item)
    raise TypeError(f"a Frame, PreparedFrame, str or bytes can be sent, not {type(item).__name__}")


class WebSocketSession(queues.Receiver):
    """A RAW session: *control frames arrive, fragments are not joined, the closing handshake is yours.*

    Iterate it, or call ``receive()``, from one task at a time; ``send()`` and everything else may be called from
    any number of tasks of the same loop. It ends when the transport is gone: by the peer, ``abort()``, ``end()``,
    or, on a server route, the handler's return.

    transport: an asyncio transport, ours from ``start()`` on.
    server: the role; it decides which frames must be masked (RFC 6455, section 5.1).
    host: the protocol that had the transport before; it is told of its loss and of its write pauses.
    new_masking_key: source of masking keys, 4 bytes each; ``secrets`` unless given.
    """

    __slots__ = (
        "__weakref__", "_breathed", "_closed", "_connection", "_negotiated", "_options", "_tasks", "_transport",
        "_turn",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        server: bool = True,
        options: SessionOptions = _DEFAULTS,
        host: asyncio.BaseProtocol | None = None,
        new_masking_key: Callable[[], bytes] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._options = options
        self._connection = Connection(
            transport, self._loop, server, options, host, self._on_lost, new_masking_key
        )
        self._queue = self._connection.queue
        self._turn: asyncio.Lock | None = None
        self._tasks: set[asyncio.Task[Any]] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._negotiated: tuple[Any, ...] = ()
        self._breathed = 0

    def start(self, early: Iterable[bytes] = ()) -> None:
        """Take the transport over. ``early``: bytes that came before, such as those behind the handshake."""
        self._connection.start(early)

    # ---- receiving --------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Frame]:
        return receiving(self, True)

    def receive(self) -> Coroutine[Any, Any, Frame]:
        """Await the next frame, as it came. Nothing is lost when the call is cancelled.
        (FrameChunks come, too, once ``frame_streaming_threshold`` is set.)

        At the end: SessionClosed after a Close frame, ConnectionLost without one, PeerError when the peer broke the
        protocol, ChannelOverflow. RuntimeError while another task receives, or a listener does.
        Iterating ends quietly where this raises SessionClosed or ConnectionLost.
        """
        return receiving(self, False)

    def _before_waiting(self) -> None:
        if self._queue.has_listener:
            raise RuntimeError("this session has a listener, which gets every frame")
        if self._queue.waiter is not None:
            raise RuntimeError("another task is already receiving from this session")
        self._connection.send_farewell()
        self._write_batch()  # nothing is held back while we wait

    def _write_batch(self) -> None:
        if self._connection.encoder.size:
            self._connection.write_batch()

    def _is_over(self) -> bool:
        return self._connection.incoming_ended

    def _raise_end(self, iterating: bool) -> None:
        self._raise_failure()
        if iterating:
            raise StopAsyncIteration
        raise self._connection.closed_error()

    def _refill(self) -> None:
        self._connection.refill()

    def _raise_failure(self) -> None:
        failure = self._connection.failure
        if failure is not None:
            self._connection.heard = True
            raise failure.with_traceback(None)

    def receive_nowait(self) -> Frame | None:
        """The next frame if one waits, else None."""
        if self._queue.waiter is not None or not self._queue.count():
            return None
        return self._take()  # type: ignore[no-any-return]

    def listen(self, on_frame: Callable[[Frame], object]) -> Listening:
        """Have ``on_frame(frame)`` called for every frame from now on, straight from the transport's callback:
        no queue, no task switch. Frames that wait already are delivered before this returns.

        on_frame: a plain function; it must not block, and sends with ``send_nowait()``. What it sends leaves in one
            write per read. It is not called while ``outgoing`` is full, nor between ``pause_reading()`` and
            ``resume_reading()``; then the transport is paused.
        Returns an awaitable: it completes at the end of the stream, and raises what the callback or the peer
        failed with. A callback's exception that nobody awaits goes to the loop's exception handler and ends the
        connection.
        """
        given: object = on_frame
        if not callable(given) or inspect.iscoroutinefunction(given):
            raise TypeError(f"on_frame must be a plain function, not {on_frame!r}")
        connection = self._connection
        if connection.listener is not None:
            raise RuntimeError("this session has a listener already")
        if self._queue.waiter is not None:
            raise RuntimeError("another task is already receiving from this session")
        connection.listen(on_frame)
        return Listening(self)

    def owns(self, exc: BaseException) -> bool:
        """Whether ``exc`` was raised because of this session: its end, a violation by its peer, a bound of it. False
        for the errors of other sessions, and for what a handler makes of a payload."""
        return self._connection.owns(exc)

    def _closed_error(self) -> Exception:
        return self._connection.closed_error()

    def _own(self, error: RawWSError) -> RawWSError:
        return self._connection.own(error)

    def _serve(self, queue: queues.IncomingQueue) -> None:
        """Tasks receive from ``queue``, which a listener fills, instead of from this session."""
        self._connection.taken_from = queue

    async def _listened(self) -> None:
        connection = self._connection
        queue = self._queue
        if queue.waiter is not None:
            raise RuntimeError("listen() is already awaited")
        while connection.failure is None and not connection.lost and not self._is_heard_out():
            queue.waiter = self._loop.create_future()
            try:
                await queue.waiter
            finally:
                queue.waiter = None
        self._raise_failure()

    def _is_heard_out(self) -> bool:
        return self._connection.incoming_ended and not self._queue.count()

    def pause_reading(self) -> None:
        """Stop reading from the transport, so that TCP slows the peer down. Frames already here stay available."""
        self._connection.hold(True)

    def resume_reading(self) -> None:
        """Undo ``pause_reading()``."""
        self._connection.hold(False)

    # ---- sending ----------------------------------------------------------------------

    def send(self, item: Sendable) -> Coroutine[Any, Any, None]:
        """Send a frame (str: Text, bytes: Binary); await what it returns. Waits only while ``outgoing`` is full
        (and gives way to other tasks once per MiB); cancelled while it waits, nothing of it is sent. Frames of
        concurrent senders go out whole, in the order of the calls.

        After a data frame with ``fin=False`` the next one of the same kind goes out as its continuation; another
        kind raises RuntimeError. SessionClosed after a Close frame was sent, ConnectionLost, ChannelOverflow.
        """
        return self._sent(item)

    def _sent(self, item: Sendable) -> Coroutine[Any, Any, None]:
        connection = self._connection
        if (connection._out is not None and connection.is_outgoing_full()) or (
            self._turn is not None and self._turn.locked()
        ):
            frame = as_frame(item)
            if connection.must_wait(frame):
                return self._send_in_turn(item)
        self._put(item)
        if connection.bytes_sent - self._breathed > BREATH:  # whose peer reads fast must not have the loop to itself
            self._breathed = connection.bytes_sent
            return asyncio.sleep(0)
        return done()

    def send_nowait(self, item: Sendable) -> None:
        """Like ``send()``, but never waits: ChannelOverflow where that would; the session goes on."""
        self._sent_now(item)

    def _sent_now(self, item: Sendable) -> None:
        connection = self._connection
        if connection._out is not None and connection.is_outgoing_full():
            frame = as_frame(item)
            if connection.must_wait(frame):
                text = f"outgoing is full: {connection.unsent()} frames wait for the peer to read"
                raise connection.own(ChannelOverflow(text))
        self._put(item)

    def _put(self, item: Sendable) -> None:
        if type(item) is Frame:  # in two thirds of the time of isinstance(); as_frame() sees to subclasses
            self._connection.put(item)
        elif is_prepared(item):
            self._connection.put_prepared(item)
        else:
            self._connection.put(as_frame(item))

    async def _send_in_turn(self, item: Sendable) -> None:
        connection = self._connection
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            while (room := connection.room()) is not None and connection.close_sent is None:
                await room
            self._put(item)

    def send_raw(self, header: bytes, payload: bytes | bytearray | memoryview = b"") -> None:
        """Send a frame with a header of your making, right or wrong, and the payload as it is, unmasked.

        Nothing is checked and no state is kept: not whether the header fits, not whether a Close was sent.
        For servers that must misbehave; ``wire.codec.encode_header`` makes headers to start from.
        """
        self._connection.put_bytes(bytes(header) + bytes(payload))

    def write_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes that are no frame at all, or half of one, in order with the frames."""
        self._connection.put_bytes(bytes(data))

    def cork(self) -> Cork:
        """``with session.cork(): ...`` collects what is sent inside and writes it at the end, in pieces of 64 KiB."""
        return Cork(self)

    @property
    def batching(self) -> bool:
        """Set it while more is to be sent soon: frames are then collected, for one iteration of the loop or 64 KiB at
        most. Received frames that wait to be taken do the same by themselves; this is for those with a queue of
        their own behind ``listen()``."""
        return self._connection.batching

    @batching.setter
    def batching(self, value: bool) -> None:
        self._connection.batching = value

    async def wait_writable(self) -> None:
        """Wait until ``outgoing`` has room, for those who send with ``send_nowait()``. Returns when the session ends,
        too. Where several wait, each looks again: the first to send may fill it."""
        while (room := self._connection.room()) is not None:
            await room

    async def flush(self) -> None:
        """Wait until everything sent so far is with the transport and that is below its high-water mark.
        Returns without error when the session has ended."""
        waiter = self._connection.drained()
        if waiter is not None:
            await waiter

    # ---- values -----------------------------------------------------------------------

    async def send_serialized(self, value: Any) -> None:
        """Send what the option ``converter`` makes of ``value``. ConverterNotFound without one."""
        await self.send(serialized(self._options.converter, value))

    async def receive_deserialized(self, expected: Any = None) -> Any:
        """Receive one frame and return the value in it.

        expected: a class the value must be of, or a tuple of them; None = anything. DeserializeError for a frame the
        converter does not take, or a wrong value; the frame is taken all the same, and is in the error.
        """
        needs_converter(self._options.converter)
        return deserialized(self._options.converter, await self.receive(), expected)

    # ---- the closing handshake and the end --------------------------------------------

    async def close(self, reason: CloseReason | int | None = CloseCode.NORMAL, message: str = "") -> None:
        """Send a Close frame behind what was sent before, and flush. The rest of the handshake is yours.

        Does nothing after a Close was sent or the connection was lost; ValueError for a code that may not cross
        the wire.
        """
        self.close_nowait(reason, message)
        await self.flush()

    def close_nowait(self, reason: CloseReason | int | None = CloseCode.NORMAL, message: str = "") -> None:
        """``close()`` without the flush."""
        frame = Frame.close(reason, message)
        connection = self._connection
        if connection.close_sent is None and not connection.has_ended():
            connection.put(frame)

    async def close_exceptionally(self, exc: BaseException) -> None:
        """``close()`` with what ``exc`` stands for: 1000 for a cancellation, a PeerError's own code, else 1011 with
        the exception's text, cut to the 123 bytes a reason may have."""
        await self.close(reason_for_exception(exc))

    def abort(self) -> None:
        """Drop the connection at once: nothing more is written, no Close frame, unsent bytes are lost."""
        self._connection.abort()

    async def end(self) -> None:
        """End the connection in order, without a Close frame of ours: write what was sent, end the stream, let the
        peer end its own, and be gone within ``close_timeout``. What the peer still sends is thrown away."""
        connection, transport = self._connection, self._transport
        connection.send_farewell()
        deadline = self._loop.time() + self._options.close_timeout
        waiter = connection.drained()
        connection.ending = True
        try:
            if waiter is not None:
                await asyncio.wait([waiter], timeout=self._options.close_timeout)
            if waiter is None or waiter.done():
                connection.discard_input()
                if not connection.lost and not connection.eof and transport.can_write_eof():
                    # close() with input unread makes TCP send a reset, which can overtake our last frames
                    try:
                        transport.write_eof()
                    except OSError:  # the peer has reset the connection, and the loop has yet to hear of it
                        transport.abort()
                    await self._wait_for_end(min(deadline, self._loop.time() + LINGER))
                if not connection.lost:
                    transport.close()
                    await self._wait_for_end(min(deadline, self._loop.time() + LINGER), lost=True)
        finally:
            connection.abort()
        await self.wait_closed()

    async def _wait_for_end(self, deadline: float, lost: bool = False) -> None:
        """Until the peer's end of stream, or with ``lost`` the transport's; no longer than ``deadline``."""
        connection = self._connection
        while not connection.lost and (lost or not connection.eof):
            left = deadline - self._loop.time()
            if left <= 0:
                return
            connection.ended_waiter = self._loop.create_future()
            await asyncio.wait([connection.ended_waiter], timeout=left)
            connection.ended_waiter = None

    async def wait_closed(self) -> None:
        """Wait until the transport is gone."""
        if self._connection.lost:
            return
        if self._closed is None:
            self._closed = self._loop.create_future()
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """Close (1000, or as ``close_exceptionally()`` says) unless that was done, then ``end()``."""
        self.close_nowait(CloseCode.NORMAL if exc is None else reason_for_exception(exc))
        await self.end()  # bounded, which the flush of close() is not

    def _on_lost(self) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        for task in self._tasks or ():
            task.cancel()

    # ---- tasks of the session ---------------------------------------------------------

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """Start a task that lives no longer than the session: it is cancelled when the connection is lost or the
        handler has returned, whichever is first, and awaited before the session is over."""
        if self._connection.lost or self._connection.ending:
            coro.close()
            raise self._connection.closed_error()
        task = self._loop.create_task(coro, name=name or "rawws-session-task")
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel_tasks(self) -> None:
        """Cancel the session's tasks and wait for them; their exceptions are theirs."""
        tasks = [task for task in self._tasks or () if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # ---- what it is -------------------------------------------------------------------

    @property
    def incoming(self) -> Incoming:
        """The frames received and not yet taken, as a channel."""
        return Incoming(self)

    @property
    def outgoing(self) -> Outgoing:
        """The frames sent that the transport has not taken, as a channel."""
        return Outgoing(self)

    @property
    def frames_waiting(self) -> int:
        """Frames received and not yet taken."""
        return self._queue.count()

    @property
    def frames_unsent(self) -> int:
        """Frames accepted by ``send()`` that wait for the transport to take bytes again."""
        return self._connection.unsent()

    @property
    def incoming_ended(self) -> bool:
        """No further frame will arrive."""
        return self._connection.incoming_ended

    @property
    def outgoing_ended(self) -> bool:
        """Nothing more can be sent: a Close was, the connection is gone, or the channel overflowed."""
        connection = self._connection
        return connection.close_sent is not None or connection.has_ended()

    @property
    def outgoing_full(self) -> bool:
        """``send()`` of a data frame would wait now."""
        return self._connection.is_outgoing_full() or (self._turn is not None and self._turn.locked())

    @property
    def options(self) -> SessionOptions:
        """The options it was made with; ``masking`` and ``max_frame_size`` may have been changed since."""
        return self._options

    @property
    def masking(self) -> bool:
        """Whether outgoing frames are masked. May be changed at any time; holds from the next frame on."""
        return self._connection.encoder.masking

    @masking.setter
    def masking(self, value: bool) -> None:
        self._connection.encoder.masking = value

    @property
    def max_frame_size(self) -> int | None:
        """Payload bytes a received frame may have; None = unlimited. Holds from the next header on."""
        return self._connection.parser.max_frame_size

    @max_frame_size.setter
    def max_frame_size(self, value: int | None) -> None:
        self._connection.parser.max_frame_size = self._options.replace(max_frame_size=value).max_frame_size

    @property
    def on_violation(self) -> OnViolation:
        """What is done about a violation by the peer, see ``SessionOptions``. Holds from now on."""
        return "close" if self._connection.answers_violations else "raise"

    @on_violation.setter
    def on_violation(self, value: OnViolation) -> None:
        self._connection.answers_violations = self._options.replace(on_violation=value).on_violation == "close"

    @property
    def frame_streaming_threshold(self) -> int | None:
        """Payload bytes above which a data frame that does not arrive in one read is delivered as FrameChunks while
        it arrives, so that it may be of any size; None (the default) delivers whole Frames. Holds from the next
        header on."""
        return self._connection.parser.chunk_above

    @frame_streaming_threshold.setter
    def frame_streaming_threshold(self, value: int | None) -> None:
        self._connection.parser.chunk_above = value

    @property
    def extensions(self) -> tuple[Any, ...]:
        """The extensions its frames go through: none on a raw session, unless ``apply_extensions()`` was called."""
        pipeline = self._connection.pipeline
        return () if pipeline is None else tuple(pipeline)

    def apply_extensions(self) -> None:
        """Put the negotiated extensions to work on this session: frames that are taken or sent from now on are as if
        there were no extension, fragment by fragment. RuntimeError the second time, or inside a message."""
        connection = self._connection
        if connection.pipeline is not None:
            raise RuntimeError("the extensions have been applied already")
        if connection.encoder.mid_message:
            raise RuntimeError("extensions cannot be applied inside an outgoing message")
        if self._negotiated:
            connection.apply(ExtensionPipeline(self._negotiated))

    @property
    def negotiated_extensions(self) -> tuple[Any, ...]:
        """What the opening handshake agreed on. A raw session does not apply them: rsv bits and payloads are as on
        the wire."""
        return self._negotiated

    @negotiated_extensions.setter
    def negotiated_extensions(self, value: Iterable[Any]) -> None:
        self._negotiated = tuple(value)

    def extension(self, factory: Any) -> Any:
        """The negotiated extension that ``factory`` stands for: a factory, or the class of a factory or an extension;
        LookupError if there is none."""
        found = ExtensionPipeline(self._negotiated).find(factory)
        if found is None:
            raise LookupError(f"{factory!r} was not negotiated on this session")
        return found

    def on_end(self, callback: Callable[[], object]) -> None:
        """Have ``callback()`` called once, when nothing more will be received and a listener has had everything:
        after a Close, a violation, the end of the stream or the loss. At once if that is the case already."""
        self._connection.when_ended(callback)

    @property
    def stats(self) -> SessionStats:
        """Counters as of now."""
        connection = self._connection
        return SessionStats(
            connection.frames_received, connection.bytes_received, connection.frames_sent, connection.bytes_sent
        )

    @property
    def close_state(self) -> CloseState:
        """How far closing has come, or how the session ended, as of now."""
        return self._connection.state()

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, for ``get_extra_info()`` and socket options. Writing to it breaks the framing."""
        return self._transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows (``peername``, ``sslcontext``, ``socket``...); ``default`` once it is gone."""
        if self._connection.lost:
            return default
        return self._transport.get_extra_info(name, default)

    def __repr__(self) -> str:
        state = self.close_state
        if state.lost:
            text = f"ended ({state.code})"
        elif state.sent or state.received:
            text = "closing"
        else:
            text = "open"
        return f"<{type(self).__name__} {text}, {self.frames_waiting} frames waiting>"


class Listening:
    """What ``listen()`` returns: awaiting it waits for the end of the stream."""

    __slots__ = ("_session",)

    def __init__(self, session: Any) -> None:
        self._session = session

    def __await__(self) -> Generator[Any, None, None]:
        generator: Generator[Any, None, None] = self._session._listened().__await__()
        return generator


class Cork:
    """What ``cork()`` returns."""

    __slots__ = ("_session",)

    def __init__(self, session: WebSocketSession) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session._connection.cork()

    def __exit__(self, *exc_info: object) -> None:
        self._session._connection.uncork()
