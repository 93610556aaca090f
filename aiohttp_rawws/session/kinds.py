"""The types of signatures that take either kind of session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .managed import DefaultWebSocketSession
from .raw import WebSocketSession

Session = WebSocketSession | DefaultWebSocketSession
"""A raw or a managed session."""

SessionHandler = Callable[[Any], Awaitable[object]]
"""An async function of one session, raw or managed. Its result is ignored."""
