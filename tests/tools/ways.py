"""Ways to bring a fresh session into each phase of its life, for the tests that walk all calls in all phases.

Each way gets a ``Setting``: a session, raw or managed, over two transports in memory that can hold back the loss of the
connection. ``WAYS`` has them all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from aiohttp_rawws import (
    UNLIMITED,
    ChannelOverflow,
    DefaultWebSocketSession,
    Frame,
    JSONConverter,
    PerMessageDeflate,
    ProtocolViolation,
    SessionOptions,
    WebSocketSession,
    bounded,
)
from aiohttp_rawws.extensions.negotiation import client_offer_header, negotiate_client, negotiate_server
from aiohttp_rawws.session.memory import MemoryTransport
from aiohttp_rawws.session.phases import ReceivePhase

from .waiting import settle

ROOM = 4  # frames that wait in either direction
BIG = random.Random(1).randbytes(40_000)  # two fill the transport, also if they are compressed
BAD = b"\x83\x80abcd"  # an opcode that is reserved
KINDS = ("raw", "managed", "deflate")


Go = Callable[["Setting"], Awaitable[None]]  # brings a setting somewhere


class HeldTransport(MemoryTransport):
    """A transport in memory whose loss can be held back, so that what comes before it can be looked at."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        super().__init__(loop, name)
        self.held = False
        self.has_ended = False  # its side of the stream
        self._pending: tuple[BaseException | None] | None = None

    def _lose(self, exc: BaseException | None) -> None:
        if self.held:
            self._pending = (exc,)
        else:
            super()._lose(exc)

    def release(self) -> None:
        self.held = False
        if self._pending is not None:
            super()._lose(*self._pending)

    def write_eof(self) -> None:
        self.has_ended = True
        super().write_eof()

    def look_broken(self) -> None:
        """As after a reset that the loop has yet to report."""
        self.held = self._closing = True
        self._pending = (ConnectionResetError(),)


