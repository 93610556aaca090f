"""The words of the closing handshake (RFC 6455, section 7): what a Close says, and what a closed session answers."""

from __future__ import annotations

from asyncio import CancelledError

from ..errors import ConnectionLost, InvalidPayload, PeerError, ProtocolViolation, SessionClosed
from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason, may_be_sent
from .state import CloseState

PATIENCE = 1.0  # seconds that what came before a Close, or a violation, has to be taken before that is answered


def reason_for(error: PeerError) -> CloseReason:
    """What tells the peer what it did (section 7.1.7)."""
    text = f"Received illegal frame: {error}" if isinstance(error, ProtocolViolation) else str(error)
    return CloseReason.truncated(error.close_code, text)


def reason_for_exception(exc: BaseException) -> CloseReason:
    """What tells the peer of an exception on this side: 1000 for a cancellation, a PeerError's own code, else 1011 with
    the exception's text."""
    if isinstance(exc, CancelledError):
        return CloseReason(CloseCode.NORMAL)
    if isinstance(exc, PeerError):
        return reason_for(exc)
    return CloseReason.truncated(CloseCode.INTERNAL_ERROR, str(exc))


def reason_of(frame: Frame) -> CloseReason:
    """The reason in a Close frame, not judged; 1005 where it has none (section 7.1.5)."""
    return frame.close_reason or CloseReason(CloseCode.NO_STATUS)


def checked_reason(payload: bytes) -> CloseReason:
    """The reason in the payload of a received Close frame; 1005 for an empty one (sections 5.5.1, 7.1.5, 7.4).

    Raises ProtocolViolation for one byte and for codes that may not cross the wire, InvalidPayload for bad UTF-8.
    """
    if not payload:
        return CloseReason(CloseCode.NO_STATUS)
    if len(payload) == 1:
        raise ProtocolViolation("A Close frame has one byte where a code takes two")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        raise ProtocolViolation(f"Close code {code} may not be sent")
    try:
        return CloseReason(code, payload[2:].decode())
    except UnicodeDecodeError as exc:
        raise InvalidPayload(f"The reason of a Close frame is not UTF-8: {exc.reason}") from None


def closed_error(state: CloseState, inside_frame: bool = False) -> SessionClosed:
    """What ``send()`` and ``receive()`` raise at the end."""
    sent = None if state.sent is None else state.sent.code
    received = None if state.received is None else state.received.code
    if state.first == "peer":
        return SessionClosed(f"the peer closed the session ({received})", received=received, sent=sent)
    if state.first == "local":
        return SessionClosed(f"a Close frame ({sent}) was sent", received=received, sent=sent)
    if state.lost or state.eof:
        inside = ", inside a frame" if inside_frame else ""
        return ConnectionLost(f"the connection ended without a Close frame{inside}")
    return SessionClosed("the session has ended")
