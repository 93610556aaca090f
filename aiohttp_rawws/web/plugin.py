"""The plugin as an application sees it, under ``app[WEBSOCKETS]``. ``supervisor.py`` does its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized

from aiohttp import web
from aiosignal import Signal

from .options import WebSocketOptions
from .server_session import ServerSession


class Sessions(Sized, Iterable[ServerSession]):
    """A view of the live sessions, raw and managed. Iterating goes over a copy, so sessions may come and go."""

    def __init__(self, live: Mapping[ServerSession, object]) -> None:
        self._live = live

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[ServerSession]:
        return iter(tuple(self._live))

    def __contains__(self, session: object) -> bool:
        return session in self._live

    def __repr__(self) -> str:
        return f"<Sessions {len(self._live)}>"


class WebSockets:
    """The plugin of one application. ``setup()`` makes it and puts it under ``app[WEBSOCKETS]``.

    Attributes:
        options: The options of ``setup()``. A route starts from them.
        sessions: The live sessions, a view.
        closing: The server is shutting down. New upgrades are answered with 503.
        refused: Counts, for each option, how often its limit was reached: handshakes that were refused
            (``refused["origins"]``, ``refused["max_sessions"]``...) and sessions that were ended
            (``refused["max_frame_size"]``, ``refused["idle_timeout"]``...).
        on_session_start: A signal, sent before the handler runs: ``async def callback(session)``. If a callback
            raises, the handler does not run and the session ends as if the handler had raised.
        on_session_end: A signal, sent when a session has ended: ``async def callback(session)``. It is sent for every
            session that began. If a callback raises, that is logged.
    """

    def __init__(self, options: WebSocketOptions, sessions: Sessions) -> None:
        """
        Args:
            options: The options of the plugin.
            sessions: The live sessions.
        """
        self.options = options
        self.sessions = sessions
        self.closing = False
        self.refused: Counter[str] = Counter()
        self.on_session_start: Signal[ServerSession] = Signal(self)
        self.on_session_end: Signal[ServerSession] = Signal(self)


WEBSOCKETS = web.AppKey("WEBSOCKETS", WebSockets)
