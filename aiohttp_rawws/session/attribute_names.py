"""Attributes that sessions and frames do not have, and what other WebSocket libraries' users probably meant by them.

Only the log of a failed handler asks. ``__getattr__()`` on a session could say it in the AttributeError itself, but it
would make each attribute of a session cost twice as much.
"""

from __future__ import annotations

from typing import Any

from ..wire.codec import Frame
from .managed import DefaultWebSocketSession
from .raw import WebSocketSession
from .reasons import leaves_of

OF_SESSIONS = {
    # aiohttp's WebSocketResponse
    "send_str": "send(text)",
    "send_bytes": "send(data)",
    "send_frame": "send(frame)",
    "receive_str": "(await receive()).text",
    "receive_bytes": "(await receive()).payload",
    "pong": "send(Frame.pong(payload))",
    "close_code": "close_state.code",
    "exception": "close_state.error",
    "ws_protocol": "protocol",
    "prepare": "nothing, since the session is open already",
    "heartbeat": "ping_interval",
    # websockets
    "recv": "receive()",
    "recv_streaming": "receive_stream()",
    "open": "closed, which is the opposite",
    "state": "close_state",
    "subprotocol": "protocol",
    "remote_address": 'get_extra_info("peername")',
    "local_address": 'get_extra_info("sockname")',
    "ping_timeout": "timeout",
    # Starlette
    "accept": "nothing, since the session is open already",
    "send_text": "send(text)",
    "receive_text": "(await receive()).text",
    "iter_text": "async for",
    "iter_bytes": "async for",
    "iter_json": "receive_json()",
    "query_params": "request.query",
    "path_params": "request.match_info",
    "client": "request.remote",
    # the request
    **{
        name: f"request.{name}"
        for name in ("cookies", "headers", "host", "match_info", "path", "query", "remote", "rel_url", "url")
    },
}
OF_FRAMES = {
    "data": "payload, or text",
    "type": "opcode",
    "json": "json.loads(frame.text), or receive_json() of the session",
    "extra": "close_reason",
    "msg_type": "opcode",
}


def meant_by(owner: object, name: str) -> str | None:
    """Return what ``owner.name``, which does not exist, probably means. None if that is not known."""
    if isinstance(owner, Frame):
        return OF_FRAMES.get(name) or ("text" if hasattr(str, name) else "payload" if hasattr(bytes, name) else None)
    if isinstance(owner, DefaultWebSocketSession):
        return f"raw.{name}" if hasattr(WebSocketSession, name) else OF_SESSIONS.get(name)
    if not isinstance(owner, WebSocketSession):
        return None
    if name == "ping":
        return "send(Frame.ping(payload)), or ping() of a managed session"
    return f"{name} of a managed session" if hasattr(DefaultWebSocketSession, name) else OF_SESSIONS.get(name)


def attribute_hint(exc: BaseException) -> str:
    """Return a hint for the log if ``exc`` is, or holds, the AttributeError of such a name. Else an empty str."""
    for leaf in leaves_of(exc):
        if isinstance(leaf, AttributeError):
            name: Any = getattr(leaf, "name", None)
            text = meant_by(getattr(leaf, "obj", None), name) if isinstance(name, str) else None
            if text is not None:
                return f". It used {name!r}, did you mean {text}?"
    return ""
