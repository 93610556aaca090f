"""Random inputs made from a corpus: a simple fuzzer, used if atheris is not installed."""

from __future__ import annotations

import random
import time
from pathlib import Path

from .targets import Target

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 2048


def corpus(name: str) -> list[bytes]:
    """The seeds of target ``name``."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutated(seeds: list[bytes], dice: random.Random) -> bytes:
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.randint(1, 5)):
        at = dice.randint(0, len(data))
        match dice.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << dice.randrange(8)
            case 1 if data:
                data[at % len(data)] = dice.choice((0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
            case 2:
                del data[at : at + dice.randint(1, 8)]
            case 3:
                data[at:at] = dice.randbytes(dice.randint(1, 8))
            case 4:
                data[at:at] = dice.choice(seeds)
            case 5:
                data[at:at] = data[at : at + dice.randint(1, 30)]
            case _:
                del data[at:]
    return bytes(data[:LONGEST])


def run(target: Target, seeds: list[bytes], *, seconds: float = 0.0, count: int = 0, seed: int = 0) -> int:
    """Call ``target`` with random inputs for so long or so often; returns how often. An input that fails is in the
    error raised."""
    dice = random.Random(seed)
    until = time.monotonic() + seconds
    executions = 0
    while executions < count or time.monotonic() < until:
        data = mutated(seeds, dice)
        try:
            target(data)
        except Exception as exc:
            raise AssertionError(f"{target.__name__}({data!r})") from exc
        executions += 1
    return executions
