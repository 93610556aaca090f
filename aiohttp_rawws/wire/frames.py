"""Frames: one header and its payload (RFC 6455, section 5.2), as values.

One source, two builds: as it stands, and compiled with the types that ``frames.pxd`` adds, so nothing here may rely on
attributes that the .pxd does not name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, cast, overload

from ..errors import InvalidPayload
from .codes import MAX_CONTROL_PAYLOAD, OPCODES, CloseReason, Opcode, may_be_sent
from .header_bits import BINARY, CLOSE, CONTROL, FIN, OPCODE, PING, PONG, RSV1, RSV2, RSV3, TEXT, UNMASKED
from .headers import copied, head_byte, header_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

SHOWN = 24  # bytes of a payload in a repr


def _check_control(head: int, size: int) -> None:
    """Section 5.5."""
    if not head & FIN:
        raise ValueError(f"a {OPCODES[head & OPCODE].name} frame cannot be fragmented")
    if size > MAX_CONTROL_PAYLOAD:
        name = OPCODES[head & OPCODE].name
        raise ValueError(f"a {name} frame holds at most {MAX_CONTROL_PAYLOAD} bytes, not {size}")


def _checked_kind(opcode: int, kind: int) -> int:
    """The kind of a message is its first frame's opcode; only a continuation can have a kind that it does not show."""
    if kind != opcode and (opcode != 0 or not 0 <= kind < CONTROL):
        raise ValueError(f"a {OPCODES[opcode].name} frame cannot be of kind {Opcode(kind).name}")
    return int(kind)


def _as_bytes(payload: Buffer) -> bytes:
    return payload if type(payload) is bytes else copied(payload, "payload")


def _data_frame(opcode: int, payload: bytes, fin: bool, rsv1: bool, rsv2: bool, rsv3: bool) -> Frame:
    return make_frame(head_byte(opcode, fin, rsv1, rsv2, rsv3), opcode, payload, UNMASKED)


def _text_frame(
    payload: str | Buffer, *, fin: bool = True, rsv1: bool = False, rsv2: bool = False, rsv3: bool = False
) -> Frame:
    """A text frame; ``payload`` as str, or as bytes that are sent as they are (a fragment may end inside a
    character)."""
    data = payload.encode() if isinstance(payload, str) else _as_bytes(payload)
    return _data_frame(TEXT, data, fin, rsv1, rsv2, rsv3)


def _control_frame(opcode: int, payload: bytes) -> Frame:
    _check_control(FIN | opcode, len(payload))
    return make_frame(FIN | opcode, opcode, payload, UNMASKED)


class _Text:
    """``Frame.text(...)`` makes a text frame; ``frame.text`` is the payload as str."""

    __slots__ = ()

    def __get__(self, frame: Any, owner: Any) -> Any:
        return _text_frame if frame is None else _decoded(frame)


if TYPE_CHECKING:

    class _TextAccess:
        @overload
        def __get__(self, frame: None, owner: Any) -> Callable[..., Frame]: ...

        @overload
        def __get__(self, frame: Frame, owner: Any) -> str: ...

        def __get__(self, frame: Any, owner: Any) -> Any: ...


def _decoded(frame: Frame) -> str:
    try:
        return frame._payload.decode()
    except UnicodeDecodeError as exc:
        raise InvalidPayload(f"Text is not UTF-8: {exc.reason} at byte {exc.start}") from None


