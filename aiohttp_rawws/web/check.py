"""The check of an opening handshake: from a request and the options to an agreement or a refusal.

Cheap checks come first: the fields of the request, then ``origins``, ``protocols`` and ``before_upgrade``, which may be
functions of the application. Extensions are negotiated last.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeVar

from aiohttp import web
from multidict import CIMultiDict

from ..errors import HandshakeError
from ..extensions.base import WebSocketExtension
from ..extensions.negotiation import negotiate_server
from ..session.timeouts import OnLimit
from ..session.transports import why_unfit
from . import handshake
from .logtext import described
from .options import WebSocketOptions
from .refusal import refusal
from .refused_origins import report_refused_origin
from .takeover import keeps_early_bytes

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

T = TypeVar("T")

ProtocolSelector = Callable[[web.Request, tuple[str, ...]], str | Awaitable[str | None] | None]
ProtocolChoice = Iterable[str] | ProtocolSelector | None


@dataclass(frozen=True)
class Terms:
    """The terms of one upgrade.

    Attributes:
        options: The options of this upgrade.
        protocol: The subprotocol that the client must offer, or None.
        protocols: A choice of subprotocols, see ``checked_protocols()``.
        install_extensions: Negotiate the extensions of the options.
    """

    options: WebSocketOptions
    protocol: str | None = None
    protocols: ProtocolChoice = None
    install_extensions: bool = False


@dataclass(frozen=True)
class Agreement:
    """The result of a handshake that was accepted.

    Attributes:
        protocol: The subprotocol, or None.
        extensions: The extensions agreed on.
        extensions_field: The value of ``Sec-WebSocket-Extensions``, or None for no such field.
        fields: Further header fields for the 101.
    """

    protocol: str | None
    extensions: list[WebSocketExtension]
    extensions_field: str | None
    fields: CIMultiDict[str]


class HandshakeTimeout(Exception):
    """The coroutine of ``run_with_deadline()`` took too long."""


async def run_with_deadline(timeout: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await ``coroutine``, and cancel it after ``timeout`` seconds.

    Raises:
        HandshakeTimeout: The time is over.
        TimeoutError: The coroutine raised it (from Python 3.11 on; before, that is a HandshakeTimeout as well).
    """
    if sys.version_info >= (3, 11):
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await coroutine
        except TimeoutError:
            if deadline.expired():
                raise HandshakeTimeout from None
            raise
    else:
        try:
            return await asyncio.wait_for(coroutine, timeout)
        except asyncio.TimeoutError:
            raise HandshakeTimeout from None


def checked_protocols(protocol: str | None, protocols: ProtocolChoice) -> ProtocolChoice:
    """Check the two arguments that name subprotocols.

    Args:
        protocol: A subprotocol that the client must offer, or None.
        protocols: Names in the server's order of preference, a callable ``(request, offered)``, or None.

    Returns:
        ``protocols`` as a tuple, a callable or None.

    Raises:
        TypeError: Both are given, or ``protocols`` is neither a list nor a callable.
        ValueError: A name is not a token.
    """
    if protocol is not None:
        if protocols is not None:
            raise TypeError("give protocol= (a required one) or protocols= (a choice), not both")
        if not handshake.is_token(protocol):
            raise ValueError(f"protocol must be a token of RFC 9110, not {protocol!r}")
    if protocols is None or callable(protocols):
        return protocols
    if isinstance(protocols, (str, bytes)) or not isinstance(protocols, Iterable):
        raise TypeError(f"protocols must be a list of names or a callable, not {protocols!r}")
    names = tuple(protocols)
    for name in names:
        if not handshake.is_token(name):
            raise ValueError(f"protocols: {name!r} is not a token of RFC 9110")
    return names


async def check_handshake(request: web.BaseRequest, terms: Terms, on_limit: OnLimit) -> Agreement | web.StreamResponse:
    """Check the opening handshake of ``request``, within ``handshake_timeout`` seconds.

    Args:
        request: The request. It is not changed.
        terms: The terms of the upgrade.
        on_limit: Called with the name of an option that refuses the handshake.

    Returns:
        The agreement, or the response that refuses.

    Raises:
        Exception: A function of the options raised it. A HandshakeError or ``web.HTTPException`` is a refusal instead.
    """
    try:
        return await _check_in_time(request, terms, on_limit)
    except HandshakeError as error:
        return refusal(request, error)
    except web.HTTPException as exception:
        return exception


