"""Bugs of this project that are kept as recordings. Each was seen to differ from the version that had the bug.

A recording says what a client did, and what the server must answer. The file name says what was wrong.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, Opcode, memory_pair, run_managed, run_session
from aiohttp_rawws.recording import ReplayMismatch, replay

from ..tools.faults import managed_echo
from ..tools.peers import serving
from ..tools.talking import bounded_wait, end

FOLDER = Path(__file__).parent

# Managed sessions answered a Close with its code alone, so the client did not get its reason back ("Made the reply to a
# Close repeat the peer's reason" in CHANGES.md). Message and Close came in one segment with the handshake.
CLOSE_REASON = FOLDER / "close_reason_not_repeated.jsonl"


def test_all_recordings_are_played() -> None:
    assert list(FOLDER.glob("*.jsonl")) == [CLOSE_REASON]


async def test_the_reason_of_a_close_over_a_socket() -> None:
    app = web.Application()
    rawws.setup(app)
    app.add_routes([rawws.websocket("/echo", managed_echo)])
    async with serving(app) as served:
        await bounded_wait(replay(CLOSE_REASON, f"ws://127.0.0.1:{served.port}/"))


async def test_the_reason_of_a_close_in_memory() -> None:
    server, client = memory_pair()
    session = rawws.DefaultWebSocketSession(server)
    running = asyncio.get_running_loop().create_task(run_managed(session, managed_echo))
    await bounded_wait(replay(CLOSE_REASON, client))
    await bounded_wait(running)
    await end(client)


async def test_a_server_with_that_bug() -> None:
    """The replay finds it."""

    async def without_reason(session: Any) -> None:
        async for frame in session:
            if frame.opcode is Opcode.CLOSE:
                await session.send(Frame.close(frame.close_reason.code))
            else:
                await session.send(frame)

    server, client = memory_pair()
    running = asyncio.get_running_loop().create_task(run_session(server, without_reason))
    with pytest.raises(ReplayMismatch) as caught:
        await bounded_wait(replay(CLOSE_REASON, client))
    assert str(caught.value) == (
        "the server differs from the recording in 1 place\n"
        "  frame 4: length, payload\n"
        "    expected: CLOSE FIN 23 bytes 3001 'moved to another room'\n"
        "    got:      CLOSE FIN 2 bytes 3001 ''"
    )
    await end(client)
    await bounded_wait(running)
