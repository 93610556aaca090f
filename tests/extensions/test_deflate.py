"""permessage-deflate, RFC 7692."""

from __future__ import annotations

import random
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiohttp_rawws.errors import FrameTooBig, InvalidPayload, ProtocolViolation
from aiohttp_rawws.extensions.base import ExtensionPipeline
from aiohttp_rawws.extensions.deflate import PerMessageDeflate, WebSocketDeflateExtension
from aiohttp_rawws.extensions.inflate import MAX_FINAL_BLOCKS, STEP, TAIL
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from aiohttp_rawws.wire.codec import Frame, FrameChunk, FrameEncoder, FrameHeader, FrameParser, encode_header
from aiohttp_rawws.wire.codes import Opcode

from ..tools.zlib_backends import BACKENDS


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def pair(
    server: PerMessageDeflate | None = None, client: PerMessageDeflate | None = None
) -> tuple[WebSocketDeflateExtension, WebSocketDeflateExtension]:
    """The server's and the client's extension of one connection."""
    offered = client or PerMessageDeflate()
    offer = client_offer_header([offered])
    assert offer is not None
    (one,), answer = negotiate_server([server or PerMessageDeflate()], [offer])
    assert answer is not None
    (other,) = negotiate_client([offered], [answer])
    assert isinstance(one, WebSocketDeflateExtension)
    assert isinstance(other, WebSocketDeflateExtension)
    return one, other


def single(**options: Any) -> WebSocketDeflateExtension:
    return pair(PerMessageDeflate(**options))[0]


def text(*payloads: bytes, rsv1: bool = True) -> list[Frame]:
    """One text message in fragments."""
    return [
        Frame(
            Opcode.CONTINUATION if number else Opcode.TEXT,
            payload,
            fin=number == len(payloads) - 1,
            rsv1=rsv1 and not number,
            kind=Opcode.TEXT,
        )
        for number, payload in enumerate(payloads)
    ]


def inflate(extension: WebSocketDeflateExtension, *frames: Frame) -> bytes:
    out = [item for frame in frames for item in extension.process_incoming(frame)]
    assert not any((item.header if isinstance(item, FrameChunk) else item).rsv1 for item in out)
    return b"".join(item.payload for item in out)


def over_the_wire(*frames: Frame) -> list[Frame]:
    """The frames as the peer's parser gives them: what follows the first fragment is a continuation."""
    encoder, parser = FrameEncoder(), FrameParser(masked=False)
    received = parser.feed(b"".join(map(encoder.encode, frames)))
    assert parser.error is None
    return [frame for frame in received if isinstance(frame, Frame)]


def deflated(data: bytes, **options: Any) -> bytes:
    compressor = zlib.compressobj(wbits=-15, **options)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


HELLO = bytes.fromhex("f248cdc9c90700")


class TestExamples:
    """RFC 7692, section 7.2.3."""

    def test_one_block(self, backend: Any) -> None:
        """Section 7.2.3.1."""
        assert list(single(backend=backend).process_incoming(text(HELLO)[0])) == [Frame.text("Hello")]

    def test_one_block_in_two_fragments(self, backend: Any) -> None:
        assert inflate(single(backend=backend), *text(HELLO[:3], HELLO[3:])) == b"Hello"

    def test_sharing_the_window(self, backend: Any) -> None:
        """Section 7.2.3.2."""
        extension = single(backend=backend)
        assert inflate(extension, *text(HELLO)) == b"Hello"
        assert inflate(extension, *text(bytes.fromhex("f200110000"))) == b"Hello"

    def test_the_window_is_not_shared_without_context(self, backend: Any) -> None:
        extension = single(client_no_context_takeover=True, backend=backend)
        assert inflate(extension, *text(HELLO)) == b"Hello"
        assert inflate(extension, *text(HELLO)) == b"Hello"
        with pytest.raises(InvalidPayload):
            inflate(extension, *text(bytes.fromhex("f200110000")))

    def test_no_compression(self, backend: Any) -> None:
        """Section 7.2.3.3."""
        payload = bytes.fromhex("000500faff48656c6c6f00")
        assert inflate(single(backend=backend), *text(payload)) == b"Hello"

    @pytest.mark.parametrize("keep", [True, False], ids=["takeover", "no takeover"])
    def test_bfinal(self, backend: Any, keep: bool) -> None:
        """Section 7.2.3.4; the connection goes on behind it."""
        payload = bytes.fromhex("f348cdc9c9070000")
        extension = single(client_no_context_takeover=not keep, backend=backend)
        for _ in range(3):
            assert inflate(extension, *text(payload)) == b"Hello"
            assert inflate(extension, *text(payload[:3], payload[3:7], payload[7:])) == b"Hello"
            assert inflate(extension, *text(*(payload[i : i + 1] for i in range(8)))) == b"Hello"
            assert inflate(extension, *text(HELLO)) == b"Hello"

    def test_two_blocks(self, backend: Any) -> None:
        """Section 7.2.3.5."""
        payload = bytes.fromhex("f248050000 00ffff cac9c90700".replace(" ", ""))
        assert inflate(single(backend=backend), *text(payload)) == b"Hello"
        assert inflate(single(backend=backend), *text(payload[:6], payload[6:])) == b"Hello"

    def test_empty_message(self, backend: Any) -> None:
        """Section 7.2.3.6."""
        extension = single(backend=backend)
        assert list(extension.process_incoming(text(b"\x00")[0])) == [Frame.text("")]
        assert inflate(extension, *text(HELLO)) == b"Hello"

    def test_we_send_the_example(self) -> None:
        extension = single()
        assert extension.process_outgoing(Frame.text("Hello")) == text(HELLO)[0]
        assert extension.process_outgoing(Frame.text("Hello")) == text(bytes.fromhex("f200110000"))[0]


