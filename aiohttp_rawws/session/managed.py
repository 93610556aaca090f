"""The managed session: whole messages, pings answered, the closing handshake done. Ktor's "default" session.

It stands on a raw session, any raw session, and has no task of its own while it is open: the raw session calls it back
per frame, timers do the pings, and only ending the connection takes a task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Hashable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..errors import ChannelOverflow, ConnectionLost, PeerError, PolicyViolation
from ..extensions.base import ExtensionPipeline
from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason, Opcode
from .closing import PATIENCE, checked_reason, reason_for, reason_for_exception, reason_of
from .converters import deserialized, needs_converter, serialized
from .keepalive import Latency, Pinger, random_payload
from .limits import limit_of
from .messaging import ManagedCore, send_to_all
from .options import seconds
from .raw import WebSocketSession
from .state import CloseState, SessionStats

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..extensions.base import WebSocketExtension
    from .options import SessionOptions

__all__ = ["DefaultWebSocketSession", "send_to_all"]

logger = logging.getLogger("aiohttp_rawws")

LOST = CloseReason(CloseCode.CLOSED_ABNORMALLY, "Connection was closed without close frame")

NO_EXTENSIONS = ExtensionPipeline()  # one for all: it keeps nothing


class DefaultWebSocketSession(ManagedCore):
    """A managed session over a raw one: ``receive()`` and iteration give whole messages as Frames with ``fin=True``.

    Iterate it, or call ``receive()``, from one task at a time; everything else may be called from any number of tasks
    of the same loop. It ends with the closing handshake, whoever began it, or with the connection.

    raw: the session underneath, not used by anybody else from now on. Frames are taken from it with ``listen()``
        from ``start()`` on, or from the first use.
    extensions: those its messages go through, in the negotiated order.
    options: instead of the raw session's.
    on_ping, on_pong: called with the payload of each Ping or Pong received. on_close: with the CloseReason of the
        peer's Close. Plain functions; attributes, to be set at any time.
    auto_pong, auto_close: whether a Ping is answered with a Pong, a Close with a Close. Attributes as well.
    """

    __slots__ = (
        "_close_timer",
        "_controls",
        "_controls_since",
        "_ending",
        "_latency",
        "_limit",
        "_ping_interval",
        "_pinger",
        "_reason",
        "_reason_waiters",
        "_timeout",
        "auto_close",
        "auto_pong",
        "on_close",
        "on_ping",
        "on_pong",
    )

    def __init__(
        self,
        raw: WebSocketSession,
        *,
        extensions: Iterable[WebSocketExtension] = (),
        options: SessionOptions | None = None,
    ) -> None:
        if not isinstance(raw, WebSocketSession):
            raise TypeError(f"a managed session stands on a raw session, not on {raw!r}")
        options = raw.options if options is None else options
        super().__init__(raw, tuple(extensions), options)
        self.on_ping: Callable[[bytes], object] | None = None
        self.on_pong: Callable[[bytes], object] | None = None
        self.on_close: Callable[[CloseReason], object] | None = None
        self.auto_pong = options.auto_pong
        self.auto_close = options.auto_close
        self._controls = 0  # control frames received since ``_controls_since``
        self._controls_since = 0.0
        self._limit: str | None = None  # the option whose limit ended the session

        self._reason: CloseReason | None = None
        self._reason_waiters: list[asyncio.Future[CloseReason]] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None

        self._ping_interval = options.ping_interval
        self._timeout = options.timeout
        self._latency: Latency | None = None  # from the first Ping on
        self._pinger: Pinger | None = None  # while there is a ``ping_interval``

    def start(self, extensions: Iterable[WebSocketExtension] | None = None) -> None:
        """Begin: take frames, answer pings. Called by the first use where it was not called before.

        extensions: instead of those given to the constructor; in the order they were negotiated. ValueError where
        they do not go together. RuntimeError the second time.
        """
        if self._started:
            raise RuntimeError("the session has been started already")
        if extensions is not None:
            self._extensions = tuple(extensions)
        pipeline = ExtensionPipeline(self._extensions) if self._extensions else NO_EXTENSIONS
        self._started = True
        self._pipeline = pipeline
        size = self._options.max_message_size
        self._limit_of_message = -1 if size is None else size
        raw = self._raw
        raw.frame_streaming_threshold = 0
        raw.on_violation = "raise"  # the Close is ours to send, behind the answers to what came before
        if not self._extensions and self._options.max_message_size is not None:
            limits = [size for size in (raw.max_frame_size, self._options.max_message_size) if size is not None]
            raw.max_frame_size = min(limits)
        raw.on_end(self._raw_ended)
        self._restart_pinger()
        raw._serve(self._queue)
        raw.listen(self._on_frame)

    # ---- control frames ----------------------------------------------------------------

    def _count_control(self) -> None:
        """Hold ``max_control_rate``. The clock is asked once in so many frames."""
        limit = self._options.max_control_rate
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

    def _on_control(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CLOSE:
            self._count_control()
        if self._pipeline is not None:
            self._pipeline.incoming(frame)  # raises for a reserved bit
        if frame.opcode is Opcode.PING:
            if self.on_ping is not None:
                self.on_ping(frame.payload)
            if self.auto_pong and not self._raw.outgoing_ended:
                try:
                    self._raw.send_nowait(Frame.pong(frame.payload))
                except ChannelOverflow:
                    pass  # a flood from a peer that does not read; a later Pong answers this Ping, too (5.5.3)
        elif frame.opcode is Opcode.PONG:
            if self._latency is not None:
                self._latency.answered(frame.payload)
            if self.on_pong is not None:
                self.on_pong(frame.payload)
        elif frame.opcode is Opcode.CLOSE:
            self._on_close(frame)

    def _on_close(self, frame: Frame) -> None:
        reason = checked_reason(frame.payload)
        self._stop()
        if self.on_close is not None:
            self.on_close(reason)
        self._settle(reason)
        self._end_messages(None)
        if self._raw.outgoing_ended:
            self._end_soon()
        elif self.auto_close:  # with its own code, section 5.5.1
            self._farewell(Frame.close(None if reason.code == CloseCode.NO_STATUS else reason.code))

    def _farewell(self, close: Frame) -> None:
        """Send the last frame and end, when the messages that arrived before have been taken, and perhaps answered;
        section 5.5.1 allows the delay."""
        self._unsent_close = close
        if not self._queue.count():
            self._send_farewell()
        else:
            patience = min(PATIENCE, self._options.close_timeout)
            self._close_timer = self._loop.call_later(patience, self._send_farewell)

    def _send_farewell(self) -> None:
        close, self._unsent_close = self._unsent_close, None
        if close is not None:
            if not self._raw.outgoing_ended:
                self._raw.send_nowait(close)
            self._end_soon()

    def _raw_ended(self) -> None:
        """The raw session's input is over: after a Close, by a violation, or without a word."""
        self._stop()
        state = self._raw.close_state
        if isinstance(state.error, PeerError) and not self._over:
            self._fail(state.error, reason_for(state.error))
        elif state.received is None:
            self._settle(LOST)
            self._end_messages(None)
        if self._latency is not None:
            self._latency.fail(self._raw._closed_error())
        if state.received is None and state.error is None and not state.lost:
            self._end_soon()

    def _fail(self, error: BaseException, reason: CloseReason) -> None:
        """Fail the connection (section 7.1.7): tell the peer why, tell the reader, drop what still comes."""
        if self._limit is None:
            self._limit = limit_of(error)
        self._stop()
        self._settle(reason)
        self._end_messages(error)
        self._farewell(Frame.close(reason))

    # ---- sending ----------------------------------------------------------------------

    async def _send_close(self, frame: Frame) -> None:
        await self.close(checked_reason(frame.payload) if frame.payload else CloseReason(CloseCode.NORMAL))

    @property
    def outgoing_key(self) -> Hashable | None:
        """What alone decides how a message is transformed on its way out, equal for sessions that do it alike;
        None where it depends on what was sent before."""
        self._begin()
        assert self._pipeline is not None
        return self._pipeline.outgoing_key

    def transformed(self, frame: Frame) -> Frame:
        """What the extensions make of a whole message, for all sessions with the same ``outgoing_key``."""
        self._begin()
        assert self._pipeline is not None
        return self._pipeline.outgoing(frame)

    # ---- values -----------------------------------------------------------------------

    async def send_serialized(self, value: Any) -> None:
        """Send what the option ``converter`` makes of ``value``. ConverterNotFound without one."""
        await self.send(serialized(self._options.converter, value))

    async def receive_deserialized(self, expected: Any = None) -> Any:
        """Receive one message and return the value in it.

        expected: a class the value must be of, or a tuple of them; None = anything. DeserializeError for a frame the
        converter does not take, or a wrong value; the frame is taken all the same, and is in the error.
        """
        needs_converter(self._options.converter)
        return deserialized(self._options.converter, await self.receive(), expected)

    # ---- keepalive --------------------------------------------------------------------

    async def ping(self, payload: bytes | None = None) -> float:
        """Send a Ping and wait for its Pong. Returns the round-trip time in seconds.

        payload: at most 125 bytes; random unless given. Works whether or not anybody receives. ConnectionLost or
        SessionClosed when the session ends first; bound the wait with ``asyncio.wait_for``.
        """
        self._begin()
        payload = random_payload() if payload is None else bytes(payload)
        frame = Frame.ping(payload)
        latency = self._latency_kept()
        pong = latency.sent(payload)
        try:
            await self._raw.send(frame)
            return await pong
        finally:
            latency.forget(payload)

    def _latency_kept(self) -> Latency:
        if self._latency is None:
            self._latency = Latency(self._loop)
        return self._latency

    @property
    def rtt(self) -> float | None:
        """Round-trip time of the latest answered Ping in seconds; None before the first."""
        return None if self._latency is None else self._latency.rtt

    @property
    def rtt_avg(self) -> float | None:
        """A running average of the round-trip times in seconds."""
        return None if self._latency is None else self._latency.rtt_avg

    @property
    def ping_interval(self) -> float | None:
        """Seconds between pings, None = no pings. Setting it counts a full interval from now."""
        return self._ping_interval

    @ping_interval.setter
    def ping_interval(self, value: float | timedelta | None) -> None:
        self._ping_interval = seconds("ping_interval", value)
        self._restart_pinger()

    @property
    def timeout(self) -> float | None:
        """Seconds a Ping of ``ping_interval`` may stay unanswered, None = for ever. Setting it counts from now."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: float | timedelta | None) -> None:
        self._timeout = seconds("timeout", value)
        self._restart_pinger()

    def _restart_pinger(self) -> None:
        self._stop()
        if self._ping_interval is None or not self._started or self._over or self._raw.outgoing_ended:
            return
        if self._pinger is None:
            self._pinger = Pinger(self)
        self._pinger.restart()

    def _stop(self) -> None:
        if self._pinger is not None:
            self._pinger.stop()

    def _is_reading(self) -> bool:
        return not self._queue.full

    def _ping_timeout(self) -> None:
        self._limit = "timeout"
        error = self._raw._own(ConnectionLost("Ping timeout"))
        self._fail(error, CloseReason(CloseCode.INTERNAL_ERROR, "Ping timeout"))

    # ---- closing ----------------------------------------------------------------------

    async def close(self, reason: CloseReason | int | None = CloseCode.NORMAL, message: str = "") -> None:
        """Do the closing handshake: send Close behind what was sent, wait for the peer's, end the connection.

        Takes no longer than ``close_timeout`` for each of the two; then the connection is aborted. Messages that
        arrive meanwhile can still be received. The second call waits for the first. ValueError for a code that may
        not cross the wire. Raises nothing else.
        """
        self.close_nowait(reason, message)
        await self._ended()

    def close_nowait(self, reason: CloseReason | int | None = CloseCode.NORMAL, message: str = "") -> None:
        """Begin the closing handshake and return; it goes on by itself."""
        frame = Frame.close(reason, message)
        self._begin()
        self._send_farewell()
        if self._raw.outgoing_ended:
            if self._raw.close_state.sent is None and self._ending is None:
                self._raw.abort()  # outgoing has overflowed: no Close can be sent, and nobody else ends this
            return
        self._stop()
        self._raw.send_nowait(frame)
        self._settle(reason_of(frame))
        if self._raw.incoming_ended:
            self._end_soon()
        else:
            if self._queue.full:  # the peer's Close must be seen, whether or not anybody takes the messages before it
                self._queue.unbound()
                self._raw.resume_reading()
            self._close_timer = self._loop.call_later(self._options.close_timeout, self._close_overdue)

    def _close_overdue(self) -> None:
        if self._limit is None:
            self._limit = "close_timeout"
        self._raw.abort()

    async def close_exceptionally(self, exc: BaseException) -> None:
        """``close()`` with what ``exc`` stands for: 1000 for a cancellation, a PeerError's own code, else 1011 with
        the exception's text."""
        await self.close(reason_for_exception(exc))

    def abort(self) -> None:
        """Drop the connection at once, without a Close frame."""
        self._stop()
        self._raw.abort()

    def _settle(self, reason: CloseReason) -> None:
        """The first reason is the session's."""
        if self._reason is None:
            self._reason = reason
            for waiter in self._reason_waiters or ():
                if not waiter.done():
                    waiter.set_result(reason)

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end(), name="rawws-closing")

    async def _end(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        overdue = self._loop.call_later(self._options.close_timeout, self._end_overdue)
        try:
            await self._raw.end()
        finally:
            overdue.cancel()

    def _end_overdue(self) -> None:
        if self._limit is None and self._raw.transport.get_write_buffer_size():
            self._limit = "close_timeout"  # the peer has not taken what was sent

    async def _ended(self) -> None:
        """Until the connection is gone. The timers see to it that it goes."""
        await self._raw.wait_closed()
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if self._ending is not None and self._ending is not asyncio.current_task():
            await asyncio.wait([self._ending])

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await self._ended()

    @property
    def close_reason(self) -> ClosingReason:
        """``await session.close_reason``: the CloseReason of whichever Close was first, ours or the peer's; 1006
        where the connection ended without one, 1005 for a Close without a code. ``close_state`` has both."""
        return ClosingReason(self)

    async def _wait_for_reason(self) -> CloseReason:
        self._begin()
        if self._reason is None:
            waiter: asyncio.Future[CloseReason] = self._loop.create_future()
            if self._reason_waiters is None:
                self._reason_waiters = []
            self._reason_waiters.append(waiter)
            try:
                return await waiter
            finally:
                self._reason_waiters.remove(waiter)
        return self._reason

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """``close()``, or as ``close_exceptionally()`` says."""
        if exc is None:
            await self.close()
        else:
            await self.close_exceptionally(exc)

    # ---- what it is -------------------------------------------------------------------

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """Start a task that lives no longer than the session; see the raw session's."""
        return self._raw.create_task(coro, name=name)

    @property
    def raw(self) -> WebSocketSession:
        """The raw session underneath."""
        return self._raw

    @property
    def options(self) -> SessionOptions:
        """The options it was made with."""
        return self._options

    @property
    def masking(self) -> bool:
        """Whether outgoing frames are masked; see the raw session's."""
        return self._raw.masking

    @masking.setter
    def masking(self, value: bool) -> None:
        self._raw.masking = value

    @property
    def max_frame_size(self) -> int | None:
        """Payload bytes a received frame may have; see the raw session's."""
        return self._raw.max_frame_size

    @max_frame_size.setter
    def max_frame_size(self, value: int | None) -> None:
        self._raw.max_frame_size = value

    @property
    def max_message_size(self) -> int | None:
        """Bytes a received message may have; None = unlimited. Holds from the next frame on."""
        return self._options.max_message_size

    @max_message_size.setter
    def max_message_size(self, value: int | None) -> None:
        self._options = self._options.replace(max_message_size=value)
        self._limit_of_message = -1 if value is None else value
        if self._assembler is not None:
            self._assembler.max_message_size = value

    @property
    def extensions(self) -> tuple[WebSocketExtension, ...]:
        """The extensions its messages go through, in the negotiated order."""
        return self._extensions

    def extension(self, factory: Any) -> WebSocketExtension:
        """The extension of this session that ``factory``, or a factory or extension of that class, stands for;
        LookupError if there is none."""
        found = ExtensionPipeline(self._extensions).find(factory)
        if found is None:
            raise LookupError(f"{factory!r} was not negotiated on this session")
        return found

    @property
    def close_state(self) -> CloseState:
        """How far closing has come, or how the session ended; both sides' codes."""
        return self._raw.close_state

    @property
    def stats(self) -> SessionStats:
        """Counters of the raw session: frames and bytes on the wire."""
        return self._raw.stats

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows; see the raw session's."""
        return self._raw.get_extra_info(name, default)

    def __repr__(self) -> str:
        text = "open" if self._reason is None else f"closing ({self._reason.code})"
        if self._raw.close_state.lost:
            text = f"ended ({self._reason.code if self._reason else 1006})"
        return f"<{type(self).__name__} {text}, {self._queue.count()} messages waiting>"


class ClosingReason:
    """What ``close_reason`` returns: an awaitable."""

    __slots__ = ("_session",)

    def __init__(self, session: DefaultWebSocketSession) -> None:
        self._session = session

    def __await__(self) -> Generator[Any, None, CloseReason]:
        return self._session._wait_for_reason().__await__()
