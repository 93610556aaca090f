"""Redirects of the opening handshake: aiohttp refuses those to ``ws:``, and would send the same key again."""

from __future__ import annotations

from typing import NamedTuple

import aiohttp
from yarl import URL

from .client_options import ConnectOptions

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SCHEMES = {"http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}
SECRET_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Hop(NamedTuple):
    """One request of an opening handshake.

    Attributes:
        url: Its URL.
        options: Its options. After a redirect they have lost what must not go on.
    """

    url: URL
    options: ConnectOptions


class NotFollowed(Exception):
    """This redirect is not followed. The text says why."""


def next_hop(client_session: aiohttp.ClientSession, response: aiohttp.ClientResponse, hop: Hop) -> Hop:
    """Return the request that a redirect asks for.

    ``Authorization``, ``Cookie``, ``Proxy-Authorization``, ``secret_headers`` and ``Host`` do not go to another origin.

    Args:
        client_session: Its default fields cannot be left out, so they must not be secret if the origin changes.
        response: The answer to ``hop``. Its status is one of ``REDIRECTS``.
        hop: The request that was redirected.

    Raises:
        NotFollowed: The redirect goes nowhere, or where it must not go.
    """
    location = response.headers.get("Location")
    if not location:
        raise NotFollowed("it has no Location")
    url = hop.url if hop.url.absolute else response.url  # relative to the base_url of the ClientSession
    # As it is, if it can stand in a request line.
    encoded = location.isascii() and location.isprintable() and " " not in location
    try:
        target = url.join(URL(location, encoded=encoded)).with_fragment(None)
        scheme = SCHEMES[target.scheme]
        before = _origin(url)
        after = _origin(target)
        if not target.raw_host:
            raise ValueError("no host")
    except (ValueError, KeyError):
        raise NotFollowed(f"it leads to {location!a}, which is no URL of a WebSocket") from None
    if scheme == "ws" and SCHEMES[url.scheme] == "wss":
        raise NotFollowed(f"it leads from TLS to {location!a}")
    options = hop.options
    if options.params is not None:
        options = options.replace(params=None)
    if after == before:
        return Hop(target, options)
    names = {name.lower() for name in client_session.headers} & (SECRET_FIELDS | options.secret_headers)
    if getattr(client_session, "auth", None) is not None:  # aiohttp 4 has no such argument
        names.add("authorization")
    if names:
        raise NotFollowed(
            f"it leads to another origin, which would get {', '.join(sorted(names))} of the ClientSession"
        )
    headers = options.headers
    if headers is not None:
        secret = SECRET_FIELDS | options.secret_headers | {"host"}
        kept = [(name, value) for name, value in headers.items() if name.lower() not in secret]
        options = options.replace(headers=kept)
    return Hop(target, options.replace(server_hostname=None))


def _origin(url: URL) -> URL:
    """The origin of ``url``. That of ``http:`` is that of ``ws:``, and its port is the same."""
    return url.with_scheme(SCHEMES[url.scheme]).origin()
