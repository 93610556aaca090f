"""docs/explanation/security.md names tests; they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/explanation/security.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/\w+\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("test", TESTS)
def test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    assert not name or name in names


def test_each_promise_names_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| promised", "|---"))]
    assert len(rows) > 25
    for row in rows:
        assert "`tests/" in row.split("|")[-2], row
