"""Taking a connection over from aiohttp's client, and giving it back when it is lost."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import aiohttp
from yarl import URL

from ..session.timeouts import SessionTimers, start_timers
from ..session.transports import is_broken
from .client_handshake import Agreed, bad_answer
from .client_options import ConnectOptions
from .client_session import ClientSessionKind, DefaultWebSocketClientSession, WebSocketClientSession
from .takeover import EarlyBytes


class ClientConnection(asyncio.BaseProtocol):
    """Stands between aiohttp's protocol, which had the connection before, and the session.

    To the session it is the previous protocol, which hears of pauses and of the loss. With the loss the response is
    closed, once, and so the place in the connector is free again.
    """

    __slots__ = ("_client_session", "_http", "_response", "_session", "_timers", "_transport", "loop")

    def __init__(
        self,
        client_session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        http: Any,
        transport: asyncio.Transport,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._client_session = client_session
        self._transport = transport
        self._response: aiohttp.ClientResponse | None = response
        self._http = http
        self._session: ClientSessionKind | None = None
        self._timers: SessionTimers | None = None

    def opened(self, session: ClientSessionKind) -> None:
        """``session`` is open: its limits of time hold from now on, unless it has ended already."""
        if not session.connection.is_lost():
            self._session = session
            self._timers = start_timers(session, None)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._session = None
        timers, self._timers = self._timers, None
        if timers is not None:
            timers.stop()
        response, self._response = self._response, None
        self._transport.close()  # else the TLS transport of Python 3.10 warns if the server has closed
        try:
            self._http.connection_lost(exc)
        finally:
            if response is not None:
                response.close()

    def __del__(self) -> None:
        if self._response is not None and self._session is not None:
            try:
                name = repr(self._session)
            except Exception:  # the interpreter exits, and has no codecs any more
                name = type(self._session).__name__
            text = f"{name} was not closed before its event loop"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def closed_by_aiohttp(self) -> None:
        """The ClientSession, its connector or the response was closed: the session ends at once."""
        if self._session is not None:
            connection = self._session.connection
            if connection.error is None and not connection.connection_phase:
                what = "ClientSession" if self._client_session.closed else "response"
                connection.error = ConnectionAbortedError(f"the {what} of aiohttp was closed")
            self._session.abort()


class ClientTransport:
    """The transport of a connection that was taken over, as aiohttp's protocol has it from then on.

    It is the transport, but aiohttp can only drop it.
    """

    __slots__ = ("_connection", "_transport")

    def __init__(self, transport: asyncio.Transport, connection: ClientConnection) -> None:
        self._transport = transport
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if self._connection.loop.is_closed():
            return  # the garbage collector calls, and the transport warns by itself
        self._connection.closed_by_aiohttp()
        self._transport.abort()

    abort = close


class EndedTransport(asyncio.Transport):
    """Stands for a connection that has ended before the session was made. It drops all that is written."""

    def __init__(self) -> None:
        super().__init__({})
        self._protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        asyncio.get_running_loop().call_soon(self._lose)

    def _lose(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def take_over(
    client_session: aiohttp.ClientSession,
    response: aiohttp.ClientResponse,
    agreed: Agreed,
    options: ConnectOptions,
    history: tuple[URL, ...],
    managed: bool,
) -> ClientSessionKind:
    """Make the session over the connection of ``response``, a 101 that was checked, and start it.

    There is no await in here: between the takeover and the start no byte may arrive.

    Raises:
        HandshakeError: aiohttp does not take this for an upgrade, and has given the connection away.
        ConnectionResetError: The connection was lost, and no bytes followed the 101.
    """
    borrowed = response.connection
    if borrowed is None:
        raise bad_answer("aiohttp does not see an upgrade in it")
    http: Any = borrowed.protocol
    transport: Any = borrowed.transport
    ended = http is None or transport is None or transport.is_closing() or is_broken(transport)
    early = EarlyBytes()
    if http is not None and not client_session.closed:
        http.read_timeout = None  # sock_read, which is about HTTP
        http.set_parser(early, None)  # end its timer, deliver the early bytes and resume reading
    if ended and not early.received:
        raise ConnectionResetError("the connection was lost before the WebSocket was open")
    connection: ClientConnection | None = None
    if ended:
        response.close()
        transport = EndedTransport()
    else:
        connection = ClientConnection(client_session, response, http, transport)
        http.transport = ClientTransport(transport, connection)
    raw = WebSocketClientSession(
        transport,
        response=response,
        protocol=agreed.protocol,
        history=history,
        options=options,
        previous_protocol=connection,
    )
    raw.negotiated_extensions = agreed.extensions
    session: ClientSessionKind = DefaultWebSocketClientSession(raw, agreed.extensions) if managed else raw
    raw.start(early.received)
    if isinstance(session, DefaultWebSocketClientSession):
        session.begin()  # pings are answered, whether or not anybody receives
    if connection is not None:
        connection.opened(session)
    return session
