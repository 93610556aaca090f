"""The way of a message that is sent in parts, from its turn to its end, on raw and on managed sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..extensions.base import ExtensionPipeline
from ..extensions.deflate import WebSocketDeflateExtension
from ..wire.codec import Frame
from .backlog import Backlog, Entry
from .connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..extensions.base import WebSocketExtension


class Gate:
    """The way of one message through a raw session.

    Attributes:
        has_sent: A part of the message has left.
    """

    may_use_thread = False

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.has_sent: bool = False
        self._turn: asyncio.Future[None] | None = None

    @property
    def extensions(self) -> Iterable[WebSocketExtension]:
        """Those that frames go through."""
        return self.connection.pipeline or ()

    async def enter(self) -> None:
        """Wait for the turn of this message.

        Raises:
            SessionClosed: Nothing more can be sent.
            RuntimeError: A message is open.
        """
        self._turn = await self.connection.start_streaming()

    def leave(self) -> None:
        """Let other senders go on. A second call does nothing."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self.connection.end_streaming(turn)

    async def room(self) -> None:
        """Wait until the transport takes the next part. Raises nothing at the end of the session."""
        connection = self.connection
        while not connection.send_phase or connection.is_inside_frame():
            waiter = connection.part_room()
            if waiter is None:
                return
            await connection.wait_for(waiter)

    def needs_thread(self, fragment: Frame, compress: bool | None) -> bool:
        """True if ``send()`` would work in a thread."""
        return False

    async def send(self, fragment: Frame, compress: bool | None) -> None:
        """Send a fragment. The transport has room."""
        self.send_now(fragment, compress)

    def send_now(self, fragment: Frame, compress: bool | None) -> None:
        """Send a fragment, and do in place what ``send()`` does in a thread."""
        self.connection.send_now(fragment, compress)
        self.note_sent()

    def note_sent(self) -> None:
        """Note that a part of the message has left."""
        self.has_sent = True


class ManagedGate(Gate):
    """The way of one message through a managed session with extensions."""

    may_use_thread = True

    def __init__(self, connection: Connection, pipeline: ExtensionPipeline, backlog: Callable[[], Backlog]) -> None:
        super().__init__(connection)
        self._pipeline = pipeline
        self._backlog = backlog
        self._entry: Entry | None = None

    @property
    def extensions(self) -> Iterable[WebSocketExtension]:
        return self._pipeline

    async def enter(self) -> None:
        backlog = self._backlog()
        if len(backlog):  # messages that wait for their extensions come first; those after this one wait behind it
            self._entry = await backlog.reach()
        try:
            await super().enter()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        super().leave()
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.leave()

    def needs_thread(self, fragment: Frame, compress: bool | None) -> bool:
        return self._pipeline.needs_thread(fragment, compress)

    async def send(self, fragment: Frame, compress: bool | None) -> None:
        if not self.needs_thread(fragment, compress):
            self.send_now(fragment, compress)
            return
        work = asyncio.get_running_loop().run_in_executor(None, self._pipeline.outgoing, fragment, True)
        cancelled = False
        while not work.done():  # what the extension has begun with has to be sent, also if this is cancelled
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                cancelled = True
        self.connection.send_now(work.result())
        self.note_sent()
        if cancelled:
            raise asyncio.CancelledError

    def send_now(self, fragment: Frame, compress: bool | None) -> None:
        connection = self.connection
        if connection.send_phase:
            raise connection.cannot_send()  # before the compressor has seen what the peer will not
        connection.send_now(self._pipeline.outgoing(fragment, compress))
        self.note_sent()


def check_extensions(extensions: Iterable[WebSocketExtension], rsv: tuple[bool, bool, bool]) -> None:
    """Check that a frame of known length can pass by ``extensions``, which do not see it.

    Raises:
        ValueError: A reserved bit is set that belongs to one of them.
        RuntimeError: One of them may change every frame.
    """
    for extension in extensions:
        if not isinstance(extension, WebSocketDeflateExtension):
            raise RuntimeError(f"a frame of known length cannot go through the extension {extension.name}")
        for number, (is_set, owned) in enumerate(zip(rsv, extension.factory.rsv), 1):
            if is_set and owned:
                raise ValueError(f"RSV{number} is set by an extension, not by the sender")
