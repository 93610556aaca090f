"""Opcodes (RFC 6455, section 5.2), close codes and close reasons (section 7.4)."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import IntEnum

MAX_CONTROL_PAYLOAD = 125
MAX_CLOSE_MESSAGE = MAX_CONTROL_PAYLOAD - 2  # bytes of a Close frame behind the code


class Opcode(IntEnum):
    """The opcode of a frame: its type (section 5.2).

    ``Opcode(3)`` and the other reserved numbers are members named ``RESERVED_3`` and so on. Only lenient sessions
    deliver them, and iteration leaves them out.
    """

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    @property
    def is_control(self) -> bool:
        """It is one of 8 to 15, whose frames may come between the fragments of a message (section 5.5)."""
        return self._value_ >= 0x8

    @classmethod
    def _missing_(cls, value: object) -> Opcode | None:
        if not isinstance(value, int) or not 0 <= value <= 0xF:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"RESERVED_{value:d}"
        member._value_ = value
        cls._value2member_map_[value] = member
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[type[Opcode], tuple[int]]:
        # Before 3.11.3 Python looks up the name, and the reserved ones cannot be found by name.
        return Opcode, (int(self),)


# All 16 by number. They are made here, so that the reserved ones exist before a second thread can ask for them.
OPCODES = tuple(Opcode(number) for number in range(16))


class CloseCode(IntEnum):
    """The registered close codes. ``may_be_sent()`` says which of them may appear in a Close frame.

    Six codes have a second name, the one in the registry of IANA. ``name`` is the first one.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    CANNOT_ACCEPT = 1003
    NO_STATUS = 1005
    CLOSED_ABNORMALLY = 1006
    NOT_CONSISTENT = 1007
    VIOLATED_POLICY = 1008
    TOO_BIG = 1009
    NO_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015

    UNSUPPORTED_DATA = CANNOT_ACCEPT
    ABNORMAL_CLOSURE = CLOSED_ABNORMALLY
    INVALID_DATA = NOT_CONSISTENT
    POLICY_VIOLATION = VIOLATED_POLICY
    MESSAGE_TOO_BIG = TOO_BIG
    MANDATORY_EXTENSION = NO_EXTENSION


SENDABLE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


def may_be_sent(code: int) -> bool:
    """Return whether a Close frame may have this code: 1000-1003, 1007-1014 and 3000-4999 (section 7.4, registry)."""
    return code in SENDABLE_CODES


@dataclass(frozen=True, slots=True)
class CloseReason:
    """The content of a Close frame: why a session ends.

    Args:
        code: The close code, 0 to 65535. Not every code may be sent, see ``may_be_sent()``.
        message: At most 123 bytes as UTF-8. Default: empty.

    Raises:
        ValueError: This does not fit in a Close frame.
        TypeError: The message is not a str.
    """

    code: int
    message: str = ""

    def __post_init__(self) -> None:
        code = operator.index(self.code)
        object.__setattr__(self, "code", int(code))
        if not 0 <= code <= 0xFFFF:
            raise ValueError(f"close code {code} is not between 0 and 65535")
        if not isinstance(self.message, str):
            raise TypeError(f"message must be str, not {type(self.message).__name__}")
        size = len(self.message.encode())
        if size > MAX_CLOSE_MESSAGE:
            raise ValueError(f"message takes {size} bytes of UTF-8, and a Close frame holds {MAX_CLOSE_MESSAGE}")

    @property
    def known_reason(self) -> CloseCode | None:
        """The code as a member of ``CloseCode``, or None for an unregistered code."""
        try:
            return CloseCode(self.code)
        except ValueError:
            return None

    @classmethod
    def truncated(cls, code: int, message: str) -> CloseReason:
        """Make a reason, and cut the message between two characters if it is too long.

        Args:
            code: The close code.
            message: Of any length. Lone surrogates become ``?``.

        Raises:
            ValueError: The code is not 0 to 65535.
        """
        encoded = message.encode(errors="replace")[:MAX_CLOSE_MESSAGE]
        return cls(code, encoded.decode(errors="ignore"))

    @classmethod
    def from_payload(cls, payload: bytes) -> CloseReason | None:
        """Read the payload of a received Close frame. This never raises.

        Args:
            payload: The payload. Bytes that are not UTF-8 become U+FFFD, and the message is cut at 123 bytes.

        Returns:
            The reason, or None for a payload without the two bytes of a code.
        """
        if len(payload) < 2:
            return None
        return cls.truncated(int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace"))

    def to_payload(self) -> bytes:
        """Return the payload of a Close frame."""
        return self.code.to_bytes(2, "big") + self.message.encode()
