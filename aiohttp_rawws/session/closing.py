"""The closing handshake of a managed session (RFC 6455, section 7). It is made when closing begins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum

from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason
from .connection import Connection
from .delivery import DeliveryTimer
from .reasons import CLOSE_DELAY

NO_CLOSE_FRAME = CloseReason(CloseCode.CLOSED_ABNORMALLY, "Connection was closed without close frame")


class Owed(Enum):
    """The next step of the closing handshake that this side has to take."""

    NOTHING = "nothing"
    WAIT_FOR_PEER = "to wait for the peer's Close"
    SEND_CLOSE = "to send a Close"
    END_TCP = "to end the connection"


# (a Close was sent, the peer's Close or the end of its input has come) -> what is still owed, section 7.1
CLOSING: Mapping[tuple[bool, bool], Owed] = {
    (False, False): Owed.NOTHING,
    (True, False): Owed.WAIT_FOR_PEER,
    (False, True): Owed.SEND_CLOSE,
    (True, True): Owed.END_TCP,  # the server ends it first, section 7.1.1
}


class ClosingHandshake:
    """The closing handshake of one session, and the reason of its end.

    Attributes:
        reason: The session's close reason: that of whichever Close was first, or of the loss. None before.
    """

    __slots__ = (
        "_behind",
        "_close_timeout",
        "_connection",
        "_delay",
        "_loop",
        "_pending",
        "_timer",
        "_waiters",
        "reason",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Connection, close_timeout: float) -> None:
        self._loop = loop
        self._connection = connection
        self._close_timeout = close_timeout
        self.reason: CloseReason | None = None
        self._waiters: list[asyncio.Future[CloseReason]] = []
        self._pending: Frame | None = None  # our Close, when what came before has been taken
        self._delay: asyncio.TimerHandle | None = None
        self._timer: DeliveryTimer | None = None
        self._behind = False  # the timer runs for messages before our Close, which wait to be sent

    # ---- the reason -------------------------------------------------------------------

    def settle(self, reason: CloseReason) -> None:
        """Set the reason of the end. The first one counts, later ones are ignored."""
        if self.reason is None:
            self.reason = reason
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(reason)

    async def wait_for_reason(self) -> CloseReason:
        if self.reason is not None:
            return self.reason
        waiter: asyncio.Future[CloseReason] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        finally:
            self._waiters.remove(waiter)

    # ---- the handshake ----------------------------------------------------------------

    def answer(self, close: Frame, *, now: bool) -> None:
        """Send our last frame: now, or when the messages that came before it have been taken, and perhaps answered.

        Section 5.5.1 allows the delay, which is ``CLOSE_DELAY`` at most.
        """
        self._pending = close
        if now:
            self.send_pending()
        else:
            self._delay = self._loop.call_later(min(CLOSE_DELAY, self._close_timeout), self.send_pending)

    def send_pending(self) -> None:
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
        close, self._pending = self._pending, None
        if close is not None:
            if self._connection.send_phase:  # no Close can be sent any more
                self._connection.disconnect()
            else:
                self._connection.send_now(close)

    def go_on(self, *, failed: bool = False) -> None:
        """Take the next step of the table ``CLOSING``.

        Args:
            failed: The connection has failed (section 7.1.7): the peer's Close is not waited for.
        """
        connection = self._connection
        ended = failed or connection.close_received is not None or connection.receive_phase != 0
        owed = CLOSING[connection.close_sent is not None, ended]
        if owed is Owed.END_TCP:
            self._stop_timers()
            connection.disconnect()
        elif owed is Owed.WAIT_FOR_PEER and (self._timer is None or self._behind) and not connection.connection_phase:
            self._stop_timers()
            self._behind = False
            self._timer = DeliveryTimer(self._loop, connection, self._close_timeout, self._overdue)

    def wait_behind(self) -> None:
        """Limit the time for the messages before our Close: the peer must go on taking them."""
        if self._timer is None:
            self._behind = True
            self._timer = DeliveryTimer(self._loop, self._connection, self._close_timeout, self._overdue)

    def _overdue(self, undelivered: bool) -> None:
        self._timer = None
        if self._behind and not undelivered:
            self.wait_behind()  # it is not the peer that is waited for, but a message that is being compressed
            return
        what = "the Close" if undelivered else "an answer to the Close"
        self._connection.end_at_limit("close_timeout", f"{what} took longer than {self._close_timeout} seconds")

    def lost(self) -> None:
        """Stop the timers and settle the reason, because the connection is lost."""
        self._stop_timers()
        self._pending = None
        self.settle(NO_CLOSE_FRAME)

    def _stop_timers(self) -> None:
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
