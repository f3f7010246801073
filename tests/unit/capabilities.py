"""Capabilities for tests, written into a directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent

ECHO = """
from dnworker import Worker
worker = Worker(name="echo")

@worker.on_event("demo.ping")
async def ping(event, client):
    print("got", event.payload)
    await client.publish("demo.pong", {"echo": event.payload})

if __name__ == "__main__":
    worker.run()
"""


def make_capability(root: Path, workers: str, files: dict[str, str] | None = None, head: str = "") -> Path:
    """Write a capability named demo; PYTHON in `workers` stands for this interpreter."""
    root.mkdir(exist_ok=True)
    manifest = f"schema: 1\nname: demo\nversion: 0.1.0\ndescription: Demo\n{dedent(head)}workers:\n"
    entries = "".join(f"  {line}\n" for line in dedent(workers).strip().splitlines())
    (root / "capability.yaml").write_text(manifest + entries.replace("PYTHON", json.dumps(sys.executable)))
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text))
    return root


def make_named(directory: Path, name: str, worker: str = "echo", version: str = "0.1.0") -> Path:
    """Write a capability of this name with one worker."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    root = make_capability(
        directory, f"{worker}: {{path: {worker}.py}}", {f"{worker}.py": ECHO.replace("echo", worker, 1)}
    )
    text = (root / "capability.yaml").read_text()
    (root / "capability.yaml").write_text(
        text.replace("name: demo", f"name: {name}").replace("0.1.0", version)
    )
    return root
