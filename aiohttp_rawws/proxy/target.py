"""The URL of the upstream server for a request: path and query byte for byte, and never another host."""

from __future__ import annotations

import re
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
            the prefix by ``..``, encoded or not.
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
        web.HTTPBadRequest: They are no path, or that of another host.
    """
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


def _refusal(request: web.BaseRequest, text: str) -> web.HTTPBadRequest:
    return as_refusal(request, web.HTTPBadRequest(text=f"{text}\n"))


def leaves_prefix(path: str) -> bool:
    """Check if ``path`` leads above its beginning, for a server that decodes it in whichever way.

    Servers disagree on encoded slashes, backslashes, empty segments, ``;`` and on decoding twice. So each way to read a
    ``..`` counts, and only names that are certain make up for it.
    """
    depth = 0
    for segment in path.split("/"):
        parts = [part.partition(";")[0].strip() for part in _SEPARATOR.split(_decoded(segment))]
        up = parts.count("..")
        if up:
            depth -= up
            if depth < 0:
                return True
        elif any(part not in ("", ".") for part in parts):
            depth += 1
    return False


def _decoded(segment: str) -> str:
    """Return ``segment`` without percent-encoding, however often it was encoded."""
    while "%" in segment and (decoded := unquote(segment)) != segment:
        segment = decoded
    return segment
