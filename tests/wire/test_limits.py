"""Where the codec stops: limits on frames and on calls, large payloads, payloads in pieces, and memory."""

from __future__ import annotations

import gc
import tracemalloc
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.errors import FrameTooBig
from aiohttp_rawws.wire.codes import Opcode
from aiohttp_rawws.wire.payload_pool import pooled_bytes

from .vectors import (
    CUTS,
    KEY,
    codec_fixture,  # noqa: F401
    masked,
    pattern,
    seen,
)

LARGE = 16 * 1024
TRUSTED = 1024 * 1024


def wire_of(codec: ModuleType, size: int, opcode: int = 2, fin: bool = True) -> bytes:
    header: bytes = codec.encode_header(opcode, size, fin=fin, masking_key=KEY)
    return header + masked(pattern(size), KEY)


class TestMaxFrameSize:
    @pytest.mark.parametrize("limit", [0, 1, 125, 126, 65535, 65536])
    def test_at_the_limit(self, codec: ModuleType, limit: int) -> None:
        for size in (max(0, limit - 1), limit):
            parser = codec.FrameParser(max_frame_size=limit)
            assert len(parser.feed(wire_of(codec, size))[0].payload) == size
            assert parser.error is None
        parser = codec.FrameParser(max_frame_size=limit)
        # Known before the masking key arrives.
        assert parser.feed(codec.encode_header(2, limit + 1, masking_key=KEY)[:-4]) == []
        assert isinstance(parser.error, FrameTooBig)
        assert (parser.error.frame_size, parser.error.limit) == (limit + 1, limit)

    def test_control_frames_count_too(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(max_frame_size=1)
        parser.feed(wire_of(codec, 2, Opcode.PING))
        assert isinstance(parser.error, FrameTooBig)


class TestBudget:
    """``feed`` begins no frame beyond what it was asked for, and holds the rest."""

    @pytest.mark.parametrize("count", [0, 1, 4, 5, 6, -1])
    def test_max_frames(self, codec: ModuleType, count: int) -> None:
        wire = wire_of(codec, 3)
        parser = codec.FrameParser()
        expected = 5 if count < 0 else min(count, 5)
        assert len(parser.feed(wire * 5, max_frames=count)) == expected
        assert parser.pending == (5 - expected) * len(wire)
        assert parser.mid_frame is (parser.pending > 0)
        assert len(parser.feed(b"")) == 5 - expected
        assert (parser.pending, parser.mid_frame) == (0, False)

    @pytest.mark.parametrize(
        ("limit", "expected"), [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (30, 3), (-1, 3)]
    )
    def test_max_bytes(self, codec: ModuleType, limit: int, expected: int) -> None:
        parser = codec.FrameParser()
        assert len(parser.feed(wire_of(codec, 10) * 3, max_bytes=limit)) == expected
        assert len(parser.feed(b"", -1, -1, -1)) == 3 - expected

    def test_an_open_frame_is_completed_whatever_the_budget(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 10)
        parser = codec.FrameParser()
        parser.feed(wire[:9])
        assert len(parser.feed(wire[9:] + wire, max_frames=0)) == 1
        assert parser.pending == len(wire)

    def test_one_large_frame_uses_up_the_bytes(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 100)
        parser = codec.FrameParser()
        parser.feed(wire[:50])
        assert len(parser.feed(wire[50:] + wire, max_bytes=100)) == 1
        assert parser.pending == len(wire)

    def test_held_bytes_are_followed_by_new_ones(self, codec: ModuleType) -> None:
        wires = [wire_of(codec, size) for size in (0, 1, 200, 3, 0, 20)]
        stream = b"".join(wires)
        for held in range(len(stream)):
            parser = codec.FrameParser()
            items = parser.feed(stream[:held], max_frames=1)
            items += parser.feed(stream[held : held + 9], max_frames=1)
            items += parser.feed(stream[held + 9 :])
            assert [len(item.payload) for item in items] == [0, 1, 200, 3, 0, 20]

    def test_errors_wait_for_their_turn(self, codec: ModuleType) -> None:
        parser = codec.FrameParser()
        parser.feed(wire_of(codec, 1) + b"\xff\xff", max_frames=1)
        assert parser.error is None
        parser.feed(b"", max_frames=0)
        assert parser.error is None
        parser.feed(b"", max_frames=1)
        assert parser.error is not None
        assert parser.pending == 0

    def test_many_held_frames_are_taken_in_linear_time(self, codec: ModuleType) -> None:
        """Were the rest copied for each, this would move 10 GB."""
        count = 20_000
        parser = codec.FrameParser()
        items = parser.feed(wire_of(codec, 40) * count, max_frames=0)
        while more := parser.feed(b"", max_frames=1):
            items += more
        assert len(items) == count


class TestSmallPieces:
    """Time and memory grow with the bytes, not with the pieces."""

    def test_held_bytes_are_added_to_in_linear_time(self, codec: ModuleType) -> None:
        """Were all that is held copied for each piece, this would move 8 GB."""
        count, wire = 20_000, wire_of(codec, 36)
        parser = codec.FrameParser()
        for _ in range(count):
            assert parser.feed(wire, max_frames=0) == []
        assert parser.pending == count * len(wire)
        assert len(parser.feed(b"")) == count

    def test_one_in_and_one_out_takes_linear_time(self, codec: ModuleType) -> None:
        """Were the rest copied each time, this would move 16 GB."""
        count, wire = 20_000, wire_of(codec, 36)
        parser = codec.FrameParser()
        parser.feed(wire * count, max_frames=0)
        for _ in range(count):
            assert len(parser.feed(wire, max_frames=1)) == 1
        assert parser.pending == count * len(wire)
        assert len(parser.feed(b"")) == count

    def test_a_large_frame_byte_by_byte(self, codec: ModuleType) -> None:
        """Were the payload copied for each byte, this would move 20 GB."""
        wire = wire_of(codec, 200_000)
        parser = codec.FrameParser()
        items = [item for number in range(len(wire)) for item in parser.feed(wire[number : number + 1])]
        assert [item.payload for item in items] == [pattern(200_000)]

    def test_a_large_frame_takes_little_more_memory(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 200_000)
        parser = codec.FrameParser()
        tracemalloc.start()
        try:
            for number in range(0, len(wire) - 50, 50):
                assert parser.feed(wire[number : number + 50]) == []
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2 * len(wire) + 4096

    def test_held_bytes_take_little_more_memory(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 2)
        parser = codec.FrameParser()
        tracemalloc.start()
        try:
            for _ in range(5_000):
                parser.feed(wire[:3], max_frames=0)
                parser.feed(wire[3:], max_frames=0)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2 * parser.pending + 4096


class TestTarget:
    """A large payload is written to its final place."""

    @pytest.mark.parametrize(("missing", "large"), [(LARGE - 1, False), (LARGE, False), (LARGE + 1, True)])
    def test_threshold(self, codec: ModuleType, missing: int, large: bool) -> None:
        parser = codec.FrameParser()
        wire = wire_of(codec, missing + 100)
        assert parser.target() is None
        parser.feed(wire[:-missing])
        assert (parser.target() is not None) is large
        assert parser.mid_frame
        (frame,) = parser.feed(wire[-missing:])
        assert frame.payload == pattern(missing + 100)

    @pytest.mark.parametrize("size", [LARGE + 20, 100_003, TRUSTED, TRUSTED + 1, 5 * TRUSTED + 3])
    def test_received_in_place(self, codec: ModuleType, size: int) -> None:
        wire = wire_of(codec, size)
        for piece in (50_001, 1 << 18):
            parser = codec.FrameParser()
            items, position = parser.feed(wire[:20]), 20
            while not items:
                target = parser.target()
                if target is None:
                    items = parser.feed(wire[position:])
                    break
                assert len(target) >= LARGE and not target.readonly and target.format == "B"
                count = min(len(target), piece, len(wire) - position)
                target[:count] = wire[position : position + count]
                items = parser.advance(count)
                position += count
            assert type(items[0].payload) is bytes
            assert items[0].payload == pattern(size)
            assert not parser.mid_frame

    def test_a_view_that_is_kept_does_no_harm(self, codec: ModuleType) -> None:
        """The loop holds the view while it reports what it read; nothing may move under it."""
        size = 4 * TRUSTED
        wire = wire_of(codec, size)
        parser = codec.FrameParser()
        parser.feed(wire[:14])
        kept, position, items = [], 14, []
        while (target := parser.target()) is not None:
            count = min(len(target), 300_000, len(wire) - position)
            target[:count] = wire[position : position + count]
            items = parser.advance(count)
            position += count
            kept.append(target)
        items += parser.feed(wire[position:])
        assert items[0].payload == pattern(size)
        del parser, items
        gc.collect()
        assert sum(sum(view[:10]) for view in kept) > 0

    def test_a_few_bytes_while_a_view_is_kept(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 20_000)
        parser = codec.FrameParser()
        parser.feed(wire[:14])
        position = 14
        for count in range(10):
            target = parser.target()
            target[:count] = wire[position : position + count]
            assert parser.advance(count) == []
            position += count
        (frame,) = parser.feed(wire[position:])
        assert frame.payload == pattern(20_000)

    def test_feeding_while_a_view_is_kept(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 2 * TRUSTED)
        parser = codec.FrameParser()
        parser.feed(wire[:14])
        view = parser.target()
        (frame,) = parser.feed(wire[14:])
        assert frame.payload == pattern(2 * TRUSTED)
        assert view is not None

    def test_advance_is_checked(self, codec: ModuleType) -> None:
        parser = codec.FrameParser()
        with pytest.raises(RuntimeError, match="there is no target to advance in"):
            parser.advance(0)
        parser.feed(wire_of(codec, 100_000)[:14])
        room = len(parser.target())
        for count in (-1, room + 1):
            with pytest.raises(ValueError, match=f"cannot advance by {count}, "):
                parser.advance(count)
        assert parser.advance(0) == []

    def test_unmasked(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=False)
        parser.feed(codec.encode_header(1, 20_000))
        target = parser.target()
        target[:20_000] = pattern(20_000)
        (frame,) = parser.advance(20_000)
        assert frame.payload == pattern(20_000)
        assert frame.masking_key is None

    def test_more_frames_behind_a_large_one(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 30_000)
        parser = codec.FrameParser()
        parser.feed(wire[:-5])
        assert parser.target() is None
        assert [len(item.payload) for item in parser.feed(wire[-5:] + wire_of(codec, 7) + b"\x82")] == [30_000, 7]
        assert parser.pending == 1


class TestChunks:
    """``chunk_above``: what is long and does not come at once is passed on as it comes."""

    @pytest.mark.parametrize(("size", "chunked"), [(99, False), (100, False), (101, True)])
    def test_threshold(self, codec: ModuleType, size: int, chunked: bool) -> None:
        wire = wire_of(codec, size)
        parser = codec.FrameParser(chunk_above=100)
        assert type(parser.feed(wire)[0]) is codec.Frame  # whole in one feed
        first = parser.feed(wire[:20])
        assert [type(item) for item in first] == [codec.FrameChunk] * chunked
        assert parser.mid_frame
        items = first + parser.feed(wire[20:])
        assert b"".join(item.payload for item in items) == pattern(size)
        assert not parser.mid_frame

    @pytest.mark.parametrize("size", [LARGE + 20, 100_003, 5 * TRUSTED + 3])
    def test_split(self, codec: ModuleType, size: int) -> None:
        """A frame that was begun as a whole goes on in chunks, and the next one is whole again."""
        wire = wire_of(codec, size) + wire_of(codec, 200_000)
        for at in (14, 15, 1000, LARGE, size - 1):
            for kept in (False, True):
                parser = codec.FrameParser()
                assert parser.split() is None
                assert parser.feed(wire[:at]) == []
                if at == LARGE and (view := parser.target()) is not None:
                    view[:100] = wire[at : at + 100]
                    assert parser.advance(100) == []
                    at += 100
                    if not kept:
                        del view
                first = parser.split()
                assert first is not None and first.header.length == size and not first.last
                assert parser.split() is None and parser.target() is None and parser.mid_frame
                items = [first, *parser.feed(wire[at:-1])]
                assert b"".join(item.payload for item in items) == pattern(size)
                assert [item.last for item in items] == [False, True]
                (frame,) = parser.feed(wire[-1:])
                assert type(frame) is codec.Frame and frame.payload == pattern(200_000)

    def test_control_frames_are_not_split(self, codec: ModuleType) -> None:
        wire = codec.encode_header(9, 100, masking_key=KEY) + pattern(100)
        parser = codec.FrameParser()
        parser.feed(wire[:50])
        assert parser.split() is None
        assert [type(item) for item in parser.feed(wire[50:])] == [codec.Frame]

    def test_shape(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 1000, fin=False)
        header, parser = len(wire) - 1000, codec.FrameParser(chunk_above=0)
        assert parser.feed(wire[: header - 1]) == []
        (first,) = parser.feed(wire[header - 1 : header])
        assert (first.payload, first.offset, first.last) == (b"", 0, False)
        assert first.header == codec.FrameHeader(
            opcode=Opcode.BINARY, kind=Opcode.BINARY, length=1000, fin=False, masking_key=KEY
        )
        assert parser.feed(b"") == []
        (second,) = parser.feed(wire[header : header + 7])
        assert (second.payload, second.offset, second.last) == (pattern(7), 0, False)
        third, frame = parser.feed(wire[header + 7 :] + wire_of(codec, 0, 0))
        assert (third.payload, third.offset, third.last) == (pattern(1000)[7:], 7, True)
        assert third.header is first.header
        assert (frame.opcode, frame.kind) == (Opcode.CONTINUATION, Opcode.BINARY)

    @pytest.mark.parametrize("cut", CUTS[:4], ids=lambda cut: cut.__name__)
    def test_pieces_make_the_frame(self, codec: ModuleType, cut: Any) -> None:
        wire = wire_of(codec, 500) + wire_of(codec, 30) + wire_of(codec, 125, Opcode.PING) + wire_of(codec, 70)
        for items in cut(lambda: codec.FrameParser(chunk_above=50), wire):
            payloads = [b""]
            for item in items:
                assert isinstance(item, codec.Frame) or item.offset == len(payloads[-1])
                payloads[-1] += item.payload
                if isinstance(item, codec.Frame) or item.last:
                    payloads.append(b"")
            assert payloads == [pattern(500), pattern(30), pattern(125), pattern(70), b""]

    def test_control_frames_stay_whole(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 125, Opcode.PING)
        parser = codec.FrameParser(chunk_above=0)
        assert parser.feed(wire[:50]) == []
        assert seen(parser.feed(wire[50:])[0]).payload == pattern(125)

    def test_no_target(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(chunk_above=10)
        parser.feed(wire_of(codec, 100_000)[:14])
        assert parser.target() is None
        with pytest.raises(RuntimeError, match="no target"):
            parser.advance(1)

    def test_chunks_count_for_the_budget(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 100)
        parser = codec.FrameParser(chunk_above=10)
        parser.feed(wire[:50])
        assert len(parser.feed(wire[50:] + wire, max_frames=1)) == 1
        assert parser.pending == len(wire)

    def test_too_big_is_too_big(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(chunk_above=10, max_frame_size=99)
        assert parser.feed(wire_of(codec, 100)[:14]) == []
        assert isinstance(parser.error, FrameTooBig)


class TestControlFrames:
    """With ``strict=False`` a control frame may be longer than section 5.5 allows, but not of any length."""

    @pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE, 11])
    @pytest.mark.parametrize(("limit", "least"), [(None, 64 * 1024), (100_000, 100_000), (1000, 1000)])
    def test_a_limit_holds(self, codec: ModuleType, opcode: int, limit: int | None, least: int) -> None:
        for length, refused in ((least, False), (least + 1, True), (2**62, True)):
            parser = codec.FrameParser(masked=False, strict=False, max_frame_size=limit)
            parser.feed(bytes([0x80 | opcode, 127]) + length.to_bytes(8, "big"))
            assert isinstance(parser.error, FrameTooBig) == refused
            if refused:
                assert (parser.error.frame_size, parser.error.limit) == (length, least)

    def test_data_frames_are_not_concerned(self, codec: ModuleType) -> None:
        parser = codec.FrameParser(masked=False, strict=False)
        parser.feed(bytes([0x82, 127]) + (2**40).to_bytes(8, "big"))
        assert parser.error is None


class TestMemory:
    @pytest.mark.parametrize("received", [0, 1000])
    def test_a_promise_takes_none(self, codec: ModuleType, received: int) -> None:
        """A peer that announces 4 GiB and falls silent costs what it sent, and the room for one read."""
        header = codec.encode_header(2, 4 << 30, masking_key=KEY)
        parser = codec.FrameParser(max_frame_size=None)
        tracemalloc.start()
        try:
            parser.feed(header + bytes(received))
            assert parser.target() is not None
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * TRUSTED

    def test_room_grows_with_what_arrives(self, codec: ModuleType) -> None:
        parser = codec.FrameParser()
        parser.feed(codec.encode_header(2, 4 << 30, masking_key=KEY))
        received, part = 0, bytes(1 << 20)
        tracemalloc.start()
        try:
            while received < 4 * TRUSTED:
                target = parser.target()
                count = min(len(part), len(target))
                target[:count] = part[:count]
                del target
                parser.advance(count)
                received += count
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 3 * received

    def test_nothing_is_held_between_frames(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 100_000)
        parsers = [codec.FrameParser() for _ in range(100)]
        tracemalloc.start()
        try:
            for parser in parsers:
                parser.feed(wire[:5])
                parser.feed(wire[5:50_000])
                parser.feed(wire[50_000:])
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held - pooled_bytes() < 100 * 200  # the pool is one for the process

    def test_an_error_frees_what_was_held(self, codec: ModuleType) -> None:
        wire = wire_of(codec, 10)
        parser = codec.FrameParser()
        parser.feed(wire * 10_000 + b"\xff\xff", max_frames=1)
        parser.feed(b"")
        assert (parser.pending, parser.mid_frame) == (0, False)
        assert parser.error is not None
