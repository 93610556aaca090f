"""Conversion of values to frames and back, for ``send_serialized()`` and ``receive_deserialized()``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import ConverterNotFound, RawWSError
from ..wire.codec import Frame, FrameChunk
from ..wire.codes import Opcode

NOT_FOUND = (
    "No converter was found for websocket: set the option converter, as in converter=JSONConverter(), or use "
    "send_json() and receive_json(), which need none"
)


class DeserializeError(RawWSError):
    """A frame could not be turned into a value.

    Args:
        text: The text of the error.
        frame: The frame, or the chunk of a frame, which was already taken from the session.

    Attributes:
        frame: The frame, or the chunk of a frame.
        close_code: The code that a managed session closes with if its handler lets this error out: 1007, or 1003 for a
            frame of a kind that the converter does not read.
    """

    close_code = 1007

    def __init__(self, text: str, frame: Frame | FrameChunk) -> None:
        super().__init__(text)
        self.frame = frame


class ContentConverter(Protocol):
    """The interface of a converter, for the option ``converter``."""

    def is_applicable(self, frame: Frame) -> bool:
        """Return True if ``deserialize()`` reads frames of this kind."""

    def serialize(self, value: Any) -> Frame:
        """Return the frame for ``value``. Raise TypeError or ValueError if there is none."""

    def deserialize(self, frame: Frame) -> Any:
        """Return the value in ``frame``. Any exception is raised as a DeserializeError."""


class JSONConverter:
    """JSON in Text frames or in Binary frames. A frame of the other kind is a DeserializeError.

    The text is UTF-8 without a byte order mark, as RFC 8259, section 8.1 demands. Other encodings are a
    DeserializeError, even UTF-16, which ``json.loads()`` would decode.

    Args:
        dumps: A function from a value to a str or UTF-8 bytes, such as ``orjson.dumps``. Default: ``json.dumps``.
        loads: A function from a str to a value, such as ``orjson.loads``. Default: ``json.loads``.
        binary: Use Binary frames. Default: False.
    """

    def __init__(
        self,
        dumps: Callable[[Any], str | bytes] = json.dumps,
        loads: Callable[[Any], Any] = json.loads,
        *,
        binary: bool = False,
    ) -> None:
        self._dumps = dumps
        self._loads = loads
        self._kind = Opcode.BINARY if binary else Opcode.TEXT

    def is_applicable(self, frame: Frame) -> bool:
        return frame.kind is self._kind

    def serialize(self, value: Any) -> Frame:
        data = self._dumps(value)
        if self._kind is Opcode.BINARY:
            return Frame.binary(data.encode() if isinstance(data, str) else data)
        return Frame.text(data)

    def deserialize(self, frame: Frame) -> Any:
        text = str(frame.payload, "utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("JSON must not begin with a byte order mark")
        return self._loads(text)


def serialized(converter: ContentConverter | None, value: Any) -> Frame:
    """Return the frame for ``value``.

    Raises:
        ConverterNotFound: There is no converter.
    """
    if converter is None:
        raise ConverterNotFound(NOT_FOUND)
    return converter.serialize(value)


def require_converter(converter: ContentConverter | None) -> None:
    """Check that there is a converter, before a frame is received that cannot be converted.

    Raises:
        ConverterNotFound: There is none.
    """
    if converter is None:
        raise ConverterNotFound(NOT_FOUND)


def wrong_kind(frame: Frame | FrameChunk) -> DeserializeError:
    """Return the error for a frame that the converter does not read."""
    kind = "chunk of a frame"
    if isinstance(frame, Frame):
        kind = frame.opcode.name if frame.opcode is Opcode.CONTINUATION else frame.kind.name
    error = DeserializeError(f"Converter doesn't support frame type {kind}", frame)
    error.close_code = 1003  # the handler cannot accept this kind of data (section 7.4.1)
    return error


def deserialized(converter: ContentConverter | None, frame: Frame | FrameChunk, expected: Any) -> Any:
    """Return the value in ``frame``.

    Args:
        converter: The converter. ``require_converter()`` has checked that there is one.
        frame: A frame taken from the session.
        expected: The class of the value, or a tuple of classes. ``object`` stands for any value except None. None
            stands for any value.

    Raises:
        DeserializeError: The frame cannot be converted, or its value has another type.
    """
    assert converter is not None
    if not isinstance(frame, Frame) or not frame.fin or frame.opcode is Opcode.CONTINUATION:
        raise wrong_kind(frame)
    if not converter.is_applicable(frame):
        raise wrong_kind(frame)
    try:
        value = converter.deserialize(frame)
    except Exception as exc:
        raise DeserializeError(f"Can't deserialize value: {exc}", frame) from exc
    if expected is None:
        return value
    if value is None and expected is not type(None):
        raise DeserializeError("Frame has null content", frame)
    if not isinstance(value, expected):
        wanted = getattr(expected, "__name__", expected)
        got = type(value).__name__
        raise DeserializeError(f"Can't deserialize value: expected value of type {wanted}, got {got}", frame)
    return value
