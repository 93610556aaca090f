"""Values over sessions, managed and raw."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aiohttp_rawws import ConverterNotFound, DeserializeError
from aiohttp_rawws.session.converters import JSONConverter
from aiohttp_rawws.session.kinds import Session
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.session.memory import memory_pair
from aiohttp_rawws.session.options import SessionOptions
from aiohttp_rawws.session.raw import WebSocketSession
from aiohttp_rawws.wire.codec import Frame
from aiohttp_rawws.wire.codes import Opcode

from ..tools.talking import end


@pytest.fixture(params=["raw", "managed"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Session, WebSocketSession]]:
    server, client = memory_pair(converter=JSONConverter())
    yield (server if request.param == "raw" else DefaultWebSocketSession(server)), client
    await end(server, client)


async def test_values_go_both_ways(pair: tuple[Session, WebSocketSession]) -> None:
    session, client = pair
    await client.send_serialized({"a": [1, 2.5, "ü", None]})
    assert await session.receive_deserialized() == {"a": [1, 2.5, "ü", None]}
    await session.send_serialized([1])
    assert (await client.receive()) == Frame.text("[1]")


@pytest.mark.parametrize(
    ("sent", "expected", "text"),
    [
        ("null", dict, "Frame has null content"),
        ("[1]", dict, "expected value of type dict, got list"),
        ("{", dict, "Can't deserialize value: "),
    ],
)
async def test_a_wrong_value_costs_its_frame_only(
    pair: tuple[Session, WebSocketSession], sent: str, expected: type, text: str
) -> None:
    session, client = pair
    await client.send(sent)
    await client.send('{"next": 1}')
    with pytest.raises(DeserializeError, match=text) as caught:
        await session.receive_deserialized(expected)
    assert isinstance(caught.value.frame, Frame) and caught.value.frame.text == sent
    assert await session.receive_deserialized(dict) == {"next": 1}


@pytest.mark.parametrize("core", ["raw", "managed"])
@pytest.mark.parametrize(
    ("binary", "sent", "kind"), [(False, b"[1]", "BINARY"), (True, "[1]", "TEXT")], ids=["text", "binary"]
)
async def test_frames_of_the_other_kind_are_no_values(core: str, binary: bool, sent: str | bytes, kind: str) -> None:
    server, client = memory_pair(converter=JSONConverter(binary=binary))
    session: Session = server if core == "raw" else DefaultWebSocketSession(server)
    await client.send(sent)
    await client.send_serialized([2])
    with pytest.raises(DeserializeError, match=f"^Converter doesn't support frame type {kind}$") as caught:
        await session.receive_deserialized(list)
    assert isinstance(caught.value.frame, Frame) and caught.value.frame.payload == b"[1]"
    assert await session.receive_deserialized(list) == [2]
    await end(session, client)


async def test_control_frames_on_a_raw_session_are_not_values() -> None:
    server, client = memory_pair(converter=JSONConverter())
    await client.send(Frame.ping(b"{}"))
    with pytest.raises(DeserializeError, match="doesn't support frame type PING"):
        await server.receive_deserialized()
    await client.send(Frame.text("{", fin=False))
    with pytest.raises(DeserializeError, match="doesn't support frame type TEXT"):
        await server.receive_deserialized()
    await end(server, client)


async def test_without_a_converter_no_frame_is_taken() -> None:
    server, client = memory_pair()
    await client.send("[]")
    with pytest.raises(ConverterNotFound):
        await server.receive_deserialized()
    with pytest.raises(ConverterNotFound):
        await server.send_serialized(1)
    assert (await server.receive()).text == "[]"
    await end(server, client)


def test_dumps_may_return_bytes_and_binary_frames_are_a_choice() -> None:
    compact = JSONConverter(lambda value: json.dumps(value, separators=(",", ":")).encode())
    assert compact.serialize([1, 2]) == Frame.text("[1,2]")
    binary = JSONConverter(binary=True)
    assert binary.serialize([]).opcode is Opcode.BINARY
    with pytest.raises(TypeError):
        binary.serialize(object())


def test_the_option_is_checked() -> None:
    converter: Any = json
    with pytest.raises(TypeError, match="converter needs a method"):
        SessionOptions(converter=converter)


# ---- UTF-8 and nothing else (RFC 8259, section 8.1) ---------------------------------------

NO_UTF_8 = {
    **{f"{name}-{text}": text.encode(name) for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16",
       "utf-32", "utf-8-sig") for text in ("1", '"a"', '{"a": [1]}')},
    "latin-1": '"\xfc"'.encode("latin-1"),
    "surrogate": b'"\xed\xa0\x80"',
    "cut": '"\xfc"'.encode()[:2],
}  # fmt: skip


def loads_anything(data: str | bytes) -> Any:
    """Takes what json.loads() takes, and is lenient about a byte order mark in a str."""
    return json.loads(data.lstrip("\ufeff") if isinstance(data, str) else data)


@pytest.mark.parametrize("loads", [json.loads, loads_anything])
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("name", NO_UTF_8)
async def test_other_encodings_are_refused(name: str, binary: bool, loads: Callable[[str], Any]) -> None:
    server, client = memory_pair(converter=JSONConverter(loads=loads, binary=binary))
    frame = Frame.binary if binary else Frame.text
    for payload in (NO_UTF_8[name], '{"\xfc": "\u20ac\U0001f600"}'.encode()):
        await client.send(frame(payload))
    with pytest.raises(DeserializeError) as caught:
        await server.receive_deserialized()
    assert isinstance(caught.value.frame, Frame) and caught.value.frame.payload == NO_UTF_8[name]
    assert await server.receive_deserialized() == {"\xfc": "\u20ac\U0001f600"}
    await end(server, client)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_loads_is_given_a_str(binary: bool) -> None:
    given: list[object] = []
    converter = JSONConverter(loads=given.append, binary=binary)
    converter.deserialize(Frame.binary(b'"a"') if binary else Frame.text(b'"a"'))
    assert given == ['"a"']
    assert type(given[0]) is str
