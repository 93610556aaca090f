"""The option ``origins``: the web pages that may open a WebSocket (RFC 6455, section 10.2).

Browsers do not apply the same-origin policy to WebSockets. They name the page in ``Origin``, and send the visitor's
cookies. A request without ``Origin`` does not come from a web page, and every rule accepts it. ``before_upgrade`` can
refuse it.

"same-origin" compares the host and the port of ``Origin`` with those of ``Host``. If one of them has no port, it is the
default port of the origin's scheme. The schemes are not compared: behind a proxy that ends TLS the page is https and
the request is http, and no header field about that can be trusted. So a plain http page of your host is accepted like
an https one. If the scheme matters to you, list full origins.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from fnmatch import translate
from inspect import isawaitable
from ipaddress import IPv6Address
from typing import Literal, NamedTuple

from aiohttp import web
from yarl import URL

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

OriginCallable = Callable[[str, web.Request], bool | Awaitable[bool]]
Origins = Literal["same-origin"] | re.Pattern[str] | Iterable[str | re.Pattern[str]] | OriginCallable | None
OriginCheck = Callable[[str, web.BaseRequest], Awaitable[bool]]


# RFC 3986, section 3.1.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

EXAMPLES = '"https://example.org", "https://*.example.org", "http://[::1]:*" or "file://"'


class Origin(NamedTuple):
    """A serialized origin (RFC 6454), taken apart.

    Attributes:
        scheme: In lower case.
        host: In the ASCII form that browsers send, an IPv6 address without brackets. Empty for ``file://`` and other
            schemes that have no host.
        port: None if none is given and the scheme has no default one.
    """

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Take the ``Origin`` field of a request apart.

        Returns:
            None if it is ``null`` or not an origin. Browsers write names in ASCII (IDNA), so a name in another script
            is not an origin.
        """
        return cls.configured(text) if text.isascii() else None

    @classmethod
    def configured(cls, text: str) -> Origin | None:
        """Take an origin of a configuration apart. Its name may be in any script."""
        scheme, separator, rest = text.partition("://")
        scheme = scheme.lower()
        if not separator or _SCHEME.fullmatch(scheme) is None or any(mark in rest for mark in "/?#@\\% "):
            return None
        if not rest:
            return None if scheme in DEFAULT_PORTS else cls(scheme, "", None)  # file:// of web views
        try:
            # Host and port have the same syntax in all schemes, and yarl knows that of http.
            url = URL(f"http://{rest}")
            host, port = url.raw_host, url.explicit_port
        except ValueError:
            return None
        if not host:
            return None
        return cls(scheme, host.lower(), port if port is not None else DEFAULT_PORTS.get(scheme))


_Rule = Callable[[str, Origin | None, web.BaseRequest], bool]


def _is_same_origin(text: str, origin: Origin | None, request: web.BaseRequest) -> bool:
    if origin is None or origin.scheme not in ("http", "https"):
        return False
    if len(request.headers.getall("Host", ())) != 1:
        return False  # a browser always sends one; without it ``request.host`` is the server's own address
    # Not the header field: a middleware that trusts its proxy may have set the host, by request.clone(host=...).
    return origin == Origin.parse(f"{origin.scheme}://{request.host}")


def _regular_expression(pattern: re.Pattern[str]) -> _Rule:
    if not isinstance(pattern.pattern, str):
        raise TypeError(f"origins: a pattern must be for str, not {pattern.pattern!r}")
    return lambda text, origin, request: pattern.fullmatch(text) is not None


def _exact(text: str) -> _Rule:
    wanted = Origin.configured(text)
    if wanted is None:
        raise ValueError(f"origins: {text!r} is not an origin or a pattern, such as {EXAMPLES}")
    return lambda text, origin, request: origin == wanted


def _ascii_label(label: str) -> str:
    """Return one part of a host name as browsers send it."""
    return label if label.isascii() else URL.build(scheme="http", host=label).raw_host or label


def _host_matcher(host: str) -> Callable[[str], bool] | None:
    """Return a test for the pattern of a host in lower case, or None if it is not a valid pattern."""
    if re.fullmatch(r"\[[^\[\]]*\]", host) is None:
        if not host or re.search(r"[/#@\\ :]", host):
            return None
        name = re.compile(translate(".".join(map(_ascii_label, host.split(".")))))
        return lambda host: name.match(host) is not None
    # An IPv6 address. Browsers write its shortest form, so a pattern is compared with that.
    found = re.fullmatch(r"\[([0-9a-f:.*?]+)\]", host)
    if found is None:
        return None
    address = found[1]
    if "*" not in address and "?" not in address:
        try:
            IPv6Address(address)
        except ValueError:
            return None
        exact = Origin.configured(f"http://{host}")
        return lambda host: exact is not None and host == exact.host
    pattern = re.compile(translate(address))
    return lambda host: ":" in host and pattern.match(host) is not None


def _host_pattern(text: str) -> _Rule:
    scheme, separator, rest = text.lower().partition("://")
    found = re.fullmatch(r"(.+?)(?::(\d+|\*))?", rest) if separator else None
    matches_host = None if found is None else _host_matcher(found[1])
    if found is None or matches_host is None or _SCHEME.fullmatch(scheme) is None:
        raise ValueError(f"origins: {text!r} is not an origin or a pattern, such as {EXAMPLES}")
    any_port = found[2] == "*"
    port = int(found[2]) if found[2] and not any_port else DEFAULT_PORTS.get(scheme)
    if port is not None and port > 65535:
        raise ValueError(f"origins: {text!r} has no port between 0 and 65535")

    def matches(text: str, origin: Origin | None, request: web.BaseRequest) -> bool:
        if origin is None or origin.scheme != scheme or not matches_host(origin.host):
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
    """Turn the option ``origins`` into a check.

    Args:
        origins: "same-origin", a list of origins and patterns, a compiled pattern, a callable, or None.

    Returns:
        An async function of the ``Origin`` field and the request, or None for no check.

    Raises:
        TypeError: ``origins`` or an entry of the list has a wrong type.
        ValueError: A text is neither an origin nor a pattern.
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
        answer = ask(text, request)  # type: ignore[arg-type]  # a BaseRequest on a low-level web.Server
        return bool(await answer) if isawaitable(answer) else bool(answer)

    return check
