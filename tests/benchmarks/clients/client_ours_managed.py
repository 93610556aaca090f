"""A managed session of ``connect()``: a task sends and receives."""

from __future__ import annotations

import aiohttp
from echoing import Counter, run

import aiohttp_rawws as rawws


async def talk(url: str, counter: Counter) -> None:
    async with aiohttp.ClientSession() as http, rawws.connect(http, url) as session:
        while not counter.is_over:
            await session.send(counter.payload)
            await session.receive()
            counter.answers += 1


run(talk, "aiohttp")
