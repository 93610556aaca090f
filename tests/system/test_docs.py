"""Every code block that the README and the docs call runnable is run, in the order it stands on its page.

A block is marked by a comment line in front of it, ``<!-- runnable -->``. The blocks of one page share their names, as
the cells of a notebook do; ``await`` may stand outside a function. The blocks of the README are files, which are saved
and run as it says.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from ..tools.serving import serve

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^<!-- runnable -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^<!-- runnable(?: as (\S+))? -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")

# python app.py, on a free port of one address
RUN = """
import runpy, sys
from functools import partial
from aiohttp import web
web.run_app = partial(web.run_app, host="127.0.0.1", port=0)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """A page may set the level of our log, for itself."""
    logger = logging.getLogger("aiohttp_rawws")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.loops("asyncio")
@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))], ids=name)
async def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # a page may write files
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


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        file = page.parent / target if target else page
        assert file.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(file), f"{name(page)}: {target}#{anchor}"


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("C*.md")], ids=name)
def test_lines_are_short(page: Path) -> None:
    """A row of a table cannot be broken. All other lines have at most 120 characters, as those of the code."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line) <= 120 or line.startswith("|"), f"line {number}"


def test_the_features_of_the_readme_name_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    features = text.partition("\n## Features\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in features.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    for row in rows:
        files = re.findall(r"`([^`]+)`", row[2])
        assert files, row
        for file in files:
            assert (ROOT / "aiohttp_rawws" / file).is_file(), file


def test_the_figures_of_the_readme_are_those_of_the_pages() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    measured = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
    for row in ("16 in flight, 8 connections | managed `async for`", "1 in flight, 16 connections | `async for`"):
        ratio = re.search(rf"{re.escape(row)} / aiohttp \| [^|]*\| ([0-9.]+) ", measured)
        assert ratio is not None, row
        assert f" handles {float(ratio[1]):.1f} times as many" in readme, row
    judged = (ROOT / "docs/conformance/autobahn.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| section \|(.*)\n(?:.*\n)*?\| \*\*behaviour, all\*\* \|(.*)", judged, re.MULTILINE)
    good, informational = map(int, re.findall(r"[0-9]+", readme.partition("Autobahn suite")[2])[:2])
    verdicts = {
        name.strip(): verdict.strip()
        for names, results in tables
        for name, verdict in zip(names.split("|"), results.split("|"), strict=True)
        if name.strip().startswith(("managed-", "client-"))
    }
    assert verdicts.keys() == {"managed-compiled", "managed-python", "client-compiled", "client-python"}
    assert set(verdicts.values()) == {f"**{good} OK, {informational} INFORMATIONAL**"}
    assert f"Of the {good + informational} cases" in readme


class TestReadme:
    """Its blocks as files: ``app.py``, and the one that names itself."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        files = FILE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
        assert [file for file, _ in files] == ["", "test_app.py"]
        for file, code in files:
            (tmp_path / (file or "app.py")).write_text(code, encoding="utf-8")
        return tmp_path

    @pytest.fixture
    def url(self, folder: Path) -> Iterator[str]:
        """The address of the program. It must end in order, without an error in its log."""
        with serve("-c", RUN, str(folder / "app.py")) as url:
            yield url.replace("http", "ws", 1)

    @pytest.mark.loops("asyncio")
    async def test_raw(self, url: str) -> None:
        async with connect(f"{url}/raw") as peer:
            await peer.send(["in ", "two"])
            assert [part async for part in peer.recv_streaming()] == ["in ", "two", ""]  # it ends with an empty frame
            await (await peer.ping())
        assert peer.close_code == 1000

    @pytest.mark.loops("asyncio")
    async def test_chat(self, url: str) -> None:
        async with connect(f"{url}/chat") as ada, connect(f"{url}/chat") as bob:
            for message in ("hello", b"\xff\x00 is no text"):
                await ada.send(message)
                assert await ada.recv() == await bob.recv() == message
            await bob.send(["in ", "two"])
            assert await ada.recv() == await bob.recv() == "in two"
            await (await ada.ping())
            await bob.close()
            await ada.send("alone")
            assert await ada.recv() == "alone"
        assert ada.close_code == bob.close_code == 1000

    @pytest.mark.loops("asyncio")
    async def test_the_client(self, url: str) -> None:
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        command = re.search(r"`python (-m websockets) ws://127\.0\.0\.1:8080(/\w+)`", text)
        assert command is not None
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            *command[1].split(),
            url + command[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert client.stdin is not None and client.stdout is not None
            client.stdin.write(b"hello\n")
            await asyncio.wait_for(client.stdout.readuntil(b"< hello"), 20)
            client.stdin.close()  # then it leaves
            await asyncio.wait_for(client.communicate(), 20)
            assert client.returncode == 0
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()

    def test_its_test(self, folder: Path) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        result = subprocess.run(
            [sys.executable, "-m", "unittest"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            encoding="utf-8",
            timeout=50,
        )
        assert result.returncode == 0, result.stderr
        assert "Ran 1 test" in result.stderr
