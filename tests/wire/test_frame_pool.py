"""The memory of frames that is kept for new ones (compiled build only), against subclasses of every kind."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiohttp_rawws import Frame, _build

needs_core = pytest.mark.skipif(not _build.COMPILED, reason="the Python build keeps no memory of frames")

MODULE = """
from aiohttp_rawws.wire.frames cimport Frame

cdef class Larger(Frame):
    cdef double room[64]

cdef class Collected(Frame):
    cdef public object other

cdef class Plain(Frame):
    pass
"""
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
setup(name="mine", ext_modules=cythonize([Extension("mine", ["mine.pyx"])], language_level=3))
"""
RUN = """
import gc, sys
import mine
from aiohttp_rawws import Frame

class InPython(Frame):
    pass

for kind in (mine.Larger, mine.Collected, mine.Plain, InPython):
    for _ in range(3):
        frames = [Frame(2, b"y") for _ in range(400)]
        del frames  # their memory is kept
        held = [kind(2, b"x") for _ in range(400)]
        others = [Frame(2, b"z%d" % number) for number in range(400)]
        if kind is mine.Collected:
            for frame in held:
                frame.other = [frame]  # a cycle
        assert all(type(frame) is kind and frame.payload == b"x" for frame in held), kind
        assert all(type(frame) is Frame and frame.payload == b"z%d" % number for number, frame in enumerate(others))
        frame = held = others = None
        gc.collect()
"""


@needs_core
@pytest.mark.skipif(importlib.util.find_spec("Cython") is None, reason="needs Cython")
def test_subclasses_in_c_have_memory_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mine.pyx").write_text(MODULE)
    (tmp_path / "setup.py").write_text(SETUP)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(_build.ROOT.parent)))}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    built = subprocess.run(build, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)
    if built.returncode:
        pytest.skip(f"there is no compiler: {built.stderr[-300:]}")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", RUN],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr


def test_more_frames_than_are_kept() -> None:
    for _ in range(3):
        frames = [Frame(2, b"%d" % number) for number in range(2000)]
        assert all(frame.payload == b"%d" % number for number, frame in enumerate(frames))
        del frames
