"""A message of a managed session that waits in pieces, until it is known who takes it: ``receive()`` or a stream."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from enum import Enum

from ..errors import InvalidPayload, PolicyViolation
from ..extensions.base import ExtensionPipeline
from ..wire.codec import Frame, FrameChunk, FrameHeader
from ..wire.codes import Opcode
from .awaitables import wake
from .frame_source import header_of
from .options import SessionOptions
from .queues import IncomingQueue


class Use(Enum):
    """The taker of the message."""

    UNKNOWN = "nobody yet"
    STREAM = "a stream reads it"
    NOBODY = "its stream was left: it is dropped as it arrives"


class ArrivingMessage:
    """The message that is arriving. It is used for one message after the other.

    Pieces wait in ``queue`` up to its limits. Compressed data beyond that is not inflated, so a few bytes that inflate
    to many cost no memory. The session stops reading while ``is_blocked``: there is room for one message.

    Attributes:
        header: The header of its first frame, as it was sent. None: there is no message.
        size: Bytes in all, None if that is not known yet.
        announced: Bytes that it has at least.
        produced: Bytes that were taken in, whether or not they have been taken since.
        use: The taker.
        wanted: A stream waits for the next message.
        complete: The last piece is in the queue.
        paused: The session has stopped reading.
        abandoned: Nothing more is taken in, because this side has sent its Close, or the session has failed.
        rest: Pieces of the latest frame that were not inflated yet.
        fragments: Frames so far.
        mid_frame: The latest frame has not ended.
        decoder: It checks that text is UTF-8. None for other messages.
    """

    __slots__ = (
        "_ends",
        "_max_fragments",
        "_pipeline",
        "abandoned",
        "announced",
        "complete",
        "decoder",
        "fragments",
        "header",
        "mid_frame",
        "paused",
        "produced",
        "queue",
        "rest",
        "size",
        "use",
        "wanted",
    )

    header: FrameHeader | None
    size: int | None
    announced: int
    produced: int
    use: Use
    complete: bool
    rest: Iterator[Frame | FrameChunk] | None
    fragments: int
    mid_frame: bool
    decoder: codecs.IncrementalDecoder | None

    def __init__(self, options: SessionOptions, pipeline: ExtensionPipeline) -> None:
        self.queue: IncomingQueue = IncomingQueue(options.incoming.capacity, options.incoming.max_bytes)
        self._pipeline = pipeline
        self._max_fragments = options.max_fragments
        self.wanted: bool = False
        self.paused: bool = False
        self.abandoned: bool = False
        self.reset()

    def reset(self) -> None:
        """There is no message."""
        self.header = self.size = self.rest = self.decoder = None
        self.use = Use.UNKNOWN
        self.complete = self.mid_frame = self._ends = False
        self.produced = self.announced = self.fragments = 0

    @property
    def kind(self) -> Opcode | None:
        """The kind of the message."""
        return None if self.header is None else self.header.kind

    @property
    def is_untaken(self) -> bool:
        """There is a message, and nobody takes it yet."""
        return self.header is not None and self.use is Use.UNKNOWN

    @property
    def is_blocked(self) -> bool:
        """True if no further frame can be taken in."""
        return self.complete or self.rest is not None or self.queue.is_full()

    # ---- frames in --------------------------------------------------------------------

    def add(self, item: Frame | FrameChunk) -> None:
        """Add the next frame, or chunk of a frame. It is taken in as far as there is room.

        Raises:
            PeerError: The peer sent something invalid, or too much.
        """
        if self.abandoned:
            return
        if isinstance(item, Frame):
            header, begins, self._ends = header_of(item), True, item.fin
            self.mid_frame = False
        else:
            header, begins, self._ends = item.header, item.offset == 0, item.last and item.header.fin
            self.mid_frame = not item.last
        pieces = self._pipeline.incoming(item)
        is_plain = isinstance(pieces, tuple) and pieces[0] is item
        if begins:
            self._begin_frame(header, is_plain)
        if is_plain:
            self._take_in(item)
            if self._ends:
                self._end()
        else:
            self.rest = iter(pieces)
            self.go_on()

    def _begin_frame(self, header: FrameHeader, is_plain: bool) -> None:
        limit = self._max_fragments
        if limit is not None and self.fragments >= limit:
            raise PolicyViolation(f"A message has more than {limit} fragments", "max_fragments", limit)
        self.fragments += 1
        if is_plain:
            self.announced = self.produced + header.length
        if self.header is None:
            self.header = header
            if is_plain and header.fin:
                self.size = header.length
            if header.kind is Opcode.TEXT:
                self.decoder = codecs.getincrementaldecoder("utf-8")()

    def go_on(self) -> None:
        """Take in what has arrived, as far as there is room. Raises PeerError."""
        is_last = False
        while self.rest is not None and (is_last or self.use is Use.NOBODY or not self.queue.is_full()):
            piece = next(self.rest, None)
            if piece is None:
                self.rest = None
                if self._ends:
                    self._end()
            else:
                self._take_in(piece)
                is_last = self._ends and _ends_message(piece)  # nothing comes behind it: no room is needed

    def _take_in(self, piece: Frame | FrameChunk) -> None:
        if piece.payload:
            self._check_text(piece.payload)
            self.produced += len(piece.payload)
            if self.use is not Use.NOBODY:
                self.queue.put_one(piece)

    def _end(self) -> None:
        self._check_text(b"", final=True)
        self.complete = True
        self.size = self.produced

    def _check_text(self, payload: bytes, final: bool = False) -> None:
        if self.decoder is not None:
            try:
                self.decoder.decode(payload, final)
            except UnicodeDecodeError as exc:
                raise InvalidPayload(f"Text is not UTF-8: {exc.reason}") from None

    # ---- pieces out -------------------------------------------------------------------

    def wake(self) -> None:
        """Let the stream look again."""
        if self.queue.waiter is not None:
            wake(self.queue)

    def take_all(self) -> list[bytes]:
        """Take the pieces that wait. There is no message then."""
        payloads = []
        while self.queue.count():
            payloads.append(self.queue.take().payload)
        self.reset()
        return payloads

    def joined(self) -> Frame:
        """Take the message, which is complete, as a Frame."""
        assert self.header is not None
        kind = self.header.kind
        return Frame(kind, b"".join(self.take_all()))

    def skip(self) -> None:
        """Drop the message: what waits of it, and what still arrives. Raises PeerError."""
        self.use = Use.NOBODY
        while self.queue.count():
            self.queue.take()
        self.go_on()
        if self.complete:
            self.reset()

    def abandon(self) -> None:
        """Take in nothing more. Pieces that wait can still be taken."""
        self.abandoned = True
        self.rest = None


def _ends_message(piece: Frame | FrameChunk) -> bool:
    if isinstance(piece, Frame):
        return piece.fin
    return piece.last and piece.header.fin
