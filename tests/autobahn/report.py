"""Counting verdicts, and the table of docs/conformance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .suite import Verdict, number

GOOD = ("OK", "INFORMATIONAL")
BEHAVIOURS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")
CASES = 517  # of the whole suite, version 0.8.2

TITLES = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing handshake",
    "9": "limits and performance",
    "10": "miscellaneous",
    "12": "permessage-deflate, defaults",
    "13": "permessage-deflate, parameters",
}
BEGIN, END = "<!-- made by tests/autobahn/report.py -->", "<!-- end -->"


@dataclass
class Result:
    """One run of all cases, as docs/conformance keeps it."""

    name: str
    command: str
    date: str
    versions: dict[str, str]
    verdicts: dict[str, Verdict]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kinds: dict[str, list[str]] = {}
        for case in sorted(self.verdicts, key=number):
            kinds.setdefault(" / ".join(self.verdicts[case]), []).append(case)
        data = {**asdict(self), "verdicts": {kind: " ".join(cases) for kind, cases in kinds.items()}}
        (folder / f"{self.name}.json").write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Result:
        data = json.loads(path.read_text())
        kinds = data.pop("verdicts").items()
        verdicts = {case: Verdict(*kind.split(" / ")) for kind, cases in kinds for case in cases.split()}
        return cls(**data, verdicts=verdicts)


def by_section(verdicts: Mapping[str, Verdict]) -> dict[str, list[Verdict]]:
    sections: dict[str, list[Verdict]] = {}
    for case in sorted(verdicts, key=number):
        sections.setdefault(case.split(".")[0], []).append(verdicts[case])
    return sections


def print_result(verdicts: Mapping[str, Verdict]) -> None:
    """One row per section, then every case that is neither OK nor INFORMATIONAL."""
    others = [kind for verdict in verdicts.values() for kind in verdict if kind not in BEHAVIOURS]
    kinds = [*BEHAVIOURS, *dict.fromkeys(others)]
    closes = [kind for kind in kinds if any(kind == verdict.close for verdict in verdicts.values())]
    behaviours = [kind for kind in kinds if kind in BEHAVIOURS or any(kind == v.behaviour for v in verdicts.values())]
    print(" " * 36 + " ".join(behaviours), "| close:", " ".join(closes))
    rows = [(f"{section:>2} {TITLES.get(section, '')}", row) for section, row in by_section(verdicts).items()]
    for title, row in [*rows, ("   all", list(verdicts.values()))]:
        behaviour, close = Counter(v.behaviour for v in row), Counter(v.close for v in row)
        cells = " ".join(f"{behaviour[kind] or '.':>{len(kind)}}" for kind in behaviours)
        print(
            f"{title:35}",
            cells,
            "|       ",
            " ".join(f"{close[kind] or '.':>{len(kind)}}" for kind in closes),
        )
    for line in explained(verdicts):
        print(line)


def bad_cases(verdicts: Mapping[str, Verdict], allowed: Iterable[str] = ()) -> list[str]:
    fine = {*GOOD, *allowed}
    return [case for case, verdict in verdicts.items() if not set(verdict) <= fine]


def explained(verdicts: Mapping[str, Verdict]) -> list[str]:
    """The numbers of the cases that are neither OK nor INFORMATIONAL, a line for each kind."""
    kinds: dict[Verdict, list[str]] = {}
    for case in sorted(bad_cases(verdicts), key=number):
        kinds.setdefault(verdicts[case], []).append(case)
    return [f"- {kind.behaviour}, close {kind.close}: {', '.join(cases)}" for kind, cases in kinds.items()]


# ---- the page -------------------------------------------------------------------------

ORDER = (
    "managed-compiled",
    "managed-python",
    "raw-compiled",
    "raw-python",
    "aiohttp",
    "websockets",
    "picows",
)
PAGE = Path(__file__).parents[2] / "docs" / "conformance" / "autobahn.md"
RESULTS = PAGE.parent / "autobahn"


def update_page() -> None:
    """Write what RESULTS holds between the two marks of PAGE."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{markdown(kept())}\n{END}{after}")


def kept() -> list[Result]:
    """The names in RESULTS: ours, then the peers."""
    found = [Result.load(path) for path in RESULTS.glob("*.json")]
    rank = {name: place for place, name in enumerate(ORDER)}
    found.sort(key=lambda result: (rank.get(result.name, len(rank)), result.name))
    return found


def markdown(results: list[Result]) -> str:
    columns = [(result, by_section(result.verdicts)) for result in results]
    table = [["section", *(result.name for result in results)]]
    table += [
        [f"{section} {title}", *(cell([v.behaviour for v in rows.get(section, ())]) for _, rows in columns)]
        for section, title in TITLES.items()
    ]
    table.append(["**behaviour, all**", *(f"**{total(r.verdicts, 'behaviour')}**" for r in results)])
    table.append(["**closing, all**", *(f"**{total(r.verdicts, 'close')}**" for r in results)])
    table.insert(1, ["---"] * len(table[0]))
    text = "".join(f"| {' | '.join(row)} |\n" for row in table)
    text += "\n| | made by | on | with |\n| --- | --- | --- | --- |\n"
    for result in results:
        versions = ", ".join(f"{name} {what}" for name, what in result.versions.items())
        text += f"| {result.name} | `{result.command}` | {result.date} | {versions} |\n"
    for result in results:
        if lines := explained(result.verdicts):
            text += "\n".join(["", f"{result.name}:", "", *lines, ""])
    return text


def cell(kinds: list[str]) -> str:
    """How many were OK, and after that what was not: ``140 + 5 FAILED``."""
    if not kinds:
        return ""
    counts = Counter(kinds)
    rest = [f"{counts[kind]} {kind}" for kind in sorted(counts, key=rank_of) if kind != "OK"]
    return " + ".join([str(counts["OK"]), *rest])


def total(verdicts: Mapping[str, Verdict], field: str) -> str:
    counts = Counter(getattr(verdict, field) for verdict in verdicts.values())
    return ", ".join(f"{counts[kind]} {kind}" for kind in sorted(counts, key=rank_of))


def rank_of(kind: str) -> int:
    return BEHAVIOURS.index(kind) if kind in BEHAVIOURS else len(BEHAVIOURS)
