"""Frames as values, in both builds."""

from __future__ import annotations

import copy
import pickle
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.errors import InvalidPayload
from aiohttp_rawws.wire.chunks import FrameChunk, FrameHeader
from aiohttp_rawws.wire.codes import CloseCode, CloseReason, Opcode

from .vectors import (
    KEY,
    Seen,
    frames_fixture,  # noqa: F401
    seen,
)


class TestConstruction:
    def test_defaults(self, frames: ModuleType) -> None:
        frame = frames.Frame(Opcode.TEXT)
        assert seen(frame) == Seen(Opcode.TEXT)
        assert frame.opcode is frame.kind is Opcode.TEXT

    @pytest.mark.parametrize("number", range(16))
    def test_every_opcode(self, frames: ModuleType, number: int) -> None:
        for opcode in (number, Opcode(number)):
            assert frames.Frame(opcode, b"x").opcode is Opcode(number)

    @pytest.mark.parametrize("opcode", [-1, 16, 255])
    def test_no_opcode(self, frames: ModuleType, opcode: int) -> None:
        with pytest.raises(ValueError, match=f"{opcode} is not an opcode"):
            frames.Frame(opcode)

    @pytest.mark.parametrize("name", ["fin", "rsv1", "rsv2", "rsv3"])
    def test_bits(self, frames: ModuleType, name: str) -> None:
        for value in (True, False):
            for frame in (
                frames.Frame(2, b"", **{name: value}),
                frames.Frame.binary(b"", **{name: value}),
                frames.Frame.text("", **{name: value}),
            ):
                assert getattr(frame, name) is value
                assert [frame.rsv1, frame.rsv2, frame.rsv3].count(True) == (value and name != "fin")

    def test_shortcuts(self, frames: ModuleType) -> None:
        Frame = frames.Frame
        assert Frame.text("é") == Frame.text("é".encode()) == Frame(1, b"\xc3\xa9")
        assert Frame.text(b"\xc3", fin=False) == Frame(1, b"\xc3", fin=False)
        assert Frame.binary(b"x", rsv1=True) == Frame(2, b"x", rsv1=True)
        assert Frame.ping() == Frame(9)
        assert Frame.ping(b"x") == Frame(9, b"x")
        assert Frame.pong(b"x") == Frame(10, b"x")
        assert Frame.close() == Frame(8)
        assert Frame.close(CloseCode.NORMAL) == Frame(8, b"\x03\xe8")
        assert Frame.close(1001, "bye") == Frame.close(CloseReason(1001, "bye")) == Frame(8, b"\x03\xe9bye")

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, CloseReason(1006)])
    def test_codes_that_may_not_be_sent(self, frames: ModuleType, code: int | CloseReason) -> None:
        with pytest.raises(ValueError, match=r"may not be sent.*Frame\(Opcode.CLOSE, reason.to_payload\(\)\)"):
            frames.Frame.close(code)

    def test_a_message_belongs_to_a_code(self, frames: ModuleType) -> None:
        with pytest.raises(ValueError, match="needs a code"):
            frames.Frame.close(None, "bye")
        with pytest.raises(ValueError, match="belongs in the CloseReason"):
            frames.Frame.close(CloseReason(1000), "bye")

    @pytest.mark.parametrize("opcode", [8, 9, 10, 11, 15])
    def test_control_frames(self, frames: ModuleType, opcode: int) -> None:
        """Section 5.5."""
        assert len(frames.Frame(opcode, bytes(125)).payload) == 125
        name = Opcode(opcode).name
        with pytest.raises(ValueError, match=f"a {name} frame holds at most 125 bytes, not 126"):
            frames.Frame(opcode, bytes(126))
        with pytest.raises(ValueError, match=f"a {name} frame cannot be fragmented"):
            frames.Frame(opcode, fin=False)

    def test_shortcuts_check_too(self, frames: ModuleType) -> None:
        for make in (frames.Frame.ping, frames.Frame.pong):
            with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
                make(bytes(126))

    def test_kind(self, frames: ModuleType) -> None:
        """Only a continuation's opcode does not say its kind."""
        frame = frames.Frame(0, b"lo", kind=Opcode.TEXT)
        assert (frame.opcode, frame.kind) == (Opcode.CONTINUATION, Opcode.TEXT)
        assert frames.Frame(0).kind is Opcode.CONTINUATION
        assert frames.Frame(2, kind=2).kind is Opcode.BINARY
        for opcode, kind in ((1, 2), (0, 8), (9, 1)):
            with pytest.raises(ValueError, match="cannot be of kind"):
                frames.Frame(opcode, kind=kind)

    @pytest.mark.parametrize("buffer", [bytearray, memoryview, lambda data: memoryview(data + b"!")[:3]])
    def test_payload_is_copied_unless_bytes(self, frames: ModuleType, buffer: Any) -> None:
        payload = b"abc"
        assert frames.Frame(2, payload).payload is payload
        assert frames.Frame.binary(payload).payload is payload
        source = bytearray(payload)
        frame = frames.Frame(2, buffer(source))
        source[:] = b"xyz"
        assert type(frame.payload) is bytes
        assert frame.payload == payload

    def test_payload_of_a_subclass(self, frames: ModuleType) -> None:
        class Named(bytes):
            pass

        assert type(frames.Frame(2, Named(b"x")).payload) is bytes

    @pytest.mark.parametrize("payload", ["text", 5, None, [1]])
    def test_payload_has_to_be_a_buffer(self, frames: ModuleType, payload: object) -> None:
        hint = r"; Frame\.text\(\) takes str" if isinstance(payload, str) else ""
        text = f"^payload must be bytes-like, not {type(payload).__name__}{hint}$"
        frame = frames.Frame
        made: list[Any] = [lambda data: frame(1, data), lambda data: frame(1).replace(payload=data)]
        for make in (*made, frame.binary, frame.ping, frame.pong):
            with pytest.raises(TypeError, match=text):
                make(payload)
        if not isinstance(payload, str):
            with pytest.raises(TypeError, match=text):
                frame.text(payload)


