"""``pump()``: whatever comes on one session goes out on another, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..session.frame_relay import FrameRelay
from ..session.options import check_seconds, check_size
from ..session.raw import WebSocketSession
from ..session.relay import Endings, Relay, RelayCore
from ..session.state import CloseState, SessionStats
from ..session.transports import is_broken
from ..wire.codec import Frame, FrameChunk
from ..wire.codes import CloseCode, CloseReason, may_be_sent
from .exchange import Exchange

Item: TypeAlias = Frame | FrameChunk
OnFrameResult: TypeAlias = Item | Iterable[Item] | None
OnFrame: TypeAlias = Callable[[Item, WebSocketSession], OnFrameResult | Awaitable[OnFrameResult]]
"""Called with each frame, or piece of a frame, and the session that it came from. It returns what to send in its place:
the same or another one, None, several of them, or an awaitable of these."""

GOING_AWAY = CloseReason(CloseCode.GOING_AWAY)
INTERNAL_ERROR = CloseReason(CloseCode.INTERNAL_ERROR)


@dataclass(frozen=True)
class PumpReport:
    """The work of one ``pump()``, and how it ended.

    Attributes:
        first: The side whose peer was the first to end its direction: "a", "b", or None if this side of the network
            ended both.
        a, b: How the two sessions ended.
        a_to_b: Frames and bytes that came from ``a``, and those of them that were sent to ``b``.
        b_to_a: The same for the other direction.
        duration: Seconds.
        limit: The name of the option whose limit ended it, or None.
    """

    first: Literal["a", "b"] | None
    a: CloseState
    b: CloseState
    a_to_b: SessionStats
    b_to_a: SessionStats
    duration: float
    limit: str | None


def check_session(name: str, session: WebSocketSession) -> None:
    """Raise if ``session`` cannot be pumped."""
    if not isinstance(session, WebSocketSession):
        raise TypeError(f"{name} must be a raw session, not {session!r}; the raw one of a managed session is in use")
    connection = session.connection
    if connection.pipeline is not None:
        raise ValueError(f"{name} has its extensions applied, so its frames are not those on the wire: {session!r}")
    if connection.queue.has_listener or connection.queue.waiter is not None:
        raise RuntimeError(f"{name} has a listener, or a task that receives: {session!r}")
    if connection.queue.has_stream:
        raise RuntimeError(f"{name} is read as a stream, which has not been left: {session!r}")
    if not connection.is_lost() and (connection.streaming or connection.encoder.missing):
        raise RuntimeError(f"{name} has a message that is being sent in parts: {session!r}")
    if not (connection.is_lost() or is_being_lost(session)) and session.transport.get_protocol() is not connection:
        raise RuntimeError(f"{name} has not been started: {session!r}")


def is_being_lost(session: WebSocketSession) -> bool:
    """Check if a TLS transport has dropped ``session``, which hears of the loss when the loop runs again."""
    transport, connection = session.transport, session.connection
    is_ending = transport.is_closing() or is_broken(transport)  # that of Python 3.10 shows only the latter
    return not connection.is_lost() and is_ending and transport.get_protocol() is None


def check_on_loss(value: object) -> None:
    """Raise TypeError or ValueError if ``value`` is none for ``on_loss``."""
    if value != "mirror" and not isinstance(value, CloseReason):
        raise TypeError(f'on_loss must be "mirror" or a CloseReason, not {value!r}')
    if isinstance(value, CloseReason) and not may_be_sent(value.code):
        raise ValueError(f"on_loss cannot be {value!r}: this code may not be sent")


def check_high_water(value: object) -> None:
    """Raise TypeError or ValueError if ``value`` is no number of bytes."""
    if value is None:
        raise TypeError("high_water must be a number of bytes, not None")
    check_size("high_water", value)


def stats_of(side: RelayCore) -> SessionStats:
    return SessionStats(side.frames_received, side.bytes_received, side.frames_sent, side.bytes_sent)


async def pump(
    a: WebSocketSession,
    b: WebSocketSession,
    *,
    on_frame: OnFrame | None = None,
    on_loss: Literal["mirror"] | CloseReason = "mirror",
    high_water: int = 256 * 1024,
    half_open_timeout: float | None = None,
    idle_timeout: float | None = None,
) -> PumpReport:
    """Send what comes on ``a`` to ``b`` and what comes on ``b`` to ``a``, until both connections are lost.

    Without ``on_frame`` bytes pass as they came, masking keys included, in one write for each read. Only headers and
    Close frames are looked at. With ``on_frame`` the callback sees each frame, and frames to a server are masked anew.
    Either way control frames keep their place among the others, and nothing is answered. Frames that were received and
    not taken pass first.

    A Close passes to the other side and ends its direction; data may pass the other way until the Close of that side.
    The end of a stream becomes an end of our stream on the other side, a reset becomes a reset. When both directions
    are over, both connections are ended in order.

    The rules of the option ``strict`` and the limit ``max_frame_size`` of each session hold for what its peer sends. A
    frame that they refuse does not pass: its sender gets a Close with 1002 or 1009, and the other connection is ended.
    Meanwhile nobody else may receive from the two sessions, or send on them anything but a Close. A Close that somebody
    sends on one of them, such as a server that shuts down, goes to the other side, too.

    If the call is cancelled, both peers get a Close with 1001. They have ``close_timeout`` seconds to answer it.

    Args:
        a: A raw session, started, without ``apply_extensions()``. Usually the server's: the client is its peer.
        b: Another one, of the opposite role. Either may have ended before.
        on_frame: A function that is called with each Frame, or FrameChunk (option ``frame_streaming_threshold``), and
            the session that it came from. It returns what is sent in its place: the same or another one, None for
            nothing, an iterable of several, or an awaitable of any of these, which holds that direction only. If it
            raises, both sides are closed with 1011. Default: None.
        on_loss: A CloseReason is sent to the other side if a connection ends without a Close, and then that side is
            ended. "mirror": the end of a stream, or a reset, is repeated there, without a Close. Default: "mirror".
        high_water: Bytes that may wait for each peer before reading from the other stops. One read may come on top,
            which is at most 256 KiB. Default: 256 KiB.
        half_open_timeout: Seconds in which at least one byte must move while one direction is over and the other is
            not, else both sides are closed with 1001. May be up to 25 % late. Default: None (no limit).
        idle_timeout: Seconds in which at least one byte must move in either direction, else both sides are closed with
            1001. May be up to 25 % late. Default: None (no limit).

    Returns:
        A report. The end of either side, whatever its kind, is not an error.

    Raises:
        BaseException: ``on_frame`` raised it.
        TypeError: An argument has a wrong type, or a session is a managed one.
        ValueError: An argument is out of range, the two sessions have the same role, or extensions are applied.
        RuntimeError: A session was not started, has a listener, a task receives from it, or a stream is open in either
            direction. ``on_frame`` was cancelled.
    """
    check_session("a", a)
    check_session("b", b)
    if a.connection.parser.masked == b.connection.parser.masked:
        raise ValueError(f"one session must have the role of a server, and one that of a client: {a!r}, {b!r}")
    check_on_loss(on_loss)
    check_high_water(high_water)
    if on_frame is not None and not callable(on_frame):
        raise TypeError(f"on_frame must be a function or None, not {on_frame!r}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for session in (a, b):
        if is_being_lost(session):
            await session.wait_closed()

    def make_relay(session: WebSocketSession, endings: Endings) -> RelayCore:
        if on_frame is None:
            return Relay(session.connection, endings)
        return FrameRelay(session.connection, endings, session, on_frame, high_water)

    exchange = Exchange(
        a,
        b,
        make_relay,
        on_loss=None if on_loss == "mirror" else on_loss,
        half_open_timeout=check_seconds("half_open_timeout", half_open_timeout),
        idle_timeout=check_seconds("idle_timeout", idle_timeout),
    )
    try:
        exchange.start(high_water)
        await exchange.wait()
    except asyncio.CancelledError:
        await exchange.stop(GOING_AWAY)
        raise
    except BaseException:
        exchange.abort()
        raise
    finally:
        await exchange.leave()
    if exchange.failure is not None:
        raise exchange.failure
    return PumpReport(
        exchange.first,
        a.close_state,
        b.close_state,
        stats_of(exchange.a),
        stats_of(exchange.b),
        loop.time() - began,
        exchange.limit,
    )
