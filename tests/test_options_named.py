"""Whatever an option cannot be is refused where it is written, in words that name the option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws

from . import peers


async def handler(session: Any) -> None:
    """Never run."""


def setup(**options: Any) -> None:
    rawws.setup(web.Application(), **options)


def route(**options: Any) -> None:
    rawws.websocket("/", handler, **options)


def bare_upgrade(**options: Any) -> None:
    rawws.WebSocketUpgrade(make_mocked_request("GET", "/", peers.UPGRADE), handle=handler, **options)


def streams(**options: Any) -> None:
    rawws.RawWebSocket(None, None, **options)


def replaced(**options: Any) -> None:
    rawws.SessionOptions().replace(**options)


def replaced_of_a_server(**options: Any) -> None:
    rawws.WebSocketOptions().replace(**options)


PLACES: list[Callable[..., Any]] = [
    setup,
    route,
    bare_upgrade,
    rawws.memory_pair,
    streams,
    replaced,
    replaced_of_a_server,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_unknown_names(place: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^unknown option 'max_frame_sise', 'x'; the options are .*max_frame_size"):
        place(x=1, max_frame_sise=2, strict=True)
