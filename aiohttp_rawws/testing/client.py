"""A client that follows a script, for tests of servers."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Collection, Mapping
from ssl import SSLContext, create_default_context

from aiohttp.typedefs import StrOrURL
from yarl import URL

from ..session.options import check_seconds
from ..session.transports import abort
from .handshake import MAX_HEAD, Fields, HandshakeRequest, HandshakeResponse, as_number, names_of, read_head
from .limits import WITHIN, ScriptTimeout
from .peer import Peer, Script, within_limit
from .transcript import TapReader, TapWriter, Transcript

SCHEMES = ("ws", "wss", "http", "https")


def handshake_request(url: StrOrURL, *, headers: Fields = (), drop: Collection[str] = (), method: str = "GET") -> bytes:
    """Make the request of an opening handshake (section 4.1).

    Args:
        url: The URL.
        headers: More fields, as UTF-8. One that has the name of a field of the handshake replaces it. Default: none.
        drop: Names of fields of the handshake to leave out. Default: none.
        method: The method. Default: "GET".

    Returns:
        The bytes, with the empty line.

    Raises:
        TypeError: ``drop`` is a str.
    """
    address = URL(url)
    usual = {
        "Host": address.host_port_subcomponent or "",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
    }
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    without = names_of("drop", drop) | {name.lower() for name, _ in given}
    fields = [(name, value) for name, value in usual.items() if name.lower() not in without] + given
    lines = [f"{method} {address.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode(errors="surrogateescape")


async def scripted_client(
    url: StrOrURL,
    script: Script,
    *,
    request: bytes | None = None,
    wait: bool = True,
    ssl: SSLContext | None = None,
    limit: float = 30.0,
) -> None:
    """Open a connection and follow a script: ``await scripted_client(url, script)``.

    The script gets a ``Peer`` with the client's role, whose ``response`` is the answer to the request. When it returns,
    the connection is ended in order. Its exceptions are raised.

    Args:
        url: The URL, ``ws:``, ``wss:``, ``http:`` or ``https:``.
        script: ``async def script(peer)``. See ``Peer``.
        request: The bytes to send first, such as those of ``handshake_request()`` with frames behind them.
            Default: None (an opening handshake).
        wait: Wait for the response before the script runs. False: it runs at once, ``peer.response`` is None, and the
            response is not read. Default: True.
        ssl: A TLS context, for ``wss:`` and ``https:``. Default: None (that of ``ssl.create_default_context()``).
        limit: Seconds that all of it may take. Default: 30.

    Raises:
        ScriptTimeout: The response or the end of the script did not come in time. This is an AssertionError, too.
        AssertionError: The response is no HTTP.
        OSError: There is no connection to the server.
        ValueError: The URL is of another kind or without a host, or ``limit`` is not more than 0.
        TypeError: ``limit`` is no number.
    """
    seconds = check_seconds("limit", limit, needed=True)
    assert seconds is not None
    address = URL(url)
    if address.scheme not in SCHEMES or not address.host:
        raise ValueError(f"the URL must begin with ws:, wss:, http: or https: and have a host, unlike {str(url)!r}")
    data = handshake_request(address) if request is None else request
    context = (ssl or create_default_context()) if address.scheme in ("wss", "https") else None
    transcript = Transcript()
    await within_limit(_follow(address, context, data, wait, script, transcript), seconds, transcript)


async def _follow(
    address: URL, context: SSLContext | None, data: bytes, wait: bool, script: Script, transcript: Transcript
) -> None:
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, limit=MAX_HEAD)
    tapped_reader, tapped_writer = TapReader(reader, transcript), TapWriter(writer, transcript)
    try:
        tapped_writer.write(data)
        await tapped_writer.drain()
        response = await _response(tapped_reader) if wait else None
        transcript.begin_frames()
        request = HandshakeRequest(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        peer = Peer(tapped_reader, tapped_writer, transcript, request, response, server=False)
        try:
            await script(peer)
            await peer.end()
        finally:
            peer.abort()
    finally:
        abort(writer.transport)


async def _response(reader: TapReader) -> HandshakeResponse:
    response = HandshakeResponse(await read_head(reader, WITHIN))
    length = as_number(response.headers.get("Content-Length", ""))
    if response.status != 101 and length is not None and length <= MAX_HEAD:
        while len(response.body) < length:
            try:
                data = await asyncio.wait_for(reader.read(length - len(response.body)), WITHIN)
            except asyncio.TimeoutError:
                raise ScriptTimeout(f"the body of {response!r} is not complete after {WITHIN:g} seconds") from None
            if not data:
                break
            response.body += data
    return response
