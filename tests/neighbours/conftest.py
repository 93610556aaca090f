from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough for Unix sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="rawws-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
