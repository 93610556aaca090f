"""``python -m tests.fuzz [TARGET ...] [--seconds N]``: fuzz each target for N seconds, guided by coverage if
atheris is installed. An input that breaks a promise is printed and written to ``crash-*`` in build/fuzz."""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOUND = ROOT / "build" / "fuzz"


def guided(name: str, seconds: float, found: Path) -> int:
    """In this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["aiohttp_rawws"]):
        from .targets import TARGETS
    from .mutate import CORPUS

    arguments = [
        sys.argv[0],
        f"-max_total_time={max(1, round(seconds))}",
        "-max_len=512",
        "-timeout=10",
        "-print_final_stats=1",
        "-verbosity=0",
        f"-artifact_prefix={found}/",
        str(found),
        str(CORPUS / name),
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
    return 0


def main() -> int:
    names = ["parser", "header", "negotiation", "handshake", "inflate", "session"]
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(names)}; all")
    options.add_argument("--seconds", type=float, default=60.0, help="for each target; %(default)s")
    options.add_argument("--guided", help=argparse.SUPPRESS)
    given = options.parse_args()
    if unknown := set(given.targets) - set(names):
        options.error(f"unknown: {', '.join(unknown)}")
    if given.guided:
        return guided(given.guided, given.seconds, FOUND / given.guided)
    failed = False
    for name in given.targets or names:
        found = FOUND / name
        found.mkdir(parents=True, exist_ok=True)
        if importlib.util.find_spec("atheris") is None:
            from .mutate import corpus, run
            from .targets import TARGETS

            executions = run(TARGETS[name], corpus(name), seconds=given.seconds, seed=random.randrange(2**32))
        else:
            # stderr also has a line for each module that is instrumented: shown only if something was found
            process = subprocess.run(
                [sys.executable, "-m", "tests.fuzz", "--guided", name, "--seconds", str(given.seconds)],
                cwd=ROOT,
                text=True,
                errors="replace",
                capture_output=True,
                timeout=given.seconds * 2 + 60,
            )
            if process.returncode:
                failed = True
                print(process.stdout, process.stderr, file=sys.stderr)
            count = re.search(r"number_of_executed_units: *(\d+)", process.stderr)
            executions = int(count[1]) if count else 0
        print(f"{name}: {executions} executions in {given.seconds:g} s", flush=True)
    return failed


raise SystemExit(main())
