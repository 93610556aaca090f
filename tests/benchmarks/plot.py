"""Line charts as SVG text, readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 78, 216, 48, 58

# Of the middle of the scale, so that they stand out from white and from black; the marks differ for those who see
# no difference in the colours.
COLOURS = ("#e4572e", "#f0a202", "#d16ba5", "#2e86ab", "#5fa8d3", "#6a994e", "#9d79bc", "#808890")
MARKS = "osdvosd^"

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #444c56 }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #d8dee4; stroke-width: 1 }
.axis { stroke: #8c959f; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #adbac7 }
  .grid { stroke: #373e47 }
  .axis { stroke: #768390 }
}
"""


@dataclass(frozen=True)
class Series:
    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float]] = ()  # lowest and highest at each point


def human(value: float) -> str:
    for unit, suffix in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{suffix}"
    return f"{value:g}"


def size(value: float) -> str:
    for unit, suffix in ((2**20, " MiB"), (2**10, " KiB")):
        if value >= unit:
            return f"{value / unit:g}{suffix}"
    return f"{value:g} B"


def log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**decade for decade in decades for m in (1, 2, 5)]
    inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
    return inside if len(inside) < 13 else [tick for tick in inside if f"{tick:e}"[0] == "1"]


def linear_ticks(high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10(high))
    while high / step < 4:
        step /= 2
    return [i * step for i in range(math.ceil(high / step) + 1)]


def mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "o":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colour}"/>'
    corners = {
        "s": ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        "d": ((0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0)),
        "v": ((-4, -3), (4, -3), (0, 4.4)),
        "^": ((-4, 3), (4, 3), (0, -4.4)),
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    log_y: bool = True,
    x_in_bytes: bool = False,
    note: str = "",
) -> str:
    """The chart as a text of SVG. The x axis is logarithmic, with a tick at every point; all values are > 0."""
    xs = sorted({x for line in series for x, _ in line.points})
    ys = [y for line in series for _, y in line.points]
    ys += [y for line in series for pair in line.spread for y in pair]
    if not ys:
        raise ValueError(f"{title}: nothing to draw")
    y_ticks = log_ticks(min(ys) / 1.5, max(ys) * 1.3) if log_y else linear_ticks(max(ys) * 1.05)
    bottom, top = (min(ys) / 1.5, max(ys) * 1.3) if log_y else (0.0, y_ticks[-1])
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x: float) -> float:
        if xs[0] == xs[-1]:
            return (LEFT + right) / 2
        return LEFT + 14 + (right - LEFT - 28) * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])

    def up(y: float) -> float:
        share = math.log(y / bottom) / math.log(top / bottom) if log_y else (y - bottom) / (top - bottom)
        return base - (base - TOP) * share

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
    ]
    if note:
        out.append(f'<text x="{LEFT}" y="40" font-size="11">{escape(note)}</text>')
    for tick in y_ticks:
        y = up(tick)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{human(tick)}</text>')
    for tick in xs:
        x = across(tick)
        out.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}"/>')
        label = size(tick) if x_in_bytes else human(tick)
        out.append(f'<text x="{x:.1f}" y="{base + 19}" text-anchor="middle">{label}</text>')
    middle = (TOP + base) / 2
    out += [
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{base}H{right}"/>',
        f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="18" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 18 {middle:.0f})">'
        f"{escape(y_label)}</text>",
    ]
    for i, line in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        for (x, _), (low, high) in zip(line.points, line.spread):
            path = f"M{across(x):.1f} {up(low):.1f}V{up(high):.1f}"
            out.append(f'<path d="{path}" stroke="{colour}" stroke-width="1" opacity=".6"/>')
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in line.points)
        out.append(f'<path class="line" stroke="{colour}" d="M{path}"/>')
        out += [mark(MARKS[i % len(MARKS)], across(x), up(y), colour) for x, y in line.points]
    # The legend is in the order of the lines' right ends, as far as there is one.
    order = sorted(range(len(series)), key=lambda i: -series[i].points[-1][1])
    for place, i in enumerate(order):
        colour, y = COLOURS[i % len(COLOURS)], TOP + 12 + 22 * place
        out.append(f'<path class="line" stroke="{colour}" d="M{right + 18} {y}h24"/>')
        out.append(mark(MARKS[i % len(MARKS)], right + 30, y, colour))
        out.append(f'<text x="{right + 50}" y="{y + 4}">{escape(series[i].name)}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
