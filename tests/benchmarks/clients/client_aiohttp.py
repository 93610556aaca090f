"""The client of aiohttp."""

from __future__ import annotations

import aiohttp
from echoing import Counter, run


async def talk(url: str, counter: Counter) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as websocket:
        while not counter.is_over:
            await websocket.send_bytes(counter.payload)
            await websocket.receive()
            counter.answers += 1


run(talk, "aiohttp")
