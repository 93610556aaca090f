"""Frames as values: one header and its payload (RFC 6455, section 5.2).

One source, two builds: as it stands, and compiled with the types that ``frames.pxd`` adds, so nothing here may rely on
attributes that the .pxd does not name. An object whose ``__init__`` did not run (a subclass forgot it) has no payload:
an AttributeError in Python, None when compiled, where each access checks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeGuard, cast, overload

from ..errors import InvalidPayload
from ._shared import copied, not_made
from .chunks import FrameHeader
from .codes import MAX_CONTROL_PAYLOAD, OPCODES, CloseReason, Opcode, may_be_sent
from .header_bits import BINARY, CLOSE, CONTROL, FIN, OPCODE, PING, PONG, RSV1, RSV2, RSV3, TEXT, UNMASKED
from .headers import head_byte, header_bytes
from .signatures import ConstructorSignature

if TYPE_CHECKING:
    from typing_extensions import Buffer, Unpack

REPR_BYTES = 24  # bytes of a payload that a repr shows


def _check_control(head: int, size: int) -> None:
    """Check a control frame (section 5.5)."""
    if not head & FIN:
        raise ValueError(f"a {OPCODES[head & OPCODE].name} frame cannot be fragmented")
    if size > MAX_CONTROL_PAYLOAD:
        name = OPCODES[head & OPCODE].name
        raise ValueError(f"a {name} frame holds at most {MAX_CONTROL_PAYLOAD} bytes, not {size}")


def _checked_kind(opcode: int, kind: int) -> int:
    """Check that a frame with ``opcode`` can be of this kind: only a continuation can be of another kind."""
    if kind != opcode and (opcode != 0 or not 0 <= kind < CONTROL):
        raise ValueError(f"a {OPCODES[opcode].name} frame cannot be of kind {Opcode(kind).name}")
    return int(kind)


def _as_bytes(payload: Buffer) -> bytes:
    return payload if type(payload) is bytes else copied(payload, "payload")


def _data_frame(opcode: int, payload: bytes, fin: bool, rsv1: bool, rsv2: bool, rsv3: bool) -> Frame:
    return make_frame(head_byte(opcode, fin, rsv1, rsv2, rsv3), opcode, payload, UNMASKED)


def text(
    payload: str | Buffer, *, fin: bool = True, rsv1: bool = False, rsv2: bool = False, rsv3: bool = False
) -> Frame:
    """Make a text frame.

    Args:
        payload: A str, or bytes that are sent as they are: a fragment may end inside a character.
        fin: This is the last frame of its message. Default: True.
        rsv1, rsv2, rsv3: The reserved bits. Default: False.

    Raises:
        UnicodeEncodeError: A str has lone surrogates.
    """
    data = payload.encode() if isinstance(payload, str) else _as_bytes(payload)
    return _data_frame(TEXT, data, fin, rsv1, rsv2, rsv3)


def _control_frame(opcode: int, payload: bytes) -> Frame:
    _check_control(FIN | opcode, len(payload))
    return make_frame(FIN | opcode, opcode, payload, UNMASKED)


class _Text:
    """``Frame.text(...)`` makes a text frame; ``frame.text`` is the payload as str."""

    __slots__ = ()

    def __get__(self, frame: Any, owner: Any) -> Any:
        return text if frame is None else _decoded(frame)


if TYPE_CHECKING:

    class _FrameFields(TypedDict, total=False):
        opcode: int
        payload: Buffer
        fin: bool
        rsv1: bool
        rsv2: bool
        rsv3: bool
        kind: int | None

    class _MakeText(Protocol):
        def __call__(
            self, payload: str | Buffer, *, fin: bool = True, rsv1: bool = False, rsv2: bool = False, rsv3: bool = False
        ) -> Frame:
            """Make a text frame of a str, or of bytes that are sent as they are."""

    class _TextAccess:
        @overload
        def __get__(self, frame: None, owner: Any) -> _MakeText: ...

        @overload
        def __get__(self, frame: Frame, owner: Any) -> str: ...

        def __get__(self, frame: Any, owner: Any) -> Any: ...


def _decoded(frame: Frame) -> str:
    payload = frame._payload
    if payload is None:
        raise not_made(frame)
    try:
        return payload.decode()
    except UnicodeDecodeError as exc:
        raise InvalidPayload(f"Text is not UTF-8: {exc.reason} at byte {exc.start}") from None


class Frame:
    """A frame: what is in its header, and its payload. Immutable.

    Two frames are equal if header and payload are equal, whatever key they were masked with. A frame matches as
    ``case Frame(Opcode.TEXT, payload)``.
    """

    __slots__ = ("_head", "_key", "_kind", "_payload")
    __match_args__ = ("opcode", "payload")
    __signature__ = ConstructorSignature()  # type: ConstructorSignature

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
        """
        Received frames are not checked like this: with ``strict=False`` they can be anything.

        Args:
            opcode: As on the wire, 0 to 15.
            payload: Any contiguous buffer. It is copied unless it is bytes. Default: empty.
            fin: This is the last frame of its message. Default: True.
            rsv1, rsv2, rsv3: The reserved bits, which extensions may give a meaning. Default: False.
            kind: The kind of the message that a continuation belongs to. Default: the opcode.

        Raises:
            ValueError: No such opcode or kind, or a control frame of more than 125 bytes or with ``fin=False``
                (section 5.5).
        """
        self._payload = _as_bytes(payload)
        self._head = head_byte(opcode, fin, rsv1, rsv2, rsv3)
        if self._head & CONTROL:
            _check_control(self._head, len(self._payload))
        self._kind = self._head & OPCODE if kind is None else _checked_kind(self._head & OPCODE, kind)
        self._key = UNMASKED

    # Cython takes an annotation here for that of a field.
    text = cast("_TextAccess", _Text())  # type: _TextAccess

    @staticmethod
    def binary(data: Buffer, *, fin: bool = True, rsv1: bool = False, rsv2: bool = False, rsv3: bool = False) -> Frame:
        """Make a binary frame. The arguments are those of ``Frame()``."""
        return _data_frame(BINARY, _as_bytes(data), fin, rsv1, rsv2, rsv3)

    @staticmethod
    def ping(payload: Buffer = b"") -> Frame:
        """Make a Ping. Its Pong has to carry the same payload (section 5.5.3), at most 125 bytes. Default: empty."""
        return _control_frame(PING, _as_bytes(payload))

    @staticmethod
    def pong(payload: Buffer = b"") -> Frame:
        """Make a Pong, an answer to a Ping or unasked, with at most 125 bytes. Default: empty."""
        return _control_frame(PONG, _as_bytes(payload))

    @staticmethod
    def close(code: int | CloseReason | None = None, message: str = "") -> Frame:
        """Make a Close frame.

        Args:
            code: The close code, or a CloseReason. Default: None (an empty Close frame).
            message: At most 123 bytes as UTF-8. Default: empty.

        Raises:
            ValueError: The code may not be sent (section 7.4.1), or there is a message without a code.
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
        """The opcode on the wire: CONTINUATION for every frame of a message but the first."""
        return OPCODES[(self._head or _head_of(self)) & OPCODE]

    @property
    def kind(self) -> Opcode:
        """The kind of the message: the opcode of its first frame."""
        if self._payload is None:
            raise not_made(self)
        return OPCODES[self._kind]

    @property
    def fin(self) -> bool:
        """This is the last frame of its message."""
        return ((self._head or _head_of(self)) & FIN) != 0

    @property
    def rsv1(self) -> bool:
        """The first reserved bit. permessage-deflate marks compressed messages with it."""
        return ((self._head or _head_of(self)) & RSV1) != 0

    @property
    def rsv2(self) -> bool:
        """The second reserved bit."""
        return ((self._head or _head_of(self)) & RSV2) != 0

    @property
    def rsv3(self) -> bool:
        """The third reserved bit."""
        return ((self._head or _head_of(self)) & RSV3) != 0

    @property
    def payload(self) -> bytes:
        """The payload, unmasked."""
        if self._payload is None:
            raise not_made(self)
        return self._payload

    @property
    def masking_key(self) -> bytes | None:
        """The key that a received frame was masked with. None if it was not masked, or not received."""
        if self._payload is None:
            raise not_made(self)
        return None if self._key < 0 else self._key.to_bytes(4, "big")

    @property
    def close_reason(self) -> CloseReason | None:
        """The code and message of a Close frame. None if it is empty, and for other frames."""
        if self._payload is None:
            raise not_made(self)
        return CloseReason.from_payload(self._payload) if self._head & OPCODE == CLOSE else None

    def replace(self, **changes: Unpack[_FrameFields]) -> Frame:
        """Make a frame that differs in the arguments given, which are those of ``Frame()``. It has no masking key."""
        if "opcode" not in changes:
            changes.setdefault("kind", self._kind)
        arguments: _FrameFields = {
            "opcode": self._head & OPCODE,
            "payload": self.payload,
            "fin": self.fin,
            "rsv1": self.rsv1,
            "rsv2": self.rsv2,
            "rsv3": self.rsv3,
        }
        arguments.update(changes)
        return Frame(**arguments)

    def _is(self, other: Frame) -> bool:
        if self._payload is None:
            raise not_made(self)
        if other._payload is None:
            raise not_made(other)
        return self._head == other._head and self._kind == other._kind and self._payload == other._payload

    def __eq__(self, other: object) -> bool:
        return self._is(other) if isinstance(other, Frame) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._head, self._kind, self.payload))

    def __reduce__(self) -> tuple[Any, ...]:
        return make_frame, (self._head, self._kind, self.payload, self._key)

    def __repr__(self) -> str:
        parts = [self.opcode.name, *_repr_of_payload(self)]
        if not self.fin:
            parts.append("fin=False")
        parts += [f"{name}=True" for name in ("rsv1", "rsv2", "rsv3") if getattr(self, name)]
        return f"<Frame {' '.join(parts)}>"


