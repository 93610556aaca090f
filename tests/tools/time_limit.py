"""The limit on any test, as a pytest plugin: a test whose time is over fails, and the process that runs it lives on.

pytest-timeout decides how long a test may take. Its own ways to end one do not hold here: the thread ends the whole
process, and the signal raises once, where a callback of an event loop may swallow it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from types import FrameType
from typing import Any

import pytest

AGAIN = 5.0  # seconds after which a test that goes on all the same is interrupted again


class TookTooLong(BaseException):
    """Raised in a test whose time is over, where it stands. It is no Exception and none of pytest's:
    Hypothesis would take those for the result of an input, and try the same input again."""


class Limit:
    """The alarm of the test that runs. It speaks only while code of the test runs, never inside pytest."""

    inside = False
    over: str | None = None  # what to say, once the time is over

    def __init__(self, text: str) -> None:
        self._text = text
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not Limit.inside:
            return
        Limit.over = self._text
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise TookTooLong(self._text) from None
        if self._asked:  # and it has not come to it since: something blocks the loop
            self._asked = False
            raise TookTooLong(self._text)
        # An exception out of a signal handler while uvloop waits would break the loop.
        self._asked = True
        loop.call_soon_threadsafe(self._cancel, loop)

    def _cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asked = False
        for task in asyncio.all_tasks(loop):
            task.cancel(self._text)


if hasattr(signal, "SIGALRM"):  # elsewhere pytest-timeout has only its thread

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
        Limit.over = None
        signal.signal(signal.SIGALRM, Limit(f"{item.nodeid} took more than {settings.timeout:g} seconds"))
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN)
        return True

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    __tracebackhide__ = True
    return (yield from watched())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    __tracebackhide__ = True
    return (yield from watched())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    __tracebackhide__ = True
    return (yield from watched())


def watched() -> Generator[None, Any, Any]:
    """One phase of a test. One that caught what the limit raised fails all the same."""
    __tracebackhide__ = True
    Limit.inside = True
    try:
        result = yield
        if Limit.over is not None:
            raise TookTooLong(Limit.over)
        return result
    finally:
        Limit.inside, Limit.over = False, None
