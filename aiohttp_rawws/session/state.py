"""What a session can tell about itself: how it closed, what it carried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..wire.codes import CloseReason

Side = Literal["local", "peer"]


@dataclass(frozen=True)
class CloseState:
    """Where the closing handshake (RFC 6455, section 7) stands, or how the session ended.

    sent, received: the Close frames seen each way; code 1005 for one without a code; None where there was none.
    first: whose Close came first; None before either.
    lost: the TCP connection is gone.
    eof: the peer has ended its direction of the TCP stream.
    error: what failed the session: a PeerError, a ChannelOverflow, the OSError of the transport.
    """

    sent: CloseReason | None = None
    received: CloseReason | None = None
    first: Side | None = None
    lost: bool = False
    eof: bool = False
    error: BaseException | None = None

    @property
    def clean(self) -> bool:
        """Both Close frames were seen ("cleanly" in the sense of RFC 6455, section 7.1.4)."""
        return self.sent is not None and self.received is not None

    @property
    def code(self) -> int | None:
        """The close code of RFC 6455, section 7.1.5: the peer's, 1006 when lost without one, None while open."""
        if self.received is not None:
            return self.received.code
        return 1006 if self.lost or self.eof else None


@dataclass(frozen=True)
class SessionStats:
    """Counters of one session since its start. Bytes are bytes on the wire, headers included."""

    frames_received: int
    bytes_received: int
    frames_sent: int
    bytes_sent: int
