"""Pieces of frames as values, for frames whose payload is delivered while it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .codes import Opcode


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The header of a frame whose payload comes in pieces.

    Attributes:
        opcode: The opcode on the wire.
        length: Bytes of the whole payload.
        kind: The kind of the message.
        fin: This is the last frame of its message.
        rsv1, rsv2, rsv3: The reserved bits.
        masking_key: The key that the payload was masked with, None if it was not masked.
    """

    opcode: Opcode
    length: int
    kind: Opcode
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False
    masking_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class FrameChunk:
    """A piece of the payload of one frame.

    Attributes:
        header: The header of the frame.
        payload: The piece, unmasked.
        offset: Bytes of the payload before this piece.
        last: The frame ends with this piece.
    """

    header: FrameHeader
    payload: bytes
    offset: int
    last: bool


def frames_in(items: list[Any]) -> int:
    """Return the number of frames that end in ``items``, which a parser made of one read.

    Only the last item can be a chunk behind which its frame goes on.
    """
    if not items:
        return 0
    last = items[-1]
    return len(items) - (isinstance(last, FrameChunk) and not last.last)
