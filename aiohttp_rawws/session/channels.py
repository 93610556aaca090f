"""``incoming`` and ``outgoing``: the two directions of a session as channels, and their bounds.

A channel is a view: the frames themselves wait in the connection, once, however many views there are,
so a capacity means what it says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from ..wire.codec import Frame
    from .messaging import ManagedCore
    from .raw import Sendable, WebSocketSession

    Session: TypeAlias = WebSocketSession | ManagedCore

OnOverflow = Literal["suspend", "close"]


@dataclass(frozen=True)
class ChannelConfig:
    """The bounds of one direction; made by ``bounded()``, or ``UNLIMITED``.

    capacity: frames that may wait; None = any number.
    max_bytes: payload bytes that may wait; None = any number. One frame is always admitted to an empty
        channel, however large (``max_frame_size`` is what limits that one).
    on_overflow: "suspend" makes the producer wait: incoming stops reading the socket, so the peer feels it
        through TCP (and its pings and Close wait, too); outgoing makes ``send()`` wait. "close" ends the
        channel with ``ChannelOverflow``: what waited stays readable, the frame too many is refused.
    """

    capacity: int | None
    max_bytes: int | None
    on_overflow: OnOverflow = "suspend"

    def __post_init__(self) -> None:
        for name, value in (("capacity", self.capacity), ("max_bytes", self.max_bytes)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int or None, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, or None for no bound, not {value}")
        if self.on_overflow not in ("suspend", "close"):
            raise ValueError(f'on_overflow must be "suspend" or "close", not {self.on_overflow!r}')


def bounded(
    capacity: int | None = 1024, on_overflow: OnOverflow = "suspend", *, max_bytes: int | None = 2**20
) -> ChannelConfig:
    """Bound a channel to ``capacity`` frames and ``max_bytes`` payload bytes, whichever is reached first."""
    return ChannelConfig(capacity, max_bytes, on_overflow)


UNLIMITED = ChannelConfig(None, None)
"""No bound: the channel takes what comes. Memory is then the application's to watch."""


class Incoming:
    """Frames received and not yet taken. Iterating and ``receive()`` are the session's own."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._session.__aiter__()

    async def receive(self) -> Frame:
        """Wait for the next frame; see ``WebSocketSession.receive``."""
        return await self._session.receive()

    def try_receive(self) -> Frame | None:
        """Take the next frame if one waits, else None. Raises nothing at the end: ask ``closed``."""
        return self._session.receive_nowait()

    @property
    def closed(self) -> bool:
        """No further frame will arrive: frames may still wait here."""
        return self._session.incoming_ended

    def __len__(self) -> int:
        return self._session.frames_waiting

    def __repr__(self) -> str:
        return f"<Incoming {len(self)} frames waiting{', closed' if self.closed else ''}>"


class Outgoing:
    """Frames accepted and not yet given to the transport, because the peer reads too slowly."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    async def send(self, item: Sendable) -> None:
        """See ``WebSocketSession.send``."""
        await self._session.send(item)

    def try_send(self, item: Sendable) -> bool:
        """Send now if the channel has room; False where ``send()`` would wait."""
        if self._session.outgoing_full:
            return False
        self._session.send_nowait(item)
        return True

    @property
    def closed(self) -> bool:
        """Nothing more can be sent."""
        return self._session.outgoing_ended

    def __len__(self) -> int:
        return self._session.frames_unsent

    def __repr__(self) -> str:
        return f"<Outgoing {len(self)} frames unsent{', closed' if self.closed else ''}>"
