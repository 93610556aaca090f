"""A test that hangs fails, whatever it hangs in. Its process lives on and runs the tests behind it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HANGING = """
import asyncio, threading, time
import pytest
from hypothesis import given, strategies as st

BEGAN = time.monotonic()

def test_sync():
    threading.Event().wait()

def test_sync_that_catches_everything():
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass

async def test_async_in_a_callback():
    asyncio.get_running_loop().call_soon(time.sleep, 60)
    await asyncio.sleep(60)

async def test_async():
    await asyncio.Event().wait()

@pytest.mark.timeout(30)
async def test_async_with_a_limit_of_the_loop():
    await asyncio.Event().wait()

@pytest.mark.timeout(30)
@pytest.mark.loops("clock")
async def test_async_on_the_clock():
    await asyncio.Event().wait()

async def test_async_that_refuses_to_end():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if time.monotonic() > BEGAN + 3:
                raise

@pytest.fixture
async def hanging():
    await asyncio.Event().wait()

async def test_async_fixture(hanging):
    pass

def test_async_of_another_kind():
    asyncio.run(asyncio.sleep(60))

@given(st.integers())
def test_hypothesis(number):
    threading.Event().wait()

@given(st.lists(st.integers()))
def test_hypothesis_that_also_fails(numbers):
    if len(numbers) > 3:
        threading.Event().wait()
    assert len(numbers) < 3

@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", range(20))
def test_fine(number):
    pass
"""
CONFTEST = """
from tests import conftest
from tests.tools import time_limit
conftest.LIMIT = 1.0  # more than the limit on any test, so that only those reach it that ask for 30 seconds
time_limit.AGAIN = 0.2
"""
INI = """
[pytest]
timeout = 0.5
asyncio_mode = auto
"""


@pytest.mark.skipif(
    not hasattr(signal, "SIGALRM"), reason="this system has no SIGALRM (Unix has): pytest-timeout ends the process here"
)
@pytest.mark.timeout(120)
def test_hanging_tests(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rA"]
    options = ["--rootdir", str(tmp_path), "-c", str(tmp_path / "pytest.ini"), str(tmp_path)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=100)
    said = done.stdout
    assert len(re.findall(r"^PASSED .*test_fine", said, re.MULTILINE)) == 20, said
    failed = re.findall(r"^(?:FAILED|ERROR) .*::(\w+)", said, re.MULTILINE)
    assert set(failed) == set(re.findall(r"def (test_\w+)", HANGING)) - {"test_fine"}, said
    assert "crashed" not in said and "replacing" not in said, said
