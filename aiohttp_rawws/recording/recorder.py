"""``Recorder``: sessions as a file of JSON lines."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..session.kinds import Session
from ..session.options import MIB, check_size
from ..wire.codes import CloseReason
from .lines import from_line, to_line
from .observing import Unsubscribe, follow
from .records import (
    HIDDEN,
    BytesRecord,
    CloseRecord,
    Fields,
    FrameRecord,
    HandshakeRequest,
    HandshakeResponse,
    OpenRecord,
    Record,
)

if TYPE_CHECKING:
    from typing_extensions import Self

logger: logging.Logger = logging.getLogger("aiohttp_rawws")

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Names of header fields whose values a recording hides."""

BUFFER = 64 * 1024  # bytes that wait to be written to the file

Redact = Callable[[Record], Record]
"""The type of ``redact``: a function from a record to the record that is written."""


class Recorder:
    """Writes sessions to a file, one line of JSON for each event.

    Give it as the option ``observe`` to ``setup()``, a route, ``connect()`` or ``memory_pair()``: each session is then
    recorded from its first byte on, with the handshake. ``attach()`` records a session that runs already. One recorder
    can record any number of sessions of one loop at the same time.

    The file is written anew. It is flushed at the end of each connection, and by ``flush()`` and ``close()``. It is
    readable for its owner only. If it cannot be written to, that is logged once, and the sessions go on.

    The values of ``Authorization``, ``Proxy-Authorization``, ``Cookie`` and ``Set-Cookie`` are written as ``***``. All
    else is written as it is: other fields, the URL with its query, and every payload. ``redact`` hides more.

    Args:
        path: The file.
        max_payload: Bytes to keep of each payload. A frame that was cut cannot be played exactly. None: all of what the
            session sends, and up to its ``max_frame_size`` of what it receives. Default: 4 MiB, the default of
            ``max_frame_size``.
        redact: A function that gets each record and returns the one to write, such as
            ``dataclasses.replace(record, payload=b"")``. Payloads are as on the wire: fragments are records of their
            own, and what an extension has compressed is compressed. So a search for a secret does not find it always.
            If ``redact`` raises, or returns what cannot be written, that is logged once. The payload, the bytes, the
            reason of the Close, or the handshake with the address of the peer are left out then. Default: None.
        secret_headers: Names of further header fields to hide. Default: ``()``.

    Attributes:
        path: The file.
        error: The error that ended the recording, or None.

    Raises:
        OSError: The file cannot be opened.
        TypeError: An argument has a wrong type.
        ValueError: ``max_payload`` is less than 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_payload: int | None = 4 * MIB,
        redact: Redact | None = None,
        secret_headers: Iterable[str] = (),
    ) -> None:
        check_size("max_payload", max_payload)
        if redact is not None and not callable(redact):
            raise TypeError(f"redact must be a function of a record, not {redact!r}")
        if isinstance(secret_headers, (str, bytes)):
            raise TypeError(f"secret_headers must be a list of names, not {secret_headers!r}")
        self.path: Path = Path(path)
        self.error: OSError | None = None
        self._max_payload = max_payload
        self._redact = redact
        self._secret = SECRET_HEADERS | {name.lower() for name in secret_headers}
        self._numbers = count(1)
        self._has_failed_to_redact = False
        self._file: BinaryIO | None = open(self.path, "wb", BUFFER, opener=_private)  # noqa: SIM115  # ours to close

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {os.fspath(self.path)!r}>"

    def __call__(self, session: Session) -> None:
        """Record ``session``, for the option ``observe``."""
        self.attach(session)

    def attach(self, session: Session) -> Unsubscribe:
        """Record ``session`` from now on. If it is open already, what went before is missing, but for the handshake.

        Args:
            session: A raw or a managed session.

        Returns:
            A function without arguments that ends the recording of this session.
        """
        stop = follow(session, self._record, next(self._numbers), self._max_payload)

        def detach() -> None:
            stop()
            self.flush()

        return detach

    def flush(self) -> None:
        """Write all that waits to the file."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as exc:
                self._failed(exc)

    def close(self) -> None:
        """Close the file, and record nothing more."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as exc:
                self._failed(exc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # ---- a record ---------------------------------------------------------------------

    def _record(self, record: Record) -> None:
        if self._file is None:
            return
        line = self._line(self._without_secrets(record))
        try:
            self._file.write(line)
        except OSError as exc:
            self._failed(exc)
        if isinstance(record, CloseRecord):
            self.flush()

    def _failed(self, exc: OSError) -> None:
        logger.error("%r failed, and records no more: %s", self, exc)
        self.error = exc
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # it cannot write what waits, either

    def _without_secrets(self, record: Record) -> Record:
        if not isinstance(record, OpenRecord):
            return record
        request, response = record.request, record.response
        if request is not None:
            request = replace(request, headers=self._hidden(request.headers))
        if response is not None:
            response = replace(response, headers=self._hidden(response.headers))
        return replace(record, request=request, response=response)

    def _hidden(self, fields: Fields) -> Fields:
        return tuple((name, HIDDEN if name.lower() in self._secret else value) for name, value in fields)

    def _line(self, record: Record) -> bytes:
        if self._redact is None:
            return to_line(record).encode()
        try:
            redacted = self._redacted(self._redact, record)
            line = to_line(redacted)
            if redacted is not record:
                _check_line(line)
            return line.encode()
        except Exception:  # also of a record that cannot be written
            if not self._has_failed_to_redact:
                self._has_failed_to_redact = True
                logger.exception("Error in redact of %r. Payloads and handshakes are left out where it fails", self)
            return to_line(_left_out(record)).encode()

    @staticmethod
    def _redacted(redact: Redact, record: Record) -> Record:
        result: object = redact(record)
        if not isinstance(result, type(record)):
            raise TypeError(f"redact must return a {type(record).__name__} for one, not {type(result).__name__}")
        if isinstance(record, FrameRecord) and isinstance(result, FrameRecord) and result.payload != record.payload:
            return replace(result, redacted=True)
        return result


def _check_line(line: str) -> None:
    """Raise ValueError if ``line`` could not be read again. The text, which is logged, does not show it."""
    try:
        from_line(line)
    except ValueError as exc:
        raise ValueError(f"redact returned a record that could not be read again ({type(exc).__name__})") from None


def _private(path: str, flags: int) -> int:
    opened = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(opened).st_mode):
        os.fchmod(opened, 0o600)  # it may have been there before
    return opened


def _left_out(record: Record) -> Record:
    """Return ``record`` without what may be secret."""
    if isinstance(record, FrameRecord):
        return replace(record, payload=b"", redacted=True, note="redact failed")
    if isinstance(record, OpenRecord):
        request, response = record.request, record.response
        if request is not None:
            request = HandshakeRequest(
                method=request.method,
                target=HIDDEN,
                url=HIDDEN,
                headers=_names(request.headers),
            )
        if response is not None:
            response = HandshakeResponse(status=response.status, reason=HIDDEN, headers=_names(response.headers))
        return replace(record, peer=HIDDEN, request=request, response=response)
    if isinstance(record, BytesRecord):
        return replace(record, data=b"")
    if isinstance(record, CloseRecord):
        client, server = (
            None if reason is None else CloseReason(reason.code) for reason in (record.client, record.server)
        )
        return replace(record, client=client, server=server, error=None)
    return record


def _names(fields: Fields) -> Fields:
    return tuple((name, HIDDEN) for name, _ in fields)
