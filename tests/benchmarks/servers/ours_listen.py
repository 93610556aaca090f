"""Raw echo with a callback per frame."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws


async def echo(session: rawws.WebSocketServerSession) -> None:
    await session.listen(session.send_nowait)


ours.run(rawws.websocket_raw("/", echo))
