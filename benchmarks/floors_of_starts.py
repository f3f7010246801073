"""What starts cost that import only what no runtime of this wire can leave out; for the page's words.

`python benchmarks/floors_of_starts.py` prints what `serve` imports before it is ready: modules, milliseconds
of processor time without the collector, and MiB, each with a step more; then the milliseconds of an
interpreter with the libraries of a worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

TURNS = 7

BARE = """
import gc; gc.disable()
import uvicorn, uvicorn.protocols.http.httptools_impl, uvicorn.protocols.websockets.websockets_sansio_impl
import starlette.applications, starlette.responses, starlette.routing
"""
STARTS = {
    "a bare server": BARE,
    "with libraries": f"{BARE}import argparse, msgspec, yaml",
    "with our modules": f"{BARE}import argparse, msgspec, yaml, dnworker.cli.serve, dnworker.runtime\n"
    "import dnworker.server.embedded, dnworker.panel.page, dnworker.capability.yaml_reading",
}
"""What is imported before `/api/ready` answers, a step more each."""

MEASURED = """
import json, re, sys, time
size = int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([len(sys.modules), 1000 * time.process_time(), size]))
"""


def starts() -> dict[str, dict[str, float]]:
    """Return the modules, milliseconds (the least of the turns) and MiB of each step of a start; on Linux."""
    found: dict[str, list[list[float]]] = {name: [] for name in STARTS}
    for _ in range(TURNS):
        for name, code in STARTS.items():
            run = [sys.executable, "-c", code + MEASURED]
            done = subprocess.run(run, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    keys = ("modules", "ms", "MiB")
    return {
        name: {key: round(min(of), 1) for key, of in zip(keys, zip(*turns, strict=True), strict=True)}
        for name, turns in found.items()
    }


LIBRARIES = {
    "interpreter": "pass",
    "httpx, websockets": "import httpx, websockets.asyncio.client",
    "asyncio, msgspec, h11, websockets": "import asyncio, msgspec, h11, websockets.asyncio.client",
}
"""What a start imports: nothing, what any client needs, what a worker needs."""


def start(code: str) -> float:
    """Return the milliseconds of processor time of an interpreter, at its end, that runs `code`."""
    code += "\nimport time; print(1_000 * time.process_time())"
    command = [sys.executable, "-c", code]
    return median(float(subprocess.check_output(command, text=True)) for _ in range(TURNS))


def main() -> None:
    """Print both."""
    print(json.dumps(starts()))
    print(json.dumps({name: round(start(code), 1) for name, code in LIBRARIES.items()}))


if __name__ == "__main__":
    main()
