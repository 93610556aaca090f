"""The sending half of a pump that goes frame by frame: items that a callback has returned become bytes.

One source, two builds: as it stands, and compiled with the types in ``frame_passing.pxd``. A frame keeps its first byte
whatever was sent before it: opcodes and fragments are between the two ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..wire.codec import Frame, FrameChunk, apply_mask, new_masking_key
from ..wire.header_bits import CLOSE, CONTROL, FIN, OPCODE
from ..wire.headers import head_byte, header_bytes
from . import relay
from .reasons import reason_of

if TYPE_CHECKING:
    from ..wire.chunks import FrameHeader
    from .connection import Connection
    from .relay import Endings

# As in outgoing.py, which has them as numbers of C.
BATCH = 64 * 1024  # bytes at which a batch is written
UNJOINED = 32 * 1024  # a payload of this size or more is written by itself


class FramePassing(relay.RelayCore):
    """One side of a pump: it turns items into bytes, and sends those of one read together.

    Attributes:
        to_come: Bytes of payload to come of the frame that goes out in chunks. 0: there is none.
    """

    __slots__ = ("_key", "_passed", "_written", "to_come")

    def __init__(self, connection: Connection, endings: Endings) -> None:
        super().__init__(connection, endings)
        self._passed = 0  # frames that are complete since the last write
        self.to_come: int = 0
        # Of the frame that goes out in chunks:
        self._key: bytes | None = None
        self._written = 0

    def put(self, item: Any) -> None:
        """Put one item behind those before it."""
        target = self.other.connection  # type: ignore[union-attr]
        if target.send_phase and not self.to_come:
            return
        if isinstance(item, FrameChunk):
            self.put_chunk(item)
            return
        if not isinstance(item, Frame):
            raise TypeError(f"on_frame must return Frames, FrameChunks, None or an awaitable, not {item!r}")
        if self.to_come:
            raise ValueError("on_frame returned a Frame inside of a frame that goes out in FrameChunks")
        frame = item
        encoder = target.encoder
        payload = frame.payload  # raises if the frame was not made
        head = frame._head
        is_whole = (head & CONTROL or (head & FIN and head & OPCODE)) and not encoder.mid_message
        if not is_whole:  # the encoder would change it to what fits behind the frames before it
            key = new_masking_key() if encoder.masking else None
            encoder.append_bytes(header_bytes(head, len(payload), key))
            self._append(payload if key is None else apply_mask(payload, key))
        elif len(payload) < UNJOINED:
            encoder.append(frame)
        elif encoder.masking:
            self.write()
            self.pass_bytes(encoder.encode(frame), 0, 0)
        else:
            encoder.append_header(frame)
            self._append(payload)
        self._passed += 1
        if encoder.size >= BATCH:
            self.write()
        if head & OPCODE == CLOSE:
            self.write()
            self.other.note_close_sent(reason_of(frame))  # type: ignore[union-attr]

    def put_chunk(self, chunk: FrameChunk) -> None:
        encoder, header, payload = self.other.connection.encoder, chunk.header, chunk.payload  # type: ignore[union-attr]
        if chunk.offset == 0 and not self.to_come:
            self._begin(header)
        elif chunk.offset != self._written or header.length != self._written + self.to_come:
            raise ValueError("on_frame returned a FrameChunk that does not continue the frame that goes out in chunks")
        size = len(payload)
        if size > self.to_come or chunk.last != (size == self.to_come):
            raise ValueError("on_frame returned a FrameChunk of another size than its header says")
        self.to_come -= size
        self._append(payload if self._key is None else apply_mask(payload, self._key, self._written), self.to_come)
        self._written += size
        if not self.to_come:
            self._written = 0
            self._passed += 1
        if encoder.size >= BATCH:
            self.write(self.to_come)

    def _begin(self, header: FrameHeader) -> None:
        """Begin a frame that goes out in chunks."""
        encoder = self.other.connection.encoder  # type: ignore[union-attr]
        head = head_byte(header.opcode, header.fin, header.rsv1, header.rsv2, header.rsv3)
        self._key = new_masking_key() if encoder.masking else None
        encoder.append_bytes(header_bytes(head, header.length, self._key))
        self._written, self.to_come = 0, header.length

    def _append(self, data: bytes, missing: int = 0) -> None:
        """Put bytes into the batch. If there are many, write them without a copy.

        Args:
            missing: Bytes by which the frame is not complete then. Default: 0.
        """
        if len(data) < UNJOINED:
            self.other.connection.encoder.append_bytes(data)  # type: ignore[union-attr]
        else:
            self.write(len(data) + missing)
            self.pass_bytes(data, 0, missing)

    def write(self, missing: int = 0) -> None:
        """Write what was put since the last call. ``missing``: bytes by which the last frame is not complete."""
        passed, self._passed = self._passed, 0
        target = self.other.connection  # type: ignore[union-attr]
        self.pass_bytes(target.encoder.take(), 0, missing)
        if not target.send_phase:
            target.frames_sent += passed
            self.frames_sent: int = self.frames_sent + passed

    def is_inside_frame(self) -> bool:
        return self.to_come > 0