class Setting:
    """One session, its peer, and what a way has done to them."""

    def __init__(self, kind: str, way: Way) -> None:
        self.kind = kind
        self.way = way
        near, far = HeldTransport.pair()
        assert isinstance(near, HeldTransport) and isinstance(far, HeldTransport)
        self.near, self.far = near, far
        options = SessionOptions(
            **{"incoming": bounded(ROOM), "outgoing": bounded(ROOM), "converter": JSONConverter(), **way.options}
        )
        self.raw = WebSocketSession(self.near, server=True, options=options)
        self.peer = WebSocketSession(
            self.far, server=False, options=SessionOptions(strict=False, incoming=UNLIMITED, outgoing=UNLIMITED)
        )
        self.session: Any = self.raw
        if kind != "raw":
            extensions: Iterable[Any] = ()
            if kind == "deflate":
                deflate = [PerMessageDeflate()]
                extensions, answer = negotiate_server(deflate, [client_offer_header(deflate) or ""])
                self.peer.negotiated_extensions = negotiate_client(deflate, [answer or ""])
                self.peer.apply_extensions()
            self.session = DefaultWebSocketSession(self.raw, extensions=extensions)
        self.ended_here = False  # a test has ended it in order
        self.raw.start()
        self.peer.start()
        self.said: list[str] = []  # by the peer
        self.delivered: list[Frame] = []  # to the listener of the way
        self.threads: list[Callable[[], None]] = []  # calls in executors that are held
        self.helpers: list[asyncio.Task[Any]] = []
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def is_raw(self) -> bool:
        return self.kind == "raw"

    @property
    def phases(self) -> tuple[int, int, int]:
        """The three phases, as ``phases.CALLS`` has them: a managed session receives messages."""
        connection = self.raw.connection
        receiving = connection.receive_phase
        if not self.is_raw:
            waiting = self.session.frames_waiting
            if self.session.incoming_ended:
                receiving = ReceivePhase.CLOSING if waiting else ReceivePhase.DONE
            elif receiving == ReceivePhase.DONE:
                receiving = ReceivePhase.OPEN
        return int(receiving), connection.send_phase, connection.connection_phase

    @property
    def peer_can_send(self) -> bool:
        return not self.peer.outgoing_ended and not self.far.has_ended

    # ---- what ways are made of --------------------------------------------------------

    def begin(self) -> None:
        """Let a managed session take frames. The first call would do it, but these tests look before that."""
        if not self.is_raw:
            self.session.begin()

    async def say(self, *texts: str) -> None:
        self.said += texts
        with self.peer.cork():
            for text in texts:
                self.peer.send_nowait(text)
        await settle()

    async def take_all(self) -> None:
        while self.session.receive_nowait() is not None:
            pass
        await settle()

    async def stop_peer(self, *, full: bool) -> None:
        """The peer reads nothing more. Fill the transport, and ``outgoing``."""
        self.peer.pause_reading()
        while not self.raw.connection.write_paused:
            self.session.send_nowait(BIG)
        while full and not self.session.outgoing_full:
            self.session.send_nowait("x")
        await settle()

    def help(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.helpers.append(task)
        return task

    def hold_threads(self) -> None:
        """Work for an executor does not run before the end of the test."""
        loop: Any = asyncio.get_running_loop()

        def run_in_executor(executor: object, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
            future = loop.create_future()

            def run() -> None:
                if not future.done():
                    future.set_result(function(*args))

            self.threads.append(run)
            return future

        loop.run_in_executor = run_in_executor

    # ---- the end ----------------------------------------------------------------------

    def release(self) -> None:
        """Let go of what was held back."""
        asyncio.get_running_loop().__dict__.pop("run_in_executor", None)
        for run in self.threads:
            run()
        self.threads.clear()
        self.release_transports()

    def release_transports(self) -> None:
        self.near.release()
        self.far.release()

    async def end(self) -> None:
        """End both sessions, and everything that a way has begun."""
        self.release()
        self.session.abort()
        self.peer.abort()
        await self.raw.wait_closed()
        await self.peer.wait_closed()
        for task in self.helpers:
            task.cancel()
        if self.helpers:
            await asyncio.wait(self.helpers)
        for task in self.helpers:
            if not task.cancelled():
                task.exception()
        self.helpers.clear()


@dataclass(frozen=True)
class Way:
    """How to bring a session somewhere, and what it then says of itself.

    Attributes:
        name: What has happened.
        go: Does it.
        kinds: The kinds of sessions it makes sense for.
        phases: Where it leads: the phases of receiving, sending and the connection, by kind. "OCL" is OPEN, CLOSING,
            LOST; D is DONE or DISCONNECTING.
        full: ``send()`` of a data frame has to wait for room.
        behind: ``send()`` of a data frame has to wait for those before it, and ``send_nowait()`` has not.
        stuck: Sent frames do not leave.
        failure: The error that ``receive()`` raises at its end, if it is no plain end.
        overflowed: ``outgoing`` has overflowed.
        in_order: The connection is ended by this side, without a Close: that is no loss.
        close_behind: The peer's Close has arrived, and waits behind what fills ``incoming``.
        listener: A callback takes the frames.
        takes_time: It waits for a timer.
        options: Of the session.
    """

    name: str
    go: Go
    phases: dict[str, str]
    full: bool = False
    behind: bool = False
    stuck: bool = False
    failure: type[BaseException] | None = None
    overflowed: bool = False
    in_order: bool = False
    close_behind: bool = False
    listener: bool = False
    takes_time: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> Iterable[str]:
        return [kind for kind in KINDS if kind in self.phases or (kind == "deflate" and "managed" in self.phases)]

    def leads_to(self, kind: str) -> str:
        return self.phases[kind] if kind in self.phases else self.phases["managed"]


WAYS: list[Way] = []


def way(
    *, raw: str | None = None, managed: str | None = None, deflate: str | None = None, **facts: Any
) -> Callable[[Go], Go]:
    """Add a function to ``WAYS``. Its name, in words, is the way's."""

    def add(go: Go) -> Go:
        phases = {"raw": raw, "managed": managed, "deflate": deflate}
        given = {kind: letters for kind, letters in phases.items() if letters is not None}
        WAYS.append(Way(go.__name__.replace("_", " "), go, given, **facts))
        return go

    return add


# ---- open -----------------------------------------------------------------------------------


@way(raw="OOO", managed="OOO")
async def nothing_has_happened(on: Setting) -> None:
    pass


@way(raw="OOO", managed="OOO")
async def frames_wait(on: Setting) -> None:
    await on.say("0", "1")


@way(raw="OOO", managed="OOO")
async def incoming_is_full(on: Setting) -> None:
    await on.say(*"01234567")


@way(raw="OOO", managed="OOO", stuck=True)
async def the_transport_is_full(on: Setting) -> None:
    await on.stop_peer(full=False)


@way(raw="OOO", managed="OOO", stuck=True, full=True)
async def outgoing_is_full(on: Setting) -> None:
    await on.stop_peer(full=True)


@way(raw="OOO", managed="OOO", stuck=True, full=True)
async def a_sender_waits(on: Setting) -> None:
    await on.stop_peer(full=True)
    on.help(on.session.send("from a sender"))
    await settle()


@way(deflate="OOO", stuck=True, behind=True)
async def a_message_is_compressed_in_a_thread(on: Setting) -> None:
    on.hold_threads()
    on.help(on.session.send(BIG))
    await settle()


@way(raw="OOO", managed="OOO", listener=True)
async def a_listener_takes_the_frames(on: Setting) -> None:
    on.session.listen(on.delivered.append)
    await on.say("0")


@way(raw="OOO", listener=True)
async def a_listener_is_paused(on: Setting) -> None:
    await listen_and_pause(on)
    await on.say(*"012")


async def listen_and_pause(on: Setting) -> None:
    def listener(frame: Frame) -> None:
        on.delivered.append(frame)
        if len(on.delivered) == 1:
            on.raw.pause_reading()

    on.session.listen(listener)


@way(raw="OOO", managed="COO", close_behind=True)
async def the_peer_closes_behind_a_full_incoming(on: Setting) -> None:
    """A raw session has not parsed the Close yet; a managed one has."""
    with on.peer.cork():
        for text in "01234567":
            on.peer.send_nowait(text)
        on.peer.close_nowait()
    await settle()


# ---- Close frames -----------------------------------------------------------------------------


@way(raw="OCO", managed="OCO")
async def we_have_closed(on: Setting) -> None:
    on.session.close_nowait()
    await settle()


@way(raw="OCO", managed="OCO")
async def we_have_closed_and_frames_wait(on: Setting) -> None:
    await on.say("0", "1")
    on.session.close_nowait()
    await settle()


@way(raw="OCO", managed="OCO", stuck=True)
async def we_have_closed_and_the_peer_reads_nothing(on: Setting) -> None:
    await on.stop_peer(full=True)
    on.session.close_nowait()
    await settle()


@way(raw="DOO", managed="DOO", options={"auto_close": False})
async def the_peer_has_closed(on: Setting) -> None:
    on.peer.close_nowait()
    await settle()
    await on.take_all()


@way(raw="COO", managed="COO")
async def the_peer_has_closed_and_frames_wait(on: Setting) -> None:
    with on.peer.cork():
        on.peer.send_nowait("0")
        on.peer.send_nowait("1")
        on.peer.close_nowait()
    await settle()


@way(raw="COO", listener=True)
async def the_peer_has_closed_and_a_listener_is_paused(on: Setting) -> None:
    await listen_and_pause(on)
    await the_peer_has_closed_and_frames_wait(on)


@way(raw="DCO", managed="DDD")
async def both_have_closed(on: Setting) -> None:
    on.near.held = True
    on.session.close_nowait()
    on.peer.close_nowait()
    await settle()
    await on.take_all()


@way(raw="CCO", managed="CDD")
async def both_have_closed_and_frames_wait(on: Setting) -> None:
    on.near.held = True
    on.session.close_nowait()
    await the_peer_has_closed_and_frames_wait(on)


@way(raw="DCO", managed="DCD", stuck=True)
async def both_have_closed_and_the_peer_reads_nothing(on: Setting) -> None:
    await on.stop_peer(full=True)
    on.session.close_nowait()
    on.peer.close_nowait()
    await settle()
    await on.take_all()


# ---- the end of the peer's stream ---------------------------------------------------------------


@way(raw="DOO", managed="DOO")
async def the_peer_has_ended_its_side(on: Setting) -> None:
    on.far.write_eof()
    await settle()


@way(raw="COO", managed="COO")
async def the_peer_has_ended_its_side_and_frames_wait(on: Setting) -> None:
    on.peer.send_nowait("0")
    on.peer.send_nowait("1")
    on.far.write_eof()
    await settle()


# ---- failures -------------------------------------------------------------------------------


@way(raw="DCO", managed="DDD", failure=ProtocolViolation)
async def the_peer_broke_the_protocol(on: Setting) -> None:
    on.near.held = True
    on.peer.write_bytes(BAD)
    await settle()


@way(raw="COO", managed="COO", failure=ProtocolViolation)
async def the_peer_broke_the_protocol_and_frames_wait(on: Setting) -> None:
    with on.peer.cork():
        on.peer.send_nowait("0")
        on.peer.send_nowait("1")
        on.peer.write_bytes(BAD)
    await settle()


@way(raw="DOO", failure=ProtocolViolation, options={"on_violation": "raise"})
async def the_peer_broke_the_protocol_and_nobody_answers(on: Setting) -> None:
    on.peer.write_bytes(BAD)
    await settle()


@way(raw="COO", managed="COO", failure=ChannelOverflow, options={"incoming": bounded(ROOM, "close")})
async def incoming_has_overflowed(on: Setting) -> None:
    await on.say(*"01234567")


@way(raw="DOO", managed="DDD", failure=ChannelOverflow, options={"incoming": bounded(ROOM, "close")})
async def incoming_has_overflowed_and_all_is_taken(on: Setting) -> None:
    on.near.held = True
    await on.say(*"01234567")
    await on.take_all()
    if not on.is_raw:  # that all is taken counts from the next call on
        await settle_pending(on)


async def settle_pending(on: Setting) -> None:
    with pytest.raises(ChannelOverflow):
        await on.session.receive()
    await settle()


@way(raw="OCO", managed="OCO", stuck=True, overflowed=True, options={"outgoing": bounded(ROOM, "close")})
async def outgoing_has_overflowed(on: Setting) -> None:
    await on.stop_peer(full=True)
    with pytest.raises(ChannelOverflow):
        await on.session.send("one too many")


@way(raw="DCO", managed="DCO", stuck=True, overflowed=True, options={"outgoing": bounded(ROOM, "close")})
async def outgoing_has_overflowed_and_the_peer_has_ended_its_side(on: Setting) -> None:
    await outgoing_has_overflowed(on)
    await the_peer_has_ended_its_side(on)


@way(raw="CCO", managed="CCO", stuck=True, overflowed=True, options={"outgoing": bounded(ROOM, "close")})
async def outgoing_has_overflowed_and_the_peer_has_ended_its_side_and_frames_wait(on: Setting) -> None:
    await outgoing_has_overflowed(on)
    await the_peer_has_ended_its_side_and_frames_wait(on)


class CallbackError(Exception):
    pass


CALLBACK_ERROR = CallbackError()


@way(raw="DOO", managed="DDD", failure=CallbackError, listener=True)
async def a_listener_has_failed(on: Setting) -> None:
    def listener(frame: Frame) -> None:
        raise CALLBACK_ERROR

    async def listen() -> None:
        with pytest.raises(CallbackError):
            await on.session.listen(listener)

    on.near.held = True
    on.help(listen())
    await settle()
    await on.say("0")


# ---- this side ends the connection ----------------------------------------------------------------


@way(raw="ODO")
async def we_have_ended_our_direction(on: Setting) -> None:
    await on.raw.write_eof()


@way(raw="ODO")
async def we_have_ended_our_direction_and_frames_wait(on: Setting) -> None:
    await on.say("0", "1")
    await on.raw.write_eof()


@way(raw="OCO", stuck=True)
async def we_end_our_direction_and_the_peer_reads_nothing(on: Setting) -> None:
    await on.stop_peer(full=True)
    on.help(on.raw.write_eof())
    await settle()


@way(raw="ODO")
async def we_have_closed_and_ended_our_direction(on: Setting) -> None:
    on.session.close_nowait()
    await on.raw.write_eof()


@way(raw="DDO")
async def we_have_ended_our_direction_and_the_peer_has_closed(on: Setting) -> None:
    await on.raw.write_eof()
    await the_peer_has_closed(on)


@way(raw="CDO")
async def we_have_ended_our_direction_and_the_peer_has_closed_and_frames_wait(on: Setting) -> None:
    await on.raw.write_eof()
    await the_peer_has_closed_and_frames_wait(on)


@way(raw="CDD")
async def we_have_ended_our_direction_and_the_peer_has_too_and_frames_wait(on: Setting) -> None:
    on.near.held = True
    await on.raw.write_eof()
    await the_peer_has_ended_its_side_and_frames_wait(on)


@way(raw="CDD")
async def the_peer_has_ended_its_side_and_we_have_too_and_frames_wait(on: Setting) -> None:
    on.near.held = True
    await the_peer_has_ended_its_side_and_frames_wait(on)
    await on.raw.write_eof()
    await settle()


@way(raw="DCD", stuck=True, in_order=True)
async def we_end_and_the_peer_reads_nothing(on: Setting) -> None:
    await on.stop_peer(full=True)
    on.help(on.raw.end())
    await settle()


@way(raw="DDD", in_order=True)
async def we_have_ended_and_the_peer_has_not(on: Setting) -> None:
    on.help(on.raw.end())
    await settle()


@way(raw="CCD", managed="CCD", stuck=True, takes_time=True, options={"close_timeout": 8.0})
async def a_half_open_connection_is_ended_and_frames_wait(on: Setting) -> None:
    await on.stop_peer(full=True)
    await the_peer_has_ended_its_side_and_frames_wait(on)
    await asyncio.sleep(8.001)


@way(raw="DDD", managed="DDD")
async def we_have_aborted(on: Setting) -> None:
    on.near.held = True
    on.session.abort()
    await settle()


@way(raw="CDD", managed="CDD")
async def we_have_aborted_and_frames_wait(on: Setting) -> None:
    await on.say("0", "1")
    await we_have_aborted(on)


@way(raw="DDD", managed="DDD", stuck=True)
async def we_have_aborted_and_the_peer_reads_nothing(on: Setting) -> None:
    await on.stop_peer(full=True)
    await we_have_aborted(on)


@way(raw="ODD", managed="ODD")
async def a_write_has_failed(on: Setting) -> None:
    on.near.look_broken()
    while not on.session.outgoing_ended:
        on.session.send_nowait("x")
    await settle()


# ---- lost -----------------------------------------------------------------------------------


@way(raw="DDL", managed="DDL")
async def the_connection_is_lost(on: Setting) -> None:
    on.peer.abort()
    await settle()


@way(raw="CDL", managed="CDL")
async def the_connection_is_lost_and_frames_wait(on: Setting) -> None:
    await on.say("0", "1")
    await the_connection_is_lost(on)


@way(raw="CDL", managed="CDL")
async def the_connection_is_lost_and_incoming_is_full(on: Setting) -> None:
    await on.say(*"01234567")
    await the_connection_is_lost(on)


@way(raw="DDL", managed="DDL")
async def the_connection_is_lost_and_outgoing_is_full(on: Setting) -> None:
    await on.stop_peer(full=True)
    await the_connection_is_lost(on)


@way(raw="CDL", managed="CDL", failure=ProtocolViolation)
async def the_connection_is_lost_after_a_violation_and_frames_wait(on: Setting) -> None:
    await the_peer_broke_the_protocol_and_frames_wait(on)
    await the_connection_is_lost(on)


@way(raw="DDL", listener=True)
async def the_connection_is_lost_and_a_listener_is_paused(on: Setting) -> None:
    await a_listener_is_paused(on)
    await the_connection_is_lost(on)
    assert len(on.delivered) == 3


@way(raw="DDL", managed="DDL")
async def the_connection_is_lost_inside_a_frame(on: Setting) -> None:
    on.peer.write_bytes(b"\x81\x85abcdx")
    await settle()
    await the_connection_is_lost(on)


@way(raw="DDL", managed="DDL")
async def the_connection_is_lost_after_both_have_closed(on: Setting) -> None:
    on.session.close_nowait()
    on.peer.close_nowait()
    await settle()
    await on.take_all()
    await the_connection_is_lost(on)
