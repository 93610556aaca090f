"""``connect_raw()`` and ``connect()``: opening a WebSocket over an aiohttp ``ClientSession``.

The order of events:

1. The arguments are checked when the function is called. Nothing is sent before the result is awaited or entered.
2. aiohttp sends the request: its connector, proxy, TLS, cookies, middlewares and tracing hold.
3. A redirect is followed if ``max_redirects`` allows it. Any other answer but a 101 raises HandshakeRefused.
4. The 101 is checked (``client_handshake.py``) and the connection taken over (``client_connection.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from aiohttp.typedefs import StrOrURL
from yarl import URL

from ..session.options import check_names, names_of
from .client_connection import take_over
from .client_handshake import check_answer, new_key, request_fields
from .client_options import RESERVED_FIELDS, ConnectOptions, ConnectOptionsDict
from .client_redirect import REDIRECTS, Hop, NotFollowed, next_hop
from .client_refusal import refused
from .client_session import ClientSessionKind, DefaultWebSocketClientSession, WebSocketClientSession
from .deadline import deadline

if TYPE_CHECKING:
    from typing_extensions import Unpack

SessionT = TypeVar("SessionT", bound=WebSocketClientSession | DefaultWebSocketClientSession)

NAMES = names_of(ConnectOptions)


class Connecting(Coroutine[Any, Any, SessionT]):
    """The result of ``connect_raw()`` and ``connect()``: ``await`` it for a session, or use it with ``async with``.

    Nothing happens before that. Each ``await`` opens a session of its own. At the end of the block the session is
    closed: with 1000, or as ``close_exceptionally()`` says if the block raised. A task can be made of it, too:
    ``asyncio.create_task(connect(...))``.
    """

    __slots__ = ("_coroutine", "_in_use", "_open", "_session")

    def __init__(self, open: Callable[[], Coroutine[Any, Any, SessionT]]) -> None:
        self._open = open
        self._session: SessionT | None = None
        self._in_use = False
        self._coroutine: Coroutine[Any, Any, SessionT] | None = None

    def __await__(self) -> Generator[Any, None, SessionT]:
        return self._open().__await__()

    async def __aenter__(self) -> SessionT:
        if self._in_use:
            raise RuntimeError("this is in use by another block: call connect() again")
        self._in_use = True
        try:
            self._session = await self._open()
        except BaseException:
            self._in_use = False
            raise
        return self._session

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        session, self._session, self._in_use = self._session, None, False
        assert session is not None
        try:
            await session.__aexit__(exc_type, exc, traceback)
        except BaseException:
            session.abort()  # cancelled while it closes
            raise

    # ---- what a task calls: asyncio makes one of coroutines only ----------------------------

    def send(self, value: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self._open()
        return self._coroutine.send(value)

    def throw(self, *exc: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self._open()
        return self._coroutine.throw(*exc)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()


def connect_raw(
    client_session: aiohttp.ClientSession, url: StrOrURL, **options: Unpack[ConnectOptionsDict]
) -> Connecting[WebSocketClientSession]:
    """Open a raw session: ``async with connect_raw(http, url) as session``, or ``session = await connect_raw(...)``.

    *You receive control frames, fragments stay separate, and you do the closing handshake.* The session holds one of
    the connections of the ClientSession's connector until it ends.

    Args:
        client_session: The ClientSession to use.
        url: The URL, ``ws:``, ``wss:``, ``http:`` or ``https:``. A ``yarl.URL`` is used as it is.
        options: See ``ConnectOptions``.

    Returns:
        An awaitable and asynchronous context manager. Awaiting or entering it raises HandshakeRefused (the server
        answered with another status than 101), HandshakeError (its 101 breaks RFC 6455), ``TimeoutError`` (after
        ``open_timeout``; before Python 3.11 ``asyncio.TimeoutError``), and what aiohttp raises.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: An option is out of range, or the URL has a fragment.
    """
    return Connecting(_opening(client_session, url, options, managed=False).open)


def connect(
    client_session: aiohttp.ClientSession, url: StrOrURL, **options: Unpack[ConnectOptionsDict]
) -> Connecting[DefaultWebSocketClientSession]:
    """Open a managed session: ``async with connect(http, url) as session``, or ``session = await connect(...)``.

    It delivers whole messages, answers pings whether or not anybody receives, and applies the extensions that the
    server accepts. The session holds one of the connections of the ClientSession's connector until it ends.

    Args:
        client_session: The ClientSession to use.
        url: The URL, ``ws:``, ``wss:``, ``http:`` or ``https:``. A ``yarl.URL`` is used as it is.
        options: See ``ConnectOptions``.

    Returns:
        An awaitable and asynchronous context manager. See ``connect_raw()`` for what it raises.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: An option is out of range, or the URL has a fragment.
    """
    return Connecting(_opening(client_session, url, options, managed=True).open)


def _opening(client_session: aiohttp.ClientSession, url: StrOrURL, options: Any, managed: bool) -> Opening:
    if not isinstance(client_session, aiohttp.ClientSession):
        raise TypeError(f"the first argument must be an aiohttp.ClientSession, not {client_session!r}")
    check_names(options, NAMES)
    return Opening(client_session, checked_url(url), ConnectOptions(**options), managed)


def checked_url(url: StrOrURL) -> URL:
    """Return ``url`` as a ``yarl.URL``, which is kept as it is.

    Raises:
        TypeError: It is neither a str nor a URL.
        ValueError: It is not a URL, or has a fragment (RFC 6455, section 3).
    """
    if not isinstance(url, (str, URL)):
        raise TypeError(f"url must be a str or a yarl.URL, not {url!r}")
    checked = URL(url)
    if checked.raw_fragment or (isinstance(url, str) and "#" in url):
        raise ValueError(f"the URL of a WebSocket cannot have a fragment: {url}")
    return checked


def shown(url: URL) -> str:
    """Return ``url`` for the text of an error: without user, password and query, which may be secret."""
    return f"{url.origin() if url.absolute else ''}{url.raw_path}"


class Opening:
    """The arguments of one ``connect()``, which can open any number of sessions."""

    __slots__ = ("_client_session", "_first", "_managed")

    def __init__(self, client_session: aiohttp.ClientSession, url: URL, options: ConnectOptions, managed: bool) -> None:
        self._client_session = client_session
        self._first = Hop(url, options)
        self._managed = managed

    async def open(self) -> Any:
        """Open a session."""
        loop = asyncio.get_running_loop()
        hop = self._first
        history: list[URL] = []
        timeout, redirects = hop.options.open_timeout, hop.options.max_redirects
        until = None if timeout is None else loop.time() + timeout

        def time_left() -> float | None:
            return None if until is None else until - loop.time()

        while True:
            key = new_key()
            limit = deadline(time_left())
            try:
                async with limit:
                    response = await self._request(hop, key)
            except asyncio.TimeoutError:
                if limit.expired():
                    text = f"{shown(hop.url)} did not answer the handshake within {timeout:g} seconds (open_timeout)"
                    raise asyncio.TimeoutError(text) from None
                raise
            if response.status == 101:
                return self._take_over(response, key, hop, tuple(history))
            why = ""
            if response.status in REDIRECTS and redirects:
                if len(history) == redirects:
                    why = f": more than {redirects} redirects (max_redirects)"
                else:
                    try:
                        following = next_hop(self._client_session, response, hop)
                    except NotFollowed as exc:
                        why = f": the redirect is not followed, {exc}"
                    else:
                        response.release()
                        history.append(hop.url)
                        hop = following
                        continue
            raise await refused(response, time_left(), history, why)

    async def _request(self, hop: Hop, key: str) -> aiohttp.ClientResponse:
        options, client_session = hop.options, self._client_session
        for name in client_session.headers:
            if name.lower() in RESERVED_FIELDS:
                raise ValueError(f"the ClientSession has a default field {name}, which belongs to the handshake")
        given = client_session.timeout
        return await client_session.request(
            "GET",
            hop.url,
            params=options.params,
            headers=request_fields(options, key),
            allow_redirects=False,
            raise_for_status=False,
            proxy=options.proxy,
            proxy_headers=options.proxy_headers,
            ssl=options.ssl,
            server_hostname=options.server_hostname,
            # open_timeout is the total, and covers redirects.
            timeout=aiohttp.ClientTimeout(
                total=None, connect=given.connect, sock_connect=given.sock_connect, sock_read=given.sock_read
            ),
        )

    def _take_over(
        self, response: aiohttp.ClientResponse, key: str, hop: Hop, history: tuple[URL, ...]
    ) -> ClientSessionKind:
        try:
            agreed = check_answer(response.headers, key, hop.options)
            return take_over(self._client_session, response, agreed, hop.options, history, self._managed)
        except BaseException:
            drop(response)
            raise


def drop(response: aiohttp.ClientResponse) -> None:
    """Close the connection of a 101 that opens no WebSocket."""
    # If it is no upgrade to aiohttp's parser, aiohttp has put the connection back into its pool, and has no public way
    # to get it out. Frames must not be read as HTTP, nor the other way round.
    http = getattr(response, "_protocol", None) if response.connection is None else None
    response.close()
    if http is not None:
        http.close()
