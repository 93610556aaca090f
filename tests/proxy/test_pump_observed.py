"""Observers of a pumped session see each byte, the violations and the end, as on any session."""

from __future__ import annotations

from typing import Any

import pytest

from aiohttp_rawws import WebSocketSession
from aiohttp_rawws.errors import PeerError
from aiohttp_rawws.session.state import CloseState, Side
from aiohttp_rawws.session.tap import End, Observer

from ..tools.peers import BINARY, CLOSE, PING, TEXT, close_frame, frame
from ..tools.pumped import from_server, pumped, read_frame


class Seen(Observer):
    def __init__(self) -> None:
        self.came = self.left = b""
        self.errors: list[PeerError] = []
        self.ends: list[tuple[Side, End]] = []
        self.states: list[CloseState] = []

    def received(self, data: bytes, early: bool) -> None:
        self.came += data

    def sent(self, data: bytes) -> None:
        self.left += data

    def violated(self, error: PeerError) -> None:
        self.errors.append(error)

    def ended(self, side: Side, how: End) -> None:
        self.ends.append((side, how))

    def lost(self, state: CloseState, limit: str | None) -> None:
        self.states.append(state)


def watching(session: WebSocketSession) -> Seen:
    seen = Seen()
    session.connection.watch(seen)
    return seen


def passed(item: Any, source: object) -> Any:
    return item


each_way = pytest.mark.parametrize("how", [{}, {"on_frame": passed}], ids=["bytes", "frames"])


@each_way
async def test_all_bytes_and_the_end(how: dict[str, Any]) -> None:
    up = frame(TEXT, b"a text") + frame(PING, b"?") + frame(BINARY, b"x" * 100_000)
    down = from_server(TEXT, b"an answer")
    async with pumped(**how) as on:
        near_client, near_server = watching(on.a), watching(on.b)
        await on.client.send(up)
        there = await on.server.read(len(up))
        await on.server.send(down)
        assert await on.client.read(len(down)) == down
        await on.client.send(close_frame(1000))
        there += await on.server.read(len(close_frame(1000)))
        await on.server.send(from_server(CLOSE, b"\x03\xe8"))
        await on.report()
    assert near_client.came == up + close_frame(1000)
    assert near_server.left == there
    assert near_server.came == near_client.left == down + from_server(CLOSE, b"\x03\xe8")
    assert [len(seen.states) for seen in (near_client, near_server)] == [1, 1]


@each_way
async def test_a_violation(how: dict[str, Any]) -> None:
    async with pumped(a={"strict": "hop"}, **how) as on:
        near_client = watching(on.a)
        await on.client.send(frame(TEXT, b"not masked", mask=None))
        head, _ = await read_frame(on.client)
        assert head == 0x80 | CLOSE
        assert await on.server.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
        assert [str(error) for error in near_client.errors] == [str(report.a.error)]
