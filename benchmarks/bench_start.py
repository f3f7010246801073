"""`serve` from launch to ready, and the memory it then holds; beside a bare server, and the reference."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import (
    RUNS,
    has_reference,
    median,
    report,
    resident,
    row,
    serve_ours,
    serve_program,
    serve_reference,
)

ROWS = ("serve", "serve-memory")

WORKER = """
from dnworker import Worker
worker = Worker(name="w")

@worker.on_event("bench.event")
async def on_event(event, client): ...
"""

HELLO = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def hello(request):
    return PlainTextResponse("hello world")

app = Starlette(routes=[Route("/api/ready", hello)])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
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
    mine, bare, theirs, is_compared = [], [], [], has_reference()
    with tempfile.TemporaryDirectory() as home:
        ours = capability(Path(home) / "ours", WORKER)
        other = WORKER.replace("from dnworker", "from dreadnode.capabilities.worker")
        reference = capability(Path(home) / "theirs", other)
        for turn in range(RUNS + 1):  # the first one compiles the modules
            with serve_program(HELLO) as (_, process, seconds):
                bare.append((seconds, resident(process)))
            with serve_ours(ours) as (_, process, seconds):
                mine.append((seconds, resident(process)))
            if turn % 2 and is_compared:
                with serve_reference(reference) as (_, process, seconds):
                    theirs.append((seconds, resident(process)))
    starts, sizes = (([a[n] for a in mine[1:]], [b[n] for b in bare[1:]]) for n in range(2))
    report(
        what="serve with one in-process worker",
        rows=[row("serve", *starts), row("serve-memory", *sizes)],
        reference_s=median([s for s, _ in theirs]) if theirs else None,
        reference_mib=median([m for _, m in theirs]) if theirs else None,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
