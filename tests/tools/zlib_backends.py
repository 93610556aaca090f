"""The modules of zlib's kind that are installed, for ``@pytest.fixture(params=BACKENDS)``."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from typing import Any

import pytest


def installed() -> Iterator[Any]:
    yield pytest.param(zlib, id="zlib")
    for module in ("isal.isal_zlib", "zlib_ng.zlib_ng"):
        try:
            yield pytest.param(importlib.import_module(module), id=module.partition(".")[0])
        except ImportError:
            continue  # a speedup that is not installed


BACKENDS = list(installed())
