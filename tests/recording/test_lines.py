"""Records as lines: each comes back as it was, and what is no record is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    read,
)
from aiohttp_rawws.recording.lines import from_line, to_line, to_object
from aiohttp_rawws.recording.onlooker import Onlooker
from aiohttp_rawws.wire.masking import apply_mask

TIME = 1790000000.123456
FRAME = FrameRecord(
    connection=3,
    number=17,
    time=TIME,
    source="client",
    header=bytes.fromhex("c1859f3a01cc"),
    payload=b"Hello",
    size=5,
    kind=Opcode.TEXT,
)


def test_the_line_of_a_frame() -> None:
    assert to_line(FRAME) == (
        '{"c":3,"n":17,"t":1790000000.123456,"s":"client","op":1,"fin":1,"rsv":4,"key":"9f3a01cc","len":5,'
        '"hdr":"c1859f3a01cc","b64":"SGVsbG8="}\n'
    )
    assert (FRAME.opcode, FRAME.fin, FRAME.rsv, FRAME.length) == (Opcode.TEXT, True, 4, 5)
    assert FRAME.masking_key == bytes.fromhex("9f3a01cc")
    assert FRAME.wire == FRAME.header + apply_mask(b"Hello", bytes.fromhex("9f3a01cc"))
    assert not FRAME.truncated


times = st.integers(0, 2**52).map(lambda number: number / 10**6)
sources = st.sampled_from(["client", "server"])
texts = st.text(max_size=20)
fields = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
common: dict[str, Any] = {"connection": st.integers(1, 9), "time": times}


@st.composite
def frames(draw: Any) -> FrameRecord:
    """Frames as an onlooker finds them in any bytes."""
    looker = Onlooker(draw(st.sampled_from([None, 3])))
    data = draw(st.binary(min_size=2, max_size=100))
    seen = looker.feed(data)
    if not seen:
        rest = looker.rest()
        seen = looker.feed(b"\x81\x00") if isinstance(rest, bytes) or rest is None else [rest]
    header, payload, size, kind = draw(st.sampled_from(seen))
    redacted = draw(st.booleans())
    return FrameRecord(
        connection=draw(common["connection"]),
        number=draw(st.integers(1, 99)),
        time=draw(times),
        source=draw(sources),
        header=header,
        payload=b"something else, and longer" if redacted else payload,
        size=size,
        kind=kind,
        early=draw(st.booleans()),
        redacted=redacted,
        note=draw(st.none() | texts),
    )


def requests() -> st.SearchStrategy[HandshakeRequest]:
    return st.builds(HandshakeRequest, method=texts, target=texts, url=texts, headers=fields)


def responses() -> st.SearchStrategy[HandshakeResponse]:
    return st.builds(HandshakeResponse, status=st.integers(100, 599), reason=texts, headers=fields)


reasons = st.none() | st.builds(CloseReason, code=st.integers(0, 65535), message=st.text(max_size=30))
ends = st.sampled_from(["eof", "reset", "abort"])
records: st.SearchStrategy[Record] = st.one_of(
    frames(),
    st.builds(BytesRecord, **common, source=sources, data=st.binary(max_size=13)),
    st.builds(EndRecord, **common, source=sources, how=ends),
    st.builds(
        OpenRecord,
        **common,
        recorded_by=sources,
        peer=texts,
        request=st.none() | requests(),
        response=st.none() | responses(),
        missed=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    ),
    st.builds(
        CloseRecord,
        **common,
        client=reasons,
        server=reasons,
        first=st.none() | sources,
        how=ends,
        limit=st.none() | texts,
        error=st.none() | texts,
    ),
)


@given(records)
def test_there_and_back(record: Record) -> None:
    line = to_line(record)
    assert line.isascii() and line.count("\n") == 1 and line.endswith("\n")
    assert from_line(line) == record


def test_fields_that_are_no_text() -> None:
    """As ``surrogateescape`` has them."""
    value = b"caf\xe9".decode("utf-8", "surrogateescape")
    response = HandshakeResponse(status=101, reason="", headers=(("X", value),))
    record = OpenRecord(connection=1, time=TIME, recorded_by="server", response=response)
    assert from_line(to_line(record)) == record


# ---- files --------------------------------------------------------------------------------


def test_reads_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(to_line(FRAME) + "\n" + to_line(FRAME) + "nonsense\n")
    found = read(path)
    assert next(found) == FRAME
    assert next(found) == FRAME
    with pytest.raises(ValueError, match=r"trace\.jsonl, line 4: "):
        next(found)


def test_a_last_line_that_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    line = to_line(FRAME)
    for cut in range(len(line)):
        path.write_text(line + line[:cut])
        assert len(list(read(str(path)))) == (1 if cut < len(line) - 1 else 2)


def test_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(read(tmp_path / "none"))


BAD = {
    "no object": "5",
    "no connection": '{"t":1}',
    "nothing in it": '{"c":1,"t":1,"s":"client"}',
    "no side": '{"c":1,"t":1,"s":"me","end":"eof"}',
    "no end": '{"c":1,"t":1,"s":"client","end":"bye"}',
    "no base64": '{"c":1,"t":1,"s":"client","raw":"?"}',
    "another version": '{"c":1,"t":1,"open":{"version":2,"by":"server","peer":""}}',
    "no header": to_line(FRAME).replace("c1859f3a01cc", "c185"),
    "no close": '{"c":1,"t":1,"close":{}}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_line(BAD[name])


@pytest.mark.parametrize("change", [{"op": 2}, {"fin": 0}, {"rsv": 0}, {"key": None}, {"len": 6}], ids=str)
def test_a_line_whose_parts_differ(change: dict[str, Any]) -> None:
    """Somebody has changed only one of two places by hand."""
    with pytest.raises(ValueError, match=f"^{next(iter(change))} is .* in the header hdr"):
        from_line(json.dumps({**to_object(FRAME), **change}))


def test_a_payload_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="the payload has 6 bytes, and len or got says 5"):
        from_line(json.dumps({**to_object(FRAME), "b64": "SGVsbG8h"}))
