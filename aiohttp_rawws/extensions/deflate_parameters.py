"""The parameters of permessage-deflate, and how both sides agree on them (RFC 7692, section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import HandshakeError
from .header import WebSocketExtensionHeader

NAME = "permessage-deflate"
MAX_WINDOW_BITS = 15

# "a decimal integer value without leading zeroes between 8 to 15, inclusive" (section 7.1.2)
_WINDOW_BITS = {str(bits): bits for bits in range(8, MAX_WINDOW_BITS + 1)}


@dataclass(frozen=True)
class DeflateParameters:
    """The parameters of an offer, or of an agreement.

    Attributes:
        server_no_context_takeover: The server begins every message with an empty window.
        client_no_context_takeover: The client begins every message with an empty window.
        server_max_window_bits: The server's window is at most 2 ** bits bytes. None: not mentioned.
        client_max_window_bits: The client's window is at most 2 ** bits bytes. None: not mentioned.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None

    def to_header(self) -> WebSocketExtensionHeader:
        """Return these parameters as the header of an answer, in which window bits have a value."""
        parameters: list[tuple[str, str | None]] = []
        if self.server_no_context_takeover:
            parameters.append(("server_no_context_takeover", None))
        if self.client_no_context_takeover:
            parameters.append(("client_no_context_takeover", None))
        if self.server_max_window_bits is not None:
            parameters.append(("server_max_window_bits", str(self.server_max_window_bits)))
        if self.client_max_window_bits is not None:
            parameters.append(("client_max_window_bits", str(self.client_max_window_bits)))
        return WebSocketExtensionHeader(NAME, parameters)

    def to_offer(self) -> WebSocketExtensionHeader:
        """Return these parameters as the header of an offer.

        ``client_max_window_bits`` is always in it, so that the server may ask for a smaller window (section 7.1.2.2);
        it has no value if the client does not limit its window itself.
        """
        header = self.to_header()
        if self.client_max_window_bits is not None:
            return header
        return WebSocketExtensionHeader(NAME, [*header.parameters, ("client_max_window_bits", None)])

    def accept(self, offer: DeflateParameters) -> DeflateParameters | None:
        """Find the answer of a server that wants these parameters.

        A server may add any parameter to its answer except client_max_window_bits, which the client must have offered;
        if it was not offered, our wish for a smaller client window is dropped.

        Args:
            offer: The offer of the client.

        Returns:
            The parameters for both sides, or None: decline the offer.
        """
        agreed = DeflateParameters(
            server_no_context_takeover=self.server_no_context_takeover or offer.server_no_context_takeover,
            client_no_context_takeover=self.client_no_context_takeover or offer.client_no_context_takeover,
            server_max_window_bits=_smaller(self.server_max_window_bits, offer.server_max_window_bits),
        )
        # zlib has no window of 256 bytes for raw DEFLATE, so this cannot be promised.
        if agreed.server_max_window_bits == 8:
            return None
        if offer.client_max_window_bits is None:
            return agreed
        client = _smaller(self.client_max_window_bits, offer.client_max_window_bits)
        # An offer without a value reads as 15; answering with 15 would say nothing.
        return replace(agreed, client_max_window_bits=None if client == MAX_WINDOW_BITS else client)

    def check_answer(self, answer: DeflateParameters) -> None:
        """Check the server's answer to a client that offered these parameters.

        Args:
            answer: The answer of the server.

        Raises:
            HandshakeError: The answer does not fit the offer.
        """
        if self.server_no_context_takeover and not answer.server_no_context_takeover:
            raise HandshakeError(400, f"{NAME}: the server did not agree to server_no_context_takeover")
        for name, offered, answered in (
            ("server_max_window_bits", self.server_max_window_bits, answer.server_max_window_bits),
            ("client_max_window_bits", self.client_max_window_bits, answer.client_max_window_bits),
        ):
            if offered is not None and answered is not None and answered > offered:
                raise HandshakeError(400, f"{NAME}: {name} is {answered} where {offered} was offered")
        if self.server_max_window_bits is not None and answer.server_max_window_bits is None:
            raise HandshakeError(400, f"{NAME}: the server did not agree to server_max_window_bits")


def read_offer(header: WebSocketExtensionHeader) -> DeflateParameters:
    """Read a client's offer.

    Raises:
        HandshakeError: A parameter is unknown, repeated or invalid.
    """
    return _read(header, needs_value=False)


def read_answer(header: WebSocketExtensionHeader) -> DeflateParameters:
    """Read a server's answer.

    Raises:
        HandshakeError: A parameter is unknown, repeated or invalid.
    """
    return _read(header, needs_value=True)


def _read(header: WebSocketExtensionHeader, *, needs_value: bool) -> DeflateParameters:
    flags = {"server_no_context_takeover": False, "client_no_context_takeover": False}
    bits: dict[str, int | None] = {"server_max_window_bits": None, "client_max_window_bits": None}
    for name, value in header.parse_parameters().items():
        if name in flags and value is None:
            flags[name] = True
        elif name in bits and value in _WINDOW_BITS:
            bits[name] = _WINDOW_BITS[value]
        elif name == "client_max_window_bits" and value is None and not needs_value:
            bits[name] = MAX_WINDOW_BITS
        elif name in flags or name in bits:
            raise HandshakeError(400, f"{NAME}: invalid value {value!r} for {name}")
        else:
            raise HandshakeError(400, f"{NAME}: unknown parameter {name}")
    return DeflateParameters(
        flags["server_no_context_takeover"],
        flags["client_no_context_takeover"],
        bits["server_max_window_bits"],
        bits["client_max_window_bits"],
    )


def _smaller(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
