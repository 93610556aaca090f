"""Misbehaviours of the opening handshake (RFC 6455, section 4)."""

from __future__ import annotations

from collections.abc import Iterator

from ...wire.codec import Frame, PreparedFrame
from ..handshake import Handshake, accept_of
from ..peer import Peer
from ..verdicts import GOES_ON, LEAVES, REFUSES, REFUSES_LATE, REFUSES_OR_GOES_ON, SURVIVES
from .entry import ORDINARY, REFUSAL, Misbehaviour, grouped, refusal

EARLY = PreparedFrame(Frame.text("early")).wire
LANDED = "/landed"  # a page that is a WebSocket: the aim of redirects


def goes_on(name: str, summary: str, handshake: Handshake, *echo: str, section: str = "4.1") -> Misbehaviour:
    """Make an entry whose handshake is right, though rare."""
    return Misbehaviour(
        name=name, section=section, summary=summary, good=ORDINARY, judgement=GOES_ON, handshake=handshake, echo=echo
    )


def rare() -> Iterator[Misbehaviour]:
    """Handshakes that are right."""
    yield goes_on("nothing-wrong", "Does nothing wrong.", Handshake(early=EARLY), "early")
    yield goes_on(
        "connection-list",
        "Connection has two tokens: keep-alive, Upgrade.",
        Handshake(headers={"Connection": "keep-alive, Upgrade"}),
    )
    yield goes_on(
        "connection-two-lines",
        "Connection comes in two lines: keep-alive, and Upgrade.",
        Handshake(headers=[("Connection", "keep-alive"), ("Connection", "Upgrade")]),
    )
    yield goes_on(
        "values-upper-case",
        "Upgrade is WEBSOCKET, Connection is UPGRADE.",
        Handshake(headers={"Upgrade": "WEBSOCKET", "Connection": "UPGRADE"}),
    )

    yield Misbehaviour(
        name="names-lower-case",
        section="4.1",
        summary="The names of all fields are in lower case.",
        good=ORDINARY,
        judgement=GOES_ON,
        handshake=lambda request: Handshake(
            drop=["Upgrade", "Connection", "Sec-WebSocket-Accept"],
            headers={
                "upgrade ".strip(): "websocket",
                "connection": "upgrade",
                "sec-websocket-accept": accept_of(request.key),
            },
        ),
    )
    yield goes_on("reason-empty", "There is no text behind the 101.", Handshake(reason=""))
    yield goes_on("reason-other", "The text behind the 101 is another one.", Handshake(reason="Web Socket Protocol"))
    yield goes_on(
        "fields-8k", "The head has 8 KiB of fields.", Handshake(headers={"X-Padding": "x" * 4000, "X-More": "y" * 4000})
    )
    yield goes_on(
        "fields-100", "The head has a hundred fields.", Handshake(headers=[("X-Field", str(n)) for n in range(100)])
    )
    yield goes_on(
        "head-in-pieces", "The head comes in segments of one byte.", Handshake(cut=range(400), early=EARLY), "early"
    )
    yield goes_on(
        "early-frames", "Three frames come in the segment of the head.", Handshake(early=EARLY * 3), *["early"] * 3
    )
    yield Misbehaviour(
        name="early-frame-cut",
        section="4.1",
        summary="The segment of the head ends inside a frame.",
        good=ORDINARY,
        judgement=GOES_ON,
        handshake=lambda request: Handshake(early=EARLY, cut=[len(Handshake().head(request)) + 3]),
        echo=["early"],
    )
    for status, name in ((100, "continue"), (103, "early-hints")):
        yield Misbehaviour(
            name=f"{name}-first",
            section="RFC 9110, 15.2",
            summary=f"Sends a response with {status} before the 101.",
            good="Passes over the first response and goes on, or fails the handshake.",
            judgement=REFUSES_OR_GOES_ON,
            handshake=Handshake(interim=f"HTTP/1.1 {status} Interim\r\n\r\n".encode()),
        )


