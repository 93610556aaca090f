"""The conditions that every test of the suite runs under.

An async test runs on each event loop of ``LOOPS`` (``@pytest.mark.loops("asyncio")`` picks some; "clock" is the one
whose time is the test's own), has 30 seconds, and fails when it leaves tasks or transports behind, or when something
was reported to the loop's exception handler. Any test has 60 seconds. Warnings are errors (pyproject.toml).

Hypothesis draws the same inputs in every run, so that a run says something of the code and not of its luck.
``--hypothesis-profile fuzz`` draws new ones (``make fuzz``), and ``--hypothesis-profile shrink`` makes the input of a
failure small.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from .tools import clock, time_limit

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

LIMIT = 30.0  # seconds, for an async test
CLOCK_LIMIT = 3600.0  # on the loop with a clock of its own, where they cost nothing

if sys.version_info < (3, 11):
    # The peers of the tests read with StreamReader. Over TLS it resumes a transport that has lost its TCP transport and
    # has yet to say so, and loses what it has read with the AttributeError.
    Reader: Any = asyncio.StreamReader
    resume = Reader._maybe_resume_transport

    def resume_if_possible(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(AttributeError):
            resume(reader)

    Reader._maybe_resume_transport = resume_if_possible

# ---- Hypothesis ---------------------------------------------------------------------------

FOUND = Path(__file__).parent.parent / "build" / "hypothesis"

# To shrink takes as long as it takes, and a limit on the test must not come first: the suite does without.
# Nor does it say anything of the code how long an input took to make.
COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
FIXED = settings(COMMON, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
settings.register_profile("suite", FIXED)
settings.register_profile("shrink", FIXED, phases=[*FIXED.phases, Phase.shrink])
settings.register_profile("fuzz", COMMON, derandomize=False, database=DirectoryBasedExampleDatabase(FOUND))
settings.load_profile("suite")

# ---- event loops --------------------------------------------------------------------------

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def debug_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


LOOPS: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
if uvloop is not None:
    LOOPS["uvloop"] = uvloop.new_event_loop
ALL_LOOPS = {**LOOPS, "debug": debug_loop, "clock": clock.Loop}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(time_limit)
    config.addinivalue_line(
        "markers", "loops(*names): the event loops an async test runs on: asyncio, uvloop, debug, clock"
    )
    config.addinivalue_line("markers", "interop: needs programs of others or processes of its own; make test-interop")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    profile = terminalreporter.config.getoption("--hypothesis-profile", None)
    if profile == "fuzz" and terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"Failing examples of Hypothesis are kept in {FOUND} and tried first next time.")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    marker = item.get_closest_marker("loops")
    if marker is None:
        return LOOPS
    return {name: ALL_LOOPS[name] for name in marker.args if name in ALL_LOOPS} or {"asyncio": LOOPS["asyncio"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = watched(item.obj)


# Each async test collects garbage at its end. What is there before it stays, the modules and what pytest keeps of every
# test, and is taken out of sight of the collector: with some thousands of tests a collection would take 0.1 s.


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    global _run
    _run += 1
    if _run % 50 == 0:
        gc.collect()
        gc.freeze()


_run = 0  # tests so far


def open_transports(loop: asyncio.AbstractEventLoop) -> set[Any]:
    # Only asyncio's selector loop can be asked; the others warn of what they find unclosed.
    transports = getattr(loop, "_transports", {}).values()
    return {transport for transport in transports if getattr(transport, "_sock", None) is not None}


def watched(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """``test`` with a time limit, failing for what it leaves behind."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        loop = asyncio.get_running_loop()
        reported: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        tasks, transports = asyncio.all_tasks(), open_transports(loop)
        await asyncio.wait_for(test(*args, **kwargs), CLOCK_LIMIT if isinstance(loop, clock.Loop) else LIMIT)

        def left() -> list[str]:
            return [
                *(f"task {task!r}" for task in asyncio.all_tasks() - tasks),
                *(f"transport {transport!r}" for transport in open_transports(loop) - transports),
            ]

        for pause in (0, 0, 0.01, 0.05, 0.2, 0.5, 1, 2):  # what is on its way out gets a moment
            if not left():
                break
            await asyncio.sleep(pause)
        gc.collect()
        await asyncio.sleep(0)
        assert not left()
        assert not reported

    return run
