"""Close reasons, and the error that a closed session raises (RFC 6455, section 7)."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Iterator
from copy import copy
from types import TracebackType

from ..errors import (
    ConnectionLost,
    InvalidPayload,
    PeerError,
    ProtocolViolation,
    RawWSError,
    SessionClosed,
)
from ..wire.codec import Frame
from ..wire.codes import CloseCode, CloseReason, may_be_sent
from .converters import DeserializeError
from .state import CloseState

# Seconds in which the frames that came before a Close, or a violation, may be taken before it is answered.
CLOSE_DELAY = 1.0


def reason_for(error: PeerError) -> CloseReason:
    """The reason for a Close after an error of the peer's (section 7.1.7)."""
    text = f"Received illegal frame: {error}" if isinstance(error, ProtocolViolation) else str(error)
    return CloseReason.truncated(error.close_code, text)


def reason_for_exception(exc: BaseException) -> CloseReason:
    """The reason for a Close after an exception on this side.

    1000 for a cancellation or a generator that is closed, a PeerError's own code, else 1011 with the exception's text.
    """
    if isinstance(exc, (CancelledError, GeneratorExit)):  # neither is an error
        return CloseReason(CloseCode.NORMAL)
    if isinstance(exc, PeerError):
        return reason_for(exc)
    return CloseReason.truncated(CloseCode.INTERNAL_ERROR, str(exc))


def leaves_of(exc: BaseException) -> Iterator[BaseException]:
    """Return the exceptions in a group (of Python 3.11) and in its inner groups. For another exception, that itself."""
    if sys.version_info >= (3, 11) and isinstance(exc, BaseExceptionGroup):  # noqa: F821
        for inner in exc.exceptions:
            yield from leaves_of(inner)
    else:
        yield exc


def reason_for_payload(exc: BaseException) -> CloseReason | None:
    """The reason for a Close if ``exc`` is about a payload of the peer, else None.

    1007 for text that is not UTF-8 or that a converter cannot read, 1003 for a frame of the wrong kind.
    """
    reason = None
    for leaf in leaves_of(exc):
        if isinstance(leaf, InvalidPayload):
            reason = CloseReason.truncated(CloseCode.NOT_CONSISTENT, str(leaf))
        elif isinstance(leaf, DeserializeError):
            reason = CloseReason.truncated(leaf.close_code, str(leaf))
        else:
            return None
    return reason


def reason_of(frame: Frame) -> CloseReason:
    """The reason in a Close frame, without validation; 1005 if there is none (section 7.1.5)."""
    return frame.close_reason or CloseReason(CloseCode.NO_STATUS)


def checked_reason(payload: bytes) -> CloseReason:
    """The reason in the payload of a received Close frame; 1005 for an empty one (sections 5.5.1, 7.1.5, 7.4).

    Raises:
        ProtocolViolation: It is one byte long, or its code may not be sent.
        InvalidPayload: Its text is not UTF-8.
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


def to_raise(failure: BaseException, traceback: TracebackType | None) -> BaseException:
    """The exception to raise for ``failure``, the error that ended a session. It may be raised more than once.

    A raised exception refers to the stack frames that it has passed, and these refer to the session. So an error of
    the session is raised as a copy: the session keeps the original, and the two would keep each other alive. An error
    of the application is raised itself.

    Args:
        traceback: The traceback of the application's error. None if it is not known.
    """
    if isinstance(failure, RawWSError) and failure.source is not None:
        error = copy(failure)
        error.source = failure.source
        return error
    return failure if traceback is None else failure.with_traceback(traceback)


def cut_short(error: BaseException, received: int, size: int | None) -> BaseException:
    """Note in ``error``, if it reports the end, how much of a stream had arrived before that."""
    if isinstance(error, SessionClosed):
        of_all = "" if size is None else f" of {size}"
        error.args = (f"{error}; {received}{of_all} bytes of the stream had arrived",)
        error.bytes_received, error.size = received, size
    return error


def closed_error(state: CloseState, dropped: bool, inside_frame: bool) -> SessionClosed:
    """The error that ``send()`` and ``receive()`` raise at the end.

    Args:
        state: The Close frames that were seen.
        dropped: Without them: the connection was lost, aborted or found broken.
        inside_frame: It ended inside a frame of the peer's.
    """
    sent = None if state.sent is None else state.sent.code
    received = None if state.received is None else state.received.code
    if state.first == "peer":
        return SessionClosed(f"the peer closed the session ({received})", received=received, sent=sent)
    if state.first == "local":
        return SessionClosed(f"a Close frame ({sent}) was sent", received=received, sent=sent)
    if dropped or state.eof:
        inside = ", inside a frame" if inside_frame else ""
        because = "" if state.error is None else f": {state.error}"
        return ConnectionLost(f"the connection ended without a Close frame{inside}{because}")
    return SessionClosed("the session has ended")
