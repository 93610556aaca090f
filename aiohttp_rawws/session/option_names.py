"""Names of options that are not known here: what other WebSocket libraries call them, and what was probably meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from ..extensions.deflate import PerMessageDeflate

# The options of other libraries, in lower case. Each text begins with an option of ours.
ELSEWHERE = {
    # aiohttp's WebSocketResponse
    "heartbeat": "ping_interval, and timeout for the Pong",
    "compress": "extensions=[PerMessageDeflate()]",
    "max_msg_size": "max_message_size",
    "receive_timeout": "idle_timeout",
    "autoping": "auto_pong",
    "autoclose": "auto_close",
    "writer_limit": "outgoing=bounded(...)",
    # websockets
    "ping_timeout": "timeout",
    "compression": "extensions=[PerMessageDeflate()]",
    "max_size": "max_message_size",
    "max_queue": "incoming=bounded(...)",
    "write_limit": "outgoing=bounded(...)",
    "open_timeout": "handshake_timeout",
    "subprotocol": "protocol",
    "subprotocols": "protocols",
    "select_subprotocol": "protocols=a_function",
    "process_request": "before_upgrade",
    "process_response": "before_upgrade",
    "extra_headers": "before_upgrade",
    # picows
    "enable_auto_ping": "ping_interval",
    "auto_ping_idle_timeout": "ping_interval, and keepalive=WhenIdle()",
    "auto_ping_reply_timeout": "timeout",
    "enable_auto_pong": "auto_pong",
    # Ktor
    "pingperiod": "ping_interval",
    "pingperiodmillis": "ping_interval",
    "timeoutmillis": "timeout",
    # WebSocketUpgrade
    "install_extensions": "negotiate_extensions",
}
# The same for ``connect()`` and ``reconnecting()``, before the others.
ELSEWHERE_FOR_CLIENTS = {
    "additional_headers": "headers",
    "allow_redirects": "max_redirects",
    "auth": "headers, or user and password in the URL",
    "extra_headers": "headers",
    "handshake_timeout": "open_timeout",
    "origins": "origin",
    "protocol": "protocols, and require_protocol",
    "proxy_auth": "proxy, with user and password in its URL",
    "ssl_context": "ssl",
    "subprotocol": "protocols",
    "user_agent_header": "headers",
    "websocket_handshake_timeout": "open_timeout",
}
PLACES = {
    **dict.fromkeys(("name", "negotiate_extensions", "protocol", "protocols"), "a route"),
    **dict.fromkeys(
        ("before_upgrade", "disconnect_grace", "extensions", "handshake_timeout", "origins"), "setup() or a route"
    ),
    **dict.fromkeys(("max_sessions", "max_sessions_per_address", "shutdown_code", "shutdown_reason"), "setup()"),
    **{field.name: "PerMessageDeflate()" for field in dataclasses.fields(PerMessageDeflate) if field.init},
}


def suggestion(name: str, valid: Collection[str]) -> str | None:
    """Return the option that ``name``, which is none, probably means.

    Args:
        name: The name that was given.
        valid: The options that can be given here.

    Returns:
        An option, and where it belongs if that is not here. None if nothing is like it.
    """
    lower = name.lower()
    if "open_timeout" in valid and lower in ELSEWHERE_FOR_CLIENTS:
        return ELSEWHERE_FOR_CLIENTS[lower]
    text = ELSEWHERE.get(lower, lower if lower in PLACES else None)
    if text is None:
        bare = {option.replace("_", ""): option for option in valid}
        similar = get_close_matches(lower.replace("_", ""), bare, n=1, cutoff=0.8)
        return bare[similar[0]] if similar else None
    option = text.partition("=")[0].partition(",")[0]
    return text if option in valid or option not in PLACES else f"{text} of {PLACES[option]}"


def did_you_mean(unknown: Iterable[str], valid: Collection[str]) -> str:
    """Return a sentence with a suggestion for each of the names that has one, to be put behind another one."""
    found = {name: suggestion(name, valid) for name in unknown}
    meant = [text if len(found) == 1 else f"{text} for {name!r}" for name, text in found.items() if text is not None]
    return f". Did you mean {'; '.join(meant)}?" if meant else ""
