"""What ``receive()`` and ``send()`` return, compiled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.codec import COMPILED

if TYPE_CHECKING or not COMPILED:
    from ._awaitables_py import done, receiving, step, wake
else:
    from ._awaitables_c import done, receiving, step, wake

__all__ = ["done", "receiving", "step", "wake"]
