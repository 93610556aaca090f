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
    """What ``pump()`` has done, and how it ended.

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
    if not connection.is_lost() and session.transport.get_protocol() is not connection:
        raise RuntimeError(f"{name} has not been started: {session!r}")


def check_on_loss(value: object) -> None:
    """Raise TypeError or ValueError if ``value`` is none for ``on_loss``."""
    if value != "mirror" and not isinstance(value, CloseReason):
        raise TypeError(f'on_loss must be "mirror" or a CloseReason, not {value!r}')
    if isinstance(value, CloseReason) and not may_be_sent(value.code):
        raise ValueError(f"on_loss cannot be {value!r}: this code may not be sent")


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
    """Send what comes on ``a`` to ``b``, and what comes on ``b`` to ``a``, until both connections are lost."""
    check_session("a", a)
    check_session("b", b)
    if a.connection.parser.masked == b.connection.parser.masked:
        raise ValueError(f"one session must have the role of a server, and one that of a client: {a!r}, {b!r}")
    check_on_loss(on_loss)
    check_size("high_water", high_water)
    if on_frame is not None and not callable(on_frame):
        raise TypeError(f"on_frame must be a function or None, not {on_frame!r}")
    loop = asyncio.get_running_loop()
    began = loop.time()

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
