"""The runner itself: a suite that hangs, dies or leaves cases out costs one case, and never passes for a success."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from . import page, report
from .subjects import without_gateway
from .suite import Verdict, groups, select

pytestmark = pytest.mark.interop

CASES = ["1.1.1", "1.1.2", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "12.1.1", "12.1.2", "12.2.1"]

# Reads the specification as the suite does, hangs in one case and dies in another.
FAKE = f"""#!{sys.executable}
import json, sys, time
spec = json.load(open("spec.json"))
cases = {CASES!r} if spec["cases"] == ["*"] else spec["cases"]
print("Cases =", cases, flush=True)
for case in cases:
    print("Running test case ID", case, "for agent server", flush=True)
    if case == "2.2":
        time.sleep(100)
    if case == "3.2":
        sys.exit(1)
good = {{"behavior": "OK", "behaviorClose": "OK", "duration": 1}}
bad = {{"behavior": "NON-STRICT", "behaviorClose": "OK", "duration": 1}}
with open("index.json", "w") as file:
    json.dump({{"server": {{case: bad if case == "12.1.2" else good for case in cases}}}}, file)
"""


def run(folder: Path, *args: str, subject: str = "aiohttp") -> tuple[int, str]:
    fake = folder / "wstest"
    fake.write_text(FAKE)
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    env = {**os.environ, "WSTEST": str(fake), "AUTOBAHN_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "tests.autobahn.run", subject, *args]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=False, cwd=root, env=env, capture_output=True, text=True, timeout=50)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("subject", ["aiohttp", "aiohttp-client"])
def test_a_hang_and_a_crash_cost_one_case_each(tmp_path: Path, subject: str) -> None:
    status, output = run(tmp_path, "--stall", "4", "--cases", "1-3", "--jobs", "3", subject=subject)
    assert "HUNG in case 2.2" in output
    assert "CRASHED in case 3.2" in output
    assert f"{subject}: 8 cases" in output
    assert "2 cases are not as wanted" in output
    assert status == 1


def test_what_is_not_ok_must_be_allowed(tmp_path: Path) -> None:
    status, output = run(tmp_path, "--cases", "12")
    assert status == 1
    assert "- NON-STRICT, close OK: 12.1.2" in output
    status, output = run(tmp_path, "--cases", "12", "--allow", "NON-STRICT")
    assert status == 0


def test_a_run_that_takes_too_long_is_no_success(tmp_path: Path) -> None:
    status, output = run(tmp_path, "--limit", "5", "--cases", "2", "--jobs", "1")
    assert "3 cases were not run" in output
    assert status == 1


def test_an_unknown_case_is_wrong_usage(tmp_path: Path) -> None:
    assert run(tmp_path, "--cases", "88") == (2, "no case of the suite matches '88'\n")


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("2.1", ["2.1"]),
        ("1", ["1.1.1", "1.1.2"]),
        ("1-2", ["1.1.1", "1.1.2", "2.1", "2.2", "2.3"]),
        ("12.1", ["12.1.1", "12.1.2"]),
        ("12.*.1", ["12.1.1", "12.2.1"]),
    ],
)
def test_patterns(pattern: str, chosen: list[str]) -> None:
    assert select(CASES, [pattern]) == chosen


def test_long_sections_are_run_in_parts() -> None:
    assert list(groups(CASES)) == ["1", "2", "3", "12.1", "12.2"]


def test_results_are_kept_as_they_are(tmp_path: Path) -> None:
    verdicts = {"1.1.1": Verdict("OK", "OK"), "6.4.1": Verdict("NON-STRICT", "FAILED BY CLIENT")}
    result = report.Result("name", "command", "2026-01-31", {"aiohttp": "3"}, verdicts)
    result.save(tmp_path)
    assert report.Result.load(tmp_path / "name.json") == result
    table = page.markdown([result])
    assert "| 6 UTF-8 | 0 + 1 NON-STRICT |" in table
    assert "- NON-STRICT, close FAILED BY CLIENT: 6.4.1" in table


def test_what_was_kept_of_our_runs_is_clean() -> None:
    ours = [result for name, result in report.kept().items() if name.endswith(("-compiled", "-python"))]
    assert ours
    for result in ours:
        assert not report.bad_cases(result.verdicts), result.name
        kinds = Counter(verdict.behaviour for verdict in result.verdicts.values())
        assert kinds["INFORMATIONAL"] == 3
        assert result.name.startswith("raw") or len(result.verdicts) == report.CASES


def test_g52_runs_through_a_gateway_have_the_verdicts_of_those_without_it() -> None:
    results = report.kept()
    for name, result in results.items():
        if direct := without_gateway(name):
            assert result.verdicts == results[direct].verdicts, name


def test_a_verdict_that_is_another_one_through_a_gateway_is_named() -> None:
    ok, slow = Verdict("OK", "OK"), Verdict("NON-STRICT", "OK")
    direct = report.Result("client-python", "command", "2026-01-31", {}, {"1.1.1": ok, "6.4.1": ok})
    through = report.Result("gateway-client-python", "command", "2026-01-31", {}, {"1.1.1": ok, "6.4.1": slow})
    row = "| gateway-client-python | 1 OK, 1 NON-STRICT | 2 OK | client-python | 6.4.1 |"
    assert row in page.markdown([direct, through])
    assert report.differences(through.verdicts, direct.verdicts) == [("6.4.1", slow, ok)]


@pytest.mark.parametrize(
    ("name", "direct"),
    [
        ("gateway", "managed"),
        ("gateway-python", "managed-python"),
        ("gateway-frames-compiled", "managed-compiled"),
        ("gateway-client-python", "client-python"),
        ("gateway-client-frames-compiled", "client-compiled"),
        ("managed-python", None),
        ("aiohttp-client", None),
    ],
)
def test_the_run_without_the_gateway(name: str, direct: str | None) -> None:
    assert without_gateway(name) == direct


def test_the_page_shows_what_was_kept() -> None:
    assert page.markdown(report.kept().values()) in page.PAGE.read_text()
