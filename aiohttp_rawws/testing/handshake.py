"""The opening handshake by hand (RFC 6455, section 4): requests and responses as they came, and answers of any kind."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise
from typing import TypeAlias

from multidict import CIMultiDict, CIMultiDictProxy

from .limits import WITHIN, ScriptTimeout
from .transcript import TapReader, TapWriter

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD = 64 * 1024  # bytes of the head of a request or response
MAX_DIGITS = 20
SHOWN = 64  # bytes of what came instead of a head
PAUSE = 0.002  # seconds between two segments that are to leave as two

Fields: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


def accept_of(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that belongs to a ``Sec-WebSocket-Key`` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + GUID).digest()).decode()


def as_number(text: str) -> int | None:
    """Return the number that decimal digits stand for, None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else None


def names_of(option: str, names: Collection[str]) -> set[str]:
    """Return names in lower case.

    Raises:
        TypeError: This is one str, whose letters would be the names.
    """
    if isinstance(names, str):
        raise TypeError(f"{option} must be a list of names, such as [{names!r}], not {names!r}")
    return {name.lower() for name in names}


class Head:
    """The head of a request or a response, as it came.

    Attributes:
        line: The first line.
        headers: The header fields.
        raw: The bytes, up to and with the empty line.
    """

    def __init__(self, raw: bytes) -> None:
        """
        Args:
            raw: The bytes, up to and with the empty line.
        """
        self.raw: bytes = raw
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.line: str = first
        fields: CIMultiDict[str] = CIMultiDict()
        for each in lines:
            name, _, value = each.partition(":")
            fields.add(name.strip(), value.strip())
        self.headers: CIMultiDictProxy[str] = CIMultiDictProxy(fields)

    def word(self, index: int) -> str:
        """Return a word of the first line, or an empty str."""
        words = self.line.split(" ", 2)
        return words[index] if index < len(words) else ""

    def listed(self, name: str) -> list[str]:
        """Return the items of a field that is a list, in lower case and without parameters."""
        return [item.partition(";")[0].strip().lower() for item in self.items(name)]

    def items(self, name: str) -> list[str]:
        """Return the items of a field that is a list, as they are written."""
        return [item for item in ",".join(self.headers.getall(name, ())).split(",") if item.strip()]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.line!r}>"


class HandshakeRequest(Head):
    """The request of a client."""

    @property
    def method(self) -> str:
        """The method, such as GET."""
        return self.word(0)

    @property
    def target(self) -> str:
        """The path, with the query if there is one."""
        return self.word(1)

    @property
    def key(self) -> str:
        """``Sec-WebSocket-Key``, or an empty str."""
        return self.headers.get("Sec-WebSocket-Key", "")

    @property
    def protocols(self) -> list[str]:
        """The subprotocols that are offered, as they are written."""
        return [item.strip() for item in self.items("Sec-WebSocket-Protocol")]

    def offers(self, extension: str) -> bool:
        """Return True if this extension is offered."""
        return extension in self.listed("Sec-WebSocket-Extensions")


