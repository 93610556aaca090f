"""Misbehaviours of time and number: a server that is slow, silent, or sends too much."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ...wire.codec import Frame, encode_header
from ...wire.codes import Opcode
from ..handshake import Handshake
from ..peer import Peer
from ..verdicts import GOES_ON, LEFT, REFUSES_LATE, Judgement, Reaction, how
from .entry import ORDINARY, Misbehaviour, NotOffered, grouped, sends

FLOOD = Judgement(
    ok=(
        Reaction(how=how("went on"), codes=[1000], ends=True),
        Reaction(how=how("closed"), codes=[1008, 1009], ends=True),
    ),
    non_strict=(
        Reaction(how=how("went on"), codes=[1005], ends=True),
        Reaction(how=how("closed"), ends=True),
        Reaction(how=LEFT),
    ),
)
FLOODED = "Goes on, or has a limit and closes with 1008 or 1009."
UNTIL_PING = 3.0  # seconds in which a client with a keepalive sends its first Ping
FIRST = encode_header(Opcode.BINARY, 0, fin=False)
NEXT = encode_header(Opcode.CONTINUATION, 0, fin=False)
LAST = encode_header(Opcode.CONTINUATION, 0)
GIVES_UP = "Gives up after a time of its own, and ends TCP. The RFC sets none."


def answers() -> Iterator[Misbehaviour]:
    """A handshake that takes its time."""
    yield Misbehaviour(
        name="head-delayed",
        section="4.1",
        summary="Answers the handshake after 2 seconds.",
        good=ORDINARY,
        judgement=GOES_ON,
        handshake=Handshake(delay=2.0),
        slow=True,
    )
    yield Misbehaviour(
        name="head-drips",
        section="4.1",
        summary="Sends the head in pieces of 8 bytes, ten a second.",
        good=ORDINARY,
        judgement=GOES_ON,
        handshake=Handshake(cut=range(0, 400, 8), delay=0.1),
        slow=True,
    )
    yield Misbehaviour(
        name="head-never",
        section="4.1",
        summary="Never answers the handshake.",
        good=GIVES_UP,
        judgement=REFUSES_LATE,
        handshake=None,
        probe=False,
        patience=15.0,
        slow=True,
    )
    yield Misbehaviour(
        name="head-stops",
        section="4.1",
        summary="Sends half of the head, and then nothing.",
        good=GIVES_UP,
        judgement=REFUSES_LATE,
        handshake=Handshake(length=60),
        probe=False,
        patience=15.0,
        slow=True,
    )


def slow() -> Iterator[Misbehaviour]:
    """Frames that take their time."""

    async def silent(peer: Peer) -> None:
        await wait(peer, 2.0)
        await peer.send("still here")

    async def drips(peer: Peer) -> None:
        await peer.drip(Frame.text("Hello"), 0.4)

    for name, place, at in (("header", "a header", 3), ("payload", "a payload", 100)):

        async def pauses(peer: Peer, at: int = at) -> None:
            data = peer.encode(Frame.binary(b"x" * 200))
            peer.write_bytes(data[:at])
            await peer.flush()
            await asyncio.sleep(2.0)
            peer.write_bytes(data[at:])

        yield Misbehaviour(
            name=f"pause-in-{name}",
            section="5.2",
            summary=f"Pauses for 2 seconds inside {place}.",
            good=ORDINARY,
            judgement=GOES_ON,
            script=pauses,
            echo=[b"x" * 200],
            slow=True,
        )
    yield Misbehaviour(
        name="silence",
        section="5.5.2",
        summary="Is silent for 2 seconds, and then sends a message.",
        good=ORDINARY,
        judgement=GOES_ON,
        script=silent,
        echo=["still here"],
        slow=True,
    )
    yield Misbehaviour(
        name="frame-drips",
        section="5.2",
        summary="Sends a frame of 7 bytes in 3 seconds.",
        good=ORDINARY,
        judgement=GOES_ON,
        script=drips,
        echo=["Hello"],
        slow=True,
    )


def floods() -> Iterator[Misbehaviour]:
    """Too much of something."""
    for frame in (Frame.ping(b"flood"), Frame.pong(b"flood")):
        name = frame.opcode.name
        yield Misbehaviour(
            name=f"{name.lower()}-flood",
            section="10.4",
            summary=f"Sends 5000 {name.capitalize()} frames at once.",
            good=FLOODED,
            judgement=FLOOD,
            script=sends(*[frame] * 5000),
            patience=10.0,
        )
    yield Misbehaviour(
        name="fragment-flood",
        section="10.4",
        summary="Sends a message of 150000 empty fragments.",
        good=FLOODED,
        judgement=FLOOD,
        script=sends(FIRST + NEXT * 149_998 + LAST),
        patience=15.0,
        slow=True,
    )
    yield Misbehaviour(
        name="message-flood",
        section="5.6",
        summary="Sends 2000 messages of one byte at once.",
        good="Goes on, and has read all of them.",
        judgement=GOES_ON,
        script=sends(*[Frame.text("x")] * 2000),
        echo=["x"] * 2000,
        patience=10.0,
    )


async def wait(peer: Peer, seconds: float) -> None:
    """Do nothing for a time but answer Pings."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        try:
            ping = await peer.expect(Opcode.PING, within=left, skip=True)
        except AssertionError:
            return
        await peer.send(Frame.pong(ping.payload))


async def ping_of(peer: Peer) -> Frame:
    """Wait for a Ping of the client.

    Raises:
        NotOffered: It sends none, and stays.
        AssertionError: It has left.
    """
    try:
        return await peer.expect(Opcode.PING, within=UNTIL_PING, skip=True)
    except AssertionError:
        if peer.transcript.close is not None or peer.transcript.end is not None:
            raise
        raise NotOffered from None


def pongs() -> Iterator[Misbehaviour]:
    """Answers to pings of the client. A client that sends none in 3 seconds cannot be tried."""

    async def late(peer: Peer) -> None:
        ping = await ping_of(peer)
        await asyncio.sleep(1.0)
        await peer.send(Frame.pong(ping.payload))

    async def twice(peer: Peer) -> None:
        ping = await ping_of(peer)
        await peer.send(Frame.pong(ping.payload))
        await peer.send(Frame.pong(ping.payload))

    async def wrong(peer: Peer) -> None:
        await ping_of(peer)
        await peer.send(Frame.pong(b"not what you sent"))

    async def missing(peer: Peer) -> None:
        await ping_of(peer)

    for name, summary, script in (
        ("pong-late", "Answers a Ping of the client after a second.", late),
        ("pong-twice", "Answers a Ping of the client twice.", twice),
        ("pong-wrong", "Answers a Ping of the client with a Pong that has another payload.", wrong),
    ):
        yield Misbehaviour(
            name=name,
            section="5.5.3",
            summary=summary,
            good=ORDINARY,
            judgement=GOES_ON,
            script=script,
            slow=True,
        )
    yield Misbehaviour(
        name="pong-missing",
        section="5.5.2",
        summary="Answers no Ping of the client.",
        good="Fails the connection after a time of its own, and ends TCP. The RFC sets none.",
        judgement=Judgement(
            ok=(Reaction(how=how("closed"), ends=True), Reaction(how=LEFT)), non_strict=(Reaction(how=how("silent")),)
        ),
        script=missing,
        probe=False,
        patience=15.0,
        slow=True,
    )


ENTRIES = (
    *grouped("time", answers(), slow()),
    *grouped("floods", floods()),
    *grouped("pongs", pongs()),
)