def _repr_of_payload(frame: Frame) -> list[str]:
    """The payload for a repr: short, whatever it holds."""
    payload = frame._payload
    if frame._kind == TEXT:
        return [repr(payload.decode(errors="replace"))] if len(payload) <= REPR_BYTES else _excerpt(payload, text=True)
    if frame._kind == CLOSE and len(payload) >= 2:
        reason = CloseReason.from_payload(payload)
        assert reason is not None
        return [str(reason.code), *([repr(reason.message)] if reason.message else [])]
    return _excerpt(payload, text=False) if payload or not frame._kind & CONTROL else []


def _excerpt(payload: bytes, text: bool) -> list[str]:
    size, more = f"{len(payload)} bytes", "..." if len(payload) > REPR_BYTES else ""
    if text:
        return [size, repr(payload[:REPR_BYTES].decode(errors="ignore")) + more]
    shown = payload[: REPR_BYTES if not more else 8].hex() + more
    return [size, shown] if shown else [size]


def make_frame(head: int, kind: int, payload: bytes, key: int) -> Frame:
    """Make a frame of any content, without a check.

    Args:
        head: The first byte of the frame.
        kind: The kind of its message, an opcode.
        payload: The payload, unmasked.
        key: The masking key as a big-endian number, or UNMASKED.
    """
    frame = Frame.__new__(Frame)
    frame._head = head
    frame._kind = kind
    frame._payload = payload
    frame._key = key
    return frame


