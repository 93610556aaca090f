"""The demo extension: a third party can write one against the public API alone."""

from __future__ import annotations

import asyncio

import pytest

from aiohttp_rawws import Frame, FrameChunk, HandshakeError, InvalidPayload, Opcode, ProtocolViolation, memory_pair
from aiohttp_rawws.extensions import (
    ExtensionPipeline,
    PerMessageDeflate,
    check_conflicts,
    client_offer_header,
    negotiate_client,
    negotiate_server,
)
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.wire.codec import FrameEncoder, FrameParser
from demos import rsv2_extension
from demos.rsv2_extension import Checksum

from ..tools.serving import serve

BOTH = [PerMessageDeflate(), Checksum("adler32")]


def connected() -> tuple[ExtensionPipeline, ExtensionPipeline]:
    """Client's and server's extensions: the checksum, over permessage-deflate."""
    offer = client_offer_header(BOTH)
    assert offer is not None
    server, answer = negotiate_server(BOTH, [offer])
    assert answer == "permessage-deflate, x-checksum; algorithm=adler32"
    return ExtensionPipeline(negotiate_client(BOTH, [answer])), ExtensionPipeline(server)


@pytest.mark.parametrize("chunk_above", [None, 0])
@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_with_permessage_deflate(chunk_above: int | None, cut: int) -> None:
    client, server = connected()
    encoder, parser = FrameEncoder(masking=True), FrameParser(chunk_above=chunk_above)
    messages = [[b"Hello"], [b""], [b"a", b"", b"bc"], [bytes(100_000)], [b"", b""], [b"Hello"]]
    wire = b""
    for parts in messages:
        for number, part in enumerate(parts):
            frame = Frame.binary(part, fin=number == len(parts) - 1)
            sent = client.outgoing(frame)
            assert (sent.rsv1, sent.rsv2) == (not number, not number)
            wire += encoder.encode(sent)
    received, current = [], b""
    for start in range(0, len(wire), cut):
        for item in parser.feed(wire[start : start + cut]):
            for out in server.incoming(item):
                current += out.payload
                if (out.last and out.header.fin) if isinstance(out, FrameChunk) else out.fin:
                    received.append(current)
                    current = b""
    assert parser.error is None
    assert received == [b"".join(parts) for parts in messages]


def test_a_flipped_bit_is_found() -> None:
    (extension,), _ = negotiate_server([Checksum()], ["x-checksum"])
    sent = extension.process_outgoing(Frame.text("Hello"))
    assert sent == Frame.text(b"Hello" + bytes.fromhex("f7d18982"), rsv2=True)
    assert list(extension.process_incoming(sent)) == [Frame.text("Hello")]
    for broken in (b"Iello" + sent.payload[5:], sent.payload[:-1], b"", b"abc"):
        with pytest.raises(InvalidPayload, match="does not have the crc32"):
            extension.process_incoming(sent.replace(payload=broken))
    with pytest.raises(ProtocolViolation):
        extension.process_incoming(Frame(Opcode.CONTINUATION, b"", rsv2=True, kind=Opcode.TEXT))


def test_negotiation() -> None:
    check_conflicts(BOTH)
    offers = "x-checksum; algorithm=md5, x-checksum; other, x-checksum; algorithm=adler32"
    assert negotiate_server([Checksum()], [offers])[1] == "x-checksum; algorithm=adler32"
    assert negotiate_server([Checksum()], ["x-checksum; algorithm"])[1] is None
    with pytest.raises(HandshakeError):
        negotiate_client([Checksum()], ["x-checksum; algorithm=adler32"])
    with pytest.raises(ValueError, match="algorithm must be one of"):
        Checksum("md5")


async def test_on_managed_sessions() -> None:
    """Both extensions at work between two sessions, and 1007 for what was changed on its way."""
    one, two = memory_pair()
    at_client, at_server = connected()
    client = DefaultWebSocketSession(two, extensions=at_client)
    server = DefaultWebSocketSession(one, extensions=at_server)
    for text in ("Hello", "", "x" * 200_000):
        await client.send(text)
        message = await server.receive()
        assert (message, message.rsv1, message.rsv2) == (Frame.text(text), False, False)
        await server.send(message)
        assert (await client.receive()).text == text
    await client.close()
    await asyncio.gather(client.wait_closed(), server.wait_closed())


def test_the_demo_over_a_socket() -> None:
    """A client made of bytes: the handshake by hand, the frames with the codec."""

    async def talk(address: str) -> None:
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET {rsv2_extension.PATH}/socket HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate, x-checksum; algorithm=adler32\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert "\r\nSec-WebSocket-Extensions: x-checksum; algorithm=adler32\r\n" in head
        (extension,) = negotiate_client([Checksum("adler32")], ["x-checksum; algorithm=adler32"])
        encoder, parser = FrameEncoder(masking=True), FrameParser(masked=False)
        sent = [extension.process_outgoing(Frame.text("Hel", fin=False)), Frame.ping(b"?")]
        sent += [extension.process_outgoing(Frame.text("lo")), Frame.close(1000)]
        writer.write(b"".join(map(encoder.encode, sent)))
        received = [frame for frame in parser.feed(await reader.read(-1)) if isinstance(frame, Frame)]
        writer.close()
        await writer.wait_closed()
        assert parser.error is None
        text = b"".join(
            item.payload
            for frame in received
            if not frame.opcode.is_control
            for item in extension.process_incoming(frame)
        )
        assert text == b"Hello"
        assert [frame.opcode for frame in received if frame.opcode.is_control] == [Opcode.PONG, Opcode.CLOSE]

    with serve("-m", "demos.rsv2_extension", "--port", "0") as address:
        asyncio.run(asyncio.wait_for(talk(address), 20))


def test_the_page_shows_a_conversation() -> None:
    lines = rsv2_extension.conversation("Hello")
    assert lines[0] == "client offers   x-checksum; algorithm=adler32"
    assert lines[3] == "on the wire     rsv2=True 48 65 6c 6c 6f 05 8c 01 f5"
    assert lines[5].endswith("fails with 1007")
