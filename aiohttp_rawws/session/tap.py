"""The tap of a connection: observers see each byte that it receives and sends, and its end, and change nothing.

The log of frames is one, a recording is another. A connection without observers has no tap. That costs it one
comparison for each read, and nothing for each write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any, Literal, cast

from ..errors import PeerError
from .state import CloseState, Side

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

End = Literal["eof", "reset", "abort"]
"""The ways in which a direction of a connection ends: in order, by an error, or because this side drops it."""


class Observer:
    """An observer of one connection. This one ignores everything.

    An observer that raises is dropped, and that is logged. It must not keep the session.
    """

    __slots__ = ()

    def received(self, data: bytes, early: bool) -> None:
        """Bytes arrived, and were not parsed yet.

        Args:
            data: The bytes.
            early: They came with the opening handshake.
        """

    def sent(self, data: bytes) -> None:
        """Bytes go to the transport."""

    def violated(self, error: PeerError) -> None:
        """The session found that the peer broke the protocol."""

    def ended(self, side: Side, how: End) -> None:
        """A side ended its direction of the stream."""

    def lost(self, state: CloseState, limit: str | None) -> None:
        """The connection is gone. Nothing more is reported.

        Args:
            state: Its state.
            limit: The option whose limit ended the connection, or None.
        """


class Tap:
    """The observers of one connection."""

    __slots__ = ("_ended", "_observers", "early", "limit", "transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        """
        Args:
            transport: The transport of the connection.
        """
        self.transport: asyncio.Transport = transport
        self.early: bool = False  # the bytes that arrive came with the opening handshake
        self.limit: str | None = None  # of a layer above, which has ended the session
        self._observers: list[Observer] = []
        self._ended: set[Side] = set()

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def remove(self, observer: Observer) -> bool:
        """Remove ``observer`` if it is there. Returns True if no other is left."""
        if observer in self._observers:
            self._observers.remove(observer)
        return not self._observers

    def watched(self) -> asyncio.Transport:
        """Return the transport for the connection to use. The observers see what is done to it."""
        return cast("asyncio.Transport", WatchedTransport(self))

    # ---- what happens -----------------------------------------------------------------

    def received(self, data: memoryview | bytearray | bytes) -> None:
        copied, early = bytes(data), self.early  # the buffer is used again
        for observer in tuple(self._observers):
            self._call(observer, observer.received, copied, early)

    def sent(self, data: bytes) -> None:
        copied = bytes(data)
        for observer in tuple(self._observers):
            self._call(observer, observer.sent, copied)

    def violated(self, error: PeerError) -> None:
        for observer in tuple(self._observers):
            self._call(observer, observer.violated, error)

    def ended(self, side: Side, how: End) -> None:
        """Report the end of a direction, the first time."""
        if side not in self._ended:
            self._ended.add(side)
            for observer in tuple(self._observers):
                self._call(observer, observer.ended, side, how)

    def lost(self, state: CloseState, limit: str | None) -> None:
        for observer in tuple(self._observers):
            self._call(observer, observer.lost, state, limit)
        self._observers.clear()

    def _call(self, observer: Observer, method: Callable[..., object], *arguments: object) -> None:
        try:
            method(*arguments)
        except Exception:
            self.remove(observer)
            logger.exception("Error in %r, which observed a WebSocket and no longer does", observer)


class WatchedTransport:
    """A transport as a connection with a tap uses it."""

    __slots__ = ("_tap", "_transport")

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._transport = tap.transport

    def write(self, data: bytes) -> None:
        self._tap.sent(data)
        self._transport.write(data)

    def writelines(self, pieces: Collection[bytes]) -> None:
        for piece in pieces:
            self._tap.sent(piece)
        self._transport.writelines(pieces)

    def write_eof(self) -> None:
        self._tap.ended("local", "eof")
        self._transport.write_eof()

    def close(self) -> None:
        self._tap.ended("local", "eof")
        self._transport.close()

    def abort(self) -> None:
        self._tap.ended("local", "abort")
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
