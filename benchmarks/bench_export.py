"""Planning the export of a large notebook: 300 cells and 20 workers; time, and memory above the start."""

from __future__ import annotations

import time
import tracemalloc

from common import RUNS, median, report

from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.syntax.cell import Cell

WORKERS = 20
HELPERS = 260


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


def main() -> None:
    """Plan it some times and print one line."""
    cells = notebook()
    plan_export(cells, default_name="large")  # the environment's metadata is read once
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        plan = plan_export(cells, default_name="large")
        taken.append(time.perf_counter() - began)
    tracemalloc.start()
    plan_export(cells, default_name="large")
    _, peak = tracemalloc.get_traced_memory()
    report(
        what="planning an export of 300 cells and 20 workers",
        cells=len(cells),
        files=len(plan.files),
        seconds=median(taken),
        seconds_limit=1.0,
        peak_mib=peak / 2**20,
        peak_limit_mib=100,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
