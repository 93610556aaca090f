"""The common part of the servers of the conformance runs: the command line, the loop and the first line."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version


@dataclass
class Started:
    """A server that listens. packages: those whose versions matter; facts: what else was picked."""

    port: int
    packages: list[str]
    facts: dict[str, str] = field(default_factory=dict)


def serve(servers: Mapping[str, Callable[[int], Awaitable[Started]]]) -> None:
    """Start the server that the command line names and run it until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=[*servers], nargs="?", default=next(iter(servers)))
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()

    async def run() -> None:
        started = await servers[args.server](args.port)
        loop = "asyncio" if args.loop == "asyncio" else f"uvloop {version('uvloop')}"
        versions = {name: version(name) for name in started.packages}
        what = {**started.facts, **versions, "Python": platform.python_version(), "loop": loop}
        print(json.dumps({"port": started.port, "versions": what}), flush=True)
        await asyncio.Event().wait()

    if args.loop == "uvloop":
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())
