"""``python -m tests.clients.table [CLIENT...]``: run clients against the catalogue of misbehaviours.

It writes docs/conformance/clients.md, or to stdout with ``--print``. ``make clients`` runs all that are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from aiohttp_rawws.testing import MISBEHAVIOURS, Agent, Verdict, misbehaving_server

from .running import CLIENTS, NotThere, run

PAGE = Path(__file__).parents[2] / "docs" / "conformance" / "clients.md"
BEGIN, END = "<!-- made by tests/clients/table.py -->", "<!-- end -->"

Results = Mapping[str, tuple[Agent, str]]


def row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def counts(verdicts: Iterable[Verdict]) -> str:
    """A bare number: all OK. Nothing was tried: a dash."""
    found = Counter(verdicts)
    tried = [
        f"{count}" if verdict is Verdict.OK and len(found) == 1 else f"{count} {verdict}"
        for verdict in (Verdict.OK, Verdict.NON_STRICT, Verdict.FAILED)
        if (count := found[verdict])
    ]
    return " + ".join(tried) or "–"


def summary(results: Results) -> list[str]:
    names = list(results)
    lines = [row(["", *names]), row(["---"] * (len(names) + 1))]
    lines.append(row(["version", *(version for _, version in results.values())]))
    for group in dict.fromkeys(each.group for each in MISBEHAVIOURS.values()):
        members = [name for name, each in MISBEHAVIOURS.items() if each.group == group]
        cells = []
        for agent, _ in results.values():
            verdicts = agent.verdicts()
            judged = [verdicts[name] for name in members if name in verdicts]
            cells.append(counts(verdict for verdict in judged if verdict is not Verdict.UNIMPLEMENTED))
        lines.append(row([f"{group} ({len(members)})", *cells]))
    totals = [Counter(agent.verdicts().values()) for agent, _ in results.values()]
    for verdict in Verdict:
        lines.append(row([f"**{verdict}**", *(f"**{total[verdict]}**" for total in totals)]))
    return lines


def cell(agent: Agent, name: str) -> str:
    seen = agent.visits.get(name)
    if seen is None:
        return "not visited"
    if seen.verdict is Verdict.OK:
        return ""
    if seen.verdict is Verdict.UNIMPLEMENTED:
        return "–"
    return f"{seen.verdict}: {seen.outcome}"


def details(results: Results) -> list[str]:
    """The misbehaviours that not all clients are OK with."""
    lines = [row(["misbehaviour", "RFC 6455", "the server", *results]), row(["---"] * (len(results) + 3))]
    for name, each in MISBEHAVIOURS.items():
        cells = [cell(agent, name) for agent, _ in results.values()]
        if any(text not in ("", "–") for text in cells):
            lines.append(row([f"`{name}`", each.section, each.summary, *cells]))
    return lines


def text_of(results: Results) -> str:
    today = datetime.date.today().isoformat()
    return "\n".join(
        [
            BEGIN,
            "",
            *summary(results),
            "",
            f"Measured on {today}, {platform.system()}, Python {platform.python_version()}, by `make clients`.",
            "",
            "## Where clients differ",
            "",
            "Each row is a misbehaviour that at least one client is not OK with. An empty cell is OK, a dash is",
            "UNIMPLEMENTED. The text is the outcome on the wire.",
            "",
            *details(results),
            "",
            END,
        ]
    )


async def measure(names: Iterable[str]) -> dict[str, tuple[Agent, str]]:
    results = {}
    for name in names:
        async with misbehaving_server() as server:
            try:
                results[name] = await run(server, name)
            except NotThere as exc:
                print(f"{name} is left out: {exc}", file=sys.stderr)
                continue
        agent = results[name][0]
        print(f"{name} {results[name][1]}: {dict(Counter(map(str, agent.verdicts().values())))}", file=sys.stderr)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.table")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)} (all)")
    parser.add_argument("--print", action="store_true", help="write to stdout, and not to the page")
    options = parser.parse_args()
    for name in options.clients:
        if name not in CLIENTS:
            parser.error(f"no such client: {name}")
    text = text_of(asyncio.run(measure(options.clients or CLIENTS)))
    if options.print:
        print(text)
        return
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + text + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
