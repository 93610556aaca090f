"""Every code block that the README and the docs call runnable is run, in the order it stands on its page.

A block is marked by a comment line in front of it, ``<!-- runnable -->``. The blocks of one page share their names, as
the cells of a notebook do; ``await`` may stand outside a function.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from websockets.asyncio.client import connect

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^<!-- runnable -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))], ids=name)
async def test_blocks_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "docs"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        code = compile(
            "\n" * line + block[1],
            name(page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("C*.md")], ids=name)
def test_lines_are_short(page: Path) -> None:
    """A row of a table cannot be broken. All other lines have at most 120 characters, as those of the code."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line) <= 120 or line.startswith("|"), f"line {number}"


def test_the_features_of_the_readme_name_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    for row in rows:
        files = re.findall(r"`([^`]+)`", row[2])
        assert files, row
        for file in files:
            assert (ROOT / "aiohttp_rawws" / file).is_file(), file


@pytest.mark.loops("asyncio")
async def test_the_program_of_the_readme_serves() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "readme"}
    for block in BLOCK.finditer(text):
        exec(compile(block[1], "README.md", "exec", dont_inherit=True), names)
    async with TestServer(names["app"]) as server:
        async with connect(f"ws://{server.host}:{server.port}/raw") as peer:
            await peer.send(["in ", "two"])
            assert [part async for part in peer.recv_streaming()] == ["in ", "two", ""]  # it ends with an empty frame
            await (await peer.ping())
        assert peer.close_code == 1000
        async with connect(f"ws://{server.host}:{server.port}/chat") as peer:
            await peer.send(["in ", "two"])
            assert await peer.recv() == "in two"
            await (await peer.ping())
        assert peer.close_code == 1000
