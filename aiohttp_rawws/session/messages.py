"""The message assembler, compiled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.codec import COMPILED

if TYPE_CHECKING or not COMPILED:
    from ._messages import MessageAssembler, check_whole
else:
    from ._messages_c import MessageAssembler, check_whole

__all__ = ["MessageAssembler", "check_whole"]
