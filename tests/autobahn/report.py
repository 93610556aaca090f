"""Results: counting their verdicts, and keeping them in docs/conformance."""

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
RESULTS = Path(__file__).parents[2] / "docs" / "conformance" / "autobahn"


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


def differences(verdicts: Mapping[str, Verdict], direct: Mapping[str, Verdict]) -> list[tuple[str, Verdict, Verdict]]:
    """The cases with other verdicts than in ``direct``: the case, its verdict, the other one."""
    none = Verdict.missing("NOT RUN")
    return [
        (case, verdict, direct.get(case, none)) for case, verdict in verdicts.items() if verdict != direct.get(case)
    ]


def kept(folder: Path = RESULTS) -> dict[str, Result]:
    """All results that were kept, by name."""
    return {path.stem: Result.load(path) for path in sorted(folder.glob("*.json"))}


def explained(verdicts: Mapping[str, Verdict]) -> list[str]:
    """The numbers of the cases that are neither OK nor INFORMATIONAL, a line for each kind."""
    kinds: dict[Verdict, list[str]] = {}
    for case in sorted(bad_cases(verdicts), key=number):
        kinds.setdefault(verdicts[case], []).append(case)
    return [f"- {kind.behaviour}, close {kind.close}: {', '.join(cases)}" for kind, cases in kinds.items()]
