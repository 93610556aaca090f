"""Limits on the number of WebSockets at a time: of all clients, and of one address."""

from __future__ import annotations

import logging
from collections import Counter
from ipaddress import IPv6Address

from ..errors import HandshakeError
from ..session.timeouts import OnLimit
from .logtext import escaped

logger = logging.getLogger("aiohttp_rawws")


def group(address: str | None) -> str | None:
    """Return the key under which ``address`` is counted.

    Args:
        address: An IPv4 or IPv6 address, or any text that a middleware put in its place. None on a Unix socket.

    Returns:
        An IPv4 address as it is; of an IPv6 address its network of 64 bits, which is what one customer gets. None for
        no address: such clients cannot be told apart.
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


class Seats:
    """Counts the connections.

    Args:
        limit: Connections at a time, or None for any number.
        per_address: Connections at a time of each address, or None for any number.
    """

    def __init__(self, limit: int | None, per_address: int | None) -> None:
        self._limit = limit
        self._per_address = per_address
        self._taken = 0
        self._by_address: Counter[str] = Counter()

    def refusal(self, address: str | None, on_limit: OnLimit) -> HandshakeError | None:
        """Check if one more connection from ``address`` is admitted.

        Args:
            address: The address of the client, or None.
            on_limit: Called with the name of the option that refuses it.

        Returns:
            None if it is admitted, else the reason.
        """
        if self._limit is not None and self._taken >= self._limit:
            logger.info("Refused a WebSocket of %s: there are %s (max_sessions)", escaped(address), self._taken)
            on_limit("max_sessions")
            return HandshakeError(503, "Too many WebSockets are open here")
        key = group(address)
        if self._per_address is not None and key is not None and self._by_address[key] >= self._per_address:
            text = "Refused a WebSocket of %s: it has %s (max_sessions_per_address)"
            logger.info(text, escaped(key), self._per_address)
            on_limit("max_sessions_per_address")
            return HandshakeError(429, "Too many WebSockets of your address are open here")
        return None

    def take(self, address: str | None) -> Seat | None:
        """Count a connection until its seat is given back. Returns None if nothing is counted."""
        if self._limit is None and self._per_address is None:
            return None
        return Seat(self, group(address))

    def change(self, key: str | None, by: int) -> None:
        self._taken += by
        if key is not None and self._per_address is not None:
            self._by_address[key] += by
            if not self._by_address[key]:
                del self._by_address[key]


class Seat:
    """The place of one connection."""

    __slots__ = ("_key", "_seats")

    def __init__(self, seats: Seats, key: str | None) -> None:
        self._seats: Seats | None = seats
        self._key = key
        seats.change(key, 1)

    def give_back(self) -> None:
        """Free the place. A second call does nothing."""
        seats, self._seats = self._seats, None
        if seats is not None:
            seats.change(self._key, -1)
