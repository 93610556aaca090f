"""The end of a connection: of our direction alone, and of both.

One source, two builds: as it stands, and compiled with the types in ``ending.pxd``. The steps are taken as bytes leave
and as the peer ends its side; ``connection.py`` says when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .delivery import DeliveryTimer
from .incoming_chunks import IncomingChunks
from .phases import ConnectionPhase, Event, SendPhase
from .transports import no_half_close

if TYPE_CHECKING:
    from .options import SessionOptions

LINGER = 1.0  # seconds that a peer which has sent its Close may take to end its side of the stream
DISCONNECTING = int(ConnectionPhase.DISCONNECTING)
SEND_CLOSING, SEND_DONE = int(SendPhase.CLOSING), int(SendPhase.DONE)


class EndingHalf(IncomingChunks):
    """Both sides of one connection, and how they end."""

    __slots__ = (
        "_delivery_timer", "_ends_output", "_half_open_handle", "_moved_before", "is_client", "limit", "limit_text",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        server: bool,
        options: SessionOptions,
        new_masking_key: Callable[[], bytes] | None,
    ) -> None:
        super().__init__(transport, loop, server, options, new_masking_key)
        self.is_client: bool = not server
        self._delivery_timer: DeliveryTimer | None = None
        self._half_open_handle: asyncio.TimerHandle | None = None
        self._moved_before: tuple[int, int] | None = None
        self._ends_output = False  # our side of the stream ends as soon as all that was accepted has left
        self.limit: str | None = None  # the option whose limit ended the connection
        self.limit_text: str = ""

    # ---- the end of our direction -----------------------------------------------------

    def end_output(self) -> None:
        """End our side of the stream once everything that was accepted has left, and go on reading. Returns at once.

        The connection is closed when the peer has ended its side, too.

        Raises:
            NotImplementedError: The transport cannot end one side alone.
        """
        if self.connection_phase or self.send_phase == SEND_DONE:
            return
        if not self.transport.can_write_eof():
            raise no_half_close(self.transport)
        self.send_pending_close()
        if self.dropped:  # sending it found the connection broken
            return
        self._ends_output = True
        self.move(Event.OUTPUT_CLOSED)
        self._end_turns()
        self.finish_output()

    def finish_output(self) -> None:
        """Take the last step of ``end_output()``, if all has left. Called when frames were written."""
        if not self._ends_output or self.connection_phase or self.send_phase != SEND_CLOSING or self.unsent():
            return
        if self.eof:  # ... and the end of our side is the end of the connection
            self.disconnect(keep_received=True)
            return
        if self.encoder.size:
            self.write_batch()
        if self.dropped:  # that write found the connection broken
            return
        self._ends_output = False
        self.move(Event.OUTPUT_ENDED)
        if self.transport.is_closing():  # for a reason that the loop has yet to report
            return
        try:
            self.transport.write_eof()
        except OSError:  # the peer has reset the connection, and the loop has yet to notice
            self.abort()

    # ---- the end ----------------------------------------------------------------------

    def disconnect(self, keep_received: bool = False) -> None:
        """End the connection in order, without a Close frame of ours. Returns at once.

        First everything that was accepted is delivered, and our side of the stream is ended. Then the peer may end its
        own side, and the transport is closed. Bytes that the peer still sends are thrown away. The connection is
        aborted if the peer takes nothing for ``close_timeout`` seconds, or if it has everything and does not end its
        side in that time. A peer that has sent its Close has ``LINGER`` seconds for that, since it has no more to send.

        Args:
            keep_received: Frames that wait can still be taken. Default: False (they are dropped).
        """
        if self.connection_phase:
            return
        self.send_pending_close()
        if self.dropped:  # sending it found the connection broken
            return
        self.stop_timers()
        self.queue.ending = True
        self.move(Event.DISCONNECT)
        self._end_turns()
        if not keep_received:
            self.discard_input()
        grace = self._close_timeout if self.close_received is None else min(LINGER, self._close_timeout)
        self._delivery_timer = DeliveryTimer(
            self._loop, self, self._close_timeout, self._disconnect_overdue, grace, self._all_delivered
        )
        self.continue_disconnecting()

    def _all_delivered(self) -> None:
        self.continue_disconnecting()

    def continue_disconnecting(self) -> None:
        """Take the next step of ``disconnect()``. Called when frames were written, or the peer has ended its side."""
        if self.connection_phase != DISCONNECTING or self.dropped:
            return
        transport = self.transport
        if self.send_phase == SEND_CLOSING:
            if self.unsent():
                return
            if self.encoder.size:
                self.write_batch()
            timer = self._delivery_timer
            if self._ends_both_directions() and timer is not None and not timer.is_delivered:
                return  # ``_all_delivered()`` goes on
            if self.is_client and not self.eof and self.close_sent is not None and self.close_received is not None:
                return  # the server ends TCP first (RFC 6455, section 7.1.1); the timer ends it if the server does not
            self.move(Event.OUTPUT_ENDED)
            if transport.is_closing():  # since the peer's end of the stream; once more would break a TLS transport
                return
            if not self.eof and transport.can_write_eof():
                # close() with input unread makes TCP send a reset, which can overtake our last frames.
                try:
                    transport.write_eof()
                except OSError:  # the peer has reset the connection, and the loop has yet to notice
                    self.abort()
            else:
                transport.close()
        elif self.eof and not transport.is_closing():
            transport.close()

    def _ends_both_directions(self) -> bool:
        """True if ending our side would end the peer's side, too, as in TLS, while the peer may be sending.

        The system would answer the peer's next bytes with a reset, which drops everything that is not delivered yet.
        """
        transport = self.transport
        has_ended = self.eof or self.close_received is not None or transport.is_closing()
        return not has_ended and not transport.can_write_eof()

    def _disconnect_overdue(self, undelivered: bool) -> None:
        self._delivery_timer = None
        if undelivered:
            left = f"{self.undelivered()} bytes or more were not taken in {self._close_timeout} seconds"
            self.end_at_limit("close_timeout", left)
        else:
            self.abort()

    def end_at_limit(self, option: str, text: str) -> None:
        """Abort the connection because the limit of ``option`` was reached."""
        if self.limit is None:
            self.limit, self.limit_text = option, text
        self.abort()

    def watch_half_open(self) -> None:
        self._moved_before = (self.bytes_sent, self.bytes_taken())
        self._half_open_handle = self._loop.call_later(self._close_timeout, self._check_half_open)

    def _check_half_open(self) -> None:
        self._half_open_handle = None
        if self.connection_phase:
            return
        if (self.bytes_sent, self.bytes_taken()) == self._moved_before:
            self.disconnect(keep_received=True)
        else:
            self.watch_half_open()

    def stop_timers(self) -> None:
        if self._half_open_handle is not None:
            self._half_open_handle.cancel()
            self._half_open_handle = None
        if self._close_delay is not None:
            self._close_delay.cancel()
            self._close_delay = None
        if self._delivery_timer is not None:
            self._delivery_timer.stop()
            self._delivery_timer = None
