"""The methods that raw and managed sessions have in common.

One source, two builds: as it stands, and compiled with the types in ``surface.pxd``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from ..extensions.base import ExtensionOf, ExtensionPipeline, ExtensionT, WebSocketExtension
from ..wire.codec import Frame, PreparedFrame
from ..wire.codes import CloseCode, CloseReason
from ..wire.signatures import ConstructorSignature
from . import endpoint
from .awaitables import receiving
from .channels import Incoming, Outgoing, Sendable
from .connection import Connection
from .converters import JSONConverter, deserialized, require_converter, serialized
from .logtext import address_of
from .options import SessionOptions, check_seconds
from .queues import IncomingQueue
from .reasons import leaves_of, reason_for_exception
from .receive_timeout import within
from .state import CloseState, SessionStats

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

YIELD_EVERY_BYTES = 2**20  # a sender that never has to wait lets other tasks run after so many

NORMAL = CloseReason(CloseCode.NORMAL)  # the default of ``close()``, an object of its own: it is known if one is given


def as_frame(item: Sendable) -> Frame:
    """The frame that ``send()`` makes of its argument: str becomes Text, bytes become Binary."""
    if isinstance(item, Frame):
        return item
    if isinstance(item, PreparedFrame):
        return item.frame
    if isinstance(item, str):
        return Frame.text(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return Frame.binary(item)
    raise TypeError(f"a Frame, PreparedFrame, str or bytes can be sent, not {type(item).__name__}")


def close_frame(reason: CloseReason | int | None, message: str | bytes, code: int | None) -> Frame:
    """The Close frame that the arguments of ``close()`` stand for.

    Raises:
        TypeError: There are a code and a reason.
        ValueError: The code may not be sent, or the message is not UTF-8 or too long.
    """
    if reason is NORMAL:
        reason = CloseCode.NORMAL if code is None else code
    elif code is not None:
        raise TypeError(f"close() takes a reason or code=, not both: {reason!r} and code={code!r}")
    return Frame.close(reason, message if isinstance(message, str) else str(message, "utf-8"))


class Surface(endpoint.Endpoint):
    """The part of a session that does not depend on its kind."""

    __slots__ = ("_connection", "_options", "_sent_since_yield")

    _connection: Connection
    _options: SessionOptions
    _sent_since_yield: int  # payload bytes

    # ---- receiving --------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Frame]:
        return receiving(self, True)

    def receive_nowait(self) -> Frame | None:
        """The next frame if one waits, else None. None, too, while a listener or another task gets the frames."""
        if not self._queue.can_take():
            return None
        return cast(Frame, self._take())

    async def _receive_within(self, timeout: float | timedelta) -> Frame:
        """``receive(timeout)``."""
        seconds = check_seconds("timeout", timeout)
        assert seconds is not None
        return cast(Frame, await within(self._loop, seconds, receiving(self, False)))

    @property
    def incoming(self) -> Incoming:
        """The channel of items that were received and not taken yet."""
        return Incoming(self)

    @property
    def frames_waiting(self) -> int:
        """The number of frames that were received and not taken yet. On a managed session: of messages."""
        return self._queue.count()

    # ---- sending ----------------------------------------------------------------------

    @property
    def outgoing(self) -> Outgoing:
        """The channel of items that were sent and that the transport has not taken yet."""
        return Outgoing(self)

    @property
    def outgoing_ended(self) -> bool:
        """True if nothing more can be sent: a Close was sent, the connection ends, or the channel overflowed."""
        return bool(self._connection.send_phase)

    def cork(self) -> Cork:
        """``with session.cork(): ...`` collects what is sent inside and writes it at the end, in pieces of 64 KiB."""
        return Cork(self._connection)

    async def wait_writable(self) -> None:
        """Wait until ``outgoing`` has room, before a ``send_nowait()``.

        Returns when nothing more can be sent, too. If several tasks wait, each has to look again: the first to send may
        fill it.
        """
        while (room := self._connection.room()) is not None:
            await self._connection.wait_for(room)

    def _should_yield(self, size: int) -> bool:
        self._sent_since_yield += size
        if self._sent_since_yield <= YIELD_EVERY_BYTES:
            return False
        self._sent_since_yield = 0
        return True

    # ---- values -----------------------------------------------------------------------

    async def send_json(self, value: Any, *, dumps: Callable[[Any], str | bytes] = json.dumps) -> None:
        """Send ``value`` as JSON in a Text frame. The option ``converter`` has no part in it.

        Args:
            dumps: A function from a value to a str or UTF-8 bytes. Default: ``json.dumps``.

        Raises:
            TypeError: JSON has nothing for this value.
            RuntimeError: A message is open.
        """
        frame = serialized(JSONConverter(dumps), value)
        await self.send(PreparedFrame(frame))  # type: ignore[attr-defined]

    async def receive_json(
        self, *, loads: Callable[[Any], Any] = json.loads, timeout: float | timedelta | None = None
    ) -> Any:
        """Receive one frame, on a managed session one message, and return the value of its JSON.

        Args:
            loads: A function from a str to a value. Default: ``json.loads``.
            timeout: See ``receive()``. Default: None (no limit).

        Raises:
            DeserializeError: It is not JSON, not UTF-8, or not a whole Text message in one frame. The frame is taken
                all the same, and is in the error. A managed session whose handler lets this out is closed with 1007,
                or 1003 for a frame of another kind.
            TimeoutError: See ``receive()``.
        """
        frame = await (receiving(self, False) if timeout is None else self._receive_within(timeout))
        return deserialized(JSONConverter(loads=loads), frame, None)

    async def send_serialized(self, value: Any) -> None:
        """Send the frame that the option ``converter`` makes of ``value``.

        Raises:
            ConverterNotFound: There is no converter.
            RuntimeError: A message is open.
        """
        frame = serialized(self._options.converter, value)
        await self.send(PreparedFrame(frame))  # type: ignore[attr-defined]  # which is whole, and a Frame need not be

    @overload
    async def receive_deserialized(self, expected: None = None) -> Any: ...

    @overload
    async def receive_deserialized(self, expected: type[T] | tuple[type[T], ...]) -> T: ...

    async def receive_deserialized(self, expected: Any = None) -> Any:
        """Receive one frame, on a managed session one message, and return the value in it.

        Args:
            expected: A class that the value must be of, or a tuple of them. Default: None (anything).

        Raises:
            ConverterNotFound: There is no converter.
            DeserializeError: The converter does not take this frame, or the value is a wrong one. The frame is taken
                all the same, and is in the error.
        """
        require_converter(self._options.converter)
        return deserialized(self._options.converter, await receiving(self, False), expected)

    # ---- the end ----------------------------------------------------------------------

    async def close_exceptionally(self, exc: BaseException) -> None:
        """Close with a reason for ``exc``.

        1000 for a cancellation or a generator that is closed, a PeerError's own code, else 1011 with the exception's
        text, cut to 123 bytes.
        """
        await self.close(reason_for_exception(exc))  # type: ignore[attr-defined]

    def owns(self, exc: BaseException) -> bool:
        """True if this session raised ``exc``: because it ended, its peer broke the protocol, or a limit was reached.

        False for errors of other sessions, and for errors of a handler about a payload. True for a group of exceptions
        if it is true for each of them.
        """
        connection = self._connection
        leaves = list(leaves_of(exc))
        return bool(leaves) and all(connection.owns(leaf) for leaf in leaves)

    @property
    def closed(self) -> bool:
        """True if nothing more can be sent: a Close was sent, or the connection ends or is lost. Items that arrived
        before can still be received."""
        return bool(self._connection.send_phase)

    @property
    def close_state(self) -> CloseState:
        """The state of the closing handshake now, or how the session ended."""
        return self._connection.state()

    # ---- what it is -------------------------------------------------------------------

    def _described(self) -> str:
        """The name of this session in its repr and in the log. A session of a server adds the request."""
        return f"with {address_of(self._connection.transport)}"

    @property
    def connection(self) -> Connection:
        """The connection underneath. For layers of this package; its methods may change in any release."""
        return self._connection

    @property
    def options(self) -> SessionOptions:
        """The options it was made with; ``masking`` and the limits on sizes may have been changed since."""
        return self._options

    @property
    def masking(self) -> bool:
        """True if outgoing frames are masked. May be set at any time; holds from the next frame on."""
        return self._connection.encoder.masking

    @masking.setter
    def masking(self, value: bool) -> None:
        self._connection.encoder.masking = value

    @property
    def max_frame_size(self) -> int | None:
        """Payload bytes that a received frame may have. None: unlimited. Holds from the next header on."""
        return self._connection.parser.max_frame_size

    @max_frame_size.setter
    def max_frame_size(self, value: int | None) -> None:
        self._connection.parser.max_frame_size = self._options.replace(max_frame_size=value).max_frame_size

    @property
    def stats(self) -> SessionStats:
        """Counters of frames and bytes on the wire, as of now."""
        connection = self._connection
        return SessionStats(
            connection.frames_received, connection.bytes_received, connection.frames_sent, connection.bytes_sent
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information of the transport (``peername``, ``sslcontext``, ``socket``...), or ``default`` if it is gone."""
        connection = self._connection
        return default if connection.is_lost() else connection.transport.get_extra_info(name, default)


