"""``to_har()``: a recording as an HTTP Archive, which browsers and proxies import."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl

from multidict import CIMultiDict

from ..errors import HandshakeError, RawWSError
from ..extensions.base import WebSocketExtension
from ..extensions.deflate import PerMessageDeflate, WebSocketDeflateExtension
from ..extensions.deflate_parameters import read_answer
from ..extensions.header import parse_extensions
from ..wire.codec import Frame, FrameChunk
from ..wire.codes import Opcode
from .records import CloseRecord, Fields, FrameRecord, OpenRecord, Record, Source

CREATOR = "aiohttp_rawws"
HAR_VERSION = "1.2"
DIRECTIONS = {"client": "send", "server": "receive"}


def to_har(records: Iterable[Record]) -> dict[str, Any]:
    """Make an HTTP Archive (HAR 1.2) of a recording, with an entry for each connection.

    Chrome's field ``_webSocketMessages`` has the messages: ``type`` ("send" by the client, "receive" by it), ``time``
    in seconds since the epoch, ``opcode``, and ``data``, which is text for opcode 1 and base64 for all others.
    Fragments are joined, and messages compressed with permessage-deflate are inflated. Pings, pongs and Close frames
    have lines of their own. Header bits, masking keys and the borders of frames are lost, so an archive cannot be
    replayed.

    Args:
        records: The records of ``read()``.

    Returns:
        The archive, for ``json.dump()``.
    """
    pages: dict[int, Page] = {}
    for record in records:
        if record.connection not in pages:
            pages[record.connection] = Page()
        pages[record.connection].add(record)
    creator = {"name": CREATOR, "version": "1"}
    entries = [page.entry() for page in pages.values()]
    return {"log": {"version": HAR_VERSION, "creator": creator, "pages": [], "entries": entries}}


class Page:
    """The entry of one connection."""

    def __init__(self) -> None:
        self._opened: OpenRecord | None = None
        self._start: float | None = None
        self._stop = 0.0
        self._messages: list[dict[str, Any]] = []
        self._joiners: dict[Source, Joiner] = {"client": Joiner(None), "server": Joiner(None)}
        self._closed: CloseRecord | None = None

    def add(self, record: Record) -> None:
        if self._start is None:
            self._start = record.time
        self._stop = record.time
        if isinstance(record, OpenRecord):
            self._opened = record
            for source in self._joiners:
                self._joiners[source] = Joiner(extension_of(record, source))
        elif isinstance(record, CloseRecord):
            self._closed = record
        elif isinstance(record, FrameRecord):
            for opcode, data in self._joiners[record.source].feed(record):
                self._messages.append(
                    {
                        "type": DIRECTIONS[record.source],
                        "time": record.time,
                        "opcode": int(opcode),
                        "data": as_text(opcode, data),
                    }
                )

    def entry(self) -> dict[str, Any]:
        request = None if self._opened is None else self._opened.request
        response = None if self._opened is None else self._opened.response
        start = self._start or 0.0
        duration = round((self._stop - start) * 1000, 3)
        url = "ws://unknown/" if request is None else as_ws(request.url)
        query = url.partition("#")[0].partition("?")[2]  # urlsplit() refuses some hosts that clients send
        asked: Fields = () if request is None else request.headers
        answered: Fields = () if response is None else response.headers
        entry: dict[str, Any] = {
            "startedDateTime": datetime.fromtimestamp(start, timezone.utc).isoformat(timespec="milliseconds"),
            "time": duration,
            "request": {
                "method": "GET" if request is None else request.method,
                "url": url,
                "httpVersion": "HTTP/1.1",
                "cookies": [],
                "headers": pairs(asked),
                "queryString": pairs(parse_qsl(query, keep_blank_values=True)),
                "headersSize": -1,
                "bodySize": 0,
            },
            "response": {
                "status": 101 if response is None else response.status,
                "statusText": "Switching Protocols" if response is None else response.reason,
                "httpVersion": "HTTP/1.1",
                "cookies": [],
                "headers": pairs(answered),
                "content": {"size": 0, "mimeType": "x-unknown"},
                "redirectURL": "",
                "headersSize": -1,
                "bodySize": 0,
            },
            "cache": {},
            "timings": {"send": 0, "wait": 0, "receive": duration},
            "_resourceType": "websocket",
            "_webSocketMessages": self._messages,
        }
        if self._closed is not None and self._closed.error is not None:
            entry["comment"] = self._closed.error
        return entry


class Joiner:
    """Joins the frames of one direction to messages."""

    def __init__(self, extension: WebSocketExtension | None) -> None:
        """
        Args:
            extension: Inflates compressed messages. None: they stay as they are.
        """
        self._extension = extension
        self._parts: list[bytes] = []
        self._kind: Opcode | None = None

    def feed(self, record: FrameRecord) -> Iterator[tuple[Opcode, bytes]]:
        """Take a frame. Yields the message that it completes: opcode and payload."""
        if record.opcode.is_control:
            yield record.opcode, record.payload
            return
        if record.opcode is not Opcode.CONTINUATION:
            self._parts.clear()
            self._kind = record.opcode
        compressed = self._extension is not None and self._inflate(record)
        if not compressed:
            self._parts.append(record.payload)
        if record.fin:
            kind, payload = self._kind or record.kind, b"".join(self._parts)
            self._parts.clear()
            self._kind = None
            yield kind, payload

    def _inflate(self, record: FrameRecord) -> bool:
        """Inflate a frame. Returns False if that cannot be done, for this and all further frames."""
        rsv = record.rsv
        try:
            frame = Frame(
                record.opcode,
                record.payload,
                fin=record.fin,
                rsv1=bool(rsv & 4),
                rsv2=bool(rsv & 2),
                rsv3=bool(rsv & 1),
            )
            if len(record.payload) < record.length:
                raise ValueError("a part of the payload is missing")
            items: Iterable[Frame | FrameChunk] = self._extension.process_incoming(frame)  # type: ignore[union-attr]
            pieces = [item.payload for item in items]
        except (RawWSError, ValueError):
            self._extension = None
            return False
        self._parts += pieces
        return True


def extension_of(opened: OpenRecord, source: Source) -> WebSocketExtension | None:
    """Return what inflates the messages that ``source`` sends, or None if they are not compressed."""
    if opened.response is None:
        return None
    fields = CIMultiDict(opened.response.headers)
    try:
        answer = parse_extensions(fields.getall("Sec-WebSocket-Extensions", ()))
        if len(answer) != 1 or answer[0].name != PerMessageDeflate.name:
            return None  # the payloads are something else, too
        parameters = read_answer(answer[0])
    except HandshakeError:
        return None
    return WebSocketDeflateExtension(PerMessageDeflate(), parameters, server=source == "client")


def as_text(opcode: Opcode, data: bytes) -> str:
    """Return the payload of a message as HAR has it."""
    return data.decode(errors="replace") if opcode is Opcode.TEXT else b64encode(data).decode()


def as_ws(url: str) -> str:
    """Return ``url`` with the scheme ``ws`` or ``wss``."""
    return f"ws{url[4:]}" if url.startswith("http") else url


def pairs(fields: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return pairs of name and value as HAR has them."""
    return [{"name": name, "value": value} for name, value in fields]
