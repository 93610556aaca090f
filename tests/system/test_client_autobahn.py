"""The managed client against the Autobahn suite, which is the server here (C35).

It needs ``wstest`` (``make autobahn`` installs it; WSTEST names another one). Without it the test is skipped, unless
RAWWS_REQUIRE_AUTOBAHN is set. RAWWS_AUTOBAHN_CASES selects other cases, "*" for all.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aiohttp_rawws import PerMessageDeflate, RawWSError, connect, connect_raw

from ..autobahn.install import home

CASES = "1.* 2.* 3.* 4.* 5.* 6.* 7.* 10.* 12.1.4 12.3.2 12.5.3 13.1.2 13.3.3 13.5.2 13.7.4"
AGENT = "aiohttp_rawws"
AT_A_TIME = 8
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}

pytestmark = [pytest.mark.interop, pytest.mark.timeout(3600)]


def wstest() -> str:
    found = shutil.which(os.environ.get("WSTEST") or home() / "python2.7" / "bin" / "wstest")
    if found is None:
        reason = "there is no wstest: make autobahn installs it"
        if os.environ.get("RAWWS_REQUIRE_AUTOBAHN"):
            pytest.fail(f"RAWWS_REQUIRE_AUTOBAHN is set, and {reason}")
        pytest.skip(reason)
    return found


async def run_case(http: aiohttp.ClientSession, url: str, case: int) -> None:
    """Echo whatever comes, until the server ends the session."""
    options: Any = {"extensions": [PerMessageDeflate()], "max_frame_size": None, "max_message_size": None}
    session = await connect(http, f"{url}/runCase?case={case}&agent={AGENT}", close_timeout=5, **options)
    try:
        async for message in session:
            await session.send(message)
    except RawWSError:
        pass
    await session.close()


def test_c35_autobahn(tmp_path: Path) -> None:
    """No case fails. The test is not async, because it takes longer than those may."""
    asyncio.run(run_suite(wstest(), tmp_path))


async def run_suite(command: str, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cases = os.environ.get("RAWWS_AUTOBAHN_CASES", CASES).split()
    spec = {"url": f"ws://127.0.0.1:{port}", "outdir": str(folder), "cases": cases, "exclude-cases": []}
    (folder / "spec.json").write_text(json.dumps(spec))
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    arguments = ["-m", "fuzzingserver", "-s", str(folder / "spec.json"), "-w", "0"]
    process = await asyncio.create_subprocess_exec(
        command, *arguments, cwd=folder, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    assert process.stdout is not None
    output = asyncio.create_task(process.stdout.read())
    url = f"ws://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as http:
            count = await case_count(http, url)
            free = asyncio.Semaphore(AT_A_TIME)

            async def run(case: int) -> None:
                async with free:
                    await asyncio.wait_for(run_case(http, url, case), 300)

            await asyncio.gather(*map(run, range(1, count + 1)))
            async with connect_raw(http, f"{url}/updateReports?agent={AGENT}", open_timeout=60) as session:
                await session.receive(300)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await output
    report = json.loads((folder / "index.json").read_text())[AGENT]
    assert len(report) == count
    failed = {
        case: (entry["behavior"], entry["behaviorClose"])
        for case, entry in report.items()
        if not {entry["behavior"], entry["behaviorClose"]} <= PASSED
    }
    assert not failed, failed
    print([case for case, entry in report.items() if "NON-STRICT" in entry.values()])
    print(count, Counter(entry["behavior"] for entry in report.values()))


async def case_count(http: aiohttp.ClientSession, url: str) -> int:
    for _ in range(300):
        try:
            session = await connect(http, f"{url}/getCaseCount")
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.1)
        else:
            message = await session.receive(60)
            await session.close()
            return int(message.text)
    raise AssertionError("wstest does not listen")
