"""The client of websockets, without compression and pings, as the others have none."""

from __future__ import annotations

from echoing import Counter, run
from websockets.asyncio.client import connect


async def talk(url: str, counter: Counter) -> None:
    async with connect(url, compression=None, ping_interval=None) as websocket:
        while not counter.is_over:
            await websocket.send(counter.payload)
            await websocket.recv()
            counter.answers += 1


run(talk, "websockets")
