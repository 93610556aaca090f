"""Opcodes, close codes and close reasons (RFC 6455, sections 5.2 and 7.4)."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from aiohttp_rawws.wire.codes import CloseCode, CloseReason, Opcode, may_be_sent

RESERVED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]


class TestOpcode:
    def test_members(self) -> None:
        assert [(opcode.name, opcode.value) for opcode in Opcode] == [
            ("CONTINUATION", 0),
            ("TEXT", 1),
            ("BINARY", 2),
            ("CLOSE", 8),
            ("PING", 9),
            ("PONG", 10),
        ]

    @pytest.mark.parametrize("number", RESERVED)
    def test_reserved(self, number: int) -> None:
        opcode = Opcode(number)
        assert (opcode, opcode.name, opcode.value) == (number, f"RESERVED_{number}", number)
        assert opcode is Opcode(number)
        assert isinstance(opcode, Opcode)
        assert repr(opcode) == f"<Opcode.RESERVED_{number}: {number}>"
        assert copy.deepcopy(opcode) is opcode
        assert pickle.loads(pickle.dumps(opcode)) is opcode
        assert opcode not in list(Opcode)

    @pytest.mark.parametrize("value", [-1, 16, 255, "TEXT", 1.5, None])
    def test_others_are_none(self, value: Any) -> None:
        with pytest.raises(ValueError):
            Opcode(value)

    def test_control(self) -> None:
        assert [number for number in range(16) if Opcode(number).is_control] == list(range(8, 16))


class TestCloseCode:
    def test_which_may_be_sent(self) -> None:
        sendable = {code for code in range(-1, 70_000) if may_be_sent(code)}
        assert sendable == {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}

    @pytest.mark.parametrize("code", [CloseCode.NO_STATUS, CloseCode.CLOSED_ABNORMALLY, CloseCode.TLS_HANDSHAKE])
    def test_some_are_for_local_use(self, code: CloseCode) -> None:
        assert not may_be_sent(code)

    def test_the_names_of_the_registry(self) -> None:
        """https://www.iana.org/assignments/websocket: second names, which do not change the first ones."""
        assert CloseCode.UNSUPPORTED_DATA is CloseCode.CANNOT_ACCEPT is CloseCode(1003)
        assert CloseCode.ABNORMAL_CLOSURE is CloseCode.CLOSED_ABNORMALLY is CloseCode(1006)
        assert CloseCode.INVALID_DATA is CloseCode.NOT_CONSISTENT is CloseCode(1007)
        assert CloseCode.POLICY_VIOLATION is CloseCode.VIOLATED_POLICY is CloseCode(1008)
        assert CloseCode.MESSAGE_TOO_BIG is CloseCode.TOO_BIG is CloseCode(1009)
        assert CloseCode.MANDATORY_EXTENSION is CloseCode.NO_EXTENSION is CloseCode(1010)
        assert CloseCode(1009).name == "TOO_BIG"

    def test_registered(self) -> None:
        assert [int(code) for code in CloseCode] == [*range(1000, 1004), *range(1005, 1016)]


class TestCloseReason:
    def test_value(self) -> None:
        reason = CloseReason(CloseCode.NORMAL, "bye")
        assert reason == CloseReason(1000, "bye") != CloseReason(1000)
        assert hash(reason) == hash(CloseReason(1000, "bye"))
        assert repr(reason) == "CloseReason(code=1000, message='bye')"
        with pytest.raises(dataclasses.FrozenInstanceError):
            reason.code = 1001  # type: ignore[misc]

    def test_known_reason(self) -> None:
        assert CloseReason(1011).known_reason is CloseCode.INTERNAL_ERROR
        assert CloseReason(4000).known_reason is None

    @pytest.mark.parametrize("code", [0, 1, 65535])
    def test_codes_that_fit(self, code: int) -> None:
        assert CloseReason.from_payload(CloseReason(code).to_payload()) == CloseReason(code)

    @pytest.mark.parametrize("code", [-1, 65536])
    def test_codes_that_do_not(self, code: int) -> None:
        with pytest.raises(ValueError, match=f"close code {code} is not between 0 and 65535"):
            CloseReason(code)

    def test_types(self) -> None:
        with pytest.raises(TypeError):
            CloseReason("1000")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="message must be str, not bytes"):
            CloseReason(1000, b"bye")  # type: ignore[arg-type]

    @pytest.mark.parametrize("message", ["x" * 123, "é" * 61, "€" * 41])
    def test_longest_message(self, message: str) -> None:
        assert len(CloseReason(1000, message).to_payload()) <= 125
        with pytest.raises(ValueError, match="bytes of UTF-8, and a Close frame holds 123"):
            CloseReason(1000, message + "xx")

    @pytest.mark.parametrize(("character", "kept"), [("x", 123), ("é", 61), ("€", 41), ("😀", 30)])
    def test_truncated_between_characters(self, character: str, kept: int) -> None:
        assert CloseReason.truncated(1002, character * 200) == CloseReason(1002, character * kept)
        assert CloseReason.truncated(1002, character) == CloseReason(1002, character)

    def test_truncated_takes_any_text(self) -> None:
        assert CloseReason.truncated(1011, "\ud800").message == "?"
        with pytest.raises(ValueError):
            CloseReason(1011, "\ud800")

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            (b"", None),
            (b"\x03", None),
            (b"\x03\xe8", CloseReason(1000)),
            (b"\x03\xe8bye", CloseReason(1000, "bye")),
            (b"\x03\xee", CloseReason(1006)),
            (b"\x00\x00\xff", CloseReason(0, "\ufffd")),
            (b"\xff\xff" + b"\xff" * 123, CloseReason(65535, "\ufffd" * 41)),
            (b"\x03\xe8" + b"x" * 500, CloseReason(1000, "x" * 123)),
        ],
    )
    def test_from_any_payload(self, payload: bytes, expected: CloseReason | None) -> None:
        assert CloseReason.from_payload(payload) == expected
