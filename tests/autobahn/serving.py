"""The common part of the programs of the conformance runs: the command line, the loop and the first line."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import aiohttp_rawws as rawws
from aiohttp_rawws._build import COMPILED


@dataclass
class Started:
    """A server that listens. packages: those whose versions matter; facts: what else was picked."""

    port: int
    packages: list[str]
    facts: dict[str, str] = field(default_factory=dict)


def our_versions() -> dict[str, str]:
    return {"aiohttp_rawws": rawws.__version__, "codec": "compiled" if COMPILED else "Python"}


def versions_of(packages: list[str], facts: Mapping[str, str], loop: str, **more: Any) -> str:
    """The first line of a program: a JSON object with the versions of what runs."""
    versions = {name: version(name) for name in packages}
    what = "asyncio" if loop == "asyncio" else f"uvloop {version('uvloop')}"
    return json.dumps({**more, "versions": {**facts, **versions, "Python": platform.python_version(), "loop": what}})


def run_on(loop: str, coro: Coroutine[Any, Any, None]) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.run(coro)
    else:
        asyncio.run(coro)


def serve(servers: Mapping[str, Callable[[int], Awaitable[Started]]]) -> None:
    """Start the server that the command line names and run it until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=[*servers], nargs="?", default=next(iter(servers)))
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()

    async def run() -> None:
        started = await servers[args.server](args.port)
        print(versions_of(started.packages, started.facts, args.loop, port=started.port), flush=True)
        await asyncio.Event().wait()

    run_on(args.loop, run())
