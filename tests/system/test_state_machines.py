"""Parser, raw session and managed session against simple models, by rules that hypothesis puts in any order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aiohttp_rawws.errors import ChannelOverflow, FrameTooBig, SessionClosed
from aiohttp_rawws.session.managed import DefaultWebSocketSession
from aiohttp_rawws.session.memory import memory_pair
from aiohttp_rawws.session.options import SessionOptions, bounded
from aiohttp_rawws.wire.codec import Frame, encode_header
from aiohttp_rawws.wire.codes import Opcode
from aiohttp_rawws.wire.strictness import VALUES, Strictness

from ..tools import clock
from ..tools.twins import CODECS
from ..wire.vectors import masked

SIZES = st.sampled_from([0, 1, 5, 125, 126, 300]) | st.integers(0, 40)
PROFILE = settings(max_examples=30, stateful_step_count=40, deadline=None)


# ---- the parser ---------------------------------------------------------------------------


class ParserMachine(RuleBasedStateMachine):
    """Frames go in, cut anywhere, by ``feed`` and by ``target``; the same frames come out, of every codec."""

    @initialize(strict=st.sampled_from(VALUES))
    def begin(self, strict: Strictness) -> None:
        self.parsers = {name: codec.FrameParser(masked=True, strict=strict) for name, codec in CODECS.items()}
        self.wire = bytearray()  # not yet given to the parsers
        self.expected: list[tuple[int, int, bytes, bool]] = []
        self.got: dict[str, list[Any]] = {name: [] for name in self.parsers}
        self.kind: int | None = None
        self.limit: int | None = None
        self.given = self.total = 0

    @rule(
        text=st.booleans(),
        size=SIZES | st.sampled_from([20_000, 70_000]),
        fin=st.booleans(),
        key=st.binary(min_size=4, max_size=4),
    )
    def data_frame(self, text: bool, size: int, fin: bool, key: bytes) -> None:
        if self.kind is None:
            opcode = kind = Opcode.TEXT if text else Opcode.BINARY
        else:
            opcode, kind = Opcode.CONTINUATION, Opcode(self.kind)
        self.kind = None if fin else kind
        self._add(opcode, kind, bytes([size % 251]) * size, fin, key)

    @rule(pong=st.booleans(), size=st.integers(0, 125), key=st.binary(min_size=4, max_size=4))
    def control_frame(self, pong: bool, size: int, key: bytes) -> None:
        opcode = Opcode.PONG if pong else Opcode.PING
        self._add(opcode, opcode, b"c" * size, True, key)

    def _add(self, opcode: Opcode, kind: Opcode, payload: bytes, fin: bool, key: bytes) -> None:
        payload_on_wire = masked(payload, key) if len(payload) < 1000 else _masked(payload, key)
        self.wire += encode_header(opcode, len(payload), fin=fin, masking_key=key) + payload_on_wire
        self.expected.append((opcode, kind, payload, fin))

    @rule(count=st.integers(0, 30) | st.integers(0, 100_000), frames=st.sampled_from([-1, -1, 0, 1, 3]))
    def feed(self, count: int, frames: int) -> None:
        piece = bytes(self.wire[:count])
        del self.wire[:count]
        for name, parser in self.parsers.items():
            held = parser.pending
            target = None if held or not frames else parser.target()
            given = piece
            if target is not None and given:
                size = min(len(target), len(given))
                target[:size] = given[:size]
                del target
                self._take(name, parser.advance(size))
                given = given[size:]
            items = parser.feed(given, -1, frames, -1)
            assert frames < 0 or len(items) <= max(frames, 1)  # the frame that was open is finished in any case
            self._take(name, items)

    def _take(self, name: str, items: list[Any]) -> None:
        self.got[name] += [(item.opcode, item.kind, item.payload, item.fin) for item in items]

    @invariant()
    def in_order(self) -> None:
        for got in self.got.values():
            assert got == self.expected[: len(got)]

    @invariant()
    def alike(self) -> None:
        states = [(len(self.got[name]), p.pending, p.mid_frame, p.error) for name, p in self.parsers.items()]
        assert states.count(states[0]) == len(states), states

    def teardown(self) -> None:
        for name, parser in getattr(self, "parsers", {}).items():
            self._take(name, parser.feed(bytes(self.wire)))
            while items := parser.feed(b""):
                self._take(name, items)
            assert self.got[name] == self.expected
            assert parser.error is None and not parser.pending and not parser.mid_frame


def _masked(payload: bytes, key: bytes) -> bytes:
    keys = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(len(payload), "big")


# ---- the sessions -------------------------------------------------------------------------


class LoopMachine(RuleBasedStateMachine):
    """A machine with a loop that runs only when a rule says so."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = clock.Loop()
        self.reported: list[Any] = []
        self.loop.set_exception_handler(lambda loop, context: self.reported.append(context))

    def run(self, coro: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(coro, 10))

    def pump(self, count: int = 1) -> None:
        async def steps() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(steps())

    @invariant()
    def nothing_reported(self) -> None:
        assert not self.reported, self.reported

    def teardown(self) -> None:
        try:
            self.finish()
            assert not asyncio.all_tasks(self.loop)
            assert not self.reported, self.reported
        finally:
            self.loop.close()

    def finish(self) -> None:
        raise NotImplementedError


