"""The FAQ quotes lines of the package. Each of them is provoked here, and compared."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws
from aiohttp_rawws.session.memory import MemoryTransport

from ..tools.clock import advance
from ..tools.peers import BINARY, CLOSE, TEXT, close_frame, frame, serving

FAQ = Path(__file__).parents[2] / "docs" / "faq.md"
BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTES = [line for block in BLOCK.findall(FAQ.read_text(encoding="utf-8")) for line in block.splitlines()]
OF_A_MINUTE = [quote for quote in QUOTES if "60 seconds" in quote]


def is_said(quote: str, lines: list[str]) -> bool:
    """True if one of ``lines`` is the quote, in which "…" stands for anything."""
    pattern = re.compile(".*".join(map(re.escape, quote.split("…"))), re.DOTALL)
    return any(pattern.fullmatch(line.strip()) for line in lines)


async def takes_all(session: Any) -> None:
    async for _ in session:
        pass


async def raises(session: Any) -> None:
    raise web.HTTPForbidden


async def sends_as_in_aiohttp(session: Any) -> None:
    await session.send_str("hello")


async def reads_text(session: Any) -> None:
    (await session.receive()).text  # noqa: B018


async def forgets_to_await(session: Any) -> None:
    with pytest.warns(RuntimeWarning) as caught:
        session.send("hello")
        gc.collect()
    raise LookupError(str(caught[0].message))


async def receives_twice(session: Any) -> None:
    session.create_task(session.receive())
    await asyncio.sleep(0)
    await session.receive()


async def is_slow(request: web.Request) -> None:
    await asyncio.sleep(3600)


class Reports(logging.Handler):
    """The lines of the log, and the errors that go with them."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if record.exc_info:
            self.lines.append(str(record.exc_info[1]))


async def answer(
    handle: Any,
    headers: Mapping[str, str | None] | None = None,
    *,
    upgrade: bool = True,
    protocol: str | None = None,
    **options: Any,
) -> str:
    """The text that refuses a handshake, while another session is open if there are limits on these."""
    app = web.Application()
    rawws.setup(app, **options)
    app.add_routes([rawws.websocket("/chat", handle, protocol=protocol)])
    async with serving(app) as server, server.peer() as other:
        if "max_sessions" in options or "max_sessions_per_address" in options:
            await other.open("/chat")
        refusal = await server.ask("/chat", headers, upgrade=upgrade)
        assert refusal.status >= 400
        return refusal.text


async def session_of(handle: Any, *data: bytes, **options: Any) -> None:
    """A session that the server ends, after the client has sent ``data``."""
    app = web.Application()
    rawws.setup(app, **options)
    app.add_routes([rawws.websocket("/chat", handle)])
    async with serving(app) as server, server.peer() as peer:
        await peer.open("/chat")
        await peer.send(*data)
        while (await peer.frame())[0] != CLOSE:
            pass
        await peer.send(close_frame())
        await peer.read_to_end()


@pytest.fixture
def reports() -> Any:
    logger, reports = logging.getLogger("aiohttp_rawws"), Reports()
    level = logger.level
    logger.addHandler(reports)
    logger.setLevel(logging.INFO)
    yield reports
    logger.removeHandler(reports)
    logger.setLevel(level)


@pytest.mark.loops("asyncio")
async def test_what_the_faq_quotes_is_said(reports: Reports) -> None:
    said = reports.lines
    await answer(takes_all, {"Origin": "http://localhost:5173"})
    said.append(await answer(takes_all, upgrade=False))
    said.append(await answer(takes_all, {"Sec-WebSocket-Version": "8"}))
    said.append(await answer(takes_all, {"Upgrade": "websocket, h2c"}))
    said.append(await answer(takes_all, {"Sec-WebSocket-Protocol": "soap"}, protocol="mqtt"))
    await answer(takes_all, max_sessions=1)
    await answer(takes_all, max_sessions_per_address=1)
    await answer(takes_all, before_upgrade=is_slow, handshake_timeout=0.1)

    await session_of(raises)
    await session_of(sends_as_in_aiohttp)
    await session_of(takes_all, ping_interval=0.1, timeout=0.1)
    await session_of(reads_text, frame(BINARY, b"\xff"))
    await session_of(takes_all, frame(TEXT, b"too long"), max_message_size=4)
    await session_of(forgets_to_await)
    await session_of(receives_twice)
    with pytest.raises(TypeError) as caught:
        rawws.websocket("/chat", takes_all, heartbeat=20)  # type: ignore[call-overload]
    said.append(str(caught.value))

    assert len(QUOTES) > 15
    assert [quote for quote in QUOTES if quote not in OF_A_MINUTE and not is_said(quote, said)] == []


@pytest.mark.loops("clock")
async def test_what_the_faq_quotes_is_said_after_a_minute(reports: Reports) -> None:
    async def waits(session: Any) -> None:
        await asyncio.sleep(3600)

    upgrade: Any = rawws.WebSocketUpgrade(make_mocked_request("GET", "/chat"), handle=waits)
    ours, theirs = MemoryTransport.pair()
    client = rawws.WebSocketSession(theirs, server=False)
    client.start()
    task = upgrade.upgrade(ours)
    await advance(1)
    client.abort()
    await advance(61)
    (quote,) = OF_A_MINUTE
    assert is_said(quote, reports.lines)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
