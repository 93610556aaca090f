"""Peers that fail in every state, handlers that fail at every await: nothing stays behind, and nobody else notices.

``bench()`` looks for what stays behind after each test, and has a well-behaved session beside the others.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import aiohttp_rawws as rawws
from aiohttp_rawws.session.memory import MemoryTransport

from ..tools import peers
from ..tools.faults import (
    BLOCK,
    BLOCKED,
    CLOSE_TIMEOUT,
    LEAVES,
    STAGES,
    At,
    Bench,
    Handle,
    bench,
    half_close,
    misbehave,
    reset,
)
from ..tools.peers import BINARY, PING, PONG, TEXT, close_frame, frame
from ..tools.waiting import eventually, settle

KINDS = ("/raw", "/listen", "/managed")
UNREAD = 100_000_000  # more than the buffers of a connection take


@pytest.fixture(params=["tcp", "tls"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    places: dict[str, dict[str, Any]] = {"tcp": {}, "tls": {"tls": True}, "unix": {"unix": tmp_path / "socket"}}
    return places[request.param]


# ---- the peer leaves ----------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
async def test_a_peer_leaves(stage: str) -> None:
    """In every state, in every way, from every kind of session; all at once."""
    async with bench() as running:
        await asyncio.gather(
            *(misbehave(running.served, STAGES[stage], path, leave) for path in KINDS for leave in LEAVES)
        )
        await running.quiet()


@pytest.mark.parametrize("place", ["tls", "unix"], indirect=True)
@pytest.mark.parametrize("path", KINDS)
async def test_a_peer_leaves_elsewhere(path: str, place: dict[str, Any]) -> None:
    """The same, all states at once."""
    async with bench(**place) as running:
        await asyncio.gather(
            *(misbehave(running.served, stage, path, leave) for stage in STAGES.values() for leave in LEAVES)
        )
        await running.quiet()


@pytest.mark.parametrize("stage", BLOCKED)
async def test_a_peer_leaves_while_we_wait_for_it_to_read(stage: str, place: dict[str, Any]) -> None:
    async with bench(**place) as running:
        leaves = [leave for leave in LEAVES if leave is not half_close or stage in ("ending", "managed-ending")]
        await asyncio.gather(*(misbehave(running.served, BLOCKED[stage], "", leave) for leave in leaves))
        await running.quiet()


# ---- the peer stays, and is of no use -----------------------------------------------------


@pytest.mark.parametrize("path", ["/ending", "/managed-ending", "/sending", "/managed-sending", "/flushing"])
async def test_it_ends_its_side_and_reads_no_more(path: str) -> None:
    """All calls that wait for it to read end within the close timeouts, while the peer is still there."""
    async with bench() as running:
        async with running.served.peer() as peer:
            await BLOCKED[path[1:]](peer, path)
            peer.writer.write_eof()
            await running.quiet()
            await reset(peer)


@pytest.mark.parametrize("path", ["/ending", "/managed-ending", "/managed-closing"])
async def test_it_vanishes_while_we_end(path: str, place: dict[str, Any]) -> None:
    """It reads nothing and sends nothing, and its connection stays."""
    async with bench(**place) as running:
        async with running.served.peer() as peer:
            await peer.open(path)
            peer.pause_reading()
            await running.quiet()
            await reset(peer)


async def test_it_vanishes_and_does_not_answer_pings() -> None:
    async with bench(ping_interval=0.05, timeout=0.1) as running:
        for stage in ("open", "mid-header", "mid-large", "mid-message", "unread-echoes"):
            async with running.served.peer() as peer:
                await STAGES[stage](peer, "/managed")
                peer.pause_reading()
                await running.quiet()
                await reset(peer)


@pytest.mark.parametrize("place", ["tcp", "tls", "unix"], indirect=True)
async def test_one_byte_at_a_time(place: dict[str, Any]) -> None:
    """The handshake too."""
    stream = frame(TEXT, b"hello") + frame(PING, b"") + frame(BINARY, b"x" * 200) + close_frame(1000)
    async with bench(**place) as running:

        async def trickle(path: str) -> None:
            async with running.served.peer() as peer:
                for byte in peers.request_bytes(path) + stream:
                    peer.writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                assert (await peer.answer()).status == 101
                assert await peer.frame() == (TEXT, b"hello")
                assert await peer.frame() == (PONG, b"")
                assert await peer.frame() == (BINARY, b"x" * 200)
                await peer.closed_by_server(1000)
                assert await peer.read_to_end() == b""

        await asyncio.gather(*map(trickle, KINDS))
        await running.quiet()


@pytest.mark.parametrize("path", KINDS)
async def test_a_flood_of_pings_whose_pongs_are_not_read(path: str) -> None:
    """A limited number of them is kept, and the pongs that come in the end are in order."""
    ping = frame(PING, b"x" * 120)
    flood = ping * 200_000
    async with bench(max_control_rate=None) as running:
        async with running.served.peer() as peer:
            await peer.open(path)
            peer.pause_reading()
            peer.writer.write(flood)
            raws = [getattr(session, "raw", session) for session in running.sessions]
            await eventually(lambda: any(raw.stats.frames_received > 5000 for raw in raws))
            await asyncio.sleep(0.5)
            assert not running.ends, "no handler failed"
            assert all(raw.frames_unsent <= 2100 and raw.frames_waiting <= 2100 for raw in raws), raws
            await reset(peer)
        await running.quiet()


async def test_never_read_echoes_are_bounded() -> None:
    async with bench() as running:
        async with running.served.peer() as peer:
            await peer.open("/raw")
            peer.pause_reading()
            for _ in range(200):
                peer.writer.write(frame(BINARY, b"x" * 60_000))
            (session,) = (s for s in running.sessions if s.request.path == "/raw")
            await eventually(lambda: session.frames_unsent)
            await asyncio.sleep(0.3)
            assert session.frames_unsent * 60_000 <= 2 * 2**20
            assert session.transport.get_write_buffer_size() <= 2 * 2**20
            await reset(peer)
        await running.quiet()


# ---- the handler --------------------------------------------------------------------------

Act = Callable[[Bench, Any, Any], BaseException | None]


def cancel(running: Bench, session: Any, task: Any) -> None:
    asyncio.get_running_loop().call_soon(task.cancel)


def cancel_at_once(running: Bench, session: Any, task: Any) -> BaseException:
    return asyncio.CancelledError()


def fail(running: Bench, session: Any, task: Any) -> BaseException:
    return ZeroDivisionError("a bug of the handler")


def abort(running: Bench, session: Any, task: Any) -> None:
    session.abort()


def close(running: Bench, session: Any, task: Any) -> None:
    session.close_nowait()


def lose(running: Bench, session: Any, task: Any) -> None:
    raw = getattr(session, "raw", session)
    raw.transport.abort()


ACTS: list[Act] = [cancel, cancel_at_once, fail, abort, close, lose]


async def conversation(session: Any) -> None:
    """Stands at each kind of await there is."""
    await session.send("hello")
    assert (await session.receive()).payload == b"one"
    for _ in range(30):
        await session.send(BLOCK)  # the peer reads when it is asked to
    await session.flush()
    async with asyncio.timeout(20) if hasattr(asyncio, "timeout") else session.cork():
        async for item in session:
            if item.payload == b"two":
                break
    task = session.create_task(asyncio.sleep(60))
    if hasattr(session, "ping"):
        await session.ping()
    await asyncio.sleep(0)
    await session.send("bye")
    await session.close(1000)
    task.cancel()
    async for _ in session:
        pass


async def its_peer(running: Bench, path: str) -> None:
    """The other side of ``conversation``: goes on for as long as the connection lasts."""
    async with running.served.peer() as peer:
        try:
            await peer.open(path)
            assert await peer.frame() == (TEXT, b"hello")
            await peer.send(frame(TEXT, b"one"))
            await asyncio.sleep(0.02)
            await peer.send(frame(TEXT, b"two"))
            while True:
                opcode, payload = await peer.frame()
                if opcode == PING:
                    await peer.send(frame(PONG, payload))
                elif opcode == peers.CLOSE:
                    await peer.send(close_frame(1000))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_interrupted_at_each_await(
    act: Act, managed: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    suspended: list[int] = []

    def interrupted(n: int) -> Any:
        async def handle(session: Any) -> None:
            at = At(n, conversation(session), functools.partial(act, running, session, asyncio.current_task()))
            try:
                await at
            except (rawws.ConnectionLost, rawws.SessionClosed):
                pass
            finally:
                suspended.append(at.suspensions)

        return handle

    numbers = range(1, 12)
    more = {f"/at-{n}": (interrupted(n), managed) for n in numbers}
    async with bench(more=more) as running:
        await asyncio.gather(*(its_peer(running, path) for path in more))
        await running.quiet()
    assert len(suspended) == len(numbers)
    assert max(suspended) >= 4


def fill(session: Any) -> None:
    """Send until nothing more is taken: the peer does not read."""
    try:
        while True:
            session.send_nowait(BLOCK)
    except rawws.ChannelOverflow:
        pass


def filled(wait: Callable[[Any], Awaitable[object]]) -> Handle:
    async def handle(session: Any) -> None:
        fill(session)
        await wait(session)

    return handle


async def iterate(session: Any) -> None:
    async for _ in session:
        pass


async def send_in_turn(session: Any) -> None:
    """Behind another sender."""

    async def first() -> None:
        try:
            await session.send(BLOCK)
        except rawws.SessionClosed:
            pass

    session.create_task(first())
    await asyncio.sleep(0)
    await session.send(BLOCK)


async def leave_context(session: Any) -> None:
    async with session:
        pass


async def wait_for_a_task(session: Any) -> None:
    await session.create_task(asyncio.sleep(60))


async def wait_for_reason(session: Any) -> None:
    await session.close_reason


# Where a handler can stand, with a peer that reads nothing and says nothing.
WAITS: dict[str, Handle] = {
    "receive": lambda session: session.receive(),
    "iterate": iterate,
    "send": filled(lambda session: session.send(BLOCK)),
    "send in turn": filled(send_in_turn),
    "flush": filled(lambda session: session.flush()),
    "broadcast": filled(lambda session: rawws.broadcast([session], b"x", policy="wait")),
    "task": wait_for_a_task,
    "wait_closed": lambda session: session.wait_closed(),
    "close": filled(lambda session: session.close()),
    "context": filled(leave_context),
}
RAW_WAITS: dict[str, Handle] = {
    "listen": lambda session: session.listen(lambda item: None),
    "wait_writable": filled(lambda session: session.wait_writable()),
    "end": lambda session: session.end(),
    "end unwritten": filled(lambda session: session.end()),
}
MANAGED_WAITS: dict[str, Handle] = {
    "ping": lambda session: session.ping(),
    "close_reason": wait_for_reason,
    "close unanswered": lambda session: session.close(),
}


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_interrupted_where_it_waits(
    act: Act, managed: bool, place: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Every way to wait for a session, all at once; the peers stay."""
    caplog.set_level("CRITICAL")
    waits = {**WAITS, **(MANAGED_WAITS if managed else RAW_WAITS)}
    acted: list[str] = []

    def interrupted(name: str) -> Handle:
        async def handle(session: Any) -> None:
            task = asyncio.current_task()

            def once() -> BaseException | None:
                acted.append(name)
                return act(running, session, task)

            try:
                await At(1, _awaited(waits[name](session)), once)
            except rawws.SessionClosed:
                pass

        return handle

    async def stay(path: str) -> None:
        async with running.served.peer() as peer:
            await peer.open(path)
            peer.pause_reading()
            await gone.wait()
            await reset(peer)

    gone = asyncio.Event()
    more = {f"/{name.replace(' ', '-')}-here": (interrupted(name), managed) for name in waits}
    async with bench(more=more, **place) as running:
        peers_here = asyncio.gather(*map(stay, more))
        if act is close and not managed:  # what follows the Close is the handler's, and the peer says nothing
            await eventually(lambda: len(acted) == len(waits))
            gone.set()
        await running.quiet()
        gone.set()
        await peers_here
    assert sorted(acted) == sorted(waits)


