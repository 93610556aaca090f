"""Faults as tools: peers that stop at a chosen point and leave in a chosen way, handlers that are
interrupted at a chosen await, and a bench that looks for what stayed behind."""

from __future__ import annotations

import asyncio
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

import aiohttp_rawws as rawws

from . import peers
from .peers import BINARY, CLOSE, PING, PONG, TEXT, Peer, Served, close_frame, frame, request_bytes
from .waiting import eventually

CLOSE_TIMEOUT = 0.25  # of every session on the bench: what has to time out should not take long
BLOCK = b"\xa5" * 200_000  # a few of these fill the buffers of a connection whose peer does not read

Handle = Callable[[Any], Awaitable[object]]


# ---- handlers -----------------------------------------------------------------------------


async def echo(session: Any) -> None:
    async for item in session:
        if item.opcode is rawws.Opcode.PING:
            await session.send(rawws.Frame.pong(item.payload))
        elif item.opcode is rawws.Opcode.CLOSE:
            await session.send(rawws.Frame.close(1000))
            return
        elif not item.opcode.is_control:
            await session.send(item)


async def listening_echo(session: Any) -> None:
    def on_frame(item: Any) -> None:
        if item.opcode is rawws.Opcode.CLOSE:
            session.close_nowait()
        elif item.opcode is rawws.Opcode.PING:
            session.send_nowait(rawws.Frame.pong(item.payload))
        elif not item.opcode.is_control:
            session.send_nowait(item)

    await session.listen(on_frame)


async def managed_echo(session: Any) -> None:
    async for message in session:
        await session.send(message)


async def closing(session: Any) -> None:
    """Closes first, then waits for the peer."""
    await session.close(1001)
    async for _ in session:
        pass


async def sending(session: Any) -> None:
    """Sends until it is stopped: it stands in ``send()`` when the peer does not read."""
    while True:
        await session.send(BLOCK)


async def flushing(session: Any) -> None:
    while True:
        session.send_nowait(BLOCK)
        await session.flush()


async def ending(session: Any) -> None:
    """Returns with more unsent than the buffers of the connection take: the session's ``end()`` has to wait."""
    for _ in range(40):
        try:
            session.send_nowait(BLOCK)
        except rawws.ChannelOverflow:
            return


ROUTES: dict[str, tuple[Handle, bool]] = {
    "/raw": (echo, False),
    "/listen": (listening_echo, False),
    "/managed": (managed_echo, True),
    "/closing": (closing, False),
    "/managed-closing": (closing, True),
    "/sending": (sending, False),
    "/managed-sending": (sending, True),
    "/flushing": (flushing, False),
    "/ending": (ending, False),
    "/managed-ending": (ending, True),
}


# The well-behaved session beside the others. It has no limit of time: to be slow on a busy machine is no fault.
NEIGHBOURS: dict[str, tuple[Handle, bool]] = {"/good": (echo, False), "/managed-good": (managed_echo, True)}
PATIENT = {"close_timeout": 30, "timeout": 30}


# ---- the bench ----------------------------------------------------------------------------


class Bench:
    """A server with ``ROUTES``, and what became of the handlers that ran on it."""

    served: Served

    def __init__(self, app: web.Application) -> None:
        self.app = app
        self.ends: Counter[str] = Counter()
        self.running: Counter[str] = Counter()

    @property
    def sessions(self) -> Any:
        return self.app[rawws.WEBSOCKETS].sessions

    async def quiet(self, remain: int = len(NEIGHBOURS)) -> None:
        """Wait until no handler runs but ``remain`` (the well-behaved ones), and the plugin and aiohttp have forgotten
        every other connection."""

        def counts() -> set[int]:
            return {self.running.total(), len(self.sessions), len(self.served.server.connections)}

        try:
            await eventually(lambda: counts() == {remain})
        except AssertionError:
            left = [*self.sessions, *self.served.server.connections]
            raise AssertionError(f"left behind: {dict(+self.running)} {left} {dict(self.ends)}") from None

    def watched(self, name: str, handle: Handle) -> Handle:
        async def run(session: Any) -> None:
            self.running[name] += 1
            outcome = "returned"
            try:
                await handle(session)
            except BaseException as exc:
                outcome = type(exc).__name__
                raise
            finally:
                self.running[name] -= 1
                self.ends[f"{name} {outcome}"] += 1

        return run


