"""A raw session of ``connect_raw()`` with a callback, which answers in place."""

from __future__ import annotations

import aiohttp
from echoing import Counter, run

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame


async def talk(url: str, counter: Counter) -> None:
    async with aiohttp.ClientSession() as http, rawws.connect_raw(http, url) as session:
        frame = Frame.binary(counter.payload)

        def on_frame(answer: Frame) -> None:
            counter.answers += 1
            if counter.is_over:
                session.abort()
            else:
                session.send_nowait(frame)

        session.send_nowait(frame)
        await session.listen(on_frame)


run(talk, "aiohttp")
