"""Type checkers accept a user's programs, refuse a user's mistakes, and know the type of every public name.

Both checkers run in their strict modes over ``programs/`` and the program of the README. A line that ends with
``# refused`` holds a mistake. The checkers must report these lines and no others.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
OLDEST = "3.10"  # the Python whose features a program may use

pytestmark = pytest.mark.timeout(300)  # a checker reads aiohttp first

Error = tuple[str, int, str]  # file, line, text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The programs, beside no other module of ours, as those of a user are."""
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^<!-- runnable -->\n```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "readme.py").write_text(block[1], encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=280,
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr  # 1: there are errors
    return result.stdout


def mypy(folder: Path) -> Iterator[Error]:
    cache = str(ROOT / "build" / "mypy-programs")
    settings = ("--config-file=", "--strict", f"--python-version={OLDEST}", f"--cache-dir={cache}", "--output=json")
    for line in run(folder, "mypy", *settings, ".", MYPYPATH=str(ROOT)).splitlines():
        error: dict[str, Any] = json.loads(line)
        if error["severity"] == "error":
            yield error["file"], error["line"], error["message"]


def pyright(folder: Path) -> Iterator[Error]:
    settings = {"typeCheckingMode": "strict", "pythonVersion": OLDEST, "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    report = json.loads(run(folder, "basedpyright", f"--pythonpath={sys.executable}", "--outputjson"))
    for error in report["generalDiagnostics"]:
        if error["severity"] == "error":
            yield error["file"], error["range"]["start"]["line"] + 1, error["message"]


@pytest.mark.parametrize("checker", [mypy, pyright], ids=lambda checker: checker.__name__)
def test_programs(folder: Path, checker: Any) -> None:
    found = {((folder / file).name, line): text for file, line, text in checker(folder)}
    mistakes = {
        (program.name, number)
        for program in folder.glob("*.py")
        for number, line in enumerate(program.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }
    assert len(mistakes) > 20
    refused = {place: text for place, text in found.items() if place not in mistakes}
    accepted = sorted(mistakes - set(found))
    assert (refused, accepted) == ({}, [])


def test_every_name_has_a_type(tmp_path: Path) -> None:
    """No type is left to be inferred, which each checker would do in its own way."""
    path = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])  # pyright does not find an editable install
    command = ("basedpyright", "--verifytypes", "aiohttp_rawws", "--ignoreexternal", "--outputjson")
    report = json.loads(run(tmp_path, *command, PYTHONPATH=path))["typeCompleteness"]
    missing = {
        symbol["name"]: [each["message"] for each in symbol["diagnostics"]]
        for symbol in report["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"]
    }
    assert missing == {}
    assert len(report["symbols"]) > 1000
    assert report["completenessScore"] == 1
