"""The managed session: whole messages, pings answered, the closing handshake done. Ktor's "default" session.

One source, two builds: as it stands, and compiled with the types in ``managed.pxd``.

It stands on a raw session, whose frames it takes by ``connection.listen()``, and has no task of its own while it is
open: timers do the pings. ``managed_life.py``, ``managed_receiving.py`` and ``managed_sending.py`` are its parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import SessionClosed
from ..wire.codec import Frame, PreparedFrame
from ..wire.codes import CloseCode, CloseReason
from . import managed_sending
from .awaitables import sending
from .options import check_seconds, random_payload
from .raw import WebSocketSession
from .reasons import reason_for_exception
from .surface import find_extension
from .transports import reset_when_closed

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..extensions.base import ExtensionOf, ExtensionT, WebSocketExtension

T = TypeVar("T")


class DefaultWebSocketSession(managed_sending.ManagedSending):
    """A managed session over a raw one: ``receive()`` and iteration give whole messages as Frames with ``fin=True``.

    Iterate it, or call ``receive()``, from one task at a time; everything else may be called from any number of tasks
    of the same loop. It ends with the closing handshake, whichever side began it, or with the connection.

    Args:
        raw: The session underneath. Nothing else may use it from now on. Its frames are taken from ``start()`` on, or
            from the first use.
        extensions: Those that its messages go through, in the negotiated order.
        options: Default: those of the raw session.

    Attributes:
        on_ping, on_pong: Called with the payload of each Ping or Pong received.
        on_close: Called with the CloseReason of the peer's Close. All three are plain functions, and may be set at any
            time. If one raises, the session is closed with 1011, and ``receive()`` raises what it raised.
        auto_pong, auto_close: True if a Ping is answered with a Pong, and a Close with a Close. Default: those of
            the options.
    """

    __slots__ = ()

    # ---- keepalive --------------------------------------------------------------------

    async def ping(self, payload: bytes | None = None) -> float:
        """Send a Ping and wait for its Pong; it works whether or not anybody receives.

        Limit the wait with ``asyncio.wait_for``. While ``incoming`` is full nothing is read, Pongs included.

        Args:
            payload: At most 125 bytes. Default: random.

        Returns:
            The round-trip time in seconds.

        Raises:
            SessionClosed: The session ends first, or has ended.
            RuntimeError: A Ping with this payload waits for its Pong already.
        """
        self.begin()
        frame = Frame.ping(random_payload() if payload is None else bytes(payload))
        if self._messages_ended or self._connection.receive_phase:
            self._connection.end_reported = True
            raise self._connection.closed_error()
        latency = self.latency
        if latency.is_waiting(frame.payload):
            raise RuntimeError(f"a ping with the payload {frame.payload!r} is already waiting for its pong")
        pong = latency.sent(frame.payload)
        try:
            await sending(self._raw, frame, None)
            return await pong
        except SessionClosed:
            self._connection.end_reported = True
            raise
        finally:
            latency.forget(pong)
            del pong  # it holds the exception, whose traceback holds this frame

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
        """Seconds between pings. None: no pings. Setting it counts a full interval from now."""
        return self._ping_interval

    @ping_interval.setter
    def ping_interval(self, value: float | timedelta | None) -> None:
        self._ping_interval = check_seconds("ping_interval", value)
        self._restart_pinger()

    @property
    def timeout(self) -> float | None:
        """Seconds that a Ping of ``ping_interval`` may stay unanswered. None: forever. Setting it counts from now."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: float | timedelta | None) -> None:
        self._timeout = check_seconds("timeout", value)
        self._restart_pinger()

    # ---- closing ----------------------------------------------------------------------

    def abort(self, reset: bool = False) -> None:
        """Drop the connection at once, without a Close frame; see ``WebSocketSession.abort``."""
        if reset:
            reset_when_closed(self._raw.transport)
        self._stop_pinger()
        if self._queue.has_listener:
            self._queue.take_all()
        self._connection.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await self._raw.wait_closed()

    @property
    def close_reason(self) -> ClosingReason:
        """``await session.close_reason``: the CloseReason of whichever Close was first, ours or the peer's.

        1006 if the connection ended without one, 1005 for a Close without a code. ``close_state`` has both.
        """
        return ClosingReason(self._wait_for_reason)

    async def _wait_for_reason(self) -> CloseReason:
        self.begin()
        reason = await self._closing_handshake().wait_for_reason()
        self._connection.end_reported = True
        return reason

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """Call ``close()``, or ``close_exceptionally()`` after an exception."""
        await self.close(CloseReason(CloseCode.NORMAL) if exc is None else reason_for_exception(exc))

    # ---- what it is -------------------------------------------------------------------

    def create_task(self, coro: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Start a task that lives no longer than the session; see ``WebSocketSession.create_task``."""
        return self._raw.create_task(coro, name=name)

    @property
    def raw(self) -> WebSocketSession:
        """The raw session underneath."""
        return self._raw

    @property
    def max_message_size(self) -> int | None:
        """Bytes that a received message may have. None: unlimited. Holds from the next frame on."""
        return self._options.max_message_size

    @max_message_size.setter
    def max_message_size(self, value: int | None) -> None:
        self._options = self._options.replace(max_message_size=value)
        self._limit_of_message = -1 if value is None else value
        if self._assembler is not None:
            self._assembler.max_message_size = value

    @property
    def extensions(self) -> tuple[WebSocketExtension, ...]:
        """The extensions that its messages go through, in the negotiated order."""
        return self._extensions

    def extension(self, factory: ExtensionOf[ExtensionT]) -> ExtensionT:
        """Find an extension of this session by its factory, the class of that, or its own class.

        Raises:
            LookupError: There is none.
        """
        return find_extension(self._extensions, factory)

    def _described(self) -> str:
        """The name of this session in its repr and in the log."""
        return self._raw._described()

    def __repr__(self) -> str:
        reason = None if self._closing is None else self._closing.reason
        text = "open" if reason is None else f"closing ({reason.code})"
        if self._connection.is_lost():
            text = f"ended ({reason.code if reason else 1006})"
        return f"<{type(self).__name__} {self._described()}, {text}, {self._queue.count()} messages waiting>"


class ClosingReason:
    """The awaitable that ``close_reason`` returns. It need not be awaited."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, CloseReason]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, CloseReason]:
        return self._wait().__await__()


def send_to_all(sessions: Iterable[Any], prepared: PreparedFrame, others: list[Any]) -> int:
    """Send ``prepared`` to those of ``sessions`` that take its bytes as they are, now.

    Returns:
        How many did. The rest are appended to ``others``.
    """
    count = 0
    for session in sessions:
        raw = session
        if isinstance(session, DefaultWebSocketSession):
            managed = session
            if managed._extensions or not managed._started:
                others.append(session)
                continue
            raw = managed._raw
        if isinstance(raw, WebSocketSession):
            raw_session = raw
            if raw_session._connection.try_send_prepared(prepared):
                count += 1
                continue
        others.append(session)
    return count
