"""JupyterLab's debugger stops in handlers, where their cell says; what does not run in cells goes on."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from .debugging import LabDebugger
from .session import KernelSession, held_within

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture(scope="module")
def attached(shared_kernel):
    """A kernel whose debugger is turned on."""
    debugger = LabDebugger(shared_kernel)
    debugger.begin()
    return debugger


@pytest.fixture
def debugger(attached):
    """The debugger without breakpoints; what it holds runs on afterwards."""
    yield attached
    attached.clear()


@pytest.fixture
def lab(shared_kernel: KernelSession):
    """The kernel of the debugger."""
    return shared_kernel


def test_a_breakpoint_of_a_worker_cell_stops_its_handler_with_its_variables(lab, debugger):
    cell = """%%worker sums
import asyncio

@worker.on_event("sums.add")
async def on_add(event, client):
    amount = event.payload["n"] * 2
    total = amount + 1
    print("total", total)
"""
    assert debugger.break_at(cell, 7) == [7]
    assert lab.run(cell).status == "ok"
    fired = lab.begin("%fire sums.add n=4")
    stop = debugger.until("stopped")
    assert stop["reason"] == "breakpoint"
    frame = debugger.frame()
    assert (frame["name"], frame["line"]) == ("on_add", 7)
    assert debugger.variables(frame)["amount"] == "8"
    assert not [one for one in debugger.stack() if "/dnworker" in one["source"]["path"]]
    debugger.go_on()
    assert "total 9" in lab.collect(fired).text


@pytest.mark.parametrize(
    ("above", "lines"),
    [
        ("", 0),
        ("\n\n", 2),
        ("# what it does\n\n", 2),
        ("\n# what it does\n\n\n", 4),
    ],
)
def test_lines_are_those_of_the_cell_as_written(lab, debugger, above, lines):
    cell = f"""{above}%%worker lines{lines}
from __future__ import annotations
%matplotlib --list
x = !echo 1

@worker.on_event("lines.at{lines}")
async def on_lines(event: EventEnvelope, client: RuntimeClient) -> None:
    value = [
        1,
        2,
    ]
    print("seen", value)

"the last value"
"""
    wanted = lines + 12
    assert debugger.break_at(cell, wanted) == [wanted]
    assert lab.run(cell).status == "ok"
    fired = lab.begin(f"%fire lines.at{lines}")
    debugger.until("stopped")
    frame = debugger.frame()
    assert (frame["name"], frame["line"]) == ("on_lines", wanted)
    debugger.go_on()
    assert "seen [1, 2]" in lab.collect(fired).text


def test_a_handler_that_nobody_waits_for_stops_too(lab, debugger):
    cell = """%%worker ticks
@worker.every(seconds=0.05)
async def on_tick(client):
    worker.state["n"] = worker.state.get("n", 0) + 1
"""
    assert debugger.break_at(cell, 4) == [4]
    assert lab.run(cell).status == "ok"
    debugger.until("stopped")
    frame = debugger.frame()
    assert (frame["name"], frame["line"]) == ("on_tick", 4)
    assert "client" in debugger.variables(frame)
    debugger.break_at(cell)
    debugger.go_on()
    assert "removed" in lab.run("%worker remove ticks").text


def test_a_step_over_an_await_ends_behind_it_and_one_over_the_end_leaves_the_handler(lab, debugger):
    cell = """%%worker steps
import asyncio

@worker.on_event("steps.go")
async def on_go(event, client):
    before = 1
    await asyncio.sleep(0.05)
    await client.publish("steps.went", {"n": before})
    after = before + 1
"""
    debugger.break_at(cell, 6)
    assert lab.run(cell).status == "ok"
    fired = lab.begin("%fire steps.go")
    debugger.until("stopped")
    lines = []
    for _ in range(3):
        debugger.step("next")
        lines.append((debugger.frame()["name"], debugger.frame()["line"]))
    assert lines == [("on_go", 7), ("on_go", 8), ("on_go", 9)]
    debugger.step("next")
    assert (debugger.frame()["name"], debugger.frame()["line"]) == ("<module>", 1)  # the cell that waits
    debugger.go_on()
    assert "steps.went" in lab.collect(fired).text


def test_a_step_into_a_clients_method_stays_in_the_handler(lab, debugger):
    cell = """%%worker into
@worker.on_event("into.go")
async def on_go(event, client):
    await client.publish("into.went", {})
    return None
"""
    debugger.break_at(cell, 4)
    assert lab.run(cell).status == "ok"
    fired = lab.begin("%fire into.go")
    debugger.until("stopped")
    debugger.step("stepIn")
    assert (debugger.frame()["name"], debugger.frame()["line"]) == ("on_go", 5)
    debugger.go_on()
    assert lab.collect(fired).status == "ok"


RAISING = """%%worker {name}
async def check(n):
    secret = n * 3
    raise ValueError(f"no {{n}}")

@worker.on_event("{name}.go")
async def on_go(event, client):
    amount = event.payload["n"]
    await client.publish("{name}.went", {{}})
    await check(amount)
