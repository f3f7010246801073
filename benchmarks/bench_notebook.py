"""What the extension costs a kernel: loading, memory, a `%fire`, and idling; beside a bare kernel."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psutil
from common import RUNS, median, report

IDLE_SECONDS = 10.0
FIRES = 30

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


def main() -> None:
    """Measure a bare kernel and one with the extension in turn."""
    loads, sizes, fires, cells, idle, bare_idle = [], [], [], [], [], []
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as on a user's machine
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        os.chdir(home)
        with kernel() as (client, _):  # and this is that once
            run(client, LOAD)
        for _ in range(RUNS):
            with kernel() as (client, process):
                run(client, "import asyncio, time\nawait asyncio.sleep(0)")
                bare_size = memory(process)
                bare_idle.append(idle_share(process))
            with kernel() as (client, process):
                run(client, "import asyncio, time\nawait asyncio.sleep(0)")
                loads.append(float(run(client, LOAD)[0]) * 1000)
                sizes.append(memory(process) - bare_size)
                run(client, WORKER.strip())
                idle.append(idle_share(process))
                run(client, "%fire bench x=1")
                fires.append(median([run(client, "%fire bench x=1")[1] for _ in range(FIRES)]))
                cells.append(median([run(client, "await asyncio.sleep(0)")[1] for _ in range(FIRES)]))
    report(
        what="the extension in a kernel",
        load_to_listening_ms=median(loads),
        load_limit_ms=300,
        memory_over_bare_mib=median(sizes),
        memory_limit_mib=45,
        fire_ms=median(fires),
        bare_cell_ms=median(cells),
        fire_limit_ms=15,
        idle_percent=median(idle),
        bare_idle_percent=median(bare_idle),
        idle_limit_percent=0.5,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