class TestOutgoing:
    def test_rsv1_stands_on_the_first_fragment_only(self) -> None:
        """Section 6.1; each fragment can be read when it arrives. Ktor sets it on all (SPEC 1.12, D4)."""
        server, client = pair()
        sent = [server.process_outgoing(Frame.text(part, fin=part == "c")) for part in "abc"]
        assert [frame.rsv1 for frame in sent] == [True, False, False]
        assert [frame.fin for frame in sent] == [False, False, True]
        assert [frame.payload.endswith(TAIL) for frame in sent] == [True, True, False]
        assert zlib.decompressobj(-15).decompress(b"".join(f.payload for f in sent) + TAIL) == b"abc"
        assert [inflate(client, frame) for frame in over_the_wire(*sent)] == [b"a", b"b", b"c"]

    def test_fragments_as_continuations(self) -> None:
        server, client = pair()
        sent = [server.process_outgoing(frame) for frame in text(b"a", b"", b"b", b"", rsv1=False)]
        assert [frame.rsv1 for frame in sent] == [True, False, False, False]
        assert inflate(client, *sent) == b"ab"
        assert inflate(client, server.process_outgoing(Frame.text("ab"))) == b"ab"

    @pytest.mark.parametrize("keep", [True, False])
    def test_empty_messages(self, backend: Any, keep: bool) -> None:
        server, client = pair(PerMessageDeflate(backend=backend, server_no_context_takeover=not keep))
        for frames in ([Frame.text("")], text(b"", b"", rsv1=False), text(b"x", b"", rsv1=False)) * 3:
            sent = [server.process_outgoing(frame) for frame in frames]
            assert sent[-1].payload  # "an empty fragment ... 0x00"
            assert inflate(client, *sent) == b"".join(frame.payload for frame in frames)

    def test_no_compressor_is_kept_without_context(self) -> None:
        server = single(server_no_context_takeover=True, client_no_context_takeover=True)
        assert server._compressor is None
        first = server.process_outgoing(Frame.text("Hello"))
        assert server._compressor is None
        assert server.process_outgoing(Frame.text("Hello")) == first
        assert inflate(server, *text(HELLO)) == b"Hello"
        assert server._inflater._stream is None
        server.process_outgoing(Frame.text("Hello", fin=False))
        assert server._compressor is not None
        server.process_outgoing(Frame.text("Hello"))
        assert server._compressor is None

    def test_nothing_is_made_before_the_first_message(self) -> None:
        server = single()
        assert server._compressor is None
        assert server._inflater._stream is None

    @pytest.mark.parametrize(("size", "compressed"), [(99, False), (100, False), (101, True)])
    def test_threshold(self, size: int, compressed: bool) -> None:
        server = single(compress_if_bigger_than=100)
        assert server.process_outgoing(Frame.binary(bytes(size))).rsv1 is compressed

    def test_predicates_are_anded(self) -> None:
        is_text: Callable[[Frame], bool] = lambda frame: frame.kind is Opcode.TEXT  # noqa: E731
        is_long: Callable[[Frame], bool] = lambda frame: len(frame.payload) > 3  # noqa: E731
        server = single(compress_if=[is_text, is_long], compress_if_bigger_than=1)
        frames = [Frame.text("xxxx"), Frame.text("xxx"), Frame.binary(b"xxxx"), Frame.text("x")]
        assert [server.process_outgoing(frame).rsv1 for frame in frames] == [True, False, False, False]
        assert single(compress_if=is_text).process_outgoing(Frame.text("")).rsv1
        assert not single(compress_if=is_text).process_outgoing(Frame.binary(b"")).rsv1

    def test_each_message_may_decide(self) -> None:
        server, client = pair(PerMessageDeflate(compress_if_bigger_than=3))
        for compress, word, expected in (
            (None, "ab", False), (True, "ab", True), (False, "abcd", False), (None, "abcd", True),
        ):  # fmt: skip
            sent = server.process_outgoing(Frame.text(word), compress)
            assert sent.rsv1 is expected
            assert inflate(client, sent) == word.encode()

    def test_the_first_fragment_decides_for_the_message(self) -> None:
        server, client = pair(PerMessageDeflate(compress_if_bigger_than=1))
        sent = [server.process_outgoing(Frame.text("a", fin=False)), server.process_outgoing(Frame.text("bcd"), True)]
        assert [frame.payload for frame in sent] == [b"a", b"bcd"]
        assert not any(frame.rsv1 for frame in sent)
        sent = [server.process_outgoing(Frame.text("ab", fin=False)), server.process_outgoing(Frame.text(""), False)]
        assert [frame.rsv1 for frame in sent] == [True, False]
        assert inflate(client, *over_the_wire(*sent)) == b"ab"

    def test_what_the_encoder_will_refuse_spoils_nothing(self) -> None:
        server, client = pair()
        stray = Frame(Opcode.CONTINUATION, b"stray")
        assert server.process_outgoing(stray) is stray
        first = server.process_outgoing(Frame.text("one, ", fin=False))
        other = Frame.binary(b"other")
        assert server.process_outgoing(other) is other
        last = server.process_outgoing(Frame.text("two"))
        assert inflate(client, *over_the_wire(first, last)) == b"one, two"
        reserved = Frame(3, b"x")
        assert server.process_outgoing(reserved) is reserved

    def test_a_window_of_8_bits_is_never_compressed_into(self) -> None:
        """zlib cannot; a server may still ask for it (section 7.1.2.2)."""
        with pytest.raises(ValueError, match="Invalid initialization option"):
            zlib.compressobj(wbits=-8)
        (client,) = negotiate_client([PerMessageDeflate()], ["permessage-deflate; client_max_window_bits=8"])
        frame = Frame.binary(bytes(100_000))
        assert client.process_outgoing(frame) is frame
        assert client.process_outgoing(frame, True) is frame
        assert not client.needs_thread(frame, True)
        assert list(client.process_incoming(text(HELLO)[0])) == [Frame.text("Hello")]

    @pytest.mark.parametrize(("size", "expected"), [(999, False), (1000, False), (1001, True)])
    def test_needs_thread(self, size: int, expected: bool) -> None:
        server = single(executor_above=1000)
        assert server.needs_thread(Frame.binary(bytes(size))) is expected
        assert not server.needs_thread(Frame.binary(bytes(size)), False)
        assert not single(executor_above=None).needs_thread(Frame.binary(bytes(size)))
        server.process_outgoing(Frame.binary(b"", fin=False))
        assert server.needs_thread(Frame.binary(bytes(size)), False) is expected
        server.process_outgoing(Frame.binary(b""))
        server.process_outgoing(Frame.binary(b"", fin=False), False)
        assert not server.needs_thread(Frame.binary(bytes(size)), True)

    def test_outgoing_key(self) -> None:
        """The same key, the same bytes: what broadcasting builds on."""
        plain, bare = PerMessageDeflate(), PerMessageDeflate(server_no_context_takeover=True)
        assert pair(plain)[0].outgoing_key is None
        one, two = pair(bare)[0], pair(bare)[0]
        small = pair(bare, PerMessageDeflate(server_max_window_bits=9))[0]
        asked = pair(plain, PerMessageDeflate(server_no_context_takeover=True))[0]
        other = pair(bare.replace(compress_if_bigger_than=10))[0]
        assert one.outgoing_key == two.outgoing_key
        assert hash(one.outgoing_key) == hash(two.outgoing_key)
        assert len({e.outgoing_key for e in (one, two, small, asked, other)}) == 4
        one.process_outgoing(Frame.text("before"))
        frame = Frame.text("some text " * 1000)
        assert one.process_outgoing(frame) == two.process_outgoing(frame)
        assert ExtensionPipeline([one]).outgoing_key == (one.outgoing_key,)


