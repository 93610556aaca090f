"""Text that came from a client, as it appears in our log lines: ASCII, and on one line.

A path may hold ``%0A`` and a header field any byte from 0x80 on. Written to the log as they are, they could forge a
line or send escape sequences to a terminal. The arguments of log calls go through this module.
"""

from __future__ import annotations

from aiohttp import web


def escaped(text: object) -> str:
    """Return ``text`` with everything escaped that is not printable ASCII, and backslashes."""
    return str(text).encode("unicode_escape").decode("ascii")


def target(request: web.BaseRequest) -> str:
    """Return scheme, host and path of ``request``, without the query, which may hold secrets."""
    return escaped(f"{request.scheme}://{request.host}{request.rel_url.raw_path}")
