"""Managed echo of texts with permessage-deflate, at the level that aiohttp's own WebSockets are fixed to."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws


async def echo(session: rawws.DefaultWebSocketServerSession) -> None:
    async for message in session:
        await session.send(message.text)


ours.run(rawws.websocket("/", echo), extensions=[rawws.PerMessageDeflate(compression_level=1)])
