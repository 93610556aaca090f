"""Sent items are delivered as long as the peer goes on taking them, and no longer than that."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiohttp_rawws import ConnectionLost, Frame, SessionClosed, bounded
from aiohttp_rawws.session import delivery
from aiohttp_rawws.session.delivery import (
    MIN_RATE,
    DeliveryTimer,
    StallTimer,
    acknowledged,
    has_stalled,
    kernel_queue,
)
from aiohttp_rawws.session.ending import LINGER

from ..tools import peers
from ..tools.clock import advance, is_time_of
from ..tools.talking import Line, bounded_wait, on_a_line, run

pytestmark = pytest.mark.loops("clock")

T = 8.0  # seconds of the limits
SLOW, FAST = 0.9 * MIN_RATE, 1.1 * MIN_RATE
NOISE = random.Random(1).randbytes(60_000)  # does not compress
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the kernel holds (TIOCOUTQ)")


# ---- the rate -------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.25, 8.0, 60.0])
@pytest.mark.parametrize(("rate", "stalls"), [(0, True), (SLOW, True), (MIN_RATE, False)])
def test_the_least_rate(timeout: float, rate: float, stalls: bool) -> None:
    samples = deque([(0.0, 0)])
    steps = [timeout / 8 * step for step in range(1, 33)]
    found = [has_stalled(samples, now, int(rate * now), timeout) for now in steps]
    assert found[:7] == [False] * 7, "not before the whole time is over"
    assert all(found[7:]) if stalls else not any(found)


def test_it_is_the_latest_time_that_counts() -> None:
    """Megabytes at first do not excuse a peer that then takes nothing."""
    samples = deque([(0.0, 0)])
    found = [has_stalled(samples, float(second), 10**7, 8.0) for second in range(1, 20)]
    assert found.index(True) == 8


# ---- everything that ends a session, and write_timeout ----------------------------------------

Ending = Callable[[Any], Awaitable[object]]


async def with_block(session: Any) -> None:
    async with session:
        pass


async def close_and_end(session: Any) -> None:
    await session.close()
    await session.end()


async def fail_in_block(session: Any) -> None:
    with contextlib.suppress(LookupError):
        async with session:
            raise LookupError


async def wait(session: Any) -> None:
    await session.wait_closed()


async def handler_returns(session: Any) -> None:
    async def handle(session: Any) -> None:
        pass

    await run(session, handle)


async def handler_closes(session: Any) -> None:
    async def handle(session: Any) -> None:
        session.close_nowait(4000)

    await run(session, handle)


async def handler_raises(session: Any) -> None:
    async def handle(session: Any) -> None:
        raise LookupError("of the handler's own")

    await run(session, handle)


async def send_close(session: Any) -> None:
    await session.send(Frame.close(1001))
    await session.wait_closed()


async def lifetime_ends(session: Any) -> None:
    await run(session, wait)


ENDINGS: dict[str, tuple[str, Ending, dict[str, Any]]] = {
    "raw: end()": ("raw", lambda session: session.end(), {}),
    "raw: close(), then end()": ("raw", close_and_end, {}),
    "raw: async with": ("raw", with_block, {}),
    "raw: async with, failing": ("raw", fail_in_block, {}),
    "raw: the handler returns": ("raw", handler_returns, {}),
    "raw: the handler closes": ("raw", handler_closes, {}),
    "raw: the handler raises": ("raw", handler_raises, {"on_error": "close-1011"}),
    "raw: max_lifetime": ("raw", lifetime_ends, {"max_lifetime": 0.001}),
    "managed: close()": ("managed", lambda session: session.close(), {}),
    "managed: send(Close)": ("managed", send_close, {}),
    "managed: async with": ("managed", with_block, {}),
    "managed: the handler returns": ("managed", handler_returns, {}),
    "managed: the handler raises": ("managed", handler_raises, {}),
    "managed: max_lifetime": ("managed", lifetime_ends, {"max_lifetime": 0.001}),
    "deflate: close()": ("deflate", lambda session: session.close(), {}),
    "deflate: the handler returns": ("deflate", handler_returns, {}),
}
each_ending = pytest.mark.parametrize("ending", ENDINGS)
ENDED = frozenset(name for name in ENDINGS if "max_lifetime" in name)  # their limit is another one


@contextlib.asynccontextmanager
async def sent_and_ending(ending: str, size: int = len(NOISE), line: Line | None = None) -> Any:
    """A session that has sent ``size`` bytes to a peer that has taken none, and is being ended."""
    kind, end, options = ENDINGS[ending]
    async with on_a_line(kind, line, close_timeout=T, **options) as (session, line):
        for at in range(0, size, 10_000):
            session.send_nowait(NOISE[at : at + min(10_000, size - at)])
        task = asyncio.ensure_future(end(session))
        await advance(0.01)
        yield session, line, task
        await bounded_wait(task, 10 * T)


async def take_at(line: Line, rate: float, step: float = 0.25) -> None:
    """Take bytes at ``rate``, for as long as there are any."""
    while line.held and not line.lost:
        await asyncio.sleep(step)
        line.take(int(rate * step))


def answer(line: Line) -> None:
    """The peer closes, and ends its side."""
    line.give(peers.close_frame(1000))
    line.end()


@each_ending
async def test_a_peer_that_takes_a_little_all_the_time_gets_everything(ending: str) -> None:
    async with sent_and_ending(ending) as (session, line, task):
        began = asyncio.get_running_loop().time()
        await take_at(line, FAST)
        assert asyncio.get_running_loop().time() - began > 5 * T, "far longer than close_timeout"
        assert not line.lost and not task.done()
        answer(line)
        await bounded_wait(task, 2 * T)
        assert not line.aborted or ending == "raw: max_lifetime", "whose handler has not returned"
        assert len(line.taken) > len(NOISE)
        assert session.connection.limit is None or ending in ENDED


@each_ending
async def test_a_peer_that_takes_less_is_dropped(ending: str) -> None:
    async with sent_and_ending(ending) as (session, line, _task):
        began = asyncio.get_running_loop().time()
        await take_at(line, SLOW)
        assert is_time_of(T, began)
        assert line.aborted and session.connection.limit == "close_timeout"


@each_ending
async def test_a_transport_that_is_lost_and_has_yet_to_report_it(ending: str) -> None:
    """As the TLS transport of Python 3.10, for an iteration of the loop: the timers must not fail then."""
    async with sent_and_ending(ending) as (_session, line, task):
        line.take(10)
        line.broken = True
        await asyncio.sleep(T / 2)
        assert not line.lost
        line.lose(ConnectionResetError())
        await bounded_wait(task, 2 * T)


async def test_reading_is_not_paused_or_resumed_on_such_a_transport() -> None:
    async with on_a_line("raw", incoming=bounded(2)) as (session, line):
        line.broken = True
        line.give(peers.frame(peers.TEXT, b"x") * 5)
        assert session.connection.reading_paused
        assert [(await session.receive()).payload for _ in range(5)] == [b"x"] * 5
        assert not session.connection.reading_paused
        line.lose()
        with pytest.raises(ConnectionLost):
            await session.receive()


@each_ending
async def test_what_it_sends_is_no_progress(ending: str) -> None:
    async with sent_and_ending(ending) as (_session, line, _task):
        began = asyncio.get_running_loop().time()
        while not line.lost:
            line.give(peers.frame(peers.PING, b"I am here") + peers.frame(peers.TEXT, b"x" * 5000))
            await asyncio.sleep(0.25)
        assert is_time_of(T, began)
        assert line.aborted


@each_ending
async def test_a_peer_that_takes_it_in_bursts(ending: str) -> None:
    async with sent_and_ending(ending) as (_session, line, _task):
        while line.held:
            await asyncio.sleep(0.9 * T)
            line.take(int(FAST * T))
        assert not line.lost
        answer(line)


@each_ending
async def test_once_all_is_delivered_the_wait_for_the_peer_is_limited(ending: str) -> None:
    """Also if the peer goes on sending."""
    async with sent_and_ending(ending) as (_session, line, _task):
        await take_at(line, 20 * MIN_RATE)
        began = asyncio.get_running_loop().time()
        while not line.lost:
            line.give(peers.frame(peers.TEXT, b"more"))
            await asyncio.sleep(0.25)
        assert is_time_of(T, began - 0.25)
        assert line.aborted


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name.startswith("raw")])
async def test_a_peer_that_has_closed_has_a_moment_to_end_its_side(ending: str) -> None:
    async with sent_and_ending(ending) as (_session, line, _task):
        line.give(peers.close_frame(1000))
        await take_at(line, FAST)  # which may take its time all the same
        assert not line.lost or ending in ENDED
    # ``DeliveryTimer`` got its time when the end began: with the Close before that it is LINGER.


@pytest.mark.parametrize("kind", ["raw", "managed"])
async def test_a_closed_peer_that_leaves_its_side_open(kind: str) -> None:
    async with on_a_line(kind, close_timeout=T) as (session, line):
        line.give(peers.close_frame(1000))
        began = asyncio.get_running_loop().time()
        ending = asyncio.ensure_future(session.end() if kind == "raw" else session.close())
        await asyncio.sleep(0)
        line.take()
        await bounded_wait(ending, T)
        assert asyncio.get_running_loop().time() - began == pytest.approx(LINGER, rel=0.3)


class TestWriteTimeout:
    """The same while the session is open and a sender waits."""

    @pytest.mark.parametrize("kind", ["raw", "managed", "deflate"])
    @pytest.mark.parametrize(("rate", "dropped"), [(0.0, True), (SLOW, True), (FAST, False)])
    async def test_rates(self, kind: str, rate: float, dropped: bool) -> None:
        async with on_a_line(kind, write_timeout=T) as (session, line):
            sending = asyncio.ensure_future(self.flood(session))
            await advance(0.01)
            began = asyncio.get_running_loop().time()
            while not line.lost and asyncio.get_running_loop().time() - began < 6 * T:
                line.take(int(rate / 4))
                line.give(peers.frame(peers.PING, b"I am here"))
                await asyncio.sleep(0.25)
            assert line.lost is dropped
            assert session.connection.limit == ("write_timeout" if dropped else None)
            assert not dropped or is_time_of(T, began)
            session.abort()
            await asyncio.wait([sending], timeout=T)
            assert isinstance(sending.exception(), SessionClosed)

    async def flood(self, session: Any) -> None:
        while True:
            await session.send(NOISE[:10_000])

    async def test_a_peer_that_takes_everything_in_the_end_is_not_dropped_later(self) -> None:
        async with on_a_line("raw", write_timeout=T) as (session, line):
            for _ in range(5):
                for _ in range(10):
                    session.send_nowait(NOISE[:10_000])
                await advance(0.9 * T)
                while line.take():
                    pass
            await advance(5 * T)
            assert not line.lost


# ---- what the kernel holds ------------------------------------------------------------------


@pytest.fixture(params=["tcp", "unix"])
def full_socket(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket whose buffer is full, and its other end."""
    if request.param == "unix":
        near, far = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            near = socket.create_connection(listening.getsockname())
            far, _ = listening.accept()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        with contextlib.suppress(BlockingIOError):
            while True:
                near.send(bytes(1000))
        yield near, far


