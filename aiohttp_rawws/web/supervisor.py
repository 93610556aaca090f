"""The work of the plugin: admit connections, announce sessions, end them when the server shuts down.

It is not public. ``setup()`` and ``WebSocketUpgrade`` share it, and ``WebSockets`` is what an application sees of it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web

from ..errors import HandshakeError
from ..session.kinds import Session, SessionHandler
from ..session.timeouts import OnLimit
from .admission import ConnectionLimit, Slot
from .options import WebSocketOptions
from .plugin import Sessions, WebSockets

logger = logging.getLogger("aiohttp_rawws")


class LiveSession:
    """The end of one session that runs.

    Attributes:
        task: The task that the handler runs in, or None outside of a task.
    """

    __slots__ = ("_ended", "_waiter", "task")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.task = task
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None  # made by the first task that waits

    def mark_ended(self) -> None:
        self._ended = True
        if self._waiter is not None:
            self._waiter.set_result(None)

    async def ends_within(self, timeout: float) -> bool:
        """Wait for the end of the session, at most ``timeout`` seconds. Returns False if it still runs."""
        if not self._ended:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._waiter], timeout=timeout)
        return self._ended


class Supervisor:
    """Admits, announces and ends the sessions of one application.

    Attributes:
        plugin: The public side.
        on_limit: Counts a limit that was reached, by the name of its option. One object for all sessions.
    """

    def __init__(self, options: WebSocketOptions) -> None:
        self._live: dict[Session, LiveSession] = {}
        self._connections = ConnectionLimit(options.max_sessions, options.max_sessions_per_address)
        self._closing_tasks: set[asyncio.Task[None]] = set()
        self.plugin = WebSockets(options, Sessions(self._live))
        self.on_limit: OnLimit = self._count

    def _count(self, option: str) -> None:
        self.plugin.refused[option] += 1

    # ---- connections ------------------------------------------------------------------

    def refusal(self, address: str | None) -> HandshakeError | None:
        """Check if a connection can be accepted now.

        Args:
            address: The address of the client, or None.

        Returns:
            None if it can, else the reason.
        """
        plugin = self.plugin
        if plugin.closing:
            return HandshakeError(503, plugin.options.shutdown_reason)
        return self._connections.refusal(address, self.on_limit)

    def acquire(self, address: str | None) -> Slot | None:
        """Count a connection from ``address``. Returns its slot, or None if connections are not limited."""
        return self._connections.acquire(address)

    # ---- sessions ---------------------------------------------------------------------

    def freeze(self) -> None:
        """Refuse further callbacks, as aiohttp does for the signals of an application that runs."""
        self.plugin.on_session_start.freeze()
        self.plugin.on_session_end.freeze()

    def enter(self, session: Session, handler: SessionHandler) -> SessionHandler:
        """Register ``session``, which is live until ``leave()``.

        Args:
            session: The session.
            handler: Its handler.

        Returns:
            The function to run over the session: ``handler``, after the callbacks of ``on_session_start`` if any.
        """
        plugin = self.plugin
        if not plugin.on_session_start.frozen:
            self.freeze()  # the application was never started, as in a test
        live = self._live[session] = LiveSession(asyncio.current_task())
        if plugin.closing:  # shutdown began between the 101 and now
            task = asyncio.create_task(self._close(session, live), name="rawws-shutdown")
            self._closing_tasks.add(task)
            task.add_done_callback(self._closing_tasks.discard)
        if not plugin.on_session_start:
            return handler

        async def announced(session: Session) -> None:
            await plugin.on_session_start.send(session)
            await handler(session)

        return announced

    async def leave(self, session: Session) -> None:
        """Unregister ``session``, which has ended. Raises CancelledError only."""
        live = self._live.pop(session)
        try:
            await self.plugin.on_session_end.send(session)
        except Exception:
            logger.exception("Error in an on_session_end callback for %r", session)
        finally:
            live.mark_ended()

    # ---- shutdown ---------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Refuse new sessions and send every live one a Close with ``shutdown_code``.

        A session that has not ended ``close_timeout`` seconds later is aborted. Its handler then gets the same time
        again before it is cancelled: aiohttp only waits for handlers whose connection is still there.
        """
        self.plugin.closing = True
        await asyncio.gather(*(self._close(session, live) for session, live in self._live.items()))

    async def _close(self, session: Session, live: LiveSession) -> None:
        # The peer's Close goes to the handler of a raw session like any frame: the handler decides when to end.
        session.close_nowait(self.plugin.options.shutdown)
        timeout = session.options.close_timeout
        if await live.ends_within(timeout):
            return
        if not session.close_state.lost:
            if session.connection.limit is None:  # else it was ended by another limit just now, which is reported
                text = "%r did not end within %s seconds of shutdown and is aborted (close_timeout)"
                logger.info(text, session, timeout)
                self.on_limit("close_timeout")
            session.abort()
        if await live.ends_within(timeout):
            return
        text = "The handler of %r still runs %s seconds after the end of its connection and is cancelled"
        logger.warning(text, session, timeout)
        if live.task is not None:
            live.task.cancel()
        await live.ends_within(timeout)


SUPERVISOR = web.AppKey("aiohttp_rawws.supervisor", Supervisor)


def supervisor_of(request: web.BaseRequest) -> Supervisor | None:
    """Return the supervisor for ``request``: that of the innermost application that has one, or None."""
    if not isinstance(request, web.Request):
        return None  # a low-level web.Server has no application
    return request.config_dict.get(SUPERVISOR)
