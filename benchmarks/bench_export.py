"""Planning the export of a large notebook, 300 cells and 20 workers, beside a bare `ast.parse` of its cells.

A process of its own parses the cells, plans their export, plans it again, and once more after a change of one
cell. The memory is that of the first plan, above the start.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

from common import median, report, row

from dnworker.core.collection import collection_held
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.syntax.cell import Cell

ROWS = ("export", "export-again", "export-changed")

WORKERS = 20
HELPERS = 260
RUNS = 7


def notebook() -> list[Cell]:
    """Return 300 cells: imports, chains of helpers, a few of which several workers share, and workers."""
    texts = ["import asyncio, json, math", "from pathlib import Path"]
    for n in range(HELPERS):
        above = f"helper_{n - 1}(value)" if n % 13 else "value"
        lines = "\n".join(f"    total += math.sqrt({k} + total) * LIMIT_{n}" for k in range(20))
        texts.append(
            f"LIMIT_{n} = {n}\n\n# what it is about\ndef helper_{n}(value: int) -> float:\n"
            f'    """Say something of {n}."""\n    total = float({above})\n{lines}\n    return total'
        )
    for n in range(WORKERS):
        uses = ", ".join(f"helper_{(n * 13 + k) % HELPERS}(1)" for k in (12, 25))
        texts.append(
            f"%%worker worker-{n}\n@worker.on_event('kind.{n}')\n"
            f"async def on_event(event: EventEnvelope, client: RuntimeClient) -> None:\n"
            f"    await client.publish('done.{n}', {{'x': [{uses}], 'y': json.dumps(event.payload)}})\n"
            f"@worker.every(seconds={n + 1})\nasync def tick(client: RuntimeClient) -> None:\n"
            f"    await asyncio.sleep(0); print(Path('/tmp').name)"
        )
    texts += [f"print({n})" for n in range(300 - len(texts))]
    return [Cell(n, text) for n, text in enumerate(texts, 1)]


def bare(cells: list[Cell]) -> None:
    """Parse each cell, without the magic in its first line, and keep nothing."""
    for cell in cells:
        ast.parse(cell.source.replace("%%", "#", 1) if cell.source.startswith("%%") else cell.source)


def seconds(run: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure() -> list[float]:
    """Return the seconds of the bare thing, of three plans and of the floor; no cell has been seen before."""
    cells = notebook()
    few = [Cell(1, "import json"), Cell(2, "%%worker w\n@worker.on_event('k')\nasync def f(event): json")]
    plan_export(few, default_name="small")  # the environment's metadata is read once
    taken = [seconds(lambda: bare(cells))]
    taken += [seconds(lambda: plan_export(cells, default_name="large")) for _ in range(2)]
    middle = len(cells) // 2
    cells[middle] = Cell(cells[middle].number, f"{cells[middle].source} + 1")
    taken.append(seconds(lambda: plan_export(cells, default_name="large")))
    return [*taken, floor(cells)]


def floor(cells: list[Cell]) -> float:
    """Return how long C code alone takes for a plan: it keeps the trees, and compiles what is written."""
    files = plan_export(cells, default_name="large").files
    scripts = [text for path, text in files.items() if path.endswith(".py")]
    bodies = [source.body for source in read_cells(cells)]
    with collection_held():
        kept: list[ast.AST] = []
        taken = seconds(lambda: kept.extend(ast.parse(body) for body in bodies))
        return taken + seconds(lambda: [compile(text, "script", "exec") for text in scripts])


def measured_apart() -> list[float]:
    """Return the same of a process of its own."""
    command = [sys.executable, __file__, "--once"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """Measure in processes of their own, and print one line."""
    runs = [measured_apart() for _ in range(RUNS)]
    parsed, first, again, changed, least = (median([run[n] for run in runs]) for n in range(5))
    cells = notebook()
    tracemalloc.start()
    plan = plan_export(cells, default_name="large")
    _, peak = tracemalloc.get_traced_memory()
    report(
        what="planning an export of 300 cells and 20 workers, beside a bare ast.parse of the cells",
        rows=[row(key, [run[n] for run in runs], [run[0] for run in runs]) for n, key in enumerate(ROWS, 1)],
        cells=len(cells),
        files=len(plan.files),
        bare_seconds=parsed,
        first_seconds=first,
        again_seconds=again,
        changed_seconds=changed,
        floor_seconds=least,
        first_over_bare=median([run[1] / run[0] for run in runs]),
        again_over_bare=median([run[2] / run[0] for run in runs]),
        changed_over_bare=median([run[3] / run[0] for run in runs]),
        floor_over_bare=median([run[4] / run[0] for run in runs]),
        limit_over_bare=5,
        peak_mib=peak / 2**20,
        peak_limit_mib=100,
        runs=RUNS,
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--once"]:
        print(*measure())
    else:
        main()