class TestWholeMessages:
    """``transform_whole``: one result for all connections with the same key, whatever each of them is sending."""

    SIZES = (0, 1, 100, 2048, 2049, 100_000)

    @pytest.mark.parametrize("size", SIZES)
    def test_inside_a_message_in_fragments(self, backend: Any, size: int) -> None:
        config = PerMessageDeflate(server_no_context_takeover=True, backend=backend)
        (one, peer), (fresh, other) = pair(config), pair(config)
        message = Frame.text(("some words " * (size // 11 + 1))[:size])
        expected = fresh.transform_whole(message)
        first = one.process_outgoing(Frame.binary(b"a story in ", fin=False))
        assert one.transform_whole(message) == expected
        last = one.process_outgoing(Frame.binary(b"two parts"))
        assert inflate(peer, *over_the_wire(first, last)) == b"a story in two parts"
        assert expected.rsv1 and expected.fin and expected.opcode is Opcode.TEXT
        assert inflate(other, *over_the_wire(expected)) == message.payload
        assert one.transform_whole(message) == expected == fresh.process_outgoing(message)

    def test_nothing_of_the_connection_is_looked_at_or_changed(self) -> None:
        config = PerMessageDeflate(server_no_context_takeover=True, compress_if_bigger_than=10)
        server = pair(config)[0]
        short, long = Frame.text("short"), Frame.text("longer than ten bytes")
        server.process_outgoing(Frame.text("the message that is open here is compressed", fin=False))
        assert server.transform_whole(short) is short
        assert server.transform_whole(long).rsv1
        assert server.needs_thread(Frame(0, bytes(100_000)))  # still open
        server.process_outgoing(Frame(0, b"end"))
        server.process_outgoing(Frame.text("not", fin=False))  # this one is not compressed
        assert server.transform_whole(long).rsv1
        assert not server.process_outgoing(Frame(0, b"compressed at all, and long")).rsv1

    def test_other_frames(self) -> None:
        server = pair(PerMessageDeflate(server_no_context_takeover=True))[0]
        reserved = Frame(3, b"x" * 100)
        assert server.transform_whole(reserved) is reserved

    def test_while_another_thread_sends(self) -> None:
        config = PerMessageDeflate(server_no_context_takeover=True)
        server, peer = pair(config)
        message = Frame.text("some words " * 5000)
        expected = pair(config)[0].transform_whole(message)
        parts = [b"%d " % number * 1000 for number in range(60)]
        sent: list[Frame] = []

        def send() -> None:
            for number, part in enumerate(parts):
                sent.append(server.process_outgoing(Frame.binary(part, fin=number == len(parts) - 1)))

        thread = threading.Thread(target=send)
        thread.start()
        while thread.is_alive():
            assert server.transform_whole(message) == expected
        thread.join()
        assert inflate(peer, *over_the_wire(*sent)) == b"".join(parts)


class TestIncoming:
    def test_uncompressed_messages_come_between(self) -> None:
        extension = single()
        plain = text(b"pl", b"ain", rsv1=False)
        for _ in range(2):
            assert inflate(extension, *text(HELLO[:2], HELLO[2:])) == b"Hello"
            for frame in plain:
                (same,) = extension.process_incoming(frame)
                assert same is frame

    def test_rsv1_on_a_continuation(self) -> None:
        for first in (text(HELLO[:3], b""), text(b"x", b"", rsv1=False)):
            extension = single()
            list(extension.process_incoming(first[0]))
            with pytest.raises(ProtocolViolation, match="RSV1 is set on a continuation frame") as caught:
                extension.process_incoming(Frame(Opcode.CONTINUATION, b"", rsv1=True, kind=Opcode.TEXT))
            assert caught.value.close_code == 1002

    def test_control_frames_in_a_compressed_message(self) -> None:
        """Ktor would inflate them (SPEC 1.12, D5)."""
        both = ExtensionPipeline([single()])
        first, last = text(HELLO[:3], HELLO[3:])
        ping = Frame.ping(HELLO)
        out = [item for frame in (first, ping, last) for item in both.incoming(frame)]
        assert ping in out
        assert b"".join(item.payload for item in out if item != ping) == b"Hello"
        with pytest.raises(ProtocolViolation, match="control frame"):
            both.incoming(Frame(Opcode.PING, HELLO, rsv1=True))

    @pytest.mark.parametrize("keep", [True, False])
    @pytest.mark.parametrize("payload", [b"\xff\xff\xff\xff", b"\x07", b"\x01\x05\x00\x00\x00x"])
    def test_bad_data(self, backend: Any, payload: bytes, keep: bool) -> None:
        with pytest.raises(InvalidPayload, match="compressed") as caught:
            inflate(single(backend=backend, client_no_context_takeover=not keep), *text(payload))
        assert caught.value.close_code == 1007

    def test_a_message_that_stops_inside_a_block(self, backend: Any) -> None:
        extension = single(backend=backend, client_no_context_takeover=True)
        noise = random.Random(1).randbytes(100_000)
        for data in (deflated(noise[:2000]), deflated(noise), deflated(noise.hex().encode())):
            assert inflate(extension, *text(data))
            for end in (len(data) // 2, len(data) - 100):
                with pytest.raises(InvalidPayload):
                    inflate(single(backend=backend, client_no_context_takeover=True), *text(data[:end]))

    @pytest.mark.parametrize("keep", [True, False])
    def test_peers_that_forget_the_empty_block(self, keep: bool) -> None:
        """Neither is as section 7.2.1 has it, and both can mean one thing only."""
        extension = single(client_no_context_takeover=not keep)
        for _ in range(2):
            assert inflate(extension, *text(b"")) == b""
            assert inflate(extension, *text(bytes.fromhex("f348cdc9c90700"))) == b"Hello"
            assert inflate(extension, *text(bytes.fromhex("f348cdc9c90700"), b"")) == b"Hello"
            assert inflate(extension, *text(HELLO)) == b"Hello"

    def test_many_final_blocks(self, backend: Any) -> None:
        one = bytes.fromhex("f348cdc9c90700")
        for keep in (True, False):
            extension = single(backend=backend, client_no_context_takeover=not keep)
            for excess in (-1, 0):
                count = MAX_FINAL_BLOCKS + excess
                assert inflate(extension, *text(one * count + b"\x00")) == b"Hello" * count
            with pytest.raises(InvalidPayload, match="more than 1024 final"):
                inflate(extension, *text(one * (MAX_FINAL_BLOCKS + 1) + b"\x00"))
        with pytest.raises(InvalidPayload, match="more than 1024 final"):
            inflate(single(backend=backend), *text(b"\x03\x00" * 2_000_000))

    def test_final_blocks_among_long_ones(self, backend: Any) -> None:
        data = random.Random(2).randbytes(100_000)
        compressor = zlib.compressobj(wbits=-15)
        final = compressor.compress(data) + compressor.flush(zlib.Z_FINISH)
        payload = final * 3 + deflated(data)
        for keep in (True, False):
            extension = single(backend=backend, client_no_context_takeover=not keep)
            assert inflate(extension, *text(payload)) == data * 4
            assert inflate(extension, *text(payload[:150_001], payload[150_001:])) == data * 4
            assert inflate(extension, *text(HELLO)) == b"Hello"

    def test_a_new_message_inside_one(self) -> None:
        """Only a lenient session lets that come here; the second message begins afresh."""
        extension = single()
        list(extension.process_incoming(text(HELLO[:3], b"")[0]))
        assert inflate(extension, *text(HELLO)) == b"Hello"
        reserved = Frame(3, b"x", rsv1=True)
        assert list(extension.process_incoming(reserved)) == [reserved]


class TestSteps:
    """The output comes in pieces, however the input was cut."""

    @pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP, 10 * STEP + 5])
    @pytest.mark.parametrize("data", ["zeros", "noise"])
    def test_a_frame_becomes_chunks_of_one_step(self, backend: Any, size: int, data: str) -> None:
        content = bytes(size) if data == "zeros" else random.Random(size).randbytes(size)
        frame = text(deflated(content), b"")[0].replace(rsv2=True)
        out = list(single(backend=backend).process_incoming(frame))
        assert b"".join(item.payload for item in out) == content
        assert all(len(item.payload) <= STEP for item in out)
        if size <= STEP // 2:
            assert out == [frame.replace(payload=content, rsv1=False)]
        if len(out) > 1:
            offset = 0
            for number, item in enumerate(out):
                assert isinstance(item, FrameChunk)
                assert item.header == FrameHeader(Opcode.TEXT, 0, Opcode.TEXT, fin=False, rsv2=True)
                assert item.offset == offset
                assert item.last is (number == len(out) - 1)
                offset += len(item.payload)

    @pytest.mark.parametrize("keep", [True, False])
    def test_where_the_input_is_no_longer_taken_at_once(self, backend: Any, keep: bool) -> None:
        noise, limit = random.Random(6).randbytes(33_000), 32 * 1024
        sizes = set()
        extension = single(backend=backend, client_no_context_takeover=not keep)
        for size in range(31_900, 32_300, 2):
            content = noise[:size] + bytes(200_000)
            payload = deflated(content)
            if abs(len(payload) - limit) < 20:
                sizes.add(len(payload))
                assert inflate(extension, *text(payload)) == content
                assert inflate(extension, *text(payload[:100], payload[100:])) == content
        assert {size < limit - 9 for size in sizes} == {size <= limit for size in sizes} == {True, False}

    def test_chunks_are_inflated_as_they_arrive(self) -> None:
        content = random.Random(3).randbytes(50_000)
        payload = deflated(content) + TAIL  # noise: about as long as what it holds
        extension = single()
        parser = FrameParser(chunk_above=100, masked=None)
        data = encode_header(Opcode.BINARY, len(payload), rsv1=True, fin=False) + payload
        data += encode_header(Opcode.CONTINUATION, 1) + b"\x00"
        out: list[Frame | FrameChunk] = []
        for start in range(0, len(data), 999):
            for item in parser.feed(data[start : start + 999]):
                out += extension.process_incoming(item)
                if isinstance(item, FrameChunk):
                    assert sum(len(piece.payload) for piece in out) > item.offset + len(item.payload) - 100
        assert parser.error is None
        chunks = [item for item in out if isinstance(item, FrameChunk)]
        assert len(chunks) > 1
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert [chunk.offset for chunk in chunks] == [
            sum(len(before.payload) for before in chunks[:number]) for number in range(len(chunks))
        ]
        assert not any(chunk.header.rsv1 or chunk.header.length for chunk in chunks)
        assert b"".join(item.payload for item in out) == content
        assert isinstance(out[-1], Frame)
        assert out[-1].fin

    def test_a_chunk_without_output_gives_nothing(self) -> None:
        extension = single()
        header = FrameHeader(Opcode.TEXT, len(HELLO), Opcode.TEXT, rsv1=True)
        assert list(extension.process_incoming(FrameChunk(header, b"", 0, False))) == []
        assert list(extension.process_incoming(FrameChunk(header, HELLO[:1], 0, False))) == []
        out = list(extension.process_incoming(FrameChunk(header, HELLO[1:], 1, True)))
        assert [(item.payload, item.offset, item.last) for item in out if isinstance(item, FrameChunk)] == [
            (b"Hello", 0, True)
        ]
        assert inflate(extension, *text(HELLO)) == b"Hello"

    def test_chunks_of_an_uncompressed_message_are_passed_on(self) -> None:
        extension = single()
        header = FrameHeader(Opcode.TEXT, 4, Opcode.TEXT)
        for chunk in (FrameChunk(header, b"", 0, False), FrameChunk(header, b"abcd", 0, True)):
            (same,) = extension.process_incoming(chunk)
            assert same is chunk
        assert inflate(extension, *text(HELLO)) == b"Hello"

    def test_rsv1_on_a_continuation_that_comes_in_chunks(self) -> None:
        extension = single()
        list(extension.process_incoming(text(b"", b"")[0]))
        header = FrameHeader(Opcode.CONTINUATION, 4, Opcode.TEXT, rsv1=True)
        with pytest.raises(ProtocolViolation):
            extension.process_incoming(FrameChunk(header, b"", 0, False))


class TestLimits:
    @pytest.mark.parametrize("limit", [1, 5, 1000, STEP - 1, STEP, STEP + 1, 3 * STEP + 7])
    @pytest.mark.parametrize("keep", [True, False])
    def test_max_inflated_size(self, backend: Any, limit: int, keep: bool) -> None:
        options = {"max_inflated_size": limit, "client_no_context_takeover": not keep, "backend": backend}
        extension = single(**options)
        for size in (limit - 1, limit, limit, limit - 1):
            assert inflate(extension, *text(deflated(bytes(size)))) == bytes(size)
        half = deflated(bytes(limit))
        assert inflate(extension, *text(half[:3], half[3:])) == bytes(limit)
        with pytest.raises(FrameTooBig) as caught:
            inflate(extension, *text(deflated(bytes(limit + 1))))
        assert (caught.value.frame_size, caught.value.limit) == (limit + 1, limit)
        assert caught.value.close_code == 1009

    def test_the_limit_is_for_the_message_not_the_frame(self) -> None:
        compressor = zlib.compressobj(wbits=-15)
        parts = [compressor.compress(b"x" * 100) + compressor.flush(zlib.Z_SYNC_FLUSH) for _ in range(11)]
        extension = single(max_inflated_size=1000)
        assert len(inflate(extension, *text(*parts[:10])[:9])) == 900
        assert len(inflate(single(max_inflated_size=1000), *text(*parts[:10], b"\x00"))) == 1000
        with pytest.raises(FrameTooBig):
            inflate(single(max_inflated_size=1000), *text(*parts, b"\x00"))

    def test_without_limit(self) -> None:
        extension = single(max_inflated_size=None)
        assert len(inflate(extension, *text(deflated(bytes(6 * 2**20))))) == 6 * 2**20

    @pytest.mark.parametrize("keep", [True, False])
    def test_a_bomb_costs_no_more_than_the_limit(self, backend: Any, keep: bool) -> None:
        bomb = deflated(bytes(64 * 2**20), level=9)
        assert len(bomb) < 2**17
        limit = 2**20
        extension = single(max_inflated_size=limit, client_no_context_takeover=not keep, backend=backend)
        frame = text(bomb)[0]
        tracemalloc.start()
        try:
            kept = []
            with pytest.raises(FrameTooBig):
                for item in extension.process_incoming(frame):
                    kept.append(item.payload)
            assert sum(map(len, kept)) <= limit
            assert tracemalloc.get_traced_memory()[1] < limit + 8 * STEP
        finally:
            tracemalloc.stop()

    def test_pieces_not_kept_cost_nothing(self) -> None:
        extension = single(max_inflated_size=None)
        frame = text(deflated(bytes(32 * 2**20), level=9))[0]
        tracemalloc.start()
        try:
            assert sum(len(item.payload) for item in extension.process_incoming(frame)) == 32 * 2**20
            assert tracemalloc.get_traced_memory()[1] < 10 * STEP
        finally:
            tracemalloc.stop()

    def test_max_ratio(self) -> None:
        bomb = deflated(bytes(2**20), level=9)
        ratio = 2**20 / len(bomb)
        with pytest.raises(FrameTooBig) as caught:
            inflate(single(max_ratio=100), *text(bomb))
        assert caught.value.frame_size <= 2 * STEP + 100 * len(bomb)
        assert inflate(single(max_ratio=ratio), *text(bomb)) == bytes(2**20)
        with pytest.raises(FrameTooBig):
            inflate(single(max_ratio=ratio * 0.95), *text(bomb))
        small = deflated(bytes(STEP), level=9)
        assert inflate(single(max_ratio=1), *text(small)) == bytes(STEP)
        with pytest.raises(FrameTooBig):
            inflate(single(max_ratio=1), *text(deflated(bytes(STEP + 1), level=9)))
        noise = random.Random(4).randbytes(2**20)
        assert inflate(single(max_ratio=1.5), *text(deflated(noise))) == noise


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "value", "error"),
        [
            ("server_max_window_bits", 8, ValueError),
            ("server_max_window_bits", 16, ValueError),
            ("client_max_window_bits", 8, ValueError),
            ("client_max_window_bits", 16, ValueError),
            ("client_max_window_bits", "15", TypeError),
            ("compression_level", -2, ValueError),
            ("compression_level", 10, ValueError),
            ("mem_level", 0, ValueError),
            ("mem_level", 10, ValueError),
            ("mem_level", True, TypeError),
            ("compress_if_bigger_than", -1, ValueError),
            ("max_inflated_size", 0, ValueError),
            ("executor_above", -1, ValueError),
            ("max_ratio", 0.5, ValueError),
            ("max_ratio", float("nan"), ValueError),
            ("max_ratio", "2", TypeError),
            ("max_ratio", True, TypeError),
            ("compress_if", [1], TypeError),
            ("compress_if", 5, TypeError),
            ("compress_if", None, TypeError),
            ("client_no_context_takeover", "x", TypeError),
            ("server_no_context_takeover", "x", TypeError),
            ("server_no_context_takeover", None, TypeError),
            ("backend", 5, TypeError),
        ],
    )
    def test_out_of_range(self, option: str, value: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match=f"^{option} "):
            PerMessageDeflate(**{option: value})

    @pytest.mark.parametrize(
        ("option", "values"),
        [
            ("server_max_window_bits", [None, 9, 15]),
            ("client_max_window_bits", [None, 9, 15]),
            ("compression_level", [None, -1, 0, 9]),
            ("mem_level", [None, 1, 9]),
            ("compress_if_bigger_than", [None, 0]),
            ("max_inflated_size", [None, 1]),
            ("executor_above", [None, 0]),
            ("max_ratio", [None, 1, 1032.0]),
        ],
    )
    def test_in_range(self, option: str, values: list[Any]) -> None:
        for value in values:
            server, client = pair(PerMessageDeflate(**{option: value}))
            assert inflate(client, server.process_outgoing(Frame.text("Hello"))) == b"Hello"

    def test_immutable_and_reusable(self) -> None:
        factory = PerMessageDeflate(mem_level=5)
        with pytest.raises(AttributeError):
            factory.mem_level = 6  # type: ignore[misc]
        other = factory.replace(backend=zlib)
        assert (other.mem_level, other.backend, factory.backend) == (5, zlib, None)
        assert pair(factory)[0] is not pair(factory)[0]
        with pytest.raises(ValueError, match="mem_level"):
            factory.replace(mem_level=77)

    def test_a_backend_that_refuses_the_level_says_so_at_once(self) -> None:
        isal_zlib = pytest.importorskip(
            "isal.isal_zlib", reason="no isal here: pip install isal, where there is a wheel of it or nasm"
        )
        with pytest.raises(ValueError, match="backend refuses compression_level"):
            PerMessageDeflate(backend=isal_zlib, compression_level=6)
        PerMessageDeflate(backend=isal_zlib, compression_level=3)

    def test_options_reach_the_backend(self) -> None:
        calls: list[dict[str, Any]] = []

        class Spy:
            def compressobj(self, **options: Any) -> Any:
                calls.append(options)
                return zlib.compressobj(**options)

            def decompressobj(self, **options: Any) -> Any:
                calls.append(options)
                return zlib.decompressobj(**options)

        factory = PerMessageDeflate(
            backend=Spy(), compression_level=1, mem_level=4, server_max_window_bits=10, client_max_window_bits=11
        )
        server, _ = pair(factory)
        del calls[:]
        server.process_outgoing(Frame.text("x"))
        inflate(server, *text(HELLO))
        assert calls == [{"wbits": -10, "level": 1, "memLevel": 4}, {"wbits": -11}]

    def test_aiohttps_backend_fits(self) -> None:
        compression_utils = pytest.importorskip(
            "aiohttp.compression_utils", reason="this aiohttp has no aiohttp.compression_utils: pip install -U aiohttp"
        )
        server, client = pair(PerMessageDeflate(backend=compression_utils.ZLibBackend))
        assert inflate(client, server.process_outgoing(Frame.text("Hello"))) == b"Hello"
        with pytest.raises(InvalidPayload):
            inflate(server, *text(b"\xff\xff\xff"))


