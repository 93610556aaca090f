"""Misbehaviours of frames and messages (RFC 6455, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ...wire.codec import Frame, apply_mask, encode_header
from ...wire.codes import Opcode
from ..limits import ScriptTimeout
from ..peer import KEY, Peer
from ..verdicts import GOES_ON, LEAVES, PAYLOAD, SURVIVES, TOO_BIG
from .entry import ORDINARY, Misbehaviour, grouped, legal, violation

TEXT, BINARY, CLOSE, PING, PONG = Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG
CONTINUATION = Opcode.CONTINUATION
UNTIL_PONG = 3.0  # seconds
UTF8 = "Fails the connection: sends a Close with 1007, and ends TCP."


def made(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0) -> bytes:
    """Make a frame of any kind. ``rsv`` has the three reserved bits."""
    size = len(payload)
    return encode_header(opcode, size, fin=fin, rsv1=rsv & 4 > 0, rsv2=rsv & 2 > 0, rsv3=rsv & 1 > 0) + payload


def masked(opcode: int, payload: bytes) -> bytes:
    """Make a masked frame."""
    return encode_header(opcode, len(payload), masking_key=KEY) + apply_mask(payload, KEY)


def article(opcode: Opcode) -> str:
    """Return the name of a kind of frame with its article."""
    return f"a {opcode.name.capitalize()}"


def masks() -> Iterator[Misbehaviour]:
    """Masked frames."""
    for opcode in (TEXT, BINARY, PING, CLOSE):
        payload = b"\x03\xe8" if opcode is CLOSE else b"hello"
        name = f"masked-{opcode.name.lower()}"
        yield violation(name, "5.1", f"Masks {article(opcode)} frame.", masked(opcode, payload), probe=opcode != CLOSE)


def headers() -> Iterator[Misbehaviour]:
    """Reserved bits, reserved opcodes, lengths."""
    for number, bit in ((1, 4), (2, 2), (3, 1)):
        summary = f"Sets the reserved bit RSV{number} of a Text frame, without an extension."
        yield violation(f"rsv{number}", "5.2", summary, made(TEXT, b"hello", rsv=bit))
    yield violation("rsv-all", "5.2", "Sets all reserved bits of a Binary frame.", made(BINARY, b"hello", rsv=7))
    yield violation("rsv2-on-ping", "5.2", "Sets the reserved bit RSV2 of a Ping.", made(PING, b"hello", rsv=2))
    yield violation("rsv3-on-pong", "5.2", "Sets the reserved bit RSV3 of a Pong.", made(PONG, b"", rsv=1))
    for number in (*range(3, 8), *range(11, 16)):
        kind = "control" if number > 7 else "data"
        summary = f"Sends a frame with the opcode {number}, which is reserved for {kind} frames."
        yield violation(f"opcode-{number}", "5.2", summary, made(number, b"hello"))
    yield violation("opcode-3-empty", "5.2", "Sends an empty frame with the reserved opcode 3.", made(3))
    short = "The length is not in the shortest form"
    yield violation("length-16-for-5", "5.2", f"{short}: 5 in 16 bits.", b"\x81\x7e\x00\x05hello")
    yield violation("length-16-for-125", "5.2", f"{short}: 125 in 16 bits.", b"\x82\x7e\x00\x7d" + b"x" * 125)
    yield violation("length-64-for-5", "5.2", f"{short}: 5 in 64 bits.", b"\x81\x7f" + bytes(7) + b"\x05hello")
    yield violation(
        "length-64-for-65535", "5.2", f"{short}: 65535 in 64 bits.", b"\x82\x7f\0\0\0\0\0\0\xff\xff" + b"x" * 65535
    )
    yield violation(
        "length-negative",
        "5.2",
        "The highest bit of a 64-bit length is set.",
        b"\x82\x7f\x80" + bytes(6) + b"\x05hello",
    )
    yield violation(
        "length-2-62",
        "10.4",
        "Announces a frame of 2^62 bytes, and sends 5 of them.",
        b"\x82\x7f\x40" + bytes(7) + b"hello",
        judgement=TOO_BIG,
        good="Has a limit: sends a Close with 1009 when it sees the length, and ends TCP.",
        probe=False,
        patience=3.0,
    )


def ping(name: str, section: str, summary: str, payload: bytes) -> Misbehaviour:
    """Make an entry whose Ping is right, and needs its own Pong."""

    async def script(peer: Peer) -> None:
        # A client may answer only the last one of many Pings, so the next one has to wait.
        await peer.send(Frame.ping(payload))
        await peer.expect(Frame.pong(payload), within=UNTIL_PONG, skip=True)

    return Misbehaviour(
        name=name,
        section=section,
        summary=summary,
        good="Answers with a Pong of the same payload, and goes on.",
        judgement=GOES_ON,
        script=script,
        pongs=[payload],
    )


def control() -> Iterator[Misbehaviour]:
    """Control frames (section 5.5)."""
    for opcode in (PING, PONG):
        name = opcode.name.lower()
        # No continuation follows: a client that does not look at FIN would refuse that, and so be right by chance.
        summary = f"Sends {article(opcode)} without FIN."
        yield violation(f"{name}-fragmented", "5.5", summary, made(opcode, b"hello", fin=False))
        summary = f"Sends {article(opcode)} of 126 bytes. A control frame has at most 125."
        yield violation(f"{name}-126", "5.5", summary, made(opcode, b"x" * 126))
    yield violation("ping-65536", "5.5", "Sends a Ping of 65536 bytes.", made(PING, b"x" * 65536))
    yield violation(
        "ping-fragmented-in-message",
        "5.5",
        "Sends a Ping without FIN between the fragments of a message.",
        made(TEXT, b"hel", fin=False),
        made(PING, b"x", fin=False),
        made(CONTINUATION, b"lo"),
    )
    yield ping("ping-125", "5.5", "Sends a Ping of 125 bytes, the most that is allowed.", b"x" * 125)
    yield ping("ping-empty", "5.5.2", "Sends an empty Ping.", b"")
    yield legal("pong-unasked", "5.5.3", "Sends a Pong that nobody asked for.", Frame.pong(b"unasked"))
    yield legal("pong-unasked-125", "5.5.3", "Sends a Pong of 125 bytes that nobody asked for.", Frame.pong(b"x" * 125))
    yield legal("pings-10", "5.5.2", "Sends ten Pings at once.", *(Frame.ping(b"%d" % number) for number in range(10)))


def fragments() -> Iterator[Misbehaviour]:
    """Fragmentation (section 5.4)."""
    yield violation("continuation-first", "5.4", "Begins with a continuation.", made(CONTINUATION, b"hello"))
    yield violation(
        "continuation-first-open",
        "5.4",
        "Begins with a continuation without FIN.",
        made(CONTINUATION, b"hel", fin=False),
        made(CONTINUATION, b"lo"),
    )
    yield violation(
        "continuation-behind-message",
        "5.4",
        "Sends a continuation behind a message that is complete.",
        made(TEXT, b"hel", fin=False),
        made(CONTINUATION, b"lo"),
        made(CONTINUATION, b"more"),
    )
    for outer, inner in ((TEXT, TEXT), (TEXT, BINARY), (BINARY, TEXT), (BINARY, BINARY)):
        yield violation(
            f"{inner.name.lower()}-inside-{outer.name.lower()}",
            "5.4",
            f"Begins {article(inner)} message while {article(outer)} message is not complete.",
            made(outer, b"hel", fin=False),
            made(inner, b"other"),  # and no continuation, as above
        )
    yield legal(
        "fragments",
        "5.4",
        "Sends a message in three fragments.",
        made(TEXT, b"H", fin=False),
        made(CONTINUATION, b"el", fin=False),
        made(CONTINUATION, b"lo"),
        echo=["Hello"],
    )

    async def between(peer: Peer) -> None:
        peer.write_bytes(made(BINARY, b"H", fin=False) + made(PING, b"1"))
        with suppress(
            ScriptTimeout
        ):  # a client may answer only the last one of many Pings, so the next one has to wait
            await peer.expect(Frame.pong(b"1"), within=UNTIL_PONG, skip=True)
        peer.write_bytes(made(CONTINUATION, b"el", fin=False) + made(PONG, b"2") + made(PING, b"3"))
        peer.write_bytes(made(CONTINUATION, b"lo"))

    yield Misbehaviour(
        name="fragments-and-pings",
        section="5.4",
        summary="Sends Pings and Pongs between the fragments of a message.",
        good="Answers a Ping inside a message at once, and goes on.",
        judgement=GOES_ON,
        script=between,
        echo=[b"Hello"],
        pongs=[b"1"],
    )
    yield legal(
        "fragments-empty",
        "5.4",
        "Sends a message in three fragments that are empty but the second.",
        made(TEXT, fin=False),
        made(CONTINUATION, b"Hello", fin=False),
        made(CONTINUATION),
        echo=["Hello"],
    )
    yield legal(
        "fragments-all-empty",
        "5.4",
        "Sends an empty message in three fragments.",
        made(TEXT, fin=False),
        made(CONTINUATION, fin=False),
        made(CONTINUATION),
        echo=[""],
    )
    yield legal(
        "fragments-1000",
        "5.4",
        "Sends a message in a thousand fragments.",
        made(BINARY, b"x", fin=False),
        *[made(CONTINUATION, b"x", fin=False)] * 998,
        made(CONTINUATION, b"x"),
        echo=[b"x" * 1000],
    )
    sizes = (0, 1, 125, 126, 65535, 65536)
    yield legal(
        "sizes",
        "5.2",
        "Sends messages of 0, 1, 125, 126, 65535 and 65536 bytes, at the borders of the forms of a length.",
        *(made(BINARY, b"x" * size) for size in sizes),
        echo=[b"x" * size for size in sizes],
    )

    async def by_bytes(peer: Peer) -> None:
        await peer.drip(made(TEXT, b"Hello") + made(BINARY, b"x" * 130), 0.002)

    yield Misbehaviour(
        name="byte-by-byte",
        section="5.2",
        summary="Sends two messages in segments of one byte.",
        good=ORDINARY,
        judgement=GOES_ON,
        script=by_bytes,
        echo=["Hello", b"x" * 130],
    )


def broken_off() -> Iterator[Misbehaviour]:
    """Connections that end in the wrong place."""
    good = "Reports the loss (1006), and ends TCP."
    pieces = {
        "header": ("a header", b"\x82\x7f\x00"),
        "payload": ("a payload", made(TEXT, b"hello")[:-2]),
        "message": ("a message, between two fragments", made(TEXT, b"hel", fin=False)),
    }
    for name, (place, data) in pieces.items():

        async def half(peer: Peer, data: bytes = data) -> None:
            peer.write_bytes(data)
            await peer.half_close()

        async def reset(peer: Peer, data: bytes = data) -> None:
            peer.write_bytes(data)
            await peer.flush()
            peer.reset()

        yield Misbehaviour(
            name=f"eof-in-{name}",
            section="7.1.5",
            summary=f"Ends TCP inside {place}.",
            good=good,
            judgement=LEAVES,
            script=half,
            probe=False,
        )
        if name != "header":
            yield Misbehaviour(
                name=f"reset-in-{name}",
                section="7.1.5",
                summary=f"Resets TCP inside {place}.",
                good="Reports the loss (1006), and can connect again.",
                judgement=SURVIVES,
                script=reset,
                probe=False,
            )


def text() -> Iterator[Misbehaviour]:
    """Text that is not UTF-8 (section 8.1)."""
    bad = {
        "invalid": ("a byte that UTF-8 does not have", b"Hello \xff world"),
        "truncated": ("the first half of a character at its end", "Grü".encode()[:-1]),
        "overlong": ("an overlong form of a slash", b"\xc0\xaf"),
        "surrogate": ("a surrogate", b"\xed\xa0\x80"),
        "too-large": ("a code point above U+10FFFF", b"\xf4\x90\x80\x80"),
        "lone-continuation": ("a continuation byte alone", b"a\x80b"),
    }
    for name, (content, payload) in bad.items():
        summary = f"Sends a Text message with {content}."
        yield violation(f"utf8-{name}", "8.1", summary, made(TEXT, payload), judgement=PAYLOAD, good=UTF8)
    yield violation(
        "utf8-invalid-between-fragments",
        "8.1",
        "Sends a Text message in two fragments. Only together they are not UTF-8.",
        made(TEXT, b"Gr\xc3", fin=False),
        made(CONTINUATION, b"\x28"),
        judgement=PAYLOAD,
        good=UTF8,
    )

    async def slowly(peer: Peer) -> None:
        peer.write_bytes(made(TEXT, b"a\xff", fin=False))
        if await peer.probe(1.5):
            peer.write_bytes(made(CONTINUATION, b"b"))

    yield Misbehaviour(
        name="utf8-invalid-in-first-fragment",
        section="8.1",
        summary="Sends a fragment that is not UTF-8, and the last one later.",
        good="Fails the connection at the first fragment: sends a Close with 1007, and ends TCP.",
        judgement=PAYLOAD,
        script=slowly,
    )
    character = "🙂".encode()
    yield legal(
        "utf8-split",
        "8.1",
        "Splits a character between the fragments of a Text message.",
        made(TEXT, character[:1], fin=False),
        made(CONTINUATION, character[1:3], fin=False),
        made(CONTINUATION, character[3:]),
        echo=["🙂"],
    )
    odd = "\x00 \ufffe \uffff \U0010ffff \ufeff"
    yield legal("utf8-odd", "8.1", "Sends NUL, noncharacters and a BOM, which are UTF-8.", Frame.text(odd), echo=[odd])
    yield legal(
        "binary-not-utf8",
        "5.6",
        "Sends bytes that are not UTF-8 as Binary.",
        made(BINARY, b"\xff\xfe"),
        echo=[b"\xff\xfe"],
    )


ENTRIES = (
    *grouped("headers of frames", masks(), headers()),
    *grouped("control frames", control()),
    *grouped("fragments", fragments()),
    *grouped("text", text()),
    *grouped("ends of TCP", broken_off()),
)
