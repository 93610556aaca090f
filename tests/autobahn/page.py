"""The tables of docs/conformance/autobahn.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .report import BEHAVIOURS, TITLES, Result, by_section, differences, explained, kept
from .subjects import SUBJECTS, without_gateway
from .suite import Verdict

BEGIN, END = "<!-- made by tests/autobahn/page.py -->", "<!-- end -->"
PAGE = Path(__file__).parents[2] / "docs" / "conformance" / "autobahn.md"


def update_page() -> None:
    """Write the results that were kept between the two marks of PAGE."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{markdown(kept().values())}\n{END}{after}")


def markdown(results: Iterable[Result]) -> str:
    """The tables: servers, clients, then gateways, in each ours before the peers'."""
    ordered = sorted(results, key=lambda result: rank_of(result.name))
    gateways = [result for result in ordered if without_gateway(result.name)]
    direct = [result for result in ordered if not without_gateway(result.name)]
    clients = [result for result in direct if "client" in result.name.split("-")]
    servers = [result for result in direct if result not in clients]
    text = ""
    for title, group in (("Servers", servers), ("Clients", clients)):
        if group:
            text += f"## {title}\n\n{verdict_table(group)}\n"
            for result in group:
                if lines := explained(result.verdicts):
                    text += "\n".join([f"{result.name}:", "", *lines, "", ""])
    if gateways:
        text += f"## Gateways\n\n{gateway_table(gateways, {result.name: result for result in direct})}\n"
    text += "## The runs\n\n| | made by | on | with |\n| --- | --- | --- | --- |\n"
    for result in ordered:
        versions = ", ".join(f"{name} {what}" for name, what in result.versions.items())
        text += f"| {result.name} | `{result.command}` | {result.date} | {versions} |\n"
    return text


def rank_of(name: str) -> tuple[int, str]:
    """The place of a result, which has the name of its subject, and that of the codec if it is ours."""
    names = [subject for subject in SUBJECTS if name == subject or name.startswith(subject + "-")]
    longest = max(names, key=len, default=None)
    return (len(SUBJECTS) if longest is None else list(SUBJECTS).index(longest), name)


def verdict_table(results: list[Result]) -> str:
    columns = [(result, by_section(result.verdicts)) for result in results]
    table = [["section", *(result.name for result in results)]]
    table += [
        [f"{section} {title}", *(cell([v.behaviour for v in rows.get(section, ())]) for _, rows in columns)]
        for section, title in TITLES.items()
    ]
    table.append(["**behaviour, all**", *(f"**{total(r.verdicts.values(), 'behaviour')}**" for r in results)])
    table.append(["**closing, all**", *(f"**{total(r.verdicts.values(), 'close')}**" for r in results)])
    return as_markdown(table)


def gateway_table(results: list[Result], direct: dict[str, Result]) -> str:
    """A row for each run through a gateway, next to the same run without it."""
    table = [["run", "behaviour", "closing", "without the gateway", "other verdicts"]]
    for result in results:
        name = without_gateway(result.name) or ""
        others = differences(result.verdicts, direct[name].verdicts) if name in direct else []
        cases = ", ".join(case for case, _, _ in others) or "none"
        values = result.verdicts.values()
        table.append([result.name, total(values, "behaviour"), total(values, "close"), name, cases])
    return as_markdown(table)


def as_markdown(table: list[list[str]]) -> str:
    head, *rows = table
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def cell(kinds: list[str]) -> str:
    """How many were OK, and after that what was not: ``140 + 5 FAILED``."""
    if not kinds:
        return ""
    counts = Counter(kinds)
    rest = [f"{counts[kind]} {kind}" for kind in sorted(counts, key=severity) if kind != "OK"]
    return " + ".join([str(counts["OK"]), *rest])


def total(verdicts: Iterable[Verdict], field: str) -> str:
    counts = Counter(getattr(verdict, field) for verdict in verdicts)
    return ", ".join(f"{counts[kind]} {kind}" for kind in sorted(counts, key=severity))


def severity(kind: str) -> int:
    return BEHAVIOURS.index(kind) if kind in BEHAVIOURS else len(BEHAVIOURS)
