"""The connection as a protocol of the loop: the hot half, compiled or not, made an ``asyncio.BufferedProtocol``.

asyncio and aiofastnet ask ``isinstance(protocol, BufferedProtocol)``, so the base class has to be a real one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..wire.codec import COMPILED

if TYPE_CHECKING or not COMPILED:
    from ._connection import ConnectionCore
else:
    from ._connection_c import ConnectionCore


class Connection(ConnectionCore, asyncio.BufferedProtocol):
    """What ``transport.set_protocol()`` gets."""

    __slots__ = ()
