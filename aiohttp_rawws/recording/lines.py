"""Records as lines of JSON, and back. ``read()`` gives the records of a file.

A line has few keys, in this order:

- ``c``: the number of the connection; ``t``: the time; ``s``: the side that sent.
- A frame: ``n`` its number, ``op``, ``fin``, ``rsv``, ``key`` and ``len`` of its header, ``hdr`` the header itself, and
  ``b64`` the payload, unmasked. ``kind`` if it is not the opcode, ``got`` if fewer bytes came than the header says,
  ``trunc``, ``redacted`` and ``early`` if they are true, and ``note``.
- Others: ``open`` the handshake, ``raw`` bytes that are no frame, ``end`` the end of a direction, ``close`` the end.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, TypeVar, cast

from ..session.tap import End
from ..wire.codes import CloseReason, Opcode
from .records import (
    BytesRecord,
    CloseRecord,
    EndRecord,
    Fields,
    FrameRecord,
    HandshakeRequest,
    HandshakeResponse,
    OpenRecord,
    Record,
    Source,
)

VERSION = 1
START = b'{"'  # of each line
SOURCES: tuple[Source, ...] = ("client", "server")
ENDS: tuple[End, ...] = ("eof", "reset", "abort")

T = TypeVar("T")


def to_line(record: Record) -> str:
    """Return a record as one line of JSON, with its newline. It is ASCII."""
    return json.dumps(to_object(record), separators=(",", ":")) + "\n"


def to_object(record: Record) -> dict[str, Any]:
    """Return a record as an object of JSON."""
    line: dict[str, Any] = {"c": record.connection}
    if isinstance(record, FrameRecord):
        line["n"] = record.number
    line["t"] = round(record.time, 6)
    if isinstance(record, OpenRecord):
        line["open"] = _opened(record)
        return line
    if isinstance(record, CloseRecord):
        line["close"] = _closed(record)
        return line
    line["s"] = record.source
    if isinstance(record, FrameRecord):
        line.update(_frame(record))
    elif isinstance(record, BytesRecord):
        line["raw"] = b64encode(record.data).decode()
    else:
        line["end"] = record.how
    return line


def _frame(record: FrameRecord) -> dict[str, Any]:
    key = record.masking_key
    found: dict[str, Any] = {"op": int(record.opcode), "fin": int(record.fin), "rsv": record.rsv}
    found["key"] = None if key is None else key.hex()
    found["len"] = record.length
    found["hdr"] = record.header.hex()
    found["b64"] = b64encode(record.payload).decode()
    if record.kind is not record.opcode:
        found["kind"] = int(record.kind)
    if record.size != record.length:
        found["got"] = record.size
    for name, value in (("trunc", record.truncated), ("redacted", record.redacted), ("early", record.early)):
        if value:
            found[name] = 1
    if record.note is not None:
        found["note"] = record.note
    return found


def _opened(record: OpenRecord) -> dict[str, Any]:
    found: dict[str, Any] = {"version": VERSION, "by": record.recorded_by, "peer": record.peer}
    request, response = record.request, record.response
    if request is not None:
        found["request"] = {
            "method": request.method,
            "target": request.target,
            "url": request.url,
            "headers": [list(pair) for pair in request.headers],
        }
    if response is not None:
        found["response"] = {
            "status": response.status,
            "reason": response.reason,
            "headers": [list(pair) for pair in response.headers],
        }
    if record.missed != (0, 0):
        found["missed"] = list(record.missed)
    return found


def _closed(record: CloseRecord) -> dict[str, Any]:
    return {
        "client": _reason(record.client),
        "server": _reason(record.server),
        "first": record.first,
        "how": record.how,
        "limit": record.limit,
        "error": record.error,
    }


def _reason(reason: CloseReason | None) -> list[Any] | None:
    return None if reason is None else [reason.code, reason.message]


# ---- reading ------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read a recording, line by line.

    Args:
        path: The file.

    Yields:
        The records, in order. A last line that is not complete is left out: the process that wrote it may have died.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not a record. The error has its number.
    """
    with open(path, "rb") as file:
        for number, data in enumerate(file, 1):
            if START.startswith(data[: len(START)]) and not data.endswith(b"\n") and not _is_complete(data):
                return
            if data.strip():
                try:
                    record = from_line(data.decode().strip())
                except ValueError as exc:
                    raise ValueError(f"{os.fspath(path)}, line {number}: {exc}") from exc
                yield record


