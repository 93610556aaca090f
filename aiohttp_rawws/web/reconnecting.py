"""``reconnecting()``: one session after the other, with a delay in between that spares the server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Literal, overload

import aiohttp
from aiohttp.typedefs import LooseHeaders, StrOrURL

from ..errors import HandshakeError
from ..session.options import check_bool, check_seconds
from ..wire.codes import CloseCode, CloseReason
from .client import Connecting, SessionT, checked_url, connect, connect_raw, shown
from .client_options import TargetOptionsDict
from .client_refusal import HandshakeRefused
from .client_session import ClientSessionKind, DefaultWebSocketClientSession, WebSocketClientSession
from .logtext import described_error, shortened

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

FreshHeaders = LooseHeaders | Callable[[], LooseHeaders | Awaitable[LooseHeaders]] | None
"""Header fields, or a function, sync or async, that returns those for the next try."""

Again = Callable[[Exception | CloseReason], float | None]
"""A function of what ended a try or a session. It returns the least delay in seconds, or None to give up."""

Delays = Callable[[], Iterator[float]]
"""A function that returns delays in seconds: before the first try again, before the second, and so on."""

FIRST_DELAY, LAST_DELAY = 1.0, 60.0
TEMPORARY = frozenset({408, 425, 429})  # of the status codes below 500
PERMANENT = (
    HandshakeError,
    aiohttp.InvalidURL,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
)


def backoff() -> Iterator[float]:
    """Yield delays forever: random ones between 0 and 1, 2, 4 ... 60 seconds ("full jitter")."""
    longest = FIRST_DELAY
    while True:
        yield random.uniform(0.0, longest)
        longest = min(longest * 2, LAST_DELAY)


def transient(end: Exception | CloseReason) -> float | None:
    """Decide whether to try again: the default of ``reconnecting(again=...)``.

    Args:
        end: The error of a try, or the close reason of a session.

    Returns:
        None for a status below 500 but 408, 425 and 429, for a 101 that breaks the rules, for a certificate that is not
        trusted, and for a URL that cannot be used: the next try would end the same way. Else the seconds of
        ``Retry-After``, or 0.
    """
    if isinstance(end, HandshakeRefused):
        return (end.retry_after or 0.0) if is_temporary(end.status) else None
    if isinstance(end, aiohttp.ClientResponseError):  # of a proxy, for example
        return 0.0 if is_temporary(end.status) else None
    return None if isinstance(end, PERMANENT) else 0.0


def is_temporary(status: int) -> bool:
    """Return True if a later try may get another answer than ``status``."""
    return status >= 500 or status in TEMPORARY


class ReconnectOptionsDict(TargetOptionsDict, total=False):
    """The options of ``reconnecting()`` as keyword arguments: those of ``connect()``, and some of its own.

    ``reconnecting()`` and ``ConnectOptions`` say what each of them means.
    """

    headers: FreshHeaders
    delays: Delays
    again: Again
    stable_after: float | timedelta


@overload
def reconnecting(
    client_session: aiohttp.ClientSession,
    url: StrOrURL,
    *,
    managed: Literal[True] = True,
    **options: Unpack[ReconnectOptionsDict],
) -> AsyncGenerator[DefaultWebSocketClientSession, None]: ...


@overload
def reconnecting(
    client_session: aiohttp.ClientSession,
    url: StrOrURL,
    *,
    managed: Literal[False],
    **options: Unpack[ReconnectOptionsDict],
) -> AsyncGenerator[WebSocketClientSession, None]: ...


def reconnecting(
    client_session: aiohttp.ClientSession, url: StrOrURL, *, managed: bool = True, **options: Any
) -> AsyncGenerator[Any, None]:
    """Open one session after the other: ``async for session in reconnecting(http, url): ...``.

    The body of the loop is run for each session. When it ends, the session is closed and the next one is opened, after
    a delay. ``break`` closes the session and ends all; so does an exception. The loop also ends when the ClientSession
    is closed.

    The body gets no exception when its session ends: an iteration ends, and a call raises SessionClosed, which leaves
    the loop if the body does not catch it.

    Args:
        client_session: The ClientSession to use.
        url: The URL, see ``connect()``.
        managed: Open managed sessions. False: raw ones. Default: True.
        headers: The fields of each request, or a function, sync or async, that returns those for the next try, such as
            a new token. If it raises a network error, that try has failed. Default: None.
        delays: A function that returns an iterator of delays in seconds. When it is exhausted, the loop ends as if
            ``again`` had given up. Default: ``backoff``, random delays up to 1, 2, 4 ... 60 seconds.
        again: A function of the error of a try, or of the CloseReason of a session. It returns the least delay in
            seconds, or None to give up: then the error is raised, or the loop ends. Default: ``transient``, which gives
            up on an HTTP status below 500 but 408, 425 and 429, and follows ``Retry-After``.
        stable_after: Seconds that a session must have lasted for ``delays`` to begin anew. Default: 30.
        options: See ``ConnectOptions``.

    Returns:
        An asynchronous generator of sessions. ``aclose()`` it if you leave the loop by other means than its end,
        ``break``, ``return`` or an exception.

    Raises:
        TypeError: An option is unknown or of the wrong type.
        ValueError: An option is out of range, or the URL has a fragment.
    """
    check_bool("managed", managed)
    headers = options.pop("headers", None)
    delays = options.pop("delays", backoff)
    again = options.pop("again", transient)
    stable_after = check_seconds("stable_after", options.pop("stable_after", 30.0), needed=True)
    for name, function in (("delays", delays), ("again", again)):
        if not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")
    connecting = connect if managed else connect_raw
    # Raise here, not at the first try.
    connecting(client_session, url, **options, headers=None if callable(headers) else headers)
    if stable_after is None:
        raise TypeError("stable_after must be seconds or a timedelta, not None")
    current = Current()
    target = shortened(shown(checked_url(url)))
    connect_again = partial(connecting, client_session, url, **options)
    return Sessions(
        _sessions(client_session, target, connect_again, headers, delays, again, stable_after, current), current
    )


class Current:
    """The session that the body of the loop has."""

    __slots__ = ("_loop", "_session")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: ClientSessionKind | None = None

    def set(self, session: ClientSessionKind | None) -> None:
        self._loop, self._session = asyncio.get_running_loop(), session

    def close_nowait(self) -> None:
        """Send the Close, if the session's loop runs here: the garbage collector may call this from anywhere."""
        if self._session is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is self._loop:
            self._session.close_nowait(CloseCode.NORMAL)


