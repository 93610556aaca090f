"""Requests and errors of aiohttp in our log lines, ASCII and on one line, see ``session/logtext.py``."""

from __future__ import annotations

import asyncio

from aiohttp import ClientResponse, ClientResponseError, ServerTimeoutError, web

from ..session.logtext import address_of, shortened

__all__ = ["described", "described_error", "described_response", "shortened"]


def described(request: web.BaseRequest, transport: asyncio.BaseTransport | None = None) -> str:
    """Return method, path and peer of ``request``: ``GET /chat from 127.0.0.1:4711``.

    The query is left out, because it may hold secrets. The peer is ``request.remote``, which a middleware may have set;
    if that is not the address of the connection, both are named.

    Args:
        transport: The connection, if it is not that of the request any more.
    """
    peer = address_of(request.transport if transport is None else transport)
    remote = shortened(request.remote or "")
    if remote and peer != remote and not peer.startswith((f"{remote}:", f"[{remote}]:")):
        peer = f"{remote} via {peer}"
    return f"{shortened(request.method, 20)} {shortened(request.rel_url.raw_path)} from {peer}"


def described_response(response: ClientResponse, transport: asyncio.BaseTransport) -> str:
    """Return method, URL and peer of what a client has opened: ``GET http://example.org/chat with 192.0.2.1:80``.

    User, password and query are left out, because they may be secret.
    """
    url = response.url.with_user(None).with_query(None)
    return f"{shortened(response.method, 20)} {shortened(url)} with {address_of(transport)}"


def described_error(exc: BaseException) -> str:
    """Return the type and the text of an error of a client.

    The errors of aiohttp show the whole URL and the fields of the request, which may hold secrets. These are left out.
    """
    text = str(exc)
    if isinstance(exc, ClientResponseError):
        text = f"{exc.status} {exc.message}"
    elif isinstance(exc, ServerTimeoutError):
        text = ""
    return shortened(f"{type(exc).__name__}: {text}" if text else type(exc).__name__, 500)
