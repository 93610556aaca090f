"""The log of frames: a line at DEBUG for each frame on the wire, by the logger ``aiohttp_rawws.frames``.

A connection writes it if the level was DEBUG when the connection started. A received frame is logged when it arrives,
before all extensions, and a sent one when it is written to the transport, behind all extensions. The log is an observer
(``tap.py``), and costs nothing while it is off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count

from ..errors import PeerError
from ..wire.codec import Frame, FrameChunk, FrameHeader, FrameParser
from ..wire.codes import CloseReason, Opcode
from .logtext import escaped
from .tap import Observer

logger: logging.Logger = logging.getLogger("aiohttp_rawws.frames")

EXCERPT = 64  # bytes of a payload that are shown
BITS = ("fin", "rsv1", "rsv2", "rsv3")

_numbers = count(1)  # of the connections that are logged: two may have the same path and no address


def excerpt(header: Frame | FrameHeader, payload: bytes, size: int) -> str:
    """Return the code and reason of a Close, or the beginning of another payload of ``size`` bytes: text if it is."""
    reason = CloseReason.from_payload(payload) if header.kind is Opcode.CLOSE else None
    if reason is not None:
        return f"{reason.code} {reason.message!a}"
    start = payload[:EXCERPT]
    more = "..." if size > len(start) else ""
    if header.kind is Opcode.TEXT and not header.rsv1:
        return f"{start.decode(errors='replace')!a}{more}"
    return f"{start!r}{more}"


def line_of(header: Frame | FrameHeader, payload: bytes, size: int) -> str:
    """Return what the log says of a frame: opcode, bits, size, and the beginning of the payload."""
    parts = [header.opcode.name]
    if header.opcode is Opcode.CONTINUATION:
        parts.append(f"of {header.kind.name}")
    parts += [bit.upper() for bit in BITS if getattr(header, bit)]
    if header.masking_key is not None:
        parts.append("masked")
    parts.append(f"{size} bytes")
    if payload:
        parts.append(excerpt(header, payload, size))
    return " ".join(parts)


class FrameLog(Observer):
    """The log of one connection. It keeps no frame and no session."""

    __slots__ = ("_about", "_parsers", "_shown")

    def __init__(self, about: str) -> None:
        """
        Args:
            about: Says which connection it is.
        """
        self._about = f"#{next(_numbers)} {about}"
        # By direction. They take everything: a log shows best what a session refuses.
        self._parsers = {sign: FrameParser(masked=None, strict=False, chunk_above=0) for sign in "<>"}
        self._shown: dict[str, FrameHeader] = {}  # by direction: the frame in pieces that has its line already

    def received(self, data: bytes, early: bool) -> None:
        """Log the frames in ``data``, which may begin and end inside of a frame."""
        self._parse("<", data)

    def sent(self, data: bytes) -> None:
        """Log the frames in ``data``, which may begin and end inside of a frame."""
        self._parse(">", data)

    def violated(self, error: PeerError) -> None:
        """Log that the peer broke the protocol."""
        logger.debug("%s < %s: %s", self._about, type(error).__name__, escaped(error))

    def _parse(self, direction: str, data: bytes) -> None:
        parser = self._parsers[direction]
        if parser.closed or parser.error is not None:
            text = "%s %s %d bytes behind a Close, or out of step: %r"
            logger.debug(text, self._about, direction, len(data), data[:EXCERPT])
            return
        for item in parser.feed(data):
            self._log(direction, item)
        error = self._parsers[direction].error
        if error is not None:
            logger.debug("%s %s no frame: %s", self._about, direction, escaped(error))

    def _log(self, direction: str, item: Frame | FrameChunk) -> None:
        if isinstance(item, FrameChunk):
            header = item.header
            if self._shown.get(direction) is not header and (item.payload or item.last):
                self._shown[direction] = header
                logger.debug("%s %s %s", self._about, direction, line_of(header, item.payload, header.length))
        else:
            logger.debug("%s %s %s", self._about, direction, line_of(item, item.payload, len(item.payload)))


def frame_log(describe: Callable[[], str]) -> FrameLog | None:
    """Return the log of a connection that starts now, or None if nobody wants it.

    Args:
        describe: Says which connection it is.
    """
    return FrameLog(describe()) if logger.isEnabledFor(logging.DEBUG) else None
