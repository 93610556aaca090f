"""Frames as bytes and as values (RFC 6455, section 5), the ways of cutting them, and the codecs they run over."""

# ruff: noqa: E501 - the tables are read by their columns

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.wire.codes import Opcode

from ..tools.twins import BUILDS, load


@pytest.fixture(name="codec", params=list(BUILDS))
def codec_fixture(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param, "wire.codec")


@pytest.fixture(name="frames", params=list(BUILDS))
def frames_fixture(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.param, "wire.frames")


@dataclass(frozen=True)
class Seen:
    """A frame as plain values: what the two codecs deliver are different types."""

    opcode: Opcode
    payload: bytes = b""
    fin: bool = True
    rsv: tuple[bool, bool, bool] = (False, False, False)
    kind: Opcode | None = None  # None: the same as opcode
    masking_key: bytes | None = None

    def __post_init__(self) -> None:
        if self.kind is None:
            object.__setattr__(self, "kind", self.opcode)


def seen(frame: Any) -> Seen:
    rsv = (frame.rsv1, frame.rsv2, frame.rsv3)
    return Seen(frame.opcode, frame.payload, frame.fin, rsv, frame.kind, frame.masking_key)


def bits(text: str) -> bytes:
    """Bytes from their bits, blanks ignored."""
    digits = text.replace(" ", "")
    assert len(digits) % 8 == 0, text
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def masked(payload: bytes, key: bytes) -> bytes:
    """Section 5.3, as it is written there."""
    return bytes(octet ^ key[index % 4] for index, octet in enumerate(payload))


