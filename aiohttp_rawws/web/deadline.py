"""A limit of time for what an application does in the opening handshake."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class HandshakeTimeout(Exception):
    """What ``within()`` raises."""


async def within(timeout: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await ``coroutine``; after ``timeout`` seconds it is cancelled, and HandshakeTimeout raised.

    A TimeoutError of its own stays what it is, from Python 3.11 on.
    """
    if sys.version_info >= (3, 11):
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await coroutine
        except TimeoutError:
            if deadline.expired():
                raise HandshakeTimeout from None
            raise
    else:
        try:
            return await asyncio.wait_for(coroutine, timeout)
        except asyncio.TimeoutError:
            raise HandshakeTimeout from None
