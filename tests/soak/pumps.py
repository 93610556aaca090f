"""Short sessions through ``pump()``, as many as wanted, that end in every way there is.

    python -m tests.soak.pumps --sessions 100000

Fails (status 1) when a frame does not arrive, when memory grows, or when descriptors, tasks or timers are left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from ..tools.peers import BINARY, CLOSE, TEXT, close_frame, frame
from ..tools.pumped import Pumped, from_server, read_frame, unpumped
from .__main__ import ALLOWED_GROWTH, descriptors, memory

FIN = 0x80
OPTIONS: dict[str, Any] = {"close_timeout": 5.0, "max_frame_size": 100_000, "frame_streaming_threshold": 10_000}


async def close(on: Pumped) -> None:
    await on.client.send(close_frame(1000))
    assert (await read_frame(on.server))[0] == FIN | CLOSE
    await on.server.send(from_server(CLOSE, b"\x03\xe8"))
    assert (await read_frame(on.client))[0] == FIN | CLOSE
    assert await on.client.read_to_end() == b""
    await on.client.close()
    await on.server.close()


async def half_close(on: Pumped) -> None:
    on.client.writer.write_eof()
    assert await on.server.read_to_end() == b""
    await on.server.send(from_server(TEXT, b"answer"))
    await on.server.close()
    assert await read_frame(on.client) == (FIN | TEXT, b"answer")
    assert await on.client.read_to_end() == b""
    await on.client.close()


async def reset(on: Pumped) -> None:
    on.client.reset()


async def reset_inside_of_a_frame(on: Pumped) -> None:
    await on.server.send(from_server(BINARY, b"x" * 50_000)[:30_000])
    on.server.reset()


async def refused(on: Pumped) -> None:
    await on.client.send(frame(BINARY, b"x" * 100_001)[:10])
    assert (await read_frame(on.client))[0] == FIN | CLOSE
    await on.client.close()
    await on.server.close()


async def cancelled(on: Pumped) -> None:
    assert on.task is not None
    on.task.cancel()
    assert (await read_frame(on.client))[0] == FIN | CLOSE
    await on.client.close()
    await on.server.close()


async def aborted(on: Pumped) -> None:
    on.b.abort()


ENDS: list[Callable[[Pumped], Awaitable[None]]] = [
    close, half_close, reset, reset_inside_of_a_frame, refused, cancelled, aborted,
]  # fmt: skip


def same(item: Any, source: object) -> Any:
    return item


async def later(item: Any, source: object) -> Any:
    await asyncio.sleep(0)
    return item


async def session(dice: random.Random) -> str:
    """One session from its first frame to its end. Returns what it was like."""
    on_frame, end = dice.choice((None, same, later)), dice.choice(ENDS)
    async with unpumped(a=OPTIONS, b=OPTIONS) as on:
        on.begin(on_frame=on_frame, idle_timeout=dice.choice((None, 60.0)))
        for size in (dice.choice((0, 10, 1000)), dice.choice((10, 20_000))):
            await on.client.send(frame(BINARY, bytes(size)))
            assert await read_frame(on.server) == (FIN | BINARY, bytes(size))
            await on.server.send(from_server(BINARY, bytes(size)))
            assert await read_frame(on.client) == (FIN | BINARY, bytes(size))
        await end(on)
        with contextlib.suppress(asyncio.CancelledError):
            await on.report()
    return end.__name__


async def run(count: int, at_once: int, seed: int) -> list[str]:
    """Returns what was wrong."""
    dice, kinds, left = random.Random(seed), Counter[str](), count

    async def visitor() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            kinds[await asyncio.wait_for(session(dice), 60)] += 1

    fds, began, others = descriptors(os.getpid()), time.monotonic(), asyncio.all_tasks()
    warm = count // 4
    count_before, left = left, warm
    await asyncio.gather(*(visitor() for _ in range(at_once)))
    gc.collect()
    before, left = memory(os.getpid()), count_before - warm
    await asyncio.gather(*(visitor() for _ in range(at_once)))
    await asyncio.sleep(0.1)
    gc.collect()
    after, wrong = memory(os.getpid()), []
    if after - before > max(ALLOWED_GROWTH, before // 20):
        wrong.append(f"memory grew from {before >> 20} to {after >> 20} MiB")
    if descriptors(os.getpid()) > fds:
        wrong.append(f"{descriptors(os.getpid()) - fds} descriptors left")
    tasks = asyncio.all_tasks() - others
    if tasks:
        wrong.append(f"{len(tasks)} tasks left: {tasks}")
    timers = [timer for timer in getattr(asyncio.get_running_loop(), "_scheduled", ()) if not timer.cancelled()]
    if len(timers) > at_once:
        wrong.append(f"{len(timers)} timers left")
    print(
        f"{count} sessions through a pump, {at_once} at a time, in {time.monotonic() - began:.0f} s: "
        f"{', '.join(f'{number} {name}' for name, number in sorted(kinds.items()))}\n"
        f"memory: {before / 2**20:.1f} MiB after a quarter, {after / 2**20:.1f} at the end"
    )
    return wrong


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.soak.pumps", description=__doc__)
    options.add_argument("--sessions", type=int, default=100_000, help="%(default)s")
    options.add_argument("--at-once", type=int, default=20, help="%(default)s")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    wrong = asyncio.run(run(given.sessions, given.at_once, given.seed))
    for text in wrong:
        print(f"WRONG: {text}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