def fields() -> Iterator[Misbehaviour]:
    """Fields that are wrong or missing (section 4.1, the list of what a client must check)."""
    accept = "Sec-WebSocket-Accept"
    yield refusal("accept-missing", "4.1", "There is no Sec-WebSocket-Accept.", Handshake(drop=[accept]))
    yield refusal(
        "accept-wrong", "4.1", "Sec-WebSocket-Accept is a wrong one.", Handshake(accept="bm90IHRoZSByaWdodCBrZXk=")
    )
    yield refusal("accept-empty", "4.1", "Sec-WebSocket-Accept is empty.", Handshake(accept=""))
    yield refusal(
        "accept-of-another-key",
        "4.1",
        "Sec-WebSocket-Accept belongs to the key of the example in the RFC.",
        Handshake(accept=accept_of("dGhlIHNhbXBsZSBub25jZQ==")),
    )
    yield refusal(
        "accept-is-the-key",
        "4.1",
        "Sec-WebSocket-Accept repeats the key.",
        lambda request: Handshake(accept=request.key),
    )
    yield refusal(
        "accept-other-case",
        "4.1",
        "Sec-WebSocket-Accept has the case of each letter swapped.",
        lambda request: Handshake(accept=accept_of(request.key).swapcase()),
    )
    yield refusal(
        "accept-twice",
        "4.1",
        "Sec-WebSocket-Accept comes twice, wrong and right.",
        lambda request: Handshake(headers=[(accept, "bm90IHRoZSByaWdodCBrZXk="), (accept, accept_of(request.key))]),
    )
    yield refusal("upgrade-missing", "4.1", "There is no Upgrade.", Handshake(drop=["Upgrade"]))
    yield refusal("upgrade-other", "4.1", "Upgrade is h2c.", Handshake(headers={"Upgrade": "h2c"}))
    yield refusal("connection-missing", "4.1", "There is no Connection.", Handshake(drop=["Connection"]))
    yield refusal("connection-close", "4.1", "Connection is close.", Handshake(headers={"Connection": "close"}))
    protocol = "Sec-WebSocket-Protocol"
    yield refusal(
        "protocol-unoffered",
        "4.1",
        "Chooses a subprotocol that was not offered.",
        Handshake(headers={protocol: "rawws-none"}),
    )
    yield refusal(
        "protocol-two",
        "4.1",
        "Chooses two subprotocols.",
        lambda request: Handshake(headers={protocol: ", ".join([*request.protocols, "rawws-a", "rawws-b"][:2])}),
    )
    extensions = "Sec-WebSocket-Extensions"
    yield refusal(
        "extension-unoffered",
        "4.1",
        "Chooses an extension that was not offered.",
        Handshake(headers={extensions: "x-rawws-none"}),
    )
    yield refusal(
        "extension-malformed",
        "9.1",
        "Sec-WebSocket-Extensions cannot be parsed.",
        Handshake(headers={extensions: ";;=,"}),
    )
    yield Misbehaviour(
        name="http-1.0",
        section="4.1",
        summary="The first line says HTTP/1.0.",
        good="Fails the handshake, or goes on: RFC 6455 asks for HTTP/1.1 only of requests.",
        judgement=REFUSES_OR_GOES_ON,
        handshake=Handshake(version="1.0"),
    )


