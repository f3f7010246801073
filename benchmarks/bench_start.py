"""`serve` from launch to ready, and the memory it then holds; beside the reference."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import RUNS, median, report, resident, serve_ours, serve_reference

WORKER = """
from dnworker import Worker
worker = Worker(name="w")

@worker.on_event("bench.event")
async def on_event(event, client): ...
"""


def capability(directory: Path, source: str) -> Path:
    """Write a capability with one in-process worker."""
    directory.mkdir()
    (directory / "w.py").write_text(source)
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\nworkers:\n  w: {path: w.py}\n"
    )
    return directory


def main() -> None:
    """Take turns."""
    mine, theirs = [], []
    with tempfile.TemporaryDirectory() as home:
        ours = capability(Path(home) / "ours", WORKER)
        other = WORKER.replace("from dnworker", "from dreadnode.capabilities.worker")
        reference = capability(Path(home) / "theirs", other)
        for _ in range(RUNS):
            with serve_ours(ours) as (_, process, seconds):
                mine.append((seconds, resident(process)))
            with serve_reference(reference) as (_, process, seconds):
                theirs.append((seconds, resident(process)))
    report(
        what="serve with one in-process worker",
        launch_to_ready_s=median([s for s, _ in mine]),
        limit_s=0.8,
        reference_s=median([s for s, _ in theirs]),
        resident_mib=median([m for _, m in mine]),
        limit_mib=70,
        reference_mib=median([m for _, m in theirs]),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
