"""The common part of the servers of this package: a port, one task for each connection, and the end of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ssl import SSLContext

from ..session.transports import abort
from .handshake import MAX_HEAD
from .transcript import TapReader, TapWriter, Transcript

STOP = 5.0  # seconds in which a cancelled task must end

Serve = Callable[[TapReader, TapWriter, Transcript], Awaitable[None]]


class Listener:
    """A server that runs a function for each connection.

    Attributes:
        host: Its address.
        port: Its port.
        connections: The number of connections so far.
    """

    def __init__(self, serve: Serve, host: str, port: int, ssl: SSLContext | None = None) -> None:
        """
        Args:
            serve: ``async def serve(reader, writer, transcript)``. The connection is aborted when it returns, so it has
                to wait until what it wrote is sent.
            host: The address.
            port: The port. 0: a free one.
            ssl: A TLS context of a server. Default: None (no TLS).
        """
        self._serve = serve
        self._ssl = ssl
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.host: str = host
        self.port: int = port
        self.connections: int = 0

    async def start(self) -> None:
        """Listen."""
        server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._ssl, limit=MAX_HEAD)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    async def stop(self, wait: float = 0.0) -> None:
        """Stop listening, and end all connections.

        Args:
            wait: Seconds in which the tasks of the connections may end by themselves. Default: 0.
        """
        if self._server is not None:
            self._server.close()
        if self._tasks and wait:
            await asyncio.wait(self._tasks, timeout=wait)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP)

    @property
    def origin(self) -> str:
        """Host and port, as in a URL.

        Raises:
            RuntimeError: The server has not started, and its port is not known.
        """
        if not self.port:
            raise RuntimeError("the server has no port yet: it runs in `async with server:`")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._run(reader, writer), name="rawws-testing-connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transcript = Transcript()
        try:
            await self._serve(TapReader(reader, transcript), TapWriter(writer, transcript), transcript)
        finally:
            abort(writer.transport)  # what is not sent by now is dropped
