"""What both codecs go by: the sizes that decide, and the words in which they refuse."""

from __future__ import annotations

import operator
import sys

# A payload of which more than this is missing is read in place; below, one read may well bring the next frames too.
LARGE = 16 * 1024
NO_LIMIT = sys.maxsize

NEEDS_MASK = "Frame is not masked"
NEEDS_NO_MASK = "Frame is masked"
UNSUPPORTED_OPCODE = "Unsupported opcode "
FRAGMENTED_CONTROL = "Control frame is fragmented"
LONG_CONTROL = "Control frame is longer than 125 bytes"
NOTHING_TO_CONTINUE = "Continuation frame without a message to continue"
MESSAGE_NOT_FINISHED = "New message begun before the last one was finished"
NOT_MINIMAL = "Length is not encoded in the shortest form"
NEGATIVE_LENGTH = "Length has its most significant bit set"

BEGIN_FIRST = "a continuation frame cannot be sent: no message has been begun"
FINISH_FIRST = "a {} frame cannot be sent inside a {} message: finish that first"
WHOLE_INSIDE = "a prepared message cannot be sent inside a {} message: finish that first"
HEADER_WHILE_MASKING = "the header of a masked frame cannot be sent by itself: its payload has to be masked with it"
NOT_A_FRAME = "a Frame can be encoded, not "
NO_TARGET = "there is no target to advance in"


def checked_limit(name: str, value: int | None) -> int:
    """An option that is a number of bytes, with ``NO_LIMIT`` for None."""
    if value is None:
        return NO_LIMIT
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"{name} must be None or a number of bytes, not {number}")
    return min(number, NO_LIMIT)


def checked_length(length: int, size: int) -> int:
    """How many of ``size`` bytes count, where a negative ``length`` means all."""
    if length > size:
        raise ValueError(f"length is {length}, and there are {size} bytes")
    return size if length < 0 else length


def checked_advance(count: int, room: int) -> int:
    if not 0 <= count <= room:
        raise ValueError(f"cannot advance by {count}, for which the target has no room")
    return count
