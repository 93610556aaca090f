"""The server of the catalogue: its pages, its reports, and ``python -m aiohttp_rawws.testing``."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiohttp_rawws import testing
from aiohttp_rawws.testing import MISBEHAVIOURS, Verdict
from aiohttp_rawws.testing.__main__ import arguments, main, serve

from ..tools.waiting import eventually
from .clients import careful, request, sloppy, unmasked

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
    async with testing.misbehaving_server(["reset-behind-101", "nothing-wrong"]) as server:
        agent = server.agent("mine")
        await careful(server.url("reset-behind-101", "mine"))
        await eventually(lambda: agent.visits)
        assert agent.verdicts() == {"reset-behind-101": Verdict.FAILED}
        assert not agent.complete.is_set()
        await page(server, "/agents/mine.json")  # somebody reads the report
        assert agent.verdicts() == {"reset-behind-101": Verdict.FAILED}
        await careful(server.url("nothing-wrong", "mine"))
        assert agent.verdicts()["reset-behind-101"] is Verdict.OK
        await eventually(lambda: not agent.missing())
        assert agent.complete.is_set()


@pytest.mark.parametrize("name", ["my client", "a/b", "50%", "<me>.json", "Grün"])
async def test_the_report_of_an_agent_with_any_name(name: str) -> None:
    async with testing.misbehaving_server(["close-1000"]) as server:
        await careful(server.url("close-1000", name))
        await eventually(lambda: server.agent(name).visits)
        link = re.search(r'href="(/agents/[^"]*)"', (await page(server, "/"))[1])
        assert link is not None
        status, text = await page(server, link[1])
        assert (status, json.loads(text)["agent"]) == (200, name)


@pytest.mark.parametrize("path", ["/", "/agents/big.json"])
async def test_pages_arrive_whole(path: str) -> None:
    """Also if much of them has to wait in the server: less than drain() waits for, or more."""
    async with testing.misbehaving_server(["close-1000"]) as server:
        await careful(server.url("close-1000", "big"))
        await eventually(lambda: server.agent("big").visits)
        agent = server.agent("big")
        agent.visits["close-1000"] = replace(agent.visits["close-1000"], transcript=("x" * 99 + "\n") * 2000)
        server.misbehaviours = MISBEHAVIOURS
        listener: Any = server._listener._server
        for listening in listener.sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # bytes, also of what it accepts
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=4096)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        assert len(await asyncio.wait_for(reader.read(), 20)) == int(length[1]) > 20_000
        writer.close()


@pytest.mark.parametrize("target", ["http://[", "//[::", "*", "/agents/%00.json", ""])
async def test_any_request_gets_an_answer_or_an_end(target: str) -> None:
    async with testing.misbehaving_server(["rsv1"]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {target} HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.startswith(b"HTTP/1.1 404 ") or not answer
        writer.close()


async def test_a_client_that_never_reads_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiohttp_rawws.testing.handshake.WITHIN", 0.5)
    names = ["nothing-wrong", "message-flood", "status-200", "fields-1m"]
    async with testing.misbehaving_server(names, patience=0.5) as server:
        writers = []
        for name in names:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            writer.write(request(server.url(name, "deaf"), "dGhlIHNhbXBsZSBub25jZQ==", offer=False))
            writers.append(writer)
        agent = server.agent("deaf")
        await eventually(lambda: not agent.missing(), 20)
        for writer in writers:
            writer.close()
    assert {visit.outcome.how for visit in agent.visits.values()} == {"silent"}
    assert agent.verdicts()["fields-1m"] is Verdict.NON_STRICT  # the RFC sets no time


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


async def started(server: testing.MisbehavingServer, client: Client | None, *options: str) -> int:
    """Run the command in this process, visit everything, and wait for its end."""
    running = asyncio.ensure_future(serve(arguments(["--agent", "me & mine", *options]), server))
    await eventually(lambda: server.port)
    for name in server.misbehaviours if client is not None else ():
        assert client is not None
        await asyncio.wait_for(client(server.url(name, "me & mine")), 20)
    return await asyncio.wait_for(running, 20)


async def test_the_command(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--port", "0", "--agent", "me", "--once", "--strict", "--report", str(report), "rsv1", "nothing-wrong"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiohttp_rawws.testing", *options), stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        match = re.fullmatch(r"http:(//127\.0\.0\.1:\d+)/ has 2 misbehaviours\n", line)
        assert match is not None, line
        for name in ("rsv1", "nothing-wrong"):
            await asyncio.wait_for(careful(f"ws:{match[1]}/m/{name}?agent=me"), 20)
        output, errors = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, output, errors) == (0, b"me: 2 OK\n", b"")
    found: dict[str, Any] = json.loads(report.read_text())
    assert list(found["misbehaviours"]) == ["nothing-wrong", "rsv1"]


async def test_once_with_a_client_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert await started(testing.misbehaving_server(["rsv1"]), sloppy, "--once") == 1
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines == ["me & mine: 1 FAILED", "  FAILED rsv1 (5.2): went on, Close 1000, end of TCP"]


@pytest.mark.parametrize(("strict", "expected"), [([], 0), (["--strict"], 3)])
async def test_once_with_a_client_that_is_not_strict(
    capsys: pytest.CaptureFixture[str], strict: list[str], expected: int
) -> None:
    assert await started(testing.misbehaving_server(["close-rsv1"]), sloppy, "--once", *strict) == expected
    assert "1 NON-STRICT" in capsys.readouterr().out


async def test_once_with_a_time_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert await started(testing.misbehaving_server(["rsv1"]), None, "--once", "--timeout", "0.1") == 4
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines == ["me & mine: no visit", "  not visited: rsv1"]


async def test_a_breach_is_in_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert await started(testing.misbehaving_server(["nothing-wrong"], patience=1), unmasked, "--once") == 1
    assert "no mask (section 5.1)" in capsys.readouterr().out


async def test_a_client_that_does_not_come_again_ends_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiohttp_rawws.testing.agents.RETURNS_WITHIN", 0.1)
    assert await started(testing.misbehaving_server(["rsv1", "reset-behind-101"]), careful, "--once") == 1
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines == ["me & mine: 1 OK, 1 FAILED", "  FAILED reset-behind-101 (4.1): gone, it has not come again"]


async def test_a_client_under_another_name_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    server = testing.misbehaving_server(["rsv1"])
    running = asyncio.ensure_future(started(server, None, "--once", "--timeout", "1"))
    await eventually(lambda: server.port)
    await asyncio.wait_for(careful(server.url("rsv1")), 20)
    assert await running == 4
    assert capsys.readouterr().out.splitlines()[-1] == "  other agents came: anonymous"


async def test_a_port_that_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Its exit code is not that of a client that has failed."""
    async with testing.misbehaving_server(["rsv1"]) as server:
        other = testing.misbehaving_server(["rsv1"], port=server.port)
        assert await serve(arguments(["--port", str(server.port)]), other) == 2
    assert f"No server can listen on 127.0.0.1, port {server.port}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--port", "65536"], "argument --port: invalid port value: '65536'"),
        (["--port", "-1"], "argument --port: invalid port value: '-1'"),
        (["--patience", "0"], "argument --patience: invalid seconds value: '0'"),
        (["--patience", "nan"], "argument --patience: invalid seconds value: 'nan'"),
        (["--agent", "a", "--once", "--timeout", "-1"], "argument --timeout: invalid seconds value: '-1'"),
        (["--timeout", "1"], "--strict and --timeout need --once"),
        (["--strict"], "--strict and --timeout need --once"),
        (["--once"], "--once and --report need --agent NAME"),
        (["--agent", "a", "--report", "/no/such/folder/x"], "no report can be written to /no/such/folder/x"),
        (["--agent", "a", "--report", "."], "no report can be written to ."),
    ],
)
def test_bad_arguments(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert f"error: {text}\n" in capsys.readouterr().err


def test_arguments_of_the_server() -> None:
    with pytest.raises(TypeError, match="names must be a list of names"):
        testing.misbehaving_server("rsv1")
    for patience in (0, -1, float("inf")):
        with pytest.raises(ValueError, match="patience must be more than 0"):
            testing.misbehaving_server(patience=patience)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MISBEHAVIOURS)
    assert main(["rsv9"]) == 2
    assert "no misbehaviour 'rsv9'" in capsys.readouterr().err
    assert main(["--list", "rsv1", "length-16-*"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("rsv1", "length-16-for-5", "length-16-for-125")
    ]
    assert main(["head-never", "--quick", "--agent", "a", "--once"]) == 2
    assert "Nothing is left to serve" in capsys.readouterr().err
