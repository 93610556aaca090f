"""``pump()`` without ``on_frame``: bytes pass as they are (requirements G28 to G48)."""

from __future__ import annotations

from aiohttp_rawws import CloseReason

from ..tools.peers import BINARY, CLOSE, TEXT, close_frame, frame
from ..tools.pumped import pumped


async def test_frames_pass_both_ways() -> None:
    async with pumped() as on:
        await on.passes_up(frame(TEXT, b"hello"))
        await on.passes_down(frame(BINARY, b"x" * 300, mask=None))
        await on.passes_up(frame(BINARY, b"x" * 70_000))


async def test_g40_both_end_when_both_closes_have_passed() -> None:
    async with pumped() as on:
        await on.passes_up(close_frame(4000, "bye"))
        await on.passes_down(frame(CLOSE, b"\x0f\xa0bye", mask=None))
        assert await on.client.read_to_end() == b""
        on.client.writer.close()
        on.server.writer.close()
        report = await on.report()
    assert report.first == "a"
    assert report.a.received == report.b.sent == CloseReason(4000, "bye")
    assert report.a.clean and report.b.clean
    assert report.limit is None
    assert (report.a_to_b.frames_received, report.a_to_b.frames_sent) == (1, 1)
