"""The option ``origins`` (RFC 6455, section 10.2)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from aiohttp_rawws.web.origins import Origin, compile_origins


def allowed(origins: Any, origin: str, *, host: str = "example.org", scheme: str = "http") -> bool:
    check = compile_origins(origins)
    assert check is not None
    request = make_mocked_request("GET", "/", {"Host": host}).clone(scheme=scheme)
    return asyncio.run(check(origin, request))


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://example.org", "example.org", "http"),
        ("http://example.org", "example.org:80", "http"),
        ("http://example.org:80", "example.org", "http"),
        ("https://example.org", "example.org", "https"),
        ("https://example.org", "example.org:443", "https"),
        ("http://Example.ORG", "eXample.org", "http"),
        ("http://example.org:8080", "example.org:8080", "http"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "http"),
        ("http://[::1]:8080", "[::1]:8080", "http"),
    ],
)
def test_same_origin(origin: str, host: str, scheme: str) -> None:
    assert allowed("same-origin", origin, host=host, scheme=scheme)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://example.com", "example.org", "http"),
        ("http://example.org:8080", "example.org", "http"),
        ("http://example.org", "example.org:8080", "http"),
        ("https://example.org", "example.org", "http"),
        ("http://example.org", "example.org", "https"),
        ("https://example.org:80", "example.org", "http"),
        ("http://evil.example.org", "example.org", "http"),
        ("http://example.org.evil.com", "example.org", "http"),
        ("http://user@example.org", "example.org", "http"),
        ("http://example.org/", "example.org", "http"),
        ("http://example.org\\.evil.com", "example.org", "http"),
        ("null", "example.org", "http"),
        ("null", "null", "http"),
        ("", "example.org", "http"),
        ("example.org", "example.org", "http"),
        ("://example.org", "example.org", "http"),
        ("http://", "example.org", "http"),
        ("http://example.org:99999", "example.org", "http"),
        ("http://example.org:x", "example.org", "http"),
        ("http://ex\xe4mple.org", "ex\xe4mple.org", "http"),
        ("http://[::1", "[::1", "http"),
    ],
)
def test_other_origins(origin: str, host: str, scheme: str) -> None:
    assert not allowed("same-origin", origin, host=host, scheme=scheme)


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
