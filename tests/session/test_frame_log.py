"""The log of frames: what stands in a line, that nothing is changed by it, and that it is off unless it is wanted."""

from __future__ import annotations

import gc
import logging
import re
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from aiohttp_rawws import (
    DefaultWebSocketSession,
    Frame,
    Opcode,
    PreparedFrame,
    WebSocketSession,
    broadcast,
    encode_header,
    memory_pair,
)
from aiohttp_rawws.session.frame_log import EXCERPT, logger

from ..tools.clock import idle
from ..tools.talking import bounded_wait, each_kind, hang_up, over, talking, waiting
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")


class Lines(logging.Handler):
    """The lines of the log, without the number of the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.levelno == logging.DEBUG
        line = record.getMessage()
        assert line.isascii() and line.isprintable()
        self.all.append(line)

    def of(self, who: str, direction: str) -> list[str]:
        """What the session with this peer has sent or received."""
        found = [re.fullmatch(rf"#[0-9]+ with memory:{who} {direction} (.*)", line) for line in self.all]
        return [match[1] for match in found if match]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def pair(**options: Any) -> tuple[WebSocketSession, WebSocketSession]:
    """A server, which the log calls first, and a client, second."""
    return memory_pair(**options)


async def end(*sessions: Any) -> None:
    for session in sessions:
        session.abort()
    for session in sessions:
        await bounded_wait(session.wait_closed())


FRAMES: dict[str, tuple[list[Frame], list[str]]] = {
    "text": ([Frame.text("h\xfc")], ["TEXT FIN 3 bytes 'h\\xfc'"]),
    "forged": ([Frame.text("a\n\x1b[0m'\u2028")], ['TEXT FIN 10 bytes "a\\n\\x1b[0m\'\\u2028"']),
    "not UTF-8": ([Frame.text(b"\xffx")], ["TEXT FIN 2 bytes '\\ufffdx'"]),
    "long text": ([Frame.text("x" * 100)], [f"TEXT FIN 100 bytes '{'x' * EXCERPT}'..."]),
    "binary": ([Frame.binary(b"\x00a")], ["BINARY FIN 2 bytes b'\\x00a'"]),
    "empty": ([Frame.binary(b"")], ["BINARY FIN 0 bytes"]),
    "reserved bits": (
        [Frame(Opcode.TEXT, b"x", rsv1=True), Frame(Opcode.TEXT, b"x", rsv2=True, rsv3=True)],
        ["TEXT FIN RSV1 1 bytes b'x'", "TEXT FIN RSV2 RSV3 1 bytes 'x'"],
    ),
    "fragments": (
        [Frame.text("Hel", fin=False), Frame.ping(b"p"), Frame.text("lo")],
        ["TEXT 3 bytes 'Hel'", "PING FIN 1 bytes b'p'", "CONTINUATION of TEXT FIN 2 bytes 'lo'"],
    ),
    "close": ([Frame.close(1000, "by\xeb")], ["CLOSE FIN 6 bytes 1000 'by\\xeb'"]),
    "empty close": ([Frame.close()], ["CLOSE FIN 0 bytes"]),
    "large": ([Frame.binary(b"x" * 100_000)], [f"BINARY FIN 100000 bytes b'{'x' * EXCERPT}'..."]),
}


def masked(texts: list[str]) -> list[str]:
    return [re.sub(r" ([0-9]+ bytes)", r" masked \1", text, count=1) for text in texts]


@pytest.mark.parametrize("name", FRAMES)
async def test_what_a_line_says(name: str, lines: Lines) -> None:
    frames, texts = FRAMES[name]
    server, client = pair()
    for frame in frames:
        server.send_nowait(frame)
        client.send_nowait(frame)
    await idle()
    assert lines.of("first", ">") == texts
    assert lines.of("second", "<") == texts
    assert lines.of("second", ">") == masked(texts)
    assert lines.of("first", "<") == masked(texts)
    assert len(lines.all) == 4 * len(frames)
    await end(server, client)


async def test_an_opcode_that_is_reserved(lines: Lines) -> None:
    server, client = pair(strict=False)
    server.send_nowait(Frame(3, b"x"))
    await idle()
    assert lines.of("first", ">") == lines.of("second", "<") == [f"{Opcode(3).name} FIN 1 bytes b'x'"]
    await end(server, client)


async def test_a_batch_is_a_line_for_each_frame(lines: Lines) -> None:
    server, client = pair()
    with server.cork():
        for number in range(3):
            server.send_nowait(str(number))
        assert not lines.all  # nothing has left yet
    await idle()
    assert lines.of("first", ">") == [f"TEXT FIN 1 bytes '{number}'" for number in range(3)]
    await end(server, client)


async def test_prepared_frames_and_broadcasts(lines: Lines) -> None:
    server, client = pair()
    await server.send(PreparedFrame(Frame.text("prepared")))
    broadcast([server], "broadcast")
    await idle()
    assert lines.of("first", ">") == ["TEXT FIN 8 bytes 'prepared'", "TEXT FIN 9 bytes 'broadcast'"]
    await end(server, client)


async def test_a_managed_session_logs_frames_and_not_messages(lines: Lines) -> None:
    """A large frame comes in pieces there, and has one line."""
    raw, client = pair()
    server = DefaultWebSocketSession(raw)
    server.start()
    client.send_nowait(Frame.text("Hel", fin=False))
    client.send_nowait(Frame.text("lo"))
    client.send_nowait(Frame.binary(b"x" * 300_000))
    client.send_nowait(Frame.ping(b"p"))
    await idle()
    assert lines.of("first", "<") == masked(
        [
            "TEXT 3 bytes 'Hel'",
            "CONTINUATION of TEXT FIN 2 bytes 'lo'",
            f"BINARY FIN 300000 bytes b'{'x' * EXCERPT}'...",
            "PING FIN 1 bytes b'p'",
        ]
    )
    assert lines.of("first", ">") == ["PONG FIN 1 bytes b'p'"]
    await end(server, client)


async def test_compressed_frames_are_shown_as_they_are_on_the_wire(lines: Lines) -> None:
    async with talking("deflate") as (session, _, peer):
        await session.send("x" * 1000)
        await settle()
        assert len(waiting(peer)[0].payload) == 1000
        (sent,) = lines.of("first", ">")
        assert re.fullmatch(r"TEXT FIN RSV1 [0-9]{2} bytes b'.*'", sent)
        assert lines.of("second", "<") == [sent]


async def test_a_violation(lines: Lines) -> None:
    server, client = pair()
    client.write_bytes(b"\x83\x80abcd")  # a reserved opcode
    await idle()
    frame, violation = lines.of("first", "<")
    assert frame == f"{Opcode(3).name} FIN masked 0 bytes"
    assert violation.startswith("ProtocolViolation: ")
    assert lines.of("first", ">")[0].startswith("CLOSE FIN ")
    await end(server, client)


async def test_frames_of_ones_own_making(lines: Lines) -> None:
    server, client = pair(strict=False)
    server.send_raw(encode_header(Opcode.TEXT, 3), b"a")
    server.write_bytes(b"bc")
    server.send_raw(b"\x83\x01", b"x")
    await idle()
    assert lines.of("first", ">") == ["TEXT FIN 3 bytes 'a'...", f"{Opcode(3).name} FIN 1 bytes b'x'"]
    server.close_nowait(1000)
    server.write_bytes(b"behind it")
    await idle()
    assert lines.of("first", ">")[2:] == [
        "CLOSE FIN 2 bytes 1000 ''",
        "9 bytes behind a Close, or out of step: b'behind it'",
    ]
    await end(server, client)


async def test_bytes_that_are_no_frame(lines: Lines) -> None:
    server, client = pair()
    server.write_bytes(b"\x82\xff" + b"\xff" * 20)  # a length of more than 63 bits
    server.write_bytes(b"more")
    await idle()
    first, *rest = lines.of("first", ">")
    assert first.startswith("no frame: ")
    assert rest[0] == "4 bytes behind a Close, or out of step: b'more'"
    await end(server, client)


# ---- who it is ----------------------------------------------------------------------------------


async def test_each_connection_has_a_number(lines: Lines) -> None:
    pairs = [pair() for _ in range(2)]
    for server, _ in pairs:
        server.send_nowait("x")
    await idle()
    numbers = {line.partition(" ")[0] for line in lines.all}
    assert len(numbers) == 4
    for both in pairs:
        await end(*both)


# ---- on and off ---------------------------------------------------------------------------------


@each_kind
async def test_it_is_off_unless_it_is_wanted(kind: str) -> None:
    handler = Lines()
    logger.addHandler(handler)
    level = logger.level
    try:
        logger.setLevel(logging.INFO)
        async with talking(kind) as (session, raw, peer):
            logger.setLevel(logging.DEBUG)  # too late for these
            await session.send("x")
            await peer.send("x")
            await settle()
            assert raw.connection.tap is None
            assert raw.connection.transport is raw.transport
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert not handler.all


async def test_it_can_be_switched_off_again(lines: Lines) -> None:
    server, client = pair()
    logger.setLevel(logging.INFO)
    server.send_nowait("x")
    await idle()
    assert not lines.all
    assert (await bounded_wait(client.receive())).text == "x"
    await end(server, client)


@each_kind
async def test_nothing_is_changed_or_kept_by_it(kind: str, lines: Lines) -> None:
    payload = bytes(range(256)) * 200
    server, client = pair()
    session = over(kind, server, client, None)
    for item in ("text", payload, Frame.text("a", fin=False), Frame.text("b")):
        await session.send(item)
    await idle()
    assert b"".join(frame.payload for frame in waiting(client)) == b"text" + payload + b"ab"
    await client.send(payload)
    assert (await bounded_wait(session.receive())).payload == payload
    assert session.get_extra_info("peername") == ("memory", "first")
    await hang_up(client)
    session.close_nowait()
    await idle()
    await end(session, client)
    gone = weakref.ref(server)
    gc.collect()
    gc.disable()
    try:
        del session, server
        assert gone() is None
    finally:
        gc.enable()
    assert lines.all
