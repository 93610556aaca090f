"""Applications of others behind a gateway: JupyterLab in Chromium behind ``demos.gateway``, and echo servers and
clients of other libraries.

JupyterLab comes with requirements-dev.txt. Without Chromium its test is skipped, unless RAWWS_REQUIRE_BROWSER is set.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import websockets
from playwright.sync_api import Page, expect, sync_playwright

from ..system.test_browser import EXECUTABLE, FLAGS
from ..system.test_client_peers import of_aiohttp, of_node, of_picows, of_websockets
from ..system.test_clients_node import CLIENT, modules  # noqa: F401  # a fixture
from ..tools.gateways import gateway
from ..tools.programs import Program, free_port
from ..tools.waiting import eventually

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

LIMIT = 20.0  # seconds that only a fault takes
SLOW = 60_000  # milliseconds for a kernel to start, on a busy machine

# ---- JupyterLab -------------------------------------------------------------------------------

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": "print('the answer is', 6 * 7)",
        }
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def jupyter(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab, behind a gateway."""
    (folder / "cell.ipynb").write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    inner, outer = free_port(), free_port()
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": inner,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": str(folder),
        "IdentityProvider.token": "",
        "LabApp.extension_manager": "readonly",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items())]
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    own = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data")}
    own |= {"JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "IPYTHONDIR": str(folder / "ipython")}
    lab = Program(command, folder / "lab.log", **own)
    front = Program(
        [sys.executable, "-m", "demos.gateway", f"http://127.0.0.1:{inner}", "--port", str(outer)],
        folder / "gateway.log",
    )
    try:
        url = f"http://127.0.0.1:{outer}"
        assert lab.wait_for(lambda: answers(f"{url}/api/status")), lab.output
        yield url
    finally:
        front.stop()
        lab.stop()
    assert "Traceback" not in front.output, front.output
    assert "ERROR" not in front.output, front.output


def run_first_cell(page: Page, output: str) -> None:
    """Run it until its output is there. JupyterLab drops what is asked for before its kernel has said its name."""
    expect(page.get_by_role("button", name="| Idle")).to_be_visible(timeout=SLOW)
    found = page.locator(".jp-OutputArea-output", has_text=output).first
    for _ in range(4):
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        with suppress(AssertionError):
            expect(found).to_be_visible(timeout=8_000)
            return
    raise AssertionError(page.locator(".jp-Notebook").inner_text())


@pytest.mark.skipif(EXECUTABLE is None and not os.environ.get("RAWWS_REQUIRE_BROWSER"), reason="no Chromium on PATH")
@pytest.mark.xdist_group("browser")
def test_a_cell_of_a_notebook_runs(jupyter: str) -> None:
    """JupyterLab talks to its kernel over a WebSocket with a subprotocol, in fragments of binary frames."""
    assert EXECUTABLE is not None, "RAWWS_REQUIRE_BROWSER is set, and there is no Chromium on PATH"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS, timeout=SLOW)
        page = browser.new_page()
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{jupyter}/lab/tree/cell.ipynb", timeout=SLOW)
        run_first_cell(page, "the answer is 42")
        browser.close()
    assert any("/api/kernels/" in url and url.startswith(jupyter.replace("http", "ws")) for url in sockets), sockets


# ---- servers and clients of others ---------------------------------------------------------------

SERVERS: dict[str, Any] = {
    "aiohttp": of_aiohttp,
    "websockets": of_websockets,
    "picows": of_picows,
    "node": of_node,
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Any:
    """An echo server, and whether it has compression."""
    name: str = request.param
    folder: Path = request.getfixturevalue("modules") if name == "node" else Path()
    return SERVERS[name](folder), name != "picows"


@pytest.mark.loops("asyncio")
async def test_servers_of_others(server: Any) -> None:
    """Compression, subprotocol, fragments, pings and close codes are those of the two ends."""
    serve, compresses = server
    async with serve as url, gateway(url) as served:
        for compression in ("deflate", None):
            async with websockets.connect(
                f"ws://127.0.0.1:{served.port}/",
                subprotocols=["v2", "v1"],  # type: ignore[list-item]
                compression=compression,
                max_size=None,
                proxy=None,
            ) as client:
                assert client.subprotocol == "v1"
                extensions = [extension.name for extension in client.protocol.extensions]
                assert extensions == (["permessage-deflate"] if compression and compresses else [])
                for message in ("", "Grüße", "ab" * 200_000, b"\x00\xff" * 40_000):
                    await client.send(message)
                    assert await asyncio.wait_for(client.recv(), LIMIT) == message
                if compresses:  # the others echo fragments as such
                    await client.send(["Gr", "üße"])
                    assert await asyncio.wait_for(client.recv(), LIMIT) == "Grüße"
                await asyncio.wait_for(await client.ping(), LIMIT)
                await client.close(4002, "bye")
        await eventually(lambda: not served.held)
        assert not served.errors


@pytest.mark.loops("asyncio")
async def test_early_frames_of_node(request: pytest.FixtureRequest) -> None:
    """``ws`` sends them as soon as it is connected."""
    async with of_node(request.getfixturevalue("modules")) as url, gateway(url) as served:
        async with websockets.connect(f"ws://127.0.0.1:{served.port}/early", proxy=None) as client:
            assert await asyncio.wait_for(client.recv(), LIMIT) == "early"
        await eventually(lambda: not served.held)


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("compress", ["0", "1"], ids=["plain", "deflate"])
async def test_ws_of_node_to_ws_of_node(request: pytest.FixtureRequest, compress: str) -> None:
    folder = request.getfixturevalue("modules")
    async with of_node(folder) as url, gateway(url) as served:
        command = ["node", str(CLIENT), f"ws://127.0.0.1:{served.port}/", compress]
        env = {**os.environ, "NODE_PATH": str(folder)}
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=PIPE, stderr=PIPE)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        assert not errors, errors.decode()
        seen = json.loads(output)
        assert "error" not in seen
        assert seen["extensions"] == ("permessage-deflate" if compress == "1" else "")
        assert (seen["wrong"], seen["received"], seen["pongs"]) == ([], seen["sent"], 2)
        assert (seen["code"], seen["reason"]) == (4002, "that was all")
        await eventually(lambda: not served.held)
