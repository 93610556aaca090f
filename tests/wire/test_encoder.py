"""Frames to bytes, each test over both builds."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import pytest

from aiohttp_rawws.wire.codes import Opcode

from .vectors import (
    VECTORS,
    codec_fixture,  # noqa: F401
    pattern,
    seen,
)


class TestEncode:
    """Sections 5.2, 5.3 and 5.4 the other way."""

    @pytest.mark.parametrize("name", [name for name in VECTORS if name != "fragments"])
    def test_vector(self, codec: ModuleType, name: str) -> None:
        wire, frames = VECTORS[name]
        key = frames[0].masking_key
        encoder = codec.FrameEncoder(masking=key is not None, new_masking_key=lambda: key)
        for frame in frames:
            rsv = dict(zip(("rsv1", "rsv2", "rsv3"), frame.rsv, strict=True))
            encoder.append(codec.Frame(frame.opcode, frame.payload, fin=frame.fin, kind=frame.kind, **rsv))
        assert encoder.size == len(wire)
        assert encoder.take() == wire
        assert (encoder.size, encoder.take()) == (0, b"")

    def test_a_message_is_continued_with_opcode_0(self, codec: ModuleType) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder()
        assert not encoder.mid_message
        assert encoder.encode(Frame.text("Hel", fin=False)) == b"\x01\x03Hel"
        assert encoder.mid_message
        assert encoder.encode(Frame.ping()) == b"\x89\x00"
        assert encoder.encode(Frame(0, b"l", fin=False)) == b"\x00\x01l"
        assert encoder.encode(Frame(0, b"l", fin=False, kind=1)) == b"\x00\x01l"
        assert encoder.encode(Frame.text("o")) == b"\x80\x01o"
        assert not encoder.mid_message
        assert encoder.encode(Frame.text("!")) == b"\x81\x01!"

    @pytest.mark.parametrize("call", ["encode", "append", "append_header"])
    def test_a_message_cannot_be_broken_into(self, codec: ModuleType, call: str) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder()
        send = getattr(encoder, call)
        with pytest.raises(RuntimeError, match="a continuation frame cannot be sent: no message has been begun"):
            send(Frame(0, b"x"))
        encoder.append(Frame.text("a", fin=False))
        size = encoder.size
        for other in (Frame.binary(b"x"), Frame(0, b"x", kind=Opcode.BINARY)):
            with pytest.raises(RuntimeError, match="a BINARY frame cannot be sent inside a TEXT message"):
                send(other)
        assert (encoder.size, encoder.mid_message) == (size, True)
        encoder.append(Frame.text("b"))
        assert encoder.take() == b"\x01\x01a\x80\x01b"

    def test_lenient_sends_opcodes_as_they_stand(self, codec: ModuleType) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder(strict=False)
        fragments = [Frame.text("", fin=False), Frame.binary(b"", fin=False)]
        sent = [Frame(0), *fragments, Frame.binary(b""), Frame(0), Frame(3)]
        assert [encoder.encode(frame)[0] for frame in sent] == [0x80, 0x01, 0x02, 0x80, 0x80, 0x83]

    @pytest.mark.parametrize("call", ["encode", "append"])
    def test_f7_hop_sends_frames_as_they_stand(self, codec: ModuleType, call: str) -> None:
        """Where a lenient encoder makes the same kind of frame a continuation, this one does not repair it."""
        Frame, encoder = codec.Frame, codec.FrameEncoder(strict="hop")
        fragments = [Frame.text("", fin=False), Frame.text("", fin=False, rsv1=True), Frame.binary(b"", fin=False)]
        for frame in [Frame(0), *fragments, Frame.ping(), Frame.binary(b""), Frame(0, fin=False), Frame(3), Frame(11)]:
            head = encoder.encode(frame)[0] if call == "encode" else encoder.append(frame) and encoder.take()[0]
            assert head == frame.fin << 7 | frame.rsv1 << 6 | frame.opcode

    def test_prepared(self, codec: ModuleType) -> None:
        prepared = codec.PreparedFrame(codec.Frame.text("hi"))
        encoder = codec.FrameEncoder()
        assert encoder.encode(prepared) is prepared.wire
        assert encoder.append(prepared) == 4
        assert encoder.take() == b"\x81\x02hi"
        encoder.masking = True
        assert encoder.encode(prepared)[1] == 0x82
        encoder.append(codec.Frame.binary(b"", fin=False))
        with pytest.raises(RuntimeError, match="a whole message cannot be sent inside a BINARY message"):
            encoder.append(prepared)
        encoder.append(codec.PreparedFrame(codec.Frame.ping()))
        assert encoder.mid_message
        lenient = codec.FrameEncoder(strict=False)
        lenient.append(codec.Frame.text("", fin=False))
        lenient.append(prepared)
        assert not lenient.mid_message

    def test_batch(self, codec: ModuleType) -> None:
        encoder = codec.FrameEncoder()
        large = codec.Frame.binary(pattern(70_000))
        parts = [encoder.append_bytes(b"raw"), encoder.append_header(large), encoder.append(large)]
        assert parts == [3, 10, 70_010]
        assert encoder.append_bytes(memoryview(b"")) == 0
        assert encoder.size == sum(parts)
        header = b"\x82\x7f" + (70_000).to_bytes(8, "big")
        assert encoder.take() == b"raw" + header + header + pattern(70_000)

    def test_bytes_of_the_caller_may_change_afterwards(self, codec: ModuleType) -> None:
        encoder, data = codec.FrameEncoder(), bytearray(b"raw")
        assert encoder.append_bytes(data) == 3
        data[:] = b"changed"
        assert encoder.take() == b"raw"

    def test_taken_bytes_are_not_touched_again(self, codec: ModuleType) -> None:
        encoder, batches = codec.FrameEncoder(), []
        for number in range(200):
            for _ in range(number % 7):
                encoder.append(codec.Frame.binary(bytes([number]) * (number * 13 % 300)))
            batches.append((encoder.take(), number))
        for batch, number in batches:
            frames = codec.FrameParser(masked=False).feed(batch)
            assert [frame.payload for frame in frames] == [bytes([number]) * (number * 13 % 300)] * (number % 7)

    def test_header_alone_cannot_be_masked(self, codec: ModuleType) -> None:
        with pytest.raises(RuntimeError, match="header of a masked frame"):
            codec.FrameEncoder(masking=True).append_header(codec.Frame.binary(b"x"))

    @pytest.mark.parametrize("call", ["encode", "append", "append_header"])
    def test_only_frames(self, codec: ModuleType, call: str) -> None:
        with pytest.raises(TypeError, match="a Frame can be encoded, not str"):
            getattr(codec.FrameEncoder(), call)("text")

    def test_payload_of_the_caller_stays(self, codec: ModuleType) -> None:
        payload = pattern(5000)
        frame = codec.Frame.binary(payload)
        encoder = codec.FrameEncoder(masking=True)
        encoder.append(frame)
        encoder.encode(frame)
        assert frame.payload is payload
        assert payload == pattern(5000)

    def test_masking_is_settable(self, codec: ModuleType) -> None:
        encoder = codec.FrameEncoder()
        assert encoder.masking is False
        encoder.masking = True
        assert seen(codec.FrameParser().feed(encoder.encode(codec.Frame.text("hi")))[0]).payload == b"hi"

    def test_keys_come_from_where_the_caller_says(self, codec: ModuleType) -> None:
        keys = itertools.count(1)
        encoder = codec.FrameEncoder(masking=True, new_masking_key=lambda: next(keys).to_bytes(4, "big"))
        encoder.append(codec.Frame.ping())
        encoder.append(codec.Frame.ping())
        assert encoder.take() == b"\x89\x80\x00\x00\x00\x01\x89\x80\x00\x00\x00\x02"
        with pytest.raises(ValueError, match="4 bytes long, not 3"):
            codec.FrameEncoder(masking=True, new_masking_key=lambda: b"abc").encode(codec.Frame.ping())


def failing() -> bytes:
    raise OSError("no randomness")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("masking", [True, False])
class TestOpenMessage:
    """Section 5.4: which message is open, and what is refused inside it."""

    def begun(self, codec: ModuleType, masking: bool, strict: bool) -> Any:
        encoder = codec.FrameEncoder(masking=masking, strict=strict)
        encoder.append(codec.Frame.text("a", fin=False))
        assert encoder.mid_message
        return encoder

    @pytest.mark.parametrize("call", ["encode", "append"])
    def test_a_prepared_message_inside(self, codec: ModuleType, masking: bool, strict: bool, call: str) -> None:
        """Refused; a lenient encoder sends it, and the message that was open is forgotten."""
        encoder = self.begun(codec, masking, strict)
        size = encoder.size
        for frame in (codec.Frame.text("b"), codec.Frame.binary(b"b")):
            prepared = codec.PreparedFrame(frame)
            if strict:
                with pytest.raises(RuntimeError, match="a whole message cannot be sent inside a TEXT message"):
                    getattr(encoder, call)(prepared)
                assert encoder.mid_message and encoder.size == size
            else:
                getattr(encoder, call)(prepared)
                assert not encoder.mid_message
        assert encoder.append(codec.PreparedFrame(codec.Frame.ping(b"p"))) == 3 + 4 * masking
        assert encoder.mid_message is strict

    def test_refuse_whole_message(self, codec: ModuleType, masking: bool, strict: bool) -> None:
        encoder = self.begun(codec, masking, strict)
        if strict:
            with pytest.raises(RuntimeError, match="a whole message cannot be sent inside a TEXT message"):
                encoder.refuse_whole_message()
        else:
            assert encoder.refuse_whole_message() is None
        encoder.append(codec.Frame.text("b"))  # continues it
        assert encoder.refuse_whole_message() is None

    @pytest.mark.parametrize("call", ["encode", "append", "append_header"])
    def test_after_each_call(self, codec: ModuleType, masking: bool, strict: bool, call: str) -> None:
        encoder = codec.FrameEncoder(masking=masking, strict=strict)
        if masking and call == "append_header":
            with pytest.raises(RuntimeError):
                encoder.append_header(codec.Frame.text("a", fin=False))
            assert not encoder.mid_message
            return
        for opcode, fin in ((2, True), (2, False), (9, True), (0, False), (2, False), (10, True), (0, True), (1, True)):
            before = encoder.mid_message
            getattr(encoder, call)(codec.Frame(opcode, b"x", fin=fin))
            assert encoder.mid_message is (before if opcode > 7 else not fin)

    @pytest.mark.parametrize("call", ["encode", "append", "append_header"])
    def test_an_error_changes_nothing(self, codec: ModuleType, masking: bool, strict: bool, call: str) -> None:
        encoder = self.begun(codec, masking, strict)
        size = encoder.size
        refused = [None, "text", codec.FrameHeader(Opcode.TEXT, 1, Opcode.TEXT)]
        if strict:
            refused += [codec.Frame.binary(b"x"), codec.Frame.binary(b"x", fin=False)]
        for frame in refused:
            with pytest.raises((TypeError, RuntimeError)):
                getattr(encoder, call)(frame)
            assert encoder.mid_message and encoder.size == size
        encoder.append(codec.Frame(0, b"b"))
        assert not encoder.mid_message

    def test_without_a_masking_key(self, codec: ModuleType, masking: bool, strict: bool) -> None:
        """The frame was not encoded, so no message has begun or ended."""
        encoder = codec.FrameEncoder(masking=True, strict=strict, new_masking_key=failing)
        for call in (encoder.encode, encoder.append):
            with pytest.raises(OSError, match="no randomness"):
                call(codec.Frame.text("a", fin=False))
            assert not encoder.mid_message and not encoder.size
        encoder.masking = False
        encoder.append(codec.Frame.text("a", fin=False))
        encoder.masking = True
        for frame in (codec.Frame.text("b"), codec.Frame.text("b", fin=False)):
            with pytest.raises(OSError, match="no randomness"):
                encoder.append(frame)
            assert encoder.mid_message and encoder.size == 3


SIZES = [0, 1, 125, 126, 65535, 65536, 70_001]


class TestPieces:
    """F2: a frame is begun with its header and length, and its payload comes in pieces."""

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("masking", [False, True])
    @pytest.mark.parametrize("piece", [1 << 20, 30_001, 7])
    def test_f2_the_same_bytes_as_of_the_whole_frame(
        self, codec: ModuleType, size: int, masking: bool, piece: int
    ) -> None:
        key, payload = b"\x01\x02\xfe\xff", pattern(size)
        encoders = [codec.FrameEncoder(masking=masking, new_masking_key=lambda: key) for _ in range(2)]
        frame = {"fin": False, "rsv1": True, "rsv3": True}
        whole = encoders[0].encode(codec.Frame.binary(payload, **frame))
        encoder, position = encoders[1], 0
        wire = [encoder.begin(codec.Frame.binary(b"", **frame), size)]
        step = piece if size < 1000 or piece > 7 else 9973
        while position < size:
            assert encoder.missing == size - position
            wire.append(encoder.piece(payload[position : position + step]))
            position += step
        assert encoder.missing == 0
        assert b"".join(wire) == whole
        assert encoder.mid_message

    def test_f2_any_length_that_a_header_can_say(self, codec: ModuleType) -> None:
        for masking, key in ((False, b""), (True, b"abcd")):
            encoder = codec.FrameEncoder(masking=masking, new_masking_key=lambda: b"abcd")
            length = (1 << 63) - 1
            header = encoder.begin(codec.Frame.text(""), length)
            assert header == b"\x81" + bytes([masking << 7 | 127]) + length.to_bytes(8, "big") + key
            assert encoder.missing == length
            encoder.give_up()
            assert encoder.missing == 0

    @pytest.mark.parametrize("length", [-1, 1 << 63, 1 << 70])
    def test_f2_other_lengths_are_refused(self, codec: ModuleType, length: int) -> None:
        encoder = codec.FrameEncoder()
        with pytest.raises(ValueError, match=f"a frame cannot be {length} bytes long"):
            encoder.begin(codec.Frame.binary(b""), length)
        with pytest.raises(TypeError):
            encoder.begin(codec.Frame.binary(b""), "1")
        assert (encoder.missing, encoder.mid_message) == (0, False)

    def test_f2_what_cannot_come_in_pieces(self, codec: ModuleType) -> None:
        Frame, encoder = codec.Frame, codec.FrameEncoder()
        for frame, error, text in (
            (Frame.ping(), ValueError, "a PING frame is sent whole, not in pieces"),
            (Frame(11), ValueError, "a RESERVED_11 frame is sent whole"),
            (Frame.binary(b"x"), ValueError, "the frame itself has to be empty"),
            (Frame(0), RuntimeError, "no message has been begun"),
            (codec.PreparedFrame(Frame.text("")), TypeError, "a Frame can be encoded, not PreparedFrame"),
            ("text", TypeError, "a Frame can be encoded, not str"),
        ):
            with pytest.raises(error, match=text):
                encoder.begin(frame, 5)
            assert (encoder.missing, encoder.mid_message) == (0, False)

    def test_f2_one_frame_at_a_time(self, codec: ModuleType) -> None:
        encoder = codec.FrameEncoder()
        encoder.begin(codec.Frame.binary(b"", fin=False), 3)
        with pytest.raises(RuntimeError, match="cannot be begun inside another: 3 bytes of its payload are missing"):
            encoder.begin(codec.Frame(0), 3)
        with pytest.raises(ValueError, match="4 bytes are more than the 3 that the frame still takes"):
            encoder.piece(b"abcd")
        assert (encoder.piece(b""), encoder.missing) == (b"", 3)
        assert encoder.piece(memoryview(b"abc")) == b"abc"
        with pytest.raises(ValueError, match="1 bytes are more than the 0"):
            encoder.piece(b"d")
        assert encoder.begin(codec.Frame(0), 0) == b"\x80\x00"
        assert (encoder.missing, encoder.mid_message) == (0, False)

    def test_f2_other_frames_can_be_encoded_meanwhile(self, codec: ModuleType) -> None:
        """They are for behind it. So may a change of ``masking``, which does not touch the frame that is open."""
        encoder = codec.FrameEncoder(masking=True, new_masking_key=lambda: b"\xff\xff\xff\xff")
        encoder.begin(codec.Frame.text("", fin=False), 2)
        encoder.masking = False
        assert encoder.encode(codec.Frame.ping()) == b"\x89\x00"
        assert encoder.encode(codec.Frame.text("x")) == b"\x80\x01x"
        assert encoder.piece(b"\x00\x01") == b"\xff\xfe"

    def test_f2_bytes_are_not_copied(self, codec: ModuleType) -> None:
        encoder, data = codec.FrameEncoder(), pattern(100_000)
        encoder.begin(codec.Frame.binary(b""), len(data))
        assert encoder.piece(data) is data

    def test_f2_without_a_masking_key(self, codec: ModuleType) -> None:
        def failing() -> bytes:
            raise LookupError

        encoder = codec.FrameEncoder(masking=True, new_masking_key=failing)
        with pytest.raises(LookupError):
            encoder.begin(codec.Frame.binary(b"", fin=False), 5)
        assert (encoder.missing, encoder.mid_message) == (0, False)
