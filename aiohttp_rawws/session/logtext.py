"""Text for our log lines: ASCII, short, and on one line, whatever a peer has sent.

A path may hold ``%0A`` and a header field any byte from 0x80 on. Written to the log as they are, they could forge a
line or send escape sequences to a terminal. The arguments of log calls go through this module.
"""

from __future__ import annotations

from typing import Any

LONGEST = 120  # characters of a path or an address in a log line


def escaped(text: object) -> str:
    """Return ``text`` with everything escaped that is not printable ASCII, and backslashes."""
    return str(text).encode("unicode_escape").decode("ascii")


def shortened(text: object, limit: int = LONGEST) -> str:
    """Return ``text`` escaped, and cut to about ``limit`` characters."""
    whole = str(text)
    short = escaped(whole[:limit])
    return short if len(whole) <= limit else f"{short}..."


def address_of(transport: Any) -> str:
    """Return the address of the peer of ``transport``, such as ``127.0.0.1:4711``, for the log."""
    try:
        name = transport.get_extra_info("peername")
    except Exception:  # a transport of another library, with its own errors
        name = None
    if isinstance(name, (tuple, list)) and len(name) >= 2:
        host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
        return shortened(f"{host}:{name[1]}")
    return shortened(name) if name else "a peer without an address"  # a client of a Unix socket has none
