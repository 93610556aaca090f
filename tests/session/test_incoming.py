"""Received items: limited until they are taken, delivered in order, and none left behind at the end."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from aiohttp_rawws import (
    UNLIMITED,
    ConnectionLost,
    Frame,
    FrameTooBig,
    InvalidPayload,
    PeerError,
    PerMessageDeflate,
    ProtocolViolation,
    SessionClosed,
    bounded,
)
from aiohttp_rawws.wire.codec import encode_header

from ..tools.clock import idle
from ..tools.talking import (
    Talk,
    bounded_wait,
    each_kind,
    each_managed,
    masked,
    negotiated,
    on_a_line,
    run,
    talking,
    texts,
    waiting,
)
from ..tools.waiting import settle

pytestmark = pytest.mark.loops("clock")

MIB = 2**20


def numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def say(peer: Any, *items: Any) -> None:
    """Send in one piece: str, bytes as they are, or Frames."""
    with peer.cork():
        for item in items:
            if isinstance(item, bytes):
                peer.write_bytes(item)
            else:
                peer.send_nowait(item)


async def taken(session: Any) -> tuple[list[str], BaseException]:
    """Receive to the end: the texts, and what ended it."""
    got: list[str] = []
    while True:
        try:
            frame = await bounded_wait(session.receive())
        except Exception as exc:
            return got, exc
        if not frame.opcode.is_control:
            got.append(frame.text)


# ---- extensions on a raw session ----------------------------------------------------------------


def bombs(count: int, size: int, level: int = 9) -> bytes:
    """Compressed messages on the wire, each of ``size`` zero bytes."""
    compressor = zlib.compressobj(level, wbits=-15)
    wire = b""
    for _ in range(count):
        data = compressor.compress(bytes(size)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        wire += encode_header(2, len(data) - 4, rsv1=True, masking_key=bytes(4)) + data[:-4]
    return wire


@pytest.mark.parametrize("when", ["before", "after", "between"])
@pytest.mark.parametrize("cut", [None, 100])
@pytest.mark.parametrize("size", [10_000, MIB])
@pytest.mark.parametrize("limit", [MIB, 50_000])
async def test_applied_extensions_inflate_no_more_than_incoming_holds(
    when: str, cut: int | None, size: int, limit: int
) -> None:
    """However many frames one read brings, before ``apply_extensions()`` or after it."""
    count = 8 * MIB // size
    async with on_a_line("raw", incoming=bounded(max_bytes=limit)) as (session, line):
        session.negotiated_extensions, _ = negotiated(PerMessageDeflate())
        wire = bombs(count, size)
        parts = [wire] if cut is None else [wire[at : at + cut] for at in range(0, len(wire), cut)]
        for index, part in enumerate(parts):
            if index == (0 if when == "before" else len(parts) // 2 if when == "between" else -1):
                session.apply_extensions()
            line.give(part)
            await asyncio.sleep(0)
        if when == "after" or not session.extensions:
            session.apply_extensions()
        most = total = 0
        while total < count * size:
            most = max(most, session.connection.queue.size)
            total += len((await bounded_wait(session.receive())).payload)
        assert total == count * size
        assert most <= limit + size, "and one frame more"


@pytest.mark.parametrize("ahead", [0, 1, 3, 4, 5, 50])
@pytest.mark.parametrize("behind", [0, 1, 50, 2000])
async def test_applied_with_frames_waiting(ahead: int, behind: int) -> None:
    """Nothing is piled up, nothing is lost, and whoever waits gets it at once."""
    config = PerMessageDeflate()
    async with talking("raw", incoming=bounded(4)) as (session, _, peer):
        session.negotiated_extensions, peer.negotiated_extensions = negotiated(config)
        peer.apply_extensions()
        say(peer, *numbered(ahead))
        await settle()
        session.apply_extensions()
        assert session.frames_waiting <= 4
        say(peer, *numbered(behind))
        await settle()
        assert session.frames_waiting <= 4
        assert session.transport.is_reading() is (ahead + behind < 4)
        for text in numbered(ahead) + numbered(behind):
            assert (await bounded_wait(session.receive())).text == text
        peer.send_nowait("and it goes on")
        assert (await bounded_wait(session.receive())).text == "and it goes on"


@pytest.mark.parametrize("ending", ["close", "eof", "loss", "violation"])
async def test_applied_extensions_see_everything_before_the_end(ending: str) -> None:
    async with talking("applied", incoming=bounded(4)) as (session, _, peer):
        say(peer, *numbered(50))
        end_by(ending, peer)
        await idle()
        got, _ = await taken(session)
        # After a reset nobody reads what the transport still held.
        assert got == numbered(50 if ending != "loss" else len(got)) and len(got) >= 4


def end_by(ending: str, peer: Any) -> None:
    if ending == "close":
        peer.close_nowait()
    elif ending == "eof":
        peer.transport.write_eof()
    elif ending == "loss":
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, peer.abort)
    else:
        peer.write_bytes(b"\x83\x80abcd")


@pytest.mark.parametrize("bad", [1, 7, 8, 9, 40])
async def test_applied_extensions_that_find_a_violation(bad: int) -> None:
    """Frames before it are received, also if they were not inflated yet when it came."""
    async with talking("applied", incoming=bounded(4)) as (session, _, peer):
        say(peer, *numbered(bad), encode_header(2, 2, rsv1=True, masking_key=bytes(4)) + b"\xff\xff", "not processed")
        await idle()
        got, error = await taken(session)
        assert got == numbered(bad)
        assert isinstance(error, InvalidPayload)


# ---- messages before a violation ------------------------------------------------------------


VIOLATIONS: dict[str, tuple[bytes, type[PeerError], bool]] = {  # ..., only a managed session finds it
    "a reserved opcode": (masked(3, b""), ProtocolViolation, False),
    "an unmasked frame": (b"\x81\x00", ProtocolViolation, False),
    "too large a frame": (masked(2, bytes(101)), FrameTooBig, False),
    "a reserved bit": (masked(1, b"x", rsv2=True), ProtocolViolation, True),
    "text that is not UTF-8": (masked(1, b"\xff"), InvalidPayload, True),
    "half a character": (masked(1, b"\xce"), InvalidPayload, True),
    "a continuation of nothing": (masked(0, b"x"), ProtocolViolation, False),
    "too large a message": (masked(2, bytes(60), fin=False) + masked(0, bytes(41)), FrameTooBig, True),
    "a Close of one byte": (masked(8, b"\x03"), ProtocolViolation, True),
    "a Close with 1006": (masked(8, b"\x03\xee"), ProtocolViolation, True),
    "a fragmented ping": (masked(9, b"", fin=False), ProtocolViolation, False),
}
CASES = [
    pytest.param(kind, name, id=f"{kind}: {name}")
    for kind in ("raw", "applied", "managed", "deflate")
    for name, (_, _, managed_only) in VIOLATIONS.items()
    if not managed_only or kind in ("managed", "deflate")
]


@pytest.mark.parametrize(("kind", "violation"), CASES)
async def test_what_came_before_a_violation_is_received(kind: str, violation: str) -> None:
    """Also if ``incoming`` is full of it, and more of it waits below."""
    wire, error, _ = VIOLATIONS[violation]
    limits: dict[str, Any] = {"incoming": bounded(16), "max_frame_size": 100, "max_message_size": 100}
    for count in (0, 1, 15, 16, 17, 31, 32, 33, 100):
        for end in (None, "eof", "close"):
            async with talking(kind, **limits) as (session, _, peer):
                receiving = asyncio.ensure_future(taken(session)) if count % 2 else None
                say(peer, *numbered(count), wire, "not processed")
                if end is not None:
                    end_by(end, peer)
                if receiving is None:
                    await settle()
                got, raised = await (receiving if receiving is not None else taken(session))
                assert got == numbered(count)
                assert type(raised) is error
                with pytest.raises(error):
                    await session.receive()


@pytest.mark.parametrize(("kind", "violation"), [case for case in CASES if case.values[0] != "applied"])
async def test_a_listener_gets_what_came_before_a_violation(kind: str, violation: str) -> None:
    wire, error, _ = VIOLATIONS[violation]
    limits: dict[str, Any] = {"incoming": bounded(16), "max_frame_size": 100, "max_message_size": 100}
    for early in (True, False):
        async with talking(kind, **limits) as (session, _, peer):
            heard: list[Frame] = []
            listening = session.listen(heard.append) if early else None
            say(peer, *numbered(40), wire, "not processed")
            await settle()
            listening = listening or session.listen(heard.append)
            with pytest.raises(error):
                await bounded_wait(listening)
            assert texts(heard) == numbered(40)


# ---- a listener that is held ------------------------------------------------------------------


class Held:
    """A session with a listener, held by a pause of its own or by a full ``outgoing``, and frames behind that."""

    def __init__(self, talk: Talk, by: str) -> None:
        self.session, self.raw, self.peer = talk
        self.by = by
        self.heard: list[str] = []
        self.peer.pause_reading()
        if by == "a sender":
            self.task = asyncio.ensure_future(self.fill())

    def on_frame(self, frame: Frame) -> None:
        if frame.opcode.is_control:
            return
        self.heard.append(frame.text)
        if self.by == "outgoing":
            for _ in range(2):
                self.session.send_nowait(bytes(20_000))
        elif self.by == "pause" and len(self.heard) == 1:
            self.raw.pause_reading()

    async def fill(self) -> None:
        for _ in range(10):
            await self.session.send(bytes(20_000))

    def let_go(self) -> None:
        self.peer.resume_reading()
        if self.by == "pause":
            self.raw.resume_reading()

    async def over(self) -> None:
        if self.by == "a sender":
            await bounded_wait(asyncio.wait([self.task]))
            assert self.task.exception() is None or isinstance(self.task.exception(), SessionClosed)


ENDS = ("close", "eof", "violation")


@pytest.mark.parametrize(
    ("kind", "by"),
    [("raw", "pause"), ("raw", "outgoing"), ("raw", "a sender"), ("managed", "outgoing"), ("managed", "a sender")],
)
class TestHeldListener:
    @pytest.mark.parametrize("end", ENDS)
    @pytest.mark.parametrize("late", [False, True], ids=["awaited before", "awaited after"])
    async def test_awaiting_it_completes_when_it_goes_on(self, kind: str, by: str, end: str, late: bool) -> None:
        async with talking(kind, outgoing=bounded(2, max_bytes=None)) as talk:
            held = Held(talk, by)
            await settle()
            listening = talk.session.listen(held.on_frame)
            task = None if late else asyncio.ensure_future(until(listening))
            say(talk.peer, *numbered(10))
            end_by(end, talk.peer)
            await settle()
            assert len(held.heard) < 10 and (task is None or not task.done())
            if late:
                task = asyncio.ensure_future(until(listening))
                await settle()
            held.let_go()
            assert task is not None
            outcome = await bounded_wait(task)
            assert held.heard == numbered(10)
            assert isinstance(outcome, ProtocolViolation) if end == "violation" else outcome is None
            await held.over()

    @pytest.mark.parametrize("end", ENDS)
    async def test_awaiting_it_completes_at_the_loss(self, kind: str, by: str, end: str) -> None:
        """Everything that was received is delivered, whatever held it."""
        async with talking(kind, outgoing=bounded(2, max_bytes=None)) as talk:
            held = Held(talk, by)
            await settle()
            task = asyncio.ensure_future(until(talk.session.listen(held.on_frame)))
            say(talk.peer, *numbered(10))
            end_by(end, talk.peer)
            await settle()
            assert not task.done()
            talk.peer.abort()
            await bounded_wait(task)
            await held.over()
            if by == "pause":
                assert held.heard == numbered(10)
            else:  # its answers fail now, which ends it; or nothing was read
                assert held.heard == numbered(len(held.heard))

    async def test_a_handler_that_awaits_it_ends_with_the_connection(self, kind: str, by: str) -> None:
        async with talking(kind, outgoing=bounded(2, max_bytes=None), close_timeout=2) as talk:
            held = Held(talk, by)
            await settle()

            async def handle(session: Any) -> None:
                await session.listen(held.on_frame)

            task = run(talk.session, handle)
            await settle()
            say(talk.peer, *numbered(10))
            end_by("close", talk.peer)
            await settle()
            talk.peer.abort()
            await bounded_wait(task)
            await held.over()


async def until(listening: Any) -> BaseException | None:
    """Await ``listen()``; what it raised."""
    try:
        await listening
    except Exception as exc:
        return exc
    return None


# ---- order inside a listener ------------------------------------------------------------------


def resume(session: Any) -> None:
    session.resume_reading()


def pause_and_resume(session: Any) -> None:
    session.pause_reading()
    session.resume_reading()


def resume_twice(session: Any) -> None:
    pause_and_resume(session)
    pause_and_resume(session)


def pause_for_a_moment(session: Any) -> None:
    session.pause_reading()
    asyncio.get_running_loop().call_soon(session.resume_reading)


def apply(session: Any) -> None:
    if not session.extensions:
        session.apply_extensions()


async def send_in_a_task(session: Any) -> None:
    await session.send("x")


def send(session: Any) -> None:
    session.create_task(send_in_a_task(session))


INSIDE: list[Callable[[Any], None]] = [resume, pause_and_resume, resume_twice, pause_for_a_moment, apply, send]


@pytest.mark.parametrize("inside", INSIDE, ids=lambda call: call.__name__)
@pytest.mark.parametrize("at", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("early", [0, 3, 4, 10], ids=lambda count: f"{count} wait")
async def test_a_listener_that_calls_its_session_gets_the_frames_in_order(
    inside: Callable[[Any], None], at: int, early: int
) -> None:
    """Frames wait in the queue, and more of them in the parser."""
    async with talking("raw", incoming=bounded(4)) as (session, _, peer):
        session.negotiated_extensions, _ = negotiated(PerMessageDeflate())
        say(peer, *numbered(10)[:early])
        await settle()
        heard: list[str] = []

        def on_frame(frame: Frame) -> None:
            heard.append(frame.text)
            if len(heard) - 1 == at:
                inside(session)

        session.listen(on_frame)
        say(peer, *numbered(10)[early:])
        await idle()
        assert heard == numbered(10)


@each_kind
@pytest.mark.parametrize("waiting", [False, True], ids=["in a read", "from the queue"])
async def test_a_listener_that_aborts_gets_nothing_more(kind: str, waiting: bool) -> None:
    async with talking(kind, incoming=bounded(4)) as (session, _, peer):
        heard: list[str] = []

        def on_frame(frame: Frame) -> None:
            heard.append(frame.text)
            if len(heard) == 3:
                session.abort()

        if not waiting:
            session.listen(on_frame)
        say(peer, *numbered(10))
        await settle()
        if waiting:
            session.listen(on_frame)
        await idle()
        assert heard == ["0", "1", "2"]


@each_kind
async def test_a_listener_that_closes_still_gets_what_follows(kind: str) -> None:
    async with talking(kind) as (session, _, peer):
        heard: list[str] = []

        def on_frame(frame: Frame) -> None:
            if not frame.opcode.is_control:
                heard.append(frame.text)
                session.close_nowait()

        session.listen(on_frame)
        say(peer, *numbered(10))
        await idle()
        assert heard == numbered(10)


# ---- a loss while frames wait -----------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("count", [1, 3, 4, 5, 30, 2000])
@pytest.mark.parametrize("how", ["receive", "iterate", "receive_nowait", "listen", "channel"])
async def test_what_was_received_before_a_loss_is_delivered(kind: str, count: int, how: str) -> None:
    async with on_a_line(kind, incoming=bounded(4)) as (session, line):
        session.receive_nowait()
        if kind in ("managed", "deflate"):
            session.begin()
        for text in numbered(count):
            line.give(masked(1, text.encode()))
        await settle()
        line.lose(ConnectionResetError())
        got: list[str] = []
        if how == "receive":
            got, error = await taken(session)
            assert isinstance(error, ConnectionLost)
        elif how == "iterate":
            got = [frame.text async for frame in session]
        elif how == "channel":
            got = [frame.text async for frame in session.incoming]
        elif how == "receive_nowait":
            got = texts(waiting(session))
        else:
            await bounded_wait(session.listen(lambda frame: got.append(frame.text)))
        assert got == numbered(count)
        assert session.incoming_ended


# ---- limits that change -----------------------------------------------------------------------


@each_managed
@pytest.mark.parametrize("when", ["before it starts", "after it started", "inside a message"])
@pytest.mark.parametrize(("limit", "size", "fits"), [(5000, 3000, True), (None, 3000, True), (500, 800, False)])
@pytest.mark.parametrize("form", ["one frame", "in pieces", "fragments"])
async def test_max_message_size_holds_from_the_next_frame_on(
    kind: str, when: str, limit: int | None, size: int, fits: bool, form: str
) -> None:
    async with talking(kind, max_frame_size=None, max_message_size=1000, incoming=UNLIMITED) as (session, raw, peer):
        if when == "before it starts":
            session.max_message_size = limit
        session.begin()
        if when == "inside a message":
            peer.send_nowait(Frame.binary(b"begun", fin=False))
            await settle()
        if when != "before it starts":
            session.max_message_size = limit
        if when == "inside a message":
            peer.send_nowait(Frame.binary(bytes(size)))
        elif form == "one frame":
            peer.send_nowait(bytes(size))
        elif form == "fragments":
            for last in (False, True):
                peer.send_nowait(Frame.binary(bytes(size // 2), fin=last))
        else:
            wire = masked(2, bytes(size))
            for at in range(0, len(wire), 100):
                peer.write_bytes(wire[at : at + 100])
                await settle(2)
        assert (session.max_message_size, session.max_frame_size, raw.max_frame_size) == (limit, None, None)
        if fits:
            assert len((await bounded_wait(session.receive())).payload) in (size, size + len(b"begun"))
        else:
            with pytest.raises(FrameTooBig):
                await bounded_wait(session.receive())
