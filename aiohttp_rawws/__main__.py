"""``python -m aiohttp_rawws`` prints what a report of a bug needs: versions, the core, the event loop, zlib."""

from __future__ import annotations

import asyncio
import os
import platform
import zlib
from importlib.metadata import PackageNotFoundError, version

from aiohttp import compression_utils, http_parser

from . import COMPILED, __version__
from ._build import PYTHON_ONLY, VARIABLES

REQUIRED = ("yarl", "multidict")
OPTIONAL = ("uvloop", "aiofastnet", "isal", "zlib-ng")  # they make a server faster, if it is set up to use them


def version_of(distribution: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def core() -> str:
    """Return which build runs, and why."""
    if COMPILED:
        return "compiled core"
    return f"Python core ({VARIABLES[0]} is set)" if PYTHON_ONLY else "Python core (there is no compiled one)"


def event_loop() -> str:
    """Return the class of the loop that ``asyncio.run()`` makes here."""
    loop = asyncio.new_event_loop()
    try:
        return f"{type(loop).__module__}.{type(loop).__qualname__}"
    finally:
        loop.close()


def zlib_backend() -> str:
    """Return the name of the module that aiohttp, and so permessage-deflate, compresses with."""
    backend = getattr(compression_utils, "ZLibBackend", None)  # aiohttp has it since 3.12
    name = getattr(backend, "name", "zlib")
    return f"{name} {zlib.ZLIB_RUNTIME_VERSION}" if name == "zlib" else str(name)


def report() -> str:
    """Return the report, one fact a line."""
    parser = http_parser.HttpRequestParser
    facts = {
        "aiohttp_rawws": f"{__version__}, {core()}",
        "aiohttp": f"{version_of('aiohttp')}, {'Python' if parser is http_parser.HttpRequestParserPy else 'C'} parser",
        "with": ", ".join(f"{name} {version_of(name)}" for name in REQUIRED),
        "Python": f"{platform.python_version()}, {platform.python_implementation()}",
        "platform": platform.platform(),
        "event loop": f"{event_loop()} (the default)",
        "zlib": f"{zlib_backend()} (the default)",
    }
    found = {name: version_of(name) for name in OPTIONAL}
    facts["installed"] = ", ".join(f"{name} {value}" for name, value in found.items() if value) or "-"
    facts["not installed"] = ", ".join(name for name, value in found.items() if not value) or "-"
    facts["environment"] = ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "-"
    return "\n".join(f"{name:<14} {value}" for name, value in facts.items())


if __name__ == "__main__":
    print(report())