def pattern(size: int) -> bytes:
    """``size`` bytes without a period that a mask or a buffer could share."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


KEY = bytes.fromhex("37fa213d")
TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION

# fmt: off
#                        F RSV OPCO  M LEN
VECTORS: dict[str, tuple[bytes, list[Seen]]] = {
    "text":       (bits("1 000 0001  0 0000101") + b"Hello", [Seen(TEXT, b"Hello")]),  # the examples of section 5.7
    "masked":     (bits("1 000 0001  1 0000101") + KEY + bytes.fromhex("7f9f4d5158"), [Seen(TEXT, b"Hello", masking_key=KEY)]),
    "fragments":  (bits("0 000 0001  0 0000011") + b"Hel" + bits("1 000 0000  0 0000010") + b"lo",
                   [Seen(TEXT, b"Hel", fin=False), Seen(CONTINUATION, b"lo", kind=TEXT)]),
    "ping":       (bits("1 000 1001  0 0000101") + b"Hello", [Seen(Opcode.PING, b"Hello")]),
    "pong":       (bits("1 000 1010  1 0000101") + KEY + bytes.fromhex("7f9f4d5158"), [Seen(Opcode.PONG, b"Hello", masking_key=KEY)]),
    "256":        (bits("1 000 0010  0 1111110") + b"\x01\x00" + pattern(256), [Seen(BINARY, pattern(256))]),
    "64 KiB":     (bits("1 000 0010  0 1111111") + (65536).to_bytes(8, "big") + pattern(65536), [Seen(BINARY, pattern(65536))]),
    "empty":      (bits("1 000 0010  0 0000000"), [Seen(BINARY)]),
    "empty, key": (bits("1 000 0010  1 0000000") + KEY, [Seen(BINARY, masking_key=KEY)]),
    "key of 0":   (bits("1 000 0010  1 0000001") + bytes(4) + b"x", [Seen(BINARY, b"x", masking_key=bytes(4))]),
    "key of ff":  (bits("1 000 0010  1 0000001") + b"\xff" * 4 + b"\x00", [Seen(BINARY, b"\xff", masking_key=b"\xff" * 4)]),
    "125":        (bits("1 000 0010  0 1111101") + pattern(125), [Seen(BINARY, pattern(125))]),
    "126":        (bits("1 000 0010  0 1111110") + b"\x00\x7e" + pattern(126), [Seen(BINARY, pattern(126))]),
    "65535":      (bits("1 000 0010  1 1111110") + b"\xff\xff" + KEY + masked(pattern(65535), KEY),
                   [Seen(BINARY, pattern(65535), masking_key=KEY)]),
    "rsv1":       (bits("1 100 0001  0 0000001") + b"x", [Seen(TEXT, b"x", rsv=(True, False, False))]),
    "rsv2":       (bits("1 010 0010  0 0000001") + b"x", [Seen(BINARY, b"x", rsv=(False, True, False))]),
    "rsv3":       (bits("1 001 1001  0 0000001") + b"x", [Seen(Opcode.PING, b"x", rsv=(False, False, True))]),
    "not UTF-8":  (bits("1 000 0001  0 0000010") + b"\xc3\x28", [Seen(TEXT, b"\xc3\x28")]),
    "ping inside": (bits("0 000 0010  0 0000001") + b"a" + bits("1 000 1001  0 0000000") + bits("0 000 0000  0 0000000")
                    + bits("1 000 0000  0 0000001") + b"b" + bits("1 000 0001  0 0000001") + b"c",
                    [Seen(BINARY, b"a", fin=False), Seen(Opcode.PING), Seen(CONTINUATION, fin=False, kind=BINARY),
                     Seen(CONTINUATION, b"b", kind=BINARY), Seen(TEXT, b"c")]),
    "ping of 125": (bits("1 000 1001  0 1111101") + pattern(125), [Seen(Opcode.PING, pattern(125))]),
    "close":      (bits("1 000 1000  0 0000000"), [Seen(Opcode.CLOSE)]),
    "close 1000": (bits("1 000 1000  1 0000101") + KEY + masked(b"\x03\xe8bye", KEY), [Seen(Opcode.CLOSE, b"\x03\xe8bye", masking_key=KEY)]),
    "close of 1": (bits("1 000 1000  0 0000001") + b"\x03", [Seen(Opcode.CLOSE, b"\x03")]),
}

NEEDS_MASK, MASKED = {"masked": True}, {"masked": False}
# The bytes, the parser's options, the text of the error, and how many bytes it takes to be sure.
REFUSED: dict[str, tuple[bytes, dict[str, Any], str, int]] = {
    **{
        f"opcode {n}": (bytes([0x80 | n, 0]), {}, f"Unsupported opcode {n}", 1) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "no mask":             (bits("1 000 0001  0 0000101"), NEEDS_MASK, "Frame is not masked", 2),
    "mask":                (bits("1 000 0001  1 0000101"), MASKED, "Frame is masked", 2),
    "ping in fragments":   (bits("0 000 1001  0 0000000"), {}, "Control frame is fragmented", 1),
    "close in fragments":  (bits("0 000 1000  0 0000000"), {}, "Control frame is fragmented", 1),
    "ping of 126":         (bits("1 000 1001  0 1111110") + b"\x00\x7e", {}, "Control frame is longer than 125 bytes", 2),
    "close of 64 bits":    (bits("1 000 1000  1 1111111"), {}, "Control frame is longer than 125 bytes", 2),
    "continues nothing":   (bits("1 000 0000  0 0000000"), {}, "Continuation frame without a message to continue", 1),
    "continues the past":  (bits("1 000 0001  0 0000000 1 000 0000  0 0000000"), {}, "Continuation frame without a message to continue", 3),
    "text inside binary":  (bits("0 000 0010  0 0000000 1 000 0001  0 0000000"), {}, "New message begun before the last one was finished", 3),
    "text inside text":    (bits("0 000 0001  0 0000000 0 000 0001  0 0000000"), {}, "New message begun before the last one was finished", 3),
    "125 in 16 bits":      (bits("1 000 0010  0 1111110") + b"\x00\x7d", {}, "Length is not encoded in the shortest form", 4),
    "65535 in 64 bits":    (bits("1 000 0010  1 1111111") + (65535).to_bytes(8, "big"), {}, "Length is not encoded in the shortest form", 10),
    "negative length":     (bits("1 000 0010  0 1111111") + b"\x80" + bytes(7), {}, "Length has its most significant bit set", 3),
    "too big":             (bits("1 000 0010  1 0001011"), {"max_frame_size": 10}, "Frame is too big: 11. Max size is 10", 2),
    "too big, 16 bits":    (bits("1 000 0010  1 1111110") + b"\xff\xff", {"max_frame_size": 65534}, "Frame is too big: 65535. Max size is 65534", 4),
    "too big, 64 bits":    (bits("1 000 0010  1 1111111") + b"\x7f" + b"\xff" * 7, {"max_frame_size": 1 << 40},
                            f"Frame is too big: {2**63 - 1}. Max size is {1 << 40}", 10),
}

# The frames that strict=False delivers of those, with a payload behind them.
LENIENT: dict[str, tuple[bytes, list[Seen]]] = {
    "opcode 3":            (bits("1 000 0011  0 0000001") + b"x", [Seen(Opcode(3), b"x")]),
    "opcode 15":           (bits("1 000 1111  0 0000001") + b"x", [Seen(Opcode(15), b"x")]),
    "opcode 3, fragments": (bits("0 000 0011  0 0000000 1 000 0000  0 0000000"), [Seen(Opcode(3), fin=False), Seen(CONTINUATION, kind=Opcode(3))]),
    "ping in fragments":   (bits("0 000 1001  0 0000000 1 000 0000  0 0000000"), [Seen(Opcode.PING, fin=False), Seen(CONTINUATION)]),
    "ping of 126":         (bits("1 000 1001  0 1111110") + b"\x00\x7e" + pattern(126), [Seen(Opcode.PING, pattern(126))]),
    "continues nothing":   (bits("0 000 0000  0 0000001") + b"x" + bits("1 000 0000  0 0000000"),
                            [Seen(CONTINUATION, b"x", fin=False), Seen(CONTINUATION)]),
    "text inside binary":  (bits("0 000 0010  0 0000000 0 000 0001  0 0000000 1 000 0000  0 0000000"),
                            [Seen(BINARY, fin=False), Seen(TEXT, fin=False), Seen(CONTINUATION, kind=TEXT)]),
    "1 in 16 bits":        (bits("1 000 0010  0 1111110") + b"\x00\x01x", [Seen(BINARY, b"x")]),
    "1 in 64 bits":        (bits("1 000 0010  1 1111111") + bytes(7) + b"\x01" + KEY + masked(b"x", KEY), [Seen(BINARY, b"x", masking_key=KEY)]),
    "close in fragments":  (bits("0 000 1000  0 0000000 1 000 0000  0 0000000"), [Seen(Opcode.CLOSE, fin=False)]),
}
# fmt: on

NewParser = Callable[[], Any]


def whole(new_parser: NewParser, wire: bytes) -> Iterator[list[Any]]:
    yield new_parser().feed(wire)


def byte_by_byte(new_parser: NewParser, wire: bytes) -> Iterator[list[Any]]:
    parser = new_parser()
    yield [item for position in range(len(wire)) for item in parser.feed(wire[position : position + 1])]


def at_every_split(new_parser: NewParser, wire: bytes) -> Iterator[list[Any]]:
    step = max(1, len(wire) // 200)
    for position in {*range(0, len(wire), step), *range(min(20, len(wire))), len(wire) - 1}:
        parser = new_parser()
        yield parser.feed(wire[:position]) + parser.feed(wire[position:])


def with_leftover(new_parser: NewParser, wire: bytes) -> Iterator[list[Any]]:
    """One frame per call: what follows waits inside the parser."""
    parser = new_parser()
    items = parser.feed(wire, max_frames=0)
    assert not items and parser.pending == len(wire)
    while more := parser.feed(b"", max_frames=1):
        assert len(more) == 1
        items += more
    assert not parser.pending
    yield items


def in_place(new_parser: NewParser, wire: bytes) -> Iterator[list[Any]]:
    """Bytes that fit are written into the target, in pieces that no word divides."""
    for first, piece in ((14, 10_007), (3000, 1 << 20)):
        parser = new_parser()
        items, position = parser.feed(wire[:first]), first
        while position < len(wire):
            target = parser.target()
            if target is None:
                items += parser.feed(wire[position : position + piece])
                position += piece
            else:
                count = min(piece, len(target), len(wire) - position)
                target[:count] = wire[position : position + count]
                del target
                items += parser.advance(count)
                position += count
        yield items


def in_a_buffer(new_parser: NewParser, wire: bytes) -> Iterator[list[Any]]:
    """The one buffer of the loop, of which only the first bytes count, and which is used again."""
    parser, buffer, items = new_parser(), bytearray(64), []
    for position in range(0, len(wire), 50):
        part = wire[position : position + 50]
        buffer[:] = part + b"\xff" * (64 - len(part))
        items += parser.feed(buffer, len(part))
    buffer[:] = b"\xaa" * 64
    yield items


CUTS = (whole, byte_by_byte, at_every_split, with_leftover, in_place, in_a_buffer)
