"""Misbehaviours of the closing handshake (RFC 6455, sections 5.5.1 and 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...wire.codec import Frame, encode_header
from ...wire.codes import Opcode
from ..peer import Peer
from ..verdicts import LEFT, PROTOCOL, SURVIVES, Judgement, Reaction, closes, fails, how
from .entry import Misbehaviour, grouped, sends, violation

ANSWERS = "Answers with a Close, sends nothing more, and ends TCP when the server has."


def ends_itself(*codes: int) -> Judgement:
    """Make the judgement for a server that does not end TCP: the client closes with one of these codes, and ends it."""
    return Judgement(
        ok=(Reaction(how=how("closed"), codes=codes, ends=True),),
        non_strict=(Reaction(how=how("closed")), Reaction(how=LEFT)),
    )


def close(payload: bytes, fin: bool = True) -> bytes:
    """Make a Close frame with any payload."""
    return encode_header(Opcode.CLOSE, len(payload), fin=fin) + payload


def close_with(code: int, message: bytes = b"") -> bytes:
    """Make a Close frame with any code."""
    return close(code.to_bytes(2, "big") + message)


def closing(
    name: str,
    section: str,
    summary: str,
    *items: bytes | Frame,
    codes: tuple[int, ...] = (),
    unanswered: Sequence[bytes] = (),
) -> Misbehaviour:
    """Make an entry in which the server closes, and nothing is wrong with that."""
    return Misbehaviour(
        name=name,
        section=section,
        summary=summary,
        good=ANSWERS,
        judgement=closes(1000, 1005, *codes),
        script=sends(*items),
        unanswered=unanswered,
        probe=False,
    )


def right() -> Iterator[Misbehaviour]:
    """A Close that is right."""
    yield closing("close-1000", "7.1.2", "Closes with 1000.", close_with(1000))
    yield closing("close-empty", "5.5.1", "Sends a Close without a code.", close(b""))
    for code in (1001, 1011, 1012, 1014, 3000, 4999):
        yield closing(f"close-{code}", "7.4", f"Closes with {code}.", close_with(code, b"Bye"), codes=(code,))
    yield closing(
        "close-reason-123",
        "5.5.1",
        "Sends a Close with a reason of 123 bytes, the most that is allowed.",
        close_with(1000, "ü".encode() * 61 + b"."),
    )
    yield closing(
        "close-inside-message",
        "5.4",
        "Closes between the fragments of a message.",
        Frame.text("hel", fin=False),
        close_with(1000),
    )
    yield closing("close-twice", "5.5.1", "Sends a second Close behind the first.", close_with(1000), close_with(1001))
    yield closing(
        "data-behind-close",
        "5.5.1",
        "Sends a message and a Ping behind its Close.",
        close_with(1000),
        Frame.text("too late"),
        Frame.ping(b"too late"),
        unanswered=[b"too late"],
    )
    yield closing(
        "garbage-behind-close",
        "5.5.1",
        "Sends bytes that are no frame behind its Close.",
        close_with(1000),
        b"\xff" * 20,
    )

    async def with_eof(peer: Peer) -> None:
        peer.write_bytes(close_with(1000))
        await peer.half_close()

    yield Misbehaviour(
        name="close-and-eof",
        section="7.1.1",
        summary="Ends TCP at once behind its Close.",
        good=ANSWERS,
        judgement=closes(1000, 1005),
        script=with_eof,
        probe=False,
    )


def wrong() -> Iterator[Misbehaviour]:
    """A Close that is wrong."""
    yield violation("close-1-byte", "5.5.1", "Sends a Close of one byte.", close(b"\x03"), probe=False)
    yield violation("close-126", "5.5", "Sends a Close of 126 bytes.", close_with(1000, b"x" * 124), probe=False)
    yield violation("close-fragmented", "5.5", "Sends a Close without FIN.", close(b"\x03\xe8", fin=False), probe=False)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        summary = f"Closes with {code}, which no Close frame may have."
        yield violation(f"close-{code}", "7.4", summary, close_with(code), probe=False)
    yield violation(
        "close-not-utf8",
        "8.1",
        "Sends a Close whose reason is not UTF-8.",
        close_with(1000, b"\xff\xfe"),
        judgement=fails([1002, 1007]),
        good="Fails the connection: sends a Close with 1007 or 1002, and ends TCP.",
        probe=False,
    )
    yield violation(
        "close-rsv1",
        "5.2",
        "Sets the reserved bit RSV1 of a Close.",
        b"\xc8\x02\x03\xe8",
        judgement=PROTOCOL,
        probe=False,
    )


def unfinished() -> Iterator[Misbehaviour]:
    """A server that does not do its part."""

    async def reset(peer: Peer) -> None:
        peer.write_bytes(close_with(1000))
        await peer.flush()
        peer.reset()

    yield Misbehaviour(
        name="close-without-eof",
        section="7.1.1",
        summary="Closes with 1000, and does not end TCP.",
        good="Answers with a Close, and ends TCP itself after a while.",
        judgement=ends_itself(1000, 1005),
        script=sends(close_with(1000)),
        probe=False,
        server_ends=False,
        patience=15.0,
        slow=True,
    )
    yield Misbehaviour(
        name="close-unanswered",
        section="7.1.7",
        summary="Breaks the protocol, does not answer the client's Close, and does not end TCP.",
        good="Sends a Close with 1002, and ends TCP itself after a while.",
        judgement=ends_itself(1002),
        script=sends(b"\x83\x00"),
        probe=False,
        server_ends=False,
        patience=15.0,
        slow=True,
    )
    yield Misbehaviour(
        name="close-and-reset",
        section="7.1.1",
        summary="Resets TCP behind its Close.",
        good="Reports the end, and can connect again.",
        judgement=SURVIVES,
        script=reset,
        probe=False,
    )


ENTRIES = grouped("closing", right(), wrong(), unfinished())
