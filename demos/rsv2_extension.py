"""An extension of our own: it adds a checksum to the end of every message, and sets RSV2 to announce it.

An extension has three parts, shown here: a factory with a name and a reserved bit, a negotiation with a parameter, and
the extension of one connection. A message gets the same checksum if it comes whole, in fragments, or in chunks of a
frame that is still arriving. Browsers do not offer this extension, so the page shows what it does to the bytes.
``docs/howto/extensions.md`` explains the rules.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from html import escape

from aiohttp import web

import aiohttp_rawws as rawws
from aiohttp_rawws import Frame, FrameChunk, InvalidPayload, Opcode
from aiohttp_rawws.extensions import (
    ExtensionPipeline,
    WebSocketExtension,
    WebSocketExtensionFactory,
    WebSocketExtensionHeader,
    client_offer_header,
    negotiate_client,
    negotiate_server,
)

from . import site

PATH = "/rsv2-extension"
TITLE = "An extension of your own"
SUMMARY = "A checksum at the end of every message, announced by RSV2: about a hundred lines."

ALGORITHMS: dict[str, Callable[[bytes, int], int]] = {"crc32": zlib.crc32, "adler32": zlib.adler32}
FIRST = {"crc32": 0, "adler32": 1}  # the checksum of nothing
SIZE = 4


class Checksum(WebSocketExtensionFactory):
    """Configuration of x-checksum.

    Args:
        algorithm: The algorithm that a client offers, "crc32" or "adler32". A server accepts both. Default: "crc32".
    """

    name = "x-checksum"
    rsv2 = True

    def __init__(self, algorithm: str = "crc32") -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
        self.algorithm = algorithm

    def accept(self, offer: WebSocketExtensionHeader) -> tuple[WebSocketExtensionHeader, ChecksumExtension] | None:
        parameters = offer.parse_parameters()
        algorithm = parameters.pop("algorithm", "crc32")
        if parameters or algorithm not in ALGORITHMS:
            return None  # declined; the next offer of the client is tried
        return self._header(algorithm), ChecksumExtension(self, algorithm)

    def client_offers(self) -> Sequence[WebSocketExtensionHeader]:
        return [self._header(self.algorithm)]

    def accept_response(self, response: WebSocketExtensionHeader) -> ChecksumExtension:
        if response != self._header(self.algorithm):
            raise rawws.HandshakeError(400, f"the server answered {response} to {self._header(self.algorithm)}")
        return ChecksumExtension(self, self.algorithm)

    def _header(self, algorithm: str) -> WebSocketExtensionHeader:
        return WebSocketExtensionHeader(self.name, [("algorithm", algorithm)])


class ChecksumExtension(WebSocketExtension):
    """x-checksum on one connection. Sending and receiving share no state."""

    def __init__(self, factory: Checksum, algorithm: str) -> None:
        super().__init__(factory)
        self.algorithm = algorithm
        self._update = ALGORITHMS[algorithm]
        self._sending = False  # inside an outgoing message
        self._sent = 0
        self._checking = False  # the incoming message has a checksum
        self._received = 0
        self._held = b""  # the last bytes of the incoming message so far: they may be its checksum
        self._offset = 0  # bytes of the incoming frame that were passed on

    def process_outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        begins = not self._sending
        checksum = self._update(frame.payload, FIRST[self.algorithm] if begins else self._sent)
        self._sending, self._sent = not frame.fin, checksum
        payload = frame.payload + checksum.to_bytes(SIZE, "big") if frame.fin else frame.payload
        return frame.replace(payload=payload, rsv2=begins)

    def process_incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        header = item if isinstance(item, Frame) else item.header
        if isinstance(item, Frame) or item.offset == 0:
            self._offset = 0
            if header.opcode is not Opcode.CONTINUATION:
                self._checking, self._received, self._held = header.rsv2, FIRST[self.algorithm], b""
            elif header.rsv2:
                raise rawws.ProtocolViolation("RSV2 is set on a continuation frame")
        if not self._checking:
            return (item,)
        data = self._held + item.payload
        payload, self._held = data[:-SIZE], data[-SIZE:]
        self._received = self._update(payload, self._received)
        message_ends = header.fin and (isinstance(item, Frame) or item.last)
        if message_ends and self._held != self._received.to_bytes(SIZE, "big"):
            raise InvalidPayload(f"the message does not have the {self.algorithm} that it was sent with")
        if isinstance(item, Frame):
            return (item.replace(payload=payload, rsv2=False),)
        offset, self._offset = self._offset, self._offset + len(payload)
        return (FrameChunk(dataclasses.replace(item.header, rsv2=False, length=0), payload, offset, item.last),)


routes = rawws.RouteTableDef()


@routes.websocket_raw(PATH + "/socket", negotiate_extensions=True, extensions=[Checksum()])
async def echo(session: rawws.WebSocketServerSession) -> None:
    """Echo through the extension. It is raw, so we answer pings and do the closing handshake."""
    session.apply_extensions()
    async for frame in session:
        if frame.opcode is Opcode.PING:
            await session.send(Frame.pong(frame.payload))
        elif frame.opcode is Opcode.CLOSE:
            await session.close()
        elif frame.opcode is not Opcode.PONG:
            await session.send(frame)


def conversation(text: str) -> list[str]:
    """Return lines that show the negotiation, and a message on the wire."""
    client, server = Checksum("adler32"), Checksum()
    offer = client_offer_header([client])
    assert offer is not None
    at_server, answer = negotiate_server([server], [offer])
    assert answer is not None
    sender, receiver = ExtensionPipeline(negotiate_client([client], [answer])), ExtensionPipeline(at_server)
    sent = sender.outgoing(Frame.text(text))
    (received,) = receiver.incoming(sent)
    lines = [f"client offers   {offer}", f"server answers  {answer}", f"message         {text}"]
    lines += [f"on the wire     rsv2={sent.rsv2} {sent.payload.hex(' ')}", f"received        {received!r}"]
    broken = sent.replace(payload=bytes([sent.payload[0] ^ 1]) + sent.payload[1:])
    try:
        list(receiver.incoming(broken))
    except InvalidPayload as error:
        lines.append(f"with a bit flipped: {error}; the connection fails with {error.close_code}")
    return lines


@routes.get(PATH)
async def page(request: web.Request) -> web.Response:
    shown = escape("\n".join(conversation("Hello")))
    return site.document(TITLE, f"<header><h1>{TITLE}</h1><p>{SUMMARY}</p></header><pre>{shown}</pre>")


def install(app: web.Application) -> None:
    """Add the demo to an application. Call ``rawws.setup()`` on it first."""
    app.add_routes(routes)


def init(argv: list[str] | None = None) -> web.Application:
    """Make an application with this demo alone. ``python -m aiohttp.web`` calls this."""
    app = site.new_application()
    rawws.setup(app)
    app.router.add_get("/", site.redirect(PATH))
    install(app)
    return app


if __name__ == "__main__":
    site.run(init(), __doc__)
