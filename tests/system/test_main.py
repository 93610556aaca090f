"""``python -m aiohttp_rawws``, which a report of a bug begins with."""

from __future__ import annotations

import subprocess
import sys
import zlib
from importlib.metadata import version

import pytest

import aiohttp_rawws as rawws

from ..tools.environment import environment


def report(before: str = "", **variables: str) -> dict[str, str]:
    """The report of a new process, after the statements ``before``."""
    script = f"{before}\nimport runpy; runpy.run_module('aiohttp_rawws', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    return {line[:14].rstrip(): line[15:] for line in lines}


def test_what_it_prints() -> None:
    facts = report()
    kind = "compiled core" if rawws.COMPILED else "Python core"
    assert facts["aiohttp_rawws"].startswith(f"{rawws.__version__}, {kind}")
    assert facts["aiohttp"].startswith(version("aiohttp"))
    assert facts["aiohttp"].endswith((", C parser", ", Python parser"))
    assert facts["with"] == f"yarl {version('yarl')}, multidict {version('multidict')}"
    assert facts["Python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert facts["event loop"].startswith("asyncio.")
    assert facts["zlib"] == f"zlib {zlib.ZLIB_RUNTIME_VERSION} (the default)"
    assert "uvloop" in facts["installed"] + facts["not installed"]
    assert facts["platform"]


def test_as_a_program() -> None:
    command = [sys.executable, "-m", "aiohttp_rawws"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith(f"aiohttp_rawws  {rawws.__version__}, ")
    assert not done.stderr


def test_the_core_that_was_switched_off() -> None:
    facts = report(AIOHTTP_RAWWS_NO_EXTENSIONS="1")
    assert facts["aiohttp_rawws"] == f"{rawws.__version__}, Python core (AIOHTTP_RAWWS_NO_EXTENSIONS is set)"
    assert facts["environment"] == "AIOHTTP_RAWWS_NO_EXTENSIONS=1"


def test_what_was_chosen_instead_of_the_defaults() -> None:
    pytest.importorskip("uvloop")
    facts = report("import asyncio, uvloop; asyncio.new_event_loop = uvloop.new_event_loop")
    assert facts["event loop"] == "uvloop.Loop (the default)"


def test_another_zlib() -> None:
    pytest.importorskip("isal")
    facts = report("import aiohttp, isal.isal_zlib; aiohttp.set_zlib_backend(isal.isal_zlib)")
    assert facts["zlib"] == "isal.isal_zlib (the default)"
