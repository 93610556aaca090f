"""The same bytes to our managed session, to wsproto and to websockets: the same messages, the same verdict.

Where they differ it is data: ``DIFFERENCES`` says for which bytes, who says what, and why.
"""

from __future__ import annotations

import asyncio
import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import wsproto.connection
import wsproto.events
import wsproto.utilities
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from aiohttp_rawws.errors import PeerError, SessionClosed
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.session.memory import memory_pair
from aiohttp_rawws.wire.codec import Frame, FrameParser

from ..tools import clock
from ..tools.peers import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame

LIMIT = 2**20  # of a message, for all three


class Verdict(NamedTuple):
    """The reaction of a server to a stream: the whole messages, and the end.

    messages: text as str, binary as bytes. pongs: answers to pings, in order.
    code: of the Close it sends: the peer's own, echoed, or that of its complaint; 1005 for one without; None if
        the stream ends with the connection open.
    """

    messages: tuple[str | bytes, ...]
    pongs: tuple[bytes, ...]
    code: int | None


# ---- the three ----------------------------------------------------------------------------


def sent_frames(wire: bytes) -> list[tuple[int, bytes]]:
    """The frames in what a server sent."""
    frames = []
    while wire:
        length, at = wire[1], 2
        if length == 126:
            length, at = struct.unpack("!H", wire[2:4])[0], 4
        frames.append((wire[0] & 0x0F, wire[at : at + length]))
        wire = wire[at + length :]
    return frames


def verdict(messages: list[str | bytes], sent: list[tuple[int, bytes]]) -> Verdict:
    pongs = tuple(payload for opcode, payload in sent if opcode == PONG)
    closes = [payload for opcode, payload in sent if opcode == CLOSE]
    assert len(closes) <= 1
    code = None
    if closes:
        code = int.from_bytes(closes[0][:2], "big") if closes[0] else 1005
    return Verdict(tuple(messages), pongs, code)


def ours(stream: bytes) -> Verdict:
    async def serve() -> Verdict:
        server, client = memory_pair(close_timeout=0.2, max_message_size=LIMIT, max_control_rate=None)
        session = DefaultWebSocketSession(server)
        session.start()
        client.listen(lambda item: sent.append((int(item.opcode), item.payload)))
        client.write_bytes(stream)
        for _ in range(8):
            await asyncio.sleep(0)
        client.transport.write_eof()
        messages: list[str | bytes] = []
        try:
            while True:
                message = await session.receive()
                messages.append(message.text if message.opcode == TEXT else message.payload)
        except (SessionClosed, PeerError):
            pass
        await session.wait_closed()
        client.abort()
        await client.wait_closed()
        return verdict(messages, sent)

    sent: list[tuple[int, bytes]] = []
    loop = clock.Loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(serve(), 60))
    finally:
        loop.close()


def by_wsproto(stream: bytes) -> Verdict:
    connection = wsproto.connection.Connection(wsproto.connection.ConnectionType.SERVER)
    messages: list[str | bytes] = []
    parts: list[Any] = []
    sent = b""
    try:
        connection.receive_data(stream)
        for event in connection.events():
            if isinstance(event, (wsproto.events.TextMessage, wsproto.events.BytesMessage)):
                parts.append(event.data)
                if event.message_finished:
                    empty: Any = "" if isinstance(event, wsproto.events.TextMessage) else b""
                    messages.append(empty.join(parts) if empty == "" else b"".join(map(bytes, parts)))
                    parts = []
            elif isinstance(event, wsproto.events.Ping):
                sent += connection.send(event.response())
            elif isinstance(event, wsproto.events.CloseConnection):
                sent += connection.send(event.response())
                break
    except wsproto.utilities.LocalProtocolError:
        raise
    except Exception as exc:
        hint = getattr(exc, "event_hint", None)
        sent += connection.send(hint or wsproto.events.CloseConnection(code=1002))
    return verdict(messages, sent_frames(sent))


def by_websockets(stream: bytes) -> Verdict:
    """The sans-I/O layer gives frames; what its connections do with them (joining, decoding) is done here."""
    protocol = ServerProtocol(state=OPEN, max_size=LIMIT)
    protocol.receive_data(stream)
    messages: list[str | bytes] = []
    decoder: Any = None
    parts: list[Any] = []
    for event in protocol.events_received():
        assert isinstance(event, TheirFrame)
        if event.opcode >= CLOSE:
            continue
        if event.opcode == TEXT:
            decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            parts.append(decoder.decode(event.data, event.fin) if decoder else bytes(event.data))
        except UnicodeDecodeError:
            sent = [f for f in sent_frames(b"".join(protocol.data_to_send())) if f[0] != CLOSE]
            return verdict(messages, [*sent, (CLOSE, struct.pack("!H", 1007))])
        if event.fin:
            messages.append("".join(parts) if decoder else b"".join(parts))
            parts, decoder = [], None
    return verdict(messages, sent_frames(b"".join(protocol.data_to_send())))


JUDGES: dict[str, Callable[[bytes], Verdict]] = {"ours": ours, "wsproto": by_wsproto, "websockets": by_websockets}


def verdicts(stream: bytes) -> dict[str, Verdict]:
    return {name: judge(stream) for name, judge in JUDGES.items()}


