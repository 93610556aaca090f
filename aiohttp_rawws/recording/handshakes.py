"""The opening handshake of a recording, played over a pair of asyncio streams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from multidict import CIMultiDict
from yarl import URL

from ..errors import HandshakeError
from ..web.handshake import accept_key
from .records import HIDDEN, Fields, OpenRecord

HEAD_SIZE = 64 * 1024  # bytes that the head of a request or a response may have
EXCERPT = 500  # bytes of a refusal that are shown

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3, for recordings without a handshake
UPGRADE: Fields = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
REQUEST: Fields = (*UPGRADE, ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", KEY))
RESPONSE: Fields = (*UPGRADE, ("Sec-WebSocket-Accept", accept_key(KEY)))


def request_for(opened: OpenRecord | None, url: URL, headers: Mapping[str, str]) -> bytes:
    """Return the request of the recording, for another server.

    Args:
        opened: The first record of the connection, if there is one.
        url: The URL of the server. Its path holds unless it is "/".
        headers: Fields to set. Fields that the recording hides are left out otherwise.
    """
    recorded = None if opened is None else opened.request
    fields = shown(REQUEST if recorded is None else recorded.headers)
    method, target = ("GET", "/") if recorded is None else (recorded.method, recorded.target)
    host = host_of(url)
    origin = fields.get("Origin")
    if origin is not None and origin.partition("://")[2] == fields.get("Host"):  # it was the same origin, and stays so
        fields["Origin"] = f"{'https' if uses_tls(url) else 'http'}://{host}"
    fields["Host"] = host
    fields.update(headers)
    return head(f"{method} {target if url.raw_path_qs in ('', '/') else url.raw_path_qs} HTTP/1.1", fields)


def response_for(opened: OpenRecord | None, request: CIMultiDict[str], headers: Mapping[str, str]) -> bytes:
    """Return the response of the recording, for another client.

    Args:
        opened: The first record of the connection, if there is one.
        request: The header fields of the client's request.
        headers: Fields to set. Fields that the recording hides are left out otherwise.
    """
    asked, answered = (None, None) if opened is None else (opened.request, opened.response)
    fields = shown(RESPONSE if answered is None else answered.headers)
    key = KEY if asked is None else shown(asked.headers).get("Sec-WebSocket-Key", "")
    if fields.get("Sec-WebSocket-Accept") == accept_key(key):  # else the recording is about a wrong one
        fields["Sec-WebSocket-Accept"] = accept_key(request.get("Sec-WebSocket-Key", ""))
    fields.update(headers)
    status = "101 Switching Protocols" if answered is None else f"{answered.status} {answered.reason}"
    return head(f"HTTP/1.1 {status}", fields)


def shown(recorded: Fields) -> CIMultiDict[str]:
    """Return the fields whose values the recording does not hide."""
    return CIMultiDict((name, value) for name, value in recorded if value != HIDDEN)


def host_of(url: URL) -> str:
    """Return the field ``Host`` for ``url``."""
    host = url.raw_host or ""
    host = f"[{host}]" if ":" in host else host
    return host if url.is_default_port() else f"{host}:{url.port}"


def uses_tls(url: URL) -> bool:
    """True for the URL of a server with TLS."""
    return url.scheme in ("wss", "https")


def head(first: str, fields: CIMultiDict[str]) -> bytes:
    """Return the head of a request or a response."""
    lines = [first, *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def read_head(reader: asyncio.StreamReader) -> tuple[str, CIMultiDict[str]]:
    """Read the head of a request or a response.

    Returns:
        The first line, and the fields.

    Raises:
        HandshakeError: The stream ends before the head does, or the head is too long.
    """
    try:
        data = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        raise HandshakeError(502, f"the connection ended in the handshake: {exc.partial[:EXCERPT]!r}") from exc
    except asyncio.LimitOverrunError as exc:
        raise HandshakeError(502, "the head of the handshake is too long") from exc
    first, *lines = data.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
    fields: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        fields.add(name, value.strip(" \t"))
    return first, fields


async def check_status(first: str, reader: asyncio.StreamReader) -> None:
    """Check the first line of the response.

    Raises:
        HandshakeError: It is no 101. The error has the beginning of the body.
    """
    if first.split(" ")[1:2] != ["101"]:
        body = await reader.read(EXCERPT)
        raise HandshakeError(502, f"the server refused the handshake: {first}: {body!r}")


def accept_for(opened: OpenRecord | None, headers: Mapping[str, str]) -> str | None:
    """Return the ``Sec-WebSocket-Accept`` that is expected of a server, or None if anything is.

    Args:
        opened: The first record of the connection, if there is one.
        headers: The fields that were set in the request.
    """
    asked, answered = (None, None) if opened is None else (opened.request, opened.response)
    key = shown(REQUEST if asked is None else asked.headers).get("Sec-WebSocket-Key")
    if answered is not None and key is not None:
        recorded = CIMultiDict(answered.headers).get("Sec-WebSocket-Accept")
        if recorded not in (HIDDEN, accept_key(key)):
            return recorded  # the recording is about a wrong one, or about none
    sent = CIMultiDict(headers).get("Sec-WebSocket-Key", key)
    return None if sent is None else accept_key(sent)


def check_accept(fields: CIMultiDict[str], expected: str | None) -> None:
    """Check the ``Sec-WebSocket-Accept`` of the response.

    Raises:
        HandshakeError: It is not the one that is expected.
    """
    accept = fields.get("Sec-WebSocket-Accept")
    if expected is not None and accept != expected:
        raise HandshakeError(502, f"the server's Sec-WebSocket-Accept is {accept!r}, and {expected!r} is expected")
