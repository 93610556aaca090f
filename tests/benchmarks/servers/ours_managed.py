"""Managed echo with ``async for``, with keepalive pings."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws


async def echo(session: rawws.DefaultWebSocketServerSession) -> None:
    async for message in session:
        await session.send(message)


ours.run(rawws.websocket("/", echo), ping_interval=600, timeout=60)
