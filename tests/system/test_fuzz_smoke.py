"""The fuzz targets over their corpus, and for a moment at random; ``make fuzz`` takes longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..fuzz.mutate import corpus, run
from ..fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
COUNT = 1000  # the same inputs in every run


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    seeds = corpus(name)
    assert len(seeds) >= 5
    for seed in seeds:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment(name: str) -> None:
    assert run(TARGETS[name], corpus(name), count=COUNT) == COUNT


def test_command() -> None:
    """With atheris if it is installed; it says how many inputs there were."""
    command = [sys.executable, "-m", "tests.fuzz", "header", "--seconds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("header: ") and not done.stdout.startswith("header: 0 ")