MESSAGES = st.lists(
    st.tuples(st.lists(st.binary(max_size=200) | st.integers(0, 200_000).map(bytes), min_size=1, max_size=4),
              st.sampled_from([None, True, False])),
    min_size=1,
    max_size=4,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    messages=MESSAGES,
    bits=st.integers(9, 15),
    keep=st.booleans(),
    chunk_above=st.none() | st.integers(0, 300),
    cut=st.integers(1, 5000),
)
def test_round_trip(
    messages: list[tuple[list[bytes], bool | None]], bits: int, keep: bool, chunk_above: int | None, cut: int
) -> None:
    """Through the parser, in all its ways of cutting."""
    sender, receiver = pair(
        PerMessageDeflate(server_max_window_bits=bits, server_no_context_takeover=not keep, mem_level=1),
        PerMessageDeflate(max_inflated_size=None),
    )
    wire = bytearray()
    for fragments, compress in messages:
        for frame in text(*fragments, rsv1=False):
            sent = sender.process_outgoing(frame, compress)
            wire += encode_header(sent.opcode, len(sent.payload), fin=sent.fin, rsv1=sent.rsv1) + sent.payload
    parser = FrameParser(masked=False, chunk_above=chunk_above)
    received, current = [], bytearray()
    for start in range(0, len(wire), cut):
        for item in parser.feed(wire[start : start + cut]):
            for out in receiver.process_incoming(item):
                current += out.payload
                if (out.last and out.header.fin) if isinstance(out, FrameChunk) else out.fin:
                    received.append(bytes(current))
                    current.clear()
    assert parser.error is None
    assert not current
    assert received == [b"".join(fragments) for fragments, _ in messages]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.booleans())