async def _check_in_time(request: web.BaseRequest, terms: Terms, on_limit: OnLimit) -> Agreement | web.StreamResponse:
    options = terms.options
    timeout = options.handshake_timeout
    if timeout is None or not any(map(callable, (options.origins, options.before_upgrade, terms.protocols))):
        return await _check(request, terms, on_limit)  # nothing in it can wait
    try:
        return await run_with_deadline(timeout, _check(request, terms, on_limit))
    except HandshakeTimeout:
        on_limit("handshake_timeout")
        logger.info(
            "Refused a WebSocket, %s: the handshake took longer than %s seconds (handshake_timeout)",
            described(request),
            timeout,
        )
        raise HandshakeError(503, "The handshake took too long") from None


async def _check(request: web.BaseRequest, terms: Terms, on_limit: OnLimit) -> Agreement | web.StreamResponse:
    options = terms.options
    handshake.check_request(
        request.method, request.version, request.headers, has_body=request.body_exists, strict=bool(options.strict)
    )
    if not keeps_early_bytes(request.headers):
        text = 'The field Upgrade must be "websocket" alone: behind a list, frames would be read as HTTP'
        raise HandshakeError(426, text, {"Upgrade": "websocket", "Connection": "Upgrade"})
    _check_transport(request)
    await _check_origin(request, options, on_limit)
    protocol = await _choose_protocol(request, terms)
    answer = await _ask_before_upgrade(request, options)
    if isinstance(answer, web.StreamResponse):
        return answer
    extensions: list[WebSocketExtension] = []
    extensions_field: str | None = None
    if terms.install_extensions and options.extensions:
        offers = request.headers.getall("Sec-WebSocket-Extensions", ())
        extensions, extensions_field = negotiate_server(options.extensions, offers)
    return Agreement(protocol, extensions, extensions_field, answer)


def _check_transport(request: web.BaseRequest) -> None:
    # After the 101 it would be too late to answer. Some event loops have transports whose protocol cannot be changed.
    unfit = None if request.transport is None else why_unfit(request.transport)
    if unfit is not None:
        text = "Cannot open a WebSocket for %s: %s. The event loop that made this transport is not supported"
        logger.error(text, described(request), unfit)
        raise HandshakeError(500, "This server cannot open WebSockets. Its log says why")


async def _check_origin(request: web.BaseRequest, options: WebSocketOptions, on_limit: OnLimit) -> None:
    check = options.origin_check
    origins = request.headers.getall("Origin", ())
    if check is None or not origins:
        return
    if len(origins) > 1 or not await check(origins[0], request):
        report_refused_origin(request, options, origins)
        on_limit("origins")
        raise HandshakeError(403, "This origin may not open a WebSocket here")


async def _choose_protocol(request: web.BaseRequest, terms: Terms) -> str | None:
    offered = handshake.offered_protocols(request.headers)
    if terms.protocol is not None:
        if terms.protocol not in offered:
            raise handshake.not_offered([terms.protocol], offered)
        return terms.protocol
    if callable(terms.protocols):
        chosen = terms.protocols(request, offered)  # type: ignore[arg-type]  # as for before_upgrade
        if isawaitable(chosen):
            chosen = await chosen
        return handshake.checked_selection(chosen, offered)
    if terms.protocols is not None:
        return handshake.first_served(tuple(terms.protocols), offered)
    return None


async def _ask_before_upgrade(
    request: web.BaseRequest, options: WebSocketOptions
) -> CIMultiDict[str] | web.StreamResponse:
    """Call ``before_upgrade``. Returns its header fields for the 101, or its response."""
    before_upgrade = options.before_upgrade
    if before_upgrade is None:
        return CIMultiDict()
    result: object = before_upgrade(request)  # type: ignore[arg-type]  # a BaseRequest on a low-level web.Server
    if isawaitable(result):
        result = await result
    if isinstance(result, web.StreamResponse):
        return result
    if result is None:
        return CIMultiDict()
    try:
        fields: CIMultiDict[Any] = CIMultiDict(result)  # type: ignore[arg-type]  # it raises for other types
    except (TypeError, ValueError) as exc:
        raise TypeError(f"before_upgrade must return None, header fields or a response, not {result!r}") from exc
    for name, value in fields.items():
        if name.lower() in handshake.RESERVED_FIELDS:
            raise ValueError(f"before_upgrade cannot set {name}: it belongs to the handshake")
        if not handshake.is_field(name, value):
            raise ValueError(f"before_upgrade cannot set {name!r} to {value!r}: this is not a valid header field")
    return fields
