"""Constants, error texts and argument checks that both builds of the codec share."""

from __future__ import annotations

import operator
import sys
from typing import Any

# Read a payload in place if more bytes than this are missing. If fewer are, one read may bring the next frames too.
LARGE = 16 * 1024
# Least room for a payload that has begun. The length in the header is not trusted: the room is four times what came
# with it, and doubles as bytes arrive.
FIRST_ROOM = 64 * 1024
NO_LIMIT = sys.maxsize
# Bytes of payload of a control frame where no limit is set. It is never delivered in pieces, so one has to hold.
LONG_CONTROL = 64 * 1024

NEEDS_MASK = "Frame is not masked"
NEEDS_NO_MASK = "Frame is masked"
UNSUPPORTED_OPCODE = "Unsupported opcode "
FRAGMENTED_CONTROL = "Control frame is fragmented"
CONTROL_TOO_LONG = "Control frame is longer than 125 bytes"
NOTHING_TO_CONTINUE = "Continuation frame without a message to continue"
MESSAGE_NOT_FINISHED = "New message begun before the last one was finished"
NOT_MINIMAL = "Length is not encoded in the shortest form"
NEGATIVE_LENGTH = "Length has its most significant bit set"

BEGIN_FIRST = "a continuation frame cannot be sent: no message has been begun"
FINISH_FIRST = "a {} frame cannot be sent inside a {} message: finish that first"
WHOLE_INSIDE = "a whole message cannot be sent inside a {} message: finish that first"
HEADER_WHILE_MASKING = "the header of a masked frame cannot be sent by itself: its payload has to be masked with it"
NOT_A_FRAME = "a Frame can be encoded, not "
FRAME_IS_OPEN = "a frame cannot be begun inside another: {} bytes of its payload are missing"
CONTROL_IN_PIECES = "a {} frame is sent whole, not in pieces"
HAS_PAYLOAD = "the payload comes in pieces, so the frame itself has to be empty"
TOO_LONG = "{} bytes are more than the {} that the frame still takes"
NO_TARGET = "there is no target to advance in"


def checked_limit(name: str, value: int | None) -> int:
    """Check an option that is a number of bytes.

    Args:
        name: The option, for the error.
        value: The number of bytes. None: any number.

    Returns:
        The number, or ``NO_LIMIT`` for None.

    Raises:
        ValueError: The number is negative.
        TypeError: It is not an int.
    """
    if value is None:
        return NO_LIMIT
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"{name} must be None or a number of bytes, not {number}")
    return min(number, NO_LIMIT)


def checked_length(length: int, size: int) -> int:
    """Return how many of ``size`` bytes count: ``length`` of them, or all if ``length`` is negative."""
    if length > size:
        raise ValueError(f"length is {length}, and there are {size} bytes")
    return size if length < 0 else length


def checked_advance(count: int, room: int) -> int:
    """Return ``count`` if the target has room for so many bytes. Otherwise raise ValueError."""
    if not 0 <= count <= room:
        raise ValueError(f"cannot advance by {count}, for which the target has no room")
    return count


def checked_frame_length(length: int) -> int:
    """Return the length of a payload. Raise ValueError if no frame can be so long (RFC 6455, section 5.2)."""
    number = operator.index(length)
    if not 0 <= number < 1 << 63:
        raise ValueError(f"a frame cannot be {number} bytes long")
    return number


def copied(data: Any, name: str) -> bytes:
    """Copy a buffer to bytes. Raises a TypeError that names the argument ``name`` if it is not a buffer."""
    try:
        view = memoryview(data)
    except TypeError:
        hint = "; Frame.text() takes str" if isinstance(data, str) and name == "payload" else ""
        raise TypeError(f"{name} must be bytes-like, not {type(data).__name__}{hint}") from None
    return bytes(view)


def not_made(item: object) -> AttributeError:
    """The error for an object whose ``__init__`` did not run, as Python reports a missing attribute."""
    return AttributeError(f"{type(item).__name__} has no content: its __init__ was not called")
