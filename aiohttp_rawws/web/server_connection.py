"""One upgraded connection on the server: its handler runs here, and its loss is reported from here.

The handler runs in a task of its own, which aiohttp's handler awaits. A task is resumed through all the coroutines that
it is in, and aiohttp's handler is deep in aiohttp and its middlewares: there, every frame that the session's handler
waits for would cost more.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from aiohttp import web

from ..session.kinds import Session, SessionHandler
from ..session.managed import DefaultWebSocketSession
from ..session.running import OnException, run_managed, run_session
from ..session.timeouts import OnLimit
from .server_session import ServerSession

if TYPE_CHECKING:
    from .admission import Slot

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

REPORT_AFTER = 60.0  # seconds that a handler may run on after the loss of its connection before that is logged

_reported: WeakSet[web.AbstractRoute] = WeakSet()


def run_handler(
    session: ServerSession,
    handler: SessionHandler,
    on_limit: OnLimit | None = None,
    on_exception: OnException | None = None,
) -> Coroutine[Any, Any, None]:
    """Run ``handler`` over ``session`` by the rules of its kind, see ``run_session`` and ``run_managed``."""
    if isinstance(session, DefaultWebSocketSession):
        return run_managed(session, handler, on_limit=on_limit, on_exception=on_exception)
    return run_session(session, handler, on_limit=on_limit, on_exception=on_exception)


class Registry(Protocol):
    """The part of the plugin's ``Supervisor`` that a connection uses."""

    on_limit: OnLimit

    def enter(
        self, session: ServerSession, handler: SessionHandler, connection: ServerConnection
    ) -> SessionHandler: ...
    def connection_lost(self, session: ServerSession) -> None: ...
    async def leave(self, session: ServerSession) -> None: ...


def route_of(session: ServerSession) -> web.AbstractRoute | None:
    """The route that ``session`` was opened on, or None if it was opened without an application."""
    request = getattr(session, "request", None)
    return request.match_info.route if isinstance(request, web.Request) else None


