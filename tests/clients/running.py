"""Running clients against the catalogue of misbehaviours: those for Python, for Node, and a browser."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp_rawws.testing import Agent, MisbehavingServer, Verdict

from ..autobahn.install import home
from . import python

AT_ONCE = 8
PAGES_AT_ONCE = 4
LIMIT = 45.0  # seconds for one visit
AGENT_JS = Path(__file__).with_name("agent.js")
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
]

# They return the version of the client, and the visits in which its process died.
Run = Callable[[MisbehavingServer, str, list[str]], Awaitable[tuple[str, set[str]]]]


class NotThere(Exception):
    """A client is not installed."""


async def in_python(server: MisbehavingServer, name: str, visits: list[str]) -> tuple[str, set[str]]:
    version = python.version_of(name)
    if version is None:
        raise NotThere(f"pip install {python.CLIENTS[name][0]}")
    client = python.CLIENTS[name][1]
    room = asyncio.Semaphore(AT_ONCE)

    async def visit(each: str) -> None:
        async with room:
            with suppress(Exception):  # most visits end in an error
                await asyncio.wait_for(client(server.url(each, name)), LIMIT)

    await asyncio.gather(*map(visit, visits))
    return version, set()


async def in_node(server: MisbehavingServer, name: str, visits: list[str]) -> tuple[str, set[str]]:
    modules = Path(os.environ.get("RAWWS_NODE_HOME") or home().parent / "node") / "node_modules"
    if shutil.which("node") is None:
        raise NotThere("there is no node on PATH")
    if name == "ws" and not modules.exists():
        raise NotThere("tests/system/test_clients_node.py installs ws")
    options = ["--experimental-websocket", "--no-warnings"] if name != "ws" else []
    command = ("node", *options, str(AGENT_JS), "ws" if name == "ws" else "built-in", server.origin, name, str(LIMIT))
    version, crashed = "", set[str]()

    async def batch(names: Iterable[str], at_once: int) -> tuple[set[str], set[str]]:
        """The names that were begun, and those that were over, before the process ended."""
        nonlocal version
        process = await asyncio.create_subprocess_exec(
            *command, str(at_once), env={**os.environ, "NODE_PATH": str(modules)}, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(json.dumps(list(names)).encode()), 1200)
        lines: list[dict[str, str]] = [json.loads(line) for line in output.splitlines()]
        version = lines[0]["version"]
        began, over = ({line[key] for line in lines if key in line} for key in ("began", "over"))
        return began, began if process.returncode == 0 else over

    left = list(visits)
    while left:
        began, over = await batch(left, AT_ONCE)
        for suspect in began - over:  # the process died: of which of them?
            if not (await batch([suspect], 1))[1]:
                crashed.add(suspect)
        left = [each for each in left if each not in began]
    return version, crashed


async def in_a_browser(server: MisbehavingServer, name: str, visits: list[str]) -> tuple[str, set[str]]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise NotThere("there is no Chromium on PATH")
    api: Any = importlib.import_module("playwright.async_api")
    script = (
        AGENT_JS.read_text(encoding="utf-8") + "\n;[url, limit] = arguments[0]; return visit(WebSocket, url, limit);"
    )
    function = f"(given) => (function () {{ let url, limit; {script} }})(given)"
    room = asyncio.Semaphore(PAGES_AT_ONCE)

    async def visit(browser: Any, each: str) -> None:
        # A page of its own: a browser makes pages wait whose connections have failed.
        async with room:
            context = await browser.new_context()
            page = await context.new_page()
            await page.goto(f"http://{server.origin}/m/{each}")
            with suppress(Exception):
                await asyncio.wait_for(page.evaluate(function, [server.url(each, name), LIMIT]), LIMIT + 10)
            await context.close()

    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS, timeout=60_000)
        try:
            await asyncio.gather(*(visit(browser, each) for each in visits))
            return str(browser.version), set()
        finally:
            await browser.close()


CLIENTS: dict[str, Run] = {
    **dict.fromkeys(python.CLIENTS, in_python),
    "node": in_node,
    "ws": in_node,
    "chromium": in_a_browser,
}


async def run(server: MisbehavingServer, name: str) -> tuple[Agent, str]:
    """Have a client visit everything that a server has.

    Returns:
        The agent, and the version of the client.

    Raises:
        NotThere: The client is not installed.
    """
    agent = server.agent(name)
    visits = [*server.misbehaviours]
    version, crashed = await CLIENTS[name](server, name, visits)
    if not agent.visits:
        raise RuntimeError(f"{name} did not come at all")
    for _ in range(200):  # the server may watch a connection longer than the client keeps it
        if not agent.missing():
            break
        await asyncio.sleep(0.1)
    if "nothing-wrong" in server.misbehaviours:
        await CLIENTS[name](server, name, ["nothing-wrong"])  # it has survived what came last
    for each in crashed:
        outcome = replace(agent.visits[each].outcome, breaches=("the process died",))
        agent.visits[each] = replace(agent.visits[each], outcome=outcome, verdict=Verdict.FAILED)
    return agent, version