class TestReading:
    def test_text(self, frames: ModuleType) -> None:
        assert frames.Frame(1, b"\xc3\xa9").text == "é"
        assert frames.Frame.binary(b"x").text == "x"

    @pytest.mark.parametrize("payload", [b"\xc3", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
    def test_text_that_is_not_utf8(self, frames: ModuleType, payload: bytes) -> None:
        with pytest.raises(InvalidPayload, match=r"Text is not UTF-8: .* at byte 1"):
            _ = frames.Frame(1, b"a" + payload).text

    def test_close_reason(self, frames: ModuleType) -> None:
        assert frames.Frame.close(1000, "bye").close_reason == CloseReason(1000, "bye")
        assert frames.Frame.close().close_reason is None
        assert frames.Frame(8, b"\x03").close_reason is None
        assert frames.Frame.binary(b"\x03\xe8").close_reason is None

    def test_immutable(self, frames: ModuleType) -> None:
        frame = frames.Frame.text("a")
        for name in ("opcode", "kind", "fin", "rsv1", "payload", "text", "masking_key", "close_reason", "new"):
            with pytest.raises(AttributeError):
                setattr(frame, name, None)
        assert not hasattr(frame, "__dict__")

    def test_match(self, frames: ModuleType) -> None:
        match frames.Frame.text("hi"):
            case frames.Frame(Opcode.TEXT, payload):
                assert payload == b"hi"
            case _:
                raise AssertionError("no match")

    def test_masking_key(self, frames: ModuleType) -> None:
        frame = frames.make_frame(0x81, 1, b"x", int.from_bytes(KEY, "big"))
        assert frame.masking_key == KEY
        assert frames.make_frame(0x81, 1, b"x", 0xFFFFFFFF).masking_key == b"\xff" * 4
        assert frame == frames.Frame.text("x")
        assert hash(frame) == hash(frames.Frame.text("x"))


class TestValue:
    def test_equality(self, frames: ModuleType) -> None:
        Frame = frames.Frame
        frame = Frame(1, b"x")
        different = [
            Frame(1, b"y"), Frame(2, b"x"), Frame(1, b"x", fin=False), Frame(1, b"x", rsv1=True),
            Frame(0, b"x"), Frame(0, b"x", kind=1), Frame(0, b"x", kind=2),
        ]  # fmt: skip
        assert len({frame, Frame(1, b"x"), *different}) == 8
        assert all(frame != other for other in different)
        assert frame != b"x"
        assert frame != None  # noqa: E711

    def test_replace(self, frames: ModuleType) -> None:
        Frame = frames.Frame
        frame = Frame(0, b"x", fin=False, rsv2=True, kind=1)
        assert frame.replace() == frame
        assert frame.replace(payload=b"y", fin=True) == Frame(0, b"y", rsv2=True, kind=1)
        assert frame.replace(opcode=2, rsv2=False) == Frame(2, b"x", fin=False)
        assert frames.make_frame(0x81, 1, b"x", 7).replace().masking_key is None
        with pytest.raises(TypeError):
            frame.replace(mask=True)
        with pytest.raises(ValueError):
            frame.replace(opcode=9)

    def test_copies(self, frames: ModuleType) -> None:
        frame = frames.make_frame(0x00, 1, b"x", 7)
        for other in (copy.copy(frame), copy.deepcopy(frame), pickle.loads(pickle.dumps(frame))):
            assert seen(other) == seen(frame)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"opcode": 1, "payload": b"Hel", "fin": False}, "<Frame TEXT 'Hel' fin=False>"),
            ({"opcode": 1}, "<Frame TEXT ''>"),
            ({"opcode": 1, "payload": b"x" * 300}, f"<Frame TEXT 300 bytes '{'x' * 24}'...>"),
            ({"opcode": 0, "payload": b"lo", "kind": 1}, "<Frame CONTINUATION 'lo'>"),
            ({"opcode": 0}, "<Frame CONTINUATION 0 bytes>"),
            ({"opcode": 2, "payload": bytes(range(250))}, "<Frame BINARY 250 bytes 0001020304050607...>"),
            ({"opcode": 2, "payload": b"a", "rsv1": 1, "rsv3": 1}, "<Frame BINARY 1 bytes 61 rsv1=True rsv3=True>"),
            ({"opcode": 9}, "<Frame PING>"),
            ({"opcode": 10, "payload": b"x"}, "<Frame PONG 1 bytes 78>"),
            ({"opcode": 8}, "<Frame CLOSE>"),
            ({"opcode": 8, "payload": b"\x03\xe8bye"}, "<Frame CLOSE 1000 'bye'>"),
            ({"opcode": 8, "payload": b"\x03\xe8"}, "<Frame CLOSE 1000>"),
            ({"opcode": 8, "payload": b"\x03"}, "<Frame CLOSE 1 bytes 03>"),
            ({"opcode": 3, "payload": b"x"}, "<Frame RESERVED_3 1 bytes 78>"),
        ],
    )  # fmt: skip
    def test_repr(self, frames: ModuleType, arguments: dict[str, Any], expected: str) -> None:
        assert repr(frames.Frame(**arguments)) == expected


