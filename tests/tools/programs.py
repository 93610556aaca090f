"""Programs that a test starts and talks to: servers of others, each in a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds that starting or stopping may take
SYSTEM = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin"])  # where servers are, and not on everybody's PATH


def unavailable(variable: str, reason: str) -> NoReturn:
    """Skip the test, or fail it if ``variable`` is set."""
    if os.environ.get(variable):
        pytest.fail(f"{variable} is set, and {reason}")
    pytest.skip(reason)


def find(name: str, package: str, variable: str) -> str:
    """The path of a program of Debian's. Without it the test is skipped, or fails if ``variable`` is set."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), SYSTEM]))
    if found is None:
        unavailable(variable, f"there is no {name}. On Debian: apt-get install {package}")
    return found


class Program:
    """A process that a test has started."""

    def __init__(self, command: Sequence[str], log: Path, **variables: str) -> None:
        """
        Args:
            command: The program and its arguments. It is run in the root of the repository.
            log: A file for what it prints.
            variables: Environment variables, besides those of this process.
        """
        self._log = log
        self._name = Path(command[0]).name
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, **variables},
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, ready: Callable[[], object]) -> bool:
        """Wait until ``ready()`` holds. Returns False if the process ends before that."""
        until = time.monotonic() + PATIENCE
        while not ready():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > until:
                raise AssertionError(f"{self._name} did not start within {PATIENCE:g} seconds:\n{self.output}")
            time.sleep(0.02)
        return True

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self._name} did not stop within {PATIENCE:g} seconds:\n{self.output}") from None


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def serving_on_a_port(command: Callable[[int], Sequence[str]], log: Path) -> Iterator[int]:
    """Run the program of ``command(port)``, which cannot choose a free port itself, until the block ends.

    If somebody else was faster to take the port, it is started on another one.
    """
    for _ in range(5):
        port = free_port()
        program = Program(command(port), log)
        try:
            if program.wait_for(partial(accepts, port)):
                yield port
                return
        finally:
            program.stop()
        if not re.search("in use|cannot bind", program.output, re.IGNORECASE):
            break
    raise AssertionError(f"it did not start:\n{program.output}")
