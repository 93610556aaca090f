"""Measure aiohttp_rawws against its peers, and print how far each target is met.

    python tests/benchmarks/run.py                         # all rows, five rounds each
    python tests/benchmarks/run.py --rows tcp,picows       # some
    python tests/benchmarks/run.py --quick                 # does everything work? Minutes instead of half an hour
    python tests/benchmarks/run.py --plots all --docs      # what docs/explanation/performance.md shows

The server runs on one core, the load generator on another. Each row is measured on every event loop, with both programs
on the same one. They take turns, ours, peer, ours, peer, for as many rounds as were asked for, and the ratio is taken
within each round: what slows the machine down for a while slows both. A plot has each program on the loop that costs it
least.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import resource
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import report
from harness import BUILD, LOOPS, ROOT, Bench, BenchmarkError, Program, Sample, Server, Workload, cores
from rows import PROGRAMS, ROWS, SWEEPS, Row, Sweep


def summary(values: Iterable[float]) -> dict[str, float]:
    values = sorted(values)
    return {"min": values[0], "median": statistics.median(values), "max": values[-1]}


def side(samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "rate": summary(sample.rate for sample in samples),
        "cpu": summary(sample.cpu for sample in samples),
        "p50_us": summary(sample.p50 for sample in samples),
        "p99_us": summary(sample.p99 for sample in samples),
        "busy": summary(sample.busy for sample in samples),
        "load_busy": summary(sample.load_busy for sample in samples),
        "faults": summary(sample.faults for sample in samples),
        "runs": [sample.raw for sample in samples],
    }


class Run:
    """All the measuring of one call, with what is known about the loops so far."""

    def __init__(self, bench: Bench, options: argparse.Namespace) -> None:
        self.bench = bench
        self.options = options
        self.best: dict[tuple[str, str], str] = {}

    # ---- which loop ---------------------------------------------------------------------

    def best_loop(self, program: Program, workload: Workload) -> str:
        """The loop on which ``program`` needs the least CPU per message (when idle: memory) for this work."""
        loops = self.options.loops
        key = (program.name, workload.name)
        if key not in self.best:
            if len(loops) == 1:
                self.best[key] = loops[0]
            else:
                costs = self.memory_costs if workload.mode == "idle" else self.cpu_costs
                found = costs(program, workload)
                self.best[key] = min(found, key=found.__getitem__)
        return self.best[key]

    def cpu_costs(self, program: Program, workload: Workload) -> dict[str, float]:
        """The lowest of a few short runs on each loop, which take turns."""
        seconds = max(self.options.seconds / 4, 0.25)
        costs = dict.fromkeys(self.options.loops, math.inf)
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(self.bench.server(program, loop)) for loop in costs]
            for _ in range(2 if workload.mode == "broadcast" else 3):
                for server in servers:
                    costs[server.loop] = min(costs[server.loop], server.measure(workload, seconds).cpu)
        return costs

    def memory_costs(self, program: Program, workload: Workload) -> dict[str, float]:
        costs = {}
        for loop in self.options.loops:
            with self.bench.server(program, loop) as server:
                costs[loop] = float(server.memory([workload.connections])["steps"][-1]["each"])
        return costs

    # ---- rows ---------------------------------------------------------------------------

    def row(self, row: Row) -> dict[str, Any]:
        """The row on each loop, and ``worst``, the loop on which ours is least ahead."""
        measure = self.memory_row if row.measure == "memory" else self.echo_row
        loops: dict[str, dict[str, Any]] = {}
        for loop in self.options.loops:
            loops[loop] = measure(row, loop)
            if row.key == "python" and not self.bench.facts[PROGRAMS[row.peer].name]["compiled"]:
                raise BenchmarkError("aiohttp has no compiled reader here")
            loops[loop]["met"] = row.is_met(loops[loop]["ratio"]["median"])
        medians = {loop: result["ratio"]["median"] for loop, result in loops.items()}
        worst = (max if row.at_most else min)(medians, key=medians.__getitem__)
        return {"loops": loops, "worst": worst}

    def echo_row(self, row: Row, loop: str) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            programs = [stack.enter_context(self.bench.running(PROGRAMS[key], loop)) for key in (row.ours, row.peer)]
            rounds = [
                [program.measure(row.workload, self.options.seconds) for program in programs]
                for _ in range(self.options.rounds)
            ]
        rates = summary(ours.rate / peer.rate for ours, peer in rounds)
        cpu = summary(peer.cpu / ours.cpu for ours, peer in rounds)
        return {
            "ours": side([ours for ours, _ in rounds]),
            "peer": side([peer for _, peer in rounds]),
            "ratio": cpu if row.measure == "cpu" or self.options.judge == "cpu" else rates,
            "rate_ratio": rates,
            "cpu_ratio": cpu,
        }

    def memory_row(self, row: Row, loop: str) -> dict[str, Any]:
        rounds: list[list[float]] = []
        for _ in range(min(self.options.rounds, 3)):  # it hardly varies
            pair = []
            for key in (row.ours, row.peer):
                with self.bench.server(PROGRAMS[key], loop) as server:  # a new one: freed memory would be used again
                    pair.append(float(server.memory([row.workload.connections])["steps"][-1]["each"]))
            rounds.append(pair)
        return {
            "ours": {"memory": summary(ours for ours, _ in rounds)},
            "peer": {"memory": summary(peer for _, peer in rounds)},
            "ratio": summary(ours / peer for ours, peer in rounds),
        }

    # ---- plots --------------------------------------------------------------------------

    def sweep(self, sweep: Sweep) -> list[dict[str, Any]]:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100
        points = [point for point in sweep.points if sweep.key == "size" or point <= most]
        if self.options.quick:
            points = points[::2]
        return self.memory_sweep(sweep, points) if sweep.value == "memory" else self.echo_sweep(sweep, points)

    def memory_sweep(self, sweep: Sweep, points: list[int]) -> list[dict[str, Any]]:
        measured: list[dict[str, Any]] = [{"x": point, "values": {}} for point in points]
        for key in sweep.programs:
            idle = Workload("idle connection", mode="idle", connections=2000)
            with self.bench.server(PROGRAMS[key], self.best_loop(PROGRAMS[key], idle)) as server:
                for point, step in zip(measured, server.memory(points)["steps"]):
                    point["values"][key] = summary([step["each"] / 1024])
        return measured

    def echo_sweep(self, sweep: Sweep, points: list[int]) -> list[dict[str, Any]]:
        """At every point all programs take turns. Each runs on the loop that suits it in the middle of the plot."""
        reference = sweep.workload(points[len(points) // 2])
        measured = []
        with contextlib.ExitStack() as stack:
            servers: dict[str, Server] = {
                key: stack.enter_context(self.bench.server(program, self.best_loop(program, reference)))
                for key, program in PROGRAMS.items()
                if key in sweep.programs
            }
            for point in points:
                values: dict[str, list[float]] = {key: [] for key in servers}
                workload = sweep.workload(point)
                seconds = max(self.options.sweep_seconds, workload.connections / 5000)
                for _ in range(self.options.sweep_rounds):
                    for key, server in servers.items():
                        sample = server.measure(workload, seconds)
                        values[key].append(sample.rate if sweep.value == "rate" else sample.cpu * 1e6)
                measured.append({"x": point, "values": {key: summary(value) for key, value in values.items()}})
                say(f"  {sweep.key} {point}")
        return measured


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def chosen(text: str, names: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    if text in ("all", "none"):
        return list(names) if text == "all" else []
    unknown = set(text.split(",")) - set(names)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: the names are all, none, {', '.join(names)}")
    return [name for name in names if name in text.split(",")]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows, sweeps = [row.key for row in ROWS], [sweep.key for sweep in SWEEPS]
    parser.add_argument("--rows", default="all", help=f"all, none, or some of {','.join(rows)}")
    parser.add_argument("--plots", default="none", help=f"all, none, or some of {','.join(sweeps)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each row (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each run, after its warm-up (2)")
    parser.add_argument("--sweep-rounds", type=int, default=3, help="runs at each point of a plot (3)")
    parser.add_argument("--sweep-seconds", type=float, default=0.7, help="seconds of each of them (0.7)")
    parser.add_argument("--loops", default="all", help=f"all, or some of {','.join(LOOPS)}")
    parser.add_argument(
        "--judge",
        choices=("throughput", "cpu"),
        default="throughput",
        help="cpu: go by the server's CPU time per message, where others use the machine at the same time",
    )
    parser.add_argument("--quick", action="store_true", help="two short rounds on uvloop: does everything work?")
    parser.add_argument("--source", type=Path, default=ROOT, help="the folder to import aiohttp_rawws from")
    parser.add_argument("--no-pin", action="store_true", help="leave it to the system what runs on which core")
    parser.add_argument("--json", type=Path, default=BUILD / "results.json", help="where the results go")
    parser.add_argument("--docs", action="store_true", help="write the table and the plots into the docs")
    parser.add_argument("--read", action="store_true", help="measure nothing, take the results from --json")
    options = parser.parse_args()
    options.rows = chosen(options.rows, rows, parser)
    options.plots = chosen(options.plots, sweeps, parser)
    if options.quick:
        options.rounds, options.seconds = 2, 0.3
        options.sweep_rounds, options.sweep_seconds = 1, 0.2
        options.loops = "uvloop" if options.loops == "all" else options.loops
    options.loops = chosen(options.loops, LOOPS, parser)
    return options


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server_core, load_core = (None, None) if options.no_pin else cores()
    if server_core is not None and server_core == load_core:
        say("there is one core only: the load generator takes its time from the server")
    bench = Bench(options.source, server_core, load_core)
    run = Run(bench, options)
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "sweep_rounds": options.sweep_rounds,
        "judge": options.judge,
        "loops": options.loops,
        "versions": bench.versions,
        "rows": {},
        "sweeps": {},
    }
    complete = True

    def attempt(kind: str, key: str, work: Callable[[], Any]) -> None:
        nonlocal complete
        try:
            results[kind][key] = work()
        except BenchmarkError as error:
            say(f"{key}: {error}")
            complete = False
            if kind == "rows":
                results[kind][key] = {"error": str(error)}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    if os.getloadavg()[0] > 1.5:
        say("the machine is busy: go by the CPU ratio rather than by the throughput")
    for row in ROWS:
        if row.key in options.rows:
            attempt("rows", row.key, partial(run.row, row))
            for loop, result in results["rows"][row.key].get("loops", {}).items():
                say(f"{row.key:20} {report.target(row):7} {loop:18} {report.spread(result['ratio'])}")
    for sweep in SWEEPS:
        if sweep.key in options.plots:
            say(sweep.title)
            attempt("sweeps", sweep.key, partial(run.sweep, sweep))
    return results, complete


def main() -> None:
    options = read_options()
    if options.read:
        results, complete = json.loads(options.json.read_text(encoding="utf-8")), True
    else:
        results, complete = measure(options)
    print(report.conditions(results))
    print(report.plain(results))
    if options.docs and not report.write_docs(results):
        say("the table in the docs is left as it is: not all rows were measured")
    raise SystemExit(not complete)


if __name__ == "__main__":
    main()
