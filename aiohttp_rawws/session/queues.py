"""The queues, compiled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.codec import COMPILED

if TYPE_CHECKING or not COMPILED:
    from ._queues import IncomingQueue, OutgoingQueue, Receiver
else:
    from ._queues_c import IncomingQueue, OutgoingQueue, Receiver

__all__ = ["IncomingQueue", "OutgoingQueue", "Receiver"]
