"""The page of a busy runtime in Chromium: frames, long tasks, the loop's lag, bytes, first picture, memory.

1,000 workers, 10,000 lines and 2,000 events a second, each view of the panel in turn; beside it the same
runtime with no page, and the same page at rest. `--memory SECONDS` watches the tab's memory under 500 events
a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from common import PROJECT, median, report

sys.path.insert(0, str(PROJECT / "scripts"))

WORKERS = 1_000
LINES = 10_000
EVENTS = 2_000
SECONDS = 10
VIEWS, LOG = ("overview", "runs", "workers", "map"), "log"
"""The views, and what is opened at the end below the list of runs: the log."""

PAINTS = 5

STEP = 0.02
"""Seconds between two bursts of the load."""

PERFORMANCE = """
window.longest = 0; window.longTasks = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    window.longTasks += 1;
    window.longest = Math.max(window.longest, entry.duration);
  }
}).observe({ entryTypes: ["longtask"] });
"""

PAINTED = """
() => new Promise((done) => new PerformanceObserver((list) => {
  const [paint] = list.getEntriesByName("first-contentful-paint");
  if (paint) done(paint.startTime);
}).observe({ type: "paint", buffered: true }))
"""
"""The moment of the first picture: it is told some time after it was drawn, so who reads it waits for it."""

FRAMES = """
async (seconds) => {
  window.longest = 0; window.longTasks = 0;
  let frames = 0;
  const until = performance.now() + seconds * 1000;
  await new Promise((done) => {
    const next = () => { frames += 1; performance.now() < until ? requestAnimationFrame(next) : done(); };
    requestAnimationFrame(next);
  });
  return { frames: frames / seconds, longest: window.longest, tasks: window.longTasks };
}
"""


async def serve() -> None:
    """Run the loaded runtime: reads the load to make from its input, a line each; prints what it measured."""
    from dnworker import Runtime, Worker

    async with Runtime(port=0) as runtime:
        for number in range(WORKERS):
            worker = Worker(f"w{number}")

            @worker.on_event(f"kind.{number}")
            async def handle(event: Any, client: Any) -> None:
                if event.payload["number"] % 500 == 7:
                    raise ValueError("one of many fails")

            await runtime.add(worker)
        print(json.dumps({"url": runtime.url, "token": runtime.tokens.main}), flush=True)
        lags: list[float] = []
        work: list[float] = []
        load = {"events": 0, "lines": 0}
        jobs = [asyncio.create_task(_burden(runtime, load)), asyncio.create_task(_measure(lags, work))]
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            load |= json.loads(line)
            found = [sorted(some)[int(len(some) * 0.99)] if some else 0.0 for some in (lags, work)]
            print(json.dumps(found), flush=True)
            lags.clear()
            work.clear()
        for job in jobs:
            job.cancel()


async def _burden(runtime: Any, load: dict[str, int]) -> None:
    number, lines = 0, 0
    due = time.monotonic()
    while True:
        for _ in range(int(load["events"] * STEP)):
            number += 1
            runtime.publish(f"kind.{number % WORKERS}", {"number": number})
        for _ in range(int(load["lines"] * STEP)):
            lines += 1
            runtime.log_line("notebook:w1", f"line {lines} of a worker that has a lot to say")
        due = max(due + STEP, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _measure(lags: list[float], work: list[float]) -> None:
    """Note how late the loop turns, and how long it worked meanwhile, in ms; a busy machine is late."""
    while True:
        began, used = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.005)
        lags.append((time.perf_counter() - began - 0.005) * 1000)
        work.append((time.thread_time() - used) * 1000)


class Lag(NamedTuple):
    """The 99th percentiles, in ms, of how late the loop turned and how long it worked meanwhile."""

    lag: float
    work: float


class Loaded:
    """The loaded runtime, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        first = json.loads(self._out.readline())
        self.url, self.token = first["url"], first["token"]

    def load(self, **wanted: int) -> Lag:
        """Change the load; returns how late the loop turned since the last change."""
        self._in.write(json.dumps(wanted) + "\n")
        self._in.flush()
        return Lag(*json.loads(self._out.readline()))


