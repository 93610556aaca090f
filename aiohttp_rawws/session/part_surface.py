"""The methods of raw and managed sessions that send a message in parts, or treat the session as a stream of bytes.

One source, two builds: as it stands, and compiled with the types in ``part_surface.pxd``.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from ..wire.codes import Opcode
from . import surface
from .byte_stream import FRAME_SIZE, READER_LIMIT, FrameTransport, FrameWriter, byte_streams
from .outgoing_stream import FRAGMENT_SIZE, OutgoingStream
from .stream_source import StreamSource, copy


class PartSurface(surface.Surface):
    """The part of a session that deals in parts of messages."""

    __slots__ = ()

    def open_stream(
        self,
        opcode: int = Opcode.BINARY,
        *,
        length: int | None = None,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
        fragment_size: int = FRAGMENT_SIZE,
        compress: bool | None = None,
    ) -> OutgoingStream:
        """Send one message in parts, while it is made: ``async with session.open_stream() as out: await out.write(x)``.

        Other senders wait until the block is left; ``send_nowait()`` raises ChannelOverflow. Between fragments, control
        frames leave as ever; inside a frame they wait for its end.

        Args:
            opcode: TEXT or BINARY, on a raw session any data opcode. Default: BINARY.
            length: Bytes of the message, which is then one frame of that length. It is not compressed. Default: None
                (fragments).
            rsv1, rsv2, rsv3: The reserved bits of the first frame. Default: False.
            fragment_size: Bytes of each fragment but the last. Default: 64 KiB.
            compress: As for ``send()`` of a managed session. Default: None.

        Raises:
            ValueError: An argument is out of range, or does not go with another.
            RuntimeError: There is a ``length``, and an extension that has to see whole frames.
        """
        return OutgoingStream(
            self._stream_gate(),  # type: ignore[attr-defined]
            self.close_nowait,  # type: ignore[attr-defined]
            opcode=opcode,
            length=length,
            rsv=(rsv1, rsv2, rsv3),
            fragment_size=fragment_size,
            compress=compress,
        )

    async def send_stream(
        self,
        source: StreamSource,
        *,
        length: int | None = None,
        opcode: int = Opcode.BINARY,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
        fragment_size: int = FRAGMENT_SIZE,
        compress: bool | None = None,
    ) -> int:
        """Send one message that is read from ``source`` meanwhile, in constant memory.

        The other arguments, and what other senders do meanwhile, are those of ``open_stream()``. A file is read in a
        thread, 64 KiB at a time. If this is cancelled, a frame of known length ends with an abort of the connection;
        fragments end behind a whole one, so that a Close can follow.

        Args:
            source: An iterable or async iterable of bytes, a binary file, or an object with ``async read(n)``. For Text
                also of str. A generator that is not read to its end is closed.

        Returns:
            Bytes of payload.

        Raises:
            ValueError: The source is longer than ``length``: so many bytes were sent, and the session goes on. Or it is
                shorter: the connection was aborted.
            SessionClosed: A Close frame was sent, or the session has ended.
            RuntimeError: A message is open.
            Exception: Any exception of the source. If the message was begun, the session was closed with 1011, or
                aborted inside a frame of known length.
        """
        stream = self.open_stream(
            opcode,
            length=length,
            rsv1=rsv1,
            rsv2=rsv2,
            rsv3=rsv3,
            fragment_size=fragment_size,
            compress=compress,
        )
        async with stream:
            await copy(source, stream)
        return stream.sent

    def as_stream(
        self,
        *,
        kind: int = Opcode.BINARY,
        frame_size: int = FRAME_SIZE,
        other_kind: Literal["refuse", "take"] = "refuse",
        limit: int = READER_LIMIT,
    ) -> tuple[asyncio.StreamReader, FrameWriter]:
        """Use the session as a stream of bytes, for protocols such as MQTT, VNC or SSH over WebSocket.

        It takes all frames from now on. On a raw session, too, pings are answered and the peer's Close is, because
        nobody else sees them. ``writer.write_eof()`` and ``writer.close()`` send a Close with 1000. The peer's Close
        with 1000, 1001 or without a code is the end of the file. Other codes, and the loss of the connection, raise
        ConnectionLost, when the bytes before them have been read; ``read(-1)`` drops those that it has collected.

        Args:
            kind: BINARY or TEXT: the frames to send, and to expect. Default: BINARY.
            frame_size: Bytes that a frame to send has at most. Default: 64 KiB.
            other_kind: The reaction to a frame of the other kind. "refuse": close with 1003. "take": take its payload.
                Default: "refuse".
            limit: Bytes that ``readline()`` and ``readuntil()`` find at most, as for asyncio's streams. Twice as many
                wait to be read at most. Default: 64 KiB.

        Returns:
            asyncio's reader and writer.

        Raises:
            RuntimeError: The session has a listener, or a task that receives.
            ValueError: An argument is out of range.
        """
        raw = getattr(self, "raw", self)
        return byte_streams(FrameTransport(self, raw, kind=kind, frame_size=frame_size, other_kind=other_kind), limit)
