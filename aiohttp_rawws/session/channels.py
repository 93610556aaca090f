"""``incoming`` and ``outgoing``: the two directions of a session as channels.

A channel is a view and holds no frames. They wait in the session, which has one queue for each direction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from ..wire.codec import Frame, PreparedFrame

Sendable = Frame | PreparedFrame | str | bytes | bytearray | memoryview
"""The argument of ``send()``: a str is sent as Text, bytes as Binary."""


class ChannelSession(Protocol):
    """The part of a session that a channel uses. Raw and managed sessions have it."""

    @property
    def incoming_ended(self) -> bool: ...
    @property
    def frames_waiting(self) -> int: ...
    @property
    def outgoing_ended(self) -> bool: ...
    @property
    def frames_unsent(self) -> int: ...
    def __aiter__(self) -> AsyncIterator[Frame]: ...
    def receive(self) -> Coroutine[Any, Any, Frame]: ...
    def receive_nowait(self) -> Frame | None: ...
    def send(self, item: Sendable) -> Coroutine[Any, Any, None]: ...
    def send_nowait(self, item: Sendable) -> None: ...
    def can_send_now(self, item: Sendable) -> bool: ...


class Incoming:
    """The frames that were received and that the handler has not taken yet. On a managed session: messages."""

    __slots__ = ("_session",)

    def __init__(self, session: Any) -> None:
        self._session: ChannelSession = session

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._session.__aiter__()

    async def receive(self) -> Frame:
        """Call ``receive()`` of the session."""
        return await self._session.receive()

    def try_receive(self) -> Frame | None:
        """Return the next frame if one is waiting, else None. At the end it returns None, too: see ``closed``."""
        return self._session.receive_nowait()

    @property
    def closed(self) -> bool:
        """True if no further frame will arrive. Some may still be waiting."""
        return self._session.incoming_ended

    def __len__(self) -> int:
        return self._session.frames_waiting

    def __repr__(self) -> str:
        return f"<Incoming {len(self)} frames waiting{', closed' if self.closed else ''}>"


class Outgoing:
    """The frames that ``send()`` accepted and the transport has not, because the peer reads too slowly."""

    __slots__ = ("_session",)

    def __init__(self, session: Any) -> None:
        self._session: ChannelSession = session

    async def send(self, item: Sendable) -> None:
        """Call ``send()`` of the session."""
        await self._session.send(item)

    def try_send(self, item: Sendable) -> bool:
        """Send now and return True, or return False if ``send()`` would wait. Raises the exceptions of ``send()``."""
        if not self._session.can_send_now(item):
            return False
        self._session.send_nowait(item)
        return True

    @property
    def closed(self) -> bool:
        """True if nothing more can be sent."""
        return self._session.outgoing_ended

    def __len__(self) -> int:
        return self._session.frames_unsent

    def __repr__(self) -> str:
        return f"<Outgoing {len(self)} frames unsent{', closed' if self.closed else ''}>"