def read_all(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(2**20):
            count += len(data)
    return count


@linux_only
async def test_the_kernels_queue(full_socket: tuple[socket.socket, socket.socket]) -> None:
    near, far = full_socket
    line = Line(extra={"socket": near})
    assert kernel_queue(line) > 1000
    for _ in range(100):
        if not read_all(far) and not kernel_queue(line):
            break
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert kernel_queue(line) == 0
    near.close()
    assert kernel_queue(line) == 0, "closed"


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
async def test_elsewhere_the_kernel_is_not_asked(
    platform: str, monkeypatch: pytest.MonkeyPatch, full_socket: tuple[socket.socket, socket.socket]
) -> None:
    monkeypatch.setattr(delivery, "sys", SimpleNamespace(platform=platform, byteorder=sys.byteorder))
    monkeypatch.delattr(delivery, "ioctl", raising=False)  # as it is there
    monkeypatch.delattr(delivery, "TIOCOUTQ", raising=False)
    assert kernel_queue(Line(extra={"socket": full_socket[0]})) == 0


async def test_a_transport_without_a_socket_has_no_kernels_queue(tmp_path: Path) -> None:
    assert kernel_queue(Line()) == 0
    with (tmp_path / "file").open("wb") as file:
        assert kernel_queue(Line(extra={"socket": file})) == 0, "no socket"


@linux_only
@each_ending
@pytest.mark.parametrize("full_socket", ["unix"], indirect=True)
async def test_that_the_kernel_gets_rid_of_it_is_progress(
    ending: str, full_socket: tuple[socket.socket, socket.socket]
) -> None:
    """Our own buffer is empty all the time."""
    near, far = full_socket
    async with sent_and_ending(ending, size=0, line=Line(extra={"socket": near})) as (session, line, task):
        line.take()
        for _ in range(30):
            assert not line.lost
            far.recv(1000)
            await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await bounded_wait(task, 2 * T)
        assert 0 < asyncio.get_running_loop().time() - began <= 1.25 * T
        assert session.connection.limit is not None, "the rest was not taken"


@pytest.mark.parametrize("full_socket", ["unix"], indirect=True)
async def test_where_the_kernel_does_not_tell_only_our_buffer_counts(
    monkeypatch: pytest.MonkeyPatch, full_socket: tuple[socket.socket, socket.socket]
) -> None:
    monkeypatch.setattr(delivery, "sys", SimpleNamespace(platform="darwin", byteorder=sys.byteorder))
    async with sent_and_ending("raw: end()", line=Line(extra={"socket": full_socket[0]})) as (session, line, task):
        await take_at(line, FAST)
        assert session.connection.undelivered() == 0
        began = asyncio.get_running_loop().time()
        await bounded_wait(task, 2 * T)
        assert is_time_of(T, began)
        assert session.connection.limit is None, "that it did not end its side is no failure to take"


@linux_only
async def test_what_the_peers_system_has_acknowledged(full_socket: tuple[socket.socket, socket.socket]) -> None:
    near, far = full_socket
    line = Line(extra={"socket": near})
    before = acknowledged(line)
    if near.family == socket.AF_UNIX:
        assert before is None
        return
    assert before is not None and before > 1000
    count = read_all(far)
    for _ in range(100):
        if (acknowledged(line) or 0) > before:
            break
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        count += read_all(far)
    assert before < (acknowledged(line) or 0) <= before + count
    near.close()
    assert acknowledged(line) is None, "closed"


async def test_where_nobody_knows_what_was_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert acknowledged(Line()) is None, "no socket"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(delivery, "sys", SimpleNamespace(platform="darwin", byteorder=sys.byteorder))
        assert acknowledged(Line(extra={"socket": listening})) is None


# ---- transports that cannot end their side alone ------------------------------------------------


async def test_tls_is_closed_when_all_is_delivered() -> None:
    """It ends both directions, and what the peer sends from then on could destroy what it has not got."""
    line = Line(can_write_eof=False)
    async with sent_and_ending("raw: end()", line=line) as (session, line, _task):
        while line.held:
            assert not line.is_closing()
            line.give(peers.frame(peers.PING, b"I am here"))
            await asyncio.sleep(T / 2)
            line.take(int(FAST * T))
        await advance(T / 4)
        assert line.lost and not line.aborted
        assert session.connection.limit is None


@pytest.mark.parametrize("ending", [name for name in ENDINGS if "lifetime" not in name])
async def test_tls_with_a_peer_that_has_closed_is_closed_at_once(ending: str) -> None:
    """It sends nothing more, so there is nothing to fear; the transport delivers what it has."""
    async with sent_and_ending(ending, line=Line(can_write_eof=False)) as (_session, line, _task):
        line.give(peers.close_frame(1000))
        while len(line.held) > 10_000:
            line.take(10_000)
        await advance(T / 4)
        assert line.is_closing() or ending.startswith("raw")  # if the end had begun before
        line.take()
        await advance(T / 4)
        assert line.lost and not line.aborted


@pytest.mark.parametrize("ending", ["raw: end()", "raw: the handler returns", "raw: async with"])
async def test_tls_with_a_peer_that_takes_nothing(ending: str) -> None:
    async with sent_and_ending(ending, line=Line(can_write_eof=False)) as (session, line, task):
        began = asyncio.get_running_loop().time()
        await bounded_wait(task, 2 * T)
        assert is_time_of(T, began - 0.01)
        assert line.aborted and session.connection.limit == "close_timeout"


# ---- the timers by themselves -----------------------------------------------------------------


class Sender:
    """A connection whose numbers the test sets."""

    def __init__(self) -> None:
        self.left, self.taken = 10**6, 0

    def undelivered(self) -> int:
        return self.left

    def bytes_taken(self) -> int:
        return self.taken


async def test_a_timer_that_was_stopped_says_nothing() -> None:
    said: list[object] = []
    loop = asyncio.get_running_loop()
    timers: list[DeliveryTimer | StallTimer] = [
        DeliveryTimer(loop, Sender(), T, said.append),
        StallTimer(loop, Sender(), T, lambda: False, lambda: said.append(True)),
    ]
    await advance(T / 2)
    for timer in timers:
        timer.stop()
        timer.stop()
    await advance(10 * T)
    assert said == []


async def test_they_say_it_once() -> None:
    said: list[object] = []
    loop = asyncio.get_running_loop()
    DeliveryTimer(loop, Sender(), T, said.append)
    StallTimer(loop, Sender(), T, lambda: False, lambda: said.append("stalled"))
    await advance(10 * T)
    assert sorted(map(str, said)) == ["True", "stalled"]


async def test_a_stall_timer_stops_when_it_is_over() -> None:
    said: list[object] = []
    over: list[bool] = []
    StallTimer(asyncio.get_running_loop(), Sender(), T, lambda: bool(over), lambda: said.append(True))
    await advance(T * 0.9)
    over.append(True)
    await advance(10 * T)
    assert said == []


async def test_what_still_moves_is_not_delivered() -> None:
    """A buffer below the transport, which cannot be asked: the kernel has nothing, and gets more of it each time."""
    said: list[object] = []
    sender = Sender()
    sender.left = 0
    timer = DeliveryTimer(asyncio.get_running_loop(), sender, T, said.append, 1.0, lambda: said.append("delivered"))
    for _ in range(int(3 * T * 1000)):
        assert not timer.is_delivered
        sender.taken += 100
        await asyncio.sleep(0.001)
    await advance(0.5)
    assert timer.is_delivered and said == ["delivered"]
    await advance(1.0)
    assert said == ["delivered", False]


@pytest.mark.parametrize("grace", [None, 1.0, 100.0])
async def test_the_grace_counts_from_the_delivery(grace: float | None) -> None:
    said: list[object] = []
    sender = Sender()
    DeliveryTimer(asyncio.get_running_loop(), sender, T, said.append, grace)
    for _ in range(20):
        sender.taken += int(FAST * T / 2)
        await advance(T / 2)
    sender.left = 0
    began = asyncio.get_running_loop().time()
    while not said:
        await advance(0.5)
    passed = asyncio.get_running_loop().time() - began
    assert said == [False]
    assert (grace or T) <= passed <= (grace or T) + T / 8 + 0.5


# ---- the report -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "managed"])
async def test_a_peer_that_takes_nothing_is_one_line_in_the_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp_rawws")
    reached: list[str] = []

    async def handle(session: Any) -> None:
        for _ in range(3):
            session.send_nowait(NOISE)

    async with on_a_line(kind, close_timeout=T) as (session, _):
        await bounded_wait(run(session, handle, on_limit=reached.append), 10 * T)
    assert reached == ["close_timeout"]
    assert [record.levelno for record in caplog.records] == [logging.INFO]
