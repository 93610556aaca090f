"""A server that follows a script, for tests of clients."""

from __future__ import annotations

import asyncio
from ssl import SSLContext
from typing import TYPE_CHECKING

from ..errors import ConnectionLost, SessionClosed
from ..session.options import check_seconds
from ..session.reasons import leaves_of
from .handshake import Handshake, HandshakeOf, HandshakeRequest, read_head
from .limits import WITHIN
from .listener import Listener
from .peer import Peer, Script, within_limit
from .transcript import TapReader, TapWriter, Transcript

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
RIGHT = Handshake()
GRACE = 0.25  # seconds in which a connection that was opened is accepted
STOPS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)  # they go on as they are


class ScriptedServer:
    """A server that follows a script on each connection. ``scripted_server()`` makes it; use it with ``async with``.

    Attributes:
        transcripts: All that was on the wire, one for each connection.
        errors: The exceptions that scripts raised, those of ``pytest.fail()`` and the like included. The first one is
            raised at the end of the block; what the block raised is its cause.
    """

    def __init__(self, script: Script, handshake: HandshakeOf | None, ssl: SSLContext | None, limit: float) -> None:
        """See ``scripted_server()``."""
        self._script = script
        self._handshake = handshake
        self._scheme = "ws" if ssl is None else "wss"
        self._limit = limit
        self._listener = Listener(self._serve, HOST, 0, ssl)
        self.transcripts: list[Transcript] = []
        self.errors: list[BaseException] = []
        self._requests = 0

    @property
    def url(self) -> str:
        """Its URL, such as ``ws://127.0.0.1:4711/``.

        Raises:
            RuntimeError: It has not started.
        """
        return f"{self._scheme}://{self._listener.origin}/"

    @property
    def port(self) -> int:
        """Its port."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return self._listener.connections

    async def __aenter__(self) -> Self:
        await self._listener.start()
        return self

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """Stop listening, wait for the scripts that still run, and raise what one of them raised.

        Raises:
            AssertionError: No client came.
        """
        if exc is None and not self.connections:
            await asyncio.sleep(GRACE)
        await self._listener.stop(wait=self._limit + WITHIN if exc is None else 0.0)
        if self.errors and not isinstance(exc, STOPS):
            raise self.errors[0] from exc  # the client may have failed because the script did
        if exc is None and not self._requests:
            but = ": connections were opened, and not used" if self.connections else ""
            raise AssertionError(f"no client came to the scripted server{but}")

    async def _serve(self, reader: TapReader, writer: TapWriter, transcript: Transcript) -> None:
        self.transcripts.append(transcript)
        try:
            await within_limit(self._run(reader, writer, transcript), self._limit, transcript)
        except STOPS:
            raise
        except BaseException as exc:  # pytest.fail() raises one that is no Exception
            self.errors.append(exc)

    async def _run(self, reader: TapReader, writer: TapWriter, transcript: Transcript) -> None:
        try:
            request = HandshakeRequest(await read_head(reader, WITHIN))
        except AssertionError:
            if transcript.end is not None and len(transcript.lines) == 1:
                return  # a connection that was opened and not used, as browsers do
            raise
        self._requests += 1
        handshake = self._handshake
        if handshake is not None:
            answer = handshake if isinstance(handshake, Handshake) else handshake(request)
            await answer.send(writer, request)
        transcript.begin_frames()
        peer = Peer(reader, writer, transcript, request)
        try:
            await self._script(peer)
            await peer.end()
        except BaseException as exc:
            if not _has_left(peer, exc):
                raise
        finally:
            peer.abort()


def _has_left(peer: Peer, exc: BaseException) -> bool:
    """Return True if a script failed because its client has left, and not because of what the script did itself."""
    if not peer.owns(exc) or not all(isinstance(leaf, (SessionClosed, ConnectionLost)) for leaf in leaves_of(exc)):
        return False
    transcript = peer.transcript
    return transcript.close is not None or transcript.end is not None or isinstance(peer.close_state.error, OSError)


def scripted_server(
    script: Script,
    *,
    handshake: HandshakeOf | None = RIGHT,
    ssl: SSLContext | None = None,
    limit: float = 30.0,
) -> ScriptedServer:
    """Serve a script: ``async with scripted_server(script) as server: await my_client(server.url)``.

    The script is called for each connection, after the handshake. When it returns, the connection is ended in order. If
    it raises, so does the end of the block, unless the client has closed the session or the connection. A block to
    which no client came with a request raises AssertionError.

    Args:
        script: ``async def script(peer)``. See ``Peer``.
        handshake: The answer to the request, or a function that makes it from the request. None: the request is read
            and nothing is sent, the script has to do it. Default: ``Handshake()``, the right answer.
        ssl: A TLS context of a server. Default: None (no TLS).
        limit: Seconds that the script may take. Default: 30.

    Returns:
        The server.

    Raises:
        TypeError: ``limit`` is no number.
        ValueError: ``limit`` is not more than 0.
    """
    seconds = check_seconds("limit", limit, needed=True)
    assert seconds is not None
    return ScriptedServer(script, handshake, ssl, seconds)