def open_files() -> set[str]:
    """The descriptors this process has open, by what they are; empty if the system does not say. Without /dev/null:
    uvloop keeps one from its first server on, to have one to close when there are no more."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # the one the listing itself had open
        if target != os.devnull:
            found.add(f"{entry.name} {target}")
    return found


@asynccontextmanager
async def bench(
    *,
    tls: bool = False,
    unix: Path | None = None,
    more: dict[str, tuple[Handle, bool]] | None = None,
    alongside: bool = True,
    **options: Any,
) -> AsyncIterator[Bench]:
    """Serve ``ROUTES`` and ``more``. Well-behaved sessions run ``alongside``, a raw and a managed one, and are checked.
    At the end nothing may be left: no handler, no connection, no session, no descriptor, no task of ours."""
    before = open_files()
    options.setdefault("close_timeout", CLOSE_TIMEOUT)
    app = web.Application()
    plugin = rawws.setup(app, **options)
    tables = {**ROUTES, **NEIGHBOURS, **(more or {})}
    running = Bench(app)
    for path, (handle, managed) in tables.items():
        run = running.watched(path, handle)
        route: Any = rawws.websocket if managed else rawws.websocket_raw
        app.add_routes([route(path, run, **(PATIENT if path in NEIGHBOURS else {}))])
    async with peers.serving(app, tls=tls, unix=unix, shutdown_timeout=1.0) as served:
        running.served = served
        if alongside:
            stop = asyncio.Event()
            neighbours = [asyncio.create_task(well_behaved(served, path, stop)) for path in NEIGHBOURS]
            try:
                yield running
                assert not any(task.done() for task in neighbours), "a well-behaved session ended early"
            finally:
                stop.set()
                await asyncio.wait_for(asyncio.gather(*neighbours), peers.TIMEOUT)
            await running.quiet(0)
        else:
            yield running
    assert not plugin.sessions
    assert not +running.running
    ours = {task for task in asyncio.all_tasks() if task.get_name().startswith("rawws")}
    if ours:
        await asyncio.wait(ours, timeout=20)
    assert all(task.done() for task in ours), ours
    try:
        await eventually(lambda: not open_files() - before)
    except AssertionError:
        raise AssertionError(f"left open: {open_files() - before}") from None


async def well_behaved(served: Served, path: str, stop: asyncio.Event) -> int:
    """Echo numbered frames one by one until ``stop`` is set; returns how many. These must be right, and the closing
    handshake must be made, whatever the others do."""
    number = 0
    async with served.peer() as peer:

        async def no_ping() -> tuple[int, bytes]:
            while True:
                opcode, payload = await peer.frame()
                if opcode != PING:
                    return opcode, payload
                await peer.send(frame(PONG, payload))

        await peer.open(path)
        while not stop.is_set() or not number:
            payload = struct.pack("!Q", number) * (1 + number % 50)
            await peer.send(frame(BINARY, payload))
            assert await no_ping() == (BINARY, payload)
            number += 1
            await asyncio.sleep(0.005)
        await peer.send(close_frame(1000))
        assert await no_ping() == (CLOSE, struct.pack("!H", 1000))
        assert await peer.read_to_end() == b""
    return number


# ---- where a peer stops -------------------------------------------------------------------

Approach = Callable[[Peer, str], Awaitable[None]]


def after(*data: bytes) -> Approach:
    """Open the session and send ``data``."""

    async def approach(peer: Peer, path: str) -> None:
        await peer.open(path)
        if data:
            await peer.send(*data)
            await asyncio.sleep(0.01)

    return approach


def before_101(cut: int | None) -> Approach:
    """Send the handshake's first bytes, or all of it without looking at the answer."""

    async def approach(peer: Peer, path: str) -> None:
        await peer.send(request_bytes(path)[:cut])

    return approach