class Frame:
    """A frame, immutable: what stood in its header, and its payload.

    opcode: as on the wire. kind: that of the message the frame belongs to, which differs for continuations only.
    payload: any contiguous buffer; kept as bytes (copied unless it is bytes).
    fin: whether this is the last frame of its message. rsv1, rsv2, rsv3: the bits that extensions give a meaning.
    Raises ValueError for a control frame of more than 125 bytes or with ``fin=False``, since section 5.5 forbids both.
    Received frames are not checked here: with ``strict=False`` they can be anything.

    Two frames are equal when header and payload are, whatever key they were masked with. Matches as
    ``case Frame(Opcode.TEXT, payload)``.
    """

    __slots__ = ("_head", "_key", "_kind", "_payload")
    __match_args__ = ("opcode", "payload")

    _head: int  # the first byte of the frame
    _kind: int
    _payload: bytes
    _key: int  # masking key as a big-endian number, or UNMASKED

    def __init__(
        self,
        opcode: int,
        payload: Buffer = b"",
        *,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
        kind: int | None = None,
    ) -> None:
        self._payload = _as_bytes(payload)
        self._head = head_byte(opcode, fin, rsv1, rsv2, rsv3)
        if self._head & CONTROL:
            _check_control(self._head, len(self._payload))
        self._kind = self._head & OPCODE if kind is None else _checked_kind(self._head & OPCODE, kind)
        self._key = UNMASKED

    text = cast("_TextAccess", _Text())

    @staticmethod
    def binary(data: Buffer, *, fin: bool = True, rsv1: bool = False, rsv2: bool = False, rsv3: bool = False) -> Frame:
        """A binary frame."""
        return _data_frame(BINARY, _as_bytes(data), fin, rsv1, rsv2, rsv3)

    @staticmethod
    def ping(payload: Buffer = b"") -> Frame:
        """A Ping; its Pong has to carry the same payload (section 5.5.3)."""
        return _control_frame(PING, _as_bytes(payload))

    @staticmethod
    def pong(payload: Buffer = b"") -> Frame:
        """A Pong, in answer to a Ping or unasked."""
        return _control_frame(PONG, _as_bytes(payload))

    @staticmethod
    def close(code: int | CloseReason | None = None, message: str = "") -> Frame:
        """A Close with a code, or with a reason, or (without arguments) empty.

        Raises ValueError for a code that may not be sent (section 7.4.1), or a message without a code.
        """
        if code is None:
            if message:
                raise ValueError("a Close frame with a message needs a code")
            return _control_frame(CLOSE, b"")
        if isinstance(code, CloseReason):
            if message:
                raise ValueError("the message belongs in the CloseReason")
            reason = code
        else:
            reason = CloseReason(code, message)
        if not may_be_sent(reason.code):
            raise ValueError(
                f"close code {reason.code} may not be sent (RFC 6455, section 7.4); "
                "Frame(Opcode.CLOSE, reason.to_payload()) sends it all the same"
            )
        return _control_frame(CLOSE, reason.to_payload())

    @property
    def opcode(self) -> Opcode:
        """As on the wire: CONTINUATION for every frame of a message but the first."""
        return OPCODES[self._head & OPCODE]

    @property
    def kind(self) -> Opcode:
        """What the message is: the opcode of its first frame."""
        return OPCODES[self._kind]

    @property
    def fin(self) -> bool:
        return (self._head & FIN) != 0

    @property
    def rsv1(self) -> bool:
        return (self._head & RSV1) != 0

    @property
    def rsv2(self) -> bool:
        return (self._head & RSV2) != 0

    @property
    def rsv3(self) -> bool:
        return (self._head & RSV3) != 0

    @property
    def payload(self) -> bytes:
        """Unmasked."""
        return self._payload

    @property
    def masking_key(self) -> bytes | None:
        """The key a received frame was masked with, None if it was not masked or not received."""
        return None if self._key < 0 else self._key.to_bytes(4, "big")

    @property
    def close_reason(self) -> CloseReason | None:
        """What a Close frame says; None if it is empty, or for any other frame."""
        return CloseReason.from_payload(self._payload) if self._head & OPCODE == CLOSE else None

    def replace(self, **changes: Any) -> Frame:
        """A frame that differs in the arguments given, which are those of ``Frame()``, and was never masked."""
        if "opcode" not in changes:
            changes.setdefault("kind", self._kind)
        arguments: dict[str, Any] = {
            "opcode": self._head & OPCODE,
            "payload": self._payload,
            "fin": self.fin,
            "rsv1": self.rsv1,
            "rsv2": self.rsv2,
            "rsv3": self.rsv3,
        }
        arguments.update(changes)
        return Frame(**arguments)

    def _is(self, other: Frame) -> bool:
        return self._head == other._head and self._kind == other._kind and self._payload == other._payload

    def __eq__(self, other: object) -> bool:
        return self._is(other) if isinstance(other, Frame) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._head, self._kind, self._payload))

    def __reduce__(self) -> tuple[Any, ...]:
        return make_frame, (self._head, self._kind, self._payload, self._key)

    def __repr__(self) -> str:
        parts = [OPCODES[self._head & OPCODE].name, *_shown(self)]
        if not self.fin:
            parts.append("fin=False")
        parts += [f"{name}=True" for name in ("rsv1", "rsv2", "rsv3") if getattr(self, name)]
        return f"<Frame {' '.join(parts)}>"


def _shown(frame: Frame) -> list[str]:
    """The payload for a repr: short, whatever it holds."""
    payload = frame._payload
    if frame._kind == TEXT:
        return [repr(payload.decode(errors="replace"))] if len(payload) <= SHOWN else _excerpt(payload, text=True)
    if frame._kind == CLOSE and len(payload) >= 2:
        reason = CloseReason.from_payload(payload)
        assert reason is not None
        return [str(reason.code), *([repr(reason.message)] if reason.message else [])]
    return _excerpt(payload, text=False) if payload or not frame._kind & CONTROL else []


