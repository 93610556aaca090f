"""The option ``origins`` (RFC 6455, section 10.2)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from aiohttp_rawws.web.origins import Origin, compile_origins


def allowed(
    origins: Any, origin: str, *, host: str | None = "example.org", scheme: str = "http", seen_as: str | None = None
) -> bool:
    """host: the Host header, None for none. seen_as: what a middleware made of it."""
    check = compile_origins(origins)
    assert check is not None
    request = make_mocked_request("GET", "/", {} if host is None else {"Host": host}).clone(scheme=scheme)
    if seen_as is not None:
        request = request.clone(host=seen_as)

    async def ask() -> bool:
        return await check(origin, request)

    return asyncio.run(ask())


SAME = [
    # ports: none on either side, or the default one written out
    ("http://example.org", "example.org"),
    ("http://example.org", "example.org:80"),
    ("http://example.org:80", "example.org"),
    ("http://example.org:80", "example.org:80"),
    ("https://example.org", "example.org"),
    ("https://example.org", "example.org:443"),
    ("https://example.org:443", "example.org"),
    # other ports
    ("http://example.org:8080", "example.org:8080"),
    ("https://example.org:8443", "example.org:8443"),
    ("https://example.org:80", "example.org:80"),
    # case
    ("http://Example.ORG", "eXample.org"),
    ("HTTPS://example.org", "example.org"),
    # addresses
    ("http://127.0.0.1:8080", "127.0.0.1:8080"),
    ("http://[::1]:8080", "[::1]:8080"),
    ("https://[2001:db8::1]", "[2001:db8::1]"),
    ("https://[2001:DB8:0::1]", "[2001:db8::1]:443"),
    # names that are not ASCII come in IDNA
    ("https://xn--exmple-cua.org", "xn--exmple-cua.org"),
    ("https://xn--exmple-cua.org", "XN--EXMPLE-CUA.org:443"),
    ("https://xn--a", "xn--a"),  # which decodes to nothing
    # a trailing dot is part of the name
    ("https://example.org.", "example.org."),
    ("http://localhost", "localhost"),
    ("http://under_score.example.org", "under_score.example.org"),
]

OTHER = [
    ("http://example.com", "example.org"),
    ("http://evil.example.org", "example.org"),
    ("http://example.org", "evil.example.org"),
    ("http://example.org.evil.com", "example.org"),
    ("http://example.org\\.evil.com", "example.org"),
    ("http://user@example.org", "example.org"),
    ("http://example.org/", "example.org"),
    ("http://example.org?", "example.org"),
    ("http://example.org#", "example.org"),
    ("http://ex%61mple.org", "example.org"),
    ("http://ex%61mple.org", "ex%61mple.org"),
    # ports: what is missing is the default of the origin's scheme, on both sides
    ("http://example.org:8080", "example.org"),
    ("http://example.org", "example.org:8080"),
    ("https://example.org", "example.org:80"),
    ("http://example.org", "example.org:443"),
    ("https://example.org:80", "example.org"),
    ("http://example.org:443", "example.org"),
    ("http://example.org:99999", "example.org"),
    ("http://example.org:x", "example.org"),
    ("http://example.org", "example.org:x"),
    # addresses
    ("http://[::1]", "[::2]"),
    ("http://[::1", "[::1"),
    ("http://127.0.0.1", "localhost"),
    # names
    ("https://xn--exmple-cua.org", "example.org"),
    ("http://ex\xe4mple.org", "ex\xe4mple.org"),  # no browser writes that
    ("http://ex\xe4mple.org", "xn--exmple-cua.org"),
    ("https://example.org.", "example.org"),
    ("https://example.org", "example.org."),
    # no origin of a page that a server could be the same as
    ("null", "example.org"),
    ("null", "null"),
    ("", "example.org"),
    ("", ""),
    ("example.org", "example.org"),
    ("://example.org", "example.org"),
    ("http://", "example.org"),
    ("http://", ""),
    ("file://example.org", "example.org"),
    ("app://example.org", "example.org"),
    ("chrome-extension://example.org", "example.org"),
    ("http://example.org http://example.org", "example.org"),
    ("http://example.org, http://example.org", "example.org"),
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("origin", "host"), SAME)
def test_same_origin(origin: str, host: str, scheme: str) -> None:
    """With any scheme of the request: behind a proxy that ends TLS it is not the page's."""
    assert allowed("same-origin", origin, host=host, scheme=scheme)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("origin", "host"), OTHER)
