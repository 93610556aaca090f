"""Texts that people read: docstrings of the package and of the demos, and the docs. CONTRIBUTING.md, "Style", says how.

Only what a program can find is tested: words that have a plainer one, and sentences whose subject is a clause.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("aiohttp_rawws", "demos") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(path for path in (ROOT / "docs").rglob("*.md") if path.stem != "autobahn")])
PLAINER = {
    r"\b(told|tells?)\b": "report, say, call, know",
    r"\bhand(s|ed|ing)? over\b": "deliver",
    r"\bfarewell\b": "close, end of the connection",
    r"\bfor ever\b(?!y)": "forever",
    # The clause is the subject: "What was sent is delivered". A question may begin so.
    r"(?:\A|(?<=[.:] )|\n *)(What|Whether|Who|Whoever|Whatever)\b(?![^.]*\?)": "a noun first; True if, for a property",
}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """The strings that stand alone in a module: those of it, its classes and functions, and those behind a name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    """The text of a page, without code, headings and quoted words."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|^ {4}.*?$|^#.*?$|`[^`\n]*`|\"[^\"\n]*\"", _blank, text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.finditer(r"(?:^.*\S.*\n?)+", text, flags=re.MULTILINE):
        yield text.count("\n", 0, paragraph.start()) + 1, paragraph[0]


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"\S", "_", match[0])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=name)
def test_plain_words(path: Path) -> None:
    found = []
    for line, text in docstrings(path) if path.suffix == ".py" else paragraphs(path):
        for pattern, better in PLAINER.items():
            for match in re.finditer(pattern, text):
                at = line + text.count("\n", 0, match.start())
                found.append(f"line {at}: {match[0].strip()!r}, better: {better}")
    assert not found, "\n".join([name(path), *found])


def test_of_this_test() -> None:
    bad = [
        "What was sent is kept.",
        "Kept. What is not, is lost.",
        "Args:\n  x: Whether it is.",
        "he is told",
        "for ever",
    ]
    good = ["What is that?", "True if it is.", "It knows what was sent.", "for every frame"]
    assert all(any(re.search(pattern, text) for pattern in PLAINER) for text in bad)
    assert not any(re.search(pattern, text) for pattern in PLAINER for text in good)
