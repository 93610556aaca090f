"""The ``ws`` package for Node against the managed and the raw echo, with and without compression.

It is installed with npm, once, into the user's cache (RAWWS_NODE_HOME names another folder). Without npm or without
its registry the tests are skipped, unless RAWWS_REQUIRE_NODE is set.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import web

from ..autobahn.install import home
from ..autobahn.server import application

WS = "ws@^8.18"
CLIENT = Path(__file__).with_name("ws_client.js")

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("RAWWS_REQUIRE_NODE"):
        pytest.fail(f"RAWWS_REQUIRE_NODE is set, and {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder that has ``ws``."""
    folder = Path(os.environ.get("RAWWS_NODE_HOME") or home().parent / "node")
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("there is no node and npm on PATH. On Debian: apt-get install nodejs npm")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made beside it and then renamed: other processes of the test run may be at the same.
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as scratch:
            fresh = Path(scratch) / "node"
            options = ["--prefix", str(fresh), "--no-audit", "--no-fund", "--ignore-scripts"]
            fresh.mkdir()
            try:
                done = subprocess.run(
                    [npm, "install", *options, WS], check=False, capture_output=True, text=True, timeout=120
                )
            except subprocess.TimeoutExpired:
                unavailable(f"npm could not install {WS} in two minutes: it needs the registry of npm, once")
            if done.returncode:
                unavailable(f"npm could not install {WS} from its registry: {done.stderr[-300:]}")
            with suppress(OSError):  # somebody else was first
                fresh.rename(folder)
    return folder / "node_modules"


@pytest.fixture
async def address() -> AsyncIterator[str]:
    runner = web.AppRunner(application(), access_log=None, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("compress", ["0", "1"], ids=["plain", "deflate"])
@pytest.mark.parametrize("path", ["/", "/plain", "/raw"])
async def test_ws(modules: Path, address: str, path: str, compress: str) -> None:
    env = {**os.environ, "NODE_PATH": str(modules)}
    command = ["node", str(CLIENT), address + path, compress]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert not errors, errors.decode()
    seen = json.loads(output)
    assert "error" not in seen
    assert seen["extensions"] == ("permessage-deflate" if path == "/" and compress == "1" else "")
    assert (seen["wrong"], seen["received"], seen["pongs"]) == ([], seen["sent"], 2)
    assert seen["code"] == 4002
