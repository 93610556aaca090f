"""The work of the plugin: admit connections, announce sessions, end them when the server shuts down.

It is not public. ``setup()`` and ``WebSocketUpgrade`` share it, and ``WebSockets`` is what an application sees of it.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from ..errors import HandshakeError
from ..session.kinds import SessionHandler
from ..session.timeouts import OnLimit
from .admission import ConnectionLimit, Slot
from .options import WebSocketOptions
from .plugin import Sessions, WebSockets
from .server_connection import ServerConnection
from .server_session import ServerSession

logger: logging.Logger = logging.getLogger("aiohttp_rawws")


class Supervisor:
    """Admits, announces and ends the sessions of one application.

    Attributes:
        plugin: The public side.
        on_limit: Counts a limit that was reached, by the name of its option. One object for all sessions.
    """

    def __init__(self, options: WebSocketOptions) -> None:
        self._live: dict[ServerSession, ServerConnection] = {}
        self._lost: dict[ServerSession, ServerConnection] = {}  # without their connection, but their handler still runs
        self._connections = ConnectionLimit(options.max_sessions, options.max_sessions_per_address)
        self._closing_tasks: set[asyncio.Task[None]] = set()
        self.plugin: WebSockets = WebSockets(options, Sessions(self._live))
        self.on_limit: OnLimit = self._count

    def _count(self, option: str) -> None:
        self.plugin.refused[option] += 1

    # ---- connections ------------------------------------------------------------------

    def refusal(self, request: web.BaseRequest) -> HandshakeError | None:
        """Check if a connection can be accepted now.

        Args:
            request: The request that asks for it.

        Returns:
            None if it can, else the reason.
        """
        plugin = self.plugin
        if plugin.closing:
            return HandshakeError(503, plugin.options.shutdown_reason)
        return self._connections.refusal(request, self.on_limit)

    def acquire(self, address: str | None) -> Slot | None:
        """Count a connection from ``address``. Returns its slot, or None if connections are not limited."""
        return self._connections.acquire(address)

    # ---- sessions ---------------------------------------------------------------------

    def freeze(self) -> None:
        """Refuse further callbacks, as aiohttp does for the signals of an application that runs."""
        self.plugin.on_session_start.freeze()
        self.plugin.on_session_end.freeze()

    def enter(self, session: ServerSession, handler: SessionHandler, connection: ServerConnection) -> SessionHandler:
        """Register ``session``. It is live until its connection is lost; its handler may run until ``leave()``.

        Args:
            session: The session.
            handler: Its handler.
            connection: The object that runs the handler.

        Returns:
            The function to run over the session: ``handler``, after the callbacks of ``on_session_start`` if any.
        """
        plugin = self.plugin
        if not plugin.on_session_start.frozen:
            self.freeze()  # the application was never started, as in a test
        (self._lost if connection.is_lost else self._live)[session] = connection
        if plugin.closing:  # shutdown began between the 101 and now; the handler begins first
            asyncio.get_running_loop().call_soon(self._close_late, session, connection)
        if not plugin.on_session_start:
            return handler

        async def announced(session: ServerSession) -> None:
            await plugin.on_session_start.send(session)
            await handler(session)

        return announced

    def connection_lost(self, session: ServerSession) -> None:
        """``session`` is no longer live. Its handler may go on."""
        connection = self._live.pop(session, None)
        if connection is not None:
            self._lost[session] = connection

    async def leave(self, session: ServerSession) -> None:
        """Unregister ``session``, whose handler has ended, too. Raises CancelledError only."""
        self.connection_lost(session)
        try:
            await self.plugin.on_session_end.send(session)
        except Exception:
            logger.exception("Error in an on_session_end callback for %r", session)
        finally:
            self._lost.pop(session, None)

    # ---- shutdown ---------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Refuse new sessions and send every live one a Close with ``shutdown_code``.

        A session that has not ended ``close_timeout`` seconds later is aborted. Its handler then gets the same time
        again before it is cancelled: aiohttp only waits for handlers whose connection is still there.
        """
        self.plugin.closing = True
        running = [*self._live.items(), *self._lost.items()]
        await asyncio.gather(*(self._close(session, connection) for session, connection in running))

    def _close_late(self, session: ServerSession, connection: ServerConnection) -> None:
        task = asyncio.create_task(self._close(session, connection), name="rawws-shutdown")
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)

    async def _close(self, session: ServerSession, connection: ServerConnection) -> None:
        # The peer's Close goes to the handler of a raw session like any frame: the handler decides when to end.
        session.close_nowait(self.plugin.options.shutdown)
        companion = connection.companion
        if companion is not None:
            companion.close_nowait(self.plugin.options.shutdown)
        timeout = session.options.close_timeout
        if await connection.ends_within(timeout):
            return
        if not session.close_state.lost:
            if session.connection.limit is None:  # else it was ended by another limit just now, which is reported
                text = "%r did not end within %s seconds of shutdown and is aborted (close_timeout)"
                logger.info(text, session, timeout)
                self.on_limit("close_timeout")
            session.abort()
        if companion is not None:
            companion.abort()
        if await connection.ends_within(timeout):
            return
        text = "The handler of %r still runs %s seconds after the end of its connection and is cancelled"
        logger.warning(text, session, timeout)
        connection.stop_handler()
        await connection.ends_within(timeout)


SUPERVISOR = web.AppKey("aiohttp_rawws.supervisor", Supervisor)


def supervisor_of(request: web.BaseRequest) -> Supervisor | None:
    """Return the supervisor for ``request``: that of the innermost application that has one, or None."""
    if not isinstance(request, web.Request):
        return None  # a low-level web.Server has no application
    return request.config_dict.get(SUPERVISOR)
