"""What no runtime of this wire can leave out, of an event and of a start; for the page's words on goals.

`python benchmarks/floors.py` prints microseconds of each part of an event, and which share of a bare task
they leave; then milliseconds of processor time of an interpreter with the libraries of a worker. With
the word `start` it prints what `serve` imports: modules, ms of processor time without the collector, and MiB.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

import msgspec
from bench_bus import bare

from dnworker.core.envelope import EventEnvelope, new_id
from dnworker.core.invocation import Invocation

TURNS, COUNT = 7, 50_000

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


def parts() -> dict[str, Callable[[], object]]:
    """Return what each event needs: contract 7 for the envelope, the traces for the run."""
    payload = {"n": 1}
    event = EventEnvelope(seq=1, kind="bench.event", payload=payload)
    return {
        "check and encode the payload": lambda: msgspec.json.encode(payload),
        "id": new_id,
        "time of day": lambda: datetime.now(UTC),
        "envelope": lambda: EventEnvelope(seq=1, kind="bench.event", payload=payload),
        "run": lambda: Invocation("demo:w", "on_event", "event", event),
        "two readings of the clock": lambda: (time.monotonic(), time.monotonic()),
        "context of the handler": contextvars.copy_context,
    }


def cost(part: Callable[[], object]) -> float:
    """Return the microseconds of one call, without those of an empty one."""

    def turn(call: Callable[[], object]) -> float:
        started = time.perf_counter()
        for _ in range(COUNT):
            call()
        return (time.perf_counter() - started) / COUNT * 1e6

    return median(turn(part) - turn(lambda: None) for _ in range(TURNS))


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
    """Print the parts, and the share of a bare task that is left with them; then the starts."""
    if sys.argv[1:] == ["start"]:
        print(json.dumps(starts()))
        return
    task = median(1e6 / asyncio.run(bare()) for _ in range(TURNS))
    found = {name: round(cost(part), 3) for name, part in parts().items()}
    print(
        json.dumps(
            {"bare task": round(task, 3), **found, "share": round(task / (task + sum(found.values())), 3)}
        )
    )
    print(json.dumps({name: round(start(code), 1) for name, code in LIBRARIES.items()}))


if __name__ == "__main__":
    main()