CAPACITY, MAX_BYTES, LARGEST = 4, 60_000, 100_000


class RawPairMachine(LoopMachine):
    """Two raw sessions: what one sends the other gets, in order (control frames among themselves), up to the Close,
    and neither side keeps more than it may."""

    @initialize()
    def begin(self) -> None:
        bound = bounded(CAPACITY, max_bytes=MAX_BYTES)

        async def make() -> None:
            options = SessionOptions(incoming=bound, outgoing=bound, close_timeout=0.05)
            self.ends = list(memory_pair(server_options=options, client_options=options))

        self.run(make())
        # by sender: what the other side must still get
        self.data: list[deque[bytes]] = [deque(), deque()]
        self.control: list[deque[bytes]] = [deque(), deque()]
        self.closed = [False, False]  # Close sent
        self.heard = [False, False]  # Close received, by receiver
        self.aborted = False
        self.number = 0

    @rule(side=st.integers(0, 1), size=st.sampled_from([8, 100, 20_000, 70_000]), count=st.integers(1, 8))
    def send(self, side: int, size: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            payload = (b"%07d." % self.number) * (size // 8)
            self._send(side, Frame.binary(payload), self.data[side])

    @rule(side=st.integers(0, 1))
    def ping(self, side: int) -> None:
        self.number += 1
        self._send(side, Frame.ping(b"%d" % self.number), self.control[side])

    def _send(self, side: int, frame: Frame, sent: deque[bytes]) -> None:
        session = self.ends[side]
        ended = session.outgoing_ended
        assert ended or not self.closed[side]
        try:
            session.send_nowait(frame)
        except SessionClosed:
            assert ended
        except ChannelOverflow:
            assert session.outgoing_full and not ended and not frame.opcode.is_control
        else:
            assert not ended
            sent.append(frame.payload)

    @rule(side=st.integers(0, 1), count=st.integers(1, 10))
    def receive(self, side: int, count: int) -> None:
        for _ in range(count):
            self._take(side)

    def _take(self, side: int) -> bool:
        frame = self.ends[side].receive_nowait()
        if frame is None:
            return False
        assert not self.heard[side], "a frame behind the Close"
        other = 1 - side
        if frame.opcode is Opcode.CLOSE:
            self.heard[side] = True
            assert self.closed[other] and not self.data[other]
        else:
            sent = self.control[other] if frame.opcode.is_control else self.data[other]
            assert sent.popleft() == frame.payload
        return True

    @rule(count=st.integers(1, 6))
    def let_it_run(self, count: int) -> None:
        self.pump(count)

    @rule(side=st.integers(0, 1), paused=st.booleans())
    def hold(self, side: int, paused: bool) -> None:
        if paused:
            self.ends[side].pause_reading()
        else:
            self.ends[side].resume_reading()

    @precondition(lambda self: self.number > 10)
    @rule(side=st.integers(0, 1))
    def close(self, side: int) -> None:
        ended = self.ends[side].outgoing_ended
        self.ends[side].close_nowait(1000, "done")
        self.closed[side] |= not ended
        assert self.ends[side].outgoing_ended

    @precondition(lambda self: self.number > 40)
    @rule(side=st.integers(0, 1))
    def abort(self, side: int) -> None:
        self.ends[side].abort()
        self.aborted = True

    @invariant()
    def bounded(self) -> None:
        for session in getattr(self, "ends", ()):
            assert session.frames_waiting <= CAPACITY
            assert session.frames_unsent <= CAPACITY + 1024  # as many pings and pongs may overtake
            connection = getattr(session, "_connection", None)  # the compiled session shows none of its fields
            assert connection is None or connection.queue.size < MAX_BYTES + LARGEST

    @invariant()
    def closing_is_told(self) -> None:
        for side, session in enumerate(getattr(self, "ends", ())):
            state = session.close_state
            assert (state.sent is not None) == self.closed[side]
            assert state.received is None or self.closed[1 - side]
            assert not self.heard[side] or state.received is not None

    def finish(self) -> None:
        if not hasattr(self, "ends"):
            return
        for session in self.ends:
            session.resume_reading()
        if not self.aborted:  # everything that was accepted arrives
            for _ in range(2000):
                self.pump()
                taken = self._take(0) + self._take(1)
                if not taken and not any(self.data) and not any(self.control):
                    break
            for side in (0, 1):
                assert not self.data[side]
                # what was sent on the lane may have come behind a Close, and is not read then
                assert not self.control[side] or self.closed[side]
        for session in self.ends:
            session.abort()
            self.run(session.wait_closed())
        self.pump(3)


class ManagedMachine(LoopMachine):
    """A managed session and a raw peer: whole messages come out in order, each Ping has its Pong, the closing
    handshake is made by whoever begins it, and the session is gone afterwards."""

    @initialize()
    def begin(self) -> None:
        async def make() -> None:
            server, self.peer = memory_pair(close_timeout=10.0)
            self.session = DefaultWebSocketSession(server)
            self.session.start()

        self.run(make())
        self.kind: Opcode | None = None
        self.parts: list[bytes] = []
        self.messages: deque[tuple[Opcode, bytes]] = deque()
        self.pongs: deque[bytes] = deque()
        self.sent: deque[bytes] = deque()
        self.peer_closed = self.we_closed = False
        self.answered: int | None = None
        self.number = 0

    @precondition(lambda self: not self.peer.outgoing_ended)
    @rule(text=st.booleans(), size=SIZES, fin=st.booleans())
    def peer_sends(self, text: bool, size: int, fin: bool) -> None:
        if self.kind is None:
            self.kind = Opcode.TEXT if text else Opcode.BINARY
        part = "äx"[size % 2].encode() * size
        self.peer.send_nowait(Frame(self.kind, part, fin=fin))
        self.parts.append(part)
        if fin:
            self.messages.append((self.kind, b"".join(self.parts)))
            self.kind, self.parts = None, []

    @precondition(lambda self: not self.peer.outgoing_ended)
    @rule(size=st.integers(0, 125))
    def peer_pings(self, size: int) -> None:
        self.peer.send_nowait(Frame.ping(b"p" * size))
        self.pongs.append(b"p" * size)

    @precondition(lambda self: not self.peer.outgoing_ended)
    @rule(size=st.integers(0, 125))
    def peer_pongs_unasked(self, size: int) -> None:
        self.peer.send_nowait(Frame.pong(b"q" * size))

    @precondition(lambda self: self.number > 3 and not self.peer.outgoing_ended)
    @rule()
    def peer_closes(self) -> None:
        self.peer.close_nowait(3000)
        self.peer_closed = True

    @rule()
    def we_take(self) -> None:
        async def take() -> Any:
            try:
                return await asyncio.wait_for(self.session.receive(), 0.001)
            except (SessionClosed, asyncio.TimeoutError):
                return None

        message = self.run(take())
        if message is not None:
            assert (message.opcode, message.payload) == self.messages.popleft()
            assert message.fin

    @rule(size=SIZES)
    def we_send(self, size: int) -> None:
        self.number += 1
        payload = (b"%d " % self.number) * size
        ended = self.session.raw.outgoing_ended
        try:
            self.session.send_nowait(payload)
        except SessionClosed:
            assert ended
        else:
            assert not ended
            self.sent.append(payload)

    @precondition(lambda self: self.number > 3)
    @rule()
    def we_close(self) -> None:
        ended = self.session.raw.outgoing_ended
        self.session.close_nowait(3001)
        self.we_closed |= not ended

    @rule(count=st.integers(1, 5))
    def let_it_run(self, count: int) -> None:
        self.pump(count)

    @rule()
    def peer_takes(self) -> None:
        while (frame := self.peer.receive_nowait()) is not None:
            assert self.answered is None, "a frame behind the Close"
            if frame.opcode is Opcode.PONG:
                assert self.pongs.popleft() == frame.payload
            elif frame.opcode is Opcode.CLOSE:
                assert frame.close_reason is not None
                self.answered = frame.close_reason.code
                assert self.answered in (3000, 3001)
                if self.answered == 3000:
                    assert self.peer_closed
                if not self.peer.outgoing_ended:
                    self.peer.close_nowait(self.answered)
                    self.peer_closed = True
            else:
                assert frame.opcode is Opcode.BINARY
                assert self.sent.popleft() == frame.payload

    def finish(self) -> None:
        if not hasattr(self, "session"):
            return
        if not self.we_closed and not self.session.raw.outgoing_ended:
            self.session.close_nowait(3001)
        for _ in range(20):
            self.pump()
            self.peer_takes()
        for _ in range(len(self.messages) + 1):
            self.we_take()
        self.pump(5)
        self.peer_takes()
        assert not self.messages, "a message that was received is missing"
        assert not self.sent, "a message that was sent is missing"
        assert self.answered is not None
        self.peer.abort()
        self.run(self.session.wait_closed())
        self.run(self.peer.wait_closed())
        state = self.session.close_state
        assert state.clean and state.lost
        reason = self.run(self._reason())
        assert reason.code in (3000, 3001)
        self.pump(3)

    async def _reason(self) -> Any:
        return await self.session.close_reason


TestParser = ParserMachine.TestCase
TestParser.settings = PROFILE
TestRawPair = RawPairMachine.TestCase
TestRawPair.settings = PROFILE
TestManaged = ManagedMachine.TestCase
TestManaged.settings = PROFILE


def test_a_limit_changed_between_frames_holds_from_the_next_header_on() -> None:
    for codec in CODECS.values():
        parser = codec.FrameParser(masked=False, max_frame_size=10)
        data = encode_header(Opcode.BINARY, 10) + b"x" * 10 + encode_header(Opcode.BINARY, 10) + b"y" * 10
        assert len(parser.feed(data, -1, 1, -1)) == 1
        parser.max_frame_size = 9
        assert parser.feed(b"") == []
        assert isinstance(parser.error, FrameTooBig)
