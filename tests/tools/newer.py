"""Names that came with Python 3.11. Type checkers read the tests as on Python 3.10, which lacks them."""

from __future__ import annotations

import asyncio
import builtins
import sys
from typing import Any

import pytest

needs_groups = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="exception groups and Task.cancelling() are of Python 3.11 or newer"
)

TaskGroup: Any = getattr(asyncio, "TaskGroup", None)
ExceptionGroup: Any = getattr(builtins, "ExceptionGroup", None)
BaseExceptionGroup: Any = getattr(builtins, "BaseExceptionGroup", None)
