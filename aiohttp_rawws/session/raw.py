"""The RAW session: every frame as it came, nothing automatic.

One source, two builds: as it stands, and compiled with the types in ``raw.pxd``. Its parts are ``raw_sending.py`` and
``raw_receiving.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from ..extensions.base import ExtensionOf, ExtensionPipeline, ExtensionT, WebSocketExtension
from ..wire.codes import CloseCode
from . import raw_receiving
from .connection import Connection
from .frame_log import frame_log
from .options import OnViolation, SessionOptions
from .phases import SendPhase
from .reading import call_guarded
from .reasons import reason_for_exception
from .surface import find_extension
from .tasks import SessionTasks
from .transports import reset_when_closed

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

_DEFAULTS = SessionOptions()
SEND_CLOSING = int(SendPhase.CLOSING)


class WebSocketSession(raw_receiving.RawReceiving):
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
        connection = self._connection
        log = frame_log(self._described)
        if log is not None:
            connection.watch(log)
        if self._options.observe is not None:
            call_guarded(self._loop, self._transport, self._options.observe, self)
        connection.start(early)

    # ---- the closing handshake and the end --------------------------------------------

    def abort(self, reset: bool = False) -> None:
        """Drop the connection at once: nothing more is written, no Close frame is sent, unsent bytes are lost.

        Args:
            reset: With a TCP reset (RST) in any case, not only if bytes of the peer are unread. Default: False.
        """
        if reset:
            reset_when_closed(self._transport)
        self._connection.abort()

    async def write_eof(self) -> None:
        """End our direction of the TCP stream behind everything that was accepted, and go on reading.

        Returns when everything is with the transport. From the call on ``send()`` raises SessionClosed. If the call is
        cancelled, the rest goes on by itself. Frames that the peer still sends are received. When the peer ends its
        direction, too, the connection is closed; if it has done so before, that is now. Does nothing on a connection
        that is ending or lost. A managed session has no such method, since it ends by the closing handshake.

        Raises:
            NotImplementedError: The transport cannot end one direction alone. TLS cannot.
        """
        connection = self._connection
        connection.end_output()
        while connection.send_phase == SEND_CLOSING and (waiter := connection.drained()) is not None:
            await connection.wait_for(waiter)
            connection.finish_output()

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
        """The reaction to a violation by the peer, see ``SessionOptions``. Holds from now on, also for a Close that
        still waits behind frames."""
        return "close" if self._connection.answers_violations else "raise"

    @on_violation.setter
    def on_violation(self, value: OnViolation) -> None:
        if self._options.replace(on_violation=value).on_violation == "close":
            self._connection.answers_violations = True
        else:
            self._connection.withhold_close()

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
