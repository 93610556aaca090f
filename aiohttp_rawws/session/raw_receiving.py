"""The receiving half of a raw session.

One source, two builds: as it stands, and compiled with the types in ``raw_receiving.pxd``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from ..wire.codec import Frame
from . import raw_sending
from .awaitables import receiving
from .frame_source import FrameSource
from .incoming_stream import IncomingStream
from .options import check_size
from .phases import ReceivePhase
from .reasons import to_raise
from .surface import Listening, check_receiver, checked_listener, mark_coroutine_functions

DONE = int(ReceivePhase.DONE)


class RawReceiving(raw_sending.RawSending):
    """The part of a raw session that receives: by ``receive()`` and iteration, or by a listener."""

    __slots__ = ()

    def receive(self, timeout: float | timedelta | None = None) -> Coroutine[Any, Any, Frame]:
        """Await the next frame, as it came. A call that is cancelled or takes too long loses nothing.

        If ``frame_streaming_threshold`` is set, FrameChunks come, too. Iterating the session does not raise
        SessionClosed or ConnectionLost: it ends.

        Args:
            timeout: Seconds to wait at most. Default: None (no limit).

        Raises:
            TimeoutError: The time is over (before Python 3.11 ``asyncio.TimeoutError``, which is another class there).
            SessionClosed: The end, after a Close frame.
            ConnectionLost: The end, without one.
            PeerError: The peer broke the protocol.
            ChannelOverflow: ``incoming`` overflowed, and its ``on_overflow`` is "close".
            RuntimeError: Another task receives, or a listener does.
        """
        return receiving(self, False) if timeout is None else self._receive_within(timeout)

    def receive_stream(self, *, max_size: int | None = None) -> IncomingStream:
        """Receive the next frame, of any kind, while it arrives: ``async with session.receive_stream() as incoming``.

        A data frame of any size passes in constant memory: while nobody reads, ``incoming`` limits what waits.
        ``max_frame_size`` limits the frame all the same, since it is checked when the header arrives. The option
        ``frame_streaming_threshold`` is not needed, but without it a frame that begins to arrive before this call is
        collected until then.

        Args:
            max_size: Bytes that the stream may have. More are refused as a frame above ``max_frame_size`` is, with a
                FrameTooBig and a Close with 1009. Default: None (no limit).

        Returns:
            The stream. Entering its block waits for the header, and raises what ``receive()`` raises.
        """
        check_size("max_size", max_size)
        return IncomingStream(FrameSource(self, self._loop), max_size)

    def check_receiver(self) -> None:
        """Raise RuntimeError if somebody receives. For layers of this package, like the next two."""
        check_receiver(self._queue)

    def has_ended(self) -> bool:
        """True if no further frame will come, and none waits."""
        return self._connection.receive_phase == DONE

    def end_error(self) -> BaseException:
        """The error to raise at the end. The end counts as reported then."""
        connection = self._connection
        connection.end_reported = True
        if connection.failure is None:
            return connection.closed_error()
        connection.failure_reported = True
        return to_raise(connection.failure, connection.failure_traceback)

    def _before_waiting(self) -> None:
        check_receiver(self._queue)
        self._connection.before_waiting()

    def _is_over(self) -> bool:
        return self._connection.receive_phase == DONE

    def _raise_end(self, iterating: bool) -> None:
        self._connection.end_reported = True
        self._raise_failure()
        if iterating:
            raise StopAsyncIteration
        raise self._connection.closed_error()

    def _on_taken(self) -> None:
        self._connection.after_taking()

    def _raise_failure(self) -> None:
        connection = self._connection
        if connection.failure is not None:
            connection.failure_reported = True
            raise to_raise(connection.failure, connection.failure_traceback)

    def listen(self, on_frame: Callable[[Frame], object]) -> Listening:
        """Have ``on_frame(frame)`` called for every frame from now on, straight from the transport's callback.

        There is no queue and no task switch. Frames that wait already are delivered before this returns.

        Args:
            on_frame: A plain function. It must not block, and sends with ``send_nowait()``, in one write per read. It
                is not called, and the transport is paused, while ``outgoing`` is full, while a task waits in
                ``send()``, and between ``pause_reading()`` and ``resume_reading()``.

        Returns:
            An awaitable. It completes when every frame was delivered and no further one will come, and raises what the
            callback or the peer failed with. If nobody awaits it, a callback's exception goes to the loop's exception
            handler and ends the connection.
        """
        checked_listener("on_frame", on_frame)
        connection = self._connection
        if self._queue.has_listener:
            raise RuntimeError("this session has a listener already")
        check_receiver(self._queue)
        connection.listen(on_frame, None, self._described)
        return Listening(self._until_heard)

    async def _until_heard(self) -> None:
        connection = self._connection
        if connection.listen_awaited:
            raise RuntimeError("listen() is already awaited")
        connection.listen_awaited = True
        try:
            waiter = connection.until_done()
            if waiter is not None:
                await connection.wait_for(waiter)
            connection.end_reported = True
            self._raise_failure()
        finally:
            connection.listen_awaited = False

    @property
    def incoming_ended(self) -> bool:
        """True if no further frame will arrive. Some may still wait."""
        return bool(self._connection.receive_phase)

    def pause_reading(self) -> None:
        """Stop reading from the transport, so that TCP slows the peer down. Frames already here stay available."""
        self._connection.set_paused(True)

    def resume_reading(self) -> None:
        """Undo ``pause_reading()``."""
        self._connection.set_paused(False)

    def on_end(self, callback: Callable[[], object]) -> None:
        """Have ``callback()`` called once, when every frame was taken or delivered and no further one will come.

        That is after a Close, a violation, the end of the stream or the loss; at once if it is so already. An exception
        goes to the loop's exception handler.
        """
        self._connection.when_done(callback)


mark_coroutine_functions(RawReceiving, "receive")
