"""``python -m aiohttp_rawws.recording``: the table, the archive, and what is wrong with a file."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiohttp_rawws import CloseReason, Opcode
from aiohttp_rawws.recording import (
    BytesRecord,
    CloseRecord,
    EndRecord,
    FrameRecord,
    HandshakeRequest,
    HandshakeResponse,
    OpenRecord,
    Record,
    to_har,
)
from aiohttp_rawws.recording.__main__ import main
from aiohttp_rawws.recording.lines import to_line, to_object

FIELDS = (("Host", "example.org"),)
common: dict[str, Any] = {"connection": 1, "time": 100.0}
frame: dict[str, Any] = {**common, "source": "client", "kind": Opcode.TEXT}
RECORDS: list[Record] = [
    OpenRecord(
        **common,
        recorded_by="server",
        peer="127.0.0.1:4711",
        request=HandshakeRequest(method="GET", target="/a\x1b?b", url="http://example.org/a?b", headers=FIELDS),
        response=HandshakeResponse(status=101, reason="", headers=()),
        missed=(5, 0),
    ),
    FrameRecord(
        **{**frame, "time": 100.25}, number=1, header=b"\x81\x82abcd", payload=b"h\x1b", size=2, early=True, note="note"
    ),
    FrameRecord(**{**frame, "source": "server"}, number=2, header=b"\x01\x05", payload=b"ab", size=5),
    FrameRecord(**{**frame, "source": "server"}, number=3, header=b"\x80\x05", payload=b"abc", size=3, redacted=True),
    BytesRecord(**common, source="client", data=b"\x81"),
    EndRecord(**common, source="client", how="eof"),
    CloseRecord(
        **common, client=CloseReason(1000, "bye"), first="client", how="reset", limit="max_frame_size", error="E: x"
    ),
]
TABLE = r"""
    0.000000    1           opened: recorded by the server, with 127.0.0.1:4711, GET /a\x1b?b, 101, 5 bytes received and 0 sent before that
    0.250000    1      1 -> TEXT FIN masked 2 bytes 'h\x1b' (early) (note)
    0.000000    1      2 <- TEXT 5 bytes 'ab'... (truncated)
    0.000000    1      3 <- CONTINUATION of TEXT FIN 5 bytes 'abc'... (only 3 bytes came) (redacted)
    0.000000    1        -> 1 bytes that are no frame: 81
    0.000000    1        -> end of stream
    0.000000    1           closed: connection lost, Close of the client 1000 'bye' (first), limit max_frame_size, E: x
"""  # noqa: E501


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(map(to_line, [*RECORDS, *(replace(record, connection=2) for record in RECORDS)])))
    return path


def test_the_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out
    assert lines.splitlines()[:7] == TABLE.strip("\n").splitlines()
    assert len(lines.splitlines()) == 14
    assert main([str(path), "--connection", "1"]) == 0
    assert capsys.readouterr().out == TABLE[1:]


def test_the_archive(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path), "--har", "--connection=1"]) == 0
    assert json.loads(capsys.readouterr().out) == to_har(RECORDS)


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "bad").write_text("nonsense\n")
    assert main([str(tmp_path / "bad")]) == 2
    assert "bad, line 1: " in capsys.readouterr().err


VALUES: tuple[Any, ...] = (
    None,
    True,
    5,
    -1,
    1.5,
    1e300,
    10**400,
    float("inf"),
    float("nan"),
    "",
    "x",
    "\udcff",
    [],
    [1],
    {},
    {"a": 1},
)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*before, key)
        yield from places(inner, (*before, key))


@pytest.mark.parametrize("number", range(len(RECORDS)))
def test_a_value_of_another_type(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it stands: the file is shown, or refused with its line."""
    path = tmp_path / "bad"
    line = to_object(RECORDS[number])
    for place in places(line):
        for value in VALUES:
            changed = copy.deepcopy(line)
            inner: Any = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            path.write_text(to_line(RECORDS[0]) + json.dumps(changed) + "\n")
            for options in ([], ["--har"]):
                status = main([str(path), *options])
                found = capsys.readouterr()
                assert (status, "bad, line 2: " in found.err) in ((0, False), (2, True)), (place, value)
                assert status or not options or json.loads(found.out, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "data", [b"\0" * 100, bytes(range(256)), b"[]\n", b"null\n", b"[" * 100_000 + b"\n", "{}\n".encode("utf-16")]
)
def test_a_file_of_another_kind(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_bytes(data)
    assert main([str(tmp_path / "bad")]) == 2
    assert "bad, line 1: " in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--har"]])
def test_a_connection_that_is_not_there(options: list[str], path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path), "--connection", "3", *options]) == 2
    found = capsys.readouterr()
    assert not found.out and "has no connection 3" in found.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no such device")
@pytest.mark.parametrize("options", [[], ["--har"]])
@pytest.mark.parametrize("output", ["broken pipe", "full disk"])
def test_an_output_that_cannot_be_written(output: str, options: list[str], path: Path) -> None:
    """Also of a few lines, which leave when the program ends."""
    if output == "full disk":
        written = os.open("/dev/full", os.O_WRONLY)
    else:
        read_end, written = os.pipe()
        os.close(read_end)
    try:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        result = subprocess.run(
            [sys.executable, "-m", "aiohttp_rawws.recording", path, *options],
            stdout=written,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
    finally:
        os.close(written)
    if output == "full disk":
        assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    else:
        assert (result.returncode, result.stderr) == (1, "")


def test_as_a_program(path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "aiohttp_rawws.recording", path], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.startswith(TABLE[1:])
    assert not result.stderr
