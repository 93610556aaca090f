"""The log of origins that were refused.

A page that is served from another port, and a proxy that changes ``Host``, are usual in the first hour of a project,
and browsers do not say why they got a 403. So the first refusals are warnings, which Python prints without any set-up
of logging, and each says how to let the page in. Clients choose what they send, so later ones are no warnings.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from aiohttp import web

from .logtext import described, shortened
from .options import WebSocketOptions
from .origins import Origin
from .plugin import WEBSOCKETS

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

WARNINGS = 3  # of each plugin; of all applications without a plugin together

_without_plugin: Counter[str] = Counter()


def report_refused_origin(request: web.BaseRequest, options: WebSocketOptions, origins: Sequence[str]) -> None:
    """Log a handshake that is refused because of its origin. The caller counts it, after this.

    Args:
        request: The request.
        options: The options that refuse it.
        origins: The ``Origin`` fields of the request.
    """
    given, host = shortened(", ".join(origins)), shortened(request.host)
    text = "Refused a WebSocket, %s: its origin is '%s', its host '%s' (origins)%s"
    before = _refused_before(request)
    if before >= WARNINGS:
        logger.info(text, described(request), given, host, "")
        return
    last = " Further ones are logged at INFO." if before == WARNINGS - 1 else ""
    logger.warning(text, described(request), given, host, f". {_cure(options, origins)}{last}")


def _refused_before(request: web.BaseRequest) -> int:
    plugin = request.config_dict.get(WEBSOCKETS) if isinstance(request, web.Request) else None
    if plugin is not None:
        return plugin.refused["origins"]
    before = _without_plugin["origins"]
    _without_plugin["origins"] += 1
    return before


def _cure(options: WebSocketOptions, origins: Sequence[str]) -> str:
    """Return a sentence that says how to let such a page in."""
    allowed = options.origins
    if len(origins) > 1:
        return "No browser sends two Origin fields."
    if origins[0] != "null" and Origin.parse(origins[0]) is None:
        return "That is not an origin as browsers send it."
    if callable(allowed):
        return "The function in origins= has refused it."
    others = '"same-origin"' if allowed == "same-origin" else "..."
    text = f'If this page may connect, set origins=[{others}, "{shortened(origins[0])}"].'
    if allowed == "same-origin" or (isinstance(allowed, tuple) and "same-origin" in allowed):
        text += " Behind a proxy, let it keep the Host of the browser (nginx: proxy_set_header Host $http_host)."
    return text
