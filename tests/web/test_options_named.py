"""A wrong value of an option is refused at once, in words that name the option."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

import aiohttp_rawws as rawws

from ..tools import peers


async def handler(session: Any) -> None:
    """Never run."""


def setup(**options: Any) -> None:
    rawws.setup(web.Application(), **options)


def route(**options: Any) -> None:
    rawws.websocket("/", handler, **options)


def bare_upgrade(**options: Any) -> None:
    rawws.WebSocketUpgrade(make_mocked_request("GET", "/", peers.UPGRADE), handle=handler, **options)


def streams(**options: Any) -> None:
    rawws.RawWebSocket(None, None, **options)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("place", [setup, route, bare_upgrade, rawws.memory_pair], ids=lambda place: place.__name__)
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"close_timeout": 0}, ValueError, "close_timeout must be more than 0 seconds, not 0"),
        ({"close_timeout": "x"}, TypeError, "close_timeout must be seconds or a timedelta, not 'x'"),
        ({"close_timeout": None}, TypeError, "close_timeout cannot be None: closing a session must not wait forever"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds, or None to switch it off, not 0"),
        ({"masking": "x"}, TypeError, "masking must be True, False or None, not 'x'"),
        ({"strict": "x"}, TypeError, "strict must be True, False or \"hop\", not 'x'"),
        ({"observe": "x"}, TypeError, "observe must be a function of a session, not 'x'"),
        (
            {"converter": rawws.JSONConverter},
            TypeError,
            f"converter must be an object, such as JSONConverter(), not {rawws.JSONConverter!r}",
        ),
    ],
    ids=str,
)
def test_of_a_session(place: Callable[..., Any], options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        place(**options)


@pytest.mark.parametrize("place", [setup, route, bare_upgrade], ids=lambda place: place.__name__)
@pytest.mark.parametrize("extensions", [None, 5, "x", rawws.PerMessageDeflate()], ids=["None", "5", "x", "deflate"])
def test_extensions(place: Callable[..., Any], extensions: Any) -> None:
    with pytest.raises(TypeError, match=r"^extensions must be a list, such as \[PerMessageDeflate\(\)\], not "):
        place(extensions=extensions)


@pytest.mark.parametrize("name", ["server_options", "client_options"])
def test_of_one_end_of_a_pair(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be SessionOptions or None, not 5$"):
        rawws.memory_pair(**{name: 5})  # type: ignore[arg-type]


class View(web.View):
    """Taken by aiohttp's own routes, not by ours."""


# Every way of making a route, as a function of the handler and keywords.
ROUTES: dict[str, Callable[..., Any]] = {
    "websocket_raw(path, handler)": lambda handler, **how: rawws.websocket_raw("/", handler, **how),
    "websocket(path, handler)": lambda handler, **how: rawws.websocket("/", handler, **how),
    "routes.websocket_raw(path)": lambda handler, **how: rawws.RouteTableDef().websocket_raw("/", **how)(handler),
    "routes.websocket(path)": lambda handler, **how: rawws.RouteTableDef().websocket("/", **how)(handler),
}
HANDLERS: dict[str, Callable[..., Any]] = {
    "websocket_raw(handler)": lambda handler, **how: rawws.websocket_raw(handler, **how),
    "websocket(handler)": lambda handler, **how: rawws.websocket(handler, **how),
    "websocket_raw()": lambda handler, **how: rawws.websocket_raw(**how)(handler),
    "upgrade_handler(handler)": lambda handler, **how: rawws.upgrade_handler(handler, **how),
    "upgrade_handler()": lambda handler, **how: rawws.upgrade_handler(managed=True, **how)(handler),
}


@pytest.mark.parametrize("make", {**ROUTES, **HANDLERS}.values(), ids=[*ROUTES, *HANDLERS])
def test_of_a_route(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^negotiate_extensions must be True or False, not 'x'$"):
        make(handler, negotiate_extensions="x")
    for wrong in (View, None, 5):
        with pytest.raises(TypeError, match=r"^handler must be an async function of a session, not "):
            make(wrong)


@pytest.mark.parametrize("make", ROUTES.values(), ids=ROUTES)
def test_names_of_routes(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^name must be a str or None, not 5$"):
        make(handler, name=5)


def test_paths() -> None:
    with pytest.raises(TypeError, match=r"^path must be a str, not 5$"):
        rawws.RouteTableDef().websocket_raw(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"handle": View}, "handle must be an async function of a session, not "),
        ({"handle": None}, "handle must be an async function of a session, not None"),
        ({"install_extensions": "x"}, "install_extensions must be True or False, not 'x'"),
        ({"managed": "x"}, "managed must be True or False, not 'x'"),
    ],
    ids=str,
)
def test_of_an_upgrade(how: dict[str, Any], text: str) -> None:
    request = make_mocked_request("GET", "/", peers.UPGRADE)
    with pytest.raises(TypeError, match=f"^{re.escape(text)}"):
        rawws.WebSocketUpgrade(request, **{"handle": handler, **how})


@pytest.mark.parametrize("app", [5, None, rawws.RouteTableDef(), web.Application])
def test_setup_needs_an_application(app: Any) -> None:
    with pytest.raises(TypeError, match=r"^setup\(\) needs a web\.Application, not "):
        rawws.setup(app)
