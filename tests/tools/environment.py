"""The environment of a process that a test starts."""

from __future__ import annotations

import os

from aiohttp_rawws._build import VARIABLES

NO_EXTENSIONS, REQUIRE_COMPILED = VARIABLES


def environment(**variables: str) -> dict[str, str]:
    """Return that of this process, changed by ``variables``. They may ask for the Python core, whatever CI requires."""
    changed = os.environ | variables
    if changed.get(NO_EXTENSIONS):
        changed.pop(REQUIRE_COMPILED, None)
    return changed