class TestOthers:
    def test_prepared(self, frames: ModuleType) -> None:
        frame = frames.Frame.text("hi", rsv1=True)
        prepared = frames.PreparedFrame(frame)
        assert prepared.frame is frame
        assert prepared.wire == b"\xc1\x02hi"
        assert prepared.wire is prepared.wire
        assert repr(prepared) == "<PreparedFrame <Frame TEXT 'hi' rsv1=True>>"
        assert frames.PreparedFrame(frames.Frame.ping(b"x")).wire == b"\x89\x01x"

    def test_a_fragment_cannot_be_prepared(self, frames: ModuleType) -> None:
        Frame = frames.Frame
        for frame in (Frame.text("a", fin=False), Frame(0, b"a"), Frame(0, b"a", fin=False, kind=1)):
            with pytest.raises(ValueError, match="whole message"):
                frames.PreparedFrame(frame)
        with pytest.raises(TypeError, match="a Frame can be prepared, not bytes"):
            frames.PreparedFrame(b"a")

    def test_questions(self, frames: ModuleType) -> None:
        header = FrameHeader(opcode=Opcode.BINARY, kind=Opcode.BINARY, length=3)
        chunk = FrameChunk(header, b"ab", 0, False)
        text, ping, close = frames.Frame.text("abc"), frames.Frame.ping(), frames.Frame.close()
        assert [frames.payload_size(item) for item in (chunk, text, ping)] == [2, 3, 0]
        assert [frames.is_control(item) for item in (chunk, text, ping, close)] == [False, False, True, True]
        assert [frames.is_close(item) for item in (chunk, text, ping, close)] == [False, False, False, True]

    def test_chunks_are_values(self) -> None:
        header = FrameHeader(opcode=Opcode.TEXT, kind=Opcode.TEXT, length=3)
        chunk = FrameChunk(header, b"ab", 0, False)
        assert chunk == FrameChunk(header, b"ab", 0, False) != FrameChunk(header, b"ab", 1, False)
        assert hash(header) == hash(FrameHeader(opcode=Opcode.TEXT, kind=Opcode.TEXT, length=3))
        with pytest.raises(AttributeError):
            chunk.payload = b""  # type: ignore[misc]
