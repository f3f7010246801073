"""`--debug` of cells: a debugger attaches to a worker's process, by what the cell says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from ..dap import DebugClient

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

CELL = """%%worker {name}
@worker.on_event("{name}.go")
async def on_go(event, client):
    doubled = event.payload["n"] * 2
    print("doubled", doubled)
"""


def attach(text: str, wanted: str = "print(") -> tuple[DebugClient, Path]:
    """Do what a cell says: attach by its entry, with a breakpoint in the file that it names."""
    entry = json.loads(re.search(r"^\{$.*?^\}$", text, re.MULTILINE | re.DOTALL)[0])
    file = Path(re.search(r"open (\S+) and set breakpoints", text)[1])
    line = next(n for n, one in enumerate(file.read_text().splitlines(), 1) if wanted in one)
    client = DebugClient(entry["connect"]["port"])
    client.attach({str(file): [line]}, justMyCode=entry["justMyCode"], pathMappings=entry["pathMappings"])
    return client, file


@pytest.mark.parametrize("topology", ["python", "uv"])
def test_a_process_of_a_worker_of_cells_stops_at_a_breakpoint(kernel, topology):
    assert kernel.run(CELL.format(name="bridge")).status == "ok"
    moved = kernel.run(f"%worker topology bridge {topology} --debug")
    assert f"bridge is running, as a process ({topology}), with empty state" in moved.text
    assert "anybody with an account on this machine can attach" in moved.text
    client, file = attach(moved.text)
    fired = kernel.begin("%fire bridge.go n=4")
    client.until("stopped")
    frame = client.frames()[0]
    assert (frame["name"], frame["source"]["path"]) == ("on_go", str(file))
    assert client.variables(frame)["doubled"] == "8"
    client.go_on()
    trace = kernel.collect(fired).text
    assert "bridge.on_go  ok" in trace
    client.close()
    where = re.search(r"debugpy listens on 127\.0\.0\.1:\d+", moved.text)[0]
    assert where in kernel.run("%worker bridge").text
    again = kernel.run(CELL.format(name="bridge") + "# again\n")
    assert again.status == "ok", again.text
    assert where in kernel.run("%worker bridge").text  # the next generation keeps the port
    off = kernel.run(f"%worker topology bridge {topology}")
    assert "bridge is running" in off.text
    assert "debugpy" not in off.text + kernel.run("%worker bridge").text


def test_a_process_that_waits_begins_when_somebody_attaches(kernel):
    assert kernel.run(CELL.format(name="late")).status == "ok"
    moved = kernel.run("%worker topology late python --debug --wait")
    assert "it waits for a debugger before it runs" in moved.text
    client, _ = attach(moved.text, "worker = Worker")
    client.until("stopped")
    assert client.frames()[0]["name"] == "<module>"
    client.go_on()
    assert "late.on_go  ok" in kernel.run("%fire late.go n=1").text
    client.close()
    assert "stopped" in kernel.run("%worker stop late").text


def test_a_program_in_python_can_be_attached_to_and_others_are_refused(shared_kernel):
    body = "import time\nwhile True:\n    now = 1\n    time.sleep(0.05)\n"
    program = f"%%worker pinger --command {sys.executable} --debug\n{body}"
    declared = shared_kernel.run(program)
    client, file = attach(declared.text, "now = 1")
    client.until("stopped")
    assert client.frames()[0]["line"] == 3
    client.close()
    assert "removed" in shared_kernel.run("%worker remove pinger").text
    refused = shared_kernel.run("%%worker sleeper --command 'sleep 60' --debug\n#\n")
    assert "worker 'sleeper' runs 'sleep 60': a debugger attaches to `python FILE`" in refused.text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "%worker topology calm in-process --debug",
            "JupyterLab's debugger (the bug icon) stops in its cells",
        ),
        ("%worker topology calm python --wait", "--wait waits for a debugger, and goes with --debug"),
        (
            "%worker calm --debug",
            "--debug goes with: %worker topology NAME TOPOLOGY",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(shared_kernel, line, said):
    assert shared_kernel.run(CELL.format(name="calm")).status == "ok"
    assert said in shared_kernel.run(line).text


def test_debug_on_a_cell_of_handlers_says_the_way(shared_kernel):
    cell = CELL.format(name="calm").replace("worker calm", "worker calm --debug", 1)
    assert "%worker topology calm python --debug" in shared_kernel.run(cell).text
