"""The RAW session, and how a handler runs in one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import ChannelOverflow, PeerError, SessionClosed
from ..wire.codec import COMPILED
from ..wire.codes import CloseCode

if TYPE_CHECKING or not COMPILED:
    from ._raw import Cork, Listening, WebSocketSession, as_frame
else:
    from ._raw_c import Cork, Listening, WebSocketSession, as_frame

__all__ = ["Cork", "Listening", "WebSocketSession", "as_frame", "run_session"]

logger = logging.getLogger("aiohttp_rawws")

SessionT = TypeVar("SessionT", bound=WebSocketSession)


async def run_session(session: SessionT, handle: Callable[[SessionT], Awaitable[object]]) -> None:
    """Await ``handle(session)`` and end the session by the raw rules.

    It returned: what it sent is written and the TCP stream ends, *without a Close frame of ours*.
    It raised: logged, and the connection is aborted, or closed with 1011 (``on_error``). The end of the session and
    a violation by the peer, raised from ``receive()`` or ``send()`` and not caught, are no errors of the handler.
    It was cancelled: aborted, and the cancellation goes on. Raises nothing else.
    """
    try:
        await handle(session)
    except (SessionClosed, PeerError) as exc:
        logger.debug("%r ended: %s", session, exc)
        await session.end()
    except ChannelOverflow as exc:
        logger.warning("%r aborted: %s", session, exc)
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
        await session.cancel_tasks()
    await session.wait_closed()
