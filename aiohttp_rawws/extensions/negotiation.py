"""Agreeing on extensions in the opening handshake, on either side (RFC 6455, section 9.1)."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import HandshakeError
from .base import WebSocketExtension, WebSocketExtensionFactory
from .header import HEADER_NAME, WebSocketExtensionHeader, format_extensions, parse_extensions


def negotiate_server(
    factories: Iterable[WebSocketExtensionFactory], header_values: Iterable[str]
) -> tuple[list[WebSocketExtension], str | None]:
    """Choose among what the client offers. Unknown and unacceptable offers are declined, which is not an error.

    Args:
        factories: The installed extensions, which ``check_conflicts()`` accepts.
        header_values: All ``Sec-WebSocket-Extensions`` lines of the request, in order.

    Returns:
        The extensions of this connection in the client's order of preference, and the value of the answer's header
        (None: no header).

    Raises:
        HandshakeError: The header is invalid (400).
    """
    by_name = {factory.name: factory for factory in factories}
    offers: dict[str, list[WebSocketExtensionHeader]] = {}
    for offer in parse_extensions(header_values):
        if offer.name in by_name:
            offers.setdefault(offer.name, []).append(offer)
    answers: list[WebSocketExtensionHeader] = []
    extensions: list[WebSocketExtension] = []
    for name, of_this_name in offers.items():
        accepted = by_name[name].accept_offer(of_this_name)
        if accepted is not None:
            answers.append(accepted[0])
            extensions.append(accepted[1])
    return extensions, format_extensions(answers) or None


def client_offer_header(factories: Iterable[WebSocketExtensionFactory]) -> str | None:
    """Return the value of the request's header that offers ``factories`` in their order. None: no header."""
    return format_extensions(offer for factory in factories for offer in factory.client_offers()) or None


def negotiate_client(
    factories: Iterable[WebSocketExtensionFactory], header_values: Iterable[str]
) -> list[WebSocketExtension]:
    """Read the server's answer to what ``client_offer_header()`` offered.

    Args:
        factories: The extensions that were offered.
        header_values: All ``Sec-WebSocket-Extensions`` lines of the answer, in order.

    Returns:
        The extensions of this connection in the order of the answer.

    Raises:
        HandshakeError: The answer is invalid, names an extension that was not offered or names one twice, or has
            parameters that do not fit the offer. The connection must then fail (section 4.1).
    """
    by_name = {factory.name: factory for factory in factories if factory.client_offers()}
    extensions: list[WebSocketExtension] = []
    for response in parse_extensions(header_values):
        if response.name not in by_name:
            raise HandshakeError(400, f"{HEADER_NAME}: the server accepted {response.name}, which was not offered")
        if any(extension.name == response.name for extension in extensions):
            raise HandshakeError(400, f"{HEADER_NAME}: the server accepted {response.name} twice")
        extensions.append(by_name[response.name].accept_response(response))
    return extensions
