"""The answer of a server that does not open a WebSocket: the error, and reading its body."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ..errors import HandshakeError, RawWSError
from ..session.logtext import escaped
from .deadline import deadline

MAX_BODY = 64 * 1024
BODY_TIMEOUT = 5.0  # seconds that the body of a refusal may take, if open_timeout leaves as much
MAX_RETRY_AFTER = 24 * 3600.0


class HandshakeRefused(HandshakeError):
    """The server answered the opening handshake with another status than 101.

    Args:
        status: The HTTP status of the answer.
        text: The text of the error.
        headers: The header fields of the answer.
        body: The part of its body that was read.
        history: The URLs that led here by redirects.

    Attributes:
        status: The HTTP status of the answer.
        headers: The header fields of the answer, a multidict that ignores case.
        body: At most 64 KiB of its body, decompressed. Less than the server sent if the body is larger, broke off, or
            took too long.
        history: The URLs that redirected to the one that refused.
    """

    headers: CIMultiDict[str]  # type: ignore[assignment]  # a dict in the base class

    def __init__(
        self,
        status: int,
        text: str,
        headers: CIMultiDict[str] | None = None,
        body: bytes = b"",
        history: Sequence[URL] = (),
    ) -> None:
        # Not that of HandshakeError, which makes an answer: a server may refuse with a status that is no error.
        RawWSError.__init__(self, text)
        self.status: int = int(status)
        self.headers = CIMultiDict() if headers is None else CIMultiDict(headers)
        self.body = body
        self.history: tuple[URL, ...] = tuple(history)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the server wants the next try, by its field ``Retry-After``, at most a day. None: no (valid)
        field."""
        value = self.headers.get("Retry-After", "").strip()
        try:
            # Of digits there may be any number: float() gives infinity for those that int() refuses.
            seconds = float(value) if value.isdecimal() else _seconds_until(value)
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    then = parsedate_to_datetime(date)
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    return (then - datetime.now(timezone.utc)).total_seconds()


async def refused(
    response: aiohttp.ClientResponse, time_left: float | None, history: Sequence[URL], why: str = ""
) -> HandshakeRefused:
    """Read the body of ``response``, and return the error.

    The connection goes back to the pool if the whole body was read, and is closed if not.

    Args:
        response: A response that is no 101.
        time_left: Seconds that the body may take, or None for the default. Never more than that.
        history: The URLs that led here by redirects.
        why: Added to the text of the error. Default: empty.
    """
    body = bytearray()
    try:
        async with deadline(BODY_TIMEOUT if time_left is None else min(max(time_left, 0.0), BODY_TIMEOUT)):
            while len(body) < MAX_BODY and not response.content.at_eof():
                body += await response.content.read(MAX_BODY - len(body))
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
        pass  # a body that breaks off must not hide the status
    finally:
        if not response.content.at_eof() or response.content.exception() is not None:
            response.close()
        else:
            response.release()
    reason = escaped(response.reason or "")
    text = f"the server refused the WebSocket with {response.status} {reason}".rstrip() + why
    return HandshakeRefused(response.status, text, CIMultiDict(response.headers), bytes(body), history)
