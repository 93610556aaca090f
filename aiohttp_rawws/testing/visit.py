"""One visit of a client: a misbehaviour is done to it, and what it does then is the outcome."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from ..errors import RawWSError
from ..wire.codec import Frame
from ..wire.codes import Opcode
from .handshake import Handshake, HandshakeRequest
from .misbehaviours.entry import Misbehaviour, NotOffered
from .peer import Peer, Script
from .requests import faults_of_request
from .transcript import TapReader, TapWriter, Transcript
from .verdicts import Outcome, Verdict, breaches_of

GRACE = 0.25  # seconds
NO_PONG = "no Pong with the {} bytes of a Ping (section 5.5.3)"
TAIL = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.2


def messages_of(frames: Iterable[Frame]) -> list[str | bytes]:
    """Return the messages that data frames make up. Compressed ones are inflated, each on its own."""
    found: list[str | bytes] = []
    parts: list[Frame] = []
    for frame in frames:
        parts.append(frame)
        if not frame.fin:
            continue
        payload = b"".join(part.payload for part in parts)
        if parts[0].rsv1:
            try:
                payload = zlib.decompressobj(-15).decompress(payload + TAIL)
            except zlib.error:
                pass
        found.append(payload.decode(errors="replace") if parts[0].kind is Opcode.TEXT else payload)
        parts = []
    return found


def has_echoed(received: Sequence[str | bytes], echo: Sequence[str | bytes]) -> bool:
    """Return True if the messages of ``echo`` came, in this order and none twice. Others may be among them."""
    wanted = set(echo)
    return [message for message in received if message in wanted] == list(echo)


def _has_answered(transcript: Transcript, payloads: Sequence[bytes]) -> bool:
    """Return True if a message or a Pong with one of these payloads came."""
    came = [*transcript.pongs, *(frame.payload for frame in transcript.messages)]
    return any(payload in came for payload in payloads)


async def visit(
    misbehaviour: Misbehaviour,
    request: HandshakeRequest,
    reader: TapReader,
    writer: TapWriter,
    transcript: Transcript,
    patience: float | None = None,
) -> Outcome:
    """Misbehave towards a client whose request was read, and watch it until the connection is over.

    Args:
        misbehaviour: The misbehaviour.
        request: The request.
        reader: The reader.
        writer: The writer.
        transcript: The record of both.
        patience: Seconds to wait for a reaction. Default: None (those of the misbehaviour).

    Returns:
        The outcome.
    """
    outcome = await _outcome(misbehaviour, request, reader, writer, transcript, patience)
    return replace(outcome, breaches=(*faults_of_request(request), *outcome.breaches))


async def _outcome(
    misbehaviour: Misbehaviour,
    request: HandshakeRequest,
    reader: TapReader,
    writer: TapWriter,
    transcript: Transcript,
    patience: float | None,
) -> Outcome:
    seconds = misbehaviour.patience if patience is None else patience
    answer = misbehaviour.handshake
    if answer is not None and not isinstance(answer, Handshake):
        try:
            answer = answer(request)
        except NotOffered:
            await _answered(Handshake(), writer, request)
            transcript.begin_frames(deflate=False)
            await _finish(Peer(reader, writer, transcript, request), min(seconds, 5.0))
            return Outcome(how="not offered")
    began = transcript.now()
    if answer is not None:
        await _answered(answer, writer, request)
    transcript.begin_frames(deflate=answer is not None and b"permessage-deflate" in answer.encode(request))
    peer = Peer(reader, writer, transcript, request, close_timeout=max(2 * seconds, 10.0))
    peer.within = max(seconds, peer.within)  # a flood may take as long
    try:
        if misbehaviour.script is not None:
            began = transcript.now()
            await _misbehave(misbehaviour.script, peer)
        return await _watched(peer, misbehaviour, seconds, began)
    except NotOffered:
        await _finish(peer, min(seconds, 5.0))
        return Outcome(how="not offered")
    finally:
        peer.abort()


async def _answered(handshake: Handshake, writer: TapWriter, request: HandshakeRequest) -> None:
    """Answer the request. If the client does not read, what it does then is its reaction."""
    with suppress(AssertionError):
        await handshake.send(writer, request)


async def _misbehave(script: Script, peer: Peer) -> None:
    """Follow the script. The client may leave while it runs, which the transcript has for the verdict."""
    try:
        await script(peer)
    except (AssertionError, RawWSError, asyncio.TimeoutError):
        await peer.ends(GRACE)  # a write can fail before the end of the other direction was read


async def _watched(peer: Peer, misbehaviour: Misbehaviour, seconds: float, began: float) -> Outcome:
    transcript = peer.transcript
    if peer.was_reset:
        return Outcome(how="gone", echoed=True)
    if misbehaviour.probe and transcript.close is None and transcript.end is None:
        if await peer.probe(seconds):
            await _afterwards(peer, misbehaviour, seconds)
    else:
        await _closed_or_ended(peer, seconds)
    reacted = min((at for at in (transcript.closed_at, transcript.ended_at) if at is not None), default=None)
    if transcript.close is not None:
        outcome = Outcome(how="closed")
    elif transcript.end is not None:
        outcome = Outcome(how="ended" if transcript.end == "eof" else "reset")
    elif peer.probes and peer.probes[-1]:
        outcome = Outcome(how="went on")
    else:
        outcome = Outcome(how="silent")
    if outcome.how in ("closed", "went on") and misbehaviour.server_ends:
        await _finish(peer, seconds)
    elif outcome.how == "closed":
        await peer.ends(seconds)
    code = None if transcript.close is None else transcript.close.code
    if outcome.how == "went on" and code not in (None, 1000, 1005):  # no answer to our Close: it closed by itself
        outcome = Outcome(how="closed")
    breaches = breaches_of(transcript)
    if outcome.how == "went on":
        breaches += tuple(NO_PONG.format(len(each)) for each in misbehaviour.pongs if each not in transcript.pongs)
    return Outcome(
        how=outcome.how,
        code=code,
        end=transcript.end,
        late=outcome.how != "went on" and (any(peer.probes) or _has_answered(transcript, misbehaviour.unanswered)),
        echoed=has_echoed(messages_of(transcript.messages), misbehaviour.echo),
        breaches=breaches,
        seconds=None if reacted is None else round(max(reacted - began, 0.0), 3),
    )


async def _afterwards(peer: Peer, misbehaviour: Misbehaviour, seconds: float) -> None:
    """Wait for the echo, or for a client that answers Pings in one place, and looks at messages later in another."""
    loop = asyncio.get_running_loop()
    transcript, echo = peer.transcript, misbehaviour.echo
    may_go_on = misbehaviour.judgement.verdict(Outcome(how="went on", code=1000, end="eof")) is Verdict.OK
    until = loop.time() + (seconds if may_go_on else GRACE)
    while (left := until - loop.time()) > 0 and transcript.close is None and transcript.end is None:
        echoed = len(transcript.messages) >= len(echo) and has_echoed(messages_of(transcript.messages), echo)
        if may_go_on and echoed:
            break
        try:
            frame = await peer.receive(left)
            if frame.opcode is Opcode.PING:
                await peer.send(Frame.pong(frame.payload))
        except (RawWSError, asyncio.TimeoutError):
            break


async def _closed_or_ended(peer: Peer, seconds: float) -> None:
    """Wait for a Close or the end of the connection."""
    try:
        await peer.expect_close(within=seconds, skip=True)
    except AssertionError:
        pass


async def _finish(peer: Peer, seconds: float) -> None:
    """Close in order, as the server, and wait until the client has ended TCP."""
    try:
        if not peer.transcript.close_sent:
            await asyncio.wait_for(peer.close(1000), seconds)
        if peer.transcript.close is None:
            await peer.expect_close(within=seconds, skip=True)
        await asyncio.wait_for(peer.half_close(), seconds)
    except (AssertionError, RawWSError, asyncio.TimeoutError):
        pass
    await peer.ends(seconds)
