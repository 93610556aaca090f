"""Bytes to frames and back, each test over both codecs."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.errors import FrameTooBig, PeerError, ProtocolViolation
from aiohttp_rawws.wire.codes import Opcode

from .wire_vectors import (
    CUTS,
    KEY,
    LENIENT,
    REFUSED,
    VECTORS,
    Seen,
    bits,
    codec_fixture,  # noqa: F401
    masked,
    pattern,
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
    """What MUST fail the connection does, at the first byte that shows it."""

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


class TestEncode:
    """Sections 5.2, 5.3 and 5.4 the other way."""

    @pytest.mark.parametrize("name", [name for name in VECTORS if name != "fragments"])
    def test_vector(self, codec: ModuleType, name: str) -> None:
        wire, frames = VECTORS[name]
        key = frames[0].masking_key
        encoder = codec.FrameEncoder(masking=key is not None, new_masking_key=lambda: key)
        for frame in frames:
            rsv = dict(zip(("rsv1", "rsv2", "rsv3"), frame.rsv, strict=True))
            encoder.append(codec.Frame(frame.opcode, frame.payload, fin=frame.fin, kind=frame.kind, **rsv))
        assert encoder.size == len(wire)
        assert encoder.take() == wire
        assert (encoder.size, encoder.take()) == (0, b"")

    def test_a_message_is_continued_with_opcode_0(self, codec: ModuleType) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder()
        assert not encoder.mid_message
        assert encoder.encode(Frame.text("Hel", fin=False)) == b"\x01\x03Hel"
        assert encoder.mid_message
        assert encoder.encode(Frame.ping()) == b"\x89\x00"
        assert encoder.encode(Frame(0, b"l", fin=False)) == b"\x00\x01l"
        assert encoder.encode(Frame(0, b"l", fin=False, kind=1)) == b"\x00\x01l"
        assert encoder.encode(Frame.text("o")) == b"\x80\x01o"
        assert not encoder.mid_message
        assert encoder.encode(Frame.text("!")) == b"\x81\x01!"

    @pytest.mark.parametrize("call", ["encode", "append", "append_header"])
    def test_a_message_cannot_be_broken_into(self, codec: ModuleType, call: str) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder()
        send = getattr(encoder, call)
        with pytest.raises(RuntimeError, match="a continuation frame cannot be sent: no message has been begun"):
            send(Frame(0, b"x"))
        encoder.append(Frame.text("a", fin=False))
        size = encoder.size
        for other in (Frame.binary(b"x"), Frame(0, b"x", kind=Opcode.BINARY)):
            with pytest.raises(RuntimeError, match="a BINARY frame cannot be sent inside a TEXT message"):
                send(other)
        assert (encoder.size, encoder.mid_message) == (size, True)
        encoder.append(Frame.text("b"))
        assert encoder.take() == b"\x01\x01a\x80\x01b"

    def test_lenient_sends_opcodes_as_they_stand(self, codec: ModuleType) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder(strict=False)
        fragments = [Frame.text("", fin=False), Frame.binary(b"", fin=False)]
        sent = [Frame(0), *fragments, Frame.binary(b""), Frame(0), Frame(3)]
        assert [encoder.encode(frame)[0] for frame in sent] == [0x80, 0x01, 0x02, 0x80, 0x80, 0x83]

    def test_prepared(self, codec: ModuleType) -> None:
        prepared = codec.PreparedFrame(codec.Frame.text("hi"))
        encoder = codec.FrameEncoder()
        assert encoder.encode(prepared) is prepared.wire
        assert encoder.append(prepared) == 4
        assert encoder.take() == b"\x81\x02hi"
        encoder.masking = True
        assert encoder.encode(prepared)[1] == 0x82
        encoder.append(codec.Frame.binary(b"", fin=False))
        with pytest.raises(RuntimeError, match="a prepared message cannot be sent inside a BINARY message"):
            encoder.append(prepared)
        encoder.append(codec.PreparedFrame(codec.Frame.ping()))
        assert encoder.mid_message
        lenient = codec.FrameEncoder(strict=False)
        lenient.append(codec.Frame.text("", fin=False))
        lenient.append(prepared)
        assert not lenient.mid_message

    def test_batch(self, codec: ModuleType) -> None:
        encoder = codec.FrameEncoder()
        large = codec.Frame.binary(pattern(70_000))
        parts = [encoder.append_bytes(b"raw"), encoder.append_header(large), encoder.append(large)]
        assert parts == [3, 10, 70_010]
        assert encoder.append_bytes(memoryview(b"")) == 0
        assert encoder.size == sum(parts)
        header = b"\x82\x7f" + (70_000).to_bytes(8, "big")
        assert encoder.take() == b"raw" + header + header + pattern(70_000)

    def test_bytes_of_the_caller_may_change_afterwards(self, codec: ModuleType) -> None:
        encoder, data = codec.FrameEncoder(), bytearray(b"raw")
        assert encoder.append_bytes(data) == 3
        data[:] = b"changed"
        assert encoder.take() == b"raw"

    def test_taken_bytes_are_not_touched_again(self, codec: ModuleType) -> None:
        encoder, batches = codec.FrameEncoder(), []
        for number in range(200):
            for _ in range(number % 7):
                encoder.append(codec.Frame.binary(bytes([number]) * (number * 13 % 300)))
            batches.append((encoder.take(), number))
        for batch, number in batches:
            frames = codec.FrameParser(masked=False).feed(batch)
            assert [frame.payload for frame in frames] == [bytes([number]) * (number * 13 % 300)] * (number % 7)

    def test_header_alone_cannot_be_masked(self, codec: ModuleType) -> None:
        with pytest.raises(RuntimeError, match="header of a masked frame"):
            codec.FrameEncoder(masking=True).append_header(codec.Frame.binary(b"x"))

    @pytest.mark.parametrize("call", ["encode", "append", "append_header"])
    def test_only_frames(self, codec: ModuleType, call: str) -> None:
        with pytest.raises(TypeError, match="a Frame can be encoded, not str"):
            getattr(codec.FrameEncoder(), call)("text")

    def test_payload_of_the_caller_stays(self, codec: ModuleType) -> None:
        payload = pattern(5000)
        frame = codec.Frame.binary(payload)
        encoder = codec.FrameEncoder(masking=True)
        encoder.append(frame)
        encoder.encode(frame)
        assert frame.payload is payload
        assert payload == pattern(5000)

    def test_masking_is_settable(self, codec: ModuleType) -> None:
        encoder = codec.FrameEncoder()
        assert encoder.masking is False
        encoder.masking = True
        assert seen(codec.FrameParser().feed(encoder.encode(codec.Frame.text("hi")))[0]).payload == b"hi"

    def test_keys_come_from_where_the_caller_says(self, codec: ModuleType) -> None:
        keys = itertools.count(1)
        encoder = codec.FrameEncoder(masking=True, new_masking_key=lambda: next(keys).to_bytes(4, "big"))
        encoder.append(codec.Frame.ping())
        encoder.append(codec.Frame.ping())
        assert encoder.take() == b"\x89\x80\x00\x00\x00\x01\x89\x80\x00\x00\x00\x02"
        with pytest.raises(ValueError, match="4 bytes long, not 3"):
            codec.FrameEncoder(masking=True, new_masking_key=lambda: b"abc").encode(codec.Frame.ping())


class TestHeader:
    @pytest.mark.parametrize(
        ("length", "field"),
        [
            (0, bits("00000000")),
            (125, bits("01111101")),
            (126, b"\x7e\x00\x7e"),
            (65535, b"\x7e\xff\xff"),
            (65536, b"\x7f" + (65536).to_bytes(8, "big")),
            (2**63 - 1, b"\x7f\x7f" + b"\xff" * 7),
        ],
    )
    def test_shortest_length(self, codec: ModuleType, length: int, field: bytes) -> None:
        assert codec.encode_header(Opcode.BINARY, length) == b"\x82" + field
        with_key = codec.encode_header(Opcode.BINARY, length, masking_key=KEY)
        assert with_key == bytes([0x82, field[0] | 0x80]) + field[1:] + KEY

    def test_bits(self, codec: ModuleType) -> None:
        assert codec.encode_header(3, 0, fin=False, rsv1=True, rsv3=True) == bits("0 101 0011  0 0000000")
        assert codec.encode_header(15, 0, rsv2=True) == bits("1 010 1111  0 0000000")

    def test_what_does_not_fit(self, codec: ModuleType) -> None:
        for arguments in ((16, 0), (-1, 0), (1, -1), (1, 2**63)):
            with pytest.raises(ValueError):
                codec.encode_header(*arguments)
        with pytest.raises(ValueError, match="4 bytes long, not 5"):
            codec.encode_header(1, 0, masking_key=b"12345")


class TestMask:
    """Section 5.3."""

    @pytest.mark.parametrize("size", [*range(20), 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 70_001])
    def test_sizes(self, codec: ModuleType, size: int) -> None:
        payload = pattern(size)
        assert codec.apply_mask(payload, KEY) == masked(payload, KEY)
        assert codec.apply_mask(codec.apply_mask(payload, KEY), KEY) == payload

    @pytest.mark.parametrize("offset", [*range(9), 1023, 2**62 + 3])
    def test_in_pieces(self, codec: ModuleType, offset: int) -> None:
        expected = masked(bytes(offset & 3) + pattern(2000), KEY)[offset & 3 :]
        assert codec.apply_mask(pattern(2000), KEY, offset) == expected

    def test_unaligned_buffers_are_left_as_they_were(self, codec: ModuleType) -> None:
        for start in range(9):
            buffer = bytearray(pattern(300))
            assert codec.apply_mask(memoryview(buffer)[start:290], KEY) == masked(pattern(300)[start:290], KEY)
            assert buffer == pattern(300)

    def test_arguments(self, codec: ModuleType) -> None:
        for key in (b"", b"123", b"12345"):
            with pytest.raises(ValueError, match=f"a masking key is 4 bytes long, not {len(key)}"):
                codec.apply_mask(b"x", key)
        with pytest.raises(ValueError, match="offset is -1"):
            codec.apply_mask(b"x", KEY, -1)
        with pytest.raises(TypeError):
            codec.apply_mask("x", KEY)

    def test_keys_are_new(self, codec: ModuleType) -> None:
        keys = [codec.new_masking_key() for _ in range(2000)]
        assert all(type(key) is bytes and len(key) == 4 for key in keys)
        assert len(set(keys)) > 1990

    def test_keys_are_drawn_from_secrets(self, codec: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[bytes] = []

        def token_bytes(size: int) -> bytes:
            drawn.append(real(size))
            return drawn[-1]

        real = secrets.token_bytes
        monkeypatch.setattr(secrets, "token_bytes", token_bytes)
        encoder = codec.FrameEncoder(masking=True)
        keys = b"".join(encoder.encode(codec.Frame.binary(b""))[2:] for _ in range(1024))
        assert len(drawn) > 2
        assert b"".join(drawn[:-1]) in keys

    if hasattr(os, "fork"):

        def test_a_forked_child_draws_its_own(self, codec: ModuleType) -> None:
            """In a process of its own, which has no threads that a fork would leave behind."""
            script = """
import os
from aiohttp_rawws.wire.codec import new_masking_key
new_masking_key()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"".join(new_masking_key() for _ in range(8)))
    os._exit(0)
os.wait()
theirs, ours = os.read(reader, 100), b"".join(new_masking_key() for _ in range(8))
assert len(theirs) == len(ours) and theirs != ours
"""
            environment = dict(os.environ) if codec.COMPILED else os.environ | {"AIOHTTP_RAWWS_NO_EXTENSIONS": "1"}
            subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=30)


def test_errors_are_never_raised(codec: ModuleType) -> None:
    parser = codec.FrameParser()
    assert parser.feed(b"\xff" * 100) == []
    assert isinstance(parser.error, PeerError)


def test_seen_tells_frames_apart() -> None:
    assert Seen(Opcode.TEXT) != Seen(Opcode.TEXT, masking_key=KEY)
