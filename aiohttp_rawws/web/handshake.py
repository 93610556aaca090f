"""The server's side of the opening handshake (RFC 6455, sections 4.2.1 and 4.2.2).

These are functions of the method, the version and the header fields of a request. None of them waits or sends anything.
A check that fails raises a HandshakeError with its status and text; ``refusal.py`` makes a response of that.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

from multidict import MultiMapping, MutableMultiMapping

from ..errors import HandshakeError

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = "13"

# The handshake itself writes these fields of the 101. Hooks and handlers cannot.
RESERVED_FIELDS = frozenset(
    {
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "sec-websocket-version",
        "content-length",
        "transfer-encoding",
    }
)

# RFC 9110, section 5.6.2. Subprotocol names are tokens.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# A field value cannot contain these (RFC 9110, section 5.5).
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def elements(headers: MultiMapping[str], name: str) -> list[str]:
    """Return the elements of a comma list, repeated lines joined (RFC 9110, section 5.3), without empty ones."""
    joined = ",".join(headers.getall(name, ()))
    return [element for element in (part.strip(" \t") for part in joined.split(",")) if element]


def has_token(headers: MultiMapping[str], name: str, token: str) -> bool:
    """Check if ``token``, which is in lower case, is among the elements of a comma list."""
    # str.lower() also folds letters outside ASCII (the Kelvin sign is a "k"); the RFC compares ASCII only.
    return any(element.isascii() and element.lower() == token for element in elements(headers, name))


def check_upgrade(method: str, version: tuple[int, int], headers: MultiMapping[str]) -> None:
    """Check that this is a request for an upgrade to WebSocket at all.

    Routing uses this check: a request that fails it may still be meant for another route of the same path.

    Args:
        method: The method of the request.
        version: Its version of HTTP, such as ``(1, 1)``.
        headers: Its header fields.

    Raises:
        HandshakeError: It is not such a request.
    """
    if method != "GET":
        raise HandshakeError(405, f"A WebSocket is opened with GET, not {method}", {"Allow": "GET"})
    wants_websocket = has_token(headers, "Upgrade", "websocket")
    if not wants_websocket:
        raise HandshakeError(
            426,
            "This is a WebSocket: ask for an upgrade to it",
            {"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    if version < (1, 1):
        # Not 505: HTTP/1.0 is supported, but a server MUST ignore its Upgrade field (RFC 9110, section 7.8), and
        # RFC 6455, section 4.2.1 names 400 for a request that cannot open a WebSocket.
        raise HandshakeError(400, "A WebSocket needs HTTP/1.1; HTTP/1.0 has no upgrade")
    if not has_token(headers, "Connection", "upgrade"):
        raise HandshakeError(400, 'The Connection header lacks the token "Upgrade"')


def check_request(
    method: str,
    version: tuple[int, int],
    headers: MultiMapping[str],
    *,
    has_body: bool = False,
    strict: bool = True,
) -> str:
    """Check a whole opening handshake except its subprotocols and Origin.

    Args:
        method: The method of the request.
        version: Its version of HTTP, such as ``(1, 1)``.
        headers: Its header fields.
        has_body: It has a body. Default: False.
        strict: ``Sec-WebSocket-Key`` must be 16 bytes in base64, as RFC 6455, section 4.1 demands. False takes base64
            of any length but 0: some charging stations send 32 bytes. Default: True.

    Returns:
        The client's ``Sec-WebSocket-Key``.

    Raises:
        HandshakeError: The request cannot open a WebSocket.
    """
    check_upgrade(method, version, headers)
    wanted = ", ".join(headers.getall("Sec-WebSocket-Version", ())).strip(" \t")
    if wanted != VERSION:
        text = f"WebSocket version {wanted} is not supported" if wanted else "The WebSocket version is missing"
        # RFC 6455, section 4.4 asks for the version field, RFC 9110, section 15.5.22 for the other two.
        fields = {"Sec-WebSocket-Version": VERSION, "Upgrade": "websocket", "Connection": "Upgrade"}
        raise HandshakeError(426, f"{text}; this server speaks version {VERSION}", fields)
    key = _key(headers, strict)
    # Not every release of aiohttp sees a body behind an upgrade, so an announced one counts as well.
    if has_body or "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip() != "0":
        raise HandshakeError(400, "An opening handshake cannot have a body")
    return key


def _key(headers: MultiMapping[str], strict: bool) -> str:
    keys = headers.getall("Sec-WebSocket-Key", ())
    if not keys:
        raise HandshakeError(400, "Sec-WebSocket-Key is missing")
    if len(keys) > 1:
        raise HandshakeError(400, "Sec-WebSocket-Key is given more than once")
    key: str = keys[0].strip(" \t")
    try:
        nonce = base64.b64decode(key, validate=True)
    except ValueError:
        raise HandshakeError(400, "Sec-WebSocket-Key is not base64") from None
    if len(nonce) != 16 and (strict or not nonce):
        raise HandshakeError(400, f"Sec-WebSocket-Key has {len(nonce)} bytes instead of 16")
    return key


def accept_key(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that answers ``key`` (RFC 6455, section 4.2.2, step 5.4)."""
    return base64.b64encode(hashlib.sha1(key.strip().encode("latin-1", "replace") + GUID).digest()).decode()


