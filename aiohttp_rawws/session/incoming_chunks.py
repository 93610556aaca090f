"""The receiving side of a connection, as streams inside a frame need it: frames in chunks, and the rest of one skipped.

One source, two builds: as it stands, and compiled with the types in ``incoming_chunks.pxd``. ``incoming_stream.py``
calls it.
"""

from __future__ import annotations

from typing import Any

from ..errors import PeerError
from .incoming import IncomingHalf
from .phases import ReceivePhase

DONE = int(ReceivePhase.DONE)


class IncomingChunks(IncomingHalf):
    """The receiving side of one connection, with the calls of streams."""

    __slots__ = ()

    def parse(self, data: Any, nbytes: int) -> None:
        """Parse ``nbytes`` of ``data``, and pass on as many frames as there is room for."""
        if self._wants_chunks:
            self._parse_in_chunks(data, nbytes)
        else:
            IncomingHalf.parse(self, data, nbytes)

    def _parse_in_chunks(self, data: Any, nbytes: int) -> None:
        """Parse one frame, in chunks if it is not all here, and what comes behind it as ever."""
        parser = self.parser
        threshold = parser.chunk_above
        parser.chunk_above = 0
        try:
            items = parser.feed(data, nbytes, 1, -1)
        finally:
            parser.chunk_above = threshold
        if items:
            self._wants_chunks = False
        self._received(items)
        if items and parser.pending:
            self._pass_on()

    def want_chunks(self) -> None:
        """Deliver the next frame in chunks, also if a part of it has arrived. Nothing waits in the queue."""
        chunk = self.parser.split()
        if chunk is None:
            self._wants_chunks: bool = True
        else:
            self._received([chunk])

    def want_frames(self) -> None:
        """Undo ``want_chunks()``, unless the frame has begun."""
        self._wants_chunks = False

    def skip_frame(self) -> None:
        """Drop the frame whose stream was left: what waits of it, and what still arrives."""
        queue = self.queue
        self._skipping: bool = self.receive_phase != DONE
        while queue.count() and self._skipping:
            self._skipping = not queue.take().last
        self.after_taking()

    def before_waiting(self) -> None:
        """Send what a task that waits for a frame must not hold up, and notice the end."""
        self.send_pending_close()
        if self.encoder.size:
            self.write_batch()
        self.check_all_taken()

    def after_taking(self) -> None:
        """Note that an item was taken from the queue."""
        queue = self.queue
        if queue.full and queue.is_half_empty():
            self.refill()
        if queue.ending and not queue.count():
            self.check_all_taken()

    def refuse(self, error: PeerError) -> None:
        """End the input because of ``error``, as after a violation. Frames that wait are dropped."""
        self.queue.take_all()
        self._untransformed: list[Any] | None = None
        self._violated(error)