class Sessions(AsyncGenerator[SessionT, None]):
    """The generator that ``reconnecting()`` returns.

    When a loop is left by ``break``, asyncio closes its generator a moment later. The ClientSession may be closed by
    then, which drops the connection. So the Close is sent when this object is deleted, and that is at once.
    """

    __slots__ = ("__weakref__", "_current", "_sessions")

    def __init__(self, sessions: AsyncGenerator[SessionT, None], current: Current) -> None:
        self._sessions = sessions
        self._current = current

    async def asend(self, value: None) -> SessionT:
        return await self._sessions.asend(value)

    async def athrow(self, *exc: Any) -> SessionT:
        return await self._sessions.athrow(*exc)

    async def aclose(self) -> None:
        await self._sessions.aclose()

    def __del__(self) -> None:
        self._current.close_nowait()


async def _sessions(
    client_session: aiohttp.ClientSession,
    target: str,
    connecting: Callable[..., Connecting[Any]],
    headers: FreshHeaders,
    delays: Delays,
    again: Again,
    stable_after: float,
    current: Current,
) -> AsyncGenerator[Any, None]:
    loop = asyncio.get_running_loop()
    waits = delays()
    while True:
        try:
            session = await connecting(headers=await _fresh(headers))
        except (HandshakeError, aiohttp.ClientError, OSError, asyncio.TimeoutError) as exc:
            if client_session.closed:
                return
            wait = _wait(again(exc), waits)
            if wait is None:
                raise
            logger.info("Could not open %s, next try in %.1f seconds: %s", target, wait, described_error(exc))
        else:
            opened_at = loop.time()
            try:
                current.set(session)
                yield session
            except BaseException as exc:
                await _close(session, exc)
                raise
            finally:
                current.set(None)
            lasted = loop.time() - opened_at
            await _close(session, None)
            if lasted >= stable_after:
                waits = delays()
            reason = reason_of(session)
            if client_session.closed:
                return
            wait = _wait(again(reason), waits)
            if wait is None:
                return
            logger.info("%r ended, the next is opened in %.1f seconds", session, wait)
            del session
        if await _slept(wait, client_session):
            return


async def _slept(seconds: float, client_session: aiohttp.ClientSession) -> bool:
    """Sleep. Return True within a second if the ClientSession is closed, which cannot be waited for."""
    loop = asyncio.get_running_loop()
    until, left = loop.time() + seconds, seconds
    await asyncio.sleep(0)
    while left > 0 and not client_session.closed:
        await asyncio.sleep(min(left, 1.0))
        left = until - loop.time()
    return client_session.closed


async def _fresh(headers: FreshHeaders) -> Any:
    """The header fields of the next try."""
    given: Any = headers() if callable(headers) else headers
    return await given if isawaitable(given) else given


async def _close(session: ClientSessionKind, exc: BaseException | None) -> None:
    try:
        await session.__aexit__(None if exc is None else type(exc), exc, None if exc is None else exc.__traceback__)
    except BaseException:
        session.abort()  # cancelled while it closes
        raise


def _wait(least: float | None, waits: Iterator[float]) -> float | None:
    """The seconds until the next try, or None to give up."""
    if least is None:
        return None
    wait = next(waits, None)
    return None if wait is None else max(wait, least)


def reason_of(session: ClientSessionKind) -> CloseReason:
    """The reason of the first Close of a session that has ended; 1006 if there was none."""
    state = session.close_state
    first = state.received if state.first == "peer" else state.sent
    return first or CloseReason(CloseCode.CLOSED_ABNORMALLY)
