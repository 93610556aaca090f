"""``observe()``: the records of a session, while they happen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from ..session.kinds import Session
from ..session.logtext import address_of
from ..session.managed import DefaultWebSocketSession
from ..session.raw import WebSocketSession
from ..session.state import CloseState, Side
from ..session.tap import End, Observer
from ..session.timeouts import limit_of
from ..web.client_session import WebSocketClientSession
from ..web.server_session import WebSocketServerSession
from .onlooker import Onlooker
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
    other,
)

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

Unsubscribe = Callable[[], None]
"""The function that ``observe()`` returns."""

_numbers = count(1)  # of the connections that are observed


def observe(session: Session, callback: Callable[[Record], object], *, max_payload: int | None = None) -> Unsubscribe:
    """Call ``callback`` with a record of each event of a session: the opening, each frame, the end.

    Frames are as on the wire, before and behind all extensions, and whatever the session does with them. If the
    callback raises, that is logged and it is not called any more. To a session that is not observed this costs nothing.

    Call it before the first byte for the whole connection: the option ``observe`` does that.

    Args:
        session: A raw session, or a managed one.
        callback: A plain function. It must not take long, and must not call the session.
        max_payload: Bytes to keep of each payload. Default: None: all of what the session sends, and up to its
            ``max_frame_size`` of what it receives. That is all but for frames that it refuses, or ignores behind a
            Close. If ``max_frame_size`` is None, too, the memory for a frame that never ends has no limit.

    Returns:
        A function without arguments that ends this.
    """
    return follow(session, callback, next(_numbers), max_payload)


def follow(session: Session, callback: Callable[[Record], object], number: int, max_payload: int | None) -> Unsubscribe:
    """``observe()`` with a number for the connection."""
    raw = session.raw if isinstance(session, DefaultWebSocketSession) else session
    connection = raw.connection
    if connection.is_lost():
        return _nothing
    waiting, missing = connection.parser.held()
    # The pieces of a frame never wait for the transport, so what is not encoded yet is what is not written yet.
    trace = Trace(raw, callback, number, max_payload, (missing, connection.encoder.missing))
    before = (connection.bytes_received - len(waiting), connection.bytes_sent)
    try:
        trace.open(raw, before)
    except Exception:
        logger.exception("Error in %r, which does not observe a WebSocket therefore", callback)
        return _nothing
    connection.watch(trace)
    if waiting:
        trace.received(waiting, False)

    def stop() -> None:
        connection.stop_watching(trace)

    return stop


def _nothing() -> None:
    """There is nothing to end."""


class Trace(Observer):
    """Makes records of one connection. It does not keep the session."""

    __slots__ = ("_callback", "_connection", "_ends", "_epoch", "_lookers", "_loop", "_number", "_own", "_parser")

    def __init__(
        self,
        raw: WebSocketSession,
        callback: Callable[[Record], object],
        number: int,
        keep: int | None,
        skip: tuple[int, int],
    ) -> None:
        """
        Args:
            raw: The session.
            callback: Gets the records.
            number: The number of the connection.
            keep: Bytes to keep of each payload. None: all, up to ``max_frame_size`` of what is received.
            skip: Bytes that are missing of the frame that is just being received, and of the one that is being sent.
        """
        self._callback = callback
        self._connection = number
        self._number = 0
        self._own: Source = "client" if raw.connection.is_client else "server"
        received, sent = skip
        self._lookers: dict[Source, Onlooker] = {
            self._own: Onlooker(keep, sent),
            other(self._own): Onlooker(keep, received),
        }
        self._parser = raw.connection.parser if keep is None else None  # it has the limit, which may be set anew
        self._ends: dict[Source, End] = {}
        self._loop = asyncio.get_running_loop()
        self._epoch = time.time() - self._loop.time()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._callback!r}>"

    def _now(self) -> float:
        return self._epoch + self._loop.time()

    def open(self, raw: WebSocketSession, before: tuple[int, int]) -> None:
        """Report the opening.

        Args:
            raw: The session.
            before: Bytes that were received and sent before.
        """
        request, response = handshake_of(raw)
        opened = OpenRecord(
            connection=self._connection,
            time=self._now(),
            recorded_by=self._own,
            peer=address_of(raw.transport),
            request=request,
            response=response,
            missed=before,
        )
        self._callback(opened)

    def received(self, data: bytes, early: bool) -> None:
        limit = None if self._parser is None else self._parser.max_frame_size
        self._look(other(self._own), data, early, limit)

    def sent(self, data: bytes) -> None:
        self._look(self._own, data, False, None)

    def _look(self, source: Source, data: bytes, early: bool, limit: int | None) -> None:
        for header, payload, size, kind in self._lookers[source].feed(data, limit):
            self._frame(source, header, payload, size, kind, early)

    def _frame(self, source: Source, header: bytes, payload: bytes, size: int, kind: Any, early: bool) -> None:
        self._number += 1
        frame = FrameRecord(
            connection=self._connection,
            number=self._number,
            time=self._now(),
            source=source,
            header=header,
            payload=payload,
            size=size,
            kind=kind,
            early=early,
        )
        self._callback(frame)

    def ended(self, side: Side, how: End) -> None:
        source = self._own if side == "local" else other(self._own)
        self._finish(source)
        self._ends[source] = how
        self._callback(EndRecord(connection=self._connection, time=self._now(), source=source, how=how))

    def _finish(self, source: Source) -> None:
        """Report the frame that is not complete at the end of a direction."""
        rest = self._lookers[source].rest()
        if isinstance(rest, bytes):
            self._callback(BytesRecord(connection=self._connection, time=self._now(), source=source, data=rest))
        elif rest is not None:
            self._frame(source, *rest, early=False)

    def lost(self, state: CloseState, limit: str | None) -> None:
        own, peer = self._own, other(self._own)
        for source in (peer, own):
            self._finish(source)
        how: End = "eof"
        if self._ends.get(peer) == "reset":
            how = "reset"
        elif self._ends.get(own) == "abort":
            how = "abort"
        sent, received = state.sent, state.received
        closed = CloseRecord(
            connection=self._connection,
            time=self._now(),
            client=sent if own == "client" else received,
            server=sent if own == "server" else received,
            first=None if state.first is None else own if state.first == "local" else peer,
            how=how,
            limit=limit or limit_of(state.error),
            error=None if state.error is None else f"{type(state.error).__name__}: {state.error}",
        )
        self._callback(closed)


# ---- the handshake ------------------------------------------------------------------------


def handshake_of(raw: WebSocketSession) -> tuple[HandshakeRequest | None, HandshakeResponse | None]:
    """Return the request and the response of the session's handshake, as far as it had one."""
    if isinstance(raw, WebSocketServerSession):
        asked = raw.request
        request = HandshakeRequest(
            method=asked.method, target=asked.raw_path, url=_url_of(raw), headers=_raw_fields(asked.raw_headers)
        )
        fields = raw.response_headers
        if fields is None:
            return request, None
        return request, HandshakeResponse(status=101, reason="Switching Protocols", headers=_fields(fields))
    if isinstance(raw, WebSocketClientSession):
        answer = raw.response
        sent = answer.request_info
        url = sent.url.with_user(None)
        request = HandshakeRequest(
            method=sent.method, target=url.raw_path_qs, url=str(url), headers=_fields(sent.headers)
        )
        headers = _raw_fields(answer.raw_headers)
        return request, HandshakeResponse(status=answer.status, reason=answer.reason or "", headers=headers)
    return None, None


def _url_of(raw: WebSocketServerSession) -> str:
    """Return the URL of the request, as text if it is none: a client must not keep itself out by its ``Host``."""
    request = raw.request
    try:
        return str(request.url)
    except ValueError:
        return f"{request.scheme}://{request.headers.get('Host', '')}{request.raw_path}"


def _fields(headers: Mapping[str, str]) -> Fields:
    return tuple((str(name), str(value)) for name, value in headers.items())


def _raw_fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    def decoded() -> Iterator[tuple[str, str]]:
        for name, value in headers:
            yield name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")

    return tuple(decoded())
