"""Limits on the number of connections at a time: of all clients together, and of each address."""

from __future__ import annotations

import logging
from collections import Counter
from ipaddress import IPv6Address

from aiohttp import web

from ..errors import HandshakeError
from ..session.timeouts import OnLimit
from .logtext import described, shortened

logger: logging.Logger = logging.getLogger("aiohttp_rawws")


def address_key(address: str | None) -> str | None:
    """Return the key under which ``address`` is counted.

    Args:
        address: An IPv4 or IPv6 address, or any text that a middleware put in its place. None on a Unix socket.

    Returns:
        An IPv4 address as it is. For an IPv6 address its network of 64 bits, which is what one customer gets. None for
        no address: such clients are all alike.
    """
    if not address:
        return None
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


class ConnectionLimit:
    """Counts connections and refuses those above a limit.

    Attributes:
        count: Connections at present.
        by_address: The same for each key of ``address_key()``. Empty if addresses are not limited.
    """

    def __init__(self, max_sessions: int | None, max_sessions_per_address: int | None) -> None:
        """
        Args:
            max_sessions: Connections at a time. None: any number.
            max_sessions_per_address: Connections at a time of each address. None: any number.
        """
        self._max_sessions = max_sessions
        self._max_per_address = max_sessions_per_address
        self.count: int = 0
        self.by_address: Counter[str] = Counter()

    def refusal(self, request: web.BaseRequest, on_limit: OnLimit) -> HandshakeError | None:
        """Check if one more connection is admitted.

        Args:
            request: The request that asks for it, from ``request.remote``.
            on_limit: Called with the name of the option that refuses it.

        Returns:
            None if it is admitted, else the reason.
        """
        if self._max_sessions is not None and self.count >= self._max_sessions:
            logger.info("Refused a WebSocket, %s: %s are open (max_sessions)", described(request), self.count)
            on_limit("max_sessions")
            return HandshakeError(503, "Too many WebSockets are open here")
        key = address_key(request.remote)
        if self._max_per_address is not None and key is not None and self.by_address[key] >= self._max_per_address:
            text = "Refused a WebSocket, %s: %s has %s open (max_sessions_per_address)"
            logger.info(text, described(request), shortened(key), self._max_per_address)
            on_limit("max_sessions_per_address")
            return HandshakeError(429, "Too many WebSockets are open from your address")
        return None

    def acquire(self, address: str | None) -> Slot | None:
        """Count a connection from ``address`` until its slot is released.

        Returns:
            The slot, or None if there is no limit and nothing is counted.
        """
        if self._max_sessions is None and self._max_per_address is None:
            return None
        return Slot(self, None if self._max_per_address is None else address_key(address))

    def change(self, key: str | None, by: int) -> None:
        """Add ``by`` to the count, and to that of ``key`` unless it is None."""
        self.count += by
        if key is not None:
            self.by_address[key] += by
            if not self.by_address[key]:
                del self.by_address[key]  # an address without connections takes no memory


class Slot:
    """The place of one connection under a ``ConnectionLimit``."""

    __slots__ = ("_key", "_limit")

    def __init__(self, limit: ConnectionLimit, key: str | None) -> None:
        self._limit: ConnectionLimit | None = limit
        self._key = key
        limit.change(key, 1)

    def release(self) -> None:
        """Free the place. A second call does nothing."""
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.change(self._key, -1)