def write_answer(
    headers: MutableMultiMapping[str], key: str | None, protocol: str | None, extensions: str | None
) -> None:
    """Write the fields of the handshake into the header of a 101 (RFC 6455, section 4.2.2).

    Args:
        headers: The header. Fields that belong to the handshake are replaced.
        key: The client's ``Sec-WebSocket-Key``, or None if it sent none.
        protocol: The subprotocol agreed on, or None.
        extensions: The value of ``Sec-WebSocket-Extensions``, or None.
    """
    for name in RESERVED_FIELDS:
        headers.popall(name, None)
    headers["Upgrade"] = "websocket"
    headers["Connection"] = "Upgrade"
    if key is not None:
        headers["Sec-WebSocket-Accept"] = accept_key(key)
    if protocol is not None:
        headers["Sec-WebSocket-Protocol"] = protocol
    if extensions is not None:
        headers["Sec-WebSocket-Extensions"] = extensions


def is_token(name: object) -> bool:
    """Check if ``name`` can be the name of a subprotocol."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


def is_field(name: str, value: object) -> bool:
    """Check if this is a valid header field. aiohttp does not check all of this, and only when it writes the field."""
    return is_token(name) and isinstance(value, str) and _CONTROL_CHARACTER.search(value) is None


def offered_protocols(headers: MultiMapping[str]) -> tuple[str, ...]:
    """Return the subprotocols that the client offers, in its order, each once.

    Raises:
        HandshakeError: A name is not a token.
    """
    offered = dict.fromkeys(elements(headers, "Sec-WebSocket-Protocol"))
    for name in offered:
        if not is_token(name):
            raise HandshakeError(400, f"Sec-WebSocket-Protocol has an invalid name: {name!a}")
    return tuple(offered)


def not_offered(served: Sequence[str], offered: Sequence[str]) -> HandshakeError:
    """Return the refusal of a client that offers none of the subprotocols ``served``."""
    asked = f"offered: {', '.join(offered)}" if offered else "none was offered"
    return HandshakeError(400, f"A subprotocol is required: {', '.join(served)} ({asked})")


def first_served(served: Sequence[str], offered: Sequence[str]) -> str | None:
    """Return the first of ``served`` that is offered: the server's order decides. Names are case-sensitive."""
    return next((name for name in served if name in offered), None)


def checked_selection(chosen: object, offered: Sequence[str]) -> str | None:
    """Check the choice of a ``protocols`` callable: the client must have offered it (RFC 6455, section 4.1, step 6).

    Args:
        chosen: The result of the callable.
        offered: The subprotocols that the client offers.

    Returns:
        ``chosen``.

    Raises:
        RuntimeError: It was not offered.
    """
    if chosen is None:
        return None
    if not isinstance(chosen, str) or chosen not in offered:
        raise RuntimeError(f"protocols chose {chosen!r}, which the client did not offer: {', '.join(offered)}")
    return chosen
