"""One entry of the catalogue of misbehaviours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...wire.codec import Frame
from ..handshake import Handshake, HandshakeOf
from ..peer import Peer, Script
from ..verdicts import GOES_ON, PROTOCOL, REFUSES, Judgement

PATIENCE = 5.0  # seconds
ENDS = "Fails the connection: sends a Close with 1002, and ends TCP."
REFUSAL = "Fails the handshake: sends no frame, and ends TCP."
ORDINARY = "Goes on as if nothing were special. Nothing is wrong."


class NotOffered(Exception):
    """The misbehaviour cannot be done to this client."""


@dataclass(frozen=True, kw_only=True)
class Misbehaviour:
    """A server that does one thing wrong, or one thing that is legal and rare.

    Args:
        name: Its name, as in URLs.
        section: The section of RFC 6455, or of another RFC that is named.
        summary: The thing that the server does.
        good: The reaction of a good client.
        judgement: The table of verdicts.
        handshake: The answer to the request, or a function that makes it. None: nothing is sent.
            Default: ``Handshake()``.
        script: The misbehaviour behind the handshake. Default: None.
        echo: The messages that a client which echoes sends back. Default: none.
        pongs: The payloads of Pongs that a client which goes on has sent. Default: none.
        unanswered: Payloads of messages and Pings behind the server's Close, which get no answer. Default: none.
        probe: Send a Ping behind it. False: the client would not see it as one. Default: True.
        server_ends: The server closes in order, in the end. False: it leaves this to the client. Default: True.
        patience: Seconds that the client has to react. Default: 5.
        slow: It takes more than a few seconds. Default: False.
        group: The part of the catalogue. Default: empty.
    """

    name: str
    section: str
    summary: str
    good: str
    judgement: Judgement
    handshake: HandshakeOf | None = Handshake()
    script: Script | None = None
    echo: Sequence[str | bytes] = ()
    pongs: Sequence[bytes] = ()
    unanswered: Sequence[bytes] = ()
    probe: bool = True
    server_ends: bool = True
    patience: float = PATIENCE
    slow: bool = False
    group: str = ""

    def __repr__(self) -> str:
        return f"<Misbehaviour {self.name}: {self.summary}>"


def grouped(group: str, *entries: Iterable[Misbehaviour]) -> tuple[Misbehaviour, ...]:
    """Put entries into a group."""
    return tuple(replace(entry, group=group) for each in entries for entry in each)


def sends(*items: bytes | Frame) -> Script:
    """Make a script that sends bytes and frames."""

    async def script(peer: Peer) -> None:
        peer.write_bytes(b"".join(item if isinstance(item, bytes) else peer.encode(item) for item in items))
        await peer.flush()

    return script


def violation(
    name: str,
    section: str,
    summary: str,
    *items: bytes | Frame,
    judgement: Judgement = PROTOCOL,
    good: str = ENDS,
    probe: bool = True,
    patience: float = PATIENCE,
) -> Misbehaviour:
    """Make an entry whose script sends bytes that break the RFC."""
    return Misbehaviour(
        name=name,
        section=section,
        summary=summary,
        good=good,
        judgement=judgement,
        script=sends(*items),
        probe=probe,
        patience=patience,
    )


def legal(
    name: str, section: str, summary: str, *items: bytes | Frame, echo: Sequence[str | bytes] = (), good: str = ORDINARY
) -> Misbehaviour:
    """Make an entry whose script sends what is legal."""
    return Misbehaviour(
        name=name, section=section, summary=summary, good=good, judgement=GOES_ON, script=sends(*items), echo=echo
    )


def refusal(
    name: str,
    section: str,
    summary: str,
    handshake: HandshakeOf,
    *,
    judgement: Judgement = REFUSES,
    good: str = REFUSAL,
    probe: bool = True,
) -> Misbehaviour:
    """Make an entry whose handshake must not open a WebSocket."""
    return Misbehaviour(
        name=name, section=section, summary=summary, good=good, judgement=judgement, handshake=handshake, probe=probe
    )
