"""Results as a table for the terminal and for the docs, and as plots."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from harness import LOOPS, ROOT
from plot import Series, chart
from rows import PROGRAMS, ROWS, SWEEPS, Row, Sweep

PAGE = ROOT / "docs" / "explanation" / "performance.md"
PLOTS = ROOT / "docs" / "explanation" / "performance"
RESULTS = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- end of results -->)", re.DOTALL)


def spread(values: dict[str, float], digits: int = 2) -> str:
    return f"{values['median']:.{digits}f} ({values['min']:.{digits}f}–{values['max']:.{digits}f})"


def quantity(row: Row, side: dict[str, Any]) -> str:
    """The result of one side, in the row's own unit."""
    if row.measure == "memory":
        return f"{side['memory']['median'] / 1024:.1f} KiB"
    per_second = side["rate"]["median"] if row.measure == "throughput" else 1 / side["cpu"]["median"]
    return f"{per_second / 1000:.1f} k/s"


def target(row: Row) -> str:
    return f"{'≤' if row.at_most else '≥'} {row.target:g}"


def line(row: Row, result: dict[str, Any]) -> list[str]:
    label = f"{PROGRAMS[row.ours].name} / {PROGRAMS[row.peer].name}"
    if "error" in result:
        return [row.work, label, target(row), "—", "—", "—", "—", "failed"]
    ours, peer = result["ours"], result["peer"]
    return [
        row.work,
        label,
        target(row),
        spread(result["ratio"]),
        spread(result["cpu_ratio"]) if "cpu_ratio" in result and row.measure == "throughput" else "—",
        f"{quantity(row, ours)}, {ours['loop']}",
        f"{quantity(row, peer)}, {peer['loop']}",
        "met" if result["met"] else "**not met**",
    ]


HEADINGS = ["work", "measure", "target", "ratio", "CPU ratio", "ours", "peer", "verdict"]


def table(results: dict[str, Any]) -> str:
    lines = [line(row, results["rows"][row.key]) for row in ROWS if row.key in results["rows"]]
    cells = [HEADINGS, ["---"] * len(HEADINGS), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def plain(results: dict[str, Any]) -> str:
    """The table in columns, for a terminal."""
    lines = [line(row, results["rows"][row.key]) for row in ROWS if row.key in results["rows"]]
    cells = [[cell.replace("`", "").replace("*", "") for cell in row] for row in [HEADINGS, *lines]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def conditions(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items(), key=_our_order))
    rounds, seconds = results["rounds"], results["seconds"]
    text = f"Measured on {results['date']} with {versions}; {rounds} rounds of {seconds:g} s for each row."
    if len(results["loops"]) < len(LOOPS):
        text += f" Of the event loops only {', '.join(results['loops'])} took part."
    if results["judge"] == "cpu":
        text += " The machine had other work: *ratio* is of messages per second of the server's CPU."
    return textwrap.fill(text, 120)


def _our_order(item: tuple[str, str]) -> tuple[bool, str]:
    return item[0] != "Python", item[0].lower()


def note(results: dict[str, Any], sweep: Sweep) -> str:
    rounds = 1 if sweep.value == "memory" else results["sweep_rounds"]
    return f"{results['date']}, server on one core" + (f", median and spread of {rounds} runs" if rounds > 1 else "")


def plots(results: dict[str, Any]) -> dict[str, str]:
    """File name to SVG."""
    drawn = {}
    for sweep in SWEEPS:
        measured = results["sweeps"].get(sweep.key)
        if not measured:
            continue
        series = []
        for key in sweep.programs:
            points = [point for point in measured if key in point["values"]]
            if points:
                values = [point["values"][key] for point in points]
                name = PROGRAMS[key].name.replace("`", "")
                centre = [(float(point["x"]), value["median"]) for point, value in zip(points, values)]
                series.append(Series(name, centre, [(value["min"], value["max"]) for value in values]))
        drawn[f"{sweep.key}.svg"] = chart(
            sweep.title,
            sweep.x_label,
            sweep.y_label,
            series,
            log_y=sweep.log_y,
            x_in_bytes=sweep.key == "size",
            note=note(results, sweep),
        )
    return drawn


def write_docs(results: dict[str, Any], page: Path = PAGE, folder: Path = PLOTS) -> bool:
    """Put the table between the marks on the page, and the plots that were drawn beside it.

    Returns False if there is no table to put there: not all rows were measured.
    """
    whole = all("ratio" in results["rows"].get(row.key, ()) for row in ROWS)
    if whole:
        text = page.read_text(encoding="utf-8")
        block = f"{conditions(results)}\n\n{table(results)}"
        page.write_text(RESULTS.sub(lambda match: block, text, count=1), encoding="utf-8")
    folder.mkdir(exist_ok=True)
    for name, svg in plots(results).items():
        (folder / name).write_text(svg, encoding="utf-8")
    return whole
