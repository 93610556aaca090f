"""Frames joined to messages: results, and what an unfinished message takes. Each test over both builds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.errors import FrameTooBig, InvalidPayload, PolicyViolation
from aiohttp_rawws.wire.codes import Opcode

from ..tools.twins import BUILDS, load


class Build:
    """The modules of one build."""

    def __init__(self, name: str) -> None:
        self.messages: ModuleType = load(name, "session.messages")
        self.codec: ModuleType = load(name, "wire.codec")

    def fragments(self, opcode: int, *payloads: bytes, end: bool = True) -> Iterator[Any]:
        for number, payload in enumerate(payloads):
            fin = end and number == len(payloads) - 1
            yield self.codec.Frame(0 if number else opcode, payload, fin=fin, kind=opcode)

    def chunks(self, opcode: int, *payloads: bytes, end: bool = True) -> Iterator[Any]:
        length = sum(map(len, payloads)) + (not end)
        header = self.codec.FrameHeader(Opcode(opcode), length, Opcode(opcode))
        offset = 0
        for payload in payloads:
            yield self.codec.FrameChunk(header, payload, offset, offset + len(payload) == length)
            offset += len(payload)


@pytest.fixture(params=list(BUILDS))
def build(request: pytest.FixtureRequest) -> Build:
    return Build(request.param)


SIZES = [0, 1, 2, 511, 512, 513, 5000]


class TestJoining:
    @pytest.mark.parametrize("form", ["fragments", "chunks"])
    def test_parts_of_every_size(self, build: Build, form: str) -> None:
        parts = [bytes([first % 251, second % 251]) * (second // 2) for first in SIZES for second in (first, *SIZES)]
        assembler = build.messages.MessageAssembler(None)
        for _ in range(2):
            *early, last = map(assembler.add, getattr(build, form)(2, *parts, b"end"))
            assert set(early) == {None}
            assert (last.opcode, last.payload, last.fin) == (Opcode.BINARY, b"".join(parts) + b"end", True)
            assert type(last.payload) is bytes

    def test_a_message_in_one_frame_is_that_frame(self, build: Build) -> None:
        frame = build.codec.Frame.text("hello")
        assert build.messages.MessageAssembler(None).add(frame) is frame

    def test_nothing_but_empty_fragments(self, build: Build) -> None:
        *_, last = map(build.messages.MessageAssembler(None).add, build.fragments(1, b"", b"", b""))
        assert last.text == ""

    def test_text_is_checked_as_it_comes(self, build: Build) -> None:
        text = "aä€😀".encode()
        for size in (1, 2, 3):
            parts = [text[start : start + size] for start in range(0, len(text), size)]
            *_, last = map(build.messages.MessageAssembler(None).add, build.fragments(1, *parts))
            assert last.text == "aä€😀"
        assembler = build.messages.MessageAssembler(None)
        first, second, _ = build.fragments(1, b"a\xe2", b"\x28", b"")
        assembler.add(first)
        with pytest.raises(InvalidPayload):
            assembler.add(second)

    def test_limits(self, build: Build) -> None:
        assembler = build.messages.MessageAssembler(3000)
        parts = list(build.fragments(2, *[bytes(500)] * 7))
        for part in parts[:6]:
            assembler.add(part)
        with pytest.raises(FrameTooBig):
            assembler.add(parts[6])
        assembler = build.messages.MessageAssembler(None, max_fragments=3)
        parts = list(build.fragments(2, b"", b"", b"", b""))
        for part in parts[:3]:
            assembler.add(part)
        with pytest.raises(PolicyViolation):
            assembler.add(parts[3])


class Split:
    """A pipeline that makes many pieces of each frame, as inflating does."""

    def __init__(self, build: Build, size: int, count: int) -> None:
        self.build, self.size, self.count = build, size, count

    def incoming(self, item: Any) -> Iterator[Any]:
        header = self.build.codec.FrameHeader(item.opcode, 0, item.kind, item.fin)
        for number in range(self.count):
            payload = bytes([number % 251]) * self.size
            yield self.build.codec.FrameChunk(header, payload, number * self.size, number == self.count - 1)


class TestMemory:
    """Memory: the bytes that have arrived, at most a quarter more, and a constant."""

    CONSTANT = 16 * 1024
    TOTAL = 256 * 1024

    def held(self, assembler: Any, items: Iterator[Any]) -> int:
        tracemalloc.start()
        try:
            for item in items:
                assert assembler.add(item) is None
            del item
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return held

    @pytest.mark.parametrize("size", [1, 2, 3, 40, 511, 512, 513, 4096])
    @pytest.mark.parametrize("form", ["fragments", "chunks"])
    def test_small_parts(self, build: Build, form: str, size: int) -> None:
        count = self.TOTAL // size // (4 if size < 40 else 1)
        assembler = build.messages.MessageAssembler(None)

        def parts() -> Iterator[bytes]:
            for number in range(count):
                yield bytes([number % 251]) * size

        def items() -> Iterator[Any]:
            if form == "fragments":
                for number, part in enumerate(parts()):
                    yield build.codec.Frame(0 if number else 2, part, fin=False, kind=2)
            else:
                header = build.codec.FrameHeader(Opcode.BINARY, 1 << 30, Opcode.BINARY)
                for number, part in enumerate(parts()):
                    yield build.codec.FrameChunk(header, part, number * size, False)

        assert self.held(assembler, items()) < 1.25 * count * size + self.CONSTANT

    @pytest.mark.parametrize("small", [1, 2, 255, 256, 257])
    def test_small_and_large_parts_in_turn(self, build: Build, small: int) -> None:
        assembler = build.messages.MessageAssembler(None)
        parts = [*[b"xx"] * small, b"y" * 512] * 400
        assert self.held(assembler, build.fragments(2, *parts, end=False)) < 1.25 * sum(map(len, parts)) + self.CONSTANT

    def test_empty_fragments(self, build: Build) -> None:
        assembler = build.messages.MessageAssembler(None)
        items = (build.codec.Frame(0 if number else 2, b"", fin=False, kind=2) for number in range(20_000))
        assert self.held(assembler, items) < self.CONSTANT

    def test_inflated_pieces(self, build: Build) -> None:
        count = 20_000
        assembler = build.messages.MessageAssembler(None, Split(build, 3, count))
        items = iter([build.codec.Frame(2, b"compressed", fin=False)])
        assert self.held(assembler, items) < 1.25 * 3 * count + self.CONSTANT

    def test_nothing_is_held_after_an_error(self, build: Build) -> None:
        assembler = build.messages.MessageAssembler(100_000)
        tracemalloc.start()
        try:
            with pytest.raises(FrameTooBig):
                for item in build.fragments(2, *[bytes(500)] * 300):
                    assembler.add(item)
            del item
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 20_000
