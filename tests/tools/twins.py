"""The Python core beside the compiled one, in one process: the package once more, under a name of its own.

Modules with one source in any build are shared, so that both copies raise the same errors and use the same opcodes.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import aiohttp_rawws
from aiohttp_rawws import _build

COPY = "aiohttp_rawws_python"
SHARED = ("errors", "wire.codes", "wire.chunks", "wire._shared")


def _install_copy() -> None:
    package = ModuleType(COPY)
    package.__path__ = list(aiohttp_rawws.__path__)
    sys.modules[COPY] = package
    sys.meta_path.insert(0, _build.PythonOnly(COPY))
    for module in SHARED:
        sys.modules[f"{COPY}.{module}"] = importlib.import_module(f"{aiohttp_rawws.__name__}.{module}")


# By the ids that tests have for them. Without the compiled core there is one only.
BUILDS = {"py": aiohttp_rawws.__name__}
if _build.COMPILED:
    _install_copy()
    BUILDS = {"py": COPY, "c": aiohttp_rawws.__name__}


def load(build: str, module: str) -> ModuleType:
    """A module of that build, such as ``load("py", "wire.codec")``."""
    return importlib.import_module(f"{BUILDS[build]}.{module}")


CODECS = {build: load(build, "wire.codec") for build in BUILDS}
