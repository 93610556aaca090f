"""Run the Autobahn conformance suite against one of our servers, clients or gateways, or one of the peers'.

    python -m tests.autobahn.run                              all cases, managed session, compiled codec
    python -m tests.autobahn.run --codec python --slice       what every change is checked with
    python -m tests.autobahn.run raw --cases 5 7.1
    python -m tests.autobahn.run websockets --allow NON-STRICT FAILED --save
    python -m tests.autobahn.run client                       our client, with the suite as the server
    python -m tests.autobahn.run gateway                      the managed session, behind our gateway

A run through a gateway must give the verdicts that docs/conformance has of the same run without it.
A pattern is a case (2.1.1), a section (9, 9.1), a range of sections (1-7) or a shell pattern (12.*.1).
Exit status: 0 when every case is OK or INFORMATIONAL, 1 when one is not, 2 for wrong usage, 3 when the suite or the
server could not be started. See install.py for WSTEST and AUTOBAHN_HOME.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from ..tools.environment import environment
from . import report
from .install import SUITE, NotInstalled, find_suite, home
from .page import update_page
from .subjects import SUBJECTS, Subject, without_gateway
from .suite import (
    TAKEN,
    Child,
    Outcome,
    Patience,
    Verdict,
    groups,
    judged,
    known_cases,
    run_cases,
    select,
    suite_server,
)

ROOT = Path(__file__).parents[2]
SLICE = ["1-7", "10", *(f"{section}.*.{case}" for section in (12, 13) for case in (1, 4, 7, 11))]
RAW = ["1-5", "7", "9", "10"]  # what a raw session has a part in, see docs/conformance
RAW_SLICE = ["1-5", "7", "10"]
# Of clients and gateways: their sessions are those of the server, so it is the edges that can differ.
SHORT_SLICE = ["2", "4-5", "6.4", "7", "12.1.4", "12.5.4", "13.1.4", "13.7.4"]
HEAVY = ("9", "12", "13")  # sections whose groups take longest


class ProgramFailed(Exception):
    """A program under test did not start."""


@dataclass
class Run:
    args: argparse.Namespace
    suite: str
    folder: Path
    patience: Patience
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    logged: list[Path] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        return SUBJECTS[self.args.subject]

    @contextmanager
    def program(self, module: str, *words: str, folder: Path, **variables: str) -> Iterator[tuple[Child, int]]:
        """A program of this folder that has just started, and the port that it listens on, 0 if it is a client."""
        command = [sys.executable, "-m", f"tests.autobahn.{module}", *words, "--loop", self.args.loop]
        variables["AIOHTTP_RAWWS_NO_EXTENSIONS"] = "1" if self.args.codec == "python" else ""
        log = folder / f"{module}.log"
        with Child(command, ROOT, folder / f"{module}.json", errors=log, env=environment(**variables)) as child:
            child.watch(Patience(30, inf, self.patience.stop), lambda: "\n" in child.text())
            line, end, _ = child.text().partition("\n")
            if not end:
                raise ProgramFailed(f"the {module} program did not start:\n{log.read_text()[-2000:]}")
            started = json.loads(line)
            self.versions = started["versions"]
            if self.versions.get("codec", self.args.codec).lower() != self.args.codec:
                raise ProgramFailed(f"the {self.args.codec} codec was asked for, the {module} has the other")
            yield child, started.get("port", 0)
        if log.stat().st_size and not self.subject.is_client:
            self.logged.append(log)

    @contextmanager
    def gateway(self, folder: Path, url: str) -> Iterator[str]:
        """A gateway to ``url``, if the run is through one, and its URL."""
        if self.subject.gateway is None:
            yield url
        else:
            with self.program("gateway", self.subject.gateway, folder=folder, UPSTREAM=url) as (_, port):
                yield f"ws://127.0.0.1:{port}"

    def attempt(self, folder: Path, cases: list[str]) -> Outcome:
        """Run ``cases`` with one process of the suite, and just started programs."""
        subject = self.subject
        with ExitStack() as stack:
            if not subject.is_client:
                server, port = stack.enter_context(self.program(subject.module, subject.word, folder=folder))
                url = stack.enter_context(self.gateway(folder, f"ws://127.0.0.1:{port}{subject.path}"))
                outcome = run_cases(self.suite, folder, url, cases, self.patience)
                if server.process.poll() is not None:
                    outcome.why = "SERVER DIED"
                return outcome
            suite, url = suite_server(self.suite, folder, cases)
            stack.enter_context(suite)
            words = [subject.word, stack.enter_context(self.gateway(folder, url)), "--suite", url]
            client, _ = stack.enter_context(self.program(subject.module, *words, folder=folder))
            why = None if client.watch(self.patience, suite.has_ended) else "HUNG"
            if client.process.poll():
                why = "CLIENT DIED"
        if TAKEN in suite.text():
            return self.attempt(folder, cases)
        return judged(suite, why)

    def group(self, label: str, cases: list[str]) -> None:
        """Run ``cases``, as often as it takes to have a verdict on each; every time at least one is settled."""
        todo, begin, attempt = cases, time.monotonic(), 0
        while todo:
            attempt += 1
            folder = self.folder / (label if attempt == 1 else f"{label}-{attempt}")
            folder.mkdir()
            outcome = self.attempt(folder, todo)
            self.verdicts |= outcome.verdicts
            self.seconds |= outcome.seconds
            left = [case for case in todo if case not in outcome.verdicts]
            if left and self.patience.over():
                self.verdicts |= dict.fromkeys(left, Verdict.missing("NOT RUN"))
                print(f"{label}: the time of the whole run is over, {len(left)} cases were not run", flush=True)
                return
            if outcome.why is not None and left:
                blamed = outcome.last if outcome.last in left else left[0]
                self.verdicts[blamed] = Verdict.missing(outcome.why)
                left.remove(blamed)
                print(f"{label}: {outcome.why} in case {blamed}, see {folder}", flush=True)
            elif left == todo:
                raise ProgramFailed(f"the suite ended without a verdict, see {folder}")
            todo = left
        if self.args.verbose:
            print(f"{label}: {len(cases)} cases, {time.monotonic() - begin:.1f} s", flush=True)

    def all(self) -> None:
        slices = {"managed": SLICE, "raw": RAW_SLICE}
        whole, part = RAW if self.args.subject == "raw" else ["*"], slices.get(self.args.subject, SHORT_SLICE)
        wanted = self.args.cases or (part if self.args.slice else whole)
        known = known_cases(self.suite, self.folder / "known", Patience(60, inf, self.patience.stop))
        cases = select(known, wanted)
        # A few short cases take less time than starting the programs for each section.
        waiting = {"a": cases[::2], "b": cases[1::2]} if wanted is SHORT_SLICE else groups(cases)
        heavy_first = sorted(waiting, key=lambda label: label.split(".")[0] not in HEAVY)
        with ThreadPoolExecutor(self.args.jobs) as pool:
            running = [pool.submit(self.group, label, waiting[label]) for label in heavy_first]
            try:
                for future in as_completed(running):
                    future.result()
            except BaseException:
                self.patience.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def run(args: argparse.Namespace) -> int:
    try:
        suite = find_suite()
    except NotInstalled as error:
        print(error, file=sys.stderr)
        return 3
    name = f"{args.subject}-{args.codec}" if SUBJECTS[args.subject].is_ours else args.subject
    name += "-uvloop" if args.loop == "uvloop" else ""
    folder = home() / "reports" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.monotonic()
    this = Run(args, suite, folder, Patience(args.stall, begin + args.limit))
    try:
        this.all()
    except (ProgramFailed, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 3
    except ValueError as error:  # a pattern
        print(error, file=sys.stderr)
        return 2
    what = ", ".join(f"{name} {version}" for name, version in this.versions.items())
    print(f"\n{name}: {len(this.verdicts)} cases in {time.monotonic() - begin:.0f} s ({what})")
    report.print_result(this.verdicts)
    if args.slowest:
        slowest = sorted(this.seconds.items(), key=lambda item: -item[1])[: args.slowest]
        print("slowest:", ", ".join(f"{case} {seconds:.1f} s" for case, seconds in slowest))
    for log in this.logged:
        print("a program logged something:", log)
    if args.save:
        command = shlex.join(["python", "-m", "tests.autobahn.run", *what_matters(args)])
        versions = {"autobahntestsuite": SUITE.partition("==")[2], **this.versions}
        date = time.strftime("%Y-%m-%d", time.gmtime())
        report.Result(name, command, date, versions, this.verdicts).save(report.RESULTS)
        update_page()
    bad = report.bad_cases(this.verdicts, args.allow)
    direct = report.kept().get(without_gateway(name) or "")
    for case, with_it, without in report.differences(this.verdicts, direct.verdicts) if direct else ():
        print(f"- {case}: {' / '.join(with_it)} through the gateway, {' / '.join(without)} without it")
        bad.append(case)
    print(f"{len(bad)} cases are not as wanted" if bad else "all as wanted", f"(reports: {folder})", flush=True)
    return 1 if bad else 0


def what_matters(args: argparse.Namespace) -> list[str]:
    """The arguments that say which run it was."""
    words = [args.subject, *(["--codec", args.codec] if SUBJECTS[args.subject].is_ours else [])]
    words += ["--loop", args.loop] if args.loop != "asyncio" else []
    return [*words, "--save"]


def main() -> int:
    summary, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("subject", nargs="?", default="managed", choices=[*SUBJECTS])
    add("--codec", choices=["compiled", "python"], default="compiled", help="of our programs")
    add("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    add("--cases", nargs="+", metavar="PATTERN", help="only these")
    add("--slice", action="store_true", help="some cases of most sections, most of them for managed")
    add("--allow", nargs="+", default=[], metavar="KIND", help="verdicts that are accepted too")
    add("--jobs", type=int, default=2, metavar="N", help="processes of the suite at a time (2)")
    add("--stall", type=float, default=240, metavar="S", help="silent seconds that are taken for a hang (240)")
    add("--limit", type=float, default=3600, metavar="S", help="seconds for the whole run (3600)")
    add("--save", action="store_true", help="keep the result in docs/conformance and write its table")
    add("--slowest", type=int, default=0, metavar="N", help="name the N cases that took longest")
    add("--verbose", action="store_true", help="a line per group of cases")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    if args.save and (args.cases or args.slice):
        parser.error("only a run of all cases can be saved")
    try:
        return run(args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
