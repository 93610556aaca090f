"""A sink for frames of any size: raw ``receive_stream()``."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws


async def sink(session: rawws.WebSocketServerSession) -> None:
    while True:
        async with session.receive_stream() as incoming:
            async for _ in incoming:
                pass
        await session.send(b"ok")


ours.run(rawws.websocket_raw("/", sink))