def _excerpt(payload: bytes, text: bool) -> list[str]:
    size, more = f"{len(payload)} bytes", "..." if len(payload) > SHOWN else ""
    if text:
        return [size, repr(payload[:SHOWN].decode(errors="ignore")) + more]
    shown = payload[: SHOWN if not more else 8].hex() + more
    return [size, shown] if shown else [size]


def make_frame(head: int, kind: int, payload: bytes, key: int) -> Frame:
    """A frame of any content, unchecked.

    head: its first byte. kind: an opcode. key: the masking key as a big-endian number, or UNMASKED.
    """
    frame = Frame.__new__(Frame)
    frame._head = head
    frame._kind = kind
    frame._payload = payload
    frame._key = key
    return frame


def with_payload(frame: Frame, payload: bytes, rsv1: bool) -> Frame:
    """``frame`` with another payload and another first reserved bit, as an extension passes it on; unchecked."""
    head = frame._head | RSV1 if rsv1 else frame._head & ~RSV1
    return make_frame(head, frame._kind, payload, UNMASKED)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The header of a frame whose payload comes in pieces. length: bytes of the whole payload."""

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
    """A piece of the payload of one frame, unmasked.

    offset: bytes of the payload before it. last: whether the frame ends with it.
    """

    header: FrameHeader
    payload: bytes
    offset: int
    last: bool


def header_of(head: int, kind: int, length: int, key: int) -> FrameHeader:
    """The header as a value; arguments as for ``make_frame``."""
    masking_key = None if key < 0 else key.to_bytes(4, "big")
    return FrameHeader(
        OPCODES[head & OPCODE],
        length,
        OPCODES[kind],
        (head & FIN) != 0,
        (head & RSV1) != 0,
        (head & RSV2) != 0,
        (head & RSV3) != 0,
        masking_key,
    )


class PreparedFrame:
    """A frame encoded once, to be sent to many peers. Whole messages and control frames only, since a fragment belongs
    to the one conversation it was begun in; ValueError for others.

    frame: the frame. wire: its bytes on the wire, unmasked.
    """

    __slots__ = ("_frame", "_wire")

    _frame: Frame
    _wire: bytes

    def __init__(self, frame: Frame) -> None:
        if not isinstance(frame, Frame):
            raise TypeError(f"a Frame can be prepared, not {type(frame).__name__}")
        self._frame = frame
        self._wire = _wire_of(frame)

    @property
    def frame(self) -> Frame:
        return self._frame

    @property
    def wire(self) -> bytes:
        return self._wire

    def __repr__(self) -> str:
        return f"<PreparedFrame {self._frame!r}>"


def _wire_of(frame: Frame) -> bytes:
    if not frame._head & FIN or not frame._head & OPCODE:
        raise ValueError("only a whole message can be prepared, not a fragment")
    return header_bytes(frame._head, len(frame._payload), None) + frame._payload


def payload_size(item: Any) -> int:
    """Bytes of payload in a Frame or FrameChunk."""
    if isinstance(item, Frame):
        frame = item
        return len(frame._payload)
    return len(item.payload)


def is_prepared(item: Any) -> TypeGuard[PreparedFrame]:
    """``isinstance()``, which costs other compiled modules a call of Python: to them the class is an object."""
    return isinstance(item, PreparedFrame)


def is_control(item: Any) -> TypeGuard[Frame]:
    """Whether ``item`` is a control frame. FrameChunks never are."""
    if isinstance(item, Frame):
        frame = item
        return (frame._head & CONTROL) != 0
    return False


def is_whole_message(item: Any) -> TypeGuard[Frame]:
    """Whether ``item`` is a text or binary message in one frame, with no reserved bit set."""
    if isinstance(item, Frame):
        frame = item
        return frame._head == FIN | TEXT or frame._head == FIN | BINARY
    return False


def is_close(item: Any) -> TypeGuard[Frame]:
    """Whether ``item`` is a Close frame."""
    if isinstance(item, Frame):
        frame = item
        return frame._head & OPCODE == CLOSE
    return False


def is_text(item: Any) -> TypeGuard[Frame]:
    """Whether ``item`` is a text frame, the first of its message."""
    if isinstance(item, Frame):
        frame = item
        return frame._head & OPCODE == TEXT
    return False
