"""Reports about a session: the state of its closing handshake, and counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..wire.codes import CloseReason

Side = Literal["local", "peer"]


@dataclass(frozen=True)
class CloseState:
    """The state of the closing handshake (RFC 6455, section 7) at one moment.

    Attributes:
        sent: The Close that was sent, or None. Its code is 1005 if it had none.
        received: The Close that was received, or None. Its code is 1005 if it had none.
        first: The side whose Close came first: "local", "peer", or None before any Close.
        lost: The TCP connection is gone.
        eof: The peer has ended its direction of the TCP stream.
        error: The error that failed the session, or None: a PeerError, a ChannelOverflow, or the OSError of the
            transport.
    """

    sent: CloseReason | None = None
    received: CloseReason | None = None
    first: Side | None = None
    lost: bool = False
    eof: bool = False
    error: BaseException | None = None

    @property
    def clean(self) -> bool:
        """True if a Close was sent and one was received ("cleanly" in RFC 6455, section 7.1.4)."""
        return self.sent is not None and self.received is not None

    @property
    def code(self) -> int | None:
        """The close code (RFC 6455, section 7.1.5): the peer's, 1006 if the stream ended without one, None before."""
        if self.received is not None:
            return self.received.code
        return 1006 if self.lost or self.eof else None


@dataclass(frozen=True)
class SessionStats:
    """Counters of one session since its start.

    Attributes:
        frames_received: Frames that were received.
        bytes_received: Bytes that were received, headers included.
        frames_sent: Frames that were sent.
        bytes_sent: Bytes that were sent, headers included.
    """

    frames_received: int
    bytes_received: int
    frames_sent: int
    bytes_sent: int
