"""``FrameWatcher``, in both builds, next to the parser: it sees the same frames and refuses the same."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.errors import FrameTooBig, ProtocolViolation

from ..tools.peers import BINARY, CLOSE, PING, TEXT, close_frame, frame
from ..tools.twins import CODECS, load
from .vectors import VECTORS

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
STRICT: tuple[Any, ...] = (True, "hop", False)


def watcher(codec: ModuleType, **options: Any) -> Any:
    return codec.FrameWatcher(codec.FrameParser(**options))


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    position, cut = 0, []
    while position < len(data):
        size = dice.choice((1, 1, 2, 3, 5, 10, 1000, 100_000))
        cut.append(data[position : position + size])
        position += size
    return cut


def noise(dice: random.Random) -> bytes:
    """Frames, most of them right."""
    stream = b""
    for _ in range(dice.randrange(1, 12)):
        kind = dice.random()
        size = dice.choice((0, 1, 124, 125, 126, 127, 65535, 65536))
        one = bytearray(frame(dice.choice((0, TEXT, BINARY, PING)), dice.randbytes(size), fin=dice.random() < 0.7))
        if kind < 0.05:
            one[0] = dice.randrange(256)
        elif kind < 0.1:
            one[1] = dice.randrange(256)
        stream += one
    return stream + (close_frame(1000, "bye") if dice.random() < 0.3 else b"") + dice.randbytes(3)


@each_codec
@pytest.mark.parametrize("strict", STRICT)
@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_passes_if_the_parser_takes_it(codec: ModuleType, strict: Any, name: str) -> None:
    wire = VECTORS[name][0]
    parser = codec.FrameParser(masked=None, strict=strict)
    items = parser.feed(wire)
    watching = watcher(codec, masked=None, strict=strict)
    passed = b"".join(watching.pass_on(wire[at : at + 1]) for at in range(len(wire)))
    assert passed == wire
    assert watching.frames == len(items)
    assert watching.error is None and watching.closed == parser.closed


@each_codec
@pytest.mark.parametrize("seed", range(150))
def test_the_same_is_seen_as_by_the_parser(codec: ModuleType, seed: int) -> None:
    dice = random.Random(seed)
    strict = dice.choice((True, "hop"))
    options: dict[str, Any] = {"masked": True, "strict": strict, "max_frame_size": dice.choice((None, 65535, 126))}
    stream = noise(dice)
    parser, watching = codec.FrameParser(**options), watcher(codec, **options)
    items, passed = [], b""
    for data in pieces(stream, dice):
        items += parser.feed(data)
        passed += watching.pass_on(bytearray(data) if dice.random() < 0.5 else data)
        assert watching.frames == len(items)
        assert watching.closed == parser.closed
        assert str(watching.error) == str(parser.error)
        assert type(watching.error) is type(parser.error)
    assert stream.startswith(passed)
    if watching.closed:
        assert watching.close_payload == items[-1].payload
        assert watching.pass_on(b"more") == b""
    elif watching.error is None:
        assert passed + watching.rest() == stream
        assert watching.rest() == b""


@each_codec
@pytest.mark.parametrize("seed", range(50))
def test_both_builds_do_the_same_with_anything(codec: ModuleType, seed: int) -> None:
    """Without ``strict`` everything passes."""
    dice = random.Random(seed)
    stream = noise(dice).replace(close_frame(1000, "bye"), b"") + dice.randbytes(200)
    watching = watcher(codec, strict=False)
    other = watcher(CODECS["py"], strict=False)
    for data in pieces(stream, dice):
        assert watching.pass_on(data) == other.pass_on(data)
        assert (watching.frames, watching.missing, watching.closed) == (other.frames, other.missing, other.closed)
        assert watching.close_payload == other.close_payload
        assert watching.error is None


@each_codec
def test_limits_hold_without_strict(codec: ModuleType) -> None:
    watching = watcher(codec, strict=False, max_frame_size=10)
    assert watching.pass_on(frame(TEXT, b"x" * 10) + frame(PING, b"x" * 11)) == frame(TEXT, b"x" * 10)
    assert isinstance(watching.error, FrameTooBig)
    assert watching.pass_on(b"more") == b""


@each_codec
def test_a_long_close_is_not_kept(codec: ModuleType) -> None:
    data = frame(CLOSE, b"\x03\xe8" + b"x" * 100_000)
    watching = watcher(codec, strict=False)
    assert watching.pass_on(data[:5000]) + watching.pass_on(data[5000:] + b"behind") == data
    assert watching.closed
    assert watching.close_payload == b"\x03\xe8" + b"x" * 123


@each_codec
def test_a_length_that_cannot_be(codec: ModuleType) -> None:
    data = b"\x82\xff\x80" + bytes(7) + b"abcd"
    watching = watcher(codec, strict=False)
    assert watching.pass_on(data) + watching.pass_on(b"more") == data + b"more"
    refusing = watcher(codec, strict="hop")
    assert refusing.pass_on(data) == b""
    assert isinstance(refusing.error, ProtocolViolation)


@each_codec
@pytest.mark.parametrize("cut", [1, 4, 7, 100, 20_000, 70_013])
def test_it_goes_on_where_a_parser_stops(codec: ModuleType, cut: int) -> None:
    stream = frame(TEXT, b"Hel", fin=False) + frame(BINARY, b"x" * 70_000, mask=b"\x01\x02\x03\x04") + frame(0, b"lo")
    stream = stream[: len(frame(TEXT, b"Hel"))] + frame(PING, b"p") + stream[len(frame(TEXT, b"Hel")) :]
    cut = min(len(frame(TEXT, b"Hel")) + cut, len(stream) - 1)
    parser = codec.FrameParser(strict="hop")
    items = parser.feed(stream[:cut])
    message, missing, begun, later = parser.detach()
    assert not parser.mid_frame and parser.feed(b"") == []
    watching = codec.FrameWatcher(parser, message, missing)
    passed = begun + watching.pass_on(later) + watching.pass_on(stream[cut:])
    as_received = load("c" if codec is CODECS.get("c") else "py", "wire.as_received").as_received
    assert b"".join(map(as_received, items)) + passed == stream
    assert len(items) + watching.frames == 4


@each_codec
def test_arguments(codec: ModuleType) -> None:
    with pytest.raises(ValueError, match="length is 5"):
        watcher(codec).pass_on(b"abcd", 5)
    with pytest.raises(TypeError):
        watcher(codec).pass_on("text")
    assert watcher(codec).pass_on(frame(TEXT, b"x") + b"more", 7) == frame(TEXT, b"x")
    with pytest.raises(AttributeError):
        codec.FrameWatcher.__new__(codec.FrameWatcher).pass_on(b"x")
