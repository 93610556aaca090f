"""gunicorn with both of aiohttp's workers, as docs/howto/deployment.md starts it, and aiohttp's own command line."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..tools.programs import Program
from ..tools.serving import TROUBLE
from .deployed import Address, block_of_the_docs, probe, receive

pytestmark = [
    pytest.mark.interop,
    pytest.mark.loops("asyncio"),
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs fork()"),
]

HERE = "tests.neighbours.deployed"
LISTENING = re.compile(r"Listening at: (?:http://127\.0\.0\.1:(\d+)|unix:)")


def gunicorn(containing: str, changes: dict[str, str]) -> list[str]:
    """A command of the page, with some of its arguments changed."""
    page = block_of_the_docs("deployment.md", "shell", containing)
    changes = {"gunicorn": f"{sys.executable} -m gunicorn", "chat:app": f"{HERE}:app", **changes}
    arguments = shlex.split(page)
    assert {*changes} <= {*arguments}
    return [part for argument in arguments for part in shlex.split(changes.get(argument, argument))]


def over_tcp(changes: dict[str, str]) -> list[str]:
    return gunicorn("127.0.0.1", {"127.0.0.1:8080": "127.0.0.1:0", **changes})


@contextmanager
def started(command: Sequence[str], folder: Path, listening: re.Pattern[str] = LISTENING) -> Iterator[Any]:
    """Run a server until the block ends, which then must end in order. Gives it, and its port or None.

    All its workers are ready. gunicorn loses a SIGTERM for a worker that is not, and kills it half a minute later.
    """
    program = Program(command, folder / "log", HOME=str(folder))  # gunicorn keeps a socket there
    workers = int(command[command.index("--workers") + 1]) if "--workers" in command else 1
    try:
        assert program.wait_for(lambda: program.output.count("ready: ") == workers), program.output
        assert program.wait_for(lambda: listening.search(program.output)), program.output
        found = listening.search(program.output)
        assert found is not None
        yield program, found[1]
    finally:
        code = program.stop()
    assert not TROUBLE.search(program.output), program.output
    assert code == 0, program.output


@pytest.mark.parametrize("target", ["app", "make"])
@pytest.mark.parametrize("worker", ["GunicornWebWorker", "GunicornUVLoopWebWorker"])
async def test_workers(worker: str, target: str, folder: Path) -> None:
    changes = {"2": "1", "aiohttp.GunicornWebWorker": f"aiohttp.{worker}", "chat:app": f"{HERE}:{target}"}
    with started(over_tcp(changes), folder) as (_, port):
        address = Address(f"http://127.0.0.1:{port}")
        await probe(address)
        assert (await address.state())["loop"] == ("uvloop" if "UVLoop" in worker else "asyncio")


async def test_a_unix_socket(folder: Path) -> None:
    path = folder / "socket"
    with started(gunicorn("unix:", {"unix:/run/chat/socket": f"unix:{path}"}), folder):
        address = Address("http://localhost", unix=path)
        await probe(address)
        assert (await address.state())["remote"] == ""
        # what a proxy says is believed
        assert (await address.state({"X-Forwarded-For": "203.0.113.7"}))["remote"] == "203.0.113.7"


async def test_the_command_line_of_aiohttp(folder: Path) -> None:
    path = folder / "socket"
    command = [sys.executable, "-u", "-m", "aiohttp.web", "-U", str(path), f"{HERE}:init"]
    with started(command, folder, re.compile(r"Running on ()")):
        await probe(Address("http://localhost", unix=path))


async def closes(clients: Sequence[Any]) -> list[int]:
    await asyncio.wait_for(asyncio.gather(*(client.wait_closed() for client in clients)), 20)
    return [client.close_code for client in clients]


@pytest.mark.parametrize("worker", ["GunicornWebWorker", "GunicornUVLoopWebWorker"])
async def test_sigterm(worker: str, folder: Path) -> None:
    """All sessions of both workers get 1001, also those whose handler only sends."""
    with started(over_tcp({"aiohttp.GunicornWebWorker": f"aiohttp.{worker}"}), folder) as (program, port):
        address = Address(f"http://127.0.0.1:{port}")
        clients = [await address.connect(path) for path in ["/chat", "/raw", "/push"] * 4]
        for client in clients[2::3]:
            assert await receive(client) == "0"
        program.process.send_signal(signal.SIGTERM)
        assert await closes(clients) == [1001] * 12
        assert await asyncio.to_thread(program.stop) == 0
    assert "Shutting down: Master" in program.output


async def test_a_reload(folder: Path) -> None:
    """SIGHUP: the sessions of the old worker get 1001, and new ones are opened in a new worker."""
    with started(over_tcp({"2": "1"}), folder) as (program, port):
        address = Address(f"http://127.0.0.1:{port}")
        old = (await address.state())["pid"]
        client = await address.connect("/chat")
        program.process.send_signal(signal.SIGHUP)
        assert await closes([client]) == [1001]
        for _ in range(200):
            if (await address.state())["pid"] != old:
                break
            await asyncio.sleep(0.05)
        assert (await address.state())["pid"] != old
        async with address.connect("/chat") as client:
            await client.send("hello")
            assert await receive(client) == "hello"
