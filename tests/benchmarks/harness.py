"""One server on one core, the load on another: starting both, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVERS = HERE / "servers"
CLIENTS = HERE / "clients"
BUILD = ROOT / "build" / "benchmarks"

LOOPS = ("asyncio", "uvloop", "aiofastnet", "uvloop+aiofastnet")
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


class BenchmarkError(Exception):
    """A server or the load generator did not do its work; the text has what it said."""


@dataclass(frozen=True)
class Program:
    """A server, or a client: its name in the report, its file, and what goes into its environment."""

    name: str
    script: str
    tcp: bool = False
    client: bool = False
    environment: tuple[tuple[str, str], ...] = ()


ECHO = Program("`listen()`", "ours_listen")  # what clients talk to


@dataclass(frozen=True)
class Workload:
    """The arguments of the load generator. mode: echo, broadcast or idle. sink: each frame has a short answer."""

    name: str
    mode: str = "echo"
    connections: int = 16
    depth: int = 1
    size: int = 256
    deflate: bool = False
    sink: bool = False

    def options(self) -> list[str]:
        return [f"--connections={self.connections}", f"--depth={self.depth}", f"--size={self.size}"]


@dataclass
class Sample:
    """One run: messages per second, the CPU seconds and page faults per message of the server, or of the client if one
    is measured, latencies in microseconds (0 for clients)."""

    rate: float
    cpu: float
    p50: float
    p99: float
    busy: float  # share of its core that the server used
    load_busy: float  # and the load generator of its own
    faults: float  # minor page faults of the server per message
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Sample:
        messages, seconds = raw["messages"], raw["seconds"]
        if not messages:
            raise BenchmarkError("not a single message came back in time")
        return cls(
            rate=raw["rate"],
            cpu=raw["server_cpu"] / messages,
            p50=raw.get("p50_us", 0.0),
            p99=raw.get("p99_us", 0.0),
            busy=raw["server_cpu"] / seconds,
            load_busy=raw.get("load_cpu", 0.0) / seconds,
            faults=raw["server_faults"] / messages,
            raw=raw,
        )


def cores() -> tuple[int, int]:
    """One for the server, one for the load: not two threads of the same core, if possible."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[0]
    siblings = Path(f"/sys/devices/system/cpu/cpu{server}/topology/thread_siblings_list")
    same: set[int] = set()
    with contextlib.suppress(OSError, ValueError):
        for part in siblings.read_text().strip().split(","):
            first, _, last = part.partition("-")
            same |= set(range(int(first), int(last or first) + 1))
    others = [core for core in allowed if core != server]
    if not others:
        return server, server
    return server, next((core for core in others if core not in same), others[0])


def compile_load() -> Path:
    source, program = HERE / "load.c", BUILD / "load"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-std=gnu11", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    return program


def json_text(size: int = 1024) -> bytes:
    """A JSON text such as an application sends: a list of records, ``size`` bytes long."""
    records: list[dict[str, Any]] = []
    for i in range(100):
        symbol = f"AB{chr(65 + i % 26)}"
        record = {"id": 7919 * i % 10007, "symbol": symbol, "bid": 1.1 + i * 0.037, "size": 100 * (i % 9)}
        if len(json.dumps([*records, record])) > size:
            break
        records.append(record)
    return json.dumps(records).encode().ljust(size)


