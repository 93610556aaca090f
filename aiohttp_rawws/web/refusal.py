"""Refusing a handshake: the response, and the end of the connection after it."""

from __future__ import annotations

from functools import lru_cache
from http.cookies import SimpleCookie
from typing import TypeVar

from aiohttp import web
from multidict import CIMultiDict

from ..errors import HandshakeError
from . import handshake

ResponseT = TypeVar("ResponseT", bound=web.StreamResponse)

# The exceptions of aiohttp, by their status.
_EXCEPTIONS: dict[int, type[web.HTTPException]] = {
    value.status_code: value
    for value in vars(web).values()
    # Not issubclass(): in Python 3.10 an alias such as list[int] passes for a class, and there it raises.
    if web.HTTPError in getattr(value, "__mro__", ()) and value.status_code >= 400
}


@lru_cache(maxsize=200)
def _exception_of(status: int) -> type[web.HTTPException]:
    """Return an exception for a status that aiohttp has none for, such as 418."""
    base = web.HTTPClientError if status < 500 else web.HTTPServerError
    return type(f"HTTP{status}", (base,), {"status_code": status})


def refusal(request: web.BaseRequest, error: HandshakeError) -> web.HTTPException:
    """Make the response to a handshake that failed.

    Args:
        request: The request that is refused.
        error: The reason. Its status, text and headers are those of the response.

    Returns:
        A response to raise, or to send with ``as_refusal()``.
    """
    headers = CIMultiDict(error.headers)
    text = f"{error}\n"
    # Three of aiohttp's exceptions need arguments of their own.
    if error.status == 405:
        allowed = headers.pop("Allow", "GET")  # a 405 has to have this field (RFC 9110, section 15.5.6)
        return web.HTTPMethodNotAllowed(request.method, [allowed], headers=headers, text=text)
    if error.status == 413:
        return web.HTTPRequestEntityTooLarge(0, headers=headers, text=text)
    if error.status == 451:
        return web.HTTPUnavailableForLegalReasons(None, headers=headers, text=text)
    exception = _EXCEPTIONS.get(error.status) or _exception_of(error.status)
    return exception(headers=headers, text=text)


def close_after_refusal(request: web.BaseRequest) -> None:
    """Make aiohttp close the connection after a refused handshake, whatever response finally goes out.

    The bytes that follow the handshake may be frames. They must not be read as requests.
    """
    if "Upgrade" in request.headers:
        request.protocol.close()  # after the response, and without reading another request


def as_refusal(request: web.BaseRequest, response: ResponseT) -> ResponseT:
    """Mark a response as the refusal of a handshake: the connection is closed after it, and ``Connection`` says so.

    Args:
        request: The request that is refused.
        response: Any response. Its ``Connection`` field is changed.

    Returns:
        The same response.
    """
    close_after_refusal(request)
    if "Upgrade" in request.headers:
        response.force_close()  # this writes "Connection: close" if the field is not there yet
        if "Connection" in response.headers and not handshake.has_token(response.headers, "Connection", "close"):
            response.headers["Connection"] += ", close"
    return response


def inherit_fields(response: web.StreamResponse, given: CIMultiDict[str], cookies: SimpleCookie) -> None:
    """Copy header fields and cookies from an upgrade to the refusal that replaces it.

    Args:
        response: The refusal. Fields that it has are not changed.
        given: The header fields that handlers and middlewares gave the upgrade.
        cookies: The cookies of the upgrade.
    """
    for name, value in given.items():
        known = name.lower()
        if known in handshake.RESERVED_FIELDS or known == "content-type":
            continue
        if name not in response.headers or known == "set-cookie":
            response.headers.add(name, value)
    for name, morsel in cookies.items():
        response.cookies[name] = morsel
