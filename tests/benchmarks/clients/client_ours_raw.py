"""A raw session of ``connect_raw()``: a task sends and receives."""

from __future__ import annotations

import aiohttp
from echoing import Counter, run

import aiohttp_rawws as rawws


async def talk(url: str, counter: Counter) -> None:
    async with aiohttp.ClientSession() as http, rawws.connect_raw(http, url) as session:
        while not counter.is_over:
            await session.send(counter.payload)
            await session.receive()
            counter.answers += 1


run(talk, "aiohttp")
