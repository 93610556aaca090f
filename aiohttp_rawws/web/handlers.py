"""The types of session handlers, and of the arguments that depend on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from .answer import Answer
from .check import ProtocolChoice
from .options import RouteOptionsDict
from .server_session import DefaultWebSocketServerSession, WebSocketServerSession

if TYPE_CHECKING:
    from typing_extensions import Required

RawHandler = Callable[[WebSocketServerSession], Awaitable[object]]
"""An async function of a raw session. Its result is ignored."""

ManagedHandler = Callable[[DefaultWebSocketServerSession], Awaitable[object]]
"""An async function of a managed session. Its result is ignored."""

RawHandlerT = TypeVar("RawHandlerT", bound=RawHandler)
ManagedHandlerT = TypeVar("ManagedHandlerT", bound=ManagedHandler)


class RawUpgradeDict(RouteOptionsDict, total=False):
    """The keyword arguments of ``WebSocketUpgrade`` for a raw session."""

    handle: Required[RawHandler]
    protocols: ProtocolChoice
    managed: Literal[False]
    answer: Answer | None


class ManagedUpgradeDict(RouteOptionsDict, total=False):
    """The keyword arguments of ``WebSocketUpgrade`` for a managed session."""

    handle: Required[ManagedHandler]
    protocols: ProtocolChoice
    managed: Required[Literal[True]]
    answer: Answer | None
