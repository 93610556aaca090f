"""``incoming`` and ``outgoing``: the two directions of a session as channels.

A channel is a view: the frames themselves wait in the connection, once, however many views there are. So a capacity
means what it says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from ..wire.codec import Frame


class Session(Protocol):
    """What a channel asks of a session; raw and managed ones have it."""

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
    def send(self, item: Any) -> Coroutine[Any, Any, None]: ...
    def send_nowait(self, item: Any) -> None: ...
    def can_send_now(self, item: Any) -> bool: ...


class Incoming:
    """Frames that were received and not taken yet; on a managed session, messages."""

    __slots__ = ("_session",)

    def __init__(self, session: Any) -> None:
        self._session: Session = session

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._session.__aiter__()

    async def receive(self) -> Frame:
        """The session's ``receive()``."""
        return await self._session.receive()

    def try_receive(self) -> Frame | None:
        """Take the next frame if one waits, else return None. Raises nothing at the end: ask ``closed``."""
        return self._session.receive_nowait()

    @property
    def closed(self) -> bool:
        """Whether no further frame will arrive; some may still wait here."""
        return self._session.incoming_ended

    def __len__(self) -> int:
        return self._session.frames_waiting

    def __repr__(self) -> str:
        return f"<Incoming {len(self)} frames waiting{', closed' if self.closed else ''}>"


class Outgoing:
    """Frames that were accepted and not given to the transport yet, because the peer reads too slowly."""

    __slots__ = ("_session",)

    def __init__(self, session: Any) -> None:
        self._session: Session = session

    async def send(self, item: Any) -> None:
        """The session's ``send()``."""
        await self._session.send(item)

    def try_send(self, item: Any) -> bool:
        """Send now and return True, or return False where ``send()`` would have to wait. Raises as ``send()``."""
        if not self._session.can_send_now(item):
            return False
        self._session.send_nowait(item)
        return True

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent."""
        return self._session.outgoing_ended

    def __len__(self) -> int:
        return self._session.frames_unsent

    def __repr__(self) -> str:
        return f"<Outgoing {len(self)} frames unsent{', closed' if self.closed else ''}>"