def _is_complete(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def from_line(line: str) -> Record:
    """Make a record from a line.

    Raises:
        ValueError: The line is not a record.
    """
    try:
        return _from_object(cast("dict[str, Any]", json.loads(line)))
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as exc:
        raise ValueError(f"this is not a line of a recording: {exc!r}") from exc


def _from_object(line: dict[str, Any]) -> Record:
    connection, time = int(line["c"]), float(line["t"])
    datetime.fromtimestamp(time, timezone.utc)  # raises if it is no time
    if "open" in line:
        return _from_opened(connection, time, line["open"])
    if "close" in line:
        return _from_closed(connection, time, line["close"])
    source = _one_of("s", line["s"], SOURCES)
    if "hdr" in line:
        return _from_frame(connection, time, line)
    if "raw" in line:
        return BytesRecord(connection=connection, time=time, source=source, data=_bytes(line["raw"]))
    return EndRecord(connection=connection, time=time, source=source, how=_one_of("end", line["end"], ENDS))


def _from_frame(connection: int, time: float, line: dict[str, Any]) -> FrameRecord:
    opcode = Opcode(line["op"])
    length = int(line["len"])
    record = FrameRecord(
        connection=connection,
        number=int(line["n"]),
        time=time,
        source=_one_of("s", line["s"], SOURCES),
        header=bytes.fromhex(line["hdr"]),
        payload=_bytes(line["b64"]),
        size=int(line.get("got", length)),
        kind=Opcode(line.get("kind", opcode)),
        early=bool(line.get("early", 0)),
        redacted=bool(line.get("redacted", 0)),
        note=_text_or_none("note", line.get("note")),
    )
    written = _frame(record)
    for name in ("op", "fin", "rsv", "key", "len"):
        if written[name] != line[name]:
            raise ValueError(f"{name} is {line[name]!r}, and {written[name]!r} in the header hdr")
    if not record.redacted and len(record.payload) > record.size:
        raise ValueError(f"the payload has {len(record.payload)} bytes, and len or got says {record.size}")
    return record


def _from_opened(connection: int, time: float, found: dict[str, Any]) -> OpenRecord:
    if found["version"] != VERSION:
        raise ValueError(f"this is a recording of version {found['version']!r}, and only {VERSION} can be read")
    request, response = found.get("request"), found.get("response")
    received, sent = found.get("missed", (0, 0))
    return OpenRecord(
        connection=connection,
        time=time,
        recorded_by=_one_of("by", found["by"], SOURCES),
        peer=_text("peer", found["peer"]),
        request=None
        if request is None
        else HandshakeRequest(
            method=_text("method", request["method"]),
            target=_text("target", request["target"]),
            url=_text("url", request["url"]),
            headers=_fields(request),
        ),
        response=None
        if response is None
        else HandshakeResponse(
            status=int(response["status"]), reason=_text("reason", response["reason"]), headers=_fields(response)
        ),
        missed=(int(received), int(sent)),
    )


def _from_closed(connection: int, time: float, found: dict[str, Any]) -> CloseRecord:
    closes = {
        side: None if found[side] is None else CloseReason(int(found[side][0]), str(found[side][1]))
        for side in ("client", "server")
    }
    return CloseRecord(
        connection=connection,
        time=time,
        client=closes["client"],
        server=closes["server"],
        first=None if found["first"] is None else _one_of("first", found["first"], SOURCES),
        how=_one_of("how", found["how"], ENDS),
        limit=_text_or_none("limit", found["limit"]),
        error=_text_or_none("error", found["error"]),
    )


def _one_of(name: str, value: Any, values: tuple[T, ...]) -> T:
    for one in values:
        if value == one:
            return one
    raise ValueError(f"{name} must be one of {', '.join(map(repr, values))}, not {value!r}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}")
    return value


def _text_or_none(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _fields(message: dict[str, Any]) -> Fields:
    return tuple((str(name), str(value)) for name, value in message["headers"])


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)
