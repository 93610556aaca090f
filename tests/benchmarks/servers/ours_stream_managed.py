"""A sink for messages of any size: managed ``receive_stream()``, with keepalive pings."""

from __future__ import annotations

import ours

import aiohttp_rawws as rawws


async def sink(session: rawws.DefaultWebSocketServerSession) -> None:
    while True:
        async with session.receive_stream() as incoming:
            async for _ in incoming:
                pass
        await session.send(b"ok")


ours.run(rawws.websocket("/", sink), ping_interval=600, timeout=60)
