"""The plugin's side of a running session: who is connected, who wants to know, and how everybody is sent home."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sized
from typing import Any

from aiohttp import web
from aiosignal import Signal

from ..errors import HandshakeError
from ..session.kinds import Session, SessionHandler
from ..session.managed import DefaultWebSocketSession
from ..session.running import run_managed, run_session
from ..session.timeouts import OnLimit
from .options import WebSocketOptions
from .admission import ConnectionLimit, Slot

logger = logging.getLogger("aiohttp_rawws")

def run_handler(
    session: Session, handler: SessionHandler, on_limit: OnLimit | None = None
) -> Coroutine[Any, Any, None]:
    """Run ``handler`` over ``session`` by the rules of its kind. What this returns raises CancelledError only."""
    if isinstance(session, DefaultWebSocketSession):
        return run_managed(session, handler, on_limit=on_limit)
    return run_session(session, handler, on_limit=on_limit)


class _Live:
    """A session that runs, and the task it runs in."""

    __slots__ = ("_over", "_waiter", "task")

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.task = task
        self._over = False
        self._waiter: asyncio.Future[None] | None = None  # none until somebody waits

    def end(self) -> None:
        self._over = True
        if self._waiter is not None:
            self._waiter.set_result(None)

    async def is_over_within(self, timeout: float) -> bool:
        if not self._over:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._waiter], timeout=timeout)
        return self._over


class Sessions(Sized, Iterable[Session]):
    """The live sessions, as of now. Iterating goes over a copy, so sessions may come and go meanwhile."""

    def __init__(self, live: Mapping[Session, object]) -> None:
        self._live = live

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._live))

    def __contains__(self, session: object) -> bool:
        return session in self._live

    def __repr__(self) -> str:
        return f"<Sessions {len(self._live)}>"


class WebSockets:
    """The plugin of one application, found under ``app[WEBSOCKETS]``.

    options: what every route starts from.
    sessions: the live sessions, raw and managed, a view.
    closing: the server is shutting down; upgrades are answered with 503.
    refused: how often an option made us refuse something, by its name: handshakes (``refused["origins"]``,
        ``"max_sessions"``...) and sessions that were ended at a limit (``"max_frame_size"``, ``"idle_timeout"``...).
    on_session_start, on_session_end: signals, ``async def callback(session)``. A start callback that raises ends
        the session before its handler runs; end callbacks run for every session that began.
    """

    def __init__(self, options: WebSocketOptions) -> None:
        self.options = options
        self.closing = False
        self.refused: Counter[str] = Counter()
        self.on_limit: OnLimit = self._count
        self._connections = ConnectionLimit(options.max_sessions, options.max_sessions_per_address)
        self._live: dict[Session, _Live] = {}
        self.sessions = Sessions(self._live)
        self._farewells: set[asyncio.Task[None]] = set()
        self.on_session_start: Signal[Any] = Signal(self)
        self.on_session_end: Signal[Any] = Signal(self)

    def _count(self, option: str) -> None:
        self.refused[option] += 1

    def refusal(self, address: str | None) -> HandshakeError | None:
        """Why a handshake from ``address`` cannot be accepted now, however good it is; None if it can."""
        if self.closing:
            return HandshakeError(503, self.options.shutdown_reason)
        return self._connections.refusal(address, self.on_limit)

    def acquire(self, address: str | None) -> Slot | None:
        """What a connection from ``address`` holds while it lasts, where connections are counted."""
        return self._connections.acquire(address)

    def freeze(self) -> None:
        """No callbacks can be added from here on."""
        self.on_session_start.freeze()
        self.on_session_end.freeze()

    def enter(self, session: Session, handle: SessionHandler) -> SessionHandler:
        """``session`` is live from here to ``leave()``. Returns what to run over it: ``handle``, behind the start
        callbacks where there are any."""
        if not self.on_session_start.frozen:
            self.freeze()  # an application that was never started, as in a test
        live = self._live[session] = _Live(asyncio.current_task())
        if self.closing:  # shutdown began between the 101 and now
            farewell = asyncio.create_task(self._farewell(session, live), name="rawws-farewell")
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)
        if not self.on_session_start:
            return handle

        async def announced(session: Session) -> None:
            await self.on_session_start.send(session)
            await handle(session)

        return announced

    async def leave(self, session: Session) -> None:
        """``session`` is over; raises CancelledError only."""
        live = self._live.pop(session)
        try:
            await self.on_session_end.send(session)
        except Exception:
            logger.exception("Error in an on_session_end callback for %r", session)
        finally:
            live.end()

    async def shutdown(self) -> None:
        """Refuse new sessions and send every live one the Close of ``shutdown_code``.

        Each has its ``close_timeout`` to end, then its connection is aborted; and as long again for its handler to
        return, then that is cancelled: aiohttp looks after a handler only as long as the connection lasts.
        """
        self.closing = True
        await asyncio.gather(*(self._farewell(session, live) for session, live in self._live.items()))

    async def _farewell(self, session: Session, live: _Live) -> None:
        # The peer's Close goes to the handler like any frame: it is the handler that decides to end.
        session.close_nowait(self.options.shutdown)
        timeout = session.options.close_timeout
        if await live.is_over_within(timeout):
            return
        if not session.close_state.lost:
            if session.connection.limit is None:  # else it has just ended by itself, and reports that
                text = "%r did not end within %s seconds of shutdown and is aborted (close_timeout)"
                logger.info(text, session, timeout)
                self.on_limit("close_timeout")
            session.abort()
        if await live.is_over_within(timeout):
            return
        logger.warning("The handler of %r outlived its connection by %s seconds and is cancelled", session, timeout)
        if live.task is not None:
            live.task.cancel()
        await live.is_over_within(timeout)


WEBSOCKETS = web.AppKey("WEBSOCKETS", WebSockets)


def plugin_of(request: web.BaseRequest) -> WebSockets | None:
    """The plugin that serves ``request``: the innermost application's that has one."""
    if not isinstance(request, web.Request):
        return None  # a low-level web.Server has no application
    return request.config_dict.get(WEBSOCKETS)
