"""Every exception of the package, but ``DeserializeError``: that has a frame, so it stands beside the converters.

``PeerError`` and its subclasses are the peer's fault; ``SessionClosed`` is no one's. A mistake of the caller is a
``ValueError``, ``TypeError`` or ``RuntimeError``, as anywhere in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RawWSError(Exception):
    """Base of all errors of this package.

    Every error can be pickled and copied, with its text, its attributes and its notes.
    """

    # Stands for the connection that ended with this error. A handler may deal with several.
    source: object | None = None

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # it is here for inspect.signature(), which knows none of Exception

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException would call the class with the text alone. The mark of the connection means nothing elsewhere.
        state = {name: value for name, value in vars(self).items() if name != "source"}
        return _restored, (type(self), self.args), state


def _restored(cls: type[RawWSError], args: tuple[Any, ...]) -> RawWSError:
    """Make an error without its class's own ``__init__``; the attributes are set afterwards."""
    error = cls.__new__(cls)
    super(RawWSError, error).__init__(*args)  # of Exception, or of OSError for ConnectionLost: sets ``args``
    return error


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
        self.status: int = int(status)
        self.headers: dict[str, str] = dict(headers or {})


class PeerError(RawWSError):
    """The peer sent something that cannot be accepted.

    Attributes:
        close_code: The close code that answers it (RFC 6455, section 7.4.1).
    """

    close_code = 1002


class ProtocolViolation(PeerError):
    """The peer broke the framing rules of RFC 6455, section 5."""

    close_code = 1002


class InvalidPayload(PeerError):
    """A payload is not what its type promises: text that is not UTF-8, data that does not inflate."""

    close_code = 1007


class FrameTooBig(PeerError):
    """A frame, or a message joined from frames, is larger than allowed. Nothing of the excess was stored.

    Args:
        frame_size: The size in bytes that was announced or reached.
        limit: The limit in bytes.
        option: The name of the option that sets the limit. Default: "max_frame_size".

    Attributes:
        frame_size: The size in bytes.
        limit: The limit in bytes.
        option: The name of the option.
    """

    close_code = 1009

    def __init__(self, frame_size: int, limit: int, option: str = "max_frame_size") -> None:
        super().__init__(f"Frame is too big: {frame_size}. Max size is {limit}")
        self.frame_size = frame_size
        self.limit = limit
        self.option = option


class PolicyViolation(PeerError):
    """The peer keeps to the protocol, but does more of something than the options allow.

    Args:
        text: The text of the error.
        option: The name of the option.
        limit: The value of the option.

    Attributes:
        option: The name of the option.
        limit: Its value.
    """

    close_code = 1008

    def __init__(self, text: str, option: str, limit: int) -> None:
        super().__init__(text)
        self.option = option
        self.limit = limit


class ChannelOverflow(RawWSError):
    """A bounded channel was full and its ``on_overflow`` is "close". Items queued before can still be received."""


class SessionClosed(RawWSError):
    """The session has ended, or its closing handshake has begun, so this can no longer be done.

    Args:
        text: The text of the error.
        received: The code of the Close frame that was received, 1005 if it has no code, None if there was none.
            Default: None.
        sent: The same for the Close frame that was sent. Default: None.

    Attributes:
        received: The code of the Close frame that was received, or None.
        sent: The code of the Close frame that was sent, or None.
        bytes_received: If a stream was being received, the bytes of it that had arrived. Else None.
        size: If a stream was being received, the bytes that it has in all. None if that is not known.
    """

    bytes_received: int | None = None
    size: int | None = None

    def __init__(self, text: str, *, received: int | None = None, sent: int | None = None) -> None:
        super().__init__(text)
        self.received = received
        self.sent = sent


class ConnectionLost(SessionClosed, ConnectionError):
    """The connection ended without a closing handshake: reset, end of stream, or aborted on this side."""


class ConverterNotFound(RawWSError):
    """No content converter is configured for this session."""
