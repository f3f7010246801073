"""`make demo`: the tutorial in a real kernel, then what it exported, in a fresh runtime under `uv run`.

Exits 0 when everything happened, and 1 with the step that failed.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from dnworker import EventEnvelope, Runtime, WorkerState

PROJECT = Path(__file__).parent.parent
NOTEBOOK = PROJECT / "notebooks" / "01-quickstart.ipynb"
SHOWN = ("%load_ext", "%fire", "%%worker", "%worker", "%panel", "%capability")
INSTALL_LIMIT = 150.0
"""Seconds for `uv run` to make the script's environment the first time."""


class StepFailed(Exception):
    """A step of the demo did not do what it should."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and name it when it fails."""
    print(f"\n== {title}", flush=True)
    started = time.monotonic()
    try:
        yield
    except (StepFailed, CellExecutionError, TimeoutError, OSError, RuntimeError, ValueError) as exc:
        raise StepFailed(f"{title}: {exc or type(exc).__name__}") from exc
    print(f"   ({time.monotonic() - started:.1f} s)", flush=True)


def run_notebook(directory: Path) -> None:
    """Run the tutorial in a real kernel and print what its cells answered."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(directory)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        first = cell.source.partition("\n")[0]
        if cell.cell_type == "code" and first.startswith(SHOWN):
            print(f"\n[{cell.execution_count}] {first}")
            for output in cell.outputs:
                print("    " + text_of(output).rstrip().replace("\n", "\n    "))
    traces = [o for c in notebook.cells if c.source.startswith("%fire") for o in c.outputs]
    if not any("wrote 14 tokens" in text_of(output) for output in traces):
        raise StepFailed("after the change, the new code did not answer")


def text_of(output: Any) -> str:
    """Return what a terminal would show of a cell's output."""
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))


async def run_exported(directory: Path) -> None:
    """Load the exported capability into a fresh runtime, fire at it, and print what it answers."""
    async with Runtime(port=0) as runtime:
        answers = runtime.bus.subscribe(["capability.quickstart.counted"])
        capability = await runtime.load(directory)
        (worker,) = capability.workers.values()
        print(f"   {worker.qualified_name} is {worker.state}: {process_line(worker.detail())}")
        await runtime.fire("turn.completed", wait=False)
        answer = await first_answer(answers, worker)
        print(f"   turn.completed was answered by {answer.kind} {answer.payload}")
        if answer.payload != {"turns": 1, "tokens": 14}:
            raise StepFailed(f"the answer is {answer.payload}, not what the notebook's code says")
        await worker.stop()
        print(f"   {worker.qualified_name} is {worker.state}; it said:")
        for line in worker.detail()["process"]["recent_output"][-6:]:
            print(f"      {line}")


async def first_answer(answers: Any, worker: Any) -> EventEnvelope:
    """Wait for the first answer, or for the worker to fail."""
    waiting = asyncio.ensure_future(anext(answers))
    deadline = time.monotonic() + INSTALL_LIMIT
    while not waiting.done():
        await asyncio.wait({waiting}, timeout=0.5)
        if worker.state is not WorkerState.RUNNING:
            waiting.cancel()
            raise StepFailed(f"the worker is {worker.state}: {worker.error}")
        if time.monotonic() > deadline:
            waiting.cancel()
            raise StepFailed(
                f"no answer within {INSTALL_LIMIT:g} s; its log: {worker.detail()['process']['log_path']}"
            )
    result: EventEnvelope = waiting.result()
    return result


def process_line(detail: dict[str, Any]) -> str:
    """Return a process's command and pid in one line."""
    process = detail["process"]
    return f"{process['command']} {' '.join(Path(a).name for a in process['args'])}, pid {process['pid']}"


def main() -> int:
    """Run the demo."""
    directory = Path(tempfile.mkdtemp(prefix="dnworker-demo-"))
    try:
        with step("the tutorial, in a real kernel"):
            run_notebook(directory)
        exported = directory / "out" / "quickstart"
        with step("the exported script"):
            print((exported / "workers" / "bridge.py").read_text(encoding="utf-8"))
        with step("the export in a fresh runtime, as a process under uv run"):
            asyncio.run(run_exported(exported))
    except StepFailed as exc:
        print(f"\ndemo failed at: {exc}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\ndemo done: written in a notebook, exported, and answering in a process of its own")
    return 0


if __name__ == "__main__":
    sys.exit(main())
