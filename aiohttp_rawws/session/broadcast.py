"""One frame to many sessions, encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..errors import ChannelOverflow, SessionClosed
from ..wire.codec import Frame, PreparedFrame
from .kinds import Session
from .managed import DefaultWebSocketSession, send_to_all
from .surface import as_frame

BroadcastPolicy = Literal["skip", "disconnect", "wait"]


@dataclass
class Broadcast:
    """What became of a broadcast. With the policy "wait", await it: that is what sends to the slow sessions.

    Attributes:
        delivered: Sessions that took the frame; it leaves before anything they send later.
        skipped: Sessions whose ``outgoing`` was full, or that were inside a fragmented message.
        disconnected: Those that were aborted for it.
        ended: Sessions that were over, or were closing.
    """

    delivered: int = 0
    skipped: list[Session] = field(default_factory=list)
    disconnected: list[Session] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)
    _prepared: PreparedFrame | None = field(default=None, repr=False)
    _waiting: list[Session] = field(default_factory=list, repr=False)

    def __await__(self) -> Generator[None, None, Broadcast]:
        return self._wait().__await__()

    async def _wait(self) -> Broadcast:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return self
        assert self._prepared is not None
        sends = (session.send(self._prepared) for session in waiting)
        results = await asyncio.gather(*sends, return_exceptions=True)
        for session, result in zip(waiting, results):
            if result is None:
                self.delivered += 1
            elif isinstance(result, SessionClosed):
                self.ended.append(session)
            elif isinstance(result, (ChannelOverflow, RuntimeError)):
                self.skipped.append(session)
            else:
                raise result
        return self


def broadcast(
    sessions: Iterable[Session],
    item: Frame | PreparedFrame | str | bytes | bytearray | memoryview,
    *,
    policy: BroadcastPolicy = "skip",
) -> Broadcast:
    """Send one frame (str: Text, bytes: Binary) to every session, raw and managed ones alike.

    It is encoded once, and compressed once for all sessions with the same parameters and no context takeover; with
    context takeover each session compresses it for itself.

    Args:
        policy: What is done about a session whose ``outgoing`` is full, because its peer reads too slowly: "skip" it;
            "disconnect" it, which aborts the connection; or "wait" for it: ``await broadcast(..., policy="wait")``.
            Default: "skip".

    Returns:
        A report. Nothing is raised for a session that is over.

    Raises:
        ValueError: The frame is a fragment, or the policy unknown.
    """
    if policy not in ("skip", "disconnect", "wait"):
        raise ValueError(f'policy must be "skip", "disconnect" or "wait", not {policy!r}')
    prepared = item if isinstance(item, PreparedFrame) else PreparedFrame(as_frame(item))
    transformed: dict[Hashable, PreparedFrame] = {}
    report = Broadcast(_prepared=prepared)
    others: list[Session] = []
    report.delivered = send_to_all(sessions, prepared, others)
    for session in others:
        if not session.outgoing_ended and not session.can_send_now(prepared):
            if policy == "wait":
                report._waiting.append(session)
            elif policy == "disconnect":
                session.abort()
                report.disconnected.append(session)
            else:
                report.skipped.append(session)
            continue
        try:
            if isinstance(session, DefaultWebSocketSession):
                session.send_whole(prepared, transformed)
            else:
                session.send_nowait(prepared)
        except SessionClosed:
            report.ended.append(session)
        except (ChannelOverflow, RuntimeError):
            report.skipped.append(session)
        else:
            report.delivered += 1
    return report
