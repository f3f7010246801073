"""Runs the benchmarks that have rows in docs/performance.md, prints and stores the rows, and writes the page.

`--only publish,http` runs the programs `bench_publish.py` and `bench_http.py` alone, and stores nothing
unless `--write` is given. `--quick` shows in seconds that programs run; its figures mean nothing, and are not
stored.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import performance
import results
from goals import APART, GOALS
from machine import commit, machine, now

HERE = Path(__file__).parent

SECONDS = 1_800
"""How long one program may take."""


def programs() -> dict[str, Path]:
    """Return all programs by their names, such as `publish`."""
    return {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("bench_*.py"))}


def rows_of(program: Path) -> tuple[str, ...]:
    """Return the rows that a program declares in `ROWS`; none where it declares nothing."""
    for statement in ast.parse(program.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="ROWS")], value=value):
                return tuple(ast.literal_eval(value))
    return ()


def chosen(only: str) -> dict[str, Path]:
    """Return the programs to run: those named, all for `all`, or those with rows for nothing.

    Raises:
        SystemExit: there is no program of a name.
    """
    every = programs()
    names = [name for name in re.split(r"[,\s]+", only) if name]
    if unknown := [name for name in names if name not in every and name != "all"]:
        raise SystemExit(f"no benchmark is named {unknown[0]!r}; there are: {', '.join(every)}, all")
    if "all" in names:
        return every
    if names:
        return {name: every[name] for name in names}
    return {name: file for name, file in every.items() if set(rows_of(file)) - {*APART}}


def run(program: Path, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return the report of one program, or None where it failed, which is printed."""
    command = [sys.executable, str(program), *arguments]
    # A session of its own, so that the servers that it has started end with it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=SECONDS)
        except BaseException as exc:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(exc, subprocess.TimeoutExpired):
                raise
            print(f"{program.stem}: not done after {SECONDS} s", flush=True)
            return None
    lines = out.splitlines()
    if process.returncode != 0 or not lines:
        print(f"{program.stem}: failed with {process.returncode}\n{errors[-2000:]}", flush=True)
        return None
    report: dict[str, Any] = json.loads(lines[-1])
    if lacking := {*rows_of(program)} ^ {row["key"] for row in report["rows"]}:
        print(f"{program.stem}: its rows are not those of its ROWS: {', '.join(sorted(lacking))}", flush=True)
        return None
    return report


def show(report: dict[str, Any], seconds: float) -> None:
    """Print the rows of a report, then its other figures."""
    print(f"{report.pop('what')} ({seconds:.0f} s)")
    for row in report.pop("rows", []):
        goal = GOALS[row["key"]]
        bare = "-" if row["bare"] is None else performance.number(row["bare"], goal.unit)
        print(f"  {goal.path}\n      {performance.number(row['figure'], goal.unit)}, bare {bare}", end="")
        ratio = performance.compared(goal, row) or "-"
        print(f", ratio {ratio}, goal {goal.text}: {'met' if row['met'] else 'not met'}")
    for name, value in report.items():
        print(f"      {name:<32} {value}")
    sys.stdout.flush()


def main() -> int:
    """Run them one after the other: two cores at once would measure each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="programs to run; all for every one")
    parser.add_argument("--quick", action="store_true", help="few repetitions; only shows that they run")
    parser.add_argument("--write", action="store_true", help="store what --only measured, too")
    parser.add_argument(
        "--page", action="store_true", help="write the page of what is stored; measure nothing"
    )
    options = parser.parse_args()
    if options.page:
        performance.write()
        return 0
    of, rows, failed = commit(), list[dict[str, Any]](), 0
    for program in chosen(options.only).values():
        began = time.perf_counter()
        report = run(program, ["--quick"] if options.quick else [])
        failed += report is None
        if report is not None:
            rows += report.get("rows", [])
            show(report, time.perf_counter() - began)
    if rows and not options.quick and (options.write or not options.only):
        results.append(results.Run(of, now(), machine(), results.stored_rows(rows)))
        performance.write()
        print(
            f"{sum(row['met'] for row in rows)} of {len(rows)} goals are met; docs/performance.md is written"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
