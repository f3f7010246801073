"""`dnworker serve` says on stderr, with file and line, what a handler does in vain: in-process and in processes."""

from __future__ import annotations

import pytest

from ..capabilities import make_capability
from .test_main import Served

WORKER = """
from dnworker import Worker
worker = Worker(name="NAME")

@worker.on_event("demo.forget")
async def forget(event, client):
    client.notify("hello")
    return 3

@worker.on_event("demo.miss")
async def miss(event, client):
    event.payload["trun_id"]

if __name__ == "__main__":
    worker.run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["path: w.py", "command: PYTHON, args: ['${CAPABILITY_ROOT}/w.py']"])
def test_a_mistake_is_said_with_its_file_and_line(tmp_path, entry):
    root = make_capability(tmp_path / "cap", f"w: {{{entry}}}", {"w.py": WORKER.replace("NAME", "w")})
    file = root / "w.py"
    with Served(tmp_path, str(root)) as served:
        served.told()
        served.run("fire", "demo.forget")
        wait_for(served, f"demo:w.forget: {file}, line 7: write await client.notify(...)")
        served.run("fire", "demo.miss", "turn_id=7")
        found = 'event.payload has no "trun_id"; it has turn_id; did you mean "turn_id"?'
        wait_for(served, f"demo:w.miss: {file}, line 12: {found}")


def wait_for(served: Served, text: str) -> None:
    """Return when the server has said a line on stderr."""
    said = []
    for line in served.process.stderr:
        said.append(line.rstrip())
        if said[-1] == text:
            return
    raise AssertionError(said)
