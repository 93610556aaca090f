"""Values to frames and back: ``send_serialized()`` and ``receive_deserialized()``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import ConverterNotFound, DeserializeError
from ..wire.codec import Frame, FrameChunk
from ..wire.codes import Opcode


class ContentConverter(Protocol):
    """What the option ``converter`` takes."""

    def is_applicable(self, frame: Frame) -> bool:
        """Whether ``deserialize`` can do anything with a frame of this kind."""

    def serialize(self, value: Any) -> Frame:
        """The frame that carries ``value``; raises TypeError or ValueError for what it cannot carry."""

    def deserialize(self, frame: Frame) -> Any:
        """The value in ``frame``; whatever it raises becomes a DeserializeError."""


class JSONConverter:
    """JSON in Text frames, or with ``binary=True`` in Binary frames; frames of the other kind are not read.

    dumps: value -> str or UTF-8 bytes. loads: str or bytes -> value. orjson's and others' fit.
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
        return self._loads(frame.payload)


def serialized(converter: ContentConverter | None, value: Any) -> Frame:
    """The frame for ``value``. Raises ConverterNotFound where there is no converter."""
    if converter is None:
        raise ConverterNotFound("No converter was found for websocket")
    return converter.serialize(value)


def needs_converter(converter: ContentConverter | None) -> None:
    """Raise ConverterNotFound where there is none: before a frame is taken that nobody can read."""
    if converter is None:
        raise ConverterNotFound("No converter was found for websocket")


def deserialized(converter: ContentConverter | None, frame: Frame | FrameChunk, expected: Any) -> Any:
    """The value in ``frame``, which is of type ``expected`` (a class or a tuple of them; ``object`` takes all but
    None, None takes anything). Raises DeserializeError."""
    assert converter is not None
    if not isinstance(frame, Frame) or not frame.fin or not converter.is_applicable(frame):
        kind = frame.kind.name if isinstance(frame, Frame) else "chunk of a frame"
        raise DeserializeError(f"Converter doesn't support frame type {kind}", frame)
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
