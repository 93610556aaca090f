"""docs/reference/options.md names every option there is, and docs/howto/clients.md those of clients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from aiohttp_rawws import ConnectOptions, ConnectOptionsDict, ReconnectOptionsDict, SessionOptions, reconnecting
from aiohttp_rawws.web.options import WebSocketOptions

CLIENTS = (Path(__file__).parents[2] / "docs/howto/clients.md").read_text(encoding="utf-8")
PAGE = (Path(__file__).parents[2] / "docs/reference/options.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [option.name for option in dataclasses.fields(WebSocketOptions) if option.init])
def test_option_is_in_a_table(name: str) -> None:
    assert any(line.startswith("|") and f"`{name}`" in line.split("|")[1] for line in PAGE.splitlines())
    assert f"    {name}:" in DOCSTRINGS or f"{name}," in DOCSTRINGS or f", {name}:" in DOCSTRINGS


DOCSTRINGS = "".join(cls.__doc__ or "" for cls in WebSocketOptions.__mro__)


OF_SESSIONS = {option.name for option in dataclasses.fields(SessionOptions)}
OF_CLIENTS = [option.name for option in dataclasses.fields(ConnectOptions)]


@pytest.mark.parametrize("name", [name for name in OF_CLIENTS if name not in OF_SESSIONS])
def test_option_of_clients_is_in_a_table(name: str) -> None:
    assert any(line.startswith("|") and f"`{name}`" in line.split("|")[1] for line in CLIENTS.splitlines())
    assert f"    {name}:" in (ConnectOptions.__doc__ or "")


def test_options_of_clients_are_keys_of_their_dicts() -> None:
    assert set(OF_CLIENTS) == set(ConnectOptionsDict.__annotations__)
    own = set(ReconnectOptionsDict.__annotations__) - set(ConnectOptionsDict.__annotations__)
    assert own == {"again", "delays", "stable_after"}
    for name in own:
        assert f"    {name}:" in (reconnecting.__doc__ or "")
        assert f"`{name}" in CLIENTS
