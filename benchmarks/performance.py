"""Writes docs/performance.md and its chart of the stored results; nothing else goes into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import results
from chart import chart
from goals import FLOORS, GOALS, Goal, Measured
from results import Run

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"
CHART = DOCS / "images" / "performance.svg"

NO_BREAK = "\N{NO-BREAK SPACE}"

HEAD = """\
<!-- Generated from benchmarks/results.jsonl by `python benchmarks/run.py --page`; do not edit. -->

# Performance

Every figure stands beside the bare thing: what the same libraries do without dnworker, measured in the same
run. A goal is a distance from the bare thing, so it holds on slow machines and on fast ones. `make bench`
measures all rows and writes this page; `make bench ONLY=publish` measures one program and writes nothing.
"""

TABLE = """\
| path, and what it stands beside | figure | bare | ratio | goal | met |
|---|--:|--:|--:|--:|---|
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
- Both sides are on asyncio's loop, in the row that says `dnworker[speed]` on uvloop.
- Each program is a `bench_*.py` in `benchmarks/`, the goals are in `goals.py` there, and each run is a line
  of `results.jsonl`.
"""


def page(runs: Sequence[Run]) -> str:
    """Return the page's text."""
    if not runs:
        return f"{HEAD}\nNothing is measured yet.\n"
    of = results.newest(runs)
    most = max(runs, key=lambda run: sum(one is run for one in of.values()))
    lines = "\n".join(_line(goal, of.get(key), key, most) for key, goal in GOALS.items())
    return f"{HEAD}\n{''.join(_machine(most))}\n{TABLE}{lines}\n\n{_below(of, most)}\n\n{BELOW}"


def _machine(run: Run) -> Iterator[str]:
    of = run.machine
    yield f"## Figures\n\nMeasured {_when(run)}, on:\n\n"
    yield f"- processor: {of['cpu']}, {of['cores']} cores\n- memory: {of['memory_gib']:g} GiB\n"
    yield f"- Python: {of['python']}\n- system: {of['os']}\n"


def _when(run: Run) -> str:
    return f"on {run.date.replace('T', ' ').replace('Z', ' UTC')} at commit `{run.commit}`"


def _line(goal: Goal, run: Run | None, key: str, most: Run) -> str:
    path = f"**{goal.path}**" + (f"<br>{goal.bare}" if goal.bare else "")
    mark = goal.text.replace("at least", "≥").replace("at most", "≤").replace(" ", NO_BREAK)
    if run is None:
        return f"| {path} | | | | {mark} | not measured |"
    row = run.rows[key]
    cells = [
        path,
        _short(row["figure"], goal) + ("" if run is most else "\\*"),
        "" if row["bare"] is None else _short(row["bare"], goal),
        compared(goal, row).replace(" ", NO_BREAK),
        mark,
        "yes" if goal.is_met(row) else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _short(value: float, goal: Goal) -> str:
    """Return a figure for the table: of a rate, what is counted stands in the path."""
    text = number(value, goal.unit)
    return (f"{text.partition(' ')[0]}/s" if goal.unit.endswith("/s") else text).replace(" ", NO_BREAK)


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


def _below(of: dict[str, Run], most: Run) -> str:
    """Return what stands below the table: how many goals are met, and of which runs other rows are."""
    met = sum(GOALS[key].is_met(run.rows[key]) for key, run in of.items())
    missing = len(GOALS) - len(of)
    text = f"{met} of {len(GOALS)} goals are met" + (f"; not measured: {missing}." if missing else ".")
    others = dict.fromkeys(_when(run) for run in of.values() if run is not most)
    text += f"\n\n\\* measured {', or '.join(others)}" if others else ""
    return text + "".join(_floors(of))


def _floors(of: dict[str, Run]) -> Iterator[str]:
    """Yield why rows are below their goals, as far as that is known."""
    below = [key for key, run in of.items() if key in FLOORS and not GOALS[key].is_met(run.rows[key])]
    if below:
        yield "\n\n## What is below its goal, and why\n"
    for key in below:
        yield f"\n- **{GOALS[key].path}**: {FLOORS[key]}"


def write() -> None:
    """Write the page and the chart."""
    runs = results.read()
    PAGE.write_text(page(runs), encoding="utf-8")
    CHART.parent.mkdir(exist_ok=True)
    CHART.write_text(chart(runs), encoding="utf-8")
