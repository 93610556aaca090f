"""Fixtures for pytest: ``pytest_plugins = ["aiohttp_rawws.testing.fixtures"]`` in a conftest.py.

They work with every plugin that runs async tests on asyncio: pytest-asyncio, pytest-aiohttp, anyio. A test that fails
shows the frames of its sessions.

- ``rawws_client``: ``async with rawws_client(app).connect("/chat") as session``
- ``rawws_pair``: ``server, client = rawws_pair()``
- ``scripted_server``: ``async with scripted_server(script) as server``
- ``frame_log``: the lines of the log of frames. The other three use it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from ..session.frame_log import logger
from ..session.memory import MemoryPair, memory_pair
from ..web.client import connect, connect_raw
from ..web.client_options import ConnectOptionsDict
from ..web.client_session import DefaultWebSocketClientSession, WebSocketClientSession
from .server import ScriptedServer
from .server import scripted_server as _scripted_server

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

MAX_LINES = 1000
STOP = 5.0  # seconds that the server of a test may take to stop

LINES: pytest.StashKey[list[str]] = pytest.StashKey()


class Lines(logging.Handler):
    """Keeps the last lines of a log."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if len(self._lines) == MAX_LINES:
            del self._lines[0]
        self._lines.append(record.getMessage())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the frames of a test that failed."""
    report = yield
    lines = item.stash.get(LINES, None)
    if report.when == "call" and report.failed and lines:
        report.sections.append(("frames (< received, > sent)", "\n".join(lines)))
    return report


@pytest.fixture
def frame_log(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The lines of the log of frames, for sessions that are opened in this test. The last 1000."""
    lines: list[str] = []
    request.node.stash[LINES] = lines
    handler = Lines(lines)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # other handlers did not ask for them
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagate


class RawwsClient:
    """An aiohttp application on a free port, and clients of it. The fixture ``rawws_client`` makes it.

    The server runs while a session is open, or in ``async with client:``, which keeps it for the block.

    Attributes:
        app: The application.
    """

    def __init__(self, app: web.Application) -> None:
        """
        Args:
            app: The application.
        """
        self.app: web.Application = app
        self._users = 0
        self._lock = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None
        self._origin = ""

    async def __aenter__(self) -> Self:
        async with self._lock:
            if not self._users:
                runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=STOP)
                try:
                    await runner.setup()
                    await web.TCPSite(runner, "127.0.0.1", 0).start()
                except BaseException:
                    await runner.cleanup()  # what has started by then
                    raise
                self._runner = runner
                host, port = runner.addresses[0][:2]
                self._origin = f"{host}:{port}"
                self._http = aiohttp.ClientSession()
            self._users += 1
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        async with self._lock:
            self._users -= 1
            if not self._users:
                runner, self._runner, http, self._http = self._runner, None, self._http, None
                assert runner is not None and http is not None
                await http.close()
                await runner.cleanup()

    @property
    def http(self) -> aiohttp.ClientSession:
        """The ClientSession that opens the sessions, for other requests.

        Raises:
            RuntimeError: The server does not run.
        """
        if self._http is None:
            raise RuntimeError("the server runs while a session is open, or in `async with client:`")
        return self._http

    def url(self, path: str) -> str:
        """Return the URL of a path, ``http:``.

        Raises:
            RuntimeError: The server does not run.
        """
        _ = self.http
        return f"http://{self._origin}{path}"

    def connect_raw(
        self, path: str, **options: Unpack[ConnectOptionsDict]
    ) -> AbstractAsyncContextManager[WebSocketClientSession]:
        """``async with client.connect_raw(path) as session``: ``aiohttp_rawws.connect_raw()``, to the application."""
        return self._connect(connect_raw, path, options)

    def connect(
        self, path: str, **options: Unpack[ConnectOptionsDict]
    ) -> AbstractAsyncContextManager[DefaultWebSocketClientSession]:
        """``async with client.connect(path) as session``: ``aiohttp_rawws.connect()``, to the application."""
        return self._connect(connect, path, options)

    @asynccontextmanager
    async def _connect(self, open: Callable[..., Any], path: str, options: ConnectOptionsDict) -> AsyncIterator[Any]:
        async with self:
            async with open(self.http, self.url(path), **options) as session:
                yield session


@pytest.fixture
def rawws_client(frame_log: list[str]) -> type[RawwsClient]:
    """Make a client of an application: ``async with rawws_client(app).connect("/chat") as session``."""
    return RawwsClient


@pytest.fixture
def rawws_pair(frame_log: list[str]) -> Callable[..., MemoryPair]:
    """``aiohttp_rawws.memory_pair()``: ``server, client = rawws_pair()``."""
    return memory_pair


@pytest.fixture
def scripted_server(frame_log: list[str]) -> Callable[..., ScriptedServer]:
    """``aiohttp_rawws.testing.scripted_server()``: ``async with scripted_server(script) as server``."""
    return _scripted_server
