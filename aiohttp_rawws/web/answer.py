"""``Answer``: the subprotocol and the extensions of a 101 that somebody else has chosen, such as an upstream server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import handshake


@dataclass(frozen=True, init=False)
class Answer:
    """The answer to the client's offers, for ``WebSocketUpgrade(request, answer=Answer(...))``.

    A gateway gives its client the answer of the upstream server. Nothing is negotiated, and no extension is applied.
    That the client has offered what is answered is not checked.

    Args:
        protocol: The subprotocol, or None. Default: None.
        extensions: A line of ``Sec-WebSocket-Extensions``, or several. They are sent as they are. Default: ``()``.

    Raises:
        TypeError: The protocol is not a str, or the extensions are not lines.
        ValueError: The protocol is not a token, or a line is not a field value.
    """

    protocol: str | None
    extensions: tuple[str, ...]

    def __init__(self, protocol: str | None = None, extensions: str | Iterable[str] = ()) -> None:
        object.__setattr__(self, "protocol", _checked_protocol(protocol))  # the dataclass is frozen
        object.__setattr__(self, "extensions", _checked_lines(extensions))


def _checked_protocol(protocol: object) -> object:
    if protocol is not None and not isinstance(protocol, str):
        raise TypeError(f"protocol must be a str or None, not {protocol!r}")
    if protocol is not None and not handshake.is_token(protocol):
        raise ValueError(f"protocol must be a token of RFC 9110, not {protocol!r}")
    return protocol


def _checked_lines(extensions: object) -> tuple[str, ...]:
    if isinstance(extensions, (bytes, bytearray)) or not isinstance(extensions, Iterable):
        raise TypeError(f"extensions must be a line or a list of lines, not {extensions!r}")
    lines: tuple[object, ...] = (extensions,) if isinstance(extensions, str) else tuple(extensions)
    checked = []
    for line in lines:
        if not isinstance(line, str):
            raise TypeError(f"extensions must be lines of text, not {line!r}")
        if not handshake.is_field("Sec-WebSocket-Extensions", line):
            raise ValueError(f"extensions must be field values, not {line!r}")
        checked.append(line)
    return tuple(checked)