class Bench:
    """Starts servers of ``programs`` and puts load on them.

    source: the folder that aiohttp_rawws is imported from. server_core, load_core: None = do not pin.
    """

    def __init__(self, source: Path, server_core: int | None, load_core: int | None) -> None:
        self.source = source.resolve()
        self.server_core = server_core
        self.load_core = load_core
        self.load = compile_load()
        self.versions: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}

    @contextlib.contextmanager
    def running(self, program: Program, loop: str) -> Iterator[Server | Client]:
        """The program, ready to be measured. A client has a server of ours, on uvloop and on the core of the load."""
        if program.client:
            with self.server(ECHO, "uvloop", self.load_core) as server:
                yield Client(self, program, loop, server.port)
        else:
            with self.server(program, loop) as server:
                yield server

    @contextlib.contextmanager
    def server(self, program: Program, loop: str, core: int | None = None) -> Iterator[Server]:
        command = [sys.executable, str(SERVERS / f"{program.script}.py"), f"--loop={loop}"]
        core = self.server_core if core is None else core
        if core is not None:
            command.append(f"--cpu={core}")
        environment = {**os.environ, "PYTHONPATH": str(self.source), **dict(program.environment)}
        with contextlib.ExitStack() as stack:
            # Some servers print a traceback for each connection that was reset: not seen unless they fail to start.
            complaints = stack.enter_context(tempfile.TemporaryFile(mode="w+"))
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env=environment,
                    cwd=HERE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait(10)
                complaints.seek(0)
                raise BenchmarkError(f"{program.name} on {loop} did not start: {complaints.read()[-400:].strip()}")
            ready = json.loads(line)
            self.versions.update(ready["versions"], Python=ready["python"])
            self.facts[program.name] = ready["facts"]
            yield Server(self, program, loop, process, ready["port"])

    def run_load(self, *arguments: str) -> dict[str, Any]:
        command = [str(self.load), *arguments]
        if self.load_core is not None:
            command.append(f"--cpu={self.load_core}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise BenchmarkError(done.stderr.strip() or f"load ended with status {done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result


class Client:
    """A client, which is started for each measurement."""

    def __init__(self, bench: Bench, program: Program, loop: str, port: int) -> None:
        self.bench = bench
        self.program = program
        self.loop = loop
        self.port = port

    def measure(self, workload: Workload, seconds: float) -> Sample:
        command = [sys.executable, str(CLIENTS / f"{self.program.script}.py"), f"--loop={self.loop}"]
        command += [f"--port={self.port}", f"--connections={workload.connections}", f"--size={workload.size}"]
        command.append(f"--seconds={seconds}")
        if self.bench.server_core is not None:
            command.append(f"--cpu={self.bench.server_core}")
        environment = {**os.environ, "PYTHONPATH": str(self.bench.source)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, cwd=HERE)
        if done.returncode or not done.stdout:
            raise BenchmarkError(f"{self.program.name} on {self.loop}: {done.stderr[-400:].strip()}")
        raw = json.loads(done.stdout.splitlines()[-1])
        self.bench.versions.update(raw["versions"])
        return Sample.of(raw)


class Server:
    """A server that runs."""

    def __init__(self, bench: Bench, program: Program, loop: str, process: subprocess.Popen[str], port: int) -> None:
        self.bench = bench
        self.program = program
        self.loop = loop
        self.process = process
        self.port = port

    def measure(self, workload: Workload, seconds: float) -> Sample:
        mode = "tcp" if self.program.tcp else workload.mode
        common = [mode, f"--port={self.port}", f"--pid={self.process.pid}", f"--seconds={seconds}"]
        try:
            if workload.deflate:
                return Sample.of(self._deflated(workload, common))
            with tempfile.TemporaryDirectory() as folder:
                learn = [f"--learn={folder}/answer"] if workload.sink else []
                return Sample.of(self.bench.run_load(*common, *workload.options(), *learn))
        except BenchmarkError as error:
            raise BenchmarkError(f"{self.program.name} on {self.loop}, {workload.name}: {error}") from None

    def _deflated(self, workload: Workload, common: list[str]) -> dict[str, Any]:
        """The load generator knows no zlib: it is given a frame, and checks that every reply is the first one
        again. That the first one is right is checked here."""
        text = json_text(workload.size)
        compressor = zlib.compressobj(wbits=-15)
        payload = (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
        with tempfile.TemporaryDirectory() as folder:
            sent, learned = Path(folder, "sent"), Path(folder, "learned")
            sent.write_bytes(payload)
            result = self.bench.run_load(
                *common,
                *workload.options(),
                "--text",
                f"--payload={sent}",
                f"--learn={learned}",
                f"--extension={DEFLATE}",
            )
            reply = learned.read_bytes()
        length, start = (reply[1], 2) if reply[1] < 126 else (int.from_bytes(reply[2:4], "big"), 4)
        inflated = zlib.decompressobj(wbits=-15).decompress(reply[start:] + b"\0\0\xff\xff")
        if reply[0] != 0xC1 or length != len(reply) - start or inflated != text:
            raise BenchmarkError("the compressed echo is not what was sent")
        return result

    def memory(self, steps: list[int]) -> dict[str, Any]:
        """Resident memory with as many idle connections as ``steps`` says, each after one echo."""
        return self.bench.run_load(
            "idle",
            f"--port={self.port}",
            f"--pid={self.process.pid}",
            "--steps=" + ",".join(map(str, steps)),
            "--size=16",
        )