@pytest.mark.loops("clock")
@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_the_ending_is_cancelled_at_each_await(managed: bool) -> None:
    """The cancellation comes through, at whatever await of ``run_session`` or ``run_managed``, and nothing stays."""

    async def handle(session: Any) -> None:
        await session.send(b"x" * 300_000)

    for n in range(1, 20):
        server, client = rawws.memory_pair(close_timeout=0.2)
        client.pause_reading()
        session: Any = rawws.DefaultWebSocketSession(server) if managed else server
        run: Any = rawws.run_managed if managed else rawws.run_session
        interrupted = At(n, run(session, handle), asyncio.CancelledError)
        if n <= 1:
            with pytest.raises(asyncio.CancelledError):
                await _awaited(interrupted)
        else:
            try:
                await asyncio.wait_for(_awaited(interrupted), 20)
            except asyncio.CancelledError:
                pass
        await asyncio.wait_for(server.wait_closed(), 20)
        client.abort()
        await client.wait_closed()
        if interrupted.suspensions < n:
            break
    assert 1 < n < 19


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def test_a_handler_that_blocks_the_loop(place: dict[str, Any]) -> None:
    """Everybody waits, and nobody loses anything."""

    async def rude(session: Any) -> None:
        async for _ in session:
            time.sleep(0.05)  # noqa: ASYNC251 - this is what it is about

    async def other(path: str) -> None:
        async with running.served.peer() as peer:
            await peer.open(path)
            sent = [b"%d" % number for number in range(300)]
            await peer.send(*(frame(TEXT, payload) for payload in sent))
            assert [await peer.frame() for _ in sent] == [(TEXT, payload) for payload in sent]
            await peer.finish()

    async with bench(more={"/rude": (rude, False), "/managed-rude": (rude, True)}, **place) as running:
        async with running.served.peer() as one, running.served.peer() as two:
            await one.open("/rude")
            await two.open("/managed-rude")
            await one.send(frame(TEXT, b"x") * 5)
            await two.send(frame(TEXT, b"x") * 5)
            await asyncio.gather(*map(other, KINDS))
            await reset(one)
            await reset(two)
        await running.quiet()


