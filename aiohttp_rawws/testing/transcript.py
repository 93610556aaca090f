"""The record of one connection: every frame and every other piece of data, both ways, with the time.

It stands between the streams and whoever uses them, so it has all that was on the wire, also what came behind a Close
frame, and how the connection ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..session.frame_log import line_of
from ..wire.codec import Frame, FrameChunk, FrameHeader, FrameParser
from ..wire.codes import CloseReason, Opcode
from .faults import FrameCheck, Headers

End: TypeAlias = Literal["eof", "reset"]
Direction: TypeAlias = Literal["received", "sent"]

MARKS: dict[Direction, str] = {"received": "<", "sent": ">"}
MAX_LINES = 500  # lines that are kept of each connection: half of them are the first ones, half the last ones
MAX_MESSAGES = 5000  # and frames of messages
MAX_KEPT = 32 * 2**20  # and bytes of their payloads
EXCERPT = 32  # bytes of other data that a line shows
WHOLE = 2**17  # bytes above which the record keeps no payload


def out_of_step(parser: FrameParser) -> bool:
    """Return True if what follows is no frame: it stands behind a Close, or behind bytes that are no frame."""
    return parser.closed or parser.error is not None


@dataclass(frozen=True)
class Line:
    """One line of a transcript.

    Attributes:
        at: Seconds since the connection began.
        text: ``<`` (received) or ``>`` (sent), and the frame or the data; or the end of the connection.
    """

    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.at:8.3f} s  {self.text}"


class Transcript:
    """The record of one connection. Times are those of the loop.

    Attributes:
        lines: The first 250 lines, and the last 250.
        left_out: The number of lines between them that were not kept.
        messages: The data frames that were received, and the fragments, up to 128 KiB each. The first 5000, and 32 MiB.
        pongs: The payloads of the Pongs that were received. The first 5000.
        close_sent: A Close was sent.
        close: The Close that was received, or None. Its code is 1005 if it had none.
        closed_at: The time at which it came, in seconds since the connection began.
        behind_close: Bytes that were received behind it.
        faults: Faults of frames that were received, and how often.
        frames: Frames that were received.
        error: Text of the error if bytes were received that are no frame.
        ended: Set when the other side has ended the connection.
        end: How it did: "eof", "reset", or None.
        ended_at: The time of that, in seconds since the connection began.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._parsers: dict[Direction, FrameParser | None] = {"received": None, "sent": None}
        self._in_no_frame = 0  # bytes that were received and were in no frame so far
        self._headers = Headers()  # of what is received
        self._check = FrameCheck(deflate=True)
        self._shown: dict[Direction, FrameHeader] = {}
        self._kept = 0  # bytes of the messages
        self.lines: list[Line] = []
        self.left_out: int = 0
        self.messages: list[Frame] = []
        self.pongs: list[bytes] = []
        self.close_sent: bool = False
        self.close: CloseReason | None = None
        self.closed_at: float | None = None
        self.behind_close: int = 0
        self.faults: Counter[str] = Counter()
        self.frames: int = 0
        self.error: str | None = None
        self.ended: asyncio.Event = asyncio.Event()
        self.end: End | None = None
        self.ended_at: float | None = None

    def now(self) -> float:
        """Return the seconds since the connection began."""
        return self._loop.time() - self._began

    def begin_frames(self, deflate: bool = True) -> None:
        """From now on the data consists of frames.

        Args:
            deflate: permessage-deflate was agreed on, or may have been. False: RSV1 is a fault. Default: True.
        """
        self._check = FrameCheck(deflate)
        self._parsers = {
            direction: FrameParser(masked=None, strict=False, chunk_above=WHOLE) for direction in self._parsers
        }

    def note(self, text: str) -> None:
        """Add a line."""
        if len(self.lines) == MAX_LINES:
            del self.lines[MAX_LINES // 2]
            self.left_out += 1
        self.lines.append(Line(self.now(), text))

    def data(self, direction: Direction, data: bytes) -> None:
        """Add data that was received or sent."""
        parser = self._parsers[direction]
        if parser is None or out_of_step(parser):
            if parser is not None and direction == "received" and parser.closed:
                self.behind_close += len(data)
            more = f"... ({len(data)} bytes)" if len(data) > EXCERPT else ""
            self.note(f"{MARKS[direction]} {data[:EXCERPT]!r}{more}")
            return
        if direction == "received":
            self._in_no_frame += len(data)
            self._headers.feed(data)
        for item in parser.feed(data):
            self._item(direction, item)
        if out_of_step(parser):
            self._no_more_frames(direction, parser)

    def _no_more_frames(self, direction: Direction, parser: FrameParser) -> None:
        if parser.error is not None:
            self.note(f"{MARKS[direction]} no frame: {parser.error}")
        if direction == "received":
            if parser.error is not None:
                self.error = str(parser.error)
            else:
                self.behind_close = self._in_no_frame

    def _item(self, direction: Direction, item: Frame | FrameChunk) -> None:
        header = item.header if isinstance(item, FrameChunk) else item
        if isinstance(item, FrameChunk):
            first = self._shown.get(direction) is not item.header
            self._shown[direction] = item.header
            if not first:
                if direction == "received":
                    self.faults.update(self._check.payload(item))
                return
            size = item.header.length
        else:
            size = len(item.payload)
        self.note(f"{MARKS[direction]} {line_of(header, item.payload, size)}")
        if direction == "sent":
            self.close_sent |= header.opcode is Opcode.CLOSE
            return
        raw = self._headers.whole.popleft()
        self._in_no_frame -= len(raw) + size
        self.frames += 1
        self.faults.update(self._check.faults(item, raw))
        if not isinstance(item, Frame):
            return
        if header.opcode is Opcode.CLOSE:
            self.close = item.close_reason or CloseReason(1005)
            self.closed_at = self.now()
        elif header.opcode is Opcode.PONG:
            if len(self.pongs) < MAX_MESSAGES:
                self.pongs.append(item.payload)
        elif not header.opcode.is_control and len(self.messages) < MAX_MESSAGES and self._kept + size <= MAX_KEPT:
            self.messages.append(item)
            self._kept += size

    def finish(self, how: End) -> None:
        """Add the end of the connection, by the other side."""
        if self.end is None:
            self.end = how
            self.ended_at = self.now()
            self.note("< end of the stream" if how == "eof" else "< reset")
            self.ended.set()

    def __str__(self) -> str:
        lines = list(map(str, self.lines))
        if self.left_out:
            lines.insert(MAX_LINES // 2, f"{'':12}({self.left_out} lines are left out)")
        return "\n".join(lines)


class TapReader:
    """A stream reader whose data is recorded."""

    def __init__(self, reader: asyncio.StreamReader, transcript: Transcript) -> None:
        self._reader = reader
        self._transcript = transcript

    async def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, b"" at the end of the stream."""
        return await self._recorded(self._reader.read(n))

    async def readuntil(self, separator: bytes) -> bytes:
        """Return the bytes up to and with ``separator``."""
        return await self._recorded(self._reader.readuntil(separator))

    async def _recorded(self, reading: Awaitable[bytes]) -> bytes:
        try:
            data = await reading
        except asyncio.IncompleteReadError as exc:
            if exc.partial:
                self._transcript.data("received", exc.partial)
            self._transcript.finish("eof")
            raise
        except OSError:
            self._transcript.finish("reset")
            raise
        if data:
            self._transcript.data("received", data)
        else:
            self._transcript.finish("eof")
        return data


class TapWriter:
    """A stream writer whose data is recorded."""

    def __init__(self, writer: asyncio.StreamWriter, transcript: Transcript) -> None:
        self._writer = writer
        self._transcript = transcript

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The transport underneath."""
        return self._writer.transport

    def write(self, data: bytes, /) -> None:
        """Send ``data``."""
        self._transcript.data("sent", data)
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until more can be written. A lost connection ends the wait, too."""
        try:
            await self._writer.drain()
        except OSError:
            pass

    def can_write_eof(self) -> bool:
        """Return True if one direction can be ended alone, which TLS cannot do."""
        return self._writer.can_write_eof()

    def write_eof(self) -> None:
        """End our direction."""
        self._transcript.note("> end of the stream")
        self._writer.write_eof()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._writer.wait_closed()

    def is_closing(self) -> bool:
        """Return True if the connection is closed, or closes."""
        return self._writer.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information of the transport."""
        return self._writer.get_extra_info(name, default)
