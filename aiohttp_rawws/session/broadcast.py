"""One frame to many sessions, encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ChannelOverflow, SessionClosed
from ..wire.codec import Frame, PreparedFrame
from .managed import DefaultWebSocketSession, send_to_all
from .raw import WebSocketSession, as_frame

Session = WebSocketSession | DefaultWebSocketSession
Policy = Literal["skip", "disconnect", "wait"]


@dataclass
class Broadcast:
    """What became of a broadcast. With the policy "wait", await it: that is what sends to the slow sessions.

    delivered: sessions that took the frame; it leaves before anything they send later.
    skipped: sessions whose ``outgoing`` was full, or that were inside a fragmented message.
    disconnected: those that were aborted for it.
    ended: sessions that were over, or were closing.
    """

    delivered: int = 0
    skipped: list[Session] = field(default_factory=list)
    disconnected: list[Session] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)
    _waiting: list[tuple[Session, Coroutine[Any, Any, None]]] = field(default_factory=list, repr=False)

    def __await__(self) -> Generator[Any, None, Broadcast]:
        return self._wait().__await__()

    async def _wait(self) -> Broadcast:
        waiting, self._waiting = self._waiting, []
        results = await asyncio.gather(*(sending for _, sending in waiting), return_exceptions=True)
        for (session, _), result in zip(waiting, results):
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
    policy: Policy = "skip",
) -> Broadcast:
    """Send one frame (str: Text, bytes: Binary) to every session, raw and managed ones alike.

    It is encoded once, and compressed once for all sessions with the same parameters and no context takeover; those
    with context takeover compress it each for themselves.
    policy: what is done about a session whose ``outgoing`` is full, because its peer reads too slowly: "skip" it;
        "disconnect" it, which aborts the connection; or "wait" for it: ``await broadcast(..., policy="wait")``.
    Returns a report. Raises ValueError for a fragment or an unknown policy, nothing for a session that is over.
    """
    if policy not in ("skip", "disconnect", "wait"):
        raise ValueError(f'policy must be "skip", "disconnect" or "wait", not {policy!r}')
    prepared = item if isinstance(item, PreparedFrame) else PreparedFrame(as_frame(item))
    compressed: dict[Hashable, PreparedFrame] = {}
    report = Broadcast()
    others: list[Session] = []
    report.delivered = send_to_all(sessions, prepared, others)
    for session in others:
        if session.outgoing_full and not session.outgoing_ended:
            if policy == "wait":
                report._waiting.append((session, session.send(prepared)))
            elif policy == "disconnect":
                session.abort()
                report.disconnected.append(session)
            else:
                report.skipped.append(session)
            continue
        try:
            if isinstance(session, DefaultWebSocketSession) and session.extensions:
                _send_transformed(session, prepared, compressed)
            else:
                session.send_nowait(prepared)
        except SessionClosed:
            report.ended.append(session)
        except (ChannelOverflow, RuntimeError):
            report.skipped.append(session)
        else:
            report.delivered += 1
    return report


def _send_transformed(
    session: DefaultWebSocketSession, prepared: PreparedFrame, compressed: dict[Hashable, PreparedFrame]
) -> None:
    key = session.outgoing_key
    if key is None:
        session.send_nowait(prepared)
        return
    ready = compressed.get(key)
    if ready is None:
        ready = compressed[key] = PreparedFrame(session.transformed(prepared.frame))
    session.raw.send_nowait(ready)