def statuses() -> Iterator[Misbehaviour]:
    """Other statuses than 101."""
    rfc = "RFC 9110, 15"
    for status in (200, 204, 400, 401, 403, 404, 407, 426, 429, 500, 503):
        body = b"" if status == 204 else b"This is no WebSocket."
        more = {
            401: {"WWW-Authenticate": 'Basic realm="rawws"'},
            407: {"Proxy-Authenticate": 'Basic realm="rawws"'},
            426: {"Upgrade": "websocket", "Sec-WebSocket-Version": "8"},
            429: {"Retry-After": "3600"},
            503: {"Retry-After": "3600"},
        }.get(status, {})
        also = f", with {', '.join(more)}" if more else ""
        yield refusal(
            f"status-{status}",
            "4.1",
            f"Answers with {status}{also}.",
            Handshake(status=status, body=body, headers=more, drop=["Content-Length"] if status == 204 else []),
        )
    yield refusal(
        "status-200-with-fields",
        "4.1",
        "Answers with 200, and with all fields of a right 101.",
        lambda request: Handshake(
            status=200,
            headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_of(request.key)},
        ),
    )
    for status in (301, 302, 307):
        yield refusal(
            f"status-{status}",
            "4.1",
            f"Answers with {status}, to another path of this server.",
            lambda request, status=status: Handshake(  # type: ignore[misc]
                status=status, headers={"Location": f"ws://{request.headers.get('Host', '')}{LANDED}"}
            ),
            good="Follows the redirect, if it does that, on a new connection. Or fails the handshake.",
        )

    async def endless(peer: Peer) -> None:
        await peer.drip(b"x" * 30, 0.5)

    yield Misbehaviour(
        name="status-200-endless",
        section=rfc,
        summary="Answers with 200 and a body that does not end.",
        good="Fails the handshake. It does not wait for the end of the body.",
        judgement=REFUSES,
        handshake=Handshake(status=200, drop=["Content-Length", "Connection"], headers={"Content-Type": "text/plain"}),
        script=endless,
        probe=False,
        patience=1.0,
        slow=True,
    )


def broken() -> Iterator[Misbehaviour]:
    """No response, half of one, or something else."""
    yield refusal("garbage", "4.1", "Answers with a line of SSH.", Handshake(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"))
    yield refusal("frames-first", "4.1", "Answers with a frame and no response.", Handshake(raw=EARLY + b"\r\n\r\n"))
    yield refusal("status-not-a-number", "4.1", "The status is no number.", Handshake(raw=b"HTTP/1.1 OK 101\r\n\r\n"))
    yield refusal(
        "fields-1m",
        "10.4",
        "The head has a megabyte of fields, and no end.",
        Handshake(headers=[("X-Padding", "x" * 8000)] * 128, length=2**20),
        good="Has a limit, and fails the handshake.",
        judgement=REFUSES_LATE,
        probe=False,
    )

    async def eof(peer: Peer) -> None:
        await peer.half_close()

    async def reset(peer: Peer) -> None:
        peer.reset()

    for name, place, handshake in (
        ("eof-for-answer", "instead of an answer", None),
        ("eof-in-head", "inside the head of the response", Handshake(length=40)),
    ):
        yield Misbehaviour(
            name=name,
            section="4.1",
            summary=f"Ends TCP {place}.",
            good=REFUSAL,
            judgement=LEAVES,
            handshake=handshake,
            script=eof,
            probe=False,
        )
    yield Misbehaviour(
        name="eof-behind-101",
        section="7.1.5",
        summary="Ends TCP behind a right 101.",
        good="Reports that the connection was lost (1006), and ends TCP.",
        judgement=LEAVES,
        script=eof,
        probe=False,
    )
    for name, place, handshake in (
        ("reset-for-answer", "instead of an answer", None),
        ("reset-in-head", "inside the head of the response", Handshake(length=40)),
        ("reset-behind-101", "behind a right 101", Handshake()),
    ):
        yield Misbehaviour(
            name=name,
            section="4.1",
            summary=f"Resets TCP {place}.",
            good="Reports the loss, and can connect again.",
            judgement=SURVIVES,
            handshake=handshake,
            script=reset,
            probe=False,
        )


ENTRIES = (
    *grouped("handshake: right, though rare", rare()),
    *grouped("handshake: fields", fields()),
    *grouped("handshake: statuses", statuses()),
    *grouped("handshake: no response", broken()),
)
