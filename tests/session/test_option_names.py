"""What was probably meant by the name of an option that is not known."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws.session.option_names import ELSEWHERE, ELSEWHERE_FOR_CLIENTS, PLACES, did_you_mean, suggestion
from aiohttp_rawws.session.options import names_of

OF_SETUP = names_of(rawws.WebSocketOptions)
OF_ROUTES = {"name", "negotiate_extensions", "protocol", "protocols"}


async def handler(session: Any) -> None:
    """Never run."""


def setup(**options: Any) -> None:
    rawws.setup(web.Application(), **options)


def route(**options: Any) -> None:
    rawws.websocket("/", handler, **options)


SUGGESTIONS = [
    # aiohttp
    (route, "heartbeat", "ping_interval, and timeout for the Pong"),
    (setup, "heartbeat", "ping_interval, and timeout for the Pong"),
    (route, "compress", "extensions=[PerMessageDeflate()]"),
    (rawws.memory_pair, "compress", "extensions=[PerMessageDeflate()] of setup() or a route"),
    (route, "max_msg_size", "max_message_size"),
    # websockets
    (route, "max_size", "max_message_size"),
    (route, "subprotocols", "protocols of a route"),
    (setup, "subprotocols", "protocols of a route"),
    (route, "ping_timeout", "timeout"),
    # ours, in another place
    (route, "max_sessions", "max_sessions of setup()"),
    (setup, "protocols", "protocols of a route"),
    (rawws.memory_pair, "origins", "origins of setup() or a route"),
    (setup, "compression_level", "compression_level of PerMessageDeflate()"),
    (route, "install_extensions", "negotiate_extensions of a route"),
    # misspelt
    (setup, "origin", "origins"),
    (route, "ping_intervall", "ping_interval"),
    (rawws.memory_pair, "maxFrameSize", "max_frame_size"),
]


@pytest.mark.parametrize(("place", "name", "meant"), SUGGESTIONS, ids=lambda value: getattr(value, "__name__", value))
def test_of_one_name(place: Any, name: str, meant: str) -> None:
    text = f"^unknown option '{name}'; the options are .*max_frame_size.*[a-z]. Did you mean {re.escape(meant)}\\?$"
    with pytest.raises(TypeError, match=text):
        place(**{name: 1})


def test_of_several_names() -> None:
    text = "ping_interval, and timeout for the Pong for 'heartbeat'; max_message_size for 'max_size'"
    with pytest.raises(TypeError, match=rf"'heartbeat', 'max_size', 'x'; .*[a-z]\. Did you mean {text}\?$"):
        setup(x=1, heartbeat=2, max_size=3)


def test_nothing_is_like_it() -> None:
    assert did_you_mean(["x", "colour"], OF_SETUP) == ""
    with pytest.raises(TypeError, match=r"[a-z]$"):
        setup(colour=1)


def test_the_options_that_the_tables_name_are_there() -> None:
    for text in ELSEWHERE.values():
        assert text.partition("=")[0].partition(",")[0] in OF_SETUP | OF_ROUTES, text
    of_deflate = {name for name, place in PLACES.items() if place == "PerMessageDeflate()"}
    assert of_deflate > {"mem_level", "max_ratio"}
    assert {name for name in PLACES if name not in of_deflate} <= OF_SETUP | OF_ROUTES
    assert OF_SETUP - names_of(rawws.SessionOptions) == set(PLACES) - of_deflate - OF_ROUTES


def test_a_name_that_is_valid_here_needs_no_place() -> None:
    assert suggestion("origin", OF_SETUP) == "origins"
    assert suggestion("compress", OF_SETUP) == ELSEWHERE["compress"]


def test_for_clients() -> None:
    of_clients = names_of(rawws.ConnectOptions)
    for name, text in ELSEWHERE_FOR_CLIENTS.items():
        assert suggestion(name, of_clients) == text
        assert text.partition(",")[0] in of_clients
    assert suggestion("subprotocols", of_clients) == "protocols"
    assert suggestion("extra_headers", OF_SETUP) == "before_upgrade"
