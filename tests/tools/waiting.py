"""Waiting in tests: for a fact, with a limit that only a fault reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait until ``condition()`` holds.

    Args:
        condition: Called again and again.
        within: Seconds after which the test fails. Default: 10.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within
    while not condition():
        if loop.time() > until:
            raise AssertionError(f"it was not so within {within:g} seconds")
        await asyncio.sleep(0.01)


async def settle(rounds: int = 10) -> None:
    """Let what is ready run, and what that makes ready, so many times. No time has to pass."""
    for _ in range(rounds):
        await asyncio.sleep(0)
