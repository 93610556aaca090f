"""The record of one connection: every frame and every other piece of data, both ways, with the time.

It stands between the streams and whoever uses them, so it has all that was on the wire, also what came behind a Close
frame, and how the connection ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..session.frame_log import line_of
from ..wire.codec import Frame, FrameChunk, FrameHeader, FrameParser
from ..wire.codes import CloseReason, Opcode, may_be_sent

End: TypeAlias = Literal["eof", "reset"]
Direction: TypeAlias = Literal["received", "sent"]

MARKS: dict[Direction, str] = {"received": "<", "sent": ">"}
MAX_LINES = 500  # lines that are kept of each connection
MAX_MESSAGES = 5000  # and frames of messages
EXCERPT = 32  # bytes of other data that a line shows
WHOLE = 2**17  # bytes above which the record keeps no payload


def out_of_step(parser: FrameParser) -> bool:
    """Return True if what follows is no frame: it stands behind a Close, or behind bytes that are no frame."""
    return parser.closed or parser.error is not None


def size_of_header(length: int, masked: bool) -> int:
    """Return the bytes of a header with the shortest form of ``length`` (section 5.2)."""
    return 2 + (0 if length < 126 else 2 if length < 2**16 else 8) + 4 * masked


def faults_of(header: Frame | FrameHeader, payload: bytes, size: int) -> Iterator[str]:
    """Find what is wrong with a frame of a client, whatever was agreed on."""
    opcode = header.opcode
    if header.masking_key is None:
        yield "no mask (section 5.1)"
    if opcode not in tuple(Opcode):
        yield f"opcode {int(opcode)} (section 5.2)"
    if opcode.is_control and (size > 125 or not header.fin):
        yield f"a {opcode.name} that is too long or fragmented (section 5.5)"
    if opcode is Opcode.CLOSE and size:
        code = int.from_bytes(payload[:2], "big")
        if size == 1 or not may_be_sent(code):
            yield f"a Close with {code if size > 1 else 'one byte'} (section 7.4)"
        if payload[2:].decode(errors="replace").encode() != payload[2:]:
            yield "a Close whose reason is not UTF-8 (section 8.1)"


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
        lines: The first 500 lines.
        messages: The data frames that were received, and the fragments, up to 128 KiB each. The first 5000.
        close_sent: A Close was sent.
        close: The Close that was received, or None. Its code is 1005 if it had none.
        closed_at: The time at which it came, in seconds since the connection began.
        behind_close: Bytes that were received behind it.
        faults: Faults of frames that were received, whatever was agreed on, and how often.
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
        self._sizes: dict[Direction, int] = {"received": 0, "sent": 0}  # bytes that were in no frame so far
        self._shown: dict[Direction, FrameHeader] = {}
        self.lines: list[Line] = []
        self.messages: list[Frame] = []
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

    def begin_frames(self) -> None:
        """From now on the data consists of frames."""
        self._parsers = {
            direction: FrameParser(masked=None, strict=False, chunk_above=WHOLE) for direction in self._parsers
        }

    def note(self, text: str) -> None:
        """Add a line."""
        if len(self.lines) < MAX_LINES:
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
        self._sizes[direction] += len(data)
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
                self.behind_close = self._sizes[direction]

    def _item(self, direction: Direction, item: Frame | FrameChunk) -> None:
        header = item.header if isinstance(item, FrameChunk) else item
        if isinstance(item, FrameChunk):
            first = self._shown.get(direction) is not item.header
            self._shown[direction] = item.header
            if not first:
                return
            size = item.header.length
        else:
            size = len(item.payload)
        self._sizes[direction] -= size_of_header(size, header.masking_key is not None) + size
        self.note(f"{MARKS[direction]} {line_of(header, item.payload, size)}")
        if direction == "sent":
            self.close_sent |= header.opcode is Opcode.CLOSE
            return
        self.frames += 1
        self.faults.update(faults_of(header, item.payload, size))
        if header.opcode is Opcode.CLOSE and isinstance(item, Frame):
            self.close = item.close_reason or CloseReason(1005)
            self.closed_at = self.now()
        elif not header.opcode.is_control and isinstance(item, Frame) and len(self.messages) < MAX_MESSAGES:
            self.messages.append(item)

    def finish(self, how: End) -> None:
        """Add the end of the connection, by the other side."""
        if self.end is None:
            self.end = how
            self.ended_at = self.now()
            self.note("< end of the stream" if how == "eof" else "< reset")
            self.ended.set()

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


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
