"""``broadcast()``: send one message to many sessions, encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..errors import ChannelOverflow, SessionClosed
from ..wire.codec import PreparedFrame
from .channels import Sendable
from .kinds import Session
from .managed import DefaultWebSocketSession, send_to_all
from .raw import WebSocketSession
from .surface import as_frame

BroadcastPolicy = Literal["skip", "disconnect", "wait"]


@dataclass
class Broadcast:
    """The result of a broadcast. With the policy "wait" you must await it, which sends to the slow sessions.

    Attributes:
        delivered: The number of sessions that accepted the message. It is sent before anything they send later.
        skipped: Sessions that did not get it: ``outgoing`` was full, or a message was being sent in parts.
        disconnected: Sessions that were aborted because ``outgoing`` was full.
        ended: Sessions that had ended or were closing.
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
    item: Sendable,
    *,
    policy: BroadcastPolicy = "skip",
) -> Broadcast:
    """Send one message to many sessions, raw and managed.

    The message is encoded once. Sessions with the same compression parameters and without context takeover share one
    compressed form; a session with context takeover compresses it on its own.

    Args:
        sessions: The sessions.
        item: The message: a str is sent as Text, bytes as Binary.
        policy: The treatment of a session whose ``outgoing`` is full because its peer reads too slowly. "skip": it does
            not get the message. "disconnect": its connection is aborted. "wait": the result must be awaited, and that
            waits until all of them have room. Default: "skip".

    Returns:
        The result. No exception is raised for a session that has ended.

    Raises:
        TypeError: ``item`` cannot be sent, or one of ``sessions`` is no session.
        ValueError: ``item`` is a fragment, or the policy is unknown.
    """
    if policy not in ("skip", "disconnect", "wait"):
        raise ValueError(f'policy must be "skip", "disconnect" or "wait", not {policy!r}')
    prepared = item if isinstance(item, PreparedFrame) else PreparedFrame(as_frame(item))
    transformed: dict[Hashable, PreparedFrame] = {}
    report = Broadcast(_prepared=prepared)
    others: list[Session] = []
    report.delivered = send_to_all(sessions, prepared, others)
    for session in others:
        if not isinstance(session, (WebSocketSession, DefaultWebSocketSession)):
            raise TypeError(f"broadcast() sends to sessions, not to {session!r}")
    for session in others:
        if not session.outgoing_ended and not session.can_send_now(prepared):
            if policy == "wait":
                report._waiting.append(session)
            elif policy == "disconnect" and not session.connection.streaming:
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
