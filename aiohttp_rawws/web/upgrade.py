"""``WebSocketUpgrade``: the response that turns a request into a WebSocket.

The order of events:

1. A handler makes the response. Its arguments are checked, nothing is sent.
2. ``check()`` (``checked_upgrade.py``) checks the handshake: the result is an agreement (``check.py``), or a refusal.
3. ``prepare()`` sends the refusal, or lets aiohttp write the 101 and takes the connection over (``takeover.py``).
4. The session's handler runs (``server_connection.py``). If the aiohttp handler awaits ``run()``, as a route does, that
   is inside the middlewares. Else it is in ``write_eof()``, which aiohttp calls after all middlewares have run. The
   plugin's middleware does 2 and 3 for an upgrade that an aiohttp handler returns.
5. The session ends, then the connection. From the 101 on, no HTTP can be written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ..session.kinds import Session, SessionHandler
from ..session.options import check_bool, check_names
from ..session.running import OnException, log_exception
from ..session.streams import StreamTransport
from .admission import Slot
from .answer import Answer
from .check import ProtocolChoice
from .checked_upgrade import CheckedUpgrade
from .handlers import ManagedUpgradeDict, RawUpgradeDict
from .logtext import described
from .options import OF_ROUTES
from .refusal import as_refusal, inherit_fields
from .server_connection import ServerConnection
from .server_session import DefaultWebSocketServerSession, WebSocketServerSession
from .takeover import new_session, take_over

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger: logging.Logger = logging.getLogger("aiohttp_rawws")


class UpgradeWatch:
    """Notes about one request, for the plugin's outermost middleware, which waits for it.

    Attributes:
        protocol: aiohttp's protocol of the connection.
        upgrade: The upgrade after its 101, or None.
    """

    __slots__ = ("protocol", "upgrade")

    def __init__(self, protocol: object) -> None:
        self.protocol: object = protocol
        self.upgrade: WebSocketUpgrade | None = None


upgrade_watch: ContextVar[UpgradeWatch | None] = ContextVar("aiohttp_rawws.upgrade_watch", default=None)


def checked_handler(name: str, handler: SessionHandler | None) -> SessionHandler:
    """Check the argument ``name``, which must be an async function of a session.

    Returns:
        ``handler``.

    Raises:
        TypeError: It cannot be called, or it is a class: an aiohttp ``View`` is not a session handler.
    """
    if not callable(handler) or isinstance(handler, type):
        raise TypeError(f"{name} must be an async function of a session, not {handler!r}")
    return handler


class WebSocketUpgrade(CheckedUpgrade):
    """A response that upgrades a request to a WebSocket and runs a handler over the session.

    Return it from any aiohttp handler: the session runs after all middlewares, which can add headers to the 101. Or
    return what ``await upgrade.run()`` returns: the session runs inside the aiohttp handler and so inside the
    middlewares, as that of a route does. If the handshake fails, the refusal is sent instead. The session ends when
    its handler returns.

    Frames that the client sends before it has the 101 are delivered if the response is prepared before the aiohttp
    handler returns. ``run()``, the routes and the plugin's middleware do that.

    Args:
        request: The request to upgrade.
        protocol: A subprotocol that the client must offer. Names are case-sensitive. Default: None.
        install_extensions: Negotiate the extensions of the options. A raw session does not apply them. Default: False.
        handle: ``async def handle(session)``. It is required.
        protocols: A choice of subprotocols instead of ``protocol``: names in the server's order of preference, or a
            callable ``(request, offered) -> name | None``, sync or async. If none of them is offered, the session has
            no subprotocol. Default: None.
        managed: Run ``handle`` over a managed session, which applies the extensions. Default: False.
        answer: The subprotocol and the extensions of the 101, instead of a negotiation. No extension is applied.
            Default: None.
        options: Override options of the plugin, see ``WebSocketOptions``.

    Raises:
        TypeError: ``handle`` is not a function, or an option is unknown or of the wrong type.
        ValueError: An option is out of range, or a subprotocol is not a token.
    """

    __slots__ = ("_app", "_connection", "_error", "_handle", "_managed", "_pending_session", "_session")

    @overload
    def __init__(
        self,
        request: web.BaseRequest,
        protocol: str | None = None,
        install_extensions: bool = False,
        **how: Unpack[RawUpgradeDict],
    ) -> None: ...

    @overload
    def __init__(
        self,
        request: web.BaseRequest,
        protocol: str | None = None,
        install_extensions: bool = False,
        **how: Unpack[ManagedUpgradeDict],
    ) -> None: ...

    def __init__(
        self,
        request: web.BaseRequest,
        protocol: str | None = None,
        install_extensions: bool = False,
        handle: SessionHandler | None = None,
        *,
        protocols: ProtocolChoice = None,
        managed: bool = False,
        answer: Answer | None = None,
        **options: Any,
    ) -> None:
        check_bool("managed", managed)
        check_names(options, OF_ROUTES)
        handle = checked_handler("handle", handle)
        super().__init__(request, protocol, protocols, install_extensions, answer, options)
        self._handle = handle
        self._managed = managed
        # In the handler request.app is the innermost application. Later it may be the outermost.
        self._app = request.app if isinstance(request, web.Request) else None
        self._session: WebSocketServerSession | None = None
        self._pending_session: WebSocketServerSession | None = None  # its handler has yet to run
        self._connection: ServerConnection | None = None
        self._error: Exception | None = None  # what run() has raised for the handler

    @property
    def handle(self) -> SessionHandler:
        return self._handle

    @property
    def session(self) -> WebSocketServerSession | None:
        """The raw session, or None before the connection is taken over."""
        return self._session

    @property
    def body_length(self) -> int:
        """The bytes sent as frames, for the access log."""
        if self._refusal is not None:
            return self._refusal.body_length
        return 0 if self._session is None else self._session.stats.bytes_sent

    # ---- how aiohttp sends it ---------------------------------------------------------

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Check the handshake, then send the 101 and take the connection over, or send the refusal.

        A second call does nothing, as with every response of aiohttp.

        Raises:
            ConnectionError: The client is gone.
        """
        if self.prepared:
            # aiohttp prepares every response that a handler returns, prepared or not.
            return await (super().prepare(request) if self._refusal is None else self._refusal.prepare(request))
        given = super().headers
        try:
            refused = await self.check()
        except Exception:
            # If the handler has returned already, aiohttp would close the connection without an answer.
            logger.exception("Error in the handshake of a WebSocket, %s", described(request))
            refused = self._refusal = as_refusal(request, web.HTTPInternalServerError())
        if refused is not None:
            inherit_fields(refused, given, super().cookies)
            return await refused.prepare(request)
        self._write_handshake_fields()
        self.force_close()  # else aiohttp would keep the connection for HTTP after the session
        # There is no await since check() found a free slot, so two handshakes cannot take the same one.
        slot = None if self._supervisor is None else self._supervisor.acquire(self._request.remote)
        try:
            writer = await super().prepare(request)
            self._take_over(request, slot)
        except BaseException:
            if slot is not None:
                slot.release()
            raise
        return writer

    def _take_over(self, request: web.BaseRequest, slot: Slot | None) -> None:
        # No await in here: between the takeover and the session's start no byte may arrive.
        taken = take_over(request, self._reading_paused)
        self._connection = connection = ServerConnection(
            taken.http, slot=slot, registry=self._supervisor, grace=self._options.disconnect_grace
        )
        taken.hand_over(connection)
        self._session = self._pending_session = session = self._new_session(taken.transport, connection)
        if (watch := upgrade_watch.get()) is not None and watch.protocol is request.protocol:
            watch.upgrade = self
        session.response_headers = self.headers
        session.start(taken.early)

    async def run(self) -> web.StreamResponse:
        """Upgrade the request now, and run the handler over the session until both have ended.

        For use in an aiohttp handler: ``return await upgrade.run()``. The session is then inside all middlewares.

        Returns:
            The response for the aiohttp handler to return: this one, or one that refuses the handshake.

        Raises:
            web.HTTPException: The handshake is refused.
            Exception: The session's handler raised it. The session has ended with that.
            RuntimeError: The handler has been run before.
        """
        running = await self.begin()
        if running is not None:
            await running
        return self.finished()

    async def begin(self) -> Coroutine[Any, Any, None] | None:
        """The first part of ``run()``, for the routes: a coroutine less is kept while a session lasts.

        Returns:
            A coroutine to await before ``finished()``, or None.
        """
        if not self.prepared:
            refused = await self.check()
            if isinstance(refused, web.HTTPException):
                raise refused
            if refused is not None:
                return None
            try:
                await self.prepare(self._request)
            except ConnectionError:
                return None  # the client is gone before the 101; raised, it would be logged as an error of the handler
        if self._refusal is not None:
            return None
        session, self._pending_session = self._pending_session, None
        if session is None:
            raise RuntimeError("the handler of this upgrade has been run before")
        return self._run(session, self._handle, self._failed)

    def finished(self) -> web.StreamResponse:
        """The last part of ``run()``. It raises what the handler raised, or returns the response."""
        if self._error is not None:
            raise self._error
        return self if self._refusal is None else self._refusal

    def _failed(self, exc: Exception) -> None:
        """The handler raised ``exc`` in ``run()``, which raises it. It is logged here unless aiohttp does that."""
        self._error = exc
        if self._is_watched() or isinstance(exc, (web.HTTPException, asyncio.TimeoutError)):
            assert self._connection is not None
            log_exception(self._connection.session, exc)

    def _is_watched(self) -> bool:
        watch = upgrade_watch.get()
        return watch is not None and watch.protocol is self._request.protocol

    async def write_eof(self, data: bytes = b"") -> None:
        """Run the handler over the session until both have ended, unless that was done. aiohttp awaits this once."""
        if self._refusal is not None:
            await self._refusal.write_eof()
            return
        session, self._pending_session = self._pending_session, None
        if session is not None:
            await self._run(session, self._handle, None)
        await super().write_eof()

    async def instead_of(self, other: object) -> WebSocketUpgrade:
        """Be the response instead of what was raised or returned after the 101, which is logged.

        If the handler has not run, it will not, and the session ends as if the handler had raised an error.

        Args:
            other: An exception or a response.
        """
        session, self._pending_session = self._pending_session, None
        reported, self._error = self._error, None  # it refers to this response, too
        if session is not None:
            error = other if isinstance(other, Exception) else RuntimeError(f"The 101 was sent, but {other!r} returned")
            await self._run(session, partial(_fail, error), None)
        elif isinstance(other, Exception):
            if reported is None or not _comes_from(other, reported):
                logger.error("Error after the end of %r", self._session, exc_info=other)
        else:
            logger.warning("%r cannot be sent after the end of %r and is dropped", other, self._session)
        return self

    def accompany(self, companion: Session) -> None:
        """Let the shutdown of the server close ``companion``, too, from the 101 on. The handler ends it."""
        assert self._connection is not None
        self._connection.companion = companion

    # ---- the session ------------------------------------------------------------------

    def upgrade(self, transport: Any, writer: Any = None, *, early: Iterable[bytes] = ()) -> asyncio.Task[None]:
        """Run the session over any transport. No handshake is made.

        Args:
            transport: A transport, or the reader of a pair of asyncio streams.
            writer: The writer of that pair. Default: None.
            early: Bytes of frames that were received before. Default: none.

        Returns:
            The task that runs the handler and ends with the session. Cancelling it aborts the session.

        Raises:
            TypeError: The transport or a stream lacks a method that a session needs.
        """
        if writer is not None:
            transport = StreamTransport(transport, writer)
        self._connection = ServerConnection(registry=self._supervisor, grace=self._options.disconnect_grace)
        self._session = session = self._new_session(transport, self._connection)
        session.start(early)
        return asyncio.create_task(self._run(session, self._handle, None), name="rawws-session")

    def _new_session(self, transport: asyncio.Transport, connection: ServerConnection) -> WebSocketServerSession:
        return new_session(
            transport,
            request=self._request,
            app=self._app,
            protocol=self.protocol,
            options=self._options,
            extensions=self._negotiated,
            connection=connection,
        )

    def _run(
        self, raw: WebSocketServerSession, handler: SessionHandler, on_exception: OnException | None
    ) -> Coroutine[Any, Any, None]:
        assert self._connection is not None
        session = DefaultWebSocketServerSession(raw, self._negotiated) if self._managed else raw
        return self._connection.run(session, handler, on_exception)


async def _fail(error: Exception, session: object) -> None:
    raise error


def _comes_from(exc: BaseException | None, origin: BaseException) -> bool:
    """Return True if ``exc`` is ``origin``, or was raised because of it. A chain may be a circle."""
    passed: set[int] = set()
    while exc is not None and exc is not origin and id(exc) not in passed:
        passed.add(id(exc))
        exc = exc.__cause__ or exc.__context__
    return exc is origin
