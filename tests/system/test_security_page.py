"""docs/explanation/security.md names tests; they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/security.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("test", TESTS)
def test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    assert not name or name in names


def test_each_promise_names_one() -> None:
    promises = [
        promise
        for section in re.findall(r"^Promised:\n\n(.*?)^\n", PAGE, re.MULTILINE | re.DOTALL)
        for promise in re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    ]
    assert len(promises) > 25
    for promise in promises:
        assert "`tests/" in promise, promise
