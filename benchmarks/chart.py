"""Draws how near each row is to its goal, run by run, as an SVG image of small charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from goals import GOALS, Goal
from results import Run

COLUMNS, WIDTH, HEIGHT, GAP = 3, 272, 74, 16
"""Charts in a row, and the size of one and the space between two, in pixels."""

TITLE, FOOT = 22, 4
"""Pixels above and below the curve of a chart."""

NAME_LENGTH = 40
"""Characters of a title that fit above a chart."""

LOWEST, HIGHEST = 1 / 16, 4.0
"""What is drawn at the lower and the upper edge, as a share of the goal; the axis is logarithmic."""

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #3a4150; }
.value { font-weight: 600; }
.met { fill: #16794a; } .open { fill: #b4471f; }
.back { fill: #fff; }
.box { fill: none; stroke: #c9ced8; }
.goal { stroke: #8a93a3; stroke-dasharray: 4 3; }
.line { fill: none; stroke: #4f6bed; stroke-width: 1.6; }
@media (prefers-color-scheme: dark) {
  text { fill: #c8cedb; } .back { fill: #16181d; } .box { stroke: #4a5160; }
  .met { fill: #4fc68a; } .open { fill: #f08a5d; }
}
"""


def chart(runs: Sequence[Run]) -> str:
    """Return the image: a chart a row that was measured, of the runs on the machine of the newest."""
    here = [run for run in runs if run.machine == runs[-1].machine] if runs else []
    keys = [key for key in GOALS if any(key in run.rows for run in here)]
    rows = max(1, math.ceil(len(keys) / COLUMNS))
    width, height = COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
    body = "\n".join(part for number, key in enumerate(keys) for part in _small(number, key, here))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="How near each figure is to its goal, by run">\n'
        f'<style>{STYLE}</style>\n<rect class="back" width="{width}" height="{height}" rx="6"/>\n'
        f"{body}\n</svg>\n"
    )


def _small(number: int, key: str, runs: Sequence[Run]) -> Iterator[str]:
    """Yield the parts of one chart."""
    goal = GOALS[key]
    left = GAP + number % COLUMNS * (WIDTH + GAP)
    top = GAP + number // COLUMNS * (HEIGHT + GAP)
    seen = [(run, goal.nearness(run.rows[key])) for run in runs if key in run.rows]
    step = (WIDTH - 24) / max(1, len(seen) - 1)
    points = [(12 + n * step if len(seen) > 1 else WIDTH / 2, _y(near)) for n, (_, near) in enumerate(seen)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<g transform="translate({left},{top})">'
    yield f'<text y="11">{escape(_name(goal))}</text>'
    newest = seen[-1][0].rows[key]
    mark = "met" if goal.is_met(newest) else "open"
    yield f'<text class="value {mark}" x="{WIDTH}" y="11" text-anchor="end">{seen[-1][1]:.2f}</text>'
    yield f'<rect class="box" y="{TITLE - 4}" width="{WIDTH}" height="{HEIGHT - TITLE + 4}" rx="3"/>'
    yield f'<path class="goal" d="M0 {_y(1):.1f} H{WIDTH}"/>'
    yield f'<polyline class="line" points="{line}"/>'
    for (x, y), (run, near) in zip(points, seen, strict=True):
        what = escape(f"{run.commit}, {run.date[:10]}: {near:.2f} of the goal")
        kind = "met" if goal.is_met(run.rows[key]) else "open"
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{what}</title></circle>'
    yield "</g>"


def _y(near: float) -> float:
    """Return where a share of the goal is drawn."""
    inside = min(max(near, LOWEST), HIGHEST)
    share = math.log(inside / LOWEST) / math.log(HIGHEST / LOWEST)
    return TITLE + (1 - share) * (HEIGHT - TITLE - FOOT)


def _name(goal: Goal) -> str:
    name = goal.path.replace("`", "")
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1].rstrip()}…"
