"""Sends every message to all clients."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws

sessions: set[rawws.WebSocketServerSession] = set()


def send_to_all(frame: rawws.Frame | rawws.FrameChunk) -> None:
    assert isinstance(frame, rawws.Frame)
    rawws.broadcast(sessions, frame)


async def subscribe(session: rawws.WebSocketServerSession) -> None:
    sessions.add(session)
    try:
        await session.listen(send_to_all)
    finally:
        sessions.discard(session)


ours.run(rawws.websocket_raw("/", subscribe))
