"""Demos as their users start them: a process of their own, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
STARTED = re.compile(r"http://[\w.\[\]:]+:(\d+)")
TROUBLE = re.compile(r"Traceback|ERROR|Warning|did not stop|never retrieved|was destroyed")
PATIENCE = 20.0  # seconds that starting and stopping may take


@contextmanager
def serve(*command: str) -> Iterator[str]:
    """Run ``python COMMAND`` until the block ends; gives ``http://127.0.0.1:PORT``.

    At the end the server gets SIGTERM, and must then end in order, having said nothing of errors or warnings.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    started = next(filter(None, map(STARTED.search, process.stdout)), None)
    watchdog.cancel()
    if started is None:
        raise AssertionError(f"{command} did not start: {process.communicate()[1]}")
    try:
        yield f"http://127.0.0.1:{started[1]}"
    finally:
        process.terminate()
        try:
            _, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            errors += f"\n{command} did not stop within {PATIENCE} s"
    assert not TROUBLE.search(errors), errors
    assert process.returncode == 0
