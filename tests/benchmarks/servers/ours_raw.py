"""Raw echo with ``async for``. With AIOHTTP_RAWWS_NO_EXTENSIONS=1 it is the Python core that is measured."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws


async def echo(session: rawws.WebSocketServerSession) -> None:
    async for frame in session:
        await session.send(frame)


ours.run(rawws.websocket_raw("/", echo))
