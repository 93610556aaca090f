"""The URL of the upstream server for a request: path and query byte for byte, and never another host."""

from __future__ import annotations

import re
from unicodedata import normalize
from urllib.parse import unquote

from aiohttp import web
from yarl import URL

from ..errors import HandshakeError
from ..web import handshake
from ..web.refusal import as_refusal

SCHEMES = frozenset({"http", "https", "ws", "wss"})

_ABSOLUTE = re.compile(r"(?:http|ws)s?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_UNSAFE = re.compile(r"[\x00-\x20\x7f#]")
_SEPARATOR = re.compile(r"[/\\]")  # many servers take a backslash for a slash
_END = re.compile(r"[;?#\x00]")  # and a segment may end there: with parameters, a query that was encoded, a C string

# RFC 9110, section 7.2, and RFC 3986, section 3.2.2. Some clients send the zone of an IPv6 address, too.
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.~%-]+)?\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?", re.ASCII
)

# Forms that unquote() does not know: a dot, slash or backslash in more bytes of UTF-8 than it takes, and %uXXXX.
_ODD = re.compile(r"%(?:c0%|e0%80%|f0%80%80%)(ae|af)|%(?:c1%|e0%81%|f0%80%81%)(9c)|%u([0-9a-f]{4})", re.IGNORECASE)
_OVERLONG = {"ae": ".", "af": "/", "9c": "\\"}


def is_upgrade(request: web.BaseRequest) -> bool:
    """Check if ``request`` asks for a WebSocket: a GET of HTTP/1.1 with ``Upgrade: websocket`` and ``Connection``.

    Anything else is a request like others, for a gateway too: ``h2c`` and an ``Upgrade`` of HTTP/1.0 are to be ignored.
    """
    try:
        handshake.check_upgrade(request.method, request.version, request.headers)
    except HandshakeError:
        return False
    return True


def upstream_url(base: URL, request: web.BaseRequest, *, strip: str = "") -> URL:
    """Return the URL of the upstream server that ``request`` is to be forwarded to.

    Scheme, host and port are those of ``base``, whatever the request asks for. The path of the request is appended to
    that of ``base``, and the query is that of the request, both byte for byte; only a ``?`` without a query is dropped.

    Args:
        base: The URL of the upstream server, ``http:``, ``https:``, ``ws:`` or ``wss:``. Its path is a prefix that no
            request can leave.
        request: The request.
        strip: The part of the request's path that is left out, such as ``"/app"``. Default: empty.

    Raises:
        web.HTTPBadRequest: The target of the request is no path on this host, does not begin with ``strip``, or leaves
            the prefix by ``..``, encoded or not. Its ``Host`` is not valid.
        TypeError: ``base`` is not a ``yarl.URL``, or ``strip`` is not a str.
        ValueError: ``base`` is not absolute, or has user, query or fragment. ``strip`` does not begin with a slash, or
            ends with one.
    """
    check_server(base)
    if base.raw_query_string or base.raw_fragment:
        raise ValueError(f"the base of the upstream server cannot have a query or a fragment: {base.origin()}")
    if not isinstance(strip, str):
        raise TypeError(f"strip must be a str, not {strip!r}")
    if strip and (not strip.startswith("/") or strip.endswith("/")):
        raise ValueError(f"strip must begin with a slash and not end with one, such as '/app', not {strip!r}")
    path, _, query = origin_form(request).partition("?")
    if strip:
        rest = path.removeprefix(strip)
        if len(rest) == len(path) or (rest and not rest.startswith("/")):
            raise _refusal(request, "The path is not one of this gateway")
        path = rest
    if leaves_prefix(path):
        raise _refusal(request, "The path leads out of its prefix")
    if path:
        path = base.raw_path.rstrip("/") + path
    return URL.build(
        scheme=base.scheme, authority=base.raw_authority, path=path or base.raw_path, query_string=query, encoded=True
    )


def check_server(url: object) -> None:
    """Raise TypeError or ValueError if ``url`` is not one of a server, or has a user."""
    if not isinstance(url, URL):
        raise TypeError(f"the URL of the upstream server must be a yarl.URL, not {url!r}")
    if url.scheme not in SCHEMES or not url.raw_host:
        raise ValueError(f"the URL of the upstream server must be absolute, such as http://localhost:8000, not {url}")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError("the URL of the upstream server cannot have a user: set Authorization with headers=")


def origin_form(request: web.BaseRequest) -> str:
    """Return the path and query that ``request`` asks for, as they stood in its first line.

    Raises:
        web.HTTPBadRequest: They are no path, or that of another host. The ``Host`` is not valid.
    """
    check_host(request)
    target = request.raw_path
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        # RFC 9112, section 3.2.2: a server accepts the absolute form, whose host is then that of the request.
        authority, target = absolute.groups()
        if authority.lower() != request.headers.get("Host", "").lower():
            raise _refusal(request, "The target of the request is another host")
        if not target.startswith("/"):
            target = "/" + target
    if not target.startswith("/") or _UNSAFE.search(target) is not None:
        raise _refusal(request, "The target of the request is not a path")
    try:
        target.encode()
    except UnicodeEncodeError:  # bytes outside ASCII that are not UTF-8 cannot be sent on as they are
        raise _refusal(request, "The target of the request is not a path") from None
    return target


def check_host(request: web.BaseRequest) -> None:
    """Raise HTTPBadRequest if there is more than one ``Host``, or one that is not valid (RFC 9112, section 3.2)."""
    hosts = request.headers.getall("Host", ())
    if len(hosts) > 1:
        raise _refusal(request, "There is more than one Host")
    if hosts and _HOST.fullmatch(hosts[0].strip(" \t")) is None:
        raise _refusal(request, "The Host is not valid")


def _refusal(request: web.BaseRequest, text: str) -> web.HTTPBadRequest:
    return as_refusal(request, web.HTTPBadRequest(text=f"{text}\n"))


def leaves_prefix(path: str) -> bool:
    """Check if ``path`` leads above its beginning, for a server that decodes it in whichever way.

    Servers disagree on encoded slashes, backslashes, empty segments, ``;``, on decoding twice, and on characters that
    look like dots. So each way to read a ``..`` counts, and only names that are certain make up for it.
    """
    depth = 0
    for segment in path.split("/"):
        parts = [_END.split(part)[0].strip() for part in _SEPARATOR.split(_decoded(segment))]
        up = parts.count("..")
        if up:
            depth -= up
            if depth < 0:
                return True
        elif any(part not in ("", ".") for part in parts):
            depth += 1
    return False


def _decoded(segment: str) -> str:
    """Return ``segment`` without percent-encoding, however often it was encoded, and with plain dots and slashes."""
    while "%" in segment and (decoded := unquote(_ODD.sub(_plain, segment))) != segment:
        segment = decoded
    return segment if segment.isascii() else normalize("NFKC", segment)


def _plain(match: re.Match[str]) -> str:
    overlong, backslash, code = match.groups()
    return _OVERLONG[(overlong or backslash).lower()] if code is None else chr(int(code, 16))
