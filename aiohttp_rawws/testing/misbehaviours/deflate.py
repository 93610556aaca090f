"""Misbehaviours of permessage-deflate (RFC 7692). They need a client that offers it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

from ...wire.codec import Frame, encode_header
from ...wire.codes import Opcode
from ..handshake import Handshake, HandshakeRequest
from ..verdicts import GOES_ON, PAYLOAD, PROTOCOL, REFUSES, Judgement, Reaction, fails, how
from .entry import ENDS, ORDINARY, REFUSAL, Misbehaviour, NotOffered, grouped, sends

NAME = "permessage-deflate"
FIELD = "Sec-WebSocket-Extensions"
PLAIN = f"{NAME}; server_no_context_takeover; client_no_context_takeover"
BOMB = 32 * 2**20  # bytes

TEXT, BINARY, PING, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CONTINUATION


def agreed(*values: str) -> Callable[[HandshakeRequest], Handshake]:
    """Make a handshake that answers an offer of the extension with these values."""

    def handshake(request: HandshakeRequest) -> Handshake:
        if not request.offers(NAME):
            raise NotOffered
        return Handshake(headers=[(FIELD, value) for value in values])

    return handshake


def without_client_bits(request: HandshakeRequest) -> Handshake:
    """Answer with ``client_max_window_bits`` if the client did not offer it (RFC 7692, section 7.1.2.2)."""
    if not request.offers(NAME) or "client_max_window_bits" in request.headers.get(FIELD, ""):
        raise NotOffered
    return Handshake(headers={FIELD: f"{NAME}; client_max_window_bits=10"})


def deflated(data: bytes, *, final: bool = False) -> bytes:
    """Compress a message. ``final``: its last block says that it is the last (section 7.2.3.4)."""
    compressor = zlib.compressobj(wbits=-15)
    compressed = compressor.compress(data)
    if final:
        return compressed + compressor.flush() + b"\x00"
    return (compressed + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = True, rsv2: bool = False) -> bytes:
    """Make a frame, by default a compressed one."""
    return encode_header(opcode, len(payload), fin=fin, rsv1=rsv1, rsv2=rsv2) + payload


def in_context(*messages: bytes) -> list[bytes]:
    """Make frames that are compressed with one context."""
    compressor = zlib.compressobj(wbits=-15)
    return [
        frame(TEXT, (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]) for message in messages
    ]


def compressed(
    name: str,
    section: str,
    summary: str,
    *items: bytes | Frame,
    judgement: Judgement,
    good: str = ENDS,
    echo: Sequence[str | bytes] = (),
    answer: str = PLAIN,
    patience: float = 5.0,
) -> Misbehaviour:
    """Make an entry with the extension agreed on."""
    return Misbehaviour(
        name=f"deflate-{name}",
        section=f"RFC 7692, {section}",
        summary=summary,
        good=good,
        judgement=judgement,
        handshake=agreed(answer),
        script=sends(*items),
        echo=echo,
        patience=patience,
    )


def legal() -> Iterator[Misbehaviour]:
    """Messages that are right."""
    hello = deflated(b"Hello, Hello, Hello")

    def right(
        name: str, section: str, summary: str, *items: bytes | Frame, echo: Sequence[str | bytes]
    ) -> Misbehaviour:
        return compressed(name, section, summary, *items, judgement=GOES_ON, good=ORDINARY, echo=echo)

    yield right("message", "6.1", "Sends a compressed message.", frame(TEXT, hello), echo=["Hello, Hello, Hello"])
    yield right(
        "uncompressed",
        "6",
        "Sends a message that is not compressed.",
        frame(TEXT, b"Hello", rsv1=False),
        echo=["Hello"],
    )
    yield right(
        "fragments",
        "6.1",
        "Sends a compressed message in fragments, and Pings between them.",
        frame(TEXT, hello[:3], fin=False),
        Frame.ping(b"1"),
        frame(CONTINUATION, hello[3:5], fin=False, rsv1=False),
        Frame.ping(b"2"),
        frame(CONTINUATION, hello[5:], rsv1=False),
        echo=["Hello, Hello, Hello"],
    )
    yield right(
        "fragment-empty",
        "6.1",
        "Sends a compressed message whose last fragment is empty.",
        frame(TEXT, hello, fin=False),
        frame(CONTINUATION, b"", rsv1=False),
        echo=["Hello, Hello, Hello"],
    )
    yield right("empty", "7.2.3.6", "Sends an empty message, compressed to one byte.", frame(TEXT, b"\x00"), echo=[""])
    yield right(
        "block-final",
        "7.2.3.4",
        "Sends a message whose last block says that it is the last.",
        frame(TEXT, deflated(b"Hello", final=True)),
        echo=["Hello"],
    )
    yield right(
        "block-stored",
        "7.2.3.3",
        "Sends a message in a block that is stored.",
        frame(TEXT, b"\x00\x05\x00\xfa\xffHello\x00"),
        echo=["Hello"],
    )
    yield compressed(
        "context",
        "7.1.1",
        "Compresses a message with the context of the one before it.",
        *in_context(b"Hello, Hello, Hello", b"Hello, Hello, Hello"),
        judgement=GOES_ON,
        good=ORDINARY,
        echo=["Hello, Hello, Hello"] * 2,
        answer=f"{NAME}; client_no_context_takeover",
    )


def illegal() -> Iterator[Misbehaviour]:
    """Messages that are wrong."""
    data = fails([1002, 1007])
    good = "Fails the connection: sends a Close with 1007 or 1002, and ends TCP."
    yield compressed(
        "garbage", "6.2", "Sends bytes that cannot be inflated.", frame(TEXT, b"\xff" * 20), judgement=data, good=good
    )
    yield compressed(
        "block-unknown",
        "6.2",
        "Sends a block of the kind that is reserved.",
        frame(BINARY, b"\x07"),
        judgement=data,
        good=good,
    )
    yield compressed(
        "distance",
        "6.2",
        "Refers to bytes in front of the first one.",
        in_context(b"Hello, Hello, Hello", b"Hello, Hello, Hello")[1],
        judgement=data,
        good=good,
    )
    yield compressed(
        "utf8-invalid",
        "6.2",
        "Sends compressed Text that is not UTF-8.",
        frame(TEXT, deflated(b"Hello \xff world")),
        judgement=PAYLOAD,
        good="Fails the connection: sends a Close with 1007, and ends TCP.",
    )
    hello = deflated(b"Hello, Hello, Hello")
    yield compressed(
        "rsv1-on-continuation",
        "6.1",
        "Sets RSV1 in the second fragment, too.",
        frame(TEXT, hello[:3], fin=False),
        frame(CONTINUATION, hello[3:]),
        judgement=PROTOCOL,
    )
    yield compressed(
        "rsv1-on-second-only",
        "6.1",
        "Sets RSV1 only in the second fragment.",
        frame(TEXT, b"Hel", fin=False, rsv1=False),
        frame(CONTINUATION, hello),
        judgement=PROTOCOL,
    )
    yield compressed("rsv1-on-ping", "6", "Sets RSV1 of a Ping.", frame(PING, b"Hello"), judgement=PROTOCOL)
    yield compressed(
        "rsv2", "6", "Sets RSV2 of a compressed message.", frame(TEXT, hello, rsv2=True), judgement=PROTOCOL
    )
    yield compressed(
        "bomb",
        "8",
        "Sends 32 MiB that are compressed to 32 KiB.",
        frame(BINARY, deflated(bytes(BOMB))),
        judgement=Judgement(
            ok=(Reaction(how=how("closed"), codes=[1009], ends=True),),
            non_strict=(Reaction(how=how("closed", "ended", "reset")), Reaction(how=how("went on"), ends=True)),
        ),
        good="Has a limit for inflated messages: sends a Close with 1009, and ends TCP.",
        patience=15.0,
    )


def parameters() -> Iterator[Misbehaviour]:
    """Answers to the offer that are wrong (RFC 7692, section 7.1)."""
    for name, section, summary, values in (
        ("twice", "5.1", "Accepts the extension twice.", (NAME, NAME)),
        ("twice-in-a-line", "5.1", "Accepts the extension twice, in one line.", (f"{NAME}, {NAME}",)),
        ("parameter-unknown", "7.1", "Has a parameter that is not defined.", (f"{NAME}; x_unknown=1",)),
        (
            "parameter-twice",
            "7.1",
            "Has a parameter twice.",
            (f"{NAME}; server_no_context_takeover; server_no_context_takeover",),
        ),
        ("takeover-value", "7.1.1", "Has a value where there is none.", (f"{NAME}; server_no_context_takeover=1",)),
        ("bits-7", "7.1.2.1", "Says server_max_window_bits=7. The least is 8.", (f"{NAME}; server_max_window_bits=7",)),
        (
            "bits-16",
            "7.1.2.1",
            "Says server_max_window_bits=16. The most is 15.",
            (f"{NAME}; server_max_window_bits=16",),
        ),
        ("bits-empty", "7.1.2.1", "Says server_max_window_bits without a value.", (f"{NAME}; server_max_window_bits",)),
        ("bits-zero", "7.1.2.1", "Says server_max_window_bits=08.", (f"{NAME}; server_max_window_bits=08",)),
    ):
        yield Misbehaviour(
            name=f"deflate-{name}",
            section=f"RFC 7692, {section}",
            summary=summary,
            good=REFUSAL,
            judgement=REFUSES,
            handshake=agreed(*values),
        )
    yield Misbehaviour(
        name="deflate-client-bits-unoffered",
        section="RFC 7692, 7.1.2.2",
        summary="Answers with client_max_window_bits, which was not offered.",
        good=REFUSAL,
        judgement=REFUSES,
        handshake=without_client_bits,
    )


ENTRIES = (
    *grouped("deflate: messages", legal(), illegal()),
    *grouped("deflate: parameters", parameters()),
)
