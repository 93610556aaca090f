"""The common part of the servers: the command line, the event loop, the core they run on, the line that says ready.

A server prints one line of JSON when it listens, and lives until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import platform
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import metadata
from typing import Any

from aiohttp import web

HOST = "127.0.0.1"
LARGE = 16 * 2**20  # bytes of a message that no server of the suite refuses
BACKLOG = 1024

Start = Callable[[], Awaitable[int]]


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """asyncio, uvloop, and each of them with aiofastnet's transports instead of its own."""
    base: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if "uvloop" in name:
        base = importlib.import_module("uvloop").new_event_loop
    if "aiofastnet" in name:
        return importlib.import_module("aiofastnet").loop_factory(base)  # type: ignore[no-any-return]
    return base


LOOPS = ("asyncio", "uvloop", "aiofastnet", "uvloop+aiofastnet")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--cpu", type=int, default=None, help="the core to run on")
    return parser.parse_args()


def serve(start: Start, *packages: str, versions: Mapping[str, str] | None = None, **facts: Any) -> None:
    """Run a server. ``start()`` begins to listen and returns the port.

    Args:
        packages: Distributions whose versions are printed.
        versions: Versions of programs that are no distributions.
        facts: Other facts for the report.
    """
    options = arguments()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = loop_factory(options.loop)()
    asyncio.set_event_loop(loop)

    async def run() -> None:
        over = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), over.set)
        port = await start()
        names = {*packages, *options.loop.split("+")} - {"asyncio"}
        known = {**{name: metadata.version(name) for name in names}, **(versions or {})}
        line = {"port": port, "python": platform.python_version(), "versions": known, "facts": facts}
        print(json.dumps(line), flush=True)
        await over.wait()

    loop.run_until_complete(run())
    os._exit(0)  # with thousands of connections left, an orderly end is a wait for nothing


async def listen_aiohttp(app: web.Application) -> int:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, backlog=BACKLOG)
    await site.start()
    return int(runner.addresses[0][1])
