"""The client's side of the opening handshake (RFC 6455, section 4.1): the fields of the request, and the answer.

None of these functions waits or sends anything.
"""

from __future__ import annotations

import base64
import secrets
from typing import NamedTuple

from multidict import CIMultiDict, MultiMapping

from ..errors import HandshakeError
from ..extensions.base import WebSocketExtension
from ..extensions.negotiation import client_offer_header, negotiate_client
from . import handshake
from .client_options import ConnectOptions

# The status that a gateway would answer with: what the server sent is no valid answer (RFC 9110, section 15.6.3).
BAD_GATEWAY = 502


class Agreed(NamedTuple):
    """The agreement of a 101.

    Attributes:
        protocol: The subprotocol, or None.
        extensions: The extensions, in the order of the answer.
    """

    protocol: str | None
    extensions: list[WebSocketExtension]


def new_key() -> str:
    """Return a ``Sec-WebSocket-Key``: 16 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def request_fields(options: ConnectOptions, key: str) -> CIMultiDict[str]:
    """Return the header fields of the request, without those that aiohttp adds.

    Args:
        options: The options of the client.
        key: The ``Sec-WebSocket-Key``.
    """
    fields: CIMultiDict[str] = CIMultiDict(options.headers or {})
    fields["Upgrade"] = "websocket"
    fields["Connection"] = "Upgrade"
    fields["Sec-WebSocket-Version"] = handshake.VERSION
    fields["Sec-WebSocket-Key"] = key
    if options.origin is not None:
        fields["Origin"] = options.origin
    if options.protocols:
        fields["Sec-WebSocket-Protocol"] = ", ".join(options.protocols)
    lines = options.offer
    if lines is None:
        offered = client_offer_header(options.extensions)
        lines = () if offered is None else (offered,)
    for line in lines:
        fields.add("Sec-WebSocket-Extensions", line)
    return fields


def check_answer(headers: MultiMapping[str], key: str, options: ConnectOptions) -> Agreed:
    """Check a 101 by the rules of RFC 6455, section 4.1.

    Args:
        headers: The header fields of the 101.
        key: The ``Sec-WebSocket-Key`` of the request.
        options: The options of the client.

    Returns:
        The agreement.

    Raises:
        HandshakeError: The answer breaks the rules, so the connection must fail.
    """
    upgrade = handshake.elements(headers, "Upgrade")
    if len(upgrade) != 1 or not handshake.has_token(headers, "Upgrade", "websocket"):
        raise bad_answer(f'the field Upgrade is not "websocket": {", ".join(upgrade)!a}')
    if not handshake.has_token(headers, "Connection", "upgrade"):
        raise bad_answer('the field Connection lacks the token "Upgrade"')
    accept = headers.getall("Sec-WebSocket-Accept", ())
    if len(accept) != 1:
        raise bad_answer(f"Sec-WebSocket-Accept is given {len(accept)} times")
    if accept[0].strip(" \t") != handshake.accept_key(key):
        raise bad_answer(f"Sec-WebSocket-Accept does not fit the key: {accept[0]!a}")
    if "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip() != "0":
        raise bad_answer("it has a body")
    return Agreed(_checked_protocol(headers, options), _checked_extensions(headers, options))


def _checked_protocol(headers: MultiMapping[str], options: ConnectOptions) -> str | None:
    if "Sec-WebSocket-Protocol" not in headers:
        if options.require_protocol:
            raise bad_answer(f"the server chose no subprotocol; offered: {', '.join(options.protocols)}")
        return None
    chosen = handshake.elements(headers, "Sec-WebSocket-Protocol")
    if len(chosen) != 1:
        raise bad_answer(f"the server chose {len(chosen)} subprotocols: {', '.join(chosen)!a}")
    if chosen[0] not in options.protocols:
        offered = ", ".join(options.protocols) or "none"
        raise bad_answer(f"the server chose the subprotocol {chosen[0]!a}, which was not offered (offered: {offered})")
    return chosen[0]


def _checked_extensions(headers: MultiMapping[str], options: ConnectOptions) -> list[WebSocketExtension]:
    if options.offer is not None:
        return []
    try:
        return negotiate_client(options.extensions, headers.getall("Sec-WebSocket-Extensions", ()))
    except HandshakeError as error:
        raise bad_answer(str(error)) from None


def bad_answer(text: str) -> HandshakeError:
    """Return the error for an answer that is no valid 101."""
    return HandshakeError(BAD_GATEWAY, f"the server's answer opens no WebSocket: {text}")
