"""Objects whose ``__init__`` did not run: every use is the same error in both builds, and none crashes the process.

A subclass that forgets ``super().__init__()`` makes them, and a traceback that shows locals meets them.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from aiohttp_rawws import _build

from ..tools.environment import environment

SCRIPT = """
from aiohttp_rawws.wire import codec
from aiohttp_rawws.wire.codec import Frame, FrameEncoder, FrameParser, PreparedFrame

class Half(Frame):
    def __init__(self):
        pass

class HalfPrepared(PreparedFrame):
    def __init__(self):
        pass

def outcome(name, call):
    try:
        result = repr(call())
    except Exception as exc:
        result = type(exc).__name__
    print(name, "->", result)

frames = {"Half()": Half, "Frame.__new__": lambda: Frame.__new__(Frame)}
prepared = {"HalfPrepared()": HalfPrepared, "PreparedFrame.__new__": lambda: PreparedFrame.__new__(PreparedFrame)}

for name, make in frames.items():
    for attribute in (
        "opcode", "kind", "fin", "rsv1", "rsv2", "rsv3", "payload", "masking_key", "close_reason", "text"
    ):
        outcome(f"{name}.{attribute}", lambda: getattr(make(), attribute))
    outcome(f"repr({name})", lambda: repr(make()))
    outcome(f"hash({name})", lambda: hash(make()))
    outcome(f"{name} == {name}", lambda: make() == make())
    outcome(f"{name} == Frame", lambda: make() == Frame(2))
    outcome(f"Frame == {name}", lambda: Frame(2) == make())
    outcome(f"{name}.replace()", lambda: make().replace(fin=True))
    outcome(f"{name}.__reduce__()", lambda: make().__reduce__())
    outcome(f"PreparedFrame({name})", lambda: PreparedFrame(make()))
    outcome(f"with_payload({name})", lambda: codec.with_payload(make(), b"x", True))
    for function in ("is_close", "is_control", "is_prepared", "is_text", "is_whole_message", "payload_size"):
        outcome(f"{function}({name})", lambda: getattr(codec, function)(make()))

for name, make in prepared.items():
    for attribute in ("frame", "wire"):
        outcome(f"{name}.{attribute}", lambda: getattr(make(), attribute))
    outcome(f"repr({name})", lambda: repr(make()))

for name, make in {**frames, **prepared}.items():
    for strict in (True, False):
        for masking in (True, False):
            for method in ("encode", "append", "append_header"):
                for first in (Frame(2, b"x"), Frame(2, b"x", fin=False)):
                    encoder = FrameEncoder(strict=strict, masking=masking)
                    encoder.append(first)
                    before = encoder.size, encoder.mid_message
                    outcome(f"{strict} {masking} {method}({name})", lambda: getattr(encoder, method)(make()))
                    assert before == (encoder.size, encoder.mid_message)

frame = Frame(2, b"x")
for call in (
    lambda encoder: encoder.encode(frame),
    lambda encoder: encoder.append(frame),
    lambda encoder: encoder.append(PreparedFrame(frame)),
    lambda encoder: encoder.append_header(frame),
    lambda encoder: encoder.append_bytes(b"x"),
    lambda encoder: encoder.begin(frame, 1),
    lambda encoder: encoder.piece(b""),
    lambda encoder: encoder.refuse_whole_message(),
    lambda encoder: encoder.take(),
):
    outcome("FrameEncoder", lambda: call(FrameEncoder.__new__(FrameEncoder)))
for call in (
    lambda parser: parser.feed(b"\\x82\\x00"),
    lambda parser: parser.feed(b""),
    lambda parser: parser.target(),
    lambda parser: parser.advance(0),
    lambda parser: parser.split(),
):
    outcome("FrameParser", lambda: call(FrameParser.__new__(FrameParser)))
outcome("with_payload(None)", lambda: codec.with_payload(None, b"", True))
"""


def outcomes(**variables: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment(**variables),
        cwd=_build.ROOT.parent,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_use_is_an_error() -> None:
    allowed = {"AttributeError", "False", "RuntimeError", "TypeError"}  # is_prepared(), a header while masking
    seen = outcomes()
    assert len(seen) > 100
    assert {line.partition(" -> ")[2] for line in seen} <= allowed
    assert sum(line.endswith("AttributeError") for line in seen) > 90


@pytest.mark.skipif(not _build.COMPILED, reason="there is no compiled core to compare with")
def test_the_builds_agree() -> None:
    assert outcomes() == outcomes(AIOHTTP_RAWWS_NO_EXTENSIONS="1")
