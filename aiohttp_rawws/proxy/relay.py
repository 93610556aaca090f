"""A minimal relay of frames."""

from __future__ import annotations

import asyncio

from ..errors import SessionClosed
from ..session.raw import WebSocketSession


async def relay(a: WebSocketSession, b: WebSocketSession) -> None:
    """Send each frame of one side to the other, until one of them has ended."""

    async def one_way(source: WebSocketSession, sink: WebSocketSession) -> None:
        try:
            while True:
                await sink.send(await source.receive())
        except SessionClosed:
            if not (source.close_state.received and sink.close_state.sent):
                sink.connection.disconnect()

    await asyncio.gather(one_way(a, b), one_way(b, a))
