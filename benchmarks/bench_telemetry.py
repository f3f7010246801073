"""Events a second from publish to handler with telemetry on and off, beside a bare task an event, in one run.

A collector on loopback, in a process of its own, takes what is sent. Times are those of the processor that
the loop's thread has used, so that others on the machine count less; `wall_` has the time on the wall.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from bench_bus import EVENTS
from common import RUNS, median, report

from dnworker import Runtime, Worker

COLLECTOR = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *of): ...
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


async def bare() -> tuple[float, float]:
    """Return tasks a second that asyncio alone starts and ends: by the processor, and on the wall."""
    running: set[asyncio.Task[None]] = set()

    async def handler(event: object, client: object) -> None: ...

    started = time.thread_time(), time.perf_counter()
    for number in range(EVENTS):
        task = asyncio.create_task(handler({"n": number}, None))
        running.add(task)
        task.add_done_callback(running.discard)
    while running:
        await asyncio.sleep(0)
    return EVENTS / (time.thread_time() - started[0]), EVENTS / (time.perf_counter() - started[1])


def ours(telemetry: str | bool) -> Callable[[], Awaitable[tuple[float, float]]]:
    """Return what measures events a second through bus, runner and history."""

    async def measure() -> tuple[float, float]:
        worker = Worker(name="bench")

        @worker.on_event("bench.event")
        async def on_event(event: object, client: object) -> None: ...

        async with Runtime(port=None, telemetry=telemetry) as runtime:
            await runtime.add(worker)
            started = time.thread_time(), time.perf_counter()
            for number in range(EVENTS):
                runtime.publish("bench.event", {"n": number})
            await runtime.settle(timeout=None)
            took = time.thread_time() - started[0], time.perf_counter() - started[1]
        return EVENTS / took[0], EVENTS / took[1]

    return measure


async def main(collector: str) -> None:
    """Take turns."""
    ways = (bare, ours(telemetry=False), ours(collector), ours("http://127.0.0.1:9"))
    for way in ways:
        await way()
    rounds = [[await way() for way in ways] for _ in range(RUNS * 2)]
    cpu = [[of[0] for of in one] for one in rounds]
    wall = [[of[1] for of in one] for one in rounds]
    report(
        what="publish to handler with telemetry, sampling at 1,000 spans a second",
        bare_tasks_per_s=median([one[0] for one in cpu]),
        off_per_s=median([one[1] for one in cpu]),
        on_per_s=median([one[2] for one in cpu]),
        share_of_bare_off=median([one[1] / one[0] for one in cpu]),
        share_of_bare_on=median([one[2] / one[0] for one in cpu]),
        share_of_bare_dead_collector=median([one[3] / one[0] for one in cpu]),
        wall_share_of_bare_off=median([one[1] / one[0] for one in wall]),
        wall_share_of_bare_on=median([one[2] / one[0] for one in wall]),
        limit_share=0.65,
        runs=RUNS * 2,
    )


if __name__ == "__main__":
    taker = subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True)
    try:
        assert taker.stdout is not None
        asyncio.run(main(f"http://127.0.0.1:{int(taker.stdout.readline())}"))
    finally:
        taker.kill()
        taker.wait()
