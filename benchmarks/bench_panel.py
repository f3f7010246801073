"""The panel under 10,000 lines a second: the loop's lag, what it sends, and the browser's frames.

Side by side in the same kernel: the same lines with no view, and with one that follows the log; in the same
browser: a panel at rest, and one under the flood.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_notebook import kernel, run
from common import PROJECT, RUNS, median, report

sys.path.insert(0, str(PROJECT / "scripts"))
SECONDS = 30

WORKER = """
%%worker flood --quiet
import asyncio, time
@worker.on_event("flood")
async def flood(event, client):
    started, sent = time.monotonic(), 0
    while (now := time.monotonic() - started) < event.payload["seconds"]:
        while sent < now * 10_000:
            print(f"line {sent} of a worker that has a lot to say, as they do when something is wrong")
            sent += 1
        await asyncio.sleep(0.01)
""".strip()

LAG = """
lags = []
async def watch():
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append((time.perf_counter() - began - 0.005) * 1000)
watching = asyncio.create_task(watch())
await dn.fire("flood", {"seconds": %d}, timeout=None)
watching.cancel()
lags.sort()
print(lags[int(len(lags) * 0.99)], dn.runtime().logs.end - 1)
"""


class View:
    """A view as the front end has one, as far as the kernel can tell: it follows the log, and answers."""

    def __init__(self, client: Any, comm_id: str) -> None:
        self._client = client
        self._comm_id = comm_id
        self.messages = 0
        self.bytes = 0
        self.last = 0
        self.seen = 0.0

    def say(self, type_: str, **fields: Any) -> None:
        """Send a message of the view."""
        data = {"method": "custom", "content": {"type": type_, "view": "bench", **fields}}
        message = self._client.session.msg("comm_msg", {"comm_id": self._comm_id, "data": data})
        self._client.shell_channel.send(message)

    def take(self, message: dict[str, Any]) -> None:
        """Count a message, and answer now and then that it was seen."""
        content = message["content"]["data"].get("content", {})
        self.messages += 1
        self.bytes += len(json.dumps(content))
        if "log" in content:
            self.last = content["log"]["end"] - 1
        if time.monotonic() - self.seen > 5 and "seq" in content:
            self.seen = time.monotonic()
            self.say("ack", seq=content["seq"])


def flood(client: Any, view: View | None) -> tuple[float, int]:
    """Run the flood; returns the 99th percentile of the lag in ms, and how many lines there were."""
    parent = client.execute(LAG % SECONDS)
    said = ""
    while True:
        message = client.get_iopub_msg(timeout=SECONDS + 60)
        if message["msg_type"] == "comm_msg" and view is not None:
            view.take(message)
        if message["parent_header"].get("msg_id") != parent:
            continue
        if message["msg_type"] == "stream":
            said += message["content"]["text"]
        if message["msg_type"] == "error":
            raise RuntimeError(message["content"]["evalue"])
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            lag, lines = said.split()
            return float(lag), int(lines)


def drain(client: Any, view: View) -> None:
    """Take what is still under way."""
    while True:
        try:
            message = client.get_iopub_msg(timeout=2)
        except queue.Empty:
            return
        if message["msg_type"] == "comm_msg":
            view.take(message)


def in_kernel() -> dict[str, Any]:
    """Measure lag, messages and bytes, with and without a view."""
    bare, watched, messages, kilobytes, missing = [], [], [], [], []
    for _ in range(RUNS):
        with kernel() as (client, _):
            run(client, "import asyncio, time\n%load_ext dnworker")
            run(client, WORKER)
            bare.append(flood(client, None)[0])
        with kernel() as (client, _):
            run(client, "import asyncio, time\n%load_ext dnworker")
            run(client, WORKER)
            view = View(client, run(client, "print(dn.panel().comm.comm_id)")[0].strip())
            view.say("hello", parts=["log"], looks={"runs": {}})
            lag, lines = flood(client, view)
            watched.append(lag)
            messages.append(view.messages / SECONDS)
            kilobytes.append(view.bytes / SECONDS / 1000)
            drain(client, view)
            missing.append(lines - view.last)
    return {
        "lag_p99_ms": median(watched),
        "lag_without_a_view_p99_ms": median(bare),
        "lag_limit_ms": 25,
        "messages_a_second": median(messages),
        "messages_limit": 20,
        "kilobytes_a_second": median(kilobytes),
        "kilobytes_limit": 300,
        "lines_the_view_does_not_know_of": max(missing),
    }


FRAMES = """
async (seconds) => {
  let frames = 0;
  const until = performance.now() + seconds * 1000;
  await new Promise((done) => {
    const next = () => { frames += 1; performance.now() < until ? requestAnimationFrame(next) : done(); };
    requestAnimationFrame(next);
  });
  return frames / seconds;
}
"""


def in_browser() -> dict[str, Any]:
    """Measure frames a second in JupyterLab, at rest and under the flood."""
    import nbformat
    from lab import launch, open_notebook, run_all, running_lab
    from playwright.sync_api import sync_playwright

    rest, under = [], []
    cells = ["import asyncio, time\n%load_ext dnworker", WORKER, "%panel"]
    with tempfile.TemporaryDirectory() as directory:
        os.environ["HOME"] = directory
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, Path(directory) / "flood.ipynb")
        with running_lab(Path(directory)) as lab, sync_playwright() as playwright:
            page = launch(playwright).new_page(viewport={"width": 1280, "height": 900})
            open_notebook(page, lab, "flood.ipynb")
            run_all(page)
            panel = page.locator(".dn")
            panel.scroll_into_view_if_needed()
            panel.get_by_role("region", name="Log", exact=True).get_by_role(
                "button", name="Log", exact=True
            ).click()
            panel.get_by_role("button", name="Fire event").click()
            fire = panel.get_by_role("complementary", name="Fire event")
            fire.get_by_role("combobox", name="Kind").fill("flood")
            for _ in range(RUNS):
                rest.append(page.evaluate(FRAMES, 5))
                fire.get_by_role("textbox", name="Payload").fill('{"seconds": 7}')
                fire.get_by_role("button", name="Fire flood", exact=True).click()
                page.wait_for_timeout(1000)
                under.append(page.evaluate(FRAMES, 5))
                page.wait_for_timeout(2500)
    return {"frames_a_second": median(under), "frames_at_rest": median(rest), "frames_limit": 30}


def main() -> None:
    """Measure both and print one line."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        figures = in_kernel()
    report(what="the panel under 10,000 lines a second", **figures, **in_browser(), runs=RUNS)


if __name__ == "__main__":
    main()
