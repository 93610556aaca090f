"""The records of a recording: what happened on a connection, one event each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..session.tap import End
from ..wire.codes import CloseReason, Opcode
from ..wire.masking import apply_mask

Source = Literal["client", "server"]
"""A side of a connection."""

Fields = tuple[tuple[str, str], ...]
"""Header fields in their order: pairs of name and value."""

HIDDEN = "***"
"""The value of a header field that a recording hides."""

LENGTH_16, LENGTH_64 = 126, 127


def other(source: Source) -> Source:
    """Return the other side."""
    return "server" if source == "client" else "client"


class Header(NamedTuple):
    """The parts of the header of a frame (RFC 6455, section 5.2).

    Attributes:
        opcode: The opcode on the wire.
        fin: The frame ends its message.
        rsv: The reserved bits as a number: RSV1 is 4, RSV2 is 2, RSV3 is 1.
        masking_key: 4 bytes, or None.
        length: Bytes of payload that the header announces.
    """

    opcode: Opcode
    fin: bool
    rsv: int
    masking_key: bytes | None
    length: int


def size_of_header(start: bytes | bytearray) -> int:
    """Return the size of a header in bytes, as far as its ``start`` says: 2 if less than 2 bytes are there."""
    if len(start) < 2:
        return 2
    coded = start[1] & 0x7F
    width = {LENGTH_16: 2, LENGTH_64: 8}.get(coded, 0)
    return 2 + width + (4 if start[1] & 0x80 else 0)


def read_header(header: bytes | bytearray) -> Header:
    """Read a whole header. Any bytes of the right number are one.

    Raises:
        ValueError: The number of bytes is wrong.
    """
    if len(header) < 2 or len(header) != size_of_header(header):
        raise ValueError(f"{header.hex()!r} is not the header of a frame")
    first, second = header[0], header[1]
    key = bytes(header[-4:]) if second & 0x80 else None
    length = second & 0x7F
    if length >= LENGTH_16:
        length = int.from_bytes(header[2 : 4 if length == LENGTH_16 else 10], "big")
    return Header(Opcode(first & 0x0F), bool(first & 0x80), first >> 4 & 7, key, length)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeRequest:
    """The request of the opening handshake.

    Attributes:
        method: The method.
        target: The request target, as on the wire.
        url: The whole URL. It is no valid one if the client's ``Host`` is none.
        headers: The header fields.
    """

    method: str
    target: str
    url: str
    headers: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeResponse:
    """The response of the opening handshake.

    Attributes:
        status: The status, 101.
        reason: Its text.
        headers: The header fields.
    """

    status: int
    reason: str
    headers: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRecord:
    """The first record of a connection.

    Attributes:
        connection: The number of the connection in its recording.
        time: Seconds since the epoch.
        recorded_by: The side on which the recording was made.
        peer: The address of the other side.
        request: The request of the handshake, or None if there was none, as over a pair of streams.
        response: The response, or None.
        missed: Bytes that were received and sent before the recording began.
    """

    connection: int
    time: float
    recorded_by: Source
    peer: str = ""
    request: HandshakeRequest | None = None
    response: HandshakeResponse | None = None
    missed: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """A frame, as it was on the wire.

    Attributes:
        connection: The number of the connection.
        number: The number of the frame on its connection, from 1 on. Both directions count together.
        time: When its last byte arrived or left: seconds since the epoch.
        source: The side that sent it.
        header: The header, 2 to 14 bytes.
        payload: The payload, unmasked. ``max_payload`` may have cut it.
        size: Bytes of payload that came. Less than ``length`` if the connection ended inside the frame.
        kind: The kind of the message that the frame belongs to.
        early: The frame came with the opening handshake.
        redacted: ``redact`` has changed the payload.
        note: A remark, or None.
    """

    connection: int
    number: int
    time: float
    source: Source
    header: bytes
    payload: bytes
    size: int
    kind: Opcode
    early: bool = False
    redacted: bool = False
    note: str | None = None

    @property
    def opcode(self) -> Opcode:
        """The opcode on the wire: CONTINUATION for the second fragment of a message."""
        return read_header(self.header).opcode

    @property
    def fin(self) -> bool:
        """The frame ends its message."""
        return read_header(self.header).fin

    @property
    def rsv(self) -> int:
        """The reserved bits as a number: RSV1 is 4, RSV2 is 2, RSV3 is 1."""
        return read_header(self.header).rsv

    @property
    def masking_key(self) -> bytes | None:
        """The masking key, or None for a frame that is not masked."""
        return read_header(self.header).masking_key

    @property
    def length(self) -> int:
        """Bytes of payload that the header announces."""
        return read_header(self.header).length

    @property
    def truncated(self) -> bool:
        """True if the recording has only the beginning of the payload."""
        return not self.redacted and len(self.payload) < self.size

    @property
    def wire(self) -> bytes:
        """The bytes on the wire, as far as they were recorded."""
        key = self.masking_key
        return self.header + (self.payload if key is None else apply_mask(self.payload, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesRecord:
    """Bytes at the end of a direction that are too few for the header of a frame.

    Attributes:
        connection: The number of the connection.
        time: Seconds since the epoch.
        source: The side that sent them.
        data: The bytes. None are there if ``redact`` has failed.
    """

    connection: int
    time: float
    source: Source
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRecord:
    """The end of one direction of the TCP stream.

    Attributes:
        connection: The number of the connection.
        time: Seconds since the epoch.
        source: The side whose direction ended.
        how: "eof": in order. "reset": the connection failed, as by a reset. "abort": the side that recorded dropped it.
    """

    connection: int
    time: float
    source: Source
    how: End


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRecord:
    """The last record of a connection.

    Attributes:
        connection: The number of the connection.
        time: Seconds since the epoch.
        client: The Close that the client sent, as the session that recorded knows it, or None.
        server: The Close that the server sent, or None.
        first: The side whose Close came first, or None.
        how: How the connection ended: "eof", "reset" or "abort", see ``EndRecord``.
        limit: The option whose limit ended it, or None.
        error: The error that failed the session, or None.
    """

    connection: int
    time: float
    client: CloseReason | None = None
    server: CloseReason | None = None
    first: Source | None = None
    how: End = "eof"
    limit: str | None = None
    error: str | None = None


Record = OpenRecord | FrameRecord | BytesRecord | EndRecord | CloseRecord
"""One line of a recording."""
