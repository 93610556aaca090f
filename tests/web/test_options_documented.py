"""docs/reference/options.md names every option there is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from aiohttp_rawws.web.options import WebSocketOptions

PAGE = (Path(__file__).parents[2] / "docs/reference/options.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [option.name for option in dataclasses.fields(WebSocketOptions) if option.init])
def test_option_is_in_a_table(name: str) -> None:
    assert any(line.startswith("|") and f"`{name}`" in line.split("|")[1] for line in PAGE.splitlines())
    assert f"    {name}:" in DOCSTRINGS or f"{name}," in DOCSTRINGS or f", {name}:" in DOCSTRINGS


DOCSTRINGS = "".join(cls.__doc__ or "" for cls in WebSocketOptions.__mro__)
