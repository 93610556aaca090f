"""Refusing a handshake: the response that says so, and the end of the connection behind it."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web

from ..errors import HandshakeError
from . import handshake

ResponseT = TypeVar("ResponseT", bound=web.StreamResponse)

_EXCEPTIONS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    403: web.HTTPForbidden,
    426: web.HTTPUpgradeRequired,
    429: web.HTTPTooManyRequests,
    503: web.HTTPServiceUnavailable,
}


def refusal(request: web.BaseRequest, error: HandshakeError) -> web.HTTPException:
    """Make the response to a handshake that failed.

    Args:
        request: The request that is refused.
        error: The reason.

    Returns:
        A response to raise, or to send with ``last_response()``.
    """
    if error.status == 405:
        return web.HTTPMethodNotAllowed(request.method, ["GET"], text=f"{error}\n")
    return _EXCEPTIONS[error.status](headers=error.headers, text=f"{error}\n")


def last_request(request: web.BaseRequest) -> None:
    """Make aiohttp close the connection after a refused handshake, whatever response finally goes out.

    The bytes behind the handshake may be frames, and must not be read as requests.
    """
    if "Upgrade" in request.headers:
        request.protocol.close()  # reads no further request, and closes the connection behind the answer to this one


def last_response(request: web.BaseRequest, response: ResponseT) -> ResponseT:
    """Mark ``response`` as the refusal of a handshake: the connection closes behind it, and it says so.

    Args:
        request: The request that is refused.
        response: Any response. Its ``Connection`` field is changed.

    Returns:
        The same response.
    """
    last_request(request)
    if "Upgrade" in request.headers:
        response.force_close()  # this writes "Connection: close" if the field is not there yet
        if "Connection" in response.headers and not handshake.has_token(response.headers, "Connection", "close"):
            response.headers["Connection"] += ", close"
    return response
