"""The header fields of a gateway: those that go on, and those that are about one connection only."""

from __future__ import annotations

import re
from collections.abc import Container
from ipaddress import IPv6Address
from typing import Literal

from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from ..web import handshake

Forwarded = Literal["x-forwarded", "rfc7239"] | None
"""The fields that name the client to the upstream server: ``X-Forwarded-...``, ``Forwarded``, or none."""

# RFC 9110, section 7.6.1, and those of HTTP/1.1 before it. All of them are about one connection.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)

# Each hop has its own handshake, and the request has no body.
OF_THE_REQUEST = HOP_BY_HOP | {"sec-websocket-key", "sec-websocket-version", "content-length", "expect"}

# Fields by which a proxy names its client. A client that is no proxy can forge them. For servers of CGI and WSGI an
# underscore is the same as a hyphen.
_CLAIM = re.compile(r"x[-_]forwarded[-_].*|forwarded|x[-_]real[-_]ip", re.IGNORECASE)

_UNIX = "unix"  # the address of a client on a Unix socket


def end_to_end(fields: MultiMapping[str], dropped: Container[str] = HOP_BY_HOP) -> CIMultiDict[str]:
    """Return the fields that go on: without those that are ``dropped``, and those that ``Connection`` names."""
    named = {name.lower() for name in handshake.elements(fields, "Connection")} - {"host"}
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in fields.items():
        known = name.lower()
        if known not in dropped and known not in named:
            kept.add(name, value)
    return kept


def undecodable(fields: MultiMapping[str]) -> set[str]:
    """Return the names of the fields with bytes that are not UTF-8. aiohttp cannot send them as they are."""
    return {name for name, value in fields.items() if not _is_utf8(value)}


def unsendable(fields: MultiMapping[str]) -> set[str]:
    """Return the names of the fields that are not UTF-8, or have control characters."""
    return {name for name, value in fields.items() if not (handshake.is_field(name, value) and _is_utf8(value))}


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def address_of_client(request: web.BaseRequest) -> str:
    """Return the address at the other end of the connection, or "unix". A middleware may have set another remote."""
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    if not isinstance(peer, (tuple, list)) or not peer:
        return _UNIX
    address = str(peer[0]).partition("%")[0]  # without the zone, which means nothing elsewhere
    try:
        mapped = IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


def add_forwarded(
    fields: CIMultiDict[str], request: web.BaseRequest, how: Forwarded, trust: Container[str] = ()
) -> None:
    """Name the client to the upstream server.

    Args:
        fields: The fields of the request to the upstream server. They are changed.
        request: The request of the client.
        how: The fields to use. None: nothing is added, and nothing removed.
        trust: The addresses of proxies. Claims of others about their client are removed.
    """
    if how is None:
        return
    address = address_of_client(request)
    if address not in trust:
        for name in {name for name in fields if _CLAIM.fullmatch(name)}:
            fields.popall(name)
    host = request.headers.get("Host", "")
    scheme = "https" if request.secure else "http"
    if how == "rfc7239":
        element = f"for={_node(address)};proto={scheme}"
        if host:
            element += f';host="{_escaped(host)}"'
        _append(fields, "Forwarded", element)
        return
    if address != _UNIX:
        _append(fields, "X-Forwarded-For", address)
    fields.setdefault("X-Forwarded-Proto", scheme)
    if host:
        fields.setdefault("X-Forwarded-Host", host)


def _append(fields: CIMultiDict[str], name: str, element: str) -> None:
    """Add ``element`` to a comma list. Several lines become one: some servers read only the first."""
    fields[name] = ", ".join([*fields.popall(name, ()), element])


def _node(address: str) -> str:
    """Return ``address`` as RFC 7239, section 6 has it."""
    if address == _UNIX:
        return "unknown"
    return f'"[{address}]"' if ":" in address else address


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
