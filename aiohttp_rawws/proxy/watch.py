"""Watching the client of a request while its handler waits for something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from aiohttp import web

from ..web.upgrade import upgrade_watch

T = TypeVar("T")

MAX_EARLY = 64 * 1024  # bytes of a client that aiohttp keeps before the 101. More waits in the system's buffers


class ClientHasLeft(Exception):
    """The connection of the client was lost."""


class ClientWatch(asyncio.Protocol):
    """Stands between the transport of a request and aiohttp's protocol, which get all that they would get without it.

    aiohttp does not stop a handler when its client leaves, and releases before 3.14 keep whatever the client sends
    behind an upgrade.
    """

    __slots__ = ("_early", "_http", "_on_full", "is_lost", "on_lost")

    def __init__(self, http: Any, on_full: Callable[[], object]) -> None:
        """
        Args:
            http: aiohttp's protocol of the connection.
            on_full: Called once when more than ``MAX_EARLY`` bytes have arrived.
        """
        self._http = http
        self._on_full = on_full
        self._early = 0
        self.is_lost: bool = False
        self.on_lost: Callable[[], object] | None = None

    def data_received(self, data: bytes) -> None:
        before, self._early = self._early, self._early + len(data)
        self._http.data_received(data)
        if before <= MAX_EARLY < self._early:
            self._on_full()

    def eof_received(self) -> bool | None:
        result: bool | None = self._http.eof_received()
        return result

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.is_lost = True
        on_lost, self.on_lost = self.on_lost, None
        try:
            self._http.connection_lost(exc)
        finally:
            if on_lost is not None:
                on_lost()


def discard_input(request: web.BaseRequest) -> None:
    """Read on after a refusal. aiohttp drops what comes then (``close_after_refusal()``).

    If bytes were unread when the connection is closed, it would end with a reset, which can take the answer with it.
    """
    transport = request.transport
    if transport is not None and not transport.is_closing():
        transport.resume_reading()


async def while_connected(
    request: web.BaseRequest, on_full: Callable[[], object], work: Coroutine[Any, Any, T], undo: Callable[[T], object]
) -> T:
    """Await ``work``, which is cancelled if the client of ``request`` leaves.

    Args:
        request: The request. Its connection belongs to aiohttp.
        on_full: Called if the client sends more than ``MAX_EARLY`` bytes meanwhile, to stop reading from it.
        work: The coroutine to await.
        undo: Called with the result of ``work`` if it is not returned.

    Returns:
        The result of ``work``.

    Raises:
        ClientHasLeft: The client has left, and ``work`` has ended.
        Exception: ``work`` raised it.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        work.close()
        raise ClientHasLeft
    watch = ClientWatch(request.protocol, on_full)
    transport.set_protocol(watch)
    # asyncio keeps a timer that was cancelled, and its context, until its time has come. The upgrade is in the context.
    context = copy_context()
    context.run(upgrade_watch.set, None)
    task = context.run(asyncio.get_running_loop().create_task, work, name="rawws-upstream")
    watch.on_lost = task.cancel
    returned = False
    try:
        while not task.done():
            await asyncio.wait([task])
        if watch.is_lost:
            raise ClientHasLeft
        result = task.result()
        returned = True
        return result
    finally:
        watch.on_lost = None
        if not watch.is_lost:
            transport.set_protocol(request.protocol)
        if not returned:
            task.cancel()
            task.add_done_callback(lambda task: _drop(task, undo))


def _drop(task: asyncio.Task[T], undo: Callable[[T], object]) -> None:
    if not task.cancelled() and task.exception() is None:
        undo(task.result())
