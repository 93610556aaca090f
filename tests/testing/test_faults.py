"""Faults of a client's frames, as a transcript has them."""

from __future__ import annotations

from itertools import count

import pytest

from aiohttp_rawws import encode_header
from aiohttp_rawws.testing.transcript import Transcript
from aiohttp_rawws.testing.verdicts import breaches_of
from aiohttp_rawws.wire.masking import apply_mask

pytestmark = pytest.mark.loops("asyncio")

KEY, OTHER_KEY = b"\x01\x02\x03\x04", b"\x05\x06\x07\x08"
CLOSE = b"\x88\x82" + OTHER_KEY + apply_mask(b"\x03\xe8", OTHER_KEY)
KEYS = count()
CONTINUATION, TEXT, BINARY, PING, PONG = 0, 1, 2, 9, 10


def frame(opcode: int, payload: bytes = b"", fin: bool = True, **bits: bool) -> bytes:
    key = next(KEYS).to_bytes(4, "big")
    return encode_header(opcode, len(payload), fin=fin, masking_key=key, **bits) + apply_mask(payload, key)


def breaches(data: bytes, deflate: bool = False, step: int | None = None) -> tuple[str, ...]:
    transcript = Transcript()
    transcript.begin_frames(deflate)
    for position in range(0, len(data), step or len(data)):
        transcript.data("received", data[position : position + (step or len(data))])
    return breaches_of(transcript)


SHORTEST = "a length not in the shortest form (section 5.2)"
NOT_UTF8 = "Text that is not UTF-8 (section 8.1)"
OUTSIDE = "a continuation without a message (section 5.4)"
INSIDE = "a new message inside another one (section 5.4)"
HI = apply_mask(b"hi", KEY)
LARGE = b"\xc3\xa4" * 100_000  # its pieces end inside characters


@pytest.mark.parametrize("step", [None, 1, 3])
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x81\xfe\x00\x02" + KEY + HI, [SHORTEST]),
        (b"\x81\xff" + bytes(7) + b"\x02" + KEY + HI, [SHORTEST]),
        (b"\x8a\xfe\x00\x02" + KEY + HI, [SHORTEST]),
        (b"\x81\xfe\x00\x02" + KEY + HI + b"\x81\xff" + bytes(7) + b"\x02" + KEY + HI, [f"2 times {SHORTEST}"]),
        (frame(TEXT, b"a", rsv1=True), ["RSV1 (section 5.2)"]),
        (frame(PONG, b"a", rsv2=True), ["RSV2 (section 5.2)"]),
        (frame(BINARY, b"a", rsv3=True), ["RSV3 (section 5.2)"]),
        (frame(CONTINUATION, b"a"), [OUTSIDE]),
        (frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"c"), [OUTSIDE]),
        (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), [INSIDE]),
        (frame(TEXT, b"a\xff"), [NOT_UTF8]),
        (frame(TEXT, b"a\xc3"), [NOT_UTF8]),
        (frame(TEXT, b"a\xc3", fin=False) + frame(CONTINUATION, b"\x28"), [NOT_UTF8]),
    ],
)
async def test_faults(data: bytes, found: list[str], step: int | None) -> None:
    """Each is named, and nothing else is: no bytes behind the Close."""
    assert breaches(data + CLOSE, step=step) == tuple(found)


@pytest.mark.parametrize("step", [None, 1])
async def test_what_is_right(step: int | None) -> None:
    data = [
        *(frame(TEXT, "ä€🙂".encode()), frame(BINARY, b"\xff" * 126), frame(PING, b"x" * 125), frame(PONG)),
        *(frame(TEXT, b"\xc3", fin=False), frame(PONG), frame(CONTINUATION, b"", fin=False)),
        *(frame(CONTINUATION, b"\xa4"), frame(BINARY, b"", fin=False), frame(CONTINUATION), CLOSE),
    ]
    assert breaches(b"".join(data), step=step) == ()
    # A message may be unfinished at the end.
    assert breaches(frame(TEXT, b"\xc3", fin=False) + CLOSE, step=step) == ()


async def test_large_frames() -> None:
    assert breaches(frame(TEXT, LARGE) + CLOSE, step=65535) == ()
    assert breaches(frame(TEXT, LARGE[:-1]) + CLOSE, step=65535) == (NOT_UTF8,)
    assert breaches(frame(TEXT, b"\xff" + LARGE) + CLOSE, step=65535) == (NOT_UTF8,)
    assert breaches(frame(TEXT, LARGE + b"\xc3", fin=False) + frame(CONTINUATION, b"\xa4") + CLOSE, step=65535) == ()


async def test_compressed_messages() -> None:
    compressed = frame(TEXT, b"\xff\xff", fin=False, rsv1=True)
    assert breaches(compressed + frame(CONTINUATION, b"\xff") + CLOSE, deflate=True) == ()
    assert breaches(frame(TEXT, b"\xff") + CLOSE, deflate=True) == (NOT_UTF8,)
    for data in (compressed + frame(CONTINUATION, b"\xff", rsv1=True), frame(PONG, rsv1=True)):
        assert breaches(data + CLOSE, deflate=True) == ("RSV1 (section 5.2)",)


async def test_masking_keys() -> None:
    same = b"\x89\x80" + KEY
    assert breaches(same * 2 + CLOSE) == ()
    assert breaches(same * 3 + CLOSE) == ("one masking key for all frames (section 5.3)",)
    assert breaches(b"\x89\x80\0\0\0\0" * 100) == ("one masking key for all frames (section 5.3)",)
    assert breaches(frame(PING) + same * 3 + CLOSE) == ()


async def test_bytes_behind_a_close_are_counted() -> None:
    """Behind any forms of a length, and in any pieces."""
    for step in (None, 1, 7):
        data = b"\x81\xfe\x00\x02" + KEY + HI + CLOSE + b"\x81\x82" + KEY + HI
        assert breaches(data, step=step) == (SHORTEST, "8 bytes behind its Close (section 5.5.1)")
