"""The part of the upstream server's answer that goes on to the client: its fields, and the body of a refusal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from ..session.delivery import StallTimer, acknowledged, kernel_queue
from ..session.logtext import shortened
from ..session.transports import bytes_unsent, reset_when_closed
from ..web.client import shown
from ..web.deadline import deadline
from ..web.logtext import described, described_error
from ..web.refusal import as_refusal
from .fields import end_to_end, unsendable
from .watch import discard_input

logger: logging.Logger = logging.getLogger("aiohttp_rawws")


def fields_of_answer(answer: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """Return the fields of an answer that go on to the client."""
    fields = end_to_end(answer.headers)
    for name in unsendable(fields):
        logger.warning("The field %s of %s is no valid one: left out", shortened(name), shortened(shown(answer.url)))
        fields.popall(name)
    return fields


def reason_of_answer(answer: aiohttp.ClientResponse) -> str | None:
    """Return the reason phrase of an answer, or None if it cannot go on."""
    reason = answer.reason
    return None if reason is None or unsendable(CIMultiDict(Reason=reason)) else reason


class Reader:
    """The client of a request, which reads the body of an answer. A client that takes nothing loses its connection.

    Args:
        request: The request.
        write_timeout: Seconds, or None for no limit.
    """

    def __init__(self, request: web.BaseRequest, write_timeout: float | None) -> None:
        assert request.transport is not None
        self._request = request
        self._transport: asyncio.Transport = request.transport
        self._write_timeout = write_timeout
        self._given = 0

    async def take(self, writing: Awaitable[object], size: int = 0) -> None:
        """Await ``writing``, which gives the client ``size`` bytes."""
        self._given += size
        if self._write_timeout is None:
            await writing
            return
        loop = asyncio.get_running_loop()
        timer = StallTimer(loop, self, self._write_timeout, self._transport.is_closing, self._stalled)
        try:
            await writing
        finally:
            timer.stop()

    def undelivered(self) -> int:
        return bytes_unsent(self._transport) + kernel_queue(self._transport)

    def bytes_taken(self) -> int:
        count = acknowledged(self._transport)
        return self._given - self.undelivered() if count is None else count

    def _stalled(self) -> None:
        text = "The body of an answer was not read for %s seconds, %s"
        logger.info(text, self._write_timeout, described(self._request))
        self._transport.abort()


async def relay_refusal(
    request: web.BaseRequest,
    answer: aiohttp.ClientResponse,
    read_timeout: float | None = None,
    write_timeout: float | None = None,
) -> web.StreamResponse:
    """Send the answer of the upstream server to the client: status, fields, and the body as it came, while it comes.

    The connection of the client is closed after it, because what follows on it may be frames.

    Args:
        request: The request of the client.
        answer: The answer of the upstream server.
        read_timeout: Seconds for which no byte of the body may come, or None. Then the client is dropped.
        write_timeout: Seconds for which the client may take nothing, or None. Then it is dropped.

    Returns:
        The response, which has been sent.
    """
    response = web.StreamResponse(
        status=answer.status, reason=reason_of_answer(answer), headers=fields_of_answer(answer)
    )
    if answer.status == 426:  # RFC 9110, section 15.5.22
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade"
    if "Content-Length" in response.headers:
        response.headers["Content-Length"] = response.headers["Content-Length"]  # once, if it came twice
    as_refusal(request, response)
    discard_input(request)
    try:
        if request.transport is None:
            raise ConnectionResetError
        reader = Reader(request, write_timeout)
        if "Content-Length" not in response.headers and "Transfer-Encoding" in answer.headers:
            response.enable_chunked_encoding()
        await reader.take(response.prepare(request))
        while chunk := await _next_part(answer, read_timeout):
            await reader.take(response.write(chunk), len(chunk))
        await reader.take(response.write_eof())
    except ConnectionError:
        pass  # the client has left
    except (aiohttp.ClientError, asyncio.TimeoutError) as exc:
        reason = described_error(exc)
        logger.info("The body of %s broke off, %s: %s", shortened(answer.url), described(request), reason)
        if request.transport is not None:
            # A body without a length ends with the stream: only after a reset the client does not take it for whole.
            reset_when_closed(request.transport)
            request.transport.abort()
    finally:
        if answer.content.at_eof() and answer.content.exception() is None:
            answer.release()
        else:
            answer.close()
    return response


async def _next_part(answer: aiohttp.ClientResponse, timeout: float | None) -> bytes:
    """Return what has come of the body; nothing at its end."""
    async with deadline(timeout):
        return await answer.content.readany()
