"""The record of a connection: its limits."""

from __future__ import annotations

import pytest

from aiohttp_rawws.testing.transcript import Transcript

pytestmark = pytest.mark.loops("asyncio")


async def test_a_long_record_keeps_its_beginning_and_its_end() -> None:
    transcript = Transcript()
    for number in range(500):
        transcript.note(f"line {number}")
    assert [line.text for line in transcript.lines] == [f"line {number}" for number in range(500)]
    assert "left out" not in str(transcript)
    for number in range(500, 1200):
        transcript.note(f"line {number}")
    texts = [line.text for line in transcript.lines]
    assert texts == [f"line {number}" for number in (*range(250), *range(950, 1200))]
    lines = str(transcript).splitlines()
    assert (len(lines), transcript.left_out) == (501, 700)
    assert lines[250].strip() == "(700 lines are left out)"
    assert lines[249].endswith("line 249") and lines[251].endswith("line 950")


async def test_messages_have_a_limit() -> None:
    transcript = Transcript()
    transcript.begin_frames()
    frame = b"\x82\x7f" + (2**16).to_bytes(8, "big") + bytes(2**16)
    for _ in range(600):
        transcript.data("received", frame)
    assert len(transcript.messages) == 512
    assert transcript.frames == 600
