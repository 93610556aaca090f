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


def verdict(row: Row, result: dict[str, Any]) -> str:
    if "error" in result:
        return "failed"
    met = [loop for loop, one in result["loops"].items() if one["met"]]
    if len(met) == len(result["loops"]):
        return "met"
    return f"**not met** on {', '.join(loop for loop in result['loops'] if loop not in met)}"


def summary_table(results: dict[str, Any]) -> list[list[str]]:
    """A line for each row, with the ratio on each loop."""
    cells = [["work", "ours / peer", "target", *results["loops"], "verdict"]]
    for row, result in measured(results):
        ratios = [spread(result["loops"][loop]["ratio"]) if "loops" in result else "—" for loop in results["loops"]]
        cells.append([row.work, pair(row), target(row), *ratios, verdict(row, result)])
    return cells


def details_table(results: dict[str, Any]) -> list[list[str]]:
    """A line for each row and loop, with what both programs did there."""
    cells = [["work", "ours / peer", "loop", "ours", "peer", "CPU ratio", "page faults a message"]]
    for row, result in measured(results):
        for loop, one in result.get("loops", {}).items():
            ours, peer = one["ours"], one["peer"]
            in_memory = row.measure == "memory"
            cells.append(
                [
                    row.work,
                    pair(row),
                    loop,
                    quantity(row, ours),
                    quantity(row, peer),
                    "—" if in_memory else spread(one["cpu_ratio"]),
                    "—" if in_memory else f"{ours['faults']['median']:.2f} / {peer['faults']['median']:.2f}",
                ]
            )
    return cells


def pair(row: Row) -> str:
    return f"{PROGRAMS[row.ours].name} / {PROGRAMS[row.peer].name}"


def measured(results: dict[str, Any]) -> list[tuple[Row, dict[str, Any]]]:
    return [(row, results["rows"][row.key]) for row in ROWS if row.key in results["rows"]]


def markdown(cells: list[list[str]]) -> str:
    return "".join("| " + " | ".join(row) + " |\n" for row in [cells[0], ["---"] * len(cells[0]), *cells[1:]])


def in_columns(cells: list[list[str]]) -> str:
    cells = [[cell.replace("`", "").replace("*", "") for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def plain(results: dict[str, Any]) -> str:
    """Both tables in columns, for a terminal."""
    return f"{in_columns(summary_table(results))}\n\n{in_columns(details_table(results))}"


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
    whole = all("loops" in results["rows"].get(row.key, ()) for row in ROWS)
    if whole:
        text = page.read_text(encoding="utf-8")
        tables = markdown(summary_table(results)), markdown(details_table(results))
        block = f"{conditions(results)}\n\n{tables[0]}\n### Each program on each loop\n\n{tables[1]}"
        page.write_text(RESULTS.sub(lambda match: block, text, count=1), encoding="utf-8")
    folder.mkdir(exist_ok=True)
    for name, svg in plots(results).items():
        (folder / name).write_text(svg, encoding="utf-8")
    return whole
