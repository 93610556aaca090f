"""Messages that wait for their extensions, because one before them is compressed in a thread or waits for room."""

from __future__ import annotations

import asyncio
from collections import deque

from ..errors import SessionClosed
from ..extensions.base import ExtensionPipeline
from ..wire.codec import Frame, is_close, is_control
from .connection import Connection
from .life import wake_all
from .options import ChannelConfig

NOTHING = Frame.binary(b"")


class Entry:
    """One message.

    Attributes:
        waiter: Resolved when the message was sent. None if nobody waits for that.
        room: Resolved when ``outgoing`` has room. None unless this is the first message and waits for that.
        started: The extensions have begun with it, so it has to be sent: what comes later may build on it.
        until: It stands for a message that is sent in parts, whose sender resolves this at its end. Else None.
        is_reached: It is the turn of that message.
    """

    __slots__ = ("compress", "frame", "is_reached", "room", "started", "until", "waiter", "whole")

    def __init__(self, frame: Frame, compress: bool | None, whole: bool, waiter: asyncio.Future[None] | None) -> None:
        self.frame: Frame = frame
        self.compress: bool | None = compress
        self.whole: bool = whole
        self.waiter: asyncio.Future[None] | None = waiter
        self.room: asyncio.Future[None] | None = None
        self.started: bool = False
        self.until: asyncio.Future[None] | None = None
        self.is_reached: bool = False

    def leave(self) -> None:
        """End the message that is sent in parts."""
        if self.until is not None and not self.until.done():
            self.until.set_result(None)


class Backlog:
    """Transforms and sends messages in order. It has a task as long as something waits, and lives with its session."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        pipeline: ExtensionPipeline,
        limits: ChannelConfig,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._pipeline = pipeline
        self._limits = limits
        self._entries: deque[Entry] = deque()
        self._size = 0  # payload bytes of those that the extensions have not begun with
        self._is_running = False
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []  # for the next change

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def unsent(self) -> int:
        """Messages that wait. One that is being sent in parts does not: it has the turn."""
        return len(self._entries) - (bool(self._entries) and self._entries[0].is_reached)

    @property
    def is_full(self) -> bool:
        """True if the messages behind the one that is under way have reached the limits of ``outgoing``."""
        limits = self._limits
        return (limits.capacity is not None and len(self._entries) > limits.capacity) or (
            limits.max_bytes is not None and self._size >= limits.max_bytes
        )

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._size += len(entry.frame.payload)
        if not self._is_running:
            self._is_running = True
            self._task = self._loop.create_task(self._work(), name="rawws-compressing")

    async def send(self, frame: Frame, compress: bool | None, whole: bool) -> None:
        """Send ``frame`` in its turn. If this is cancelled before the extensions have begun with it, it is not sent."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        entry = Entry(frame, compress, whole, waiter)
        self.add(entry)
        try:
            await waiter
        finally:
            if waiter.cancelled():
                self._withdraw(entry)
            del waiter, entry  # they hold the exception, whose traceback holds this frame

    async def reach(self) -> Entry:
        """Wait for the turn of a message that is sent in parts. Messages that come later wait for ``leave()`` of the
        entry that is returned."""
        reached: asyncio.Future[None] = self._loop.create_future()
        entry = Entry(NOTHING, None, False, reached)
        entry.until = self._loop.create_future()
        self.add(entry)
        try:
            await reached
            return entry
        except BaseException:
            entry.leave()
            raise
        finally:
            if reached.cancelled():
                self._withdraw(entry)
            del reached, entry  # they hold the exception, whose traceback holds this frame

    def _withdraw(self, entry: Entry) -> None:
        """Drop ``entry``, because its sender was cancelled, unless the extensions have begun with it."""
        if entry.room is not None:
            if not entry.room.done():
                entry.room.set_result(None)  # the task looks again, and goes on to the next
        elif not entry.started and entry in self._entries and self._entries[0] is not entry:
            self._entries.remove(entry)
            self._size -= len(entry.frame.payload)
            self._wake()

    async def changed(self) -> None:
        """Wait until an entry has gone."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def fail(self) -> None:
        """Drop everything that waits, because the connection is lost."""
        for entry in self._entries:
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_exception(self._connection.cannot_send())
            entry.leave()
        self._entries.clear()
        self._size = 0
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        wake_all(waiters)

    async def _work(self) -> None:
        try:
            while self._entries:
                entry = self._entries[0]
                await self._send(entry)
                if self._entries and self._entries[0] is entry:  # else fail() has dropped it meanwhile
                    self._entries.popleft()
                self._wake()
        finally:
            self._is_running = False
            self._task = None

    async def _send(self, entry: Entry) -> None:
        self._size -= len(entry.frame.payload)
        try:
            await self._send_in_turn(entry)
        except Exception as exc:
            self._done(entry, exc)
        else:
            self._done(entry, None)

    def _done(self, entry: Entry, error: Exception | None) -> None:
        waiter, entry.waiter = entry.waiter, None  # the traceback of ``error`` holds the entry
        if waiter is not None:
            if waiter.done():
                return
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        elif error is not None and not isinstance(error, SessionClosed):
            self._loop.call_exception_handler(
                {"message": "A message could not be sent after send_nowait()", "exception": error}
            )

    async def _send_in_turn(self, entry: Entry) -> None:
        connection, frame = self._connection, entry.frame
        if entry.until is not None:
            reached, entry.waiter = entry.waiter, None
            if reached is not None and not reached.done():
                reached.set_result(None)
                entry.is_reached = True
                self._wake()
                await entry.until
            return
        if is_close(frame):
            if not connection.send_phase:
                connection.send_now(frame)
            elif connection.close_sent is None:  # outgoing has overflowed: no Close can be sent
                connection.disconnect()
            return
        if entry.waiter is not None:
            suspends = self._limits.on_overflow == "suspend"
            while not entry.waiter.cancelled() and (suspends or connection.streaming):
                room = connection.room()
                if room is None:
                    break
                entry.room = room
                await connection.wait_for(room)
                entry.room = None
            if entry.waiter.cancelled():
                return
        if connection.send_phase:
            raise connection.cannot_send()  # before the compressor has seen what the peer will not
        if is_control(frame):
            connection.send_now(frame)
            return
        if entry.whole:
            connection.check_whole(frame)
        entry.started = True
        if self._pipeline.needs_thread(frame, entry.compress):
            transformed = await self._loop.run_in_executor(None, self._pipeline.outgoing, frame, True)
        else:
            transformed = self._pipeline.outgoing(frame, entry.compress)
        connection.send_now(transformed)
