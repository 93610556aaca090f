"""What ``receive()`` and ``send()`` return, in Python: coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._connection import ConnectionCore
    from ._raw import WebSocketSession


async def receiving(session: WebSocketSession, connection: ConnectionCore, iterating: bool) -> Any:
    """The next frame: at once if one waits when this is awaited, else when ``session`` has waited for one."""
    if connection.can_take():
        return connection.take()
    return await session._wait_and_take(iterating)


async def done() -> None:
    """Nothing is left to wait for."""
