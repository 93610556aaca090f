"""Memory of payloads that is used again: nobody else may still have it, and nothing of the old payload may show."""

from __future__ import annotations

import ctypes
import random
import sys
from types import ModuleType

import pytest

from aiohttp_rawws import _build
from aiohttp_rawws.wire import codec as used
from aiohttp_rawws.wire.payload_pool import pooled_bytes

from .vectors import codec_fixture  # noqa: F401

KIB, MIB = 1024, 1024 * 1024
SIZES = [32 * KIB - 1, 32 * KIB, 65535, 65536, 100_000, MIB - 1, MIB, MIB + 1, 3 * MIB, 4 * MIB, 4 * MIB + 1]
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
compiled = pytest.mark.skipif(
    not _build.COMPILED or FREE_THREADED, reason="the Python core keeps no memory of payloads"
)


def parsed(codec: ModuleType, payload: bytes, *, cut: int | None = None, masked: bool = False) -> bytes:
    """``payload`` as it comes out of a parser.

    Args:
        codec: The codec.
        payload: What is sent.
        cut: Bytes that are fed at once; after that, the parser's target is written to. Default: None (all is fed).
        masked: It comes masked. Default: False.
    """
    encoder = codec.FrameEncoder(masking=masked)
    wire = encoder.encode(codec.Frame.binary(payload))
    parser = codec.FrameParser(masked=masked)
    frames = parser.feed(wire[:cut])
    rest = memoryview(wire)[len(wire) if cut is None else cut :]
    while rest:
        target = parser.target()
        if target is None:
            frames += parser.feed(rest)
            break
        count = min(len(target), len(rest), 100_000)
        target[:count] = rest[:count]
        del target
        frames += parser.advance(count)
        rest = rest[count:]
    (frame,) = frames
    received: bytes = frame.payload
    return received


def filled(size: int, number: int) -> bytes:
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("cut", [None, 5, 20_000], ids=["whole", "header first", "in part"])
@pytest.mark.parametrize("size", SIZES)
def test_what_somebody_still_has_is_left_alone(codec: ModuleType, size: int, cut: int | None, masked: bool) -> None:
    kept = [parsed(codec, filled(size, number), cut=cut, masked=masked) for number in range(3)]
    views = [memoryview(parsed(codec, filled(size, number), cut=cut, masked=masked)) for number in range(3, 6)]
    keys = {parsed(codec, filled(size, number), cut=cut, masked=masked): number for number in range(6, 9)}
    for number in range(9, 20):
        assert parsed(codec, filled(size, number), cut=cut, masked=masked) == filled(size, number)
    assert kept == [filled(size, number) for number in range(3)]
    assert [bytes(view) for view in views] == [filled(size, number) for number in range(3, 6)]
    assert [keys[filled(size, number)] for number in range(6, 9)] == [6, 7, 8]


@pytest.mark.parametrize("masking", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("size", SIZES)
def test_encoded_frames_that_somebody_still_has_are_left_alone(codec: ModuleType, size: int, masking: bool) -> None:
    """A transport may keep what it was given until the peer takes it."""
    encoder = codec.FrameEncoder(masking=masking)
    kept = [encoder.encode(codec.Frame.binary(filled(size, number))) for number in range(20)]
    views = [memoryview(encoder.encode(codec.Frame.binary(filled(size, number)))) for number in range(20, 23)]
    for number in range(23, 40):
        encoder.encode(codec.Frame.binary(filled(size, number)))
    for number, wire in enumerate([*kept, *views]):
        parser = codec.FrameParser(masked=masking, max_frame_size=None)
        (frame,) = parser.feed(wire)
        assert frame.payload == filled(size, number)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_of_the_old_payload_shows(codec: ModuleType, size: int) -> None:
    for number, length in enumerate([size, size - 1, size * 3 // 4, size // 2 + 1, size]):
        expected = filled(length, number)
        payload = parsed(codec, expected, cut=20_000)
        assert (len(payload), payload, hash(payload)) == (length, expected, hash(expected))
        assert ctypes.string_at(payload, length + 1) == expected + b"\0"  # C code relies on the zero behind bytes
        assert payload + b"x" == expected + b"x"
        del payload


def test_random_lives(codec: ModuleType) -> None:
    """Payloads of random sizes, of which random ones are kept for a while."""
    random_numbers = random.Random(20261127)
    kept: dict[int, tuple[bytes, int]] = {}
    for number in range(400):
        size = random_numbers.choice([40_000, 65536, 70_000, 200_000, MIB])
        size -= random_numbers.randrange(0, 5)
        cut = random_numbers.choice([None, 10, 30_000])
        kept[number] = parsed(codec, filled(size, number), cut=cut, masked=bool(number % 2)), size
        while len(kept) > 20:
            gone = random_numbers.choice(list(kept))
            payload, length = kept.pop(gone)
            assert payload == filled(length, gone)
    for gone, (payload, length) in kept.items():
        assert payload == filled(length, gone)


@compiled
@pytest.mark.parametrize("size", [32 * KIB, 65536, MIB, 4 * MIB])
def test_memory_is_used_again(size: int) -> None:
    addresses = set()
    for number in range(10):
        payload = parsed(used, filled(size, number), cut=20_000)
        addresses.add(id(payload))
        del payload
    assert len(addresses) <= 2


@compiled
def test_the_pool_is_bounded() -> None:
    for number in range(200):
        parsed(used, filled(random.Random(number).randrange(32 * KIB, 5 * MIB), number), cut=20_000)
        assert pooled_bytes() <= 16 * MIB


@compiled
def test_kept_payloads_do_not_fill_the_pool_for_good() -> None:
    kept = [parsed(used, filled(65536, number)) for number in range(100)]
    addresses = set()
    for number in range(20):
        payload = parsed(used, filled(65536, number))
        addresses.add(id(payload))
        del payload
    assert len(addresses) <= 2
    assert kept == [filled(65536, number) for number in range(100)]


def test_the_python_core_keeps_nothing() -> None:
    assert _build.COMPILED or pooled_bytes() == 0
