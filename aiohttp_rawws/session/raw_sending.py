"""The sending half of a raw session.

One source, two builds: as it stands, and compiled with the types in ``raw_sending.pxd``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..errors import ChannelOverflow
from ..wire.codec import Frame, is_prepared
from ..wire.codes import CloseReason
from . import part_surface
from .awaitables import sending
from .channels import Sendable
from .gates import Gate
from .surface import NORMAL, as_frame, close_frame, mark_coroutine_functions


class RawSending(part_surface.PartSurface):
    """The sending part of a raw session."""

    __slots__ = ()

    def send(self, item: Sendable) -> Coroutine[Any, Any, None]:
        """Send a frame (str: Text, bytes: Binary). Nothing happens before it is awaited.

        It waits only while ``outgoing`` is full, and lets other tasks run once per MiB. Frames of concurrent senders go
        out whole, in the order in which the sends start. A call that is cancelled while it waits for room sends
        nothing; once its frame was accepted it has sent it.

        After a data frame with ``fin=False`` the next Frame of the same kind goes out as its continuation.

        Raises:
            SessionClosed: A Close frame was sent, or the session has ended.
            ConnectionLost: The connection is gone.
            ChannelOverflow: ``outgoing`` is full, and its ``on_overflow`` is "close".
            RuntimeError: A frame of another kind, or a str, bytes or PreparedFrame, inside an open message.
        """
        return sending(self, item, None)

    def start_sending(self, item: Any, compress: bool | None) -> Coroutine[Any, Any, object] | None:
        connection = self._connection
        if connection.is_congested() and connection.must_wait(as_frame(item)):
            return self._send_in_turn(item)
        before = connection.bytes_sent
        self._put(item)
        sent = connection.bytes_sent - before
        if connection.pipeline is not None:  # what it makes small costs time all the same
            sent = max(sent, len(as_frame(item).payload))
        if self._should_yield(sent):
            return asyncio.sleep(0)
        return None

    def send_nowait(self, item: Sendable) -> None:
        """Send at once, without waiting. Raises as ``send()``.

        Raises:
            ChannelOverflow: ``send()`` would have waited. The session goes on.
        """
        connection = self._connection
        if connection.is_congested() and connection.must_wait(as_frame(item)):
            raise connection.own(ChannelOverflow(connection.why_full(connection.unsent())))
        self._put(item)

    def can_send_now(self, item: Sendable) -> bool:
        """True if ``send(item)`` would not wait."""
        return not self._connection.must_wait(as_frame(item))

    def _put(self, item: Any) -> None:
        if type(item) is Frame:  # in two thirds of the time of isinstance(); as_frame() knows subclasses
            self._connection.send_frame(item)
        elif is_prepared(item):
            self._connection.send_prepared(item)
        else:
            frame = as_frame(item)
            if self._connection.encoder.mid_message and not isinstance(item, Frame):
                self._connection.check_whole(frame)
            self._connection.send_frame(frame)

    async def _send_in_turn(self, item: Any) -> None:
        connection = self._connection
        turn = connection.take_turn()
        try:
            await turn
            self._put(item)
        finally:
            connection.finish_turn(turn)

    def _stream_gate(self) -> Gate:
        return Gate(self._connection)

    def send_raw(self, header: bytes, payload: bytes | bytearray | memoryview = b"") -> None:
        """Send a frame with a header of your making, right or wrong, and the payload as it is, unmasked.

        Nothing is checked and no state is kept: not whether the header fits, not whether a Close was sent. For servers
        that must misbehave; ``encode_header`` makes headers to start from.
        """
        self._connection.send_bytes(bytes(header) + bytes(payload))

    def write_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send any bytes, such as half a frame, behind the frames before them."""
        self._connection.send_bytes(bytes(data))

    @property
    def batching(self) -> bool:
        """Set it while more is to be sent soon: frames are then collected, for one iteration of the loop or 64 KiB at
        most. Received frames that wait to be taken have the same effect by themselves."""
        return self._connection.batching

    @batching.setter
    def batching(self, value: bool) -> None:
        self._connection.batching = value

    async def flush(self) -> None:
        """Wait until everything sent so far is with the transport, and that is below its high-water mark.

        Returns without error when the session has ended.
        """
        waiter = self._connection.drained()
        if waiter is not None:
            await self._connection.wait_for(waiter)

    async def close(
        self, reason: CloseReason | int | None = NORMAL, message: str | bytes = "", *, code: int | None = None
    ) -> None:
        """Send a Close frame after what was sent before, and flush. You do the rest of the closing handshake.

        Does nothing after a Close was sent or the connection was lost.

        Args:
            reason: A close code, a CloseReason, or None for a Close without a code. Default: 1000.
            message: At most 123 bytes as UTF-8; not together with a CloseReason. Default: empty.
            code: The same as a ``reason`` that is a code. Default: none.

        Raises:
            ValueError: The code may not be sent, or the message is not UTF-8 or too long.
            TypeError: There are a reason and a code.
        """
        self.close_nowait(reason, message, code=code)
        await self.flush()

    def close_nowait(
        self, reason: CloseReason | int | None = NORMAL, message: str | bytes = "", *, code: int | None = None
    ) -> None:
        """Do what ``close()`` does, without the flush."""
        frame = close_frame(reason, message, code)
        connection = self._connection
        if not connection.send_phase:
            connection.send_frame(frame)

    @property
    def frames_unsent(self) -> int:
        """Frames accepted by ``send()`` that wait for the transport to take bytes again."""
        return self._connection.unsent()

    @property
    def outgoing_full(self) -> bool:
        """True if ``send()`` of a data frame would wait now."""
        return self._connection.is_full()


mark_coroutine_functions(RawSending, "send")
