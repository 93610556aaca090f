"""The onlooker: any bytes are frames to it, with their headers as on the wire."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttp_rawws.recording.onlooker import Onlooker, Seen
from aiohttp_rawws.recording.records import read_header, size_of_header
from aiohttp_rawws.wire.codes import Opcode

from ..wire import vectors
from ..wire.vectors import KEY, LENIENT, REFUSED, VECTORS, at_every_split, byte_by_byte, whole

ALL = {**VECTORS, **{f"lenient {name}": each for name, each in LENIENT.items() if name != "close in fragments"}}


def plain(seen: Seen) -> vectors.Seen:
    opcode, fin, rsv, key, length = read_header(seen.header)
    assert length == seen.size == len(seen.payload)
    return vectors.Seen(opcode, seen.payload, fin, (bool(rsv & 4), bool(rsv & 2), bool(rsv & 1)), seen.kind, key)


@pytest.mark.parametrize("cut", [whole, byte_by_byte, at_every_split], ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("name", ALL)
def test_vector(name: str, cut: Any) -> None:
    wire, expected = ALL[name]
    for items in cut(Onlooker, wire):
        assert [plain(item) for item in items] == expected


@pytest.mark.parametrize("name", ALL)
def test_the_wire_can_be_made_again(name: str) -> None:
    wire, _ = ALL[name]
    assert b"".join(wire_of(seen) for seen in Onlooker().feed(wire)) == wire


def wire_of(seen: Seen) -> bytes:
    key = read_header(seen.header).masking_key
    return seen.header + (seen.payload if key is None else vectors.masked(seen.payload, key))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """However they are cut: nothing is lost, and the last frame may be a part of one."""
    looker = Onlooker()
    seen: list[Seen] = []
    start = 0
    for stop in [*sorted(cuts), len(data)]:
        seen += looker.feed(data[start:stop])
        start = max(start, stop)
    rest = looker.rest()
    assert looker.rest() is None
    end = b"" if rest is None else rest if isinstance(rest, bytes) else wire_of(rest)
    assert b"".join(map(wire_of, seen)) + end == data


@pytest.mark.parametrize("name", REFUSED)
def test_goes_on_behind_violations(name: str) -> None:
    wire, *_ = REFUSED[name]
    looker = Onlooker()
    looker.feed(wire)
    rest = looker.rest()
    assert rest is None or isinstance(rest, bytes) or rest.size == 0
    assert [seen.payload for seen in looker.feed(b"\x81\x02hi")] == [b"hi"]


def test_a_length_of_64_bits() -> None:
    """It takes the memory of the bytes that come, not of those that are announced."""
    looker = Onlooker()
    assert looker.feed(b"\x82\xff" + b"\xff" * 8 + KEY + b"abc") == []
    rest = looker.rest()
    assert isinstance(rest, Seen)
    assert (rest.size, read_header(rest.header).length) == (3, 2**64 - 1)


def test_keeps_the_beginning_of_a_payload() -> None:
    payload = random.Random(1).randbytes(1000)
    wire = b"\x82\xfe\x03\xe8" + KEY + vectors.masked(payload, KEY)
    for step in (1, 7, 99, 100, 101, 2000):
        looker = Onlooker(keep=100)
        seen = [item for at in range(0, len(wire), step) for item in looker.feed(wire[at : at + step])]
        assert [(item.payload, item.size) for item in seen] == [(payload[:100], 1000)]


def test_a_limit_that_changes() -> None:
    """The larger one holds: that of the header, or the one of the moment."""
    for before, behind, kept in ((5, 5, 5), (5, 7, 7), (7, 5, 7), (None, 5, 10), (5, None, 10)):
        looker = Onlooker()
        assert looker.feed(b"\x82\x0aabc", before) == []
        (seen,) = looker.feed(b"defghij", behind)
        assert (seen.payload, seen.size) == (b"abcdefghij"[:kept], 10)
    (seen,) = Onlooker(keep=3).feed(b"\x82\x0aabcdefghij", 5)
    assert seen.payload == b"abc"


def test_skips_the_end_of_a_frame() -> None:
    looker = Onlooker(skip=5)
    assert [seen.payload for seen in looker.feed(b"xx") + looker.feed(b"xxx\x81\x01a")] == [b"a"]


def test_the_kind_of_fragments_goes_on_behind_control_frames() -> None:
    seen = Onlooker().feed(b"\x01\x01a\x89\x00\x80\x01b\x82\x01c\x80\x00")
    assert [item.kind for item in seen] == [
        Opcode.TEXT,
        Opcode.PING,
        Opcode.TEXT,
        Opcode.BINARY,
        Opcode.CONTINUATION,
    ]


def test_headers() -> None:
    assert size_of_header(b"") == size_of_header(b"\x81") == 2
    for header in (b"", b"\x81", b"\x81\x80", b"\x81\x7e\x00", b"\x81\x01\x00"):
        with pytest.raises(ValueError, match="is not the header of a frame"):
            read_header(header)
