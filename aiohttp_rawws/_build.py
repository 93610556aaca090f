"""Which build of the core runs: compiled modules, or the same modules in Python. Nothing else knows or asks.

A compiled module has the name of its Python source and lies beside it, so that Python's own import prefers it. No
compiled module at all means Python. One that cannot be loaded, or a set that is not complete, is an ImportError: a core
that is silently slow would be worse. With AIOHTTP_RAWWS_REQUIRE_COMPILED=1 no compiled module at all is one, too.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

PACKAGE = "aiohttp_rawws"
ROOT = Path(__file__).resolve().parent

# The only list of them, in the order of their imports; setup.py reads it too. If there is a .pyx, that is the source.
MODULES = (
    "wire.masking_keys",
    "wire.masking",
    "wire.headers",
    "wire.frames",
    "wire.header_reader",
    "wire.payload_pool",
    "wire.open_frame",
    "wire.parser",
    "wire.watcher",
    "wire.encoder",
    "session.queues",
    "session.endpoint",
    "session.awaitables",
    "session.life",
    "session.send_queue",
    "session.outgoing",
    "session.reading",
    "session.incoming",
    "session.incoming_chunks",
    "session.ending",
    "session.streaming",
    "session.connection",
    "session.relay",
    "session.frame_passing",
    "session.frame_relay",
    "session.surface",
    "session.part_surface",
    "session.raw_sending",
    "session.raw_receiving",
    "session.raw",
    "session.messages",
    "session.managed_life",
    "session.managed_messages",
    "session.managed_receiving",
    "session.managed_sending",
    "session.managed",
)

VARIABLES = ("AIOHTTP_RAWWS_NO_EXTENSIONS", "AIOHTTP_RAWWS_REQUIRE_COMPILED")
PYTHON_ONLY, REQUIRED = (bool(os.environ.get(name)) for name in VARIABLES)
BUILD_IT = "Build it again (make compile, or pip install)"


def stem(module: str) -> Path:
    """Where ``module`` lies, less its suffix."""
    return ROOT.joinpath(*module.split("."))


def compiled_file(module: str) -> Path | None:
    """The file that Python would load for ``module`` instead of its source, None if it has not been compiled."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = stem(module).with_name(stem(module).name + suffix)
        if path.exists():
            return path
    return None


class PythonOnly:
    """A finder that takes the Python source of MODULES, whether or not they have been compiled."""

    def __init__(self, package: str = PACKAGE) -> None:
        self._sources = {f"{package}.{module}": stem(module).with_suffix(".py") for module in MODULES}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        source = self._sources.get(name)
        return None if source is None else importlib.util.spec_from_file_location(name, source)


def choose() -> bool:
    """Settle which build runs.

    Returns:
        True for the compiled one.

    Raises:
        ImportError: There is half a core, or none and one is required; or the variables contradict each other.
    """
    if PYTHON_ONLY:
        if REQUIRED:
            raise ImportError(f"{' and '.join(VARIABLES)} are both set, and contradict each other: unset one of them")
        sys.meta_path.insert(0, PythonOnly())
        return False
    missing = [module for module in MODULES if compiled_file(module) is None]
    if missing and len(missing) < len(MODULES):
        raise ImportError(
            f"the compiled core of {PACKAGE} is not complete: {', '.join(missing)} is missing. {BUILD_IT}, "
            "remove it, or set AIOHTTP_RAWWS_NO_EXTENSIONS=1 to run without it."
        )
    if missing and REQUIRED:
        raise ImportError(
            f"AIOHTTP_RAWWS_REQUIRE_COMPILED is set, and {PACKAGE} in {ROOT} has no compiled core for Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}. {BUILD_IT}, or unset the variable to run without it."
        )
    return not missing


COMPILED = __name__ == f"{PACKAGE}._build" and choose()