def with_payload(frame: Frame, payload: bytes, rsv1: bool) -> Frame:
    """Make a frame that differs from ``frame`` in payload and first reserved bit, for extensions. Without a check."""
    if frame is None:
        raise not_made(frame)
    if frame._payload is None:
        raise not_made(frame)
    head = frame._head | RSV1 if rsv1 else frame._head & ~RSV1
    return make_frame(head, frame._kind, payload, UNMASKED)


def header_of(head: int, kind: int, length: int, key: int) -> FrameHeader:
    """Make the header of a frame with a payload of ``length`` bytes. The other arguments are those of
    ``make_frame()``."""
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
    """A frame that is encoded once and can be sent to many peers.

    It is a whole message or a control frame: a fragment belongs to the conversation that it was begun in.
    """

    __slots__ = ("_frame", "_wire")
    __signature__ = ConstructorSignature()  # type: ConstructorSignature

    _frame: Frame
    _wire: bytes

    def __init__(self, frame: Frame) -> None:
        """
        Args:
            frame: The frame.

        Raises:
            ValueError: The frame is a fragment.
            TypeError: It is not a Frame.
        """
        if not isinstance(frame, Frame):
            raise TypeError(f"a Frame can be prepared, not {type(frame).__name__}")
        self._wire = _wire_of(frame)
        self._frame = frame

    @property
    def frame(self) -> Frame:
        """The frame."""
        if self._frame is None:
            raise not_made(self)
        return self._frame

    @property
    def wire(self) -> bytes:
        """Its bytes on the wire, unmasked."""
        if self._wire is None:
            raise not_made(self)
        return self._wire

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedFrame, (self.frame,)

    def __repr__(self) -> str:
        return f"<PreparedFrame {self.frame!r}>"


