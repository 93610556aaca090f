"""Faults of the request that opens a WebSocket (RFC 6455, section 4.1), whatever its server does then."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from .handshake import HandshakeRequest

KEY_SIZE = 16  # bytes


def faults_of_request(request: HandshakeRequest) -> Iterator[str]:
    """Find the rules that a request breaks."""
    if request.method != "GET":
        yield f"the method {request.method!r} (section 4.1)"
    version = request.word(2)
    if not version.startswith("HTTP/") or version < "HTTP/1.1":
        yield f"the version {version!r} (section 4.1)"
    if "#" in request.target:
        yield "a fragment in the URL (section 3)"
    for name in ("Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
        count = len(request.headers.getall(name, ()))
        if count != 1:
            yield f"no {name} (section 4.1)" if not count else f"{count} times {name} (section 4.1)"
    if "upgrade" not in request.listed("Connection"):
        yield "no Connection: Upgrade (section 4.1)"
    if request.headers.get("Sec-WebSocket-Version", "13") != "13":
        yield f"Sec-WebSocket-Version: {request.headers['Sec-WebSocket-Version']} (section 4.1)"
    if "Sec-WebSocket-Key" in request.headers and not is_key(request.key):
        yield f"a Sec-WebSocket-Key that is not the Base64 of {KEY_SIZE} bytes (section 4.1)"
    if len(set(request.protocols)) < len(request.protocols):
        yield "a subprotocol twice (section 4.1)"


def is_key(text: str) -> bool:
    """Return True if this is a ``Sec-WebSocket-Key``."""
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_SIZE
    except (binascii.Error, ValueError):
        return False
