"""Writes docs/performance.md and its chart of the stored results; nothing else goes into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import results
from chart import chart
from goals import GOALS, Goal, Measured
from results import Run

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
CHART = DOCS / "images" / "performance.svg"

HEAD = """\
<!-- Generated from benchmarks/results.jsonl by `python benchmarks/run.py --page`; do not edit. -->

# Performance

Every figure stands beside the bare thing: what the same libraries do without dnworker, measured in the same
run. A goal is a distance from the bare thing, so it holds on slow machines and on fast ones. `make bench`
measures all rows and writes this page; `make bench ONLY=publish` measures one program and writes nothing.
"""

TABLE = """\
| path | figure | bare | ratio | goal | met | bare is |
|---|--:|--:|--:|---|---|---|
"""

BELOW = """\
## By commit

One small chart a row, from the first stored run to the newest on this machine. The dashed line is the goal.
The number is how near the newest figure is to it: 1.00 and above is met, 0.50 is half of the way. The axis is
logarithmic, from 1/16 to 4.

![How near each figure is to its goal, one small chart a row, by run](images/performance.svg)

## How it is measured

- Both sides of a row take turns, so that a slow moment meets both. Figures are medians of 7 turns, ratios are
  medians of the ratios of the turns.
- Servers are separate processes. Where the machine has two cores, what makes the load runs on a core of its
  own, and it parses nothing that it need not.
- Each program is a `bench_*.py` in `benchmarks/`, the goals are in `goals.py` there, and each run is a line
  of `results.jsonl`.
"""


def page(runs: Sequence[Run]) -> str:
    """Return the page's text."""
    if not runs:
        return f"{HEAD}\nNothing is measured yet.\n"
    of, last = results.newest(runs), runs[-1]
    lines = "\n".join(_line(key, goal, of.get(key), last) for key, goal in GOALS.items())
    return f"{HEAD}\n{''.join(_machine(last))}\n{TABLE}{lines}\n\n{_sum(of)}\n\n{BELOW}"


def _machine(run: Run) -> Iterator[str]:
    of = run.machine
    yield "## Figures\n\n"
    yield f"Measured on {run.date.replace('T', ' ').replace('Z', ' UTC')}, commit `{run.commit}`, on:\n\n"
    yield f"- processor: {of['cpu']}, {of['cores']} cores\n- memory: {of['memory_gib']:g} GiB\n"
    yield f"- Python: {of['python']}\n- system: {of['os']}\n"


def _line(key: str, goal: Goal, run: Run | None, last: Run) -> str:
    if run is None:
        return f"| {goal.path} | not measured | | | {goal.text} | | {goal.bare} |"
    row = run.rows[key]
    older = "" if run.commit == last.commit else f" (`{run.commit}`)"
    cells = [
        f"{goal.path}{older}",
        number(row["figure"], goal.unit),
        "" if row["bare"] is None else number(row["bare"], goal.unit),
        compared(goal, row),
        goal.text,
        "yes" if goal.is_met(row) else "no",
        goal.bare,
    ]
    return f"| {' | '.join(cells)} |"


def compared(goal: Goal, row: Measured) -> str:
    """Return a figure beside the bare one: a ratio, or a difference where the goal is one."""
    if goal.rule == "over" and row["over"] is not None:
        return f"{row['over']:+.1f} {goal.unit}"
    return "" if row["ratio"] is None else f"{row['ratio']:.2f}"


def number(value: float, unit: str) -> str:
    """Return a figure with three digits and its unit."""
    if value >= 1000:
        return f"{round(value, -int(len(str(int(value))) - 3)):,.0f} {unit}"
    return f"{value:.3g} {unit}"


def _sum(of: dict[str, Run]) -> str:
    met = sum(GOALS[key].is_met(run.rows[key]) for key, run in of.items())
    return f"{met} of {len(GOALS)} goals are met; {len(GOALS) - len(of)} are not measured."


def write() -> None:
    """Write the page and the chart."""
    runs = results.read()
    PAGE.write_text(page(runs), encoding="utf-8")
    CHART.parent.mkdir(exist_ok=True)
    CHART.write_text(chart(runs), encoding="utf-8")