def test_other_origins(origin: str, host: str, scheme: str) -> None:
    assert not allowed("same-origin", origin, host=host, scheme=scheme)


def test_without_a_host_nothing_is_the_same_origin() -> None:
    request = make_mocked_request("GET", "/", {})
    for origin in ("http://", f"http://{request.host}", "http://127.0.0.1", "http://localhost"):
        assert not allowed("same-origin", origin, host=None)
    assert allowed(["http://localhost"], "http://localhost", host=None)


def test_the_host_may_be_that_of_a_middleware() -> None:
    assert allowed("same-origin", "https://example.org", host="backend:8080", seen_as="example.org")
    assert not allowed("same-origin", "http://backend:8080", host="backend:8080", seen_as="example.org")


def test_exact_origins() -> None:
    origins = ["https://example.org", "http://localhost:3000", "app://desktop"]
    assert allowed(origins, "https://example.org")
    assert allowed(origins, "https://EXAMPLE.org:443")
    assert allowed(origins, "http://localhost:3000")
    assert allowed(origins, "app://desktop")
    assert not allowed(origins, "http://example.org")
    assert not allowed(origins, "http://localhost")
    assert not allowed(origins, "https://www.example.org")
    assert not allowed([], "https://example.org")


def test_a_list_compares_the_scheme() -> None:
    assert allowed(["https://example.org"], "https://example.org", scheme="http")
    assert not allowed(["https://example.org"], "http://example.org", scheme="https")


def test_names_in_any_script_can_be_listed() -> None:
    assert allowed(["https://ex\xe4mple.org"], "https://xn--exmple-cua.org")
    assert allowed(["https://xn--exmple-cua.org"], "https://xn--exmple-cua.org")
    assert not allowed(["https://ex\xe4mple.org"], "https://ex\xe4mple.org")
    for pattern in ("https://*.ex\xe4mple.org", "https://*.xn--exmple-cua.org"):
        assert allowed([pattern], "https://a.xn--exmple-cua.org")
        assert not allowed([pattern], "https://a.example.org")


def test_same_origin_in_a_list() -> None:
    assert allowed(["same-origin", "https://other.org"], "http://example.org")
    assert allowed(["same-origin", "https://other.org"], "https://other.org")
    assert not allowed(["same-origin", "https://other.org"], "http://other.org")


def test_null_only_where_it_is_listed() -> None:
    assert allowed(["null"], "null")
    assert not allowed(["https://*.example.org"], "null")


def test_host_patterns() -> None:
    pattern = ["https://*.example.org"]
    assert allowed(pattern, "https://a.example.org")
    assert allowed(pattern, "https://a.b.EXAMPLE.org:443")
    assert not allowed(pattern, "https://example.org")
    assert not allowed(pattern, "http://a.example.org")
    assert not allowed(pattern, "https://a.example.org:8443")
    assert not allowed(pattern, "https://a.example.org.evil.com")
    assert not allowed(pattern, "https://evil.com/.example.org")
    assert not allowed(pattern, "https://evil.com#.example.org")
    assert allowed(["http://localhost:*"], "http://localhost:5173")
    assert allowed(["http://localhost:*"], "http://localhost")
    assert not allowed(["http://localhost:*"], "http://localhost.evil.com:5173")
    assert allowed(["http://dev?.example.org:8080"], "http://dev1.example.org:8080")


