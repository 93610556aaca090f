"""``upstream_url()`` and ``is_upgrade()``. The ids are those of the requirements."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import HttpVersion10, web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

import aiohttp_rawws as rawws

from ..tools import peers

BASE = URL("http://up.example:8000")
APP = URL("http://up.example:8000/app")


def request_for(target: str, host: str = "gateway.example") -> web.Request:
    return make_mocked_request("GET", target, {**peers.UPGRADE, "Host": host})


def upstream(base: URL, target: str, strip: str = "") -> str:
    url = rawws.upstream_url(base, request_for(target), strip=strip)
    assert (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
    return url.raw_path_qs


TARGETS = [
    "/",
    "/chat",
    "/chat/",
    "//",
    "/a//b///",
    "/%2F%2f%3A%28%29(:)",
    "/100%25/%zz/%",
    "/a+b/a%20b/~!$&'()*,;=@",
    '/[x]{y}|z^`<>"',
    "/ä/%C3%A4/日本",
    "/a?b=c&d=%26&e=+&f=%20&g=ä",
    "/a?x=?y?z/../",
    "/a?=",
    "/a?&&",
    "/a;v=1/b;v=2",
    "/...",
    "/..a/.b/c..",
    "/./a/.",
    "/a/../b",
    "/a/b/%2e%2E/c",
    "/a:b@c",
    "/http://other.example/x",
]


@pytest.mark.parametrize("target", TARGETS)
def test_g17_byte_for_byte(target: str) -> None:
    assert upstream(BASE, target) == target
    assert upstream(APP, target) == f"/app{target}"
    assert upstream(APP, f"/ws{target}", strip="/ws") == f"/app{target}"


def test_g17_a_question_mark_without_a_query_is_dropped() -> None:
    """yarl cannot keep it. RFC 3986 does not call them the same, but servers do."""
    assert upstream(BASE, "/a?") == "/a"


OTHER_HOSTS = ["//evil.example/x", "///evil.example", "/\\evil.example", "/@evil.example", "/:80@evil.example", "//a@b"]


@pytest.mark.parametrize("target", OTHER_HOSTS)
def test_g18_the_host_stays(target: str) -> None:
    for base in (BASE, APP):
        url = rawws.upstream_url(base, request_for(target))
        assert (url.host, url.port, url.scheme) == ("up.example", 8000, "http")
        assert url.raw_path == base.raw_path.rstrip("/") + target


REFUSED = [
    "http://evil.example/x",
    "https://gateway.example:81/x",
    "HTTP://evil.example",
    "ftp://gateway.example/x",
    "gateway.example:80",
    "*",
    "evil.example/x",
    "\\evil.example",
    "@evil.example/",
    "?x",
    "/a#b",
    "/a b",
    "/a\x00",
    "/a\x7f",
    "/\udcff",
]


@pytest.mark.parametrize("target", REFUSED, ids=ascii)
def test_g18_no_path_of_this_host(target: str) -> None:
    with pytest.raises(web.HTTPBadRequest) as refused:
        rawws.upstream_url(BASE, request_for(target))
    assert refused.value.keep_alive is False  # what follows may be frames


def test_g18_the_absolute_form_of_this_host() -> None:
    """RFC 9112, section 3.2.2: a server accepts it."""
    for target in ("http://gateway.example/a//%2F?b", "WS://Gateway.Example/a//%2F?b"):
        assert upstream(BASE, target) == "/a//%2F?b"
    assert upstream(BASE, "http://gateway.example") == "/"
    assert upstream(BASE, "http://gateway.example?b") == "/?b"


LEAVING = [
    "/..",
    "/../",
    "/../x",
    "/a/../../x",
    "/%2e%2e/x",
    "/.%2E/x",
    "/a/%2e%2e/%2e%2e/x",
    "/%252e%252e/x",
    "/%25252e%25252e/x",
    "/a/..%2f..%2fx",
    "/..%2fx",
    "/..%5cx",
    "/a\\..\\..\\x",
    "/..\\x",
    "/..;/x",
    "/..;a=b/x",
    "/.%2e;/x",
    "//../x",
    "/a//../../x",
    "/./../x",
    "/a%2f../../x",
    "/a/b/../../../x",
    "/..%00/x",
    "/..%3fa/x",
    "/..%23/x",
    "/..%0d%0a/x",
    "/%c0%ae%c0%ae/x",
    "/%E0%80%AE./x",
    "/..%c0%afx",
    "/..%c1%9cx",
    "/%25c0%25ae%25c0%25ae/x",
    "/%u002e%u002e/x",
    "/%ef%bc%8e%ef%bc%8e/x",
    "/..%ef%bc%8fx",
    "/%e2%80%a5/x",
    "/%00/../x",
]


@pytest.mark.parametrize("target", LEAVING)
def test_g19_dot_segments_do_not_leave_the_prefix(target: str) -> None:
    for base, path, strip in ((APP, target, ""), (APP, f"/ws{target}", "/ws"), (BASE, target, "")):
        with pytest.raises(web.HTTPBadRequest):
            rawws.upstream_url(base, request_for(path), strip=strip)


STAYING = [
    "/a/../x",
    "/...",
    "/..a",
    "/a..",
    "/%00/x",
    "/%c0%ae",
    "/%u002e",
    "/%e2%80%a6/x",
    "/%u/%zz",
    "/a/%u002e%u002e",
]


@pytest.mark.parametrize("target", STAYING)
def test_g19_all_else_passes_as_it_is(target: str) -> None:
    assert upstream(APP, target) == f"/app{target}"


HOSTS = {"gateway.example": True, "a_b:80": True, "": True, "[::1]:80": True, "[fe80::1%25eth0]": True, "h:": True}
HOSTS |= {"a/b": False, "u@h": False, "a b": False, "h?x": False, "h#": False, "[::1": False, "h:80a": False}
HOSTS |= {'a"b': False, "a\\b": False, "b\xfccher": False, "a:1:2": False, "%zz": False}


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_g18_a_host_that_is_none_is_refused(host: str) -> None:
    request = make_mocked_request("GET", "/x", {"Host": host, "Upgrade": "websocket"})
    if HOSTS[host]:
        assert str(rawws.upstream_url(BASE, request)).endswith("/x")
    else:
        with pytest.raises(web.HTTPBadRequest) as refused:
            rawws.upstream_url(BASE, request)
        assert refused.value.keep_alive is False


def test_g20_no_slash_is_added_or_removed() -> None:
    assert upstream(APP, "/ws", strip="/ws") == "/app"
    assert upstream(APP, "/ws/", strip="/ws") == "/app/"
    assert upstream(APP, "/ws?a", strip="/ws") == "/app?a"
    assert upstream(BASE, "/ws", strip="/ws") == "/"
    assert upstream(URL("http://up.example:8000/app/"), "/x", strip="") == "/app/x"
    assert upstream(URL("http://up.example:8000/app/"), "/ws", strip="/ws") == "/app/"
    assert upstream(URL("http://up.example:8000/a%2Fb//"), "/x") == "/a%2Fb/x"


@pytest.mark.parametrize("target", ["/wsx", "/w", "/", "/%77s/x", "//ws/x", "/ws%2Fx"])
def test_strip_takes_whole_segments(target: str) -> None:
    with pytest.raises(web.HTTPBadRequest):
        rawws.upstream_url(APP, request_for(target), strip="/ws")


@pytest.mark.parametrize("base", ["http://[::1]:8000", "wss://up.example", "https://bücher.example/x", "ws://u:1"])
def test_the_base_stays(base: str) -> None:
    url = rawws.upstream_url(URL(base), request_for("/a%2Fb?c"))
    assert url.origin() == URL(base).origin()
    assert url.raw_path_qs == f"{URL(base).raw_path.rstrip('/')}/a%2Fb?c"


@pytest.mark.parametrize(
    ("base", "strip", "error"),
    [
        ("http://up.example", "", TypeError),
        (URL("/path"), "", ValueError),
        (URL("ftp://up.example"), "", ValueError),
        (URL("http://ann:secret@up.example"), "", ValueError),
        (URL("http://up.example?a"), "", ValueError),
        (URL("http://up.example#a"), "", ValueError),
        (BASE, "ws", ValueError),
        (BASE, "/", ValueError),
        (BASE, "/ws/", ValueError),
        (BASE, None, TypeError),
    ],
    ids=str,
)
def test_mistakes(base: Any, strip: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        rawws.upstream_url(base, request_for("/"), strip=strip)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"Connection": "keep-alive, UPGRADE"}, True),
        ({"Upgrade": "WebSocket"}, True),
        ({"Upgrade": "h2c, websocket"}, True),  # proxy_upgrade() refuses it
        ({"Sec-WebSocket-Key": ""}, True),  # and this
        ({"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}, False),
        ({"Upgrade": "websockets"}, False),
        ({"Connection": "keep-alive"}, False),
        ({"Upgrade": ""}, False),
    ],
    ids=str,
)
def test_g5_is_upgrade(changes: dict[str, str], expected: bool) -> None:
    assert rawws.is_upgrade(make_mocked_request("GET", "/", {**peers.UPGRADE, **changes})) is expected


def test_is_upgrade_of_other_requests() -> None:
    assert not rawws.is_upgrade(make_mocked_request("POST", "/", peers.UPGRADE))
    assert not rawws.is_upgrade(make_mocked_request("GET", "/", peers.UPGRADE, version=HttpVersion10))
    assert not rawws.is_upgrade(make_mocked_request("GET", "/"))
