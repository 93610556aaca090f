"""Masking, and its keys, each test over both builds."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from types import ModuleType

import pytest

from ..tools.environment import environment
from .vectors import (
    KEY,
    codec_fixture,  # noqa: F401
    masked,
    pattern,
)


class TestMask:
    """Section 5.3."""

    @pytest.mark.parametrize("size", [*range(20), 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 70_001])
    def test_sizes(self, codec: ModuleType, size: int) -> None:
        payload = pattern(size)
        assert codec.apply_mask(payload, KEY) == masked(payload, KEY)
        assert codec.apply_mask(codec.apply_mask(payload, KEY), KEY) == payload

    @pytest.mark.parametrize("offset", [*range(9), 1023, 2**62 + 3])
    def test_in_pieces(self, codec: ModuleType, offset: int) -> None:
        expected = masked(bytes(offset & 3) + pattern(2000), KEY)[offset & 3 :]
        assert codec.apply_mask(pattern(2000), KEY, offset) == expected

    def test_unaligned_buffers_are_left_as_they_were(self, codec: ModuleType) -> None:
        for start in range(9):
            buffer = bytearray(pattern(300))
            assert codec.apply_mask(memoryview(buffer)[start:290], KEY) == masked(pattern(300)[start:290], KEY)
            assert buffer == pattern(300)

    def test_arguments(self, codec: ModuleType) -> None:
        for key in (b"", b"123", b"12345"):
            with pytest.raises(ValueError, match=f"a masking key is 4 bytes long, not {len(key)}"):
                codec.apply_mask(b"x", key)
        with pytest.raises(ValueError, match="offset is -1"):
            codec.apply_mask(b"x", KEY, -1)
        with pytest.raises(TypeError):
            codec.apply_mask("x", KEY)

    def test_keys_are_new(self, codec: ModuleType) -> None:
        keys = [codec.new_masking_key() for _ in range(2000)]
        assert all(type(key) is bytes and len(key) == 4 for key in keys)
        assert len(set(keys)) > 1990

    def test_keys_are_drawn_from_secrets(self, codec: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[bytes] = []

        def token_bytes(size: int) -> bytes:
            drawn.append(real(size))
            return drawn[-1]

        real = secrets.token_bytes
        monkeypatch.setattr(secrets, "token_bytes", token_bytes)
        encoder = codec.FrameEncoder(masking=True)
        keys = b"".join(encoder.encode(codec.Frame.binary(b""))[2:] for _ in range(1024))
        assert len(drawn) > 2
        assert b"".join(drawn[:-1]) in keys

    if hasattr(os, "fork"):

        def test_a_forked_child_draws_its_own(self, codec: ModuleType) -> None:
            """In a process of its own, which has no threads that a fork would leave behind."""
            script = """
import os
from aiohttp_rawws.wire.codec import new_masking_key
new_masking_key()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"".join(new_masking_key() for _ in range(8)))
    os._exit(0)
os.wait()
theirs, ours = os.read(reader, 100), b"".join(new_masking_key() for _ in range(8))
assert len(theirs) == len(ours) and theirs != ours
"""
            variables = {} if codec.COMPILED else {"AIOHTTP_RAWWS_NO_EXTENSIONS": "1"}
            subprocess.run([sys.executable, "-c", script], env=environment(**variables), check=True, timeout=30)
