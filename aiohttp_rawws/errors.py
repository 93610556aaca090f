"""Every exception of the package.

The type tells whose fault it is: ``PeerError`` and below is the peer's, ``SessionClosed`` is nobody's.
A mistake of the caller is a ``ValueError``, ``TypeError`` or ``RuntimeError`` as anywhere in Python.
"""

from __future__ import annotations

from collections.abc import Mapping


class RawWSError(Exception):
    """Base of all errors of this package."""

    _source: object | None = None  # the connection whose end it tells of; a handler may deal with several


class HandshakeError(RawWSError):
    """The opening handshake cannot be completed (RFC 6455, section 4).

    ``before_upgrade`` and the functions in ``origins`` and ``protocols`` may raise it, too. The request is answered
    with its status, text and headers, and the connection is closed.

    Args:
        status: The HTTP status of the answer, from 400 to 599.
        text: The reason, which is the body of the answer.
        headers: Further fields of the answer, such as ``Sec-WebSocket-Version`` with 426. Default: none.

    Raises:
        TypeError: ``status`` is not an int.
        ValueError: ``status`` is not an error: it cannot refuse anything.

    Attributes:
        status: The HTTP status.
        headers: The header fields, as a dict.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status must be an HTTP status such as 403, not {status!r}")
        if not 400 <= status <= 599:
            raise ValueError(f"status must be an error, 400 to 599, not {status!r}")
        super().__init__(text)
        self.status = int(status)
        self.headers: dict[str, str] = dict(headers or {})


class PeerError(RawWSError):
    """What the peer sent cannot be accepted; ``close_code`` is what RFC 6455, section 7.4.1 answers it with."""

    close_code = 1002


class ProtocolViolation(PeerError):
    """The peer broke the framing rules of RFC 6455, section 5."""

    close_code = 1002


class InvalidPayload(PeerError):
    """A payload is not what its type promises: text that is not UTF-8, data that does not inflate."""

    close_code = 1007


class FrameTooBig(PeerError):
    """A frame, or a message joined from frames, is larger than allowed; nothing of the excess was stored.

    frame_size: the size in bytes that was announced or reached.
    limit: the bytes allowed. option: the name of the option that says so.
    """

    close_code = 1009

    def __init__(self, frame_size: int, limit: int, option: str = "max_frame_size") -> None:
        super().__init__(f"Frame is too big: {frame_size}. Max size is {limit}")
        self.frame_size = frame_size
        self.limit = limit
        self.option = option


class PolicyViolation(PeerError):
    """The peer keeps to the protocol, but does more of something than the options allow.

    option: the name of the option. limit: its value.
    """

    close_code = 1008

    def __init__(self, text: str, option: str, limit: int) -> None:
        super().__init__(text)
        self.option = option
        self.limit = limit


class ChannelOverflow(RawWSError):
    """A bounded channel was full and its ``on_overflow`` is "close". What was queued before stays readable."""


class SessionClosed(RawWSError):
    """The session has ended, or its closing handshake has begun, so this can no longer be done.

    received, sent: the codes of the Close frames seen (1005 for one without a code), None where there was none.
    """

    def __init__(self, text: str, *, received: int | None = None, sent: int | None = None) -> None:
        super().__init__(text)
        self.received = received
        self.sent = sent


class ConnectionLost(SessionClosed, ConnectionError):
    """The connection ended without a closing handshake: reset, end of stream, or aborted on this side."""


class ConverterNotFound(RawWSError):
    """No content converter is configured for this session."""


class DeserializeError(RawWSError):
    """A frame could not be turned into a value; ``frame`` is the frame, already taken from the session."""

    def __init__(self, text: str, frame: object) -> None:
        super().__init__(text)
        self.frame = frame
