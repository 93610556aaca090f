"""Streams of 256 MiB in constant memory (S1), against a peer of plain sockets in a process of its own.

The same with 10 GB is a part of ``make soak``.
"""

from __future__ import annotations

import itertools

import pytest

from aiohttp_rawws._build import COMPILED

from ..soak import streams

SIZE = (256 if COMPILED else 32) * 2**20  # the Python core has a tenth of the speed
WAYS = [
    *itertools.product(("raw", "managed"), ("server",), streams.PEERS),
    *itertools.product(("managed",), ("client",), ("one frame", "sent in one frame")),
    ("pieces", "server", "one frame"),
]


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize(("kind", "role", "way"), WAYS)
async def test_s1_memory_is_constant(kind: str, role: str, way: str) -> None:
    """``run_way()`` checks each byte, and that the resident memory of this process stays within 16 MiB."""
    await streams.run_way(kind, role, way, SIZE)
