"""The state of a managed session, and its ends: the closing handshake, a failure, or the loss.

One source, two builds: as it stands, and compiled with the types in ``managed_life.pxd``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionLost, PeerError, SessionClosed
from ..extensions.base import ExtensionPipeline
from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason
from . import part_surface
from .arriving import ArrivingMessage
from .awaitables import wake
from .backlog import Backlog
from .closing import NO_CLOSE_FRAME, ClosingHandshake
from .keepalive import Latency, Pinger
from .messages import MessageAssembler
from .options import SessionOptions
from .phases import Event
from .queues import IncomingQueue
from .raw import WebSocketSession
from .reasons import reason_for, reason_for_payload
from .timeouts import limit_of

if TYPE_CHECKING:
    from ..extensions.base import WebSocketExtension


class ManagedLife(part_surface.PartSurface):
    """The state of a managed session, its closing handshake and its keepalive."""

    __slots__ = (
        "_arriving",
        "_assembler",
        "_backlog",
        "_closing",
        "_controls",
        "_controls_since",
        "_defers",
        "_extensions",
        "_failure",
        "_failure_raised",
        "_keeps_pieces",
        "_latency",
        "_limit_of_message",
        "_listener",
        "_max_control_rate",
        "_messages_ended",
        "_overflow_closes",
        "_ping_interval",
        "_pinger",
        "_pipeline",
        "_raw",
        "_started",
        "_timeout",
        "auto_close",
        "auto_pong",
        "has_runner",
        "limit",
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
        self._loop = asyncio.get_running_loop()
        self._raw = raw
        self._connection = raw.connection
        self._options = options = raw.options if options is None else options
        self._extensions = tuple(extensions)
        self._sent_since_yield = 0
        self._started = False
        self._pipeline: ExtensionPipeline | None = None
        self._backlog: Backlog | None = None

        self._queue = IncomingQueue(options.incoming.capacity, options.incoming.max_bytes)
        self._overflow_closes = options.incoming.on_overflow == "close"
        self._assembler: MessageAssembler | None = None  # from the first frame on that is no whole message
        self._arriving: ArrivingMessage | None = None  # from the first message on that waited in pieces
        # A message waits in pieces until it is known who takes it: before the first ``receive()``, or always.
        self._defers = True
        self._keeps_pieces = options.frame_streaming_threshold is not None
        self._limit_of_message = -1  # max_message_size; -1: none
        self._messages_ended = False  # no further message will come: the receiving phase is CLOSING or DONE
        self._failure: BaseException | None = None
        self._failure_raised = False  # or reported
        self.has_runner: bool = False  # ``run_managed()`` reports what nobody has heard of
        self._listener: Callable[[Frame], object] | None = None

        self.on_ping: Callable[[bytes], object] | None = None
        self.on_pong: Callable[[bytes], object] | None = None
        self.on_close: Callable[[CloseReason], object] | None = None
        self.auto_pong: bool = options.auto_pong
        self.auto_close: bool = options.auto_close
        self._max_control_rate = options.max_control_rate
        self._controls = 0  # control frames received since ``_controls_since``
        self._controls_since = 0.0
        self._closing: ClosingHandshake | None = None
        self.limit: str | None = None  # the option whose limit ended the session

        self._ping_interval = options.ping_interval
        self._timeout = options.timeout
        self._latency: Latency | None = None  # from the first Ping on
        self._pinger: Pinger | None = None  # while there is a ``ping_interval``

    def _call(self, callback: Callable[[Any], object], argument: object) -> None:
        """Call a callback of the application. If it raises, the session fails: with 1011, or a code for a payload."""
        try:
            callback(argument)
        except Exception as exc:
            if not (self.owns(exc) and isinstance(exc, SessionClosed)):  # else it tried to answer after the end
                self._connection.failure_traceback = exc.__traceback__
                self.fail(exc, reason_for_payload(exc) or CloseReason(CloseCode.INTERNAL_ERROR))

    # ---- what the connection reports --------------------------------------------------

    def _on_event(self, event: Event) -> None:
        connection = self._connection
        if event is Event.CLOSE_SENT:
            self._stop_pinger()
            closing = self._closing_handshake()
            closing.settle(connection.close_sent or NO_CLOSE_FRAME)
            if self.incoming_full:  # the peer's Close must be seen, whether or not the messages before it are taken
                self._queue.full = False
                if self._arriving is not None and self._arriving.paused:
                    self._arriving.abandon()
                connection.set_paused(False)
            closing.go_on(failed=self._failure is not None)
        elif event is Event.ALL_TAKEN or event is Event.LISTENER_FAILED:
            self._input_ended()
        elif event is Event.LOST:
            self._stop_pinger()
            self._pinger = None  # it refers to this session, too
            self._closing_handshake().lost()
            if self._backlog is not None:
                self._backlog.fail()
            self._fail_pings()
            if not self.has_runner:
                self.report_failure()

    def report_failure(self) -> None:
        """Report the exception of a callback to the loop, unless ``receive()`` has raised it."""
        failure = self._failure
        if failure is not None and not self._failure_raised and not self.owns(failure):
            self._failure_raised = True
            self._loop.call_exception_handler(
                {"message": f"Error in a callback of {self!r}", "exception": failure, "protocol": self._connection}
            )

    def _input_ended(self) -> None:
        """Note that every frame of the raw session was delivered, and no further one will come."""
        connection = self._connection
        self._stop_pinger()
        failure = connection.failure
        if failure is not None and not self._messages_ended:
            reason = reason_for(failure) if isinstance(failure, PeerError) else CloseReason(CloseCode.INTERNAL_ERROR)
            self.fail(failure, reason)
        elif connection.close_received is None:
            self._closing_handshake().settle(NO_CLOSE_FRAME)
            self._end_messages()
        elif not self._messages_ended:  # this side has ended: the Close was dropped with the frames before it
            self._closing_handshake().settle(connection.close_received)
            self._end_messages()
        self._fail_pings()
        if connection.close_sent is not None and not connection.connection_phase:
            self._closing_handshake().go_on()

    def fail(self, error: BaseException, reason: CloseReason) -> None:
        """Fail the connection (section 7.1.7): send a Close, drop the rest, and raise ``error`` from ``receive()``."""
        if self.limit is None:
            self.limit = limit_of(error)
        self._connection.note_limit(self.limit)
        self._stop_pinger()
        closing = self._closing_handshake()
        closing.settle(reason)
        if self._failure is None:
            self._failure = error
        if self._arriving is not None:
            self._arriving.abandon()
        self._end_messages()
        if self._connection.close_sent is not None:
            closing.go_on(failed=True)
        else:
            closing.answer(Frame.close(reason), now=not self._queue.count())

    @property
    def incoming_full(self) -> bool:
        """True if reading is paused because ``incoming`` has reached its limits."""
        return self._queue.full or (self._arriving is not None and self._arriving.paused)

    def _end_messages(self) -> None:
        self._messages_ended = True
        self._queue.ending = True
        self._assembler = None
        if self._queue.waiter is not None:
            wake(self._queue)
        if self._arriving is not None:
            self._arriving.wake()

    # ---- keepalive --------------------------------------------------------------------

    @property
    def latency(self) -> Latency:
        """The pings on their way. For layers of this package."""
        if self._latency is None:
            self._latency = Latency(self._loop)
        return self._latency

    def _restart_pinger(self) -> None:
        self._stop_pinger()
        if self._ping_interval is None or not self._started or self._messages_ended or self._connection.send_phase:
            return
        if self._pinger is None:
            self._pinger = Pinger(self)  # type: ignore[arg-type]  # the whole session has what it asks for
        self._pinger.restart()

    def _stop_pinger(self) -> None:
        if self._pinger is not None:
            self._pinger.stop()

    def _fail_pings(self) -> None:
        if self._latency is not None:
            self._latency.fail(self._connection.closed_error())

    def fail_ping(self, reason: CloseReason) -> None:
        """Fail the session, because a Ping of ``ping_interval`` was not answered in time."""
        self.limit = "timeout"
        self.fail(self._connection.own(ConnectionLost("Ping timeout")), reason)

    # ---- closing ----------------------------------------------------------------------

    def _closing_handshake(self) -> ClosingHandshake:
        if self._closing is None:
            self._closing = ClosingHandshake(self._loop, self._connection, self._options.close_timeout)
        return self._closing
