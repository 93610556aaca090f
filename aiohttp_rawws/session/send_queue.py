"""The queue before the transport, and the senders that wait for room in it.

One source, two builds: as it stands, and compiled with the types in ``send_queue.pxd``.

There is no queue while the transport takes bytes. While it is above its high-water mark, frames wait in ``_queue_out``;
pings and pongs overtake data there. If the queue is full, senders wait, and go on in the order of their calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from ..wire.codec import is_close, is_control
from .life import Life, wake_all
from .queues import OutgoingQueue

if TYPE_CHECKING:
    from ..errors import RawWSError
    from .options import ChannelConfig


class SendQueue(Life):
    """The queue of one connection, and its senders that wait."""

    __slots__ = (
        "_drain_waiters", "_max_bytes_out", "_max_frames_out", "_overflow_out_closes", "_queue_out", "_room_waiters",
        "_turns", "streaming", "write_paused",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, outgoing: ChannelConfig) -> None:
        super().__init__(transport, loop)
        self._max_frames_out = -1 if outgoing.capacity is None else outgoing.capacity
        self._max_bytes_out = -1 if outgoing.max_bytes is None else outgoing.max_bytes
        self._overflow_out_closes = outgoing.on_overflow == "close"
        self._queue_out: OutgoingQueue | None = None  # while the transport takes nothing
        self.write_paused: bool = False  # the transport takes nothing: it is above its high-water mark
        self.streaming: bool = False  # a message is being sent in parts; its sender has the first turn
        self._turns: deque[asyncio.Future[None]] | None = None  # of senders that wait, in the order of their calls
        self._room_waiters: list[asyncio.Future[None]] | None = None
        self._drain_waiters: list[asyncio.Future[None]] | None = None

    # ---- the queue --------------------------------------------------------------------

    def _waiting_frames(self) -> OutgoingQueue:
        if self._queue_out is None:
            self._queue_out = OutgoingQueue(self._max_frames_out, self._max_bytes_out)
        return self._queue_out

    def is_congested(self) -> bool:
        """True if anything waits. Only then ``must_wait()`` needs to be called."""
        return self._queue_out is not None or self._turns is not None

    def is_full(self) -> bool:
        """True if a data frame must wait for room, or for senders that came before."""
        return self._turns is not None or (self._queue_out is not None and self._queue_out.is_full())

    def stops_listener(self) -> bool:
        """True if a listener that answers in place has to wait for room.

        A message that is being sent in parts does not stop it: it may take long, and pings have to be answered
        meanwhile. Only a flood of them does.
        """
        if self.streaming:
            return self._queue_out is not None and not self._queue_out.has_room_for_control()
        return self.is_full()

    def why_full(self, unsent: int) -> str:
        """The reason why a frame that was to be sent at once has to wait. ``unsent``: frames that wait before it."""
        if self.streaming:
            return "a message is being sent in parts, and this one has to wait for its end, as send() does"
        return f"outgoing is full: {unsent} frames wait for the peer to read"

    def must_wait(self, frame: Any) -> bool:
        """True if ``send()`` of this frame would wait. A Close never waits, a ping or pong only in a flood of them."""
        if self.send_phase or is_close(frame):
            return False
        if is_control(frame):  # those that cannot overtake wait among the data
            return self._queue_out is not None and not self._queue_out.has_room_for_control() and self.is_full()
        return self.is_full() and (self._turns is not None or not self._overflow_out_closes)

    def unsent(self) -> int:
        """Frames that wait for the transport."""
        return 0 if self._queue_out is None else self._queue_out.count()

    # ---- who waits --------------------------------------------------------------------

    def take_turn(self) -> asyncio.Future[None]:
        """Return a future that is done when it is this sender's turn and there is room."""
        turn: asyncio.Future[None] = self._loop.create_future()
        if self._turns is None:
            self._turns = deque()
        self._turns.append(turn)
        return turn

    def leave_turn(self, turn: asyncio.Future[None]) -> None:
        """End a turn: its sender has sent, or was cancelled."""
        turns = self._turns
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                self._turns = None
        self.wake_senders()

    def wake_senders(self) -> None:
        """Wake the next sender in turn, or, if there is none, those who wait for room or for everything to be sent."""
        turns = self._turns
        if turns is not None and (self._queue_out is None or not self._queue_out.is_full()):
            first = turns[0]
            if not first.done():
                first.set_result(None)
        if self._room_waiters is not None and (self.send_phase or not self.is_full()):
            waiters, self._room_waiters = self._room_waiters, None
            wake_all(waiters)
        if self._drain_waiters is not None and (self.is_lost() or not (self.write_paused or SendQueue.unsent(self))):
            waiters, self._drain_waiters = self._drain_waiters, None
            wake_all(waiters)

    def fail_outgoing(self) -> RawWSError:
        """See ``Life``. Senders that wait need not wait any more."""
        error = Life.fail_outgoing(self)
        self._end_turns()
        return error

    def _end_turns(self) -> None:
        """Wake all senders, because nothing more can be sent. Each gets the error when it tries to send."""
        if self._turns is not None:
            wake_all(list(self._turns))
        if self._room_waiters is not None:
            waiters, self._room_waiters = self._room_waiters, None
            wake_all(waiters)

    def room(self) -> asyncio.Future[None] | None:
        """Return a future that is done when a data frame has room. None if it has room, or nothing can be sent."""
        if self.send_phase or not self.is_full():
            return None
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._room_waiters is None:
            self._room_waiters = []
        self._room_waiters.append(waiter)
        return waiter

    def stop_waiting(self, waiter: Any) -> None:
        """Forget ``waiter``, which nobody awaits any more."""
        if self._room_waiters is not None and waiter in self._room_waiters:
            self._room_waiters.remove(waiter)
        elif self._drain_waiters is not None and waiter in self._drain_waiters:
            self._drain_waiters.remove(waiter)
        else:
            Life.stop_waiting(self, waiter)
