"""``pump()`` in both of its ways, byte for byte and with a callback: requirements that hold for both."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from aiohttp_rawws import CloseReason

from ..tools.peers import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame
from ..tools.pumped import from_server, pumped, read_frame, unpumped
from ..tools.waiting import eventually

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
WAYS: dict[str, dict[str, Any]] = {
    "bytes": {},
    "frames": {"on_frame": lambda item, source: item},
}
both = pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)


@both
async def test_frames_pass_both_ways(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        for size in (0, 5, 125, 126, 65535, 65536, 300_000):
            await on.client.send(frame(BINARY, b"x" * size))
            assert await read_frame(on.server) == (FIN | BINARY, b"x" * size)
            await on.server.send(from_server(TEXT, b"y" * size))
            assert await read_frame(on.client) == (FIN | TEXT, b"y" * size)


@both
async def test_g28_pings_and_pongs_pass_and_nothing_is_answered(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        await on.client.send(frame(PING, b"are you there"), frame(PONG, b"unasked"), frame(TEXT, b"behind"))
        for expected in ((FIN | PING, b"are you there"), (FIN | PONG, b"unasked"), (FIN | TEXT, b"behind")):
            assert await read_frame(on.server) == expected
        await on.server.send(from_server(PING, b"and you"), from_server(TEXT, b"behind"))
        assert await read_frame(on.client) == (FIN | PING, b"and you")
        assert await read_frame(on.client) == (FIN | TEXT, b"behind")


@both
async def test_g29_a_fragment_passes_before_the_next_has_come(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        for opcode, payload, fin in ((TEXT, b"Hel", False), (PING, b"p", True), (0, b"lo", False), (0, b"", True)):
            await on.client.send(frame(opcode, payload, fin=fin))
            assert await read_frame(on.server) == (fin << 7 | opcode, payload)


@both
async def test_g30_text_that_is_not_utf8_passes(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        await on.client.send(frame(TEXT, b"\xff\xfe"))
        assert await read_frame(on.server) == (FIN | TEXT, b"\xff\xfe")


@both
async def test_g31_reserved_bits_and_opcodes_pass(how: dict[str, Any]) -> None:
    async with pumped(a={"strict": "hop"}, b={"strict": "hop"}, **how) as on:
        for head in (FIN | RSV1 | TEXT, FIN | RSV2 | RSV3 | BINARY, FIN | 3, FIN | 7, FIN | 11, FIN | RSV1 | PING):
            data = bytearray(frame(head & 15, b"abc"))
            data[0] = head
            await on.client.send(bytes(data))
            assert await read_frame(on.server) == (head, b"abc")


@both
async def test_a_stream_that_breaks_the_rules_between_the_ends_is_not_repaired(how: dict[str, Any]) -> None:
    """A new message inside an open one, a continuation of none, a fragmented ping."""
    stream = [(TEXT, b"a", False), (TEXT, b"b", False), (BINARY, b"c", True), (0, b"d", True), (0, b"e", False)]
    stream += [(PING, b"f", False), (BINARY, b"g", False), (BINARY, b"h", False), (0, b"i", True), (TEXT, b"j", True)]
    async with pumped(a={"strict": "hop"}, b={"strict": "hop"}, **how) as on:
        await on.client.send(*(frame(opcode, payload, fin=fin) for opcode, payload, fin in stream))
        for opcode, payload, fin in stream:
            assert await read_frame(on.server) == (fin << 7 | opcode, payload)


@both
async def test_g34_order_is_kept(how: dict[str, Any]) -> None:
    """Of frames of every kind and size, fragments and control frames between them."""
    dice = random.Random(34)
    sent = []
    for number in range(300):
        sent.append((FIN | BINARY, b"%d " % number + bytes(dice.choice((1, 10, 1000, 20_000)))))
        sent.append((TEXT, b"begin %d" % number))
        sent.append((FIN | dice.choice((PING, PONG)), b"%d" % number))
        sent.append((FIN, b"end"))
    async with pumped(**how) as on:
        wire = b"".join(frame(head & 15, payload, fin=head > 127) for head, payload in sent)
        sending = asyncio.create_task(on.client.send(wire))
        for expected in sent:
            assert await read_frame(on.server) == expected
        await sending


@both
async def test_g40_both_end_when_both_closes_have_passed(how: dict[str, Any]) -> None:
    """At once, though neither peer ends its stream, and no side reports 1006."""
    async with pumped(a={"close_timeout": 60}, b={"close_timeout": 60}, **how) as on:
        await on.client.send(close_frame(4000))
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x0f\xa0")
        await on.server.send(from_server(CLOSE, b"\x0f\xa1"))
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x0f\xa1")
        assert await on.client.read_to_end() == b""
        assert await on.server.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    for side, received, sent in ((report.a, 4000, 4001), (report.b, 4001, 4000)):
        assert side.clean and side.received is not None and side.sent is not None
        assert (side.received.code, side.sent.code) == (received, sent)


@both
async def test_g48_a_direction_that_is_closed_does_not_stop_the_other(how: dict[str, Any]) -> None:
    """Nor does it when the other is full: all of it arrives, however slowly."""
    size, count = 60_000, 300
    async with pumped(**how) as on:
        on.client.pause_reading()
        sending = asyncio.create_task(on.server.send(from_server(BINARY, b"x" * size) * count))
        await eventually(lambda: on.b.connection.reading_paused)
        await on.client.send(close_frame(1000))
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xe8")
        on.client.resume_reading()
        for _ in range(count):
            assert await read_frame(on.client) == (FIN | BINARY, b"x" * size)
        await sending
        await on.server.send(from_server(CLOSE, b"\x03\xe8"))
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xe8")
        assert await on.client.read_to_end() == b""


@both
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0b\xb8three", b"\x13\x87", b"\x0f\xa0" + b"x" * 123])
async def test_g37_a_close_arrives_as_it_was(how: dict[str, Any], payload: bytes) -> None:
    async with pumped(**how) as on:
        await on.server.send(from_server(CLOSE, payload))
        assert await read_frame(on.client) == (FIN | CLOSE, payload)
        await on.client.send(frame(CLOSE, payload))
        assert await read_frame(on.server) == (FIN | CLOSE, payload)
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.first == "b"
    assert report.a.clean and report.b.clean
    assert report.a.sent == report.b.received
    assert report.a_to_b.frames_received == report.a_to_b.frames_sent == 1


@both
async def test_g39_data_passes_the_other_way_after_a_close(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        await on.client.send(close_frame(1000))
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xe8")
        for number in range(3):
            await on.server.send(from_server(TEXT, b"late %d" % number))
            assert await read_frame(on.client) == (FIN | TEXT, b"late %d" % number)
        await on.server.send(from_server(CLOSE, b"\x03\xe8"))
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xe8")
        assert await on.client.read_to_end() == b""


@both
async def test_nothing_passes_behind_a_close(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        await on.client.send(close_frame(1000), frame(TEXT, b"too late"), frame(PING, b""))
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xe8")
        await on.server.send(from_server(CLOSE, b"\x03\xe8"))
        await on.server.close()
        report = await on.report()
    assert (report.a_to_b.frames_received, report.a_to_b.frames_sent) == (1, 1)


@both
async def test_g41_half_close_passes_and_the_answer_still_comes(how: dict[str, Any]) -> None:
    async with pumped(a={"close_timeout": 0.2}, b={"close_timeout": 0.2}, **how) as on:
        await on.client.send(frame(TEXT, b"last"))
        on.client.writer.write_eof()
        assert await read_frame(on.server) == (FIN | TEXT, b"last")
        assert await on.server.read_to_end() == b""
        await asyncio.sleep(1)  # longer than close_timeout
        await on.server.send(from_server(TEXT, b"answer"))
        assert await read_frame(on.client) == (FIN | TEXT, b"answer")
        on.server.writer.write_eof()
        assert await on.client.read_to_end() == b""
        report = await on.report()
    assert report.first == "a"
    assert report.a.received is None and report.a.eof


@both
async def test_g42_a_reset_becomes_a_reset(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        await on.client.send(frame(TEXT, b"x"))
        await read_frame(on.server)
        on.client.reset()
        with pytest.raises(ConnectionResetError):
            await on.server.read(1)
        report = await on.report()
    assert report.first == "a"
    assert isinstance(report.a.error, ConnectionResetError)


@both
async def test_g38_a_loss_can_become_a_close(how: dict[str, Any]) -> None:
    async with pumped(on_loss=CloseReason(1014, "gone"), **how) as on:
        on.server.reset()
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xf6gone")
        assert await on.client.read_to_end() == b""
        await on.client.close()
        report = await on.report()
    assert report.first == "b"


@both
async def test_g38_an_end_without_a_close_can_become_a_close(how: dict[str, Any]) -> None:
    async with pumped(on_loss=CloseReason(1014), **how) as on:
        await on.server.close()
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xf6")
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.report()


@both
async def test_no_close_inside_of_a_frame(how: dict[str, Any]) -> None:
    """A part of a frame has passed: a Close would be taken for its payload."""
    threshold = {"frame_streaming_threshold": 100}
    async with pumped(a=threshold, b=threshold, on_loss=CloseReason(1014), **how) as on:
        await on.server.send(from_server(BINARY, b"x" * 1000)[:500])
        assert await on.client.read(400)
        on.server.reset()
        assert CLOSE not in await on.client.read_to_end()


@both
async def test_g33_a_frame_beyond_the_limit(how: dict[str, Any]) -> None:
    async with pumped(a={"max_frame_size": 1000}, **how) as on:
        await on.client.send(frame(TEXT, b"before"), frame(BINARY, b"x" * 1001))
        assert await read_frame(on.server) == (FIN | TEXT, b"before")
        assert await on.server.read_to_end() == b""
        head, payload = await read_frame(on.client)
        assert (head, payload[:2]) == (FIN | CLOSE, b"\x03\xf1")
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.limit == "max_frame_size"
    assert report.first == "a"


@both
async def test_g35_a_violation_is_refused(how: dict[str, Any]) -> None:
    async with pumped(b={"strict": "hop"}, **how) as on:
        await on.server.send(from_server(TEXT, b"before"), frame(TEXT, b"masked"))
        assert await read_frame(on.client) == (FIN | TEXT, b"before")
        assert await on.client.read_to_end() == b""
        head, payload = await read_frame(on.server)
        assert (head, payload[:2]) == (FIN | CLOSE, b"\x03\xea")
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.first == "b"
    assert report.limit is None
    assert report.b.error is not None


@both
async def test_frames_that_waited_and_bytes_behind_the_handshake_pass_first(how: dict[str, Any]) -> None:
    early = frame(TEXT, b"one") + frame(PING, b"two") + frame(BINARY, b"x" * 70_000) + frame(TEXT, b"four")[:3]
    async with unpumped(early_a=early, early_b=from_server(TEXT, b"welcome")) as on:
        await on.client.send(frame(TEXT, b"four")[3:], frame(TEXT, b"five"))
        await eventually(lambda: on.a.frames_waiting == 5)
        on.begin(**how)
        for expected in ((TEXT, b"one"), (PING, b"two"), (BINARY, b"x" * 70_000), (TEXT, b"four"), (TEXT, b"five")):
            assert await read_frame(on.server) == (FIN | expected[0], expected[1])
        assert await read_frame(on.client) == (FIN | TEXT, b"welcome")


@both
@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, 300, 20_000])
async def test_a_pump_that_begins_inside_of_a_frame(how: dict[str, Any], cut: int) -> None:
    data = frame(TEXT, b"zero") + frame(BINARY, b"x" * 100_000) + frame(TEXT, b"behind")
    cut += len(frame(TEXT, b"zero"))
    async with unpumped() as on:
        await on.client.send(data[:cut])
        await eventually(lambda: on.a.stats.bytes_received == cut)
        on.begin(**how)
        await on.client.send(data[cut:])
        for expected in ((TEXT, b"zero"), (BINARY, b"x" * 100_000), (TEXT, b"behind")):
            assert await read_frame(on.server) == (FIN | expected[0], expected[1])


@both
async def test_a_session_that_has_closed_before(how: dict[str, Any]) -> None:
    async with unpumped() as on:
        await on.client.send(frame(TEXT, b"one"), close_frame(4001))
        await eventually(lambda: on.a.incoming_ended)
        on.begin(**how)
        assert await read_frame(on.server) == (FIN | TEXT, b"one")
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x0f\xa1")
        await on.server.send(from_server(CLOSE, b"\x0f\xa1"))
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x0f\xa1")
        await on.client.close()
        await on.server.close()
        assert (await on.report()).a.clean


@both
async def test_a_session_that_was_lost_before(how: dict[str, Any]) -> None:
    async with unpumped() as on:
        await on.client.send(frame(TEXT, b"one"))
        await eventually(lambda: on.a.frames_waiting)
        on.client.reset()
        await asyncio.wait_for(on.a.wait_closed(), 20)
        on.begin(**how)
        await on.report()


@both
async def test_g45_cancelling_sends_1001_to_both(how: dict[str, Any]) -> None:
    async with pumped(a={"close_timeout": 1}, b={"close_timeout": 1}, **how) as on:
        await on.client.send(frame(TEXT, b"x"))
        await read_frame(on.server)
        assert on.task is not None
        on.task.cancel()
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xe9")
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xe9")
        with pytest.raises(asyncio.CancelledError):
            await on.report()
        assert on.a.close_state.lost and on.b.close_state.lost


@both
async def test_a_close_of_ours_on_one_side_goes_to_both(how: dict[str, Any]) -> None:
    """As a server sends it that shuts down."""
    async with pumped(**how) as on:
        on.a.close_nowait(CloseReason(1001, "restart"))
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xe9restart")
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xe9restart")
        await on.client.send(close_frame(1001))
        await on.server.send(from_server(CLOSE, b"\x03\xe9"))
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.first is None
    assert report.a.clean and report.b.clean


@both
async def test_a_violation_while_a_frame_is_on_its_way_back(how: dict[str, Any]) -> None:
    """A Close inside of that frame would be a part of it. So none is sent, and the state of the session says so."""
    chunks = {"frame_streaming_threshold": 10}
    async with pumped(a={"strict": "hop", **chunks}, b=chunks, **how) as on:
        await on.server.send(from_server(BINARY, b"x" * 1000)[:504])
        assert await on.client.read(504) == from_server(BINARY, b"x" * 1000)[:504]
        await on.client.send(from_server(TEXT, b"not masked"))
        assert await on.client.read_to_end() == b""
        assert await on.server.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.a.sent is None
    assert report.b.sent is None


@both
async def test_g46_a_slow_reader_stops_the_sender(how: dict[str, Any]) -> None:
    async with pumped(high_water=100_000, **how) as on:
        on.server.pause_reading()
        sending = asyncio.create_task(on.client.send(frame(BINARY, b"x" * 60_000) * 1000))
        await asyncio.sleep(1)
        held = on.b.transport.get_write_buffer_size()
        assert 0 < held < 100_000 + 2 * 256 * 1024
        assert on.a.stats.bytes_received < 50_000_000
        on.server.resume_reading()
        for _ in range(1000):
            await on.server.read(60_000 + 8)
        await sending


@both
async def test_g47_both_blocked_at_once_recover(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        up, down = frame(BINARY, b"x" * 60_000) * 400, from_server(BINARY, b"y" * 60_000) * 400
        sending = [asyncio.create_task(on.client.send(up)), asyncio.create_task(on.server.send(down))]
        await asyncio.sleep(0.5)
        await asyncio.gather(on.server.read(len(up)), on.client.read(len(down)), *sending)


@both
async def test_g49_idle_timeout(how: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiohttp_rawws")
    async with pumped(idle_timeout=0.3, **how) as on:
        head, payload = await read_frame(on.client)
        assert (head, payload[:2]) == (FIN | CLOSE, b"\x03\xe9")
        head, payload = await read_frame(on.server)
        assert (head, payload[:2]) == (FIN | CLOSE, b"\x03\xe9")
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert (report.limit, report.first) == ("idle_timeout", None)
    assert "idle_timeout" in caplog.text


@both
@pytest.mark.parametrize("answers", [False, True])
async def test_a_close_without_an_answer(how: dict[str, Any], answers: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiohttp_rawws")
    async with pumped(a={"close_timeout": 0.3}, b={"close_timeout": 0.3}, **how) as on:
        on.a.close_nowait(CloseReason(1001))
        if answers:
            await on.client.send(close_frame(1001))
        report = await on.report()
    assert (report.limit, report.first, report.a.clean, report.b.clean) == ("close_timeout", None, answers, False)
    sides = [record.getMessage()[:12] for record in caplog.records if "close_timeout" in record.getMessage()]
    assert sides == (["pump: side b"] if answers else ["pump: side a", "pump: side b"])


@both
async def test_an_abort_of_ours_is_the_end_of_no_peer(how: dict[str, Any]) -> None:
    async with pumped(**how) as on:
        on.a.abort()
        assert (await on.report()).first is None


@both
async def test_half_open_timeout(how: dict[str, Any]) -> None:
    async with pumped(half_open_timeout=0.3, **how) as on:
        on.client.writer.write_eof()
        assert await on.server.read_to_end() == b""
        head, payload = await read_frame(on.client)
        assert (head, payload[:2]) == (FIN | CLOSE, b"\x03\xe9")
        await on.client.close()
        await on.server.close()
        assert (await on.report()).limit == "half_open_timeout"


@both
async def test_a_close_of_ours_waits_for_the_end_of_a_frame(how: dict[str, Any]) -> None:
    """As when a server shuts down while a large frame passes. Nothing else may be inside of that."""
    options = {"frame_streaming_threshold": 1000, "max_frame_size": None}
    data = from_server(BINARY, b"x" * 200_000)
    async with pumped(a=options, b=options, **how) as on:
        await on.server.send(data[:50_000])
        assert await on.client.read(50_000) == data[:50_000]
        on.a.close_nowait(1001)
        assert await read_frame(on.server) == (FIN | CLOSE, b"\x03\xe9")
        await on.server.send(data[50_000:], from_server(TEXT, b"too late"), from_server(CLOSE, b"\x03\xe9"))
        assert await on.client.read(150_010) == data[50_000:]
        assert await read_frame(on.client) == (FIN | CLOSE, b"\x03\xe9")
        await on.client.send(close_frame(1001))
        assert await on.client.read_to_end() == b""
        await on.client.close()
        await on.server.close()
        report = await on.report()
    assert report.a.clean and report.b.clean


@both
async def test_a_frame_that_is_never_complete_does_not_keep_the_other_side(how: dict[str, Any]) -> None:
    options = {"frame_streaming_threshold": 1000, "max_frame_size": None}
    async with pumped(a=options, b=options, **how) as on:
        await on.server.send(from_server(BINARY, b"x" * 200_000)[:50_000])
        await on.client.read(50_000)
        on.server.writer.write_eof()
        assert await on.client.read_to_end() == b""
        await on.client.close()
        assert await on.server.read_to_end() == b""
        await on.report()


@both
async def test_g41_a_stream_that_ended_before_is_half_closed(how: dict[str, Any]) -> None:
    """The timer of a half-open connection has begun by then, and does not end this one."""
    async with unpumped(a={"close_timeout": 0.3}) as on:
        await on.client.send(frame(TEXT, b"last"))
        on.client.writer.write_eof()
        await eventually(lambda: on.a.close_state.eof)
        on.begin(**how)
        assert await read_frame(on.server) == (FIN | TEXT, b"last")
        assert await on.server.read_to_end() == b""
        await asyncio.sleep(1)
        await on.server.send(from_server(TEXT, b"answer"))
        assert await read_frame(on.client) == (FIN | TEXT, b"answer")


@both
async def test_a_violation_before_the_start(how: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiohttp_rawws")
    async with unpumped() as on:
        await on.client.send(frame(TEXT, b"good"), frame(TEXT, b"bad", mask=None))
        await eventually(lambda: on.a.close_state.error)
        on.begin(**how)
        assert await read_frame(on.server) == (FIN | TEXT, b"good")
        assert await on.server.read_to_end() == b""
        head, payload = await read_frame(on.client)
        assert (head, payload[:2]) == (FIN | CLOSE, b"\x03\xea")
        await on.client.close()
        await on.server.close()
        assert (await on.report()).first == "a"
    assert len([record for record in caplog.records if "pump" in record.getMessage()]) == 1


@both
async def test_a_peer_that_reads_nothing_is_left(how: dict[str, Any]) -> None:
    async with pumped(a={"write_timeout": 0.5}, b={"write_timeout": 0.5}, high_water=10_000, **how) as on:
        on.server.pause_reading()
        sending = asyncio.create_task(on.client.send(frame(BINARY, b"x" * 60_000) * 1000))
        report = await on.report()
        with pytest.raises(ConnectionError):
            await sending
    assert report.limit == "write_timeout"
