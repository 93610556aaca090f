"""The numbers of RFC 6455: opcodes (section 5.2), close codes and the reason a Close frame carries (section 7.4)."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import IntEnum

MAX_CONTROL_PAYLOAD = 125
MAX_MESSAGE = MAX_CONTROL_PAYLOAD - 2  # bytes of a Close frame that remain behind the code


class Opcode(IntEnum):
    """What a frame is. ``Opcode(3)`` and the other reserved numbers give members named ``RESERVED_3`` and so on, which
    only lenient sessions meet and iteration leaves out."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    @property
    def is_control(self) -> bool:
        """Whether this is one of 8 to 15, whose frames may come between the fragments of a message (section 5.5)."""
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
        # Python before 3.11.3 would look the name up, which the reserved ones do not have.
        return Opcode, (int(self),)


# All 16 by number; made here, so that the reserved ones exist before a second thread can ask for them.
OPCODES = tuple(Opcode(number) for number in range(16))


class CloseCode(IntEnum):
    """The registered close codes; which of them may be sent is for ``may_be_sent`` to say."""

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


SENDABLE = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


def may_be_sent(code: int) -> bool:
    """Whether a Close frame may carry ``code``: 1000-1003, 1007-1014 and 3000-4999 (section 7.4 and its registry)."""
    return code in SENDABLE


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why a session ends, as a Close frame says it.

    code: 0 to 65535; not each of them may be sent, see ``may_be_sent``.
    message: at most 123 bytes as UTF-8.
    Raises ValueError for what does not fit in a Close frame.
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
        if size > MAX_MESSAGE:
            raise ValueError(f"message takes {size} bytes of UTF-8, and a Close frame holds {MAX_MESSAGE}")

    @property
    def known_reason(self) -> CloseCode | None:
        """The code as a member of ``CloseCode``, None where it is none."""
        try:
            return CloseCode(self.code)
        except ValueError:
            return None

    @classmethod
    def truncated(cls, code: int, message: str) -> CloseReason:
        """The same, with a message that is too long cut between two characters. Lone surrogates become ``?``."""
        encoded = message.encode(errors="replace")[:MAX_MESSAGE]
        return cls(code, encoded.decode(errors="ignore"))

    @classmethod
    def from_payload(cls, payload: bytes) -> CloseReason | None:
        """What a received Close frame says; None for less than the two bytes of a code.

        Never raises: bytes that are not UTF-8 become U+FFFD, and what then exceeds 123 bytes is cut.
        """
        if len(payload) < 2:
            return None
        return cls.truncated(int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace"))

    def to_payload(self) -> bytes:
        """The payload of a Close frame."""
        return self.code.to_bytes(2, "big") + self.message.encode()
