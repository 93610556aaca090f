"""Bytes to frames, each test over both builds."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.errors import FrameTooBig, PeerError, ProtocolViolation
from aiohttp_rawws.wire.codes import Opcode
from aiohttp_rawws.wire.headers import encode_header

from .vectors import (
    CUTS,
    KEY,
    LENIENT,
    REFUSED,
    VECTORS,
    Seen,
    codec_fixture,  # noqa: F401
    seen,
)

EITHER: dict[str, Any] = {"masked": None}


class TestParse:
    """Sections 5.2 to 5.5."""

    @pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
    @pytest.mark.parametrize("name", VECTORS)
    def test_vector(self, codec: ModuleType, name: str, cut: Any) -> None:
        wire, expected = VECTORS[name]
        for items in cut(lambda: codec.FrameParser(masked=None), wire):
            assert [seen(item) for item in items] == expected
            assert all(type(item) is codec.Frame and type(item.payload) is bytes for item in items)

    @pytest.mark.parametrize("name", VECTORS)
    def test_vector_of_one_direction(self, codec: ModuleType, name: str) -> None:
        wire, expected = VECTORS[name]
        parser = codec.FrameParser(masked=expected[0].masking_key is not None)
        assert [seen(item) for item in parser.feed(bytearray(wire), len(wire))] == expected

    @pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
    def test_all_vectors_in_one_stream(self, codec: ModuleType, cut: Any) -> None:
        streams = [vector for name, vector in VECTORS.items() if not name.startswith(("close", "64", "65"))]
        wire = b"".join(wire for wire, _ in streams)
        for items in cut(lambda: codec.FrameParser(masked=None), wire):
            assert [seen(item) for item in items] == [frame for _, frames in streams for frame in frames]

    @pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview], ids=lambda buffer: buffer.__name__)
    def test_any_buffer(self, codec: ModuleType, buffer: Any) -> None:
        wire, expected = VECTORS["fragments"]
        parser = codec.FrameParser(masked=False)
        assert [seen(item) for item in parser.feed(buffer(wire))] == expected

    def test_length_is_what_counts(self, codec: ModuleType) -> None:
        wire, expected = VECTORS["text"]
        parser = codec.FrameParser(masked=False)
        assert parser.feed(wire, 0) == []
        assert [seen(item) for item in parser.feed(wire + b"\xff\xff", len(wire))] == expected
        assert not parser.mid_frame
        with pytest.raises(ValueError, match="length is 8, and there are 7 bytes"):
            parser.feed(wire, 8)
        with pytest.raises(ValueError, match="length is 8, and there are 7 bytes"):
            parser.feed(bytearray(wire), 8)

    def test_data_has_to_be_a_buffer(self, codec: ModuleType) -> None:
        for data in ("text", 5, None):
            with pytest.raises(TypeError):
                codec.FrameParser().feed(data)

    def test_nothing(self, codec: ModuleType) -> None:
        parser = codec.FrameParser()
        assert parser.feed(b"") == []
        assert (parser.pending, parser.mid_frame, parser.closed, parser.error) == (0, False, False, None)
        assert parser.target() is None

    def test_state_between_bytes(self, codec: ModuleType) -> None:
        wire = VECTORS["masked"][0]
        parser = codec.FrameParser()
        for position in range(len(wire) - 1):
            assert parser.feed(wire[position : position + 1]) == []
            assert parser.mid_frame
            assert parser.pending == (position + 1 if position < 5 else 0)  # the payload is not held unparsed
        assert len(parser.feed(wire[-1:])) == 1
        assert not parser.mid_frame

    def test_options_hold_from_the_next_header(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=False, max_frame_size=5)
        wire = VECTORS["text"][0]
        parser.feed(wire[:4])
        parser.max_frame_size, parser.masked = 4, True
        assert len(parser.feed(wire[4:] + VECTORS["key of 0"][0])) == 2
        parser.feed(VECTORS["masked"][0])
        assert isinstance(parser.error, FrameTooBig)

    def test_options_can_be_read(self, codec: ModuleType) -> None:
        parser = codec.FrameParser()
        assert (parser.masked, parser.strict, parser.max_frame_size, parser.chunk_above) == (True, True, None, None)
        parser.masked, parser.strict, parser.max_frame_size, parser.chunk_above = None, False, 7, 0
        assert (parser.masked, parser.strict, parser.max_frame_size, parser.chunk_above) == (None, False, 7, 0)
        parser.masked = False
        assert parser.masked is False

    @pytest.mark.parametrize("strict", [True, False, "hop"])
    def test_strictness(self, codec: ModuleType, strict: Any) -> None:
        for made in (codec.FrameParser(), codec.FrameEncoder()):
            made.strict = strict
            assert made.strict is strict
        assert codec.FrameParser(strict=strict).strict == codec.FrameEncoder(strict=strict).strict == strict

    @pytest.mark.parametrize("wrong", [None, 0, 1, "", "end", b"hop", []], ids=repr)
    def test_other_strictness_is_refused(self, codec: ModuleType, wrong: Any) -> None:
        for kind in (codec.FrameParser, codec.FrameEncoder):
            with pytest.raises(TypeError, match=re.escape(f'strict must be True, False or "hop", not {wrong!r}')):
                kind(strict=wrong)
            made = kind()
            with pytest.raises(TypeError, match="strict must be"):
                made.strict = wrong
            assert made.strict is True

    @pytest.mark.parametrize("name", ["max_frame_size", "chunk_above"])
    def test_limits_are_checked(self, codec: ModuleType, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} must be None or a number of bytes, not -1"):
            codec.FrameParser(**{name: -1})
        with pytest.raises(TypeError):
            codec.FrameParser(**{name: "1"})
        assert getattr(codec.FrameParser(**{name: 1 << 80}), name) is None  # no frame can be as long


class TestClose:
    """Section 5.5.1: nothing is read after a Close."""

    @pytest.mark.parametrize("cut", CUTS[:3], ids=lambda cut: cut.__name__)
    def test_later_bytes_are_discarded(self, codec: ModuleType, cut: Any) -> None:
        wire = VECTORS["ping"][0] + VECTORS["close"][0] + VECTORS["text"][0]
        for items in cut(lambda: codec.FrameParser(masked=False), wire):
            assert [item.opcode for item in items] == [Opcode.PING, Opcode.CLOSE]

    def test_state(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=False)
        parser.feed(VECTORS["close"][0] + b"\xff" * 100)
        assert (parser.closed, parser.error, parser.pending, parser.mid_frame) == (True, None, 0, False)
        assert parser.feed(VECTORS["text"][0]) == []
        assert parser.pending == 0


class TestRefused:
    """Everything that MUST fail the connection does, at the first byte that shows it."""

    @pytest.mark.parametrize("name", REFUSED)
    def test_at_once(self, codec: ModuleType, name: str) -> None:
        wire, options, text, needed = REFUSED[name]
        parser = codec.FrameParser(**(EITHER | options))
        for position in range(needed):
            assert parser.error is None, position
            parser.feed(wire[position : position + 1])
        assert str(parser.error) == text
        assert type(parser.error) is (FrameTooBig if "too big" in text else ProtocolViolation)
        assert (parser.pending, parser.mid_frame, parser.closed) == (0, False, False)

    @pytest.mark.parametrize("name", REFUSED)
    def test_with_the_whole_frame_there(self, codec: ModuleType, name: str) -> None:
        wire, options, text, _ = REFUSED[name]
        parser = codec.FrameParser(**({"masked": wire[1] >= 0x80} | options))
        parser.feed(wire + bytes(70_000))
        assert str(parser.error) == text
        assert (parser.pending, parser.mid_frame, parser.closed) == (0, False, False)

    @pytest.mark.parametrize("cut", CUTS[:3], ids=lambda cut: cut.__name__)
    @pytest.mark.parametrize("name", REFUSED)
    def test_what_came_before_is_delivered(self, codec: ModuleType, name: str, cut: Any) -> None:
        wire, options, text, _ = REFUSED[name]
        before = codec.encode_header(9, 1, masking_key=None if options.get("masked") is False else KEY) + b"x"
        parsers = []

        def new_parser() -> Any:
            parsers.append(codec.FrameParser(**(EITHER | options)))
            return parsers[-1]

        for items in cut(new_parser, before + wire + b"\x00" * 20):
            assert items[0].opcode is Opcode.PING
            assert len(items) == 1 + name.startswith(("continues the past", "text inside"))
            assert str(parsers[-1].error) == text

    def test_nothing_is_parsed_after_an_error(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=False)
        parser.feed(REFUSED["continues nothing"][0])
        error = parser.error
        assert parser.feed(VECTORS["text"][0]) == []
        assert parser.error is error
        assert parser.target() is None
        with pytest.raises(RuntimeError, match="no target"):
            parser.advance(1)

    def test_what_is_too_big_is_told(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=None, max_frame_size=10)
        parser.feed(codec.encode_header(2, 1 << 40))
        assert (parser.error.frame_size, parser.error.limit, parser.error.close_code) == (1 << 40, 10, 1009)

    @pytest.mark.parametrize("text", ["Length has", "Frame is too big"])
    def test_lenient_refuses_lengths_all_the_same(self, codec: ModuleType, text: str) -> None:
        for wire, options, expected, _ in REFUSED.values():
            if expected.startswith(text):
                parser = codec.FrameParser(**(EITHER | options), strict=False)
                parser.feed(wire)
                assert str(parser.error) == expected

    @pytest.mark.parametrize("cut", CUTS[:4], ids=lambda cut: cut.__name__)
    @pytest.mark.parametrize("name", LENIENT)
    def test_lenient_delivers(self, codec: ModuleType, name: str, cut: Any) -> None:
        wire, expected = LENIENT[name]
        for direction in (True, False, None):
            for items in cut(lambda masked=direction: codec.FrameParser(masked=masked, strict=False), wire):
                assert [seen(item) for item in items] == expected


# What a gateway would repair: the beginnings of the texts of REFUSED, and the names in LENIENT.
REPAIRED = ("Frame is", "Length", "Control frame is longer")
LENIENT_ONLY = frozenset({"ping of 126", "1 in 16 bits", "1 in 64 bits"})


class TestHop:
    """F7, F15: ``strict="hop"`` refuses what a gateway would repair, and delivers all else."""

    @pytest.mark.parametrize("name", [name for name, row in REFUSED.items() if row[2].startswith(REPAIRED)])
    def test_refused_at_once(self, codec: ModuleType, name: str) -> None:
        wire, options, text, needed = REFUSED[name]
        parser = codec.FrameParser(**(EITHER | options), strict="hop")
        for position in range(needed):
            assert parser.error is None, position
            parser.feed(wire[position : position + 1])
        assert str(parser.error) == text

    @pytest.mark.parametrize("cut", CUTS[:4], ids=lambda cut: cut.__name__)
    @pytest.mark.parametrize("name", sorted(LENIENT.keys() - LENIENT_ONLY))
    def test_delivered(self, codec: ModuleType, name: str, cut: Any) -> None:
        wire, expected = LENIENT[name]
        for direction in (False, None):
            for items in cut(lambda masked=direction: codec.FrameParser(masked=masked, strict="hop"), wire):
                assert [seen(item) for item in items] == expected

    @pytest.mark.parametrize("opcode", range(8, 16))
    @pytest.mark.parametrize("fin", [True, False])
    def test_control_frames_stay_small(self, codec: ModuleType, opcode: int, fin: bool) -> None:
        """Of any length a lenient parser would have to keep them whole; reserved ones count as well."""
        for length, refused in ((125, False), (126, True), (2**62, True)):
            parser = codec.FrameParser(masked=False, strict="hop")
            parser.feed(codec.encode_header(opcode, length, fin=fin) + bytes(125))
            assert (str(parser.error) == "Control frame is longer than 125 bytes") is refused

    def test_reserved_bits_and_text_that_is_not_utf8_pass(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=False, strict="hop")
        frames = parser.feed(b"\xf1\x01\xff" + b"\xd9\x00")
        assert [seen(frame).rsv for frame in frames] == [(True, True, True), (True, False, True)]
        assert parser.error is None


def test_errors_are_never_raised(codec: ModuleType) -> None:
    parser = codec.FrameParser()
    assert parser.feed(b"\xff" * 100) == []
    assert isinstance(parser.error, PeerError)


def test_seen_tells_frames_apart() -> None:
    assert Seen(Opcode.TEXT) != Seen(Opcode.TEXT, masking_key=KEY)


# ---- for those who come late --------------------------------------------------------------


@pytest.mark.parametrize("chunk_above", [None, 0])
def test_held(codec: ModuleType, chunk_above: int | None) -> None:
    """The bytes that were not parsed, and those that are missing: together they lead to the next frame."""
    wire = encode_header(Opcode.BINARY, 500, masking_key=b"abcd") + bytes(500)
    for cut in range(len(wire)):
        parser = codec.FrameParser(chunk_above=chunk_above)
        parser.feed(wire[:cut])
        held, missing = parser.held()
        assert (type(held), len(held)) == (bytes, parser.pending)
        if missing:
            assert not held and missing == len(wire) - cut
        else:
            assert held == wire[:cut]
    parser = codec.FrameParser()
    parser.feed(2 * wire + wire[:100], -1, 1)
    assert parser.held() == (wire + wire[:100], 0)
    parser.feed(b"", -1, 1)
    assert parser.held() == (wire[:100], 0)
    parser.feed(b"")
    assert parser.held() == (b"", len(wire) - 100)
