"""The loop that timers are tested on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from . import clock
from .clock import advance, idle

pytestmark = pytest.mark.loops("clock")


async def test_an_hour_takes_a_moment() -> None:
    loop, began = asyncio.get_running_loop(), time.monotonic()
    await asyncio.sleep(3000)
    assert loop.time() == clock.START + 3000
    assert time.monotonic() - began < 60


async def test_timers_run_in_order_each_at_its_time() -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[float, float]] = []

    def note(delay: float) -> None:
        seen.append((delay, loop.time() - clock.START))

    for delay in (3, 1, 2, 0.5, 1):
        loop.call_later(delay, note, delay)
    await advance(2)
    assert seen == [(0.5, 0.5), (1, 1), (1, 1), (2, 2)]
    await advance(1)
    assert seen[-1] == (3, 3)


async def test_fractions_add_up() -> None:
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    loop.call_later(0.3, seen.append, 1)
    for _ in range(2):
        await advance(0.1)
        assert not seen
    await advance(0.1)
    assert seen == [1]


async def test_everything_runs_before_time_goes_on() -> None:
    async def work(steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        done.append(loop.time())

    loop = asyncio.get_running_loop()
    done: list[float] = []
    tasks = [asyncio.create_task(work(steps)) for steps in (1000, 1)]
    await idle()
    assert done == [clock.START] * 2
    await asyncio.gather(*tasks)


async def test_a_timeout_is_exact() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 20)
    assert loop.time() == clock.START + 20


async def test_sockets_are_waited_for() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(), 3000) == b"hello"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert asyncio.get_running_loop().time() < clock.START + 60


async def test_threads_are_waited_for() -> None:
    loop: Any = asyncio.get_running_loop()
    assert await asyncio.wait_for(loop.run_in_executor(None, time.sleep, 0.05), 3000) is None
    assert loop.time() < clock.START + 60
    await loop.shutdown_default_executor()
