"""``replay()``: one side of a recording, played to a session, a server or a client."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl as tls
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal, TypeVar

from yarl import URL

from ..session.options import UNLIMITED, check_seconds
from ..session.raw import WebSocketSession
from ..session.streams import RawWebSocket
from ..session.transports import abort
from .handshakes import (
    HEAD_SIZE,
    accept_for,
    check_accept,
    check_status,
    read_head,
    request_for,
    response_for,
    uses_tls,
)
from .lines import read
from .player import IGNORED, PARTS, Pace, Part, Player, Step
from .records import BytesRecord, EndRecord, FrameRecord, OpenRecord, Record, Source

Address = str | URL | tuple[str, int] | socket.socket
"""A server to play to: its URL. A client to wait for: host and port, or a listening socket."""

T = TypeVar("T")

PACES: tuple[Pace, ...] = ("lockstep", "recorded", "fast")


async def replay(
    records: Iterable[Record] | str | os.PathLike[str],
    target: WebSocketSession | Address,
    *,
    source: Source = "client",
    pace: Pace = "lockstep",
    connection: int | None = None,
    ignore: Collection[Part] = IGNORED,
    incomplete: Literal["refuse", "pad"] = "refuse",
    timeout: float | timedelta = 10.0,
    headers: Mapping[str, str] | None = None,
    ssl: tls.SSLContext | None = None,
) -> Sequence[Step]:
    """Play one side of a recorded connection, and compare what the other side does.

    The frames of ``source`` are sent byte for byte, and its end is played: end of stream, or reset. Over a session it
    is played without the handshake. To a URL the recorded request is sent, with the ``Host`` of the URL, and with
    frames that came behind it in the same segment. To an address one client is answered with the recorded response.

    These are not compared: times; the order of frames of one side with those of the other; a frame that comes when the
    last step has been played and compared, if the recording has no end; all that comes behind a reset that is played;
    the request of a client; and of a server's response all but the 101 and ``Sec-WebSocket-Accept``, which must fit the
    key, or be the recorded one if that does not fit.

    Args:
        records: The records of ``read()``, or the file.
        target: A raw session with the role ``source``. Or the address of the other side: the URL of a server if
            ``source`` is "client", host and port or a listening socket to wait for a client if it is "server".
        source: The side to play. Default: "client".
        pace: "lockstep": play a frame when the other side has sent all that came before it in the recording. Stop at
            the first difference. "recorded": keep the times of the recording. "fast": send everything at once. In both
            of these the comparison comes last: before the end of ``source``, which waits for what came before it.
            Default: "lockstep".
        connection: The number of the connection to play. Default: None (there is only one).
        ignore: The parts not to compare: "opcode", "fin", "rsv", "masking_key", "length", "header" (its form, such as
            that of the length), "payload", "end". Default: ``("masking_key",)``.
        incomplete: The reaction to a frame whose payload was truncated or redacted. "refuse": raise ValueError, but not
            for a frame to compare if ``ignore`` has "payload". "pad": send what there is, with zeros up to its length;
            compare a payload that was truncated up to the cut, and one that was redacted not at all. Default: "refuse".
        timeout: Seconds to wait for each frame, for the connection and for the handshake. Default: 10.
        headers: Header fields to set in the handshake that is played, such as those that the recording hides. Default:
            None.
        ssl: The TLS settings for a URL with ``wss``, or for the client to wait for. Default: None.

    Returns:
        The frames that the other side sent, and the end of its direction, if that came.

    Raises:
        ReplayMismatch: The other side does something else than the recording says. It is an AssertionError, too.
        HandshakeError: The server refused the handshake, its ``Sec-WebSocket-Accept`` is wrong, or the connection ended
            in it.
        TimeoutError: The connection or the handshake took too long. Before Python 3.11 ``asyncio.TimeoutError``.
        OSError: There is no connection.
        ValueError: The recording has several connections, or none; a payload is missing; the session has the other
            role; or an argument is wrong.
        TypeError: The target is not one.
    """
    seconds = check_seconds("timeout", timeout, needed=True)
    if seconds is None:
        raise TypeError("timeout cannot be None: a replay must not wait forever")
    if source not in ("client", "server"):
        raise ValueError(f'source must be "client" or "server", not {source!r}')
    if pace not in PACES:
        raise ValueError(f"pace must be one of {', '.join(map(repr, PACES))}, not {pace!r}")
    if isinstance(ignore, str) or not set(ignore) <= set(PARTS):
        raise ValueError(f"ignore must be a collection of {', '.join(map(repr, PARTS))}, not {ignore!r}")
    found = list(read(records) if isinstance(records, (str, os.PathLike)) else records)
    opened, steps = of_connection(found, connection)
    steps = [playable(step, incomplete) if step.source == source else step for step in steps]
    if incomplete != "pad":
        check_comparable(steps, source, ignore)
    player = Player(steps, source, pace, ignore, seconds)
    if isinstance(target, WebSocketSession):
        if target.connection.is_client != (source == "client"):
            raise ValueError(f"target must be a session of a {source}, to play the {source}, not {target!r}")
        player.watch(target)
        return await player.play()
    fields = headers or {}
    if source == "client" and isinstance(target, (str, URL)):
        return await _play_client(player, opened, early_steps(steps, source), URL(target), fields, ssl, seconds)
    if source == "server" and isinstance(target, (tuple, socket.socket)):
        return await _play_server(player, opened, early_steps(steps, source), target, fields, ssl, seconds)
    kinds = "the URL of a server" if source == "client" else "host and port, or a listening socket"
    raise TypeError(f"target must be a raw session or {kinds}, not {target!r}")


# ---- the steps ----------------------------------------------------------------------------


def of_connection(records: Sequence[Record], number: int | None) -> tuple[OpenRecord | None, list[Step]]:
    """Return the first record and the steps of one connection.

    Raises:
        ValueError: There is no such connection, or there are several to choose from.
    """
    numbers = sorted({record.connection for record in records})
    if number is None and len(numbers) != 1:
        raise ValueError(f"the recording has {len(numbers)} connections, so connection= must be one of {numbers}")
    if number is not None and number not in numbers:
        raise ValueError(f"the recording has no connection {number}, only {numbers}")
    chosen = numbers[0] if number is None else number
    own = [record for record in records if record.connection == chosen]
    opened = next((record for record in own if isinstance(record, OpenRecord)), None)
    return opened, [record for record in own if isinstance(record, (FrameRecord, BytesRecord, EndRecord))]


def playable(step: Step, incomplete: str) -> Step:
    """Return a step that can be played: with as many bytes of payload as were on the wire."""
    why = missing(step)
    if why is None:
        return step
    if incomplete != "pad":
        raise ValueError(f'{place_of(step)} {why} and cannot be played as it was; incomplete="pad" fills it up')
    if not isinstance(step, FrameRecord):
        return step
    return replace(step, payload=step.payload[: step.size].ljust(step.size, b"\0"))


def check_comparable(steps: Sequence[Step], source: Source, ignore: Collection[str]) -> None:
    """Check that the other side can be compared with all that is expected of it.

    Raises:
        ValueError: A payload is missing, in whole or in part.
    """
    for step in steps:
        part = "payload" if isinstance(step, FrameRecord) else "header"
        why = missing(step)
        if step.source != source and why is not None and part not in ignore:
            raise ValueError(
                f"{place_of(step)} {why} and cannot be compared with what comes; "
                f'incomplete="pad" compares what is there, and ignore={{"{part}"}} nothing of it'
            )


def missing(step: Step) -> str | None:
    """Return why a part of the step is not in the recording, or None if it is whole."""
    if isinstance(step, FrameRecord) and (step.redacted or len(step.payload) != step.size):
        return "was redacted" if step.redacted else "was truncated"
    if isinstance(step, BytesRecord) and not step.data:
        return "were redacted"
    return None


def place_of(step: Step) -> str:
    """Name a step in an error."""
    return f"frame {step.number}" if isinstance(step, FrameRecord) else f"the last bytes of the {step.source}"


def early_steps(steps: Sequence[Step], source: Source) -> list[FrameRecord]:
    """Return the frames at the beginning that ``source`` sent together with the handshake."""
    early: list[FrameRecord] = []
    for step in steps:
        if not isinstance(step, FrameRecord) or step.source != source or not step.early:
            break
        early.append(step)
    return early


async def within(timeout: float, awaitable: Awaitable[T], nothing: str) -> T:
    """Await ``awaitable``. Raise ``asyncio.TimeoutError`` with a text if it takes too long."""
    try:
        return await asyncio.wait_for(awaitable, timeout)
    except asyncio.TimeoutError:
        raise asyncio.TimeoutError(f"{nothing} within {timeout:g} seconds (timeout)") from None


# ---- over sockets -------------------------------------------------------------------------


async def _play_client(
    player: Player,
    opened: OpenRecord | None,
    early: Sequence[FrameRecord],
    url: URL,
    headers: Mapping[str, str],
    ssl: tls.SSLContext | None,
    timeout: float,
) -> Sequence[Step]:
    if url.scheme not in ("ws", "wss", "http", "https") or url.host is None:
        raise ValueError(f"target must be the URL of a server, such as ws://127.0.0.1:8080/, not {url}")
    settings = (ssl or tls.create_default_context()) if uses_tls(url) else None
    opening = asyncio.open_connection(url.host, url.port, ssl=settings, limit=HEAD_SIZE)
    reader, writer = await within(timeout, opening, f"no connection to {url.host}:{url.port}")

    async def shake_hands() -> None:
        writer.write(request_for(opened, url, headers) + b"".join(step.wire for step in early))
        first, fields = await read_head(reader)
        await check_status(first, reader)
        check_accept(fields, accept_for(opened, headers))

    return await _play(player, reader, writer, shake_hands(), "client", len(early), timeout)


async def _play_server(
    player: Player,
    opened: OpenRecord | None,
    early: Sequence[FrameRecord],
    target: tuple[str, int] | socket.socket,
    headers: Mapping[str, str],
    ssl: tls.SSLContext | None,
    timeout: float,
) -> Sequence[Step]:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if arrived.done():
            abort(writer.transport)  # one client is played to
        else:
            arrived.set_result((reader, writer))

    if isinstance(target, socket.socket):
        server = await asyncio.start_server(accept, sock=target, ssl=ssl, limit=HEAD_SIZE)
    else:
        host, port = target
        server = await asyncio.start_server(accept, host, port, ssl=ssl, limit=HEAD_SIZE)
    try:
        reader, writer = await within(timeout, arrived, "no client")
    finally:
        server.close()

    async def shake_hands() -> None:
        _, request = await read_head(reader)
        writer.write(response_for(opened, request, headers) + b"".join(step.wire for step in early))

    return await _play(player, reader, writer, shake_hands(), "server", len(early), timeout)


async def _play(
    player: Player,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    handshake: Awaitable[None],
    source: Source,
    early: int,
    timeout: float,
) -> Sequence[Step]:
    session: WebSocketSession | None = None
    try:
        await within(timeout, handshake, "no handshake")
        session = RawWebSocket(
            reader,
            writer,
            server=source == "server",
            strict=False,
            max_frame_size=None,
            incoming=UNLIMITED,
            outgoing=UNLIMITED,
            observe=player.watch,
        )
        came = await player.play(early)
    except BaseException:
        abort(writer.transport)
        raise
    finally:
        if session is not None:
            session.abort()
            await session.wait_closed()
    return came