class ServerConnection(asyncio.BaseProtocol):
    """Stands between aiohttp's protocol, which had the connection before, and the session.

    To the session it is the previous protocol, which hears of pauses and of the loss. aiohttp hears of the loss at
    once, and may then cancel the handler (``handler_cancellation``), unless the handler knows of the end or has
    returned: then aiohttp hears of it when it is done with the request.

    Attributes:
        session: The session, while its handler runs.
        is_lost: The connection is lost.
        companion: Another session that the handler runs over, such as that of a gateway with its upstream server. The
            shutdown closes it, too. None if there is none.
    """

    __slots__ = (
        "_ended_waiter",
        "_grace",
        "_handler_has_ended",
        "_http",
        "_is_over",
        "_loss",
        "_loss_is_held",
        "_registry",
        "_slot",
        "_task",
        "_timers",
        "_was_stopped",
        "companion",
        "is_lost",
        "session",
    )

    def __init__(
        self,
        http: asyncio.BaseProtocol | None = None,
        *,
        slot: Slot | None = None,
        registry: Registry | None = None,
        grace: float | None = None,
    ) -> None:
        """
        Args:
            http: aiohttp's protocol. Default: None (the connection was not aiohttp's).
            slot: The place of the connection under the limits of the plugin. Default: None.
            registry: The plugin's. Default: None (there is no plugin).
            grace: The option ``disconnect_grace``. Default: None.
        """
        self._http: Any = http
        self._slot = slot
        self._registry = registry
        self._grace = grace
        self.session: ServerSession | None = None
        self.companion: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._was_stopped = False
        self._timers: tuple[asyncio.TimerHandle, ...] = ()
        self.is_lost: bool = False
        self._handler_has_ended = False
        self._is_over = False
        self._loss: BaseException | None = None
        self._loss_is_held = False
        self._ended_waiter: asyncio.Future[None] | None = None  # made by the first task that waits

    # ---- the handler ------------------------------------------------------------------

    async def run(self, session: ServerSession, handler: SessionHandler, on_exception: OnException | None) -> None:
        """Run ``handler`` over ``session`` in a task of its own, until the handler and the connection have ended.

        Variables that the handler sets in its context are set for the caller, too, from Python 3.11 on.

        Args:
            session: The session. It has been started.
            handler: The handler.
            on_exception: Called with an error of the handler. None: it is logged.

        Raises:
            CancelledError: This task was cancelled, and the handler with it. The connection was aborted.
        """
        self.session = session
        if self.is_lost:
            self._start_timers()
        current = asyncio.current_task()
        copied: Context | None = None
        # Not made by the loop's task factory: an eager task cannot start in a context that is entered.
        make: Any = asyncio.Task
        keywords: dict[str, Any] = {"loop": asyncio.get_running_loop(), "name": "rawws-handler"}
        if sys.version_info >= (3, 12) and current is not None:
            keywords["context"] = current.get_context()
        elif sys.version_info >= (3, 11):
            keywords["context"] = copied = copy_context()
        registry, on_limit = self._registry, None
        if registry is not None:
            handler, on_limit = registry.enter(session, handler, self), registry.on_limit
        self._task = make(run_handler(session, handler, on_limit, on_exception), **keywords)
        del make, keywords, handler, on_exception  # this frame lasts as long as the session
        try:
            await self._task
        except asyncio.CancelledError:
            session.abort()  # the task may have been cancelled before it began
            if not self._was_stopped or (sys.version_info >= (3, 11) and current is not None and current.cancelling()):
                raise
        finally:
            self._task = self.session = None
            self._handler_has_ended = True
            self._stop_timers()
            if copied is not None:
                take_variables(copied)
            try:
                if registry is not None:
                    await registry.leave(session)
            finally:
                self._is_over = True
                if self._ended_waiter is not None:
                    self._ended_waiter.set_result(None)

    def stop_handler(self) -> None:
        """Cancel the handler. aiohttp's handler is not cancelled: its middlewares end as after any session."""
        if self._task is not None:
            self._was_stopped = True
            self._task.cancel()

    async def ends_within(self, timeout: float) -> bool:
        """Wait for the end of handler and connection. Returns False if that takes longer than ``timeout`` seconds."""
        if self._is_over:
            return True
        if self._ended_waiter is None:
            self._ended_waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._ended_waiter], timeout=timeout)
        return self._ended_waiter.done()

    # ---- what the session reports -----------------------------------------------------

    def pause_writing(self) -> None:
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        if self._http is not None:
            self._http.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.is_lost = True
        if self._slot is not None:
            self._slot.release()
        session = self.session
        if session is not None:
            if self._registry is not None:
                self._registry.connection_lost(session)
            if not self._knows_of_the_end(session):
                self._start_timers()
        if self._handler_has_ended or (session is not None and self._knows_of_the_end(session)):
            self._loss, self._loss_is_held = exc, True
        else:
            self._report_loss(exc)

    def http_is_done(self) -> None:
        """aiohttp has closed its transport, so it is done with the request. It may hear of the loss now."""
        if self._loss_is_held:
            self._loss_is_held = False
            asyncio.get_running_loop().call_soon(self._report_loss, self._loss)
            self._loss = None

    def _report_loss(self, exc: BaseException | None) -> None:
        http, self._http = self._http, None
        if http is not None:
            http.connection_lost(exc)

    # ---- a handler that does not notice the loss --------------------------------------

    def _knows_of_the_end(self, session: ServerSession) -> bool:
        connection = session.connection
        if connection.end_reported:
            return True
        # On a raw session the handler itself has sent the Close; a managed one answers by itself.
        both = connection.close_sent is not None and connection.close_received is not None
        return both and not isinstance(session, DefaultWebSocketSession)

    def _start_timers(self) -> None:
        loop, grace = asyncio.get_running_loop(), self._grace
        if grace is not None:
            self._timers += (loop.call_later(grace, self._stop_unaware),)
        if grace is None or grace > REPORT_AFTER:
            self._timers += (loop.call_later(REPORT_AFTER, self._report_unaware),)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()

    def _stop_unaware(self) -> None:
        session = self.session
        if session is not None and not self._knows_of_the_end(session):
            text = "The handler of %r is cancelled %s seconds after the loss of its connection (disconnect_grace)"
            logger.info(text, session, self._grace)
            self.stop_handler()

    def _report_unaware(self) -> None:
        session = self.session
        if session is None or self._knows_of_the_end(session):
            return
        route = route_of(session)
        if route is not None:
            if route in _reported:
                return
            _reported.add(route)
        logger.warning(
            "The handler of %r still runs %d seconds after the loss of its connection and does not know of it. Receive "
            "in the handler and send from session.create_task(), or set disconnect_grace=SECONDS to have such handlers "
            "cancelled. This is logged once for each route.",
            session,
            REPORT_AFTER,
        )


def take_variables(context: Context) -> None:
    """Set the context variables of the current context to what they are in ``context``."""
    current = copy_context()
    for variable, value in context.items():
        if variable not in current or current[variable] is not value:
            variable.set(value)


class HTTPTransport:
    """The transport of a connection that was taken over, as aiohttp's protocol has it from then on.

    It is the transport, but nothing can be written to it: whatever is raised or returned after the 101, no HTTP gets in
    between the frames.
    """

    __slots__ = ("_connection", "_transport")

    def __init__(self, transport: asyncio.Transport, connection: ServerConnection) -> None:
        self._transport = transport
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: object) -> None:
        """Raise ConnectionResetError, after which aiohttp closes the connection."""
        raise ConnectionResetError("This connection is a WebSocket now: no HTTP can be written to it")

    def writelines(self, list_of_data: object) -> None:
        """Raise ConnectionResetError, see ``write()``."""
        self.write(list_of_data)

    def close(self) -> None:
        self._transport.close()
        self._connection.http_is_done()

    def abort(self) -> None:
        self._transport.abort()
        self._connection.http_is_done()
