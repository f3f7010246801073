"""What the extension costs a kernel: loading, memory, a `%fire`, a cell, and idling; beside a bare kernel."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psutil
from common import QUICK, RUNS, median, report, row

ROWS = ("load", "load-memory", "fire", "cell-again")

IDLE_SECONDS = 10.0
FIRES = 3 if QUICK else 30

FIRST = "import asyncio, time\nawait asyncio.sleep(0)"

TASK = "await asyncio.create_task(asyncio.sleep(0))"

LOAD = """
import time
_begun = time.perf_counter()
get_ipython().run_line_magic("load_ext", "dnworker")
await dn._active().transactions.ready()
print(time.perf_counter() - _begun)
"""
WORKER = """
%%worker trivial --quiet
@worker.on_event("bench")
async def on_bench(event, client): pass
"""


def handlers(number: int) -> str:
    """Return the text of five handlers, one of which is another each time."""
    head = "@worker.on_event('bench.{n}')\nasync def on_{n}(event, client):\n    return {value}"
    return "\n".join(head.format(n=n, value=number if n == 3 else n) for n in range(5))


@contextmanager
def kernel() -> Iterator[tuple[Any, psutil.Process]]:
    """Start a kernel of this interpreter; gives its client and its process."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client, psutil.Process(manager.provisioner.pid)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: Any, code: str) -> tuple[str, float]:
    """Run a cell; returns what it printed, and the milliseconds from busy to idle, by the kernel itself."""
    parent = client.execute(code)
    said, busy = "", None
    while True:
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != parent:
            continue
        at: datetime = message["header"]["date"]
        match message["msg_type"]:
            case "stream":
                said += message["content"]["text"]
            case "error":
                raise RuntimeError(message["content"]["evalue"])
            case "status" if message["content"]["execution_state"] == "busy":
                busy = at
            case "status":
                assert busy is not None
                client.get_shell_msg(timeout=60)
                return said, (at - busy).total_seconds() * 1000


def idle_share(process: psutil.Process) -> float:
    """Return the percent of one core that a process uses while nothing is asked of it."""
    before = process.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    return 100 * (after.user + after.system - before.user - before.system) / IDLE_SECONDS


def memory(process: psutil.Process) -> float:
    """Return the MiB that a process holds."""
    return float(process.memory_info().rss) / 2**20


class Figures:
    """What the turns measured: pairs of ours and of a bare kernel, a list of each by row."""

    def __init__(self) -> None:
        self.pairs: dict[str, tuple[list[float], list[float]]] = {}

    def note(self, key: str, ours: float, bare: float) -> None:
        """Keep a pair."""
        mine, others = self.pairs.setdefault(key, ([], []))
        mine.append(ours)
        others.append(bare)


def cells(ours: Any, bare: Any, figures: Figures) -> None:
    """Run cells in both kernels in turn."""
    run(ours, WORKER.strip())
    run(ours, "%fire bench x=1")
    fires = [(run(ours, "%fire bench x=1")[1], run(bare, TASK)[1]) for _ in range(FIRES)]
    figures.note("fire", median([a for a, _ in fires]), median([b for _, b in fires]))
    for name, options in (("cell-again", ""), ("quiet", " --quiet")):
        run(ours, f"%%worker again{options}\n{handlers(0)}")
        run(bare, f"from dnworker import Worker\nworker = Worker('again')\n{handlers(0)}")
        again = [
            (
                run(ours, f"%%worker again{options}\n{handlers(n)}")[1],
                run(bare, f"worker = Worker('again')\n{handlers(n)}")[1],
            )
            for n in range(1, FIRES)
        ]
        figures.note(name, median([a for a, _ in again]), median([b for _, b in again]))


def turn(figures: Figures, *, with_idle: bool) -> None:
    """Start a bare kernel and one that loads the extension, and run cells in both."""
    with kernel() as (bare, bare_process):
        run(bare, FIRST)
        began = time.perf_counter()
        with kernel() as (ours, process):
            start = 1_000 * (time.perf_counter() - began)
            run(ours, FIRST)
            size = memory(process)
            load = float(run(ours, LOAD)[0].split()[-1]) * 1_000  # a hint stands above it
            figures.note("load", start + load, start)
            figures.note("load-memory", memory(process), size)
            cells(ours, bare, figures)
            if with_idle:
                with ThreadPoolExecutor() as pool:
                    figures.note("idle", *pool.map(idle_share, (process, bare_process)))


def main() -> None:
    """Measure a bare kernel and one with the extension in turn."""
    figures = Figures()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as on a user's machine
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        os.chdir(home)
        with kernel() as (client, _):  # and this is that once
            run(client, LOAD)
        for number in range(RUNS):
            turn(figures, with_idle=not QUICK and number % 3 == 0)
        os.chdir("/")
    idle, bare_idle = figures.pairs.pop("idle", ([0.0], [0.0]))
    quiet = figures.pairs.pop("quiet")
    report(
        what="the extension in a kernel",
        rows=[row(key, *pair) for key, pair in figures.pairs.items()],
        load_to_listening_ms=median([a - b for a, b in zip(*figures.pairs["load"], strict=True)]),
        cell_again_quiet_ms=median(quiet[0]),
        idle_percent=median(idle),
        bare_idle_percent=median(bare_idle),
        idle_limit_percent=0.5,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
