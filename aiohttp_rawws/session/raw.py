"""The RAW session, and how a handler runs in one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import ChannelOverflow, PeerError, SessionClosed
from ..wire.codec import COMPILED
from ..wire.codes import CloseCode
from .limits import OnLimit, limit_of, tell, watch

if TYPE_CHECKING or not COMPILED:
    from ._raw import Cork, Listening, WebSocketSession, as_frame
else:
    from ._raw_c import Cork, Listening, WebSocketSession, as_frame

__all__ = ["Cork", "Listening", "WebSocketSession", "as_frame", "run_session"]

logger = logging.getLogger("aiohttp_rawws")

SessionT = TypeVar("SessionT", bound=WebSocketSession)


async def run_session(
    session: SessionT, handle: Callable[[SessionT], Awaitable[object]], *, on_limit: OnLimit | None = None
) -> None:
    """Await ``handle(session)`` and end the session by the raw rules.

    It returned: what it sent is written and the TCP stream ends, *without a Close frame of ours*.
    It raised: logged, and the connection is aborted, or closed with 1011 (``on_error``). The end of the session and
    a violation by the peer, raised from ``receive()`` or ``send()`` and not caught, are no errors of the handler.
    It was cancelled: aborted, and the cancellation goes on. Raises nothing else.

    Meanwhile ``idle_timeout`` and ``max_lifetime`` hold. on_limit: called with the name of the option whose limit the
    session was ended at.
    """
    timers = watch(session, session, on_limit)
    try:
        await handle(session)
    except (SessionClosed, PeerError) as exc:
        logger.debug("%r ended: %s", session, exc)
        await session.end()
    except ChannelOverflow as exc:
        if session.close_state.error is not exc:  # else it is told of below
            tell(session, "outgoing", exc, on_limit)
        session.abort()
    except Exception:
        logger.exception("Error in the handler of %r", session)
        if session.options.on_error == "close-1011":
            session.close_nowait(CloseCode.INTERNAL_ERROR)
            await session.end()
        else:
            session.abort()
    except BaseException:
        session.abort()
        raise
    else:
        await session.end()
    finally:
        if timers is not None:
            timers.stop()
        error = session.close_state.error
        option = limit_of(error)
        if option is not None:
            tell(session, option, error, on_limit)
        await session.cancel_tasks()
    await session.wait_closed()
