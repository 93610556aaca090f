"""The reference parser: bytes to frames (RFC 6455, section 5), in plain Python.

``parser.pyx`` is the same compiled. A change here is a change there; ``tests/wire/test_codec_parity.py`` compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import PeerError
from . import _shared as shared
from .chunks import FrameChunk
from .frames import Frame, make_frame
from .header_bits import BINARY, CLOSE, CONTINUATION, CONTROL, FIN, LENGTH_16, MASKED, OPCODE, TEXT, UNMASKED
from .header_reader import read_header
from .masking import masked
from .open_frame import OpenFrame
from .strictness import VALUES, Strictness, checked_strictness

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FrameParser"]

# The first bytes of frames that are a whole message, with any reserved bits. Most frames begin with one of these, and
# if no message is open, there is nothing to check or to remember about it.
WHOLE_MESSAGE_HEADS = frozenset(FIN | rsv | opcode for rsv in range(0, 0x80, 0x10) for opcode in (TEXT, BINARY))

_number = int.from_bytes  # looked up once: a tenth of a short payload's time


def _octets(data: Buffer, length: int) -> bytes:
    """Copy the first ``length`` bytes of ``data``, all of them if negative."""
    if isinstance(data, (bytearray, bytes)) and 0 <= length <= len(data):  # as sessions call it: 0.26 us less
        return memoryview(data)[:length].tobytes()
    with memoryview(data) as view, view.cast("B") as octets:
        return octets[: shared.checked_length(length, len(octets))].tobytes()


class FrameParser:
    """Turns the bytes of one direction of a connection into frames, whatever way they are cut.

    An error of the peer is not raised, so that the frames before it are not lost: it is kept in ``error``. After an
    error, or after a Close frame (section 5.5.1), the parser ignores all further bytes.

    The four options can be set at any time, and hold from the next header on. One caller at a time.

    Attributes:
        masked: The option.
        strict: The option.
        max_frame_size: The option.
        chunk_above: The option.
        error: The PeerError that ended the stream, None if there is none.
        closed: A Close frame was delivered.
        pending: Bytes held that were not parsed, because a limit stopped ``feed()`` or a header is not complete.
        mid_frame: Bytes are held of a frame that was not delivered. The stream must not end here.
    """

    def __init__(
        self,
        *,
        masked: bool | None = True,
        strict: Strictness = True,
        max_frame_size: int | None = None,
        chunk_above: int | None = None,
    ) -> None:
        """
        Args:
            masked: True if the peer must mask its frames (it is a client), False if it must not, None to accept both.
                Default: True.
            strict: Refuse what RFC 6455 refuses. "hop": refuse wrong masks, lengths that are not in the shortest form,
                and control frames of more than 125 bytes. If False, deliver what can be delivered. Default: True.
            max_frame_size: Bytes of payload that a frame may have. Default: None (any number).
            chunk_above: A data frame of more bytes than this that does not come at once is delivered in pieces, as
                FrameChunks. Default: None (no frame is).

        Raises:
            ValueError: A number of bytes is negative.
            TypeError: ``strict`` is something else.
        """
        self.masked = masked
        self.strict = strict
        self.max_frame_size = max_frame_size
        self.chunk_above = chunk_above
        self.error: PeerError | None = None
        self.closed: bool = False
        self._message = CONTINUATION  # the kind of the message whose fragments are coming, CONTINUATION if none is
        self._open: OpenFrame | None = None
        self._leftover: bytes | bytearray = b""
        self._parsed = 0  # bytes at the start of the leftover that were parsed since

    @property
    def strict(self) -> Strictness:
        return VALUES[self._strict]

    @strict.setter
    def strict(self, value: Strictness) -> None:
        self._strict = checked_strictness(value)

    @property
    def max_frame_size(self) -> int | None:
        return None if self._limit == shared.NO_LIMIT else self._limit

    @max_frame_size.setter
    def max_frame_size(self, value: int | None) -> None:
        self._limit = shared.checked_limit("max_frame_size", value)

    @property
    def chunk_above(self) -> int | None:
        return None if self._chunk_above == shared.NO_LIMIT else self._chunk_above

    @chunk_above.setter
    def chunk_above(self, value: int | None) -> None:
        self._chunk_above = shared.checked_limit("chunk_above", value)

    @property
    def pending(self) -> int:
        return len(self._leftover) - self._parsed

    @property
    def mid_frame(self) -> bool:
        return self._open is not None or self.pending > 0

    def held(self) -> tuple[bytes, int]:
        """Return the ``pending`` bytes, and the number of bytes that are missing of a frame whose payload has begun."""
        missing = 0 if self._open is None else self._open.length - self._open.received
        return bytes(self._leftover[self._parsed :]), missing

    def feed(
        self, data: Buffer, length: int = -1, max_frames: int = -1, max_bytes: int = -1
    ) -> list[Frame | FrameChunk]:
        """Parse the next bytes.

        Args:
            data: Any contiguous buffer. It is not kept.
            length: Bytes of ``data`` that count. Default: all.
            max_frames: Begin no other frame once so many items were produced. Default: no limit.
            max_bytes: Begin no other frame once so many bytes of payload were produced. Default: no limit.

        A frame that is partly there is continued in any case, and counts. Bytes that were not parsed are held for the
        next call, which may be ``feed(b"")``.

        Returns:
            The frames, and pieces of frames, that are complete, in order.
        """
        received: bytes | bytearray = _octets(data, length)
        items: list[Frame | FrameChunk] = []
        if self.closed or self.error is not None:
            return items
        position = 0
        if self._leftover:
            received, position = self._after_leftover(received), self._parsed
        elif self._open is not None and received:
            position = self._continue(received, items)
        try:
            position = self._parse(received, position, items, max_frames, max_bytes)
        except PeerError as error:
            self.error = error
            position = len(received)  # ignore the rest
        self._leftover, self._parsed = (received, position) if position < len(received) else (b"", 0)
        return items

    def _after_leftover(self, received: bytes | bytearray) -> bytes | bytearray:
        """Return the leftover with ``received`` behind it. It moves only once it has doubled, or half was parsed: time
        and memory stay linear however small the pieces are."""
        leftover = self._leftover
        if not received:
            return leftover
        if not isinstance(leftover, bytearray):
            leftover, self._parsed = bytearray(leftover[self._parsed :]), 0
        elif 2 * self._parsed > len(leftover):
            del leftover[: self._parsed]
            self._parsed = 0
        leftover += received
        return leftover

    def _parse(
        self,
        data: bytes | bytearray,
        position: int,
        items: list[Frame | FrameChunk],
        max_frames: int,
        max_bytes: int,
    ) -> int:
        """Parse ``data`` from ``position`` on, as far as is allowed. Returns where it stopped."""
        produced = len(items[0].payload) if items else 0  # by the end of a frame that was open
        size = len(data)
        expected = MASKED if self.masked else 0
        while (
            position < size
            and (max_frames < 0 or len(items) < max_frames)
            and (max_bytes < 0 or produced < max_bytes)
            and not self.closed
        ):
            head = data[position]
            # A whole message below 64 KiB, all of it here, the mask as expected, the length in its shortest form: then
            # nothing is wrong, and to see that at once takes half the time. `read_header()` judges whatever differs.
            if head in WHOLE_MESSAGE_HEADS and self._message == CONTINUATION and position + 4 <= size:
                coded = length = data[position + 1] ^ expected  # 128 or more if the mask is not as expected
                start = position + 2
                if coded == LENGTH_16:
                    length = data[start] << 8 | data[start + 1]
                    start += 2
                if expected:
                    start += 4
                stop = start + length
                if coded <= LENGTH_16 and coded <= length <= self._limit and stop <= size:
                    payload, key = data[start:stop], UNMASKED
                    if expected:
                        masking_key = data[start - 4 : start]
                        payload, key = masked(payload, masking_key), _number(masking_key, "big")
                    elif type(payload) is not bytes:  # a part of the leftover
                        payload = bytes(payload)
                    items.append(make_frame(head, head & OPCODE, payload, key))
                    position, produced = stop, produced + length
                    continue
            header = read_header(data, position, self._strict, self.masked, self._limit, self._message)
            if header is None:
                break
            length, key, start = header
            position = min(start + length, size)
            count = len(items)
            self._begin(head, length, key, data[start:position], items)
            if len(items) > count:
                produced += len(items[-1].payload)
        return size if self.closed else position  # ignore everything after a Close

    def target(self) -> memoryview | None:
        """Return where the next bytes should be written, if more than 16 KiB of a payload are missing.

        The view is for one write. Drop it before ``advance()``.

        Returns:
            A writable view, or None: pass the next bytes to ``feed()``.
        """
        return None if self._open is None else self._open.target()

    def advance(self, count: int) -> list[Frame | FrameChunk]:
        """Take the next ``count`` bytes from the target.

        Returns:
            The frame, if they complete it.

        Raises:
            RuntimeError: There is no target.
            ValueError: The target is smaller.
        """
        frame = self._open
        items: list[Frame | FrameChunk] = []
        if frame is None or frame.announced is not None:
            raise RuntimeError(shared.NO_TARGET)
        frame.advance(count)
        if frame.received == frame.length:
            self._deliver(frame.frame(), items)
        return items

    def detach(self) -> tuple[int, int, bytes, bytes]:
        """Give away the bytes that are held, and the state to go on from there. The parser is at a start then.

        A length that was not in its shortest form has it now.

        Returns:
            The kind of the message that is open, CONTINUATION if none is. The bytes of payload that the data frame
            misses which has begun, 0 if none has. The bytes of that frame which were held. The bytes of later frames.
        """
        missing, begun, later = 0, b"", bytes(self._leftover[self._parsed :])
        frame = self._open
        if frame is not None and frame.head & CONTROL:
            later = frame.wire()
        elif frame is not None:
            missing, begun = frame.length - frame.received, frame.wire()
        message, self._message = self._message, CONTINUATION
        self._open, self._leftover, self._parsed = None, b"", 0
        return message, missing, begun, later

    def split(self) -> FrameChunk | None:
        """Deliver the frame that is arriving in pieces, whatever ``chunk_above`` was when its header came.

        Returns:
            The part of it that has arrived, as the first chunk. None if no data frame is arriving, or if it comes in
            chunks anyway.
        """
        frame = self._open
        return None if frame is None or frame.announced is not None or frame.head & CONTROL else frame.split()

    def _begin(
        self, head: int, length: int, key: int, data: bytes | bytearray, items: list[Frame | FrameChunk]
    ) -> None:
        """Begin a frame with the first bytes of its payload, perhaps all of them."""
        opcode = head & OPCODE
        if opcode & CONTROL:
            kind = opcode
        else:  # section 5.4
            kind = self._message if opcode == CONTINUATION else opcode
            self._message = CONTINUATION if head & FIN else kind
        if len(data) == length:
            payload = bytes(data) if key == UNMASKED else masked(data, key.to_bytes(4, "big"))
            self._deliver(make_frame(head, kind, payload, key), items)
            return
        in_chunks = length > self._chunk_above and not opcode & CONTROL
        frame = self._open = OpenFrame(head, kind, length, key, len(data), in_chunks)
        if in_chunks:
            items.append(frame.chunk(data))
        else:
            frame.write(data)

    def _continue(self, data: bytes | bytearray, items: list[Frame | FrameChunk]) -> int:
        """Take the next bytes of the open frame from ``data``. Returns how many."""
        frame = self._open
        assert frame is not None
        data = data[: frame.length - frame.received]
        if frame.announced is None:
            frame.write(data)
            if frame.received == frame.length:
                self._deliver(frame.frame(), items)
        else:
            items.append(frame.chunk(data))
            if frame.received == frame.length:
                self._open = None
        return len(data)

    def _deliver(self, frame: Frame, items: list[Frame | FrameChunk]) -> None:
        self._open = None
        self.closed = frame._head & OPCODE == CLOSE
        items.append(frame)
