"""The stored results, `results.jsonl`: a line a run, the newest last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from goals import GOALS, Measured
from machine import Machine

FILE = Path(__file__).parent / "results.jsonl"

STORED = ("figure", "bare", "ratio", "over", "runs")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has measured, on which machine, of which commit, and when."""

    commit: str
    date: str
    machine: Machine
    rows: dict[str, Measured]


def read(file: Path = FILE) -> list[Run]:
    """Return all runs, the oldest first; rows that are no goals any more are left out.

    Raises:
        ValueError: a line is no run; names its number.
    """
    if not file.exists():
        return []
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return [_run(number, line, file) for number, line in lines if line.strip()]


def _run(number: int, line: str, file: Path) -> Run:
    try:
        stored = json.loads(line)
        rows = {key: cast(Measured, row) for key, row in stored["rows"].items() if key in GOALS}
        return Run(stored["commit"], stored["date"], stored["machine"], rows)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"line {number} of {file.name} is no run: {exc!r}; remove it") from exc


def append(run: Run, file: Path = FILE) -> None:
    """Store one more run."""
    line = {"commit": run.commit, "date": run.date, "machine": run.machine, "rows": run.rows}
    with file.open("a", encoding="utf-8") as end:
        end.write(json.dumps(line) + "\n")


def stored_rows(rows: Sequence[dict[str, Any]]) -> dict[str, Measured]:
    """Return what is stored of the rows of reports: figures, to five digits."""
    return {row["key"]: cast(Measured, {name: _short(row[name]) for name in STORED}) for row in rows}


def _short(value: float | None) -> float | None:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def newest(runs: Sequence[Run]) -> dict[str, Run]:
    """Return for each row the newest run that has it, of those on the machine of the newest run."""
    here = [run for run in runs if run.machine == runs[-1].machine] if runs else []
    return {key: run for run in here for key in run.rows}