class HandshakeResponse(Head):
    """The response of a server.

    Attributes:
        body: The body of a response that is not a 101, as far as ``Content-Length`` says.
    """

    body: bytes = b""

    @property
    def status(self) -> int:
        """The status code, 0 if there is none."""
        return as_number(self.word(1)) or 0


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """The answer of a server to an opening handshake. By default it is the right one.

    Args:
        status: The status code. With 101 the fields of a handshake are added. Default: 101.
        reason: The text behind the code. Default: None (the usual one).
        version: The version of HTTP in the first line. Default: "1.1".
        accept: The value of ``Sec-WebSocket-Accept``. Default: None (the right one).
        headers: More fields, as UTF-8. One that has the name of a field of the handshake replaces it. Default: none.
        drop: Names of fields of the handshake to leave out. Default: none.
        interim: Bytes before the head, such as another response. Default: empty.
        body: Bytes behind the head. With another status than 101, ``Content-Length`` and ``Connection: close`` are
            added unless they are dropped. Default: empty.
        early: Frames in the same segment as the head. Default: empty.
        cut: The places at which the bytes are cut into segments. Default: none (one segment).
        delay: Seconds before the first segment, and between two. Default: 0.
        length: Send only so many of the bytes. Default: None (all).
        raw: Send these bytes instead of all of the above. Default: None.
    """

    status: int = 101
    reason: str | None = None
    version: str = "1.1"
    accept: str | None = None
    headers: Fields = ()
    drop: Collection[str] = ()
    interim: bytes = b""
    body: bytes = b""
    early: bytes = b""
    cut: Sequence[int] = ()
    delay: float = 0.0
    length: int | None = None
    raw: bytes | None = None

    def __post_init__(self) -> None:
        names_of("drop", self.drop)

    def head(self, request: HandshakeRequest) -> bytes:
        """Return the bytes of the response's head."""
        if self.status == 101:
            accept = accept_of(request.key) if self.accept is None else self.accept
            usual = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        else:
            usual = {"Content-Length": str(len(self.body)), "Connection": "close"}
        given = list(self.headers.items() if isinstance(self.headers, Mapping) else self.headers)
        without = names_of("drop", self.drop) | {name.lower() for name, _ in given}
        fields = [(name, value) for name, value in usual.items() if name.lower() not in without] + given
        lines = [f"HTTP/{self.version} {self.status} {phrase(self.status) if self.reason is None else self.reason}"]
        lines += [f"{name}: {value}" for name, value in fields]
        return "\r\n".join([*lines, "", ""]).encode(errors="surrogateescape")

    def encode(self, request: HandshakeRequest) -> bytes:
        """Return all bytes that answer ``request``."""
        if self.raw is not None:
            return self.raw
        return (self.interim + self.head(request) + self.body + self.early)[: self.length]

    def segments(self, request: HandshakeRequest) -> list[bytes]:
        """Return the bytes that answer ``request``, cut into segments."""
        data = self.encode(request)
        borders = [0, *sorted({cut for cut in self.cut if 0 < cut < len(data)}), len(data)]
        return [data[start:end] for start, end in pairwise(borders)]

    async def send(self, writer: TapWriter, request: HandshakeRequest) -> None:
        """Answer ``request``. Returns when the bytes are sent, or the client has left.

        Raises:
            ScriptTimeout: The client takes nothing for 5 seconds. This is an AssertionError, too.
        """
        pause = self.delay
        for segment in self.segments(request):
            if pause:
                await asyncio.sleep(pause)
            if writer.is_closing():
                return
            writer.write(segment)
            try:
                await asyncio.wait_for(writer.drain(), WITHIN)
            except asyncio.TimeoutError:
                raise ScriptTimeout(f"the client took nothing of the response for {WITHIN:g} seconds") from None
            pause = max(self.delay, PAUSE)


HandshakeOf: TypeAlias = Handshake | Callable[[HandshakeRequest], Handshake]
"""A handshake, or a function that chooses one for a request."""


def phrase(status: int) -> str:
    """Return the usual text behind a status code, or an empty str."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def read_head(reader: TapReader, within: float) -> bytes:
    """Read the head of a request or a response.

    Args:
        reader: The stream.
        within: Seconds that it may take.

    Raises:
        ScriptTimeout: It does not come in time. This is an AssertionError, too.
        AssertionError: It is larger than 64 KiB, or the stream ends before.
    """
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), within)
    except asyncio.TimeoutError:
        came = await _waiting(reader)
        raise ScriptTimeout(f"no head of HTTP came within {within:g} seconds, but {came}") from None
    except asyncio.LimitOverrunError:
        raise AssertionError(f"the head is larger than {MAX_HEAD} bytes") from None
    except asyncio.IncompleteReadError as exc:
        raise AssertionError(
            f"the connection ended before a head of HTTP was complete: {exc.partial[:SHOWN]!r}"
        ) from None
    except OSError as exc:
        raise AssertionError(f"the connection was lost before a head of HTTP was complete: {exc}") from None


async def _waiting(reader: TapReader) -> str:
    """Return what came of a head that is not complete, as a text."""
    try:
        return repr(await asyncio.wait_for(reader.read(SHOWN), 0.1))
    except (asyncio.TimeoutError, OSError):
        return "nothing"
