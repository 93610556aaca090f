"""A part of the catalogue, against every client that is installed: the drivers work, and ours are OK.

The verdicts on others are those of docs/conformance/clients.md. They may change with any version, so only what no
version of theirs can do without is tested here.
"""

from __future__ import annotations

import pytest

from aiohttp_rawws.testing import MISBEHAVIOURS, Verdict, misbehaving_server

from ..system.test_clients_node import modules  # noqa: F401  # a fixture, which installs ws
from .running import CLIENTS, NotThere, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.loops("asyncio")]

NAMES = [
    *("nothing-wrong", "early-frames", "accept-wrong", "status-403", "eof-in-head", "reset-behind-101"),
    *("opcode-3", "rsv2", "ping-126", "continuation-first", "fragments-and-pings", "eof-in-payload"),
    *("utf8-overlong", "close-1000", "close-1-byte", "message-flood", "deflate-message", "deflate-bits-7"),
]
RIGHT = ["nothing-wrong", "early-frames", "fragments-and-pings", "close-1000"]  # in any client that works
OURS = ("connect", "connect_raw")
FEWER = [*RIGHT, "accept-wrong", "opcode-3", "utf8-overlong", "deflate-message"]  # each is a page of its own


@pytest.mark.parametrize("name", CLIENTS)
async def test_client(name: str, request: pytest.FixtureRequest) -> None:
    if name == "ws":
        request.getfixturevalue("modules")
    names = FEWER if name == "chromium" else NAMES
    async with misbehaving_server(names) as server:
        try:
            agent, version = await run(server, name)
        except NotThere as exc:
            pytest.skip(str(exc))
    assert version
    verdicts = agent.verdicts()
    assert list(verdicts) == [each for each in MISBEHAVIOURS if each in names]
    bad = {each: f"{agent.visits[each].outcome}\n{agent.visits[each].transcript}" for each in names}
    for each in names if name in OURS else RIGHT:
        lacks = name == "connect_raw" and each.startswith("deflate-")  # it does not offer the extension
        assert verdicts[each] is (Verdict.UNIMPLEMENTED if lacks else Verdict.OK), bad[each]
