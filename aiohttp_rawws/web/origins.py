"""Which web pages may open a WebSocket (RFC 6455, section 10.2).

Browsers do not hold WebSockets to the same-origin policy; they only say in ``Origin`` which page asks, and send the
visitor's cookies along. A request without an ``Origin`` does not come from a browser's page and passes every rule:
who wants to refuse those uses ``before_upgrade``.

"same-origin" compares the host and port of ``Origin`` with those of ``Host``, both as the browser sent them; a port
that is missing from either is the default one of the *origin's* scheme. The schemes themselves are not compared. Most
servers stand behind a proxy that ends TLS: the page is https, the request that arrives here is http, and nothing in
it that can be trusted says what it was. What is given up is small but real: somebody who can write into a plain http
page of your host passes as its https pages do. Who needs the difference lists the origins, scheme and all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from fnmatch import translate
from inspect import isawaitable
from typing import NamedTuple

from aiohttp import web
from yarl import URL

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

OriginCallable = Callable[[str, web.BaseRequest], bool | Awaitable[bool]]
Origins = str | re.Pattern[str] | Iterable[str | re.Pattern[str]] | OriginCallable | None
OriginCheck = Callable[[str, web.BaseRequest], Awaitable[bool]]


class Origin(NamedTuple):
    """A serialized origin taken apart (RFC 6454), the host in the ASCII form that browsers send; ``port`` is filled in
    where the scheme has a default."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """None for what is no origin, ``null`` included. Browsers write names in ASCII (IDNA): nothing else is one."""
        return cls.configured(text) if text.isascii() else None

    @classmethod
    def configured(cls, text: str) -> Origin | None:
        """As ``parse()``, and takes a name in any script, as people write it."""
        scheme, separator, rest = text.partition("://")
        if not separator or not rest or any(mark in rest for mark in "/?#@\\% "):
            return None
        try:
            # The scheme plays no part in how host and port are read, and yarl knows the rules for http.
            url = URL(f"http://{rest}")
            host, port = url.raw_host, url.explicit_port
        except ValueError:
            return None
        if not host:
            return None
        scheme = scheme.lower()
        return cls(scheme, host.lower(), port if port is not None else DEFAULT_PORTS.get(scheme))


_Rule = Callable[[str, Origin | None, web.BaseRequest], bool]


def _is_same_origin(text: str, origin: Origin | None, request: web.BaseRequest) -> bool:
    if origin is None or origin.scheme not in ("http", "https"):
        return False
    if len(request.headers.getall("Host", ())) != 1:
        return False  # ``request.host`` would be the server's own address; a browser names the host it wants
    # Not the header itself: a middleware that trusts its proxy may have put the page's host here, by clone(host=...).
    return origin == Origin.parse(f"{origin.scheme}://{request.host}")


def _regular_expression(pattern: re.Pattern[str]) -> _Rule:
    if not isinstance(pattern.pattern, str):
        raise TypeError(f"origins: a pattern must be for str, not {pattern.pattern!r}")
    return lambda text, origin, request: pattern.fullmatch(text) is not None


def _exact(text: str) -> _Rule:
    wanted = Origin.configured(text)
    if wanted is None:
        raise ValueError(f'origins: {text!r} is not an origin such as "https://example.org"')
    return lambda text, origin, request: origin == wanted


def _ascii_label(label: str) -> str:
    """One part of a host name as browsers send it."""
    return label if label.isascii() else URL.build(scheme="http", host=label).raw_host or label


def _host_pattern(text: str) -> _Rule:
    scheme, separator, rest = text.lower().partition("://")
    found = re.fullmatch(r"([^/#@\\ :]+)(?::(\d+|\*))?", rest)
    if not separator or not scheme or "*" in scheme or found is None:
        raise ValueError(f'origins: {text!r} is not a pattern such as "https://*.example.org"')
    host = re.compile(translate(".".join(map(_ascii_label, found[1].split(".")))))
    any_port = found[2] == "*"
    port = int(found[2]) if found[2] and not any_port else DEFAULT_PORTS.get(scheme)

    def matches(text: str, origin: Origin | None, request: web.BaseRequest) -> bool:
        if origin is None or origin.scheme != scheme or host.match(origin.host) is None:
            return False
        return any_port or origin.port == port

    return matches


def _rule(entry: object) -> _Rule:
    if isinstance(entry, re.Pattern):
        return _regular_expression(entry)
    if not isinstance(entry, str):
        raise TypeError(f"origins: an entry must be a str or a compiled pattern, not {entry!r}")
    if entry == "same-origin":
        return _is_same_origin
    if entry == "null":
        return lambda text, origin, request: text == "null"
    return _host_pattern(entry) if "*" in entry or "?" in entry else _exact(entry)


def _is_list(origins: object) -> bool:
    return isinstance(origins, Iterable) and not isinstance(origins, (bytes, bytearray, Mapping))


def compile_origins(origins: Origins) -> OriginCheck | None:
    """Turn the option ``origins`` into a check of (``Origin`` header, request); None where nothing is checked.

    Raises ValueError or TypeError for what cannot be an origin, a pattern or a rule.
    """
    rules: list[_Rule]
    if origins is None:
        return None
    if isinstance(origins, str):
        if origins != "same-origin":
            raise ValueError(f'origins must be "same-origin" or a list such as [{origins!r}], not {origins!r}')
        rules = [_is_same_origin]
    elif isinstance(origins, re.Pattern):
        rules = [_regular_expression(origins)]
    elif callable(origins):
        return _asked(origins)
    elif _is_list(origins):
        rules = [_rule(entry) for entry in origins]
    else:
        raise TypeError(f'origins must be "same-origin", a list, a pattern, a callable or None, not {origins!r}')

    async def check(text: str, request: web.BaseRequest) -> bool:
        origin = Origin.parse(text)
        return any(rule(text, origin, request) for rule in rules)

    return check


def _asked(ask: OriginCallable) -> OriginCheck:
    async def check(text: str, request: web.BaseRequest) -> bool:
        answer = ask(text, request)
        return bool(await answer) if isawaitable(answer) else bool(answer)

    return check
