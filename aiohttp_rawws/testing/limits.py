"""A raw session on which no wait is endless, for scripts of tests.

A script that awaits something of such a session waits in one of a few calls, and these have the limit::

    the script awaits                                    it waits in
    ---------------------------------------------------------------------------------------
    receive(), async for, incoming,                      receive(), __anext__()
        receive_json(), receive_deserialized()
    listen(), receive_stream()                           what they return
    send(), send_json(), send_serialized(), outgoing     send()
    open_stream(), send_stream()                         the gate of their parts
    flush(), close(), close_exceptionally()              flush()
    write_eof(), wait_writable(), wait_closed()          themselves
    as_stream()                                          asyncio's reader and writer
    end(), the end of async with                         end(): see there
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..session.byte_stream import FRAME_SIZE, READER_LIMIT, FrameTransport, FrameWriter, byte_streams
from ..session.frame_source import FrameSource
from ..session.gates import Gate
from ..session.incoming_stream import IncomingStream
from ..session.options import check_seconds, check_size
from ..session.streams import RawWebSocket
from ..session.surface import Listening
from ..web.deadline import deadline
from ..wire.codec import Frame
from ..wire.codes import Opcode
from .transcript import Transcript

if TYPE_CHECKING:
    from ..session.connection import Connection

T = TypeVar("T")
ClassT = TypeVar("ClassT", bound=type)

WITHIN = 5.0  # seconds


class ScriptTimeout(AssertionError, asyncio.TimeoutError):
    """A wait of a script has reached its limit.

    It is an AssertionError, since the other side has not done what the script waited for, and a TimeoutError, which
    ``receive(timeout)`` of any session raises. The text has all that was on the wire.
    """

    def __init__(self, text: str = "") -> None:
        """
        Args:
            text: The text.
        """
        super().__init__(text)


def with_limits(**calls: str) -> Callable[[ClassT], ClassT]:
    """Decorate a class that has ``limited()``: give calls that it inherits the limit.

    Args:
        calls: Their names, and the text for each in the error.
    """

    def decorate(cls: ClassT) -> ClassT:
        for name, text in calls.items():
            setattr(cls, name, _limited(getattr(cls, name), text))
        return cls

    return decorate


def _limited(call: Callable[..., Awaitable[Any]], text: str) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def waits(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.limited(text, call(self, *args, **kwargs))

    return waits


@with_limits(
    __anext__="async for",
    receive_deserialized="receive_deserialized()",
    send="send()",
    wait_writable="wait_writable()",
    flush="flush()",
    write_eof="write_eof()",
    wait_closed="wait_closed()",
    cancel_tasks="cancel_tasks()",
)
class LimitedSession(RawWebSocket):
    """A raw session over a reader and a writer. Each wait ends after ``within`` seconds, with a ScriptTimeout.

    Attributes:
        within: Seconds that a call may wait. It may be set at any time. Default: 5.
        transcript: All that was on the wire.
    """

    within: float = WITHIN
    transcript: Transcript

    async def limited(self, call: str, waiting: Awaitable[T], within: float | None = None) -> T:
        """Await something, with a limit.

        Args:
            call: Its name, for the error.
            waiting: The awaitable. It is cancelled if it takes too long.
            within: Seconds that it may take. Default: None (``self.within``).

        Raises:
            ScriptTimeout: It takes too long.
        """
        seconds = self.within if within is None else within
        running = deadline(seconds)
        try:
            async with running:
                return await waiting
        except asyncio.TimeoutError:
            if not running.expired():
                raise
        raise ScriptTimeout(f"{call} took more than {seconds:g} seconds. On the wire:\n{self.transcript}")

    # ---- receiving --------------------------------------------------------------------

    async def receive(self, timeout: float | timedelta | None = None) -> Frame:
        """``WebSocketSession.receive()``, with a limit in any case.

        Args:
            timeout: Seconds to wait at most. Default: None (``self.within``).

        Raises:
            ScriptTimeout: The time is over.
        """
        seconds = check_seconds("timeout", timeout)
        return await self.limited("receive()", super().receive(), seconds)

    async def receive_json(
        self, *, loads: Callable[[Any], Any] = json.loads, timeout: float | timedelta | None = None
    ) -> Any:
        """``WebSocketSession.receive_json()``, with a limit in any case.

        Args:
            loads: A function from a str to a value. Default: ``json.loads``.
            timeout: Seconds to wait at most. Default: None (``self.within``).

        Raises:
            ScriptTimeout: The time is over.
        """
        seconds = check_seconds("timeout", timeout)
        return await self.limited("receive_json()", super().receive_json(loads=loads), seconds)

    def listen(self, on_frame: Callable[[Frame], object]) -> Listening:
        """``WebSocketSession.listen()``. To await the end of the input has a limit, as every wait."""
        heard = super().listen(on_frame)
        return Listening(lambda: self.limited("listen()", heard))

    def receive_stream(self, *, max_size: int | None = None) -> IncomingStream:
        """``WebSocketSession.receive_stream()``. Each call of the stream has a limit."""
        check_size("max_size", max_size)
        return _LimitedStream(self, max_size)

    # ---- streams ----------------------------------------------------------------------

    def _stream_gate(self) -> Gate:
        return _LimitedGate(self, self.connection)

    def as_stream(
        self,
        *,
        kind: int = Opcode.BINARY,
        frame_size: int = FRAME_SIZE,
        other_kind: Literal["refuse", "take"] = "refuse",
        limit: int = READER_LIMIT,
    ) -> tuple[asyncio.StreamReader, FrameWriter]:
        """``WebSocketSession.as_stream()``. Each call of the reader and the writer has a limit."""
        # Nobody waits for what the streams await behind the scenes: super() has these calls without a limit.
        session = super()
        reader, writer = byte_streams(
            FrameTransport(session, session, kind=kind, frame_size=frame_size, other_kind=other_kind), limit
        )
        for stream, names in ((reader, ("read", "readexactly", "readuntil")), (writer, ("drain", "wait_closed"))):
            for name in names:
                setattr(stream, name, self._limited_call(f"{name}() of a stream", getattr(stream, name)))
        return reader, writer

    def _limited_call(self, text: str, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def waits(*args: Any, **kwargs: Any) -> T:
            return await self.limited(text, call(*args, **kwargs))

        return waits

    # ---- the end ----------------------------------------------------------------------

    async def end(self) -> None:
        """``WebSocketSession.end()``. It has a limit of its own: a connection on which nothing moves for
        ``close_timeout`` seconds is aborted, and nothing is raised."""
        self.connection.disconnect()
        try:
            await super().wait_closed()
        except BaseException:
            self.connection.abort()
            raise


@with_limits(
    __aenter__="receive_stream()",
    __anext__="async for of a stream",
    read="read() of a stream",
    readinto="readinto() of a stream",
    skip="skip() of a stream",
)
class _LimitedStream(IncomingStream):
    """The stream of ``receive_stream()``."""

    __slots__ = ("limited",)

    def __init__(self, session: LimitedSession, max_size: int | None) -> None:
        super().__init__(FrameSource(session, asyncio.get_running_loop()), max_size)
        self.limited = session.limited


@with_limits(enter="open_stream()", room="write() of a stream")
class _LimitedGate(Gate):
    """The way of a message that is sent in parts."""

    def __init__(self, session: LimitedSession, connection: Connection) -> None:
        super().__init__(connection)
        self.limited = session.limited