def find_extension(extensions: tuple[WebSocketExtension, ...], factory: ExtensionOf[ExtensionT]) -> ExtensionT:
    """Find an extension by its factory, the class of that, or its own class.

    Raises:
        LookupError: There is none.
    """
    which: Any = factory  # find() does not know which class belongs to a factory
    found = ExtensionPipeline(extensions).find(which)
    if found is None:
        raise LookupError(f"{factory!r} was not negotiated on this session")
    return cast("ExtensionT", found)


def check_receiver(queue: IncomingQueue) -> None:
    """Raise RuntimeError if somebody else receives the items of ``queue``."""
    if queue.has_listener:
        raise RuntimeError("this session has a listener, which gets everything")
    if queue.has_stream:
        raise RuntimeError("a stream of this session is open: leave its block before you receive")
    if queue.waiter is not None:
        raise RuntimeError("another task is already receiving from this session")


def checked_listener(name: str, listener: object) -> None:
    """Raise TypeError if ``listener`` is not a plain function."""
    if not callable(listener) or inspect.iscoroutinefunction(listener):
        raise TypeError(f"{name} must be a plain function, not {listener!r}")


class Listening:
    """The awaitable that ``listen()`` returns. It completes at the end of the input."""

    __slots__ = ("_until_heard",)
    __signature__ = ConstructorSignature()  # type: ConstructorSignature

    def __init__(self, until_heard: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._until_heard = until_heard

    def __await__(self) -> Generator[Any, None, None]:
        return self._until_heard().__await__()


class Cork:
    """The context manager that ``cork()`` returns."""

    __slots__ = ("_connection",)
    __signature__ = ConstructorSignature()  # type: ConstructorSignature

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.cork()

    def __exit__(self, *exc_info: object) -> None:
        self._connection.uncork()


def mark_coroutine_functions(cls: type, *names: str) -> None:
    """Make ``iscoroutinefunction()`` True for these methods, which mocks and frameworks ask."""
    for name in names:
        function = vars(cls)[name]
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(function)
        else:
            try:
                function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
            except AttributeError:
                pass  # on Python 3.10 a compiled function has this attribute, and it cannot be set
