"""One run of the suite, and what came of it. A suite that hangs or dies costs one case, not the run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import NamedTuple

AGENT = "server"
RUNNING = re.compile(r"^Running test case ID (\S+) ", re.MULTILINE)
TAKEN = "CannotListenError"  # another program has taken the port that was free
REFUSED = re.compile(r"^Connection to .* failed ", re.MULTILINE)


class Verdict(NamedTuple):
    """The suite's judgement of one case, or ours if it gave none."""

    behaviour: str
    close: str

    @classmethod
    def missing(cls, why: str) -> Verdict:
        return cls(why, why)


@dataclass
class Outcome:
    """verdicts: of the cases that were finished; last: the case that ran last; why: it was ended before its end."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    last: str | None = None
    why: str | None = None


def number(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


def select(known: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The cases that the patterns name: 2.1, 9, 9.1, 1-7, 12.*.1. ValueError for one that names none."""
    known, chosen = list(known), set[str]()
    for pattern in patterns:
        if span := re.fullmatch(r"(\d+)-(\d+)", pattern):
            sections = range(int(span[1]), int(span[2]) + 1)
            found = {case for case in known if number(case)[0] in sections}
        else:
            found = {case for case in known if fnmatchcase(case, pattern) or case.startswith(pattern + ".")}
        if not found:
            raise ValueError(f"no case of the suite matches {pattern!r}")
        chosen |= found
    return sorted(chosen, key=number)


def groups(cases: Iterable[str]) -> dict[str, list[str]]:
    """The cases of one process of the suite. It writes its report only at its end, so the long ones are split."""
    split: dict[str, list[str]] = {}
    for case in cases:
        section, subsection = case.split(".")[:2]
        split.setdefault(section if int(section) < 9 else f"{section}.{subsection}", []).append(case)
    return split


class Stopped(Exception):
    """The run was ended from outside."""


@dataclass
class Patience:
    """stall: seconds of silence that are taken for a hang; deadline: when all must be over; stop: from outside."""

    stall: float
    deadline: float
    stop: Event = field(default_factory=Event)

    def over(self) -> bool:
        return time.monotonic() >= self.deadline


@dataclass
class Child:
    """A process that writes to ``log``; leaving the context ends it, and whatever it started."""

    command: list[str]
    folder: Path
    log: Path
    errors: Path | None = None
    env: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Child:
        # Files, not pipes: nobody has to read them for the child to go on.
        with ExitStack() as files:
            output = files.enter_context(self.log.open("wb"))
            errors = files.enter_context(self.errors.open("wb")) if self.errors else subprocess.STDOUT
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.env or None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        for wish in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                break
            os.killpg(self.process.pid, wish)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def watch(self, patience: Patience, done: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it has ended or ``done()``; False when the patience is over before."""
        size, since = -1, time.monotonic()
        while self.process.poll() is None and not done():
            if patience.stop.wait(0.03):
                raise Stopped
            if (now := self.log.stat().st_size) != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > patience.stall:
                return False
            if patience.over():
                return False
        return True


def suite(command: str, folder: Path, mode: str, **spec: object) -> Child:
    """The suite as "fuzzingclient" or "fuzzingserver". It writes its reports into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps({"outdir": ".", **spec}))
    # Unbuffered: a line for each case shows that it lives.
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    arguments = ["-m", mode, "-s", "spec.json", *(["-u", "0"] if mode == "fuzzingserver" else [])]
    return Child([command, *arguments], folder, folder / "suite.log", env=env)


def suite_client(command: str, folder: Path, url: str, cases: list[str]) -> Child:
    """The suite as a client of ``url``, to run ``cases``."""
    return suite(command, folder, "fuzzingclient", servers=[{"agent": AGENT, "url": url}], cases=cases)


def suite_server(command: str, folder: Path, cases: list[str]) -> tuple[Child, str]:
    """The suite as a server, to run ``cases`` with a client, and the URL where it will listen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{probe.getsockname()[1]}"
    return suite(command, folder, "fuzzingserver", url=url, cases=cases, **{"exclude-cases": []}), url


def known_cases(command: str, folder: Path, patience: Patience) -> list[str]:
    """Every case of the suite: it prints them before it connects, here to a port where nobody listens."""
    with suite_client(command, folder, "ws://127.0.0.1:9", ["*"]) as child:
        child.watch(patience, lambda: "Cases = " in child.text() and "]\n" in child.text())
        found = re.search(r"^Cases = (\[.*\])$", child.text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"the suite did not start, see {child.log}")
    return re.findall(r"'([\d.]+)'", found[1])


def run_cases(command: str, folder: Path, url: str, cases: list[str], patience: Patience) -> Outcome:
    """Run ``cases`` with the server at ``url`` in one process."""
    with suite_client(command, folder, url, cases) as child:
        hung = not child.watch(patience)
    return judged(child, "HUNG" if hung else None)


def judged(child: Child, why: str | None) -> Outcome:
    """The outcome of a run of the suite that has ended, and why that was before its end, if it was."""
    outcome = Outcome(why=why)
    begun = RUNNING.findall(child.text())
    outcome.last = begun[-1] if begun else None
    if REFUSED.search(child.text()):
        outcome.why = "REFUSED"
    report = child.folder / "index.json"
    if report.exists():
        for entries in json.loads(report.read_text()).values():
            for case, entry in entries.items():
                outcome.verdicts[case] = Verdict(entry["behavior"], entry["behaviorClose"])
                outcome.seconds[case] = entry["duration"] / 1000
    elif outcome.why is None:
        outcome.why = "CRASHED"
    return outcome
