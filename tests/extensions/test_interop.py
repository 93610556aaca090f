"""permessage-deflate against the implementations of websockets and wsproto: handshake and bytes, both directions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import pytest

from aiohttp_rawws.extensions.base import ExtensionPipeline
from aiohttp_rawws.extensions.deflate import PerMessageDeflate
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from aiohttp_rawws.wire.codec import Frame, FrameChunk, FrameEncoder, FrameParser

Message = list[bytes]  # its fragments


class Ours:
    """One side of a connection: codec and extensions, no session."""

    def __init__(self, extensions: Iterable[Any], *, server: bool) -> None:
        self.pipeline = ExtensionPipeline(extensions)
        self.encoder = FrameEncoder(masking=not server)
        self.parser = FrameParser(masked=server, chunk_above=1000)
        self.current = bytearray()

    def send(self, message: Message) -> bytes:
        frames = [Frame.binary(part, fin=False) for part in message[:-1]] + [Frame.binary(message[-1])]
        return b"".join(self.encoder.encode(self.pipeline.outgoing(frame)) for frame in frames)

    def receive(self, data: bytes) -> list[bytes]:
        messages = []
        for start in range(0, len(data), 4096):
            for item in self.parser.feed(data[start : start + 4096]):
                for out in self.pipeline.incoming(item):
                    self.current += out.payload
                    if (out.last and out.header.fin) if isinstance(out, FrameChunk) else out.fin:
                        messages.append(bytes(self.current))
                        self.current.clear()
        assert self.parser.error is None
        return messages


class Websockets:
    """The peer, with websockets' extension and framing."""

    def __init__(self, options: dict[str, Any], *, server: bool) -> None:
        pytest.importorskip("websockets", reason="no websockets here: pip install websockets")
        from websockets.extensions import permessage_deflate

        self.server = server
        if server:
            self.factory: Any = permessage_deflate.ServerPerMessageDeflateFactory(**options)
        else:
            self.factory = permessage_deflate.ClientPerMessageDeflateFactory(**options)

    def offer(self) -> str:
        from websockets.headers import build_extension

        return build_extension([(self.factory.name, self.factory.get_request_params())])

    def answer(self, offer: str) -> str:
        from websockets.headers import build_extension, parse_extension

        ((_, parameters),) = parse_extension(offer)
        answer, self.extension = self.factory.process_request_params(parameters, [])
        return build_extension([(self.factory.name, answer)])

    def finish(self, answer: str) -> None:
        from websockets.headers import parse_extension

        ((_, parameters),) = parse_extension(answer)
        self.extension = self.factory.process_response_params(parameters, [])

    def send(self, message: Message) -> bytes:
        from websockets.frames import Frame as TheirFrame
        from websockets.frames import Opcode

        opcodes = [Opcode.BINARY] + [Opcode.CONT] * len(message)
        last = len(message) - 1
        frames = [TheirFrame(opcodes[n], part, fin=n == last) for n, part in enumerate(message)]
        return b"".join(frame.serialize(mask=not self.server, extensions=[self.extension]) for frame in frames)

    def receive(self, data: bytes) -> list[bytes]:
        from websockets.frames import Frame as TheirFrame
        from websockets.streams import StreamReader

        reader = StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        messages, current = [], b""
        at_end = reader.at_eof()
        while not run(at_end):
            frame = run(TheirFrame.parse(reader.read_exact, mask=self.server, extensions=[self.extension]))
            current += bytes(frame.data)
            if frame.fin:
                messages.append(current)
                current = b""
            at_end = reader.at_eof()
        return messages


def run(generator: Any) -> Any:
    try:
        next(generator)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("more data is needed")


class Wsproto:
    """The peer, with wsproto's extension and framing."""

    def __init__(self, options: dict[str, Any], *, server: bool) -> None:
        extensions = pytest.importorskip("wsproto.extensions", reason="no wsproto here: pip install wsproto")
        self.extension = extensions.PerMessageDeflate(**options)
        self.server = server
        self.connection: Any = None

    def offer(self) -> str:
        return f"{self.extension.name}; {self.extension.offer()}"

    def answer(self, offer: str) -> str:
        accepted = self.extension.accept(offer)
        assert accepted is not None
        self.connect()
        return f"{self.extension.name}; {accepted}" if accepted else str(self.extension.name)

    def finish(self, answer: str) -> None:
        self.extension.finalize(answer)
        self.connect()

    def connect(self) -> None:
        from wsproto.connection import Connection, ConnectionType

        kind = ConnectionType.SERVER if self.server else ConnectionType.CLIENT
        self.connection = Connection(kind, [self.extension])

    def send(self, message: Message) -> bytes:
        from wsproto.events import BytesMessage

        last = len(message) - 1
        return b"".join(
            self.connection.send(BytesMessage(data=part, message_finished=number == last))
            for number, part in enumerate(message)
        )

    def receive(self, data: bytes) -> list[bytes]:
        self.connection.receive_data(data)
        messages, current = [], b""
        for event in self.connection.events():
            current += event.data
            if event.message_finished:
                messages.append(current)
                current = b""
        return messages


def messages() -> list[Message]:
    source = random.Random(7)
    words = b" ".join(source.choice([b"alpha", b"beta", b"gamma", b"delta"]) for _ in range(10_000))
    return [
        [b"Hello"],
        [b"Hello"],
        [b""],
        [b"Hel", b"lo"],
        [b"Hel", b"", b"lo", b""],
        [words],
        [words[:20_000], words[20_000:]],
        [source.randbytes(70_000)],
        [bytes(200_000)],
        [b"", b""],
        [b"Hello"],
    ]


TAKEOVER: list[dict[str, Any]] = [
    {"server_no_context_takeover": s, "client_no_context_takeover": c}
    for s, c in itertools.product([False, True], repeat=2)
]
WINDOWS: list[dict[str, Any]] = [{}, {"server_max_window_bits": 9, "client_max_window_bits": 10}]
OPTIONS = [{**takeover, **windows} for takeover, windows in itertools.product(TAKEOVER, WINDOWS)]


@pytest.mark.parametrize("peer_class", [Websockets, Wsproto])
@pytest.mark.parametrize("role", ["their client", "their server"])
@pytest.mark.parametrize("who", ["we ask", "they ask"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items()))
def test_interop(peer_class: type[Websockets] | type[Wsproto], role: str, who: str, options: dict[str, Any]) -> None:
    factory = PerMessageDeflate(**options if who == "we ask" else {})
    peer = peer_class(options if who == "they ask" else {}, server=role == "their server")
    if role == "their client":
        extensions, answer = negotiate_server([factory], [peer.offer()])
        assert answer is not None
        peer.finish(answer)
        ours = Ours(extensions, server=True)
    else:
        offer = client_offer_header([factory])
        assert offer is not None
        ours = Ours(negotiate_client([factory], [peer.answer(offer)]), server=False)
    assert len(ours.pipeline) == 1
    for message in messages():
        whole = b"".join(message)
        assert peer.receive(ours.send(message)) == [whole]
        assert ours.receive(peer.send(message)) == [whole]
