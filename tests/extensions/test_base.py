"""The extension API and the pipeline, RFC 6455 section 9."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pytest

from aiohttp_rawws.errors import HandshakeError, ProtocolViolation
from aiohttp_rawws.extensions.base import (
    ExtensionPipeline,
    WebSocketExtension,
    WebSocketExtensionFactory,
    check_conflicts,
)
from aiohttp_rawws.extensions.header import WebSocketExtensionHeader
from aiohttp_rawws.wire.codec import Frame, FrameChunk, FrameHeader
from aiohttp_rawws.wire.codes import Opcode


class Factory(WebSocketExtensionFactory):
    """An extension that writes its mark behind each payload and takes it off again."""

    def __init__(self, name: str, rsv: str = "", key: Hashable | None = None, slow: bool = False) -> None:
        self.name = name  # type: ignore[misc]
        self.rsv1, self.rsv2, self.rsv3 = ("1" in rsv, "2" in rsv, "3" in rsv)  # type: ignore[misc]
        self.key = key
        self.slow = slow

    def accept(self, offer: WebSocketExtensionHeader) -> tuple[WebSocketExtensionHeader, Marker] | None:
        parameters = offer.parse_parameters()
        return (offer, Marker(self)) if "no" not in parameters else None

    def client_offers(self) -> Sequence[WebSocketExtensionHeader]:
        return [WebSocketExtensionHeader(self.name)]

    def accept_response(self, response: WebSocketExtensionHeader) -> Marker:
        return Marker(self)


class Marker(WebSocketExtension):
    factory: Factory

    def process_outgoing(self, frame: Frame, compress: bool | None = None) -> Frame:
        word = f"<{self.name}{'' if compress is None else int(compress)}>".encode()
        return frame.replace(payload=frame.payload + word, **dict.fromkeys(self.bits(), True))

    def transform_whole(self, frame: Frame) -> Frame:
        return frame.replace(payload=frame.payload + f">{self.name} whole".encode())

    def process_incoming(self, item: Frame | FrameChunk) -> Iterable[Frame | FrameChunk]:
        mark = f"<{self.name}>".encode()
        assert isinstance(item, Frame)
        assert item.payload.endswith(mark)
        # A generator: what comes out may be computed late.
        whole = item.payload[: -len(mark)]
        changes: dict[str, Any] = {"payload": whole, **dict.fromkeys(self.bits(), False)}
        yield item.replace(**changes)

    def needs_thread(self, frame: Frame, compress: bool | None = None) -> bool:
        return self.factory.slow and len(frame.payload) > 3

    @property
    def outgoing_key(self) -> Hashable | None:
        return self.factory.key

    def bits(self) -> list[str]:
        return [name for name, used in zip(("rsv1", "rsv2", "rsv3"), self.factory.rsv) if used]


def pipeline(*factories: Factory) -> ExtensionPipeline:
    return ExtensionPipeline([Marker(factory) for factory in factories])


CHUNK_HEADER = FrameHeader(Opcode.BINARY, 10, Opcode.BINARY)


class TestEmptyPipeline:
    def test_passes_everything_on(self) -> None:
        empty = ExtensionPipeline()
        frame = Frame.binary(b"x", rsv1=True)
        assert empty.outgoing(frame) is frame
        for item in (Frame.binary(b"x"), Frame.ping(b"x"), FrameChunk(CHUNK_HEADER, b"x", 0, False)):
            (same,) = empty.incoming(item)
            assert same is item
        assert len(empty) == 0
        assert list(empty) == []
        assert not empty.needs_thread(frame)
        assert empty.outgoing_key == ()

    @pytest.mark.parametrize("bit", ["1", "2", "3"])
    @pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.CONTINUATION, Opcode.PING, Opcode.CLOSE])
    def test_refuses_reserved_bits(self, bit: str, opcode: Opcode) -> None:
        """MUST be 0 unless an extension is negotiated that defines meanings (section 5.2)."""
        with pytest.raises(ProtocolViolation, match=f"RSV{bit} is set") as caught:
            ExtensionPipeline().incoming(Frame(opcode, b"", rsv1=bit == "1", rsv2=bit == "2", rsv3=bit == "3"))
        assert caught.value.close_code == 1002

    def test_refuses_them_in_chunks_too(self) -> None:
        header = FrameHeader(Opcode.BINARY, 10, Opcode.BINARY, rsv2=True)
        with pytest.raises(ProtocolViolation, match="RSV2 is set but no extension uses it"):
            ExtensionPipeline().incoming(FrameChunk(header, b"", 0, False))


class TestPipeline:
    def test_incoming_order_is_the_reverse_of_outgoing_order(self) -> None:
        """Ktor runs both ways in the same order (SPEC 1.12, D2)."""
        both = pipeline(Factory("foo", "1"), Factory("bar", "23"))
        sent = both.outgoing(Frame.text("x"))
        assert sent == Frame.text("x<foo><bar>", rsv1=True, rsv2=True, rsv3=True)
        assert list(both.incoming(sent)) == [Frame.text("x")]

    def test_compress_reaches_the_extensions(self) -> None:
        assert pipeline(Factory("a"), Factory("b")).outgoing(Frame.text("x"), True).payload == b"x<a1><b1>"
        assert pipeline(Factory("a")).outgoing(Frame.text("x"), compress=False).payload == b"x<a0>"

    @pytest.mark.parametrize("frame", [Frame.ping(b"x"), Frame.pong(b"x"), Frame.close(1000)], ids=repr)
    def test_control_frames_pass_by(self, frame: Frame) -> None:
        both = pipeline(Factory("foo", "1"), Factory("bar", slow=True))
        assert both.outgoing(frame) is frame
        assert list(both.incoming(frame)) == [frame]
        assert not both.needs_thread(frame.replace(payload=b"12345"))

    def test_an_owned_bit_on_a_control_frame_is_refused(self) -> None:
        with pytest.raises(ProtocolViolation, match="RSV1 is set on a control frame"):
            pipeline(Factory("foo", "1")).incoming(Frame(Opcode.PING, rsv1=True))

    def test_a_bit_of_nobody_is_refused(self) -> None:
        with pytest.raises(ProtocolViolation, match="RSV3 is set but no extension uses it"):
            pipeline(Factory("foo", "12")).incoming(Frame.binary(b"<foo>", rsv1=True, rsv3=True))

    def test_the_sender_does_not_set_bits_of_an_extension(self) -> None:
        one = pipeline(Factory("foo", "2"))
        with pytest.raises(ValueError, match="RSV2 is set by an extension"):
            one.outgoing(Frame.text("x", rsv2=True))
        assert one.outgoing(Frame.text("x", rsv3=True)) == Frame.text("x<foo>", rsv2=True, rsv3=True)

    def test_find(self) -> None:
        foo, bar = Factory("foo", "1"), Factory("bar", "2")
        both = pipeline(foo, bar)
        first, second = both
        assert both.find("foo") is first
        assert both.find(bar) is second
        assert both.find(Factory("bar")) is second  # a factory that was copied with other options is still meant
        assert both.find(Marker) is first
        assert both.find(Factory) is first
        assert both.find("baz") is None
        assert both.find(Factory("baz")) is None
        assert both.find(type("Other", (WebSocketExtension,), {})) is None

    def test_needs_thread_when_one_of_them_does(self) -> None:
        assert pipeline(Factory("a"), Factory("b", slow=True)).needs_thread(Frame.text("1234"))
        assert not pipeline(Factory("a"), Factory("b", slow=True)).needs_thread(Frame.text("123"))
        assert not pipeline(Factory("a")).needs_thread(Frame.text("1234"))

    def test_a_whole_message_for_several_connections(self) -> None:
        both = pipeline(Factory("a", key=1), Factory("b", key="x"))
        assert both.outgoing_whole(Frame.text("m")).payload == b"m>a whole>b whole"
        ping = Frame.ping(b"p")
        assert both.outgoing_whole(ping) is ping
        for fragment in (Frame.text("m", fin=False), Frame(0, b"m")):
            with pytest.raises(ValueError, match="not a fragment"):
                both.outgoing_whole(fragment)
        with pytest.raises(ValueError, match="RSV2 is set by an extension"):
            pipeline(Factory("a", "2", key=1)).outgoing_whole(Frame(1, b"m", rsv2=True))

    def test_a_whole_message_without_a_key_is_for_one_connection(self) -> None:
        with pytest.raises(RuntimeError, match="depends on what this connection sent before"):
            pipeline(Factory("a", key=1), Factory("b")).outgoing_whole(Frame.text("m"))

    def test_a_key_needs_transform_whole(self) -> None:
        """Else a broadcast would silently skip the extension."""

        class Forgetful(WebSocketExtension):
            outgoing_key = 1

        with pytest.raises(NotImplementedError, match="Forgetful has an outgoing_key"):
            ExtensionPipeline([Forgetful(Factory("a"))]).outgoing_whole(Frame.text("m"))

    def test_outgoing_key(self) -> None:
        assert pipeline(Factory("a", key=1), Factory("b", key="x")).outgoing_key == (1, "x")
        assert pipeline(Factory("a", key=1), Factory("b")).outgoing_key is None

    def test_the_base_class_changes_nothing(self) -> None:
        plain = WebSocketExtension(Factory("plain"))
        frame = Frame.text("x")
        assert plain.name == "plain"
        assert plain.process_outgoing(frame, True) is frame
        assert list(plain.process_incoming(frame)) == [frame]
        assert not plain.needs_thread(frame)
        assert plain.outgoing_key is None


class TestConflicts:
    """Ktor's check never fires (SPEC 1.12, D1)."""

    @pytest.mark.parametrize("bit", ["1", "2", "3"])
    def test_one_bit_twice(self, bit: str) -> None:
        factories = [Factory("foo", bit), Factory("baz"), Factory("bar", "123")]
        with pytest.raises(ValueError, match=f"extensions foo and bar both use RSV{bit}"):
            check_conflicts(factories)
        with pytest.raises(ValueError, match="both use RSV"):
            pipeline(*factories)

    def test_one_name_twice(self) -> None:
        with pytest.raises(ValueError, match="extension foo is installed twice"):
            check_conflicts([Factory("foo", "1"), Factory("foo", "2")])

    def test_none(self) -> None:
        check_conflicts([])
        check_conflicts(iter([Factory("a", "1"), Factory("b", "23"), Factory("c"), Factory("d")]))


class TestAcceptOffer:
    def header(self, *parameters: str) -> WebSocketExtensionHeader:
        return WebSocketExtensionHeader("foo", [(name, None) for name in parameters])

    def test_the_first_acceptable_offer_is_chosen(self) -> None:
        offers = [self.header("no"), self.header("a"), self.header("b")]
        accepted = Factory("foo").accept_offer(offers)
        assert accepted is not None
        assert accepted[0] == self.header("a")

    def test_an_offer_that_makes_no_sense_is_declined(self) -> None:
        with pytest.raises(HandshakeError):
            Factory("foo").accept(self.header("a", "a"))
        assert Factory("foo").accept_offer([self.header("a", "a")]) is None
        assert Factory("foo").accept_offer([self.header("a", "a"), self.header("b")]) is not None
        assert Factory("foo").accept_offer([]) is None
