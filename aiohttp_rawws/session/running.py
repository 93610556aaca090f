"""How a handler runs in a session, and how the session ends with it: the rules of raw and of managed sessions."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ..errors import ChannelOverflow
from ..wire.codes import CloseCode
from .attribute_names import attribute_hint
from .managed import DefaultWebSocketSession
from .raw import WebSocketSession
from .reasons import leaves_of, reason_for_payload
from .timeouts import OnLimit, limit_of, report_limit, start_timers

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

RawT = TypeVar("RawT", bound=WebSocketSession)
ManagedT = TypeVar("ManagedT", bound=DefaultWebSocketSession)

OnException = Callable[[Exception], object]
"""Called with an exception that left a handler and is not its session's own."""


def was_cancelled_by_its_session(raw: WebSocketSession) -> bool:
    """True if a CancelledError left the handler because it awaited a task of its session, which was cancelled.

    On Python 3.10 that looks like a cancellation of the handler itself, and counts as one.
    """
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and not task.cancelling() and raw.has_cancelled_tasks


def is_overflow(exc: BaseException) -> bool:
    return any(isinstance(leaf, ChannelOverflow) for leaf in leaves_of(exc))


def log_exception(session: object, exc: Exception) -> None:
    logger.error("Error in the handler of %r%s", session, attribute_hint(exc), exc_info=exc)


async def run_session(
    session: RawT,
    handle: Callable[[RawT], Awaitable[object]],
    *,
    on_limit: OnLimit | None = None,
    on_exception: OnException | None = None,
) -> None:
    """Await ``handle(session)`` and end the session by the raw rules. Raises CancelledError only.

    If the handler returns, everything that it sent is delivered and the TCP stream ends, *without a Close frame of
    ours*. If it raises, the error is logged, and the connection is aborted, or closed with 1011 (option ``on_error``).
    An error that this session raised from ``receive()`` or ``send()``, because it ended or its peer broke the protocol,
    is not an error of the handler. An error of another session is. If the handler is cancelled, the connection is
    aborted, and the cancellation goes on.

    Meanwhile ``idle_timeout`` and ``max_lifetime`` hold.

    Args:
        on_limit: Called with the name of the option whose limit ended the session. Default: None.
        on_exception: Called with what the handler raised, if that is an error of the handler, before the session is
            ended. Default: None (it is logged).
    """
    timers = start_timers(session, on_limit)
    overflow: str | None = None
    connection = session.connection
    try:
        await handle(session)
    except Exception as exc:
        if not session.owns(exc):
            report = on_exception or partial(log_exception, session)
            report(exc)
            if session.options.on_error == "close-1011":
                session.close_nowait(CloseCode.INTERNAL_ERROR)
            else:
                session.abort()
        elif is_overflow(exc):
            overflow = str(exc)  # not the error: its traceback holds this frame
            session.abort()
        else:
            logger.debug("%r ended: %s", session, exc)
    except asyncio.CancelledError:
        if not was_cancelled_by_its_session(session):
            session.abort()
            raise
    except BaseException:
        session.abort()
        raise
    finally:
        connection.end_reported = True
        if timers is not None:
            timers.stop()
        await session.cancel_tasks()
    await session.end()
    option = connection.limit or limit_of(connection.failure)
    if option is not None:
        report_limit(session, option, connection.limit_text or connection.failure, on_limit)
    elif overflow is not None:
        report_limit(session, "outgoing", overflow, on_limit)


async def run_managed(
    session: ManagedT,
    handle: Callable[[ManagedT], Awaitable[object]],
    *,
    on_limit: OnLimit | None = None,
    on_exception: OnException | None = None,
) -> None:
    """Await ``handle(session)``, then do the closing handshake. Raises CancelledError only.

    The Close is 1000 if the handler returns, and 1011 if it raises; then the error is logged. Errors that this session
    raised are not errors of the handler, see ``run_session``. Errors about a payload of the peer (text that is not
    UTF-8, a value that the converter cannot read) close with 1007, or 1003 for a frame of the wrong kind. If the
    handler is cancelled, the connection is aborted, and the cancellation goes on.

    Meanwhile ``idle_timeout`` and ``max_lifetime`` hold.

    Args:
        on_limit: Called with the name of the option whose limit ended the session. Default: None.
        on_exception: Called with what the handler raised, if that is an error of the handler, before the session is
            ended. Default: None (it is logged).
    """
    raw = session.raw
    connection = raw.connection
    session.has_runner = True
    session.begin()
    timers = start_timers(session, on_limit)
    overflow = False
    try:
        await handle(session)
    except Exception as exc:
        payload = reason_for_payload(exc)
        if session.owns(exc):
            overflow = is_overflow(exc)
            logger.debug("%r ended: %s", session, exc)
            session.close_nowait(CloseCode.VIOLATED_POLICY if overflow else CloseCode.NORMAL)
        elif payload is not None:
            logger.info("%r is closed with %s for a payload of its peer: %s", session, payload.code, ascii(str(exc)))
            session.close_nowait(payload)
        else:
            report = on_exception or partial(log_exception, session)
            report(exc)
            session.close_nowait(CloseCode.INTERNAL_ERROR)
    except asyncio.CancelledError:
        if not was_cancelled_by_its_session(raw):
            session.abort()
            raise
        session.close_nowait()
    except BaseException:
        session.abort()
        raise
    else:
        session.close_nowait()
    finally:
        connection.end_reported = True
        if timers is not None:
            timers.stop()
        await raw.cancel_tasks()
    try:
        await session.wait_closed()
    except BaseException:
        session.abort()
        raise
    session.report_failure()
    connection.discard_input()  # nobody takes what still waits, and it would keep the session alive
    option = session.limit or ("outgoing" if overflow else connection.limit) or limit_of(connection.failure)
    if option is not None:
        report_limit(session, option, connection.limit_text or session.close_state, on_limit)
