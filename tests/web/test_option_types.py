"""The TypedDicts of options, which type checkers and editors read, say the same as the classes that are used."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_type_hints

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws.web.options import OF_ROUTES


def names(options: type) -> set[str]:
    return set(get_type_hints(options))


def test_names() -> None:
    assert names(rawws.SessionOptionsDict) == {f.name for f in dataclasses.fields(rawws.SessionOptions) if f.init}
    assert names(rawws.PluginOptionsDict) == {f.name for f in dataclasses.fields(rawws.WebSocketOptions) if f.init}
    assert names(rawws.RouteOptionsDict) == OF_ROUTES
    assert names(rawws.SessionOptionsDict) < names(rawws.RouteOptionsDict) < names(rawws.PluginOptionsDict)


@pytest.mark.parametrize("name", sorted(names(rawws.PluginOptionsDict)))
def test_types(name: str) -> None:
    given = get_type_hints(rawws.PluginOptionsDict)[name]
    kept = get_type_hints(rawws.WebSocketOptions)[name]
    if name == "extensions":
        assert given.__args__ == kept.__args__[:1]  # any iterable of what is kept in a tuple
    elif float in getattr(kept, "__args__", (kept,)):
        assert given == kept | timedelta
    else:
        assert given == kept


@pytest.mark.parametrize("options", [rawws.SessionOptions, rawws.WebSocketOptions])
@pytest.mark.parametrize("name", sorted(names(rawws.SessionOptionsDict)))
def test_none_is_a_type_of_the_options_that_can_be_none(options: type[rawws.SessionOptions], name: str) -> None:
    may_be_none = type(None) in getattr(get_type_hints(options)[name], "__args__", ())
    try:
        nothing: Any = {name: None}
        options(**nothing)
    except (TypeError, ValueError):
        assert not may_be_none
    else:
        assert may_be_none


PLACES: list[tuple[Callable[..., Any], str]] = [
    (rawws.setup, "PluginOptionsDict"),
    (rawws.memory_pair, "SessionOptionsDict"),
    (rawws.RawWebSocket, "SessionOptionsDict"),
    (rawws.RouteTableDef.websocket, "RouteOptionsDict"),
    (rawws.RouteTableDef.websocket_raw, "RouteOptionsDict"),
    (rawws.SessionOptions.replace, "SessionOptionsDict"),
]


@pytest.mark.parametrize(("place", "options"), PLACES, ids=lambda value: getattr(value, "__qualname__", value))
def test_keywords(place: Callable[..., Any], options: str) -> None:
    (keywords,) = [p for p in inspect.signature(place).parameters.values() if p.kind is p.VAR_KEYWORD]
    assert keywords.annotation == f"Unpack[{options}]"


def test_options_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        rawws.SessionOptions(4096)  # type: ignore[call-arg]
