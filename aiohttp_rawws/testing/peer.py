"""The other end of a connection in a test: a raw session that accepts and sends anything, and never waits long.

``limits.py`` has the limits of its waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import RawWSError
from ..session.options import SessionOptionsDict
from ..wire.codec import Frame, encode_header
from ..wire.codes import CloseReason, Opcode
from ..wire.masking import apply_mask
from .handshake import HandshakeRequest, HandshakeResponse
from .limits import WITHIN, LimitedSession, ScriptTimeout
from .transcript import End, TapReader, TapWriter, Transcript

if TYPE_CHECKING:
    from typing_extensions import Unpack

LOOK = 0.05  # seconds
MAX_FRAME_SIZE = 64 * 2**20
KEY = b"\x0a\x0b\x0c\x0d"  # of frames that are sent in part

Wanted: TypeAlias = Frame | int | Callable[[Frame], object]
Script: TypeAlias = Callable[["Peer"], Awaitable[object]]

_probes = count(1)


class Peer(LimitedSession):
    """One end of a connection, for a script of a test. It is a raw session that accepts what breaks RFC 6455.

    *You receive control frames, fragments stay separate, and you do the closing handshake.* ``send()`` takes frames,
    ``send_raw()`` and ``write_bytes()`` send anything, ``masking`` can be changed at any time.

    Every wait has a limit: ``within`` seconds, unless the call says otherwise. A wait that reaches it raises
    ScriptTimeout, which is an AssertionError and a TimeoutError. ``end()`` and the end of ``async with`` abort a
    connection on which nothing moves for ``close_timeout`` seconds, and raise nothing.

    Attributes:
        within: Seconds that a call may wait. It may be set at any time. Default: 5.
        request: The request of the handshake.
        response: The response. None on the side of a server.
        transcript: All that was on the wire.
        probes: The result of each ``probe()`` so far.
        was_reset: ``reset()`` was called.
    """

    request: HandshakeRequest
    response: HandshakeResponse | None
    probes: list[bool]

    def __init__(
        self,
        reader: TapReader,
        writer: TapWriter,
        transcript: Transcript,
        request: HandshakeRequest,
        response: HandshakeResponse | None = None,
        *,
        server: bool = True,
        **options: Unpack[SessionOptionsDict],
    ) -> None:
        """
        Args:
            reader: The reader.
            writer: The writer.
            transcript: The record of both.
            request: The request of the handshake.
            response: The response, for the client's side. Default: None.
            server: This is the server's side. Default: True.
            options: Options of ``SessionOptions``. By default it is not ``strict``, takes frames of up to 64 MiB, and
                ``close_timeout`` is 5.
        """
        self.request = request
        self.response = response
        self.transcript = transcript
        self.probes = []
        self._writer = writer
        self.was_reset: bool = False
        self._server = server
        options.setdefault("strict", False)
        options.setdefault("on_violation", "raise")
        options.setdefault("max_frame_size", MAX_FRAME_SIZE)
        options.setdefault("close_timeout", WITHIN)
        super().__init__(reader, writer, server=server, **options)

    # ---- receiving --------------------------------------------------------------------

    async def expect(self, want: Wanted, *, within: float | None = None, skip: bool = False) -> Frame:
        """Receive a frame that must be the one that is wanted.

        Args:
            want: A frame, an opcode, or a function that returns True for the right frame.
            within: Seconds that it may take. Default: None (``self.within``).
            skip: Pass over other frames. False: the next frame must be the one. Default: False.

        Returns:
            The frame.

        Raises:
            ScriptTimeout: It did not come in time. This is an AssertionError, too.
            AssertionError: Another frame came, or the connection ended. The text has all that was on the wire.
        """
        seconds = self.within if within is None else within
        try:
            return await self.limited("expect()", self._expect(want, skip, seconds), seconds)
        except ScriptTimeout:
            instead = f"{'no such frame' if skip else 'nothing'} came within {seconds:g} seconds"
            raise self._failed(want, instead, ScriptTimeout) from None

    async def _expect(self, want: Wanted, skip: bool, within: float) -> Frame:
        while True:
            try:
                frame = await self.receive(within)
            except RawWSError as exc:
                raise self._failed(want, str(exc) or type(exc).__name__) from None
            if _matches(frame, want):
                return frame
            if not skip:
                raise self._failed(want, f"{frame!r} came")

    async def expect_close(self, *codes: int, within: float | None = None, skip: bool = False) -> CloseReason:
        """Receive a Close frame.

        Args:
            codes: The codes that it may have; 1005 stands for a Close without a code. Default: any.
            within: See ``expect()``. Default: None.
            skip: See ``expect()``. Default: False.

        Returns:
            Its code and message.

        Raises:
            AssertionError: See ``expect()``, or it has another code.
        """
        frame = await self.expect(Opcode.CLOSE, within=within, skip=skip)
        reason = frame.close_reason or CloseReason(1005)
        if codes and reason.code not in codes:
            raise self._failed(f"a Close with {' or '.join(map(str, codes))}", f"one with {reason.code} came")
        return reason

    async def expect_end(self, how: End | None = None, *, within: float | None = None) -> None:
        """Wait until the other side has ended the connection. Frames that come before are passed over.

        Args:
            how: "eof" or "reset". Default: None (either).
            within: Seconds that it may take. Default: None (``self.within``).

        Raises:
            AssertionError: The connection is still open, or ended in the other way.
        """
        seconds = self.within if within is None else within
        if not await self.ends(seconds):
            raise self._failed("the end of the connection", f"it is open after {seconds:g} seconds", ScriptTimeout)
        if how is not None and self.transcript.end != how:
            raise self._failed(f"the end of the connection by {how}", f"it ended by {self.transcript.end}")

    async def ends(self, within: float | None = None) -> bool:
        """Wait until the other side has ended the connection. Frames that come before can be received later, unless
        they are more than ``incoming`` takes.

        Args:
            within: Seconds that it may take. Default: None (``self.within``).

        Returns:
            True if it has.
        """
        loop, ended = asyncio.get_running_loop(), self.transcript.ended
        until = loop.time() + (self.within if within is None else within)
        while not ended.is_set() and (left := until - loop.time()) > 0:
            if self.connection.queue.full:  # nothing more is read, and so the end is not seen
                while self.receive_nowait() is not None:
                    pass
            try:
                await asyncio.wait_for(ended.wait(), min(left, LOOK))
            except asyncio.TimeoutError:
                pass
        return ended.is_set()

    async def probe(self, within: float | None = None) -> bool:
        """Send a Ping, and wait for its Pong. Pings that come before are answered, other frames are passed over.

        Args:
            within: Seconds that it may take. Default: None (``self.within``).

        Returns:
            True if the Pong came; False if a Close or the end of the connection came, or nothing in time.
        """
        seconds = self.within if within is None else within
        try:
            await self.limited("probe()", self._probe(b"probe %d" % next(_probes), seconds), seconds)
        except (AssertionError, RawWSError):
            self.probes.append(False)
        else:
            self.probes.append(True)
        return self.probes[-1]

    async def _probe(self, payload: bytes, within: float) -> None:
        await self.send(Frame.ping(payload))
        while True:
            frame = await self.expect(_is_ping_or_pong, within=within, skip=True)
            if frame.opcode is Opcode.PING:
                await self.send(Frame.pong(frame.payload))
            elif frame.payload == payload:
                return

    def _failed(self, want: Any, instead: str, error: type[AssertionError] = AssertionError) -> AssertionError:
        if isinstance(want, int):
            want = f"a frame {Opcode(want).name}"
        elif callable(want):
            want = "a certain frame"
        return error(f"{want} was expected, but {instead}. On the wire:\n{self.transcript}")

    # ---- faults -----------------------------------------------------------------------

    def encode(self, frame: Frame) -> bytes:
        """Return the bytes of a frame as this side sends it: masked if ``masking`` is True."""
        key = KEY if self.masking else None
        header = encode_header(
            frame.opcode,
            len(frame.payload),
            fin=frame.fin,
            rsv1=frame.rsv1,
            rsv2=frame.rsv2,
            rsv3=frame.rsv3,
            masking_key=key,
        )
        return header + (frame.payload if key is None else apply_mask(frame.payload, key))

    async def drip(self, data: bytes | Frame, every: float, size: int = 1) -> None:
        """Send data in small pieces. Stops if the connection ends. Each piece has the limit of a ``flush()``.

        Args:
            data: Bytes, or a frame.
            every: Seconds between two pieces.
            size: Bytes in each piece. Default: 1.
        """
        octets = self.encode(data) if isinstance(data, Frame) else data
        for position in range(0, len(octets), size):
            if self._writer.is_closing():
                return
            self.write_bytes(octets[position : position + size])
            await self.flush()
            await asyncio.sleep(every)

    def send_part(self, frame: Frame, missing: int = 1) -> None:
        """Send a frame without its last bytes.

        Args:
            frame: The frame.
            missing: Bytes to leave out. Default: 1.

        Raises:
            ValueError: The frame has not more than so many bytes, or this is less than 1.
        """
        data = self.encode(frame)
        if not 1 <= missing < len(data):
            raise ValueError(f"missing must be 1 to {len(data) - 1}: the frame has {len(data)} bytes, not {missing}")
        self.write_bytes(data[:-missing])

    async def half_close(self) -> None:
        """End our direction, and go on receiving. TLS cannot do that: there the connection is closed in order."""
        await self.flush()
        if self._writer.is_closing():
            return
        if self._writer.can_write_eof():
            try:
                self._writer.write_eof()
            except (OSError, RuntimeError):
                pass  # the other side was first
            return
        self.transport.close()
        try:
            await self.wait_closed()
        except ScriptTimeout:
            return
        self.transcript.finish("eof")  # its part of the end of TLS

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.was_reset = True
        self.transcript.note("> reset")
        self.abort(reset=True)


async def within_limit(running: Coroutine[Any, Any, None], limit: float, transcript: Transcript) -> None:
    """Run a script with all that belongs to it. A TimeoutError is one of its own waits.

    Args:
        running: The coroutine.
        limit: Seconds that it may take.
        transcript: All that was on the wire.

    Raises:
        ScriptTimeout: It did not end in time.
        AssertionError: It was cancelled from inside.
    """
    task = asyncio.ensure_future(running)
    try:
        done, _ = await asyncio.wait([task], timeout=limit)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=WITHIN)
            if task.done() and not task.cancelled():
                task.exception()  # asyncio logs what nobody has looked at
    if not done:
        raise ScriptTimeout(f"the script did not end within {limit:g} seconds. On the wire:\n{transcript}")
    if task.cancelled():
        raise AssertionError(f"the script was cancelled. On the wire:\n{transcript}")
    await task


def _is_ping_or_pong(frame: Frame) -> bool:
    return frame.opcode in (Opcode.PING, Opcode.PONG)


def _matches(frame: Frame, want: Wanted) -> bool:
    if isinstance(want, Frame):
        return frame == want
    if isinstance(want, int):
        return frame.opcode == want
    return bool(want(frame))
