"""The methods of a transport that a session needs. Not every event loop has transports with all of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from typing import Any
from weakref import WeakSet

# Not write_eof() and is_reading(), which the TLS transport of Python 3.10 does not have: the first is only called where
# can_write_eof() is true.
METHODS = (
    "set_protocol",
    "get_protocol",
    "write",
    "set_write_buffer_limits",
    "get_write_buffer_size",
    "pause_reading",
    "resume_reading",
    "can_write_eof",
    "is_closing",
    "close",
    "abort",
    "get_extra_info",
)

_complete: WeakSet[type] = WeakSet()  # types of transports that have all METHODS
_changeable: WeakSet[type] = WeakSet()  # types of transports whose protocol can be changed


def name_of(transport: object) -> str:
    cls = type(transport)
    return f"{cls.__module__}.{cls.__qualname__}"


def missing_method(transport: object) -> str | None:
    """Return a text that names the first of METHODS that ``transport`` does not have, or None. Each type is checked
    once."""
    cls = type(transport)
    if cls in _complete:
        return None
    for name in METHODS:
        # The methods of asyncio's base class raise NotImplementedError, but for get_extra_info().
        abstract = None if name == "get_extra_info" else getattr(asyncio.Transport, name)
        if not callable(getattr(transport, name, None)) or getattr(cls, name, None) is abstract is not None:
            return f"{name_of(transport)} has no {name}()"
    _complete.add(cls)
    return None


def why_unfit(transport: asyncio.Transport) -> str | None:
    """Check if a session can take ``transport`` over from its protocol. Each type is checked once.

    Returns:
        None if it can, else a text that names the method that the transport lacks.
    """
    cls = type(transport)
    if cls in _changeable:
        return None
    missing = missing_method(transport)
    if missing is not None:
        return missing
    try:
        transport.set_protocol(transport.get_protocol())  # changes nothing
    except Exception as exc:  # such as a NotImplementedError
        return f"{name_of(transport)} cannot do set_protocol(): {exc!r}"
    _changeable.add(cls)
    return None


def attach(transport: asyncio.Transport, protocol: asyncio.BaseProtocol, *, high: int, low: int) -> None:
    """Make ``protocol`` the protocol of ``transport``.

    Args:
        transport: The transport.
        protocol: Its new protocol.
        high: Bytes waiting to be sent above which writing is paused.
        low: Bytes below which it is resumed.

    Raises:
        TypeError: The transport lacks a method that a session needs.
    """
    missing = missing_method(transport)
    if missing is not None:
        raise TypeError(f"This transport cannot carry a session: {missing}")
    try:
        transport.set_write_buffer_limits(high=high, low=low)
        transport.set_protocol(protocol)
    except NotImplementedError as exc:
        raise TypeError(f"This transport cannot carry a session: {name_of(transport)}: {exc!r}") from exc


def can_gather(transport: asyncio.Transport) -> bool:
    """True if ``transport.writelines()`` neither joins the pieces nor forgets to pause the writer.

    asyncio's own joins them before Python 3.12, and does not call ``pause_writing()`` before 3.12.9 and 3.13.2
    (CVE-2024-12254).
    """
    cls = type(transport)
    if getattr(cls, "writelines", None) in (None, asyncio.WriteTransport.writelines):
        return False
    if not cls.__module__.startswith("asyncio."):
        return True
    return sys.version_info >= (3, 13, 2) or (3, 12, 9) <= sys.version_info < (3, 13)


# The TLS transport of Python 3.10 drops its TCP transport one iteration of the loop before it reports the loss; that of
# 3.11 drops its protocol when it is closed twice. Then some of its methods raise AttributeError.


def is_broken(transport: asyncio.Transport) -> bool:
    """True if ``transport`` is lost and has not reported it yet, as far as it shows."""
    try:
        transport.get_write_buffer_size()
    except AttributeError:
        return True
    return False


def bytes_unsent(transport: asyncio.Transport) -> int:
    """Bytes in the buffer of ``transport``; 0 if it is broken."""
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0


def socket_of(transport: asyncio.BaseTransport) -> Any:
    """The socket of ``transport``, or whatever the loop shows of it; None if there is none any more."""
    try:
        return transport.get_extra_info("socket")
    except AttributeError:
        return None


def abort(transport: asyncio.BaseTransport) -> None:
    """Drop the connection. A TLS transport of Python 3.11.2 that was closed twice raises: nothing is left to drop."""
    with contextlib.suppress(AttributeError):
        transport.abort()  # type: ignore[attr-defined]  # typeshed has it for writing transports only


def set_reading(transport: asyncio.Transport, reading: bool) -> None:
    """Resume or pause reading; nothing if ``transport`` is broken."""
    try:
        if reading:
            transport.resume_reading()
        else:
            transport.pause_reading()
    except AttributeError:
        if not is_broken(transport):
            raise


def no_half_close(transport: asyncio.Transport) -> NotImplementedError:
    """The error for a transport that cannot end one direction alone, as asyncio raises it for ``write_eof()``."""
    return NotImplementedError(
        f"{name_of(transport)} cannot end one side of the stream alone, as TLS cannot: end() ends both"
    )


def reset_when_closed(transport: asyncio.Transport) -> None:
    """Have the TCP connection under ``transport`` end with a reset when it is closed. Others are left as they are."""
    opened = socket_of(transport)
    try:
        # A duplicate has the same options, and the objects that loops show instead of a socket cannot all set them.
        with socket.socket(fileno=os.dup(opened.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except (AttributeError, OSError):
        pass  # there is no socket, or it is closed
