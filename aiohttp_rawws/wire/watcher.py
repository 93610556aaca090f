"""Watching the frames in bytes that pass through unchanged, in Python. ``watcher.pyx`` is the same compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import PeerError, ProtocolViolation
from . import _shared as shared
from .codes import MAX_CONTROL_PAYLOAD
from .header_bits import CLOSE, CONTINUATION, CONTROL, FIN, OPCODE, UNMASKED
from .header_reader import read_header
from .masking import masked
from .parser import FrameParser
from .strictness import checked_strictness

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FrameWatcher"]

ENDLESS = shared.NO_LIMIT  # bytes of a frame with a length that cannot be


class FrameWatcher:
    """Finds the frames in the bytes of one direction, and lets the bytes pass as they are.

    It reads headers, and the payload of a Close; of everything else it keeps nothing. A header that is not complete is
    held back, so that nothing of a frame passes that is refused. After a Close frame, or an error of the peer, nothing
    passes any more.

    It refuses what its parser would refuse: the options of that hold, from the next header on. Without ``strict`` only
    ``max_frame_size`` is checked, and a length that cannot be passes as the beginning of an endless frame.

    Attributes:
        frames: Frames that have passed, the last byte included.
        closed: A Close frame has passed.
        close_payload: Its payload, unmasked, at most 125 bytes.
        error: The PeerError of a frame that was refused, or None.
        missing: Bytes of payload that the frame misses which has begun to pass. 0: no frame is open.
    """

    def __init__(self, parser: FrameParser, message: int = CONTINUATION, missing: int = 0) -> None:
        """
        Args:
            parser: The parser that would take the bytes.
            message: The kind of the message that is open. Default: CONTINUATION (none is).
            missing: Bytes of payload to come of a data frame that is open. Default: 0 (none is).
        """
        self._parser = parser
        self._message = message
        self._header: bytes = b""  # the beginning of a header
        self._closing = False  # the frame that is open is a Close
        self._key = UNMASKED
        self.missing: int = missing
        self.frames: int = 0
        self.closed: bool = False
        self.close_payload: bytes = b""
        self.error: PeerError | None = None

    def pass_on(self, data: Buffer, length: int = -1) -> bytes:
        """Watch the next bytes.

        Args:
            data: Any contiguous buffer. It is not kept.
            length: Bytes of ``data`` that count. Default: all.

        Returns:
            The bytes to pass on.
        """
        with memoryview(data) as view, view.cast("B") as octets:
            received = self._header + octets[: shared.checked_length(length, len(octets))].tobytes()
        if self._is_over():
            return b""
        passed = self._watch(received)
        self._header = b"" if self._is_over() else received[passed:]
        return received if passed == len(received) else received[:passed]

    def rest(self) -> bytes:
        """Return the part of a header that is held back, at the end of the bytes. It is held no more."""
        header, self._header = self._header, b""
        return header

    def _is_over(self) -> bool:
        return self.closed or self.error is not None

    def _watch(self, data: bytes) -> int:
        """Return how many bytes of ``data`` may pass."""
        parser = self._parser
        strict, limit, size = checked_strictness(parser.strict), parser.max_frame_size, len(data)
        # read_header() has a limit of its own for control frames if there is no other; but nothing is stored here.
        most = shared.NO_LIMIT - 1 if limit is None else limit
        position = self._continue(data, 0)
        while position < size and not self.closed:
            try:
                header = read_header(data, position, strict, parser.masked, most, self._message)
            except PeerError as error:
                if strict or (limit is not None and not isinstance(error, ProtocolViolation)):
                    self.error = error
                    return position
                self.missing = ENDLESS
                return size
            if header is None:
                break
            head = data[position]
            self.missing, key, position = header
            if not head & CONTROL:  # section 5.4
                self._message = CONTINUATION if head & FIN else head & OPCODE or self._message
            elif head & OPCODE == CLOSE:
                self._closing, self._key = True, key
            if self.missing:
                position = self._continue(data, position)
            else:
                self._end()
        return position

    def _continue(self, data: bytes, position: int) -> int:
        """Let the open frame pass, as far as it is there. Returns where it stops."""
        if not self.missing:
            return position
        stop = min(position + self.missing, len(data))
        if self._closing:
            room = MAX_CONTROL_PAYLOAD - len(self.close_payload)
            self.close_payload += data[position : min(stop, position + room)]
        self.missing -= stop - position
        if not self.missing:
            self._end()
        return stop

    def _end(self) -> None:
        self.frames += 1
        if self._closing:
            self.closed = True
            if self._key != UNMASKED:
                self.close_payload = masked(self.close_payload, self._key.to_bytes(4, "big"))