def _wire_of(frame: Frame) -> bytes:
    if frame._payload is None:
        raise not_made(frame)
    if not frame._head & FIN or not frame._head & OPCODE:
        raise ValueError("only a whole message can be prepared, not a fragment")
    return header_bytes(frame._head, len(frame._payload), None) + frame._payload


def _head_of(frame: Frame) -> int:
    """Return the first byte of a frame in which it is 0: a fragment, or (if compiled) a frame that was not made."""
    if frame._payload is None:
        raise not_made(frame)
    return frame._head


# Questions of other modules about each item. Compiled modules call these as C; to them the classes are Python objects,
# and `isinstance()` would be a call of Python. `frame = item` gives the item its C type (see the .pxd).


def payload_size(item: Any) -> int:
    """Return the bytes of payload in a Frame or FrameChunk."""
    if isinstance(item, Frame):
        frame = item
        if frame._payload is None:
            raise not_made(frame)
        return len(frame._payload)
    return len(item.payload)


def is_prepared(item: Any) -> TypeGuard[PreparedFrame]:
    """Return whether ``item`` is a PreparedFrame."""
    return isinstance(item, PreparedFrame)


def is_control(item: Any) -> TypeGuard[Frame]:
    """Return whether ``item`` is a control frame. A FrameChunk never is."""
    if isinstance(item, Frame):
        frame = item
        return ((frame._head or _head_of(frame)) & CONTROL) != 0
    return False


def is_whole_message(item: Any) -> TypeGuard[Frame]:
    """Return whether ``item`` is a text or binary message in one frame, with no reserved bit set."""
    if isinstance(item, Frame):
        frame = item
        head = frame._head or _head_of(frame)
        return head == FIN | TEXT or head == FIN | BINARY
    return False


def is_close(item: Any) -> TypeGuard[Frame]:
    """Return whether ``item`` is a Close frame."""
    if isinstance(item, Frame):
        frame = item
        return (frame._head or _head_of(frame)) & OPCODE == CLOSE
    return False


def is_text(item: Any) -> TypeGuard[Frame]:
    """Return whether ``item`` is a text frame, the first of its message."""
    if isinstance(item, Frame):
        frame = item
        return (frame._head or _head_of(frame)) & OPCODE == TEXT
    return False
