"""Writes the tables of ``aiohttp_rawws/session/phases.py`` into ``docs/explanation/lifecycle.md``.

``python -m tests.tools.lifecycle`` does it; ``session/test_phases.py`` fails if the page differs. On the page each
table stands between two comments, ``<!-- NAME -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping
from enum import IntEnum
from itertools import pairwise
from pathlib import Path

from aiohttp_rawws.session.phases import (
    ALWAYS,
    CALLS,
    CONNECTION_MOVES,
    RECEIVE_MOVES,
    SEND_MOVES,
    ConnectionPhase,
    Event,
    Outcome,
    ReceivePhase,
    SendPhase,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "lifecycle.md"
SOURCE = ROOT / "aiohttp_rawws" / "session" / "phases.py"
SIDES: dict[str, tuple[type[IntEnum], Mapping[int, Mapping[Event, IntEnum]]]] = {
    "receiving": (ReceivePhase, RECEIVE_MOVES),
    "sending": (SendPhase, SEND_MOVES),
    "connection": (ConnectionPhase, CONNECTION_MOVES),
}
ONLY = {"both": "", "raw": ", raw", "managed": ", managed"}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def meanings(side: type[IntEnum]) -> str:
    """The members of an enum, with the strings that stand under them in its source."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == side.__name__)
    rows = []
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            name = member.targets[0]
            assert isinstance(name, ast.Name) and isinstance(text.value, ast.Constant)
            rows.append([f"`{name.id}`", str(text.value.value)])
    assert len(rows) == len(side)
    return table(["phase", "meaning"], rows)


def moves(side: type[IntEnum], table_of_moves: Mapping[int, Mapping[Event, IntEnum]]) -> str:
    rows = []
    movable = [phase for phase in side if table_of_moves[phase]]
    for event in Event:
        cells = [table_of_moves[phase].get(event) for phase in movable]
        if any(cell is not None for cell in cells):
            rows.append([event.value, *("" if cell is None else cell.name for cell in cells)])
    return table(["event", *(f"in {phase.name}" for phase in movable)], rows)


def calls(side: type[IntEnum]) -> str:
    rows = []
    for call in CALLS:
        if call.side is side:
            name = f"`{call.name}`{ONLY[call.sessions]}"
            rows.append([name, *(outcome.name.lower() for outcome in (call.first, call.second, call.third)), call.note])
    return table(["call", *(f"in {phase.name}" for phase in side), ""], rows)


def outcomes() -> str:
    return table(["word", "meaning"], [[outcome.name.lower(), outcome.value] for outcome in Outcome])


def blocks() -> dict[str, str]:
    """The texts between the comments of the page."""
    found = {}
    for name, (side, table_of_moves) in SIDES.items():
        found[f"phases of {name}"] = meanings(side)
        found[f"moves of {name}"] = moves(side, table_of_moves)
        found[f"calls of {name}"] = calls(side)
    found["outcomes"] = outcomes()
    found["calls at any time"] = textwrap.fill(", ".join(f"`{name}`" for name in ALWAYS), 120)
    return found


def written(page: str) -> str:
    """``page`` with its blocks as they ought to be."""
    for name, text in blocks().items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"{PAGE} has no block {name!r}")
        page = re.sub(f"{begin}.*?{end}", f"{begin}\n\n{text}\n\n{end}".replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
