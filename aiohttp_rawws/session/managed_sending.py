"""The sending half of a managed session: messages through the extensions, in order.

One source, two builds: as it stands, and compiled with the types in ``managed_sending.pxd``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from ..errors import ChannelOverflow
from ..wire.codec import Frame, PreparedFrame, is_close, is_control, is_prepared
from ..wire.codes import CloseCode, CloseReason
from . import managed_receiving
from .awaitables import sending
from .backlog import Backlog, Entry
from .channels import Sendable
from .converters import JSONConverter, serialized
from .gates import Gate, ManagedGate
from .reasons import checked_reason
from .surface import NORMAL, as_frame, close_frame, mark_coroutine_functions


class ManagedSending(managed_receiving.ManagedReceiving):
    """The receiving and the sending part of a managed session."""

    __slots__ = ()

    # ---- sending ----------------------------------------------------------------------

    def send(self, item: Sendable, *, compress: bool | None = None) -> Coroutine[Any, Any, None]:
        """Send a message (str: Text, bytes: Binary, Frame: as it is, fragments too). Nothing happens before it is
        awaited.

        Waits, orders, is cancelled and raises as ``WebSocketSession.send``. A Close frame is sent as ``close()`` does.

        Args:
            compress: True or False for this message. Default: None (as the extension is configured).
        """
        return sending(self, item, compress)

    def start_sending(self, item: Any, compress: bool | None) -> Coroutine[Any, Any, object] | None:
        self.begin()
        frame = item.frame if is_prepared(item) else item
        if is_close(frame):
            return self._close_with(frame)
        if not self._extensions:
            return self._raw.start_sending(item, compress)
        frame = as_frame(item)
        if is_control(frame):
            return self._raw.start_sending(frame, compress)
        whole = not isinstance(item, Frame)
        pipeline = self._pipeline
        assert pipeline is not None
        if self._is_behind() or self._connection.must_wait(frame) or pipeline.needs_thread(frame, compress):
            return self._made_backlog().send(frame, compress, whole)
        before = self._connection.bytes_sent
        self._send_transformed(frame, compress, whole)
        if self._should_yield(max(len(frame.payload), self._connection.bytes_sent - before)):
            return asyncio.sleep(0)
        return None

    def send_nowait(self, item: Sendable, *, compress: bool | None = None) -> None:
        """Send at once, without waiting. Raises as ``send()``. Compresses in the calling thread.

        Behind a message that is compressed in a thread it is accepted at once, and leaves in its turn.

        Raises:
            ChannelOverflow: ``send()`` would have waited for room. The session goes on.
        """
        self.begin()
        if not self._extensions:
            self._raw.send_nowait(item)
            return
        frame = as_frame(item)
        if is_control(frame):
            self._raw.send_nowait(frame)
            return
        if not self.can_send_now(frame):
            raise self._connection.own(ChannelOverflow(self._connection.why_full(self.frames_unsent)))
        whole = not isinstance(item, Frame)
        if self._is_behind():
            self._made_backlog().add(Entry(frame, compress, whole, None))
        else:
            self._send_transformed(frame, compress, whole)

    def _stream_gate(self) -> Gate:
        self.begin()
        if not self._extensions:
            return Gate(self._connection)
        assert self._pipeline is not None
        return ManagedGate(self._connection, self._pipeline, self._made_backlog)

    async def send_json(
        self, value: Any, *, dumps: Callable[[Any], str | bytes] = json.dumps, compress: bool | None = None
    ) -> None:
        """Send ``value`` as JSON in a Text message. The option ``converter`` has no part in it.

        Args:
            dumps: A function from a value to a str or UTF-8 bytes. Default: ``json.dumps``.
            compress: See ``send()``. Default: None.

        Raises:
            TypeError: JSON has nothing for this value.
            RuntimeError: A message is open.
        """
        await self.send(PreparedFrame(serialized(JSONConverter(dumps), value)), compress=compress)

    def _send_transformed(self, frame: Frame, compress: bool | None, whole: bool) -> None:
        connection = self._connection
        if connection.send_phase:
            raise connection.cannot_send()  # before the compressor has seen what the peer will not
        if whole and connection.encoder.mid_message:
            connection.check_whole(frame)
        assert self._pipeline is not None
        connection.send_frame(self._pipeline.outgoing(frame, compress))

    def send_whole(self, prepared: PreparedFrame, transformed: dict[Any, PreparedFrame]) -> None:
        """Send one message of a broadcast. It is transformed once for all sessions with the same ``outgoing_key``.

        Args:
            transformed: The transformed messages so far, by ``outgoing_key``. This call may add one.
        """
        self.begin()
        assert self._pipeline is not None
        key = self._pipeline.outgoing_key
        connection = self._connection
        if key is None or self._is_behind() or is_control(prepared.frame) or not self.can_send_now(prepared):
            self.send_nowait(prepared)
            return
        if connection.send_phase:
            raise connection.cannot_send()
        connection.check_whole(prepared.frame)
        ready = transformed.get(key)
        if ready is None:
            ready = transformed[key] = PreparedFrame(self._pipeline.outgoing_whole(prepared.frame))
        connection.send_prepared(ready)

    def _is_behind(self) -> bool:
        return self._backlog is not None and len(self._backlog) > 0

    def _made_backlog(self) -> Backlog:
        if self._backlog is None:
            assert self._pipeline is not None
            self._backlog = Backlog(self._loop, self._connection, self._pipeline, self._options.outgoing)
        return self._backlog

    def can_send_now(self, item: Sendable) -> bool:
        """True if ``send(item)`` would not wait for room."""
        frame = as_frame(item)
        if self._connection.must_wait(frame):
            return False
        return is_control(frame) or self._backlog is None or not self._backlog.is_full

    @property
    def outgoing_full(self) -> bool:
        """True if ``send()`` of a data frame would wait for room now."""
        return self._connection.is_full() or (self._backlog is not None and self._backlog.is_full)

    @property
    def frames_unsent(self) -> int:
        """Frames accepted by ``send()`` that wait for the transport to take bytes again, or to be compressed."""
        return self._connection.unsent() + (0 if self._backlog is None else self._backlog.unsent)

    async def wait_writable(self) -> None:
        """Wait until ``outgoing`` has room; see ``WebSocketSession.wait_writable``."""
        while not self._connection.send_phase:
            room = self._connection.room()
            if room is not None:
                await self._connection.wait_for(room)
            elif self._backlog is not None and self._backlog.is_full:
                await self._backlog.changed()
            else:
                return

    async def flush(self) -> None:
        """Wait until everything sent so far is with the transport, and that is below its high-water mark.

        Returns without error when the session has ended.
        """
        while self._backlog is not None and self._backlog.unsent:
            await self._backlog.changed()
        waiter = self._connection.drained()
        if waiter is not None:
            await self._connection.wait_for(waiter)

    # ---- closing ----------------------------------------------------------------------

    async def close(
        self, reason: CloseReason | int | None = NORMAL, message: str | bytes = "", *, code: int | None = None
    ) -> None:
        """Do the closing handshake: send a Close behind all messages, wait for the peer's, end the connection.

        Everything that was sent is delivered as long as the peer takes it. Then the peer has ``close_timeout`` seconds
        to answer, or the connection is aborted. Messages that arrive meanwhile can still be received, as far as
        ``incoming`` holds them. A second call waits for the first. Raises nothing at the end of the session.

        Args:
            reason: A close code, a CloseReason, or None for a Close without a code. Default: 1000.
            message: At most 123 bytes as UTF-8; not together with a CloseReason. Default: empty.
            code: The same as a ``reason`` that is a code. Default: none.

        Raises:
            ValueError: The code may not be sent, or the message is not UTF-8 or too long.
            TypeError: There are a reason and a code.
        """
        self.close_nowait(reason, message, code=code)
        await self._raw.wait_closed()

    def close_nowait(
        self, reason: CloseReason | int | None = NORMAL, message: str | bytes = "", *, code: int | None = None
    ) -> None:
        """Begin the closing handshake and return; it goes on by itself."""
        frame = close_frame(reason, message, code)
        self.begin()
        connection = self._connection
        closing = self._closing_handshake()
        closing.send_pending()
        if connection.send_phase:
            if connection.close_sent is None and not connection.connection_phase:
                connection.disconnect()  # outgoing has overflowed: no Close can be sent, and nothing else ends this
        elif self._is_behind() and not connection.streaming:  # else it cuts the message that is sent in parts
            self._made_backlog().add(Entry(frame, None, False, None))
            closing.wait_behind()
        else:
            connection.send_frame(frame)

    async def _close_with(self, frame: Frame) -> None:
        await self.close(checked_reason(frame.payload) if frame.payload else CloseReason(CloseCode.NORMAL))


mark_coroutine_functions(ManagedSending, "send")