"""


@pytest.mark.parametrize("filters", ["raised", "userUnhandled", "uncaught"])
def test_an_exception_of_a_handler_stops_where_it_was_raised(lab, debugger, filters):
    worker = f"raise-{filters.lower()}"
    cell = RAISING.format(name=worker)
    debugger.break_at(cell)
    assert lab.run(cell).status == "ok"
    debugger.ask("setExceptionBreakpoints", filters=[filters])
    fired = lab.begin(f"%fire {worker}.go n=4")
    stop = debugger.until("stopped")
    assert stop["reason"] == "exception"
    assert [one["line"] for one in debugger.stack()[:2]] == [4, 10]
    current = debugger.frame("on_go (Current frame)" if filters == "userUnhandled" else "check")
    name, value = ("amount", "4") if filters == "userUnhandled" else ("secret", "12")
    assert debugger.variables(current)[name] == value
    debugger.clear()
    assert "ValueError: no 4" in lab.collect(fired).text


def test_handlers_that_do_not_raise_never_stop_for_exceptions_of_ours(lab, debugger):
    assert (
        lab.run(
            """%%worker calm
import asyncio

@worker.on_event("calm.go")
async def on_go(event, client):
    await client.publish("calm.went", {})
    await client.notify(title="x")
    async with asyncio.timeout(60):
        await asyncio.sleep(0.01)

@worker.on_event("calm.went")
async def on_went(event, client):
    print("went")
"""
        ).status
        == "ok"
    )
    debugger.ask("setExceptionBreakpoints", filters=["userUnhandled", "uncaught"])
    assert "went" in lab.run("%fire calm.go").text
    assert not [one for one in debugger.events if one["event"] == "stopped"]


def test_a_debugger_from_before_the_extension_shows_no_frame_of_ours(bare_kernel):
    debugger = LabDebugger(bare_kernel)
    debugger.begin()
    assert bare_kernel.run("%load_ext dnworker").status == "ok"
    cell = (
        '%%worker early\n@worker.on_event("early.go")\nasync def on_go(event, client):\n    print("went")\n'
    )
    assert debugger.break_at(cell, 4) == [4]
    assert bare_kernel.run(cell).status == "ok"
    fired = bare_kernel.begin("%fire early.go")
    debugger.until("stopped")
    assert debugger.frame()["name"] == "on_go"
    assert not [one for one in debugger.stack() if "/dnworker" in one["source"]["path"]]
    debugger.go_on()
    assert "went" in bare_kernel.collect(fired).text


SECONDS = 3
"""How long the tests below hold a handler: longer than what the watchdog calls a block."""

WAITED_FOR = """%%worker held
ticks = worker.state.setdefault("ticks", [])

@worker.every(seconds=0.1)
async def on_tick(client):
    ticks.append(1)

@worker.on_event("held.go")
async def on_go(event, client):
    before = len(ticks)
    print("held", before)
"""


def test_after_a_stop_everything_goes_on(lab, debugger):
    child = '%%worker child\n@worker.on_event("child.go")\nasync def on_go(event, client):\n    print(1)\n'
    assert lab.run(child).status == "ok"
    assert "as a process (python)" in lab.run("%worker topology child python").text
    journal = Path(lab.run("print(dn.runtime().journal.path)").text.strip())
    assert debugger.break_at(WAITED_FOR, 11) == [11]
    assert lab.run(WAITED_FOR).status == "ok"
    fired = lab.begin(
        "import time\nbegan = time.monotonic()\ntrace = await dn.fire('held.go')\n"
        "after, took = len(dn.worker('held').state['ticks']), time.monotonic() - began"
    )
    debugger.until("stopped")
    stopped = time.monotonic()
    assert in_journal(journal, "held.go")  # written although the loop stands still
    time.sleep(SECONDS)
    went_on = time.monotonic()
    debugger.go_on()
    assert lab.collect(fired).status == "ok"
    assert "child.on_go  ok" in lab.run("%fire child.go").text
    # The real schedule goes on without a burst: of the ticks that were due meanwhile, hardly any came.
    before, after, took = map(
        float, lab.run("print(trace.invocations[0].logs[0].text.split()[1], after, took)").text.split()
    )
    assert after - before < (took - SECONDS / 2) * 10
    more = lab.run(
        "import asyncio\nstate = dn.worker('held').state\n"
        "while len(state['ticks']) <= after: await asyncio.sleep(0.01)"
    )
    assert more.status == "ok", more.text
    assert float(lab.run("print(trace.invocations[0].duration)").text) < took - SECONDS / 2
    assert held_within(lab, f"({stopped}, {went_on})") < 1  # nobody is said to have held the loop meanwhile
    # So does a virtual one.
    assert lab.run("%clock virtual").status == "ok"
    count = "print(len(dn.worker('held').state['ticks']))"
    before = int(lab.run(count).text)
    assert lab.run("%clock advance 1s").status == "ok"
    assert int(lab.run(count).text) - before in (10, 11)  # one may have been due when the clock was stopped
    assert lab.run("%clock real").status == "ok"


def in_journal(file: Path, kind: str, limit: float = 60.0) -> bool:
    """Return True as soon as the file has an event of this kind."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            tables = [
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            if any(
                kind in str(row) for name in tables for row in connection.execute(f"SELECT * FROM {name}")
            ):
                return True
        time.sleep(0.05)
    return False


def test_a_process_that_a_cell_starts_does_not_wait_for_a_debugger(lab, debugger):
    code = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1)'], check=True, timeout=100)"
    )
    reply = lab.run(code)
    assert reply.status == "ok", reply.text