def test_whatever_comes_is_inflated_or_refused(fragments: list[bytes], keep: bool) -> None:
    extension = single(client_no_context_takeover=not keep, max_inflated_size=10_000)
    try:
        assert len(inflate(extension, *text(*fragments))) <= 10_000
    except (InvalidPayload, FrameTooBig):
        pass


@pytest.mark.parametrize("bits", range(9, 16))
def test_we_keep_to_the_window_that_was_agreed(backend: Any, bits: int) -> None:
    """A byte at a time, zlib's inflate has nothing but the window to look back into."""
    words = random.Random(5)
    data = b"".join(bytes([words.randrange(8)]) * words.randrange(1, 6) for _ in range(20_000))
    sender, _ = pair(PerMessageDeflate(server_max_window_bits=bits, backend=backend))
    payload = sender.process_outgoing(Frame.binary(data)).payload + TAIL
    stream = zlib.decompressobj(-bits)
    assert b"".join(stream.decompress(payload[i : i + 1]) for i in range(len(payload))) == data


def test_sending_in_a_thread_while_receiving() -> None:
    server, client = pair()
    messages = [random.Random(i).randbytes(50_000) + bytes(100_000) for i in range(30)]
    incoming = [client.process_outgoing(Frame.binary(message)) for message in messages]
    sent: list[Frame] = []
    thread = threading.Thread(target=lambda: sent.extend(server.process_outgoing(Frame.binary(m)) for m in messages))
    thread.start()
    received = [inflate(server, frame) for frame in incoming]
    thread.join()
    assert received == messages
    assert [inflate(client, frame) for frame in sent] == messages
