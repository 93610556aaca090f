"""Reading and writing the header ``Sec-WebSocket-Extensions`` (RFC 6455, section 9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn

from ..errors import HandshakeError

HEADER_NAME = "Sec-WebSocket-Extensions"
MAX_HEADER_SIZE = 16 * 1024  # characters, all lines joined; a browser's offer has about 50

# Each pattern is one repeated character class, or alternatives that begin with different characters. So `re` never
# goes back over what it has read, and the time is linear.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_QUOTED = re.compile(r'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"')
_ESCAPE = re.compile(r"\\(.)")
_SPACE = re.compile(r"[ \t]*")
_LIST_GAP = re.compile(r"[ \t,]*")


class WebSocketExtensionHeader:
    """One extension in the header: its name and its parameters, in order. Immutable."""

    __slots__ = ("_name", "_parameters")
    __match_args__ = ("name", "parameters")

    def __init__(self, name: str, parameters: Iterable[tuple[str, str | None]] = ()) -> None:
        """
        Args:
            name: The name, a token of RFC 9110.
            parameters: Pairs of name and value, with None for a parameter without a value. A name may occur more than
                once, if the extension allows it. Default: none.

        Raises:
            ValueError: This cannot be written into the header.
        """
        pairs = tuple((key, value) for key, value in parameters)
        _require_token(name, "extension name")
        for key, value in pairs:
            _require_token(key, "parameter name")
            if value is not None:
                _require_token(value, f"value of parameter {key}")
        self._name = name
        self._parameters = pairs

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @property
    def parameters(self) -> tuple[tuple[str, str | None], ...]:
        """Pairs of name and value (None: without a value), in order."""
        return self._parameters

    def parse_parameters(self) -> dict[str, str | None]:
        """Return the parameters by name, in order.

        Raises:
            HandshakeError: A parameter is given twice (400).
        """
        by_name: dict[str, str | None] = {}
        for key, value in self._parameters:
            if key in by_name:
                raise HandshakeError(400, f"{HEADER_NAME}: {self._name} has parameter {key} twice")
            by_name[key] = value
        return by_name

    def __str__(self) -> str:
        return self._name + "".join(
            f"; {key}" if value is None else f"; {key}={value}" for key, value in self._parameters
        )

    def __repr__(self) -> str:
        return f"<WebSocketExtensionHeader {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WebSocketExtensionHeader):
            return NotImplemented
        return self._name == other._name and self._parameters == other._parameters

    def __hash__(self) -> int:
        return hash((self._name, self._parameters))


def parse_extensions(header_values: Iterable[str]) -> list[WebSocketExtensionHeader]:
    """Read the extensions in ``Sec-WebSocket-Extensions``, in order.

    Args:
        header_values: All lines of that header, in order. They count as one (RFC 9110, section 5.3). Empty list
            elements are ignored (section 5.6.1).

    Returns:
        The extensions.

    Raises:
        HandshakeError: The header is invalid; the error has the character at which. Or it has more than
            ``MAX_HEADER_SIZE`` characters (400).
    """
    value = ", ".join(header_values)
    if len(value) > MAX_HEADER_SIZE:
        raise HandshakeError(400, f"{HEADER_NAME} has more than {MAX_HEADER_SIZE} characters")
    found: list[WebSocketExtensionHeader] = []
    position = _skip(_LIST_GAP, value, 0)
    while position < len(value):
        name, position = _read_token(value, position, "an extension name")
        parameters: list[tuple[str, str | None]] = []
        position = _skip(_SPACE, value, position)
        while value.startswith(";", position):
            parameter, position = _read_parameter(value, _skip(_SPACE, value, position + 1))
            parameters.append(parameter)
            position = _skip(_SPACE, value, position)
        found.append(WebSocketExtensionHeader(name, parameters))
        if position < len(value) and value[position] != ",":
            _fail(value, position, "';', ',' or the end")
        position = _skip(_LIST_GAP, value, position)
    return found


def format_extensions(headers: Iterable[WebSocketExtensionHeader]) -> str:
    """Return the value of one ``Sec-WebSocket-Extensions`` line with ``headers`` in their order."""
    return ", ".join(map(str, headers))


def _read_parameter(value: str, position: int) -> tuple[tuple[str, str | None], int]:
    name, position = _read_token(value, position, "a parameter name")
    after_space = _skip(_SPACE, value, position)
    if not value.startswith("=", after_space):
        return (name, None), position
    position = _skip(_SPACE, value, after_space + 1)
    if not value.startswith('"', position):
        token, position = _read_token(value, position, f"a value for parameter {name}")
        return (name, token), position
    quoted = _QUOTED.match(value, position)
    if quoted is None:
        _fail(value, position, f"a complete quoted string for parameter {name}")
    unquoted = _ESCAPE.sub(r"\1", quoted[1])
    # "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST conform to
    # the 'token' ABNF." (RFC 6455, section 9.1)
    if _TOKEN.fullmatch(unquoted) is None:
        _fail(value, position, f"a token inside the quotes for parameter {name}")
    return (name, unquoted), quoted.end()


def _read_token(value: str, position: int, what: str) -> tuple[str, int]:
    token = _TOKEN.match(value, position)
    if token is None:
        _fail(value, position, what)
    return token[0], token.end()


def _skip(pattern: re.Pattern[str], value: str, position: int) -> int:
    gap = pattern.match(value, position)
    return position if gap is None else gap.end()


def _fail(value: str, position: int, expected: str) -> NoReturn:
    seen = ascii(value[position : position + 20]) if position < len(value) else "the end"
    raise HandshakeError(400, f"{HEADER_NAME}: expected {expected} at character {position + 1}, found {seen}")


def _require_token(text: str, what: str) -> None:
    if _TOKEN.fullmatch(text) is None:
        raise ValueError(f"{what} must be a token (RFC 9110, section 5.6.2), not {text!r}")
