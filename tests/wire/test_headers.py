"""Headers as bytes, each test over both builds."""

from __future__ import annotations

from types import ModuleType

import pytest

from aiohttp_rawws.wire.codes import Opcode

from .vectors import (
    KEY,
    bits,
    codec_fixture,  # noqa: F401
)


class TestHeader:
    @pytest.mark.parametrize(
        ("length", "field"),
        [
            (0, bits("00000000")),
            (125, bits("01111101")),
            (126, b"\x7e\x00\x7e"),
            (65535, b"\x7e\xff\xff"),
            (65536, b"\x7f" + (65536).to_bytes(8, "big")),
            (2**63 - 1, b"\x7f\x7f" + b"\xff" * 7),
        ],
    )
    def test_shortest_length(self, codec: ModuleType, length: int, field: bytes) -> None:
        assert codec.encode_header(Opcode.BINARY, length) == b"\x82" + field
        with_key = codec.encode_header(Opcode.BINARY, length, masking_key=KEY)
        assert with_key == bytes([0x82, field[0] | 0x80]) + field[1:] + KEY

    def test_bits(self, codec: ModuleType) -> None:
        assert codec.encode_header(3, 0, fin=False, rsv1=True, rsv3=True) == bits("0 101 0011  0 0000000")
        assert codec.encode_header(15, 0, rsv2=True) == bits("1 010 1111  0 0000000")

    def test_what_does_not_fit(self, codec: ModuleType) -> None:
        for arguments in ((16, 0), (-1, 0), (1, -1), (1, 2**63)):
            with pytest.raises(ValueError):
                codec.encode_header(*arguments)
        with pytest.raises(ValueError, match="4 bytes long, not 5"):
            codec.encode_header(1, 0, masking_key=b"12345")

    def test_a_masking_key_has_to_be_a_buffer(self, codec: ModuleType) -> None:
        with pytest.raises(TypeError, match=r"^masking_key must be bytes-like, not str$"):
            codec.encode_header(1, 0, masking_key="abcd")