async def test_a_loop_under_full_load(place: dict[str, Any]) -> None:
    async with bench(**place) as running:
        busy = True

        def burn() -> None:
            if busy:
                until = time.perf_counter() + 0.004
                while time.perf_counter() < until:
                    pass
                asyncio.get_running_loop().call_soon(burn)

        burn()
        try:
            await asyncio.gather(*(echo_numbers(running, path) for path in KINDS for _ in range(5)))
            await asyncio.gather(
                *(misbehave(running.served, STAGES["mid-payload"], path, leave) for path in KINDS for leave in LEAVES)
            )
        finally:
            busy = False
        await running.quiet()


async def echo_numbers(running: Bench, path: str) -> None:
    async with running.served.peer() as peer:
        await peer.open(path)
        for number in range(10):
            await peer.send(frame(TEXT, b"%d" % number))
            assert await peer.frame() == (TEXT, b"%d" % number)
        await peer.finish()


# ---- shutdown -----------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0, 0.002, 0.01, 0.03, 0.1])
async def test_shutdown_at_any_moment(pause: float, place: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """With peers on their way in and out, and some that do not do anything."""
    caplog.set_level("CRITICAL")

    async def stay(session: Any) -> None:
        await asyncio.sleep(60)

    async def visit(served: Any, path: str, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            async with served.peer() as peer:
                await peer.open(path)
                for number in range(1000):
                    await peer.send(frame(TEXT, b"%d" % number))
                    if (await peer.frame())[0] == peers.CLOSE:
                        await peer.send(close_frame(1001))
                        return
        except (OSError, asyncio.IncompleteReadError, AssertionError, TimeoutError, asyncio.TimeoutError):
            pass  # refused, or gone in the middle

    more: dict[str, Any] = {"/stay": (stay, False), "/managed-stay": (stay, True)}
    async with bench(more=more, alongside=False, **place) as running:
        server = running.served.server
        visits = [
            asyncio.create_task(visit(running.served, path, index * 0.004))
            for index, path in enumerate([*KINDS, "/stay", "/managed-stay", "/sending", "/closing"] * 3)
        ]
        await asyncio.sleep(pause)
        began = time.perf_counter()
        await running.served.runner.cleanup()
        assert time.perf_counter() - began < CLOSE_TIMEOUT * 6 + 15
        assert not server.connections
        assert not +running.running
        await asyncio.wait_for(asyncio.gather(*visits), 20)


# ---- what these found ---------------------------------------------------------------------


async def test_end_meets_a_reset_that_the_loop_has_not_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_eof(self: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    server, client = rawws.memory_pair()
    monkeypatch.setattr(MemoryTransport, "write_eof", write_eof)

    async def handle(session: object) -> None:
        pass

    await rawws.run_session(server, handle)
    assert server.close_state.lost
    client.abort()
    await client.wait_closed()


@pytest.mark.parametrize("managed", [False, True], ids=["raw", "managed"])
async def test_the_connection_is_lost_while_frames_wait_for_the_peer_to_read(managed: bool) -> None:
    """Received frames are still delivered, and then the session is over. A managed one read on meanwhile."""
    one = rawws.bounded(1)
    server, client = rawws.memory_pair(server_options=rawws.SessionOptions(outgoing=one))
    client.pause_reading()
    taken: list[bytes] = []
    session: Any = rawws.DefaultWebSocketSession(server) if managed else server
    if managed:
        session.start()
        ended: Any = session.close_reason
    else:
        ended = server.listen(lambda item: taken.append(item.payload))
    while not server.outgoing_full:
        server.send_nowait(BLOCK)
    await client.send(b"one")
    await client.send(b"two")
    await eventually(lambda: session.frames_waiting == 2)
    client.abort()
    await asyncio.wait_for(_awaited(ended), 20)
    if managed:
        taken = [message.payload async for message in session]
    assert taken == [b"one", b"two"]


@pytest.mark.parametrize("how", ["end", "a listener that aborts"])
async def test_a_transport_is_not_ended_inside_resume_writing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio would report the loss of the connection once more."""
    server, client = rawws.memory_pair(outgoing=rawws.bounded(1))
    client.pause_reading()
    while not server.outgoing_full:
        server.send_nowait(BLOCK)
    resuming, ended = False, []
    relieve = MemoryTransport._relieve_writer

    def relieve_writer(self: MemoryTransport) -> None:
        nonlocal resuming
        resuming = True
        relieve(self)
        resuming = False

    def watched(name: str) -> Callable[[MemoryTransport], None]:
        def end(self: MemoryTransport) -> None:
            ended.append((name, resuming))
            call(self)

        call: Callable[[MemoryTransport], None] = getattr(MemoryTransport, name)
        return end

    monkeypatch.setattr(MemoryTransport, "_relieve_writer", relieve_writer)
    for name in ("write_eof", "close", "abort"):
        monkeypatch.setattr(MemoryTransport, name, watched(name))
    if how == "end":
        ending = asyncio.create_task(server.end())
    else:
        client.send_nowait("x")
        await settle()
        server.listen(lambda frame: server.abort())  # it gets nothing while outgoing is full
        ending = asyncio.create_task(server.wait_closed())
    await settle()
    assert not ended
    client.resume_reading()
    await eventually(lambda: ended)
    client.abort()
    await ending
    await client.wait_closed()
    assert not [name for name, inside in ended if inside]
