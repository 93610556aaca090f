"""How a handler runs in a session, and how the session ends with it: the rules of raw and of managed ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import ChannelOverflow
from ..wire.codes import CloseCode
from .limits import OnLimit, limit_of, tell, watch
from .managed import DefaultWebSocketSession
from .raw import WebSocketSession

logger = logging.getLogger("aiohttp_rawws")

RawT = TypeVar("RawT", bound=WebSocketSession)
ManagedT = TypeVar("ManagedT", bound=DefaultWebSocketSession)


async def end_in_time(session: WebSocketSession, on_limit: OnLimit | None) -> None:
    """``session.end()``; told where ``close_timeout`` is over before the peer has taken what was sent."""
    timeout = session.options.close_timeout

    def check() -> None:
        unsent = session.transport.get_write_buffer_size()
        if unsent:
            tell(session, "close_timeout", f"{unsent} bytes or more were not taken in {timeout} seconds", on_limit)

    overdue = asyncio.get_running_loop().call_later(timeout, check)
    try:
        await session.end()
    finally:
        overdue.cancel()


async def run_session(
    session: RawT, handle: Callable[[RawT], Awaitable[object]], *, on_limit: OnLimit | None = None
) -> None:
    """Await ``handle(session)`` and end the session by the raw rules.

    It returned: what it sent is written and the TCP stream ends, *without a Close frame of ours*.
    It raised: logged, and the connection is aborted, or closed with 1011 (``on_error``). What this session raised from
    ``receive()`` or ``send()``, at its end or at a violation by the peer, is no error of the handler when it is not
    caught; what another session raised is.
    It was cancelled: aborted, and the cancellation goes on. Raises nothing else.

    Meanwhile ``idle_timeout`` and ``max_lifetime`` hold. on_limit: called with the name of the option whose limit the
    session was ended at.
    """
    timers = watch(session, session, on_limit)
    try:
        await handle(session)
    except Exception as exc:
        if not session.owns(exc):
            logger.exception("Error in the handler of %r", session)
            if session.options.on_error == "close-1011":
                session.close_nowait(CloseCode.INTERNAL_ERROR)
                await end_in_time(session, on_limit)
            else:
                session.abort()
        elif isinstance(exc, ChannelOverflow):
            if session.close_state.error is not exc:  # else it is told of below
                tell(session, "outgoing", exc, on_limit)
            session.abort()
        else:
            logger.debug("%r ended: %s", session, exc)
            await end_in_time(session, on_limit)
    except BaseException:
        session.abort()
        raise
    else:
        await end_in_time(session, on_limit)
    finally:
        if timers is not None:
            timers.stop()
        error = session.close_state.error
        option = limit_of(error)
        if option is not None:
            tell(session, option, error, on_limit)
        await session.cancel_tasks()
    await session.wait_closed()


async def run_managed(
    session: ManagedT, handle: Callable[[ManagedT], Awaitable[object]], *, on_limit: OnLimit | None = None
) -> None:
    """Await ``handle(session)``, then do the closing handshake: 1000, or 1011 when it raised, which is logged.

    What this session raised is no error of the handler, see ``run_session``. It was cancelled: aborted, and the
    cancellation goes on. Raises nothing else.

    Meanwhile ``idle_timeout`` and ``max_lifetime`` hold. on_limit: called with the name of the option whose limit the
    session was ended at.
    """
    raw = session.raw
    timers = watch(session, raw, on_limit)
    try:
        session.start()
        await handle(session)
    except Exception as exc:
        if not session.owns(exc):
            logger.exception("Error in the handler of %r", session)
            session.close_nowait(CloseCode.INTERNAL_ERROR)
        elif isinstance(exc, ChannelOverflow):
            if session._failure is not exc:
                session._limit = "outgoing"
            session.close_nowait(CloseCode.VIOLATED_POLICY)
        else:
            logger.debug("%r ended: %s", session, exc)
            session.close_nowait()
    except BaseException:
        session.abort()
        raise
    else:
        session.close_nowait()
    finally:
        if timers is not None:
            timers.stop()
        await raw.cancel_tasks()
    try:
        await session.wait_closed()
    except BaseException:
        session.abort()
        raise
    finally:
        option = session._limit or limit_of(raw.close_state.error)
        if option is not None:
            tell(session, option, session._reason, on_limit)
