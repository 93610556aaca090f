"""Records as text, one line each, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..session.frame_log import line_of
from ..session.logtext import escaped, shortened
from ..wire.codec import FrameHeader
from ..wire.codes import CloseReason
from .records import BytesRecord, CloseRecord, EndRecord, FrameRecord, OpenRecord, Record, read_header

ARROWS = {"client": "->", "server": "<-"}
ENDS = {"eof": "end of stream", "reset": "connection lost", "abort": "dropped the connection"}


def describe(record: Record) -> str:
    """Return one line of ASCII that says what ``record`` is, without its time and number."""
    if isinstance(record, FrameRecord):
        return _frame(record)
    if isinstance(record, OpenRecord):
        return _opened(record)
    if isinstance(record, BytesRecord):
        return f"{len(record.data)} bytes that are no frame: {record.data.hex()}"
    if isinstance(record, EndRecord):
        return ENDS[record.how]
    return _closed(record)


def _frame(record: FrameRecord) -> str:
    opcode, fin, rsv, key, length = read_header(record.header)
    header = FrameHeader(opcode, length, record.kind, fin, bool(rsv & 4), bool(rsv & 2), bool(rsv & 1), key)
    remarks = [line_of(header, record.payload, length)]
    if record.size != length:
        remarks.append(f"(only {record.size} bytes came)")
    for remark, holds in (("truncated", record.truncated), ("redacted", record.redacted), ("early", record.early)):
        if holds:
            remarks.append(f"({remark})")
    if record.note is not None:
        remarks.append(f"({escaped(record.note)})")
    return " ".join(remarks)


def _opened(record: OpenRecord) -> str:
    parts = [f"recorded by the {record.recorded_by}, with {escaped(record.peer)}"]
    if record.request is not None:
        parts.append(f"{shortened(record.request.method, 20)} {shortened(record.request.target)}")
    if record.response is not None:
        parts.append(f"{record.response.status}")
    if record.missed != (0, 0):
        received, sent = record.missed
        parts.append(f"{received} bytes received and {sent} sent before that")
    return "opened: " + ", ".join(parts)


def _closed(record: CloseRecord) -> str:
    parts = [ENDS[record.how]]
    for side, reason in (("client", record.client), ("server", record.server)):
        if reason is not None:
            parts.append(f"Close of the {side} {_reason(reason)}{' (first)' if record.first == side else ''}")
    if record.limit is not None:
        parts.append(f"limit {escaped(record.limit)}")
    if record.error is not None:
        parts.append(escaped(record.error))
    return "closed: " + ", ".join(parts)


def _reason(reason: CloseReason) -> str:
    return f"{reason.code} {reason.message!a}" if reason.message else f"{reason.code}"


def table(records: Iterable[Record]) -> Iterator[str]:
    """Yield the lines of a table: seconds since the first record, connection, direction, number, description."""
    start: float | None = None
    for record in records:
        if start is None:
            start = record.time
        arrow = number = ""
        if isinstance(record, (FrameRecord, BytesRecord, EndRecord)):
            arrow = ARROWS[record.source]
        if isinstance(record, FrameRecord):
            number = str(record.number)
        yield f"{record.time - start:12.6f} {record.connection:>4} {number:>6} {arrow:2} {describe(record)}"
