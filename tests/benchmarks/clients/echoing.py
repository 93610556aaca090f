"""The common part of the clients: the command line, the loop, and the line with what was measured.

A client opens its connections, sends one message on each, and sends the next when the answer has come. It prints one
line of JSON at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from serving import LOOPS, loop_factory

WARM_UP = 0.2  # of the time that is measured


class Counter:
    """The messages of all connections.

    Attributes:
        payload: What each message is.
        answers: Messages that came back.
        is_over: The time is over: send no more.
    """

    def __init__(self, size: int) -> None:
        self.payload = os.urandom(size)
        self.answers = 0
        self.is_over = False


Talk = Callable[[str, Counter], Awaitable[None]]
"""Opens a connection to a URL, and sends messages until the time is over."""


def used() -> tuple[float, int]:
    """CPU seconds and page faults of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_minflt


async def measure(talk: Talk, url: str, connections: int, size: int, seconds: float) -> dict[str, float]:
    counter = Counter(size)
    talking = [asyncio.ensure_future(talk(url, counter)) for _ in range(connections)]
    await asyncio.sleep(seconds * WARM_UP)
    if not counter.answers:
        await asyncio.sleep(1.0)
    began, (cpu, faults), before = time.monotonic(), used(), counter.answers
    await asyncio.sleep(seconds)
    ended, (cpu_after, faults_after), messages = time.monotonic(), used(), counter.answers - before
    counter.is_over = True
    await asyncio.wait_for(asyncio.gather(*talking), 30)
    return {
        "messages": messages,
        "seconds": ended - began,
        "rate": messages / (ended - began),
        "server_cpu": cpu_after - cpu,
        "server_faults": faults_after - faults,
    }


def run(talk: Talk, *packages: str) -> None:
    """Run the client. ``packages``: distributions whose versions are printed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--cpu", type=int, default=None, help="the core to run on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    loop = loop_factory(options.loop)()
    asyncio.set_event_loop(loop)
    url = f"ws://127.0.0.1:{options.port}/"
    result = loop.run_until_complete(measure(talk, url, options.connections, options.size, options.seconds))
    print(json.dumps({**result, "versions": {name: metadata.version(name) for name in packages}}), flush=True)
    os._exit(0)