@contextmanager
def loaded() -> Iterator[Loaded]:
    """Run the loaded runtime until the block ends."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Loaded(process)
        finally:
            process.terminate()


class Traffic:
    """Counts what a page's socket receives."""

    def __init__(self, page: Any) -> None:
        self.messages = 0
        self.bytes = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self._take))

    def _take(self, frame: str | bytes) -> None:
        self.messages += 1
        self.bytes += len(frame)


def _open(browser: Any, runtime: Loaded) -> tuple[Any, Traffic, float]:
    """Open the page; returns it, its traffic, and the ms until its first picture."""
    page = browser.new_context(viewport={"width": 1500, "height": 940}).new_page()
    page.add_init_script(PERFORMANCE)
    traffic = Traffic(page)
    page.goto(f"{runtime.url}/panel")
    page.get_by_label("token").fill(runtime.token)
    page.get_by_role("button", name="open").click()
    page.locator(".dn .top").wait_for()
    paints = []
    for _ in range(PAINTS):
        again = page.context.new_page()
        again.goto(f"{runtime.url}/panel")
        paints.append(float(again.evaluate(PAINTED)))
        again.locator(".dn .top").wait_for()
        again.close()
    page.bring_to_front()
    return page, traffic, median(paints)


def views() -> dict[str, Any]:
    """Measure each view at rest and under load."""
    from lab import launch
    from playwright.sync_api import sync_playwright

    figures: dict[str, Any] = {}
    with loaded() as runtime, sync_playwright() as playwright:
        runtime.load(events=EVENTS, lines=LINES)
        time.sleep(SECONDS)
        without = runtime.load(events=0, lines=0)
        figures["without_a_page"] = {"lag_p99_ms": without.lag, "work_p99_ms": without.work}
        page, traffic, paint = _open(launch(playwright), runtime)
        figures["first_picture_ms"] = paint
        for view in (*VIEWS, LOG):
            if view == LOG:
                page.locator('[data-tab="runs"]').click()
                page.keyboard.press("Control+j")
            else:
                page.locator(f'[data-tab="{view}"]').click()
            page.wait_for_timeout(1000)
            rest = page.evaluate(FRAMES, 3)
            runtime.load(events=EVENTS, lines=LINES)
            page.wait_for_timeout(2000)
            traffic.messages = traffic.bytes = 0
            found = page.evaluate(FRAMES, SECONDS)
            held = runtime.load(events=0, lines=0)
            figures[view] = {
                "frames": round(found["frames"], 1),
                "frames_at_rest": round(rest["frames"], 1),
                "longest_task_ms": round(found["longest"], 1),
                "lag_p99_ms": round(held.lag, 2),
                "work_p99_ms": round(held.work, 2),
                "kilobytes_a_second": round(traffic.bytes / SECONDS / 1000, 1),
                "messages_a_second": round(traffic.messages / SECONDS, 1),
            }
            page.wait_for_timeout(1000)
    figures["lag_p99_ms"] = median([figures[view]["lag_p99_ms"] for view in VIEWS])
    return figures


def memory(seconds: int) -> dict[str, Any]:
    """Measure how the memory of the tab grows under 500 events a second; in MB."""
    from lab import launch
    from playwright.sync_api import sync_playwright

    with loaded() as runtime, sync_playwright() as playwright:
        page, _, _ = _open(launch(playwright), runtime)
        page.locator('[data-tab="runs"]').click()
        devtools = page.context.new_cdp_session(page)
        runtime.load(events=500, lines=500)

        def used() -> float:
            devtools.send("HeapProfiler.collectGarbage")
            return float(devtools.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

        page.wait_for_timeout(30_000)
        first = used()
        page.wait_for_timeout(seconds * 1000)
        last = used()
    growth = (last - first) / seconds
    return {"heap_mb": last, "heap_after_30_s_mb": first, "extrapolated_to_30_min_mb": first + growth * 1770}


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, metavar="SECONDS")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.memory:
        report(what="the memory of a tab under 500 events a second", **memory(options.memory))
    else:
        report(what="the page of a busy runtime", **views())


if __name__ == "__main__":
    main()