def bare(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes([first, second]) + rest


STREAMS: dict[str, bytes] = {
    "text": frame(TEXT, b"hello"),
    "binary": frame(BINARY, bytes(range(256))),
    "empty": frame(TEXT, b""),
    "125, 126, 65535, 65536": b"".join(frame(BINARY, b"x" * size) for size in (125, 126, 65535, 65536)),
    "fragments with a ping between": frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b"),
    "a character cut in two": frame(TEXT, "ä".encode()[:1], fin=False) + frame(0, "ä".encode()[1:]),
    "many pings": b"".join(frame(PING, b"%d" % number) for number in range(50)),
    "pong": frame(PONG, b"unasked"),
    "close": close_frame(1000, "bye"),
    "close without a code": frame(CLOSE, b""),
    "text, close, text": frame(TEXT, b"a") + close_frame(1001) + frame(TEXT, b"b"),
    "close inside a message": frame(TEXT, b"a", fin=False) + close_frame(3000),
    "unmasked": frame(TEXT, b"hello", mask=None),
    "text, unmasked": frame(TEXT, b"a") + frame(TEXT, b"hello", mask=None),
    "continuation of nothing": frame(0, b"x"),
    "a message inside a message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "fragmented ping": frame(PING, b"p", fin=False),
    "ping of 126": frame(PING, b"p" * 126),
    "bad UTF-8": frame(TEXT, b"a\xff"),
    "surrogates": frame(TEXT, b"\xed\xa0\x80"),
    "UTF-8 that ends early": frame(TEXT, "ä".encode()[:1]),
    "bad UTF-8 in the second fragment": frame(TEXT, b"a", fin=False) + frame(0, b"\xff"),
    "too big": bare(0x82, 0xFF, struct.pack("!Q", LIMIT + 1) + bytes(4)),
    "negative length": bare(0x82, 0xFF, struct.pack("!Q", 2**63) + bytes(4)),
    "nothing": b"",
    "half a frame": frame(TEXT, b"hello")[:-1],
    **{f"opcode {opcode}": frame(opcode, b"x") for opcode in (3, 7, 11, 15)},
    **{f"rsv {bit}": bare(0x81 | 0x80 >> bit, 0x80, bytes(4)) for bit in (1, 2, 3)},
    "not minimal in 16 bits": bare(0x82, 0xFE, struct.pack("!H", 5) + bytes(9)),
    "not minimal in 64 bits": bare(0x82, 0xFF, struct.pack("!Q", 200) + bytes(204)),
    "close of one byte": frame(CLOSE, b"\x03"),
    "close with bad UTF-8": frame(CLOSE, b"\x03\xe8\xff"),
    **{
        f"close {code}": close_frame(code)
        for code in (0, 999, 1000, *range(1003, 1008), *range(1011, 1017), 1100, 2999, 3000, 4999, 5000, 65535)
    },
}


@dataclass(frozen=True)
class Difference:
    """``who`` says ``what`` of these bytes, while the others agree with each other."""

    who: str
    what: Verdict
    why: str


NOT_MINIMAL = "RFC 6455, section 5.2: the minimal number of bytes MUST be used; websockets takes any"

DIFFERENCES: dict[str, Difference] = {
    "close inside a message": Difference(
        "websockets",
        Verdict((), (), 1002),
        "Section 5.5.1 lets a Close come at any time, so it is answered with its own code; websockets calls the "
        "message incomplete",
    ),
    "too big": Difference("wsproto", Verdict((), (), None), "wsproto has no limit: it is its user's to count"),
    "negative length": Difference(
        "websockets",
        Verdict((), (), 1009),
        "Section 5.2: the top bit MUST be 0. websockets reads it as a number, which is then too big",
    ),
    "not minimal in 16 bits": Difference("websockets", Verdict((bytes(5),), (), None), NOT_MINIMAL),
    "not minimal in 64 bits": Difference("websockets", Verdict((bytes(200),), (), None), NOT_MINIMAL),
    "close 1014": Difference(
        "wsproto",
        Verdict((), (), 1002),
        "Bad Gateway was registered with IANA after RFC 6455; wsproto knows the codes up to 1013",
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_verdict(name: str) -> None:
    said = verdicts(STREAMS[name])
    difference = DIFFERENCES.get(name)
    if difference is not None:
        assert said.pop(difference.who) == difference.what
    (one,) = set(said.values())
    assert difference is None or one != difference.what


ALIKE = [stream for name, stream in STREAMS.items() if name not in DIFFERENCES and name != "half a frame"]
BEGUN = frame(TEXT, b"a", fin=False)


def closes_inside_a_message(stream: bytes) -> bool:
    inside = False
    for item in FrameParser(strict=False, masked=None).feed(stream):
        assert isinstance(item, Frame)
        if item.opcode == CLOSE:
            return inside
        if not item.opcode.is_control:
            inside = not item.fin
    return False


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*ALIKE, *ALIKE[:8] * 4, BEGUN]), max_size=6))
def test_the_same_verdict_on_what_is_made_of_these(streams: list[bytes]) -> None:
    stream = b"".join(streams)
    said = verdicts(stream)
    if closes_inside_a_message(stream):
        del said["websockets"]
    elif said["websockets"].code == 1007:
        # Its sans-I/O layer does not look at text, and has answered the pings that come behind it.
        pongs = said["ours"].pongs
        assert said["websockets"].pongs[: len(pongs)] == pongs
        said["websockets"] = said["websockets"]._replace(pongs=pongs)
    assert len(set(said.values())) == 1, said


@pytest.mark.parametrize("name", ["opcode 3", "unmasked", "ping of 126", "fragmented ping", "continuation of nothing"])
def test_we_refuse_a_frame_before_its_header_is_complete(name: str) -> None:
    """The others wait for the bytes that cannot make it better."""
    said = verdicts(STREAMS[name][: 2 if name in ("unmasked", "ping of 126") else 1])
    assert said["ours"] == Verdict((), (), 1002)
    assert said["wsproto"].code in (None, 1002) and said["websockets"].code in (None, 1002)