# scheme, host and port of a listed origin or pattern; what it allows, and what it does not
PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    "file://": (["file://", "FILE://"], ["file:///", "file://a", "null", "http://", "app://"]),
    "app://": (["app://"], ["file://", "app://a"]),
    "file://*": (["file://", "file://host"], ["app://", "http://host"]),
    "app://*": (["app://localhost", "app://"], ["ionic://localhost"]),
    "app://local*:*": (["app://localhost", "app://localhost:9"], ["app://other:9"]),
    "http://localhost:*": (["http://localhost", "http://localhost:3000"], ["http://[::1]:3000", "https://localhost:1"]),
    "http://[::1]:3000": (["http://[::1]:3000", "http://[0:0::1]:3000"], ["http://[::1]", "http://[::2]:3000"]),
    "http://[::1]": (["http://[::1]", "http://[::1]:80"], ["http://[::1]:3000", "https://[::1]"]),
    "http://[::1]:*": (
        ["http://[::1]", "http://[::1]:3000"],
        ["https://[::1]:3000", "http://[::11]:1", "http://::1:1"],
    ),
    "https://[0:0::1]:*": (["https://[::1]:3000"], ["https://[::2]:3000"]),
    "http://[2001:DB8::*]:8080": (
        ["http://[2001:db8::1]:8080", "http://[2001:db8:0::a:b]:8080"],
        ["http://[2001:db8::1]", "http://[2001:db8:1::1]:8080", "http://2001.db8.org:8080"],
    ),
    "http://[2001:db8::*]": (["http://[2001:db8::1]", "http://[2001:db8::1]:80"], ["http://[2001:db8::1]:81"]),
    "http://[2001:db8:*]:*": (["http://[2001:db8::1]:1", "http://[2001:db8:1::1]:2"], ["http://[2001:db9::1]:1"]),
    "http://[fe80::?]:*": (["http://[fe80::a]:1"], ["http://[fe80::aa]:1"]),
    "http://[*]:*": (["http://[::1]:3000", "http://[::1]"], ["http://localhost:3000", "http://127.0.0.1"]),
    "http://*": (["http://a", "http://[::1]", "http://127.0.0.1:80"], ["http://a:81", "https://a", "http://"]),
    "http://*:*": (["http://a", "http://[::1]:81", "http://127.0.0.1:8"], ["https://a:1", "http://"]),
    "http://*:8080": (["http://a:8080", "http://[::1]:8080"], ["http://a"]),
    "http://192.168.0.?:*": (["http://192.168.0.7:1"], ["http://192.168.0.77:1"]),
}


@pytest.mark.parametrize("entry", PATTERNS)
def test_every_combination_of_patterns(entry: str) -> None:
    yes, no = PATTERNS[entry]
    assert [origin for origin in yes if not allowed([entry], origin)] == []
    assert [origin for origin in no if allowed([entry], origin)] == []


@pytest.mark.parametrize("wrap", [lambda pattern: pattern, lambda pattern: [pattern]])
def test_regular_expressions_match_the_whole_origin(wrap: Any) -> None:
    origins = wrap(re.compile(r"https://(a|b)\.example\.org"))
    assert allowed(origins, "https://a.example.org")
    assert not allowed(origins, "https://a.example.org.evil.com")
    assert not allowed(origins, "xhttps://a.example.org")


def test_callables() -> None:
    async def slow(origin: str, request: Any) -> bool:
        return origin.endswith(request.host)

    assert allowed(lambda origin, request: origin == "x" and request.host == "example.org", "x")
    assert allowed(slow, "http://example.org")
    assert not allowed(slow, "http://example.com")


def test_none_checks_nothing() -> None:
    assert compile_origins(None) is None


@pytest.mark.parametrize(
    ("origins", "error"),
    [
        ("https://example.org", ValueError),
        ("*", ValueError),
        (["example.org"], ValueError),
        (["https://example.org/"], ValueError),
        (["https://example.org/path"], ValueError),
        (["*"], ValueError),
        (["*://example.org"], ValueError),
        (["https://*.example.org/"], ValueError),
        (["https://*:port"], ValueError),
        (["http://"], ValueError),
        (["https://:443"], ValueError),
        (["file:///"], ValueError),
        (["file://:*"], ValueError),
        (["://*"], ValueError),
        (["http://*:99999"], ValueError),
        (["http://::1:*"], ValueError),
        (["http://[::1:*"], ValueError),
        (["http://::1]:*"], ValueError),
        (["http://[::g]:*"], ValueError),
        (["http://[::1]x:*"], ValueError),
        (["http://[1:2]:*"], ValueError),
        (["http://[]:*"], ValueError),
        ([b"https://example.org"], TypeError),
        ([None], TypeError),
        ([re.compile(b"x")], TypeError),
        (re.compile(b"x"), TypeError),
        (b"same-origin", TypeError),
        (1, TypeError),
        (True, TypeError),
    ],
    ids=repr,
)
def test_bad_configuration(origins: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="origins"):
        compile_origins(origins)


def test_parse() -> None:
    assert Origin.parse("HTTP://Example.org") == ("http", "example.org", 80)
    assert Origin.parse("moz-extension://0f1c") == ("moz-extension", "0f1c", None)