async def behind_the_handshake(peer: Peer, path: str) -> None:
    await peer.send(request_bytes(path), frame(TEXT, b"early") * 20, frame(BINARY, b"half")[:-2])


async def in_an_echo(peer: Peer, path: str) -> None:
    await peer.open(path)
    await peer.send(frame(TEXT, b"hello"))
    assert await peer.frame() == (TEXT, b"hello")


async def behind_our_close(peer: Peer, path: str) -> None:
    await peer.open("/managed-closing" if path == "/managed" else "/closing")
    await peer.closed_by_server(1001)


def blocked(path: str) -> Approach:
    """Read nothing until the server cannot write any more."""

    async def approach(peer: Peer, _: str) -> None:
        await peer.open(path)
        peer.pause_reading()
        await asyncio.sleep(0.15)

    return approach


LARGE = frame(BINARY, b"x" * 300_000)

STAGES: dict[str, Approach] = {
    "in-the-request": before_101(60),
    "before-the-101": before_101(None),
    "early": behind_the_handshake,
    "open": after(),
    "in-an-echo": in_an_echo,
    "mid-header": after(b"\x81"),
    "mid-length": after(LARGE[:4]),
    "mid-key": after(frame(TEXT, b"hello")[:4]),
    "mid-payload": after(frame(TEXT, b"hello" * 20)[:-1]),
    "mid-large": after(LARGE[:200_000]),
    "mid-message": after(frame(TEXT, b"one", fin=False), frame(PING, b"two")),
    "after-its-close": after(close_frame(1000)),
    "after-our-close": behind_our_close,
    "after-a-violation": after(frame(TEXT, b"unmasked", mask=None)),
    "unread-echoes": after(LARGE, LARGE, LARGE),
}
BLOCKED: dict[str, Approach] = {
    path[1:]: blocked(path) for path in ("/sending", "/managed-sending", "/flushing", "/ending", "/managed-ending")
}


# ---- and what it does then ----------------------------------------------------------------

Leave = Callable[[Peer], Awaitable[None]]


async def reset(peer: Peer) -> None:
    if not peer.writer.transport.is_closing():  # the server may have been first
        peer.reset()


async def hang_up(peer: Peer) -> None:
    await peer.close()


async def half_close(peer: Peer) -> None:
    """End our direction and read on until the server ends its own."""
    if not peer.writer.can_write_eof() or peer.writer.transport.is_closing():
        await peer.close()  # TLS has no half-close
        return
    peer.writer.write_eof()
    peer.resume_reading()
    try:
        while await asyncio.wait_for(peer.reader.read(2**20), peers.TIMEOUT):
            pass
    except OSError:
        pass  # a reset is an end, too


async def reset_while_sending(peer: Peer) -> None:
    peer.writer.write(frame(BINARY, b"y" * 5000) * 20)
    await asyncio.sleep(0)
    await reset(peer)


LEAVES: list[Leave] = [reset, hang_up, half_close, reset_while_sending]


async def misbehave(served: Served, approach: Approach, path: str, leave: Leave) -> None:
    async with served.peer() as peer:
        await approach(peer, path)
        await leave(peer)


# ---- interrupting a handler ---------------------------------------------------------------


class At:
    """``await At(n, coro, act)``: runs ``coro`` and calls ``act()`` when it suspends for the n-th time.

    ``suspensions`` counts them; fewer than n and nothing happens. If ``act`` returns an exception, that is raised
    where the coroutine stands.
    """

    def __init__(self, n: int, coro: Coroutine[Any, Any, Any], act: Callable[[], BaseException | None]) -> None:
        self.n, self.coro, self.act = n, coro, act
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[Any], Any] = self.coro.send
        with_what: Any = None
        while True:
            try:
                future = resume(with_what)
            except StopIteration as end:
                return end.value
            self.suspensions += 1
            raised = self.act() if self.suspensions == self.n else None
            if raised is not None:
                if asyncio.isfuture(future):
                    future._asyncio_future_blocking = False  # nobody is going to await it
                resume, with_what = self.coro.throw, raised
                continue
            try:
                resume, with_what = self.coro.send, (yield future)
            except BaseException as exc:
                resume, with_what = self.coro.throw, exc
