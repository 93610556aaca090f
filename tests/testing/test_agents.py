"""The server of the catalogue: its pages, its reports, and ``python -m aiohttp_rawws.testing``."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiohttp_rawws import testing
from aiohttp_rawws.testing import MISBEHAVIOURS, Verdict
from aiohttp_rawws.testing.__main__ import main

from ..tools.waiting import eventually
from .clients import careful, sloppy, unmasked

pytestmark = pytest.mark.loops("asyncio")

Client = Callable[[str], Awaitable[None]]


async def page(server: testing.MisbehavingServer, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{server.origin}{path}") as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status, await response.text()


async def test_pages() -> None:
    async with testing.misbehaving_server(["rsv1", "status-40*"]) as server:
        await careful(server.url("rsv1", "<me>"))
        await eventually(lambda: server.agent("<me>").visits)
        status, index = await page(server, "/")
        assert status == 200
        for name in ("rsv1", "status-400", "status-404"):
            assert f'<a href="/m/{name}">' in index
        assert "rsv2" not in index
        assert "&lt;me&gt;</a>: 1 OK" in index and "<me>" not in index
        status, text = await page(server, "/m/rsv1")
        assert status == 426 and MISBEHAVIOURS["rsv1"].summary in text
        status, text = await page(server, "/catalogue.json")
        assert [entry["name"] for entry in json.loads(text)] == list(server.misbehaviours)
        for path in ("/nothing", "/m/rsv2", "/agents/nobody.json"):
            assert (await page(server, path))[0] == 404


async def test_report() -> None:
    async with testing.misbehaving_server(["rsv1", "nothing-wrong", "reset-behind-101", "close-1000"]) as server:
        for name in ("rsv1", "nothing-wrong"):
            await asyncio.wait_for(careful(server.url(name, "mine")), 20)
        await eventually(lambda: len(server.agent("mine").visits) == 2)
        report = json.loads((await page(server, "/agents/mine.json"))[1])
    assert report["agent"] == "mine"
    assert report["counts"] == {"OK": 2, "NON-STRICT": 0, "FAILED": 0, "UNIMPLEMENTED": 0}
    assert report["missing"] == ["reset-behind-101", "close-1000"]
    seen = report["misbehaviours"]["rsv1"]
    assert (seen["verdict"], seen["how"], seen["code"], seen["end"]) == ("OK", "closed", 1002, "eof")
    assert any("TEXT FIN RSV1 5 bytes" in line for line in seen["wire"])


async def test_a_client_must_come_again_after_a_reset() -> None:
    """Nothing can be seen on a connection that the server has reset."""
    async with testing.misbehaving_server(["reset-behind-101"]) as server:
        agent = server.agent("mine")
        await careful(server.url("reset-behind-101", "mine"))
        await eventually(lambda: agent.visits)
        assert agent.verdicts() == {"reset-behind-101": Verdict.FAILED}
        assert not agent.complete.is_set()
        await page(server, "/agents/mine.json")
        assert agent.verdicts() == {"reset-behind-101": Verdict.OK}
        assert agent.complete.is_set()


async def test_redirects_lead_to_a_websocket() -> None:
    async with testing.misbehaving_server(["status-302"]) as server:
        async with aiohttp.ClientSession() as http:
            async with http.ws_connect(f"ws://{server.origin}/landed") as socket:
                assert (await socket.receive(20)).type is aiohttp.WSMsgType.CLOSE


async def test_agents_have_a_limit() -> None:
    async with testing.misbehaving_server(["rsv1"]) as server:
        for number in range(1100):
            server.agent(f"agent {number}")
        assert len(server.agents) == 1000
        assert len(server.agent("x" * 1000).name) == 100


# ---- the command --------------------------------------------------------------------------


async def command(client: Client | None, names: list[str], *options: str) -> tuple[int, str]:
    """Run the command, visit ``names``, and wait for its end."""
    arguments = [sys.executable, "-m", "aiohttp_rawws.testing", "--port", "0", "--agent", "me & mine", *options, *names]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        match = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/ has \d+ misbehaviours\n", line)
        assert match is not None, line
        if client is not None:
            for name in names:
                address = match[1].replace("http", "ws")
                await asyncio.wait_for(client(f"{address}/m/{name}?agent=me%20%26%20mine"), 20)
        output, errors = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not errors, errors
    return process.returncode or 0, output.decode()


async def test_once(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, output = await command(careful, ["rsv1", "nothing-wrong"], "--once", "--strict", "--report", str(report))
    assert (code, output) == (0, "me & mine: 2 OK\n")
    found: dict[str, Any] = json.loads(report.read_text())
    assert list(found["misbehaviours"]) == ["nothing-wrong", "rsv1"]


async def test_once_with_a_client_that_fails() -> None:
    code, output = await command(sloppy, ["rsv1"], "--once", "--patience", "1")
    assert code == 1
    assert output == "me & mine: 1 FAILED\n  FAILED rsv1 (5.2): went on, Close 1000, end of TCP\n"


@pytest.mark.parametrize(("strict", "expected"), [([], 0), (["--strict"], 3)])
async def test_once_with_a_client_that_is_not_strict(strict: list[str], expected: int) -> None:
    code, output = await command(sloppy, ["close-rsv1"], "--once", *strict)
    assert code == expected
    assert "1 NON-STRICT" in output


async def test_once_with_a_time_limit() -> None:
    code, output = await command(None, ["rsv1"], "--once", "--timeout", "0.1")
    assert code == 4
    assert output == "me & mine: no visit\n  not visited: rsv1\n"


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MISBEHAVIOURS)
    assert main(["rsv9"]) == 2
    assert "no misbehaviour 'rsv9'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--once"])


async def test_a_breach_is_in_the_summary() -> None:
    code, output = await command(unmasked, ["nothing-wrong"], "--once", "--patience", "1")
    assert code == 1
    assert "no mask (section 5.1)" in output
