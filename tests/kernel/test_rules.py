"""Rules of `dnworker.patterns` in a real kernel: by its clock, over generations, exported, and kept over a kill."""

from __future__ import annotations

import os
import signal
from contextlib import closing

import pytest

from .session import KernelSession

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

IMPORT = "from dnworker.patterns import batch, debounce, limit, once, throttle"

BATCH = """
%%worker bridge
@worker.on_event("doc.changed")
@batch(size=9, within=60)
async def index(events, client):
    \"\"\"Index them.\"\"\"
    print("old", [event.payload["n"] for event in events])
""".strip()


def test_a_batch_waits_for_the_clock_of_the_notebook(kernel):
    kernel.run(IMPORT)
    kernel.run("%clock virtual")
    assert kernel.run(BATCH).status == "ok"
    fired = kernel.run("%fire doc.changed n=1 --times 3 --no-wait")
    assert fired.status == "ok", fired.error
    assert "old" not in kernel.run("%worker logs bridge").text
    kernel.run("%clock advance 61")
    assert "old [1, 1, 1]" in kernel.run("%worker logs bridge").text
    traces = "traces = [await dn.fire('doc.changed', {'n': n}, wait=False) for n in range(2)]"
    assert kernel.run(traces).status == "ok"
    kernel.run("%clock advance 61")
    assert kernel.run("print(*traces)").text.count("handles 2 events in the run of") == 2


THROTTLED = """
%%worker bridge
@worker.on_event("doc.changed")
@throttle(rate=1, per=60)
async def index(event, client):
    print("indexed", event.payload["n"])
""".strip()


def test_a_series_over_a_throttle_on_a_virtual_clock_says_what_it_waits_for_and_goes_on(kernel):
    kernel.run(IMPORT)
    kernel.run("%clock virtual")
    kernel.run(THROTTLED)
    told = kernel.run("%fire doc.changed n=1 --times 1000 --timeout 2").text
    assert "waiting for notebook:bridge.index, which sleeps on the virtual clock; %clock next" in told
    assert (
        "notebook:bridge.index, which sleeps on the virtual clock: the other 998 are fired without a wait"
        in told
    )
    assert "fired 1000 times: 1 ok, 0 not ok, 999 under way" in told
    assert (
        "what is under way waits for notebook:bridge.index, which sleeps on the virtual clock; %clock next and"
        in told
    )
    kernel.run("%clock advance 120")
    assert kernel.run("%worker logs bridge").text.count("indexed 1") == 3


def test_a_series_that_nothing_holds_up_on_a_virtual_clock_says_nothing_of_it(kernel):
    kernel.run(IMPORT)
    kernel.run("%clock virtual")
    kernel.run(THROTTLED.replace("@throttle(rate=1, per=60)\n", ""))
    told = kernel.run("%fire doc.changed n=1 --times 30").text
    assert "fired 30 times: 30 ok, 0 not ok" in told
    assert "clock" not in told


def test_what_waits_in_one_generation_is_handled_by_it_after_the_next_has_come(kernel):
    kernel.run(IMPORT)
    kernel.run("%clock virtual")
    kernel.run(BATCH, "cell")
    kernel.run("await dn.fire('doc.changed', {'n': 1}, wait=False)")
    kernel.run(BATCH.replace("old", "new"), "cell")
    kernel.run("await dn.fire('doc.changed', {'n': 2}, wait=False)")
    kernel.run("%clock advance 61")
    said = kernel.run("%worker logs bridge").text
    assert "old [1]" in said
    assert "new [2]" in said


def test_what_waits_is_handled_when_its_worker_is_stopped(kernel):
    kernel.run(IMPORT)
    kernel.run(BATCH)
    kernel.run("await dn.fire('doc.changed', {'n': 1}, wait=False)")
    kernel.run("%worker stop bridge")
    assert "old [1]" in kernel.run("%worker logs bridge").text


def test_a_handler_under_a_rule_is_shown_and_exported_as_its_own(kernel, tmp_path):
    kernel.run(IMPORT)
    kernel.run(BATCH)
    shown = kernel.run("%worker bridge").text
    assert "index" in shown
    for target in ("dreadnode", "dnworker"):
        said = kernel.run(f"%capability export {tmp_path / target} --target {target}")
        assert said.status == "ok", said.error
    assert (tmp_path / "dreadnode" / "workers" / "dnworker_patterns.py").exists()
    assert (
        "from dnworker.patterns import batch" in (tmp_path / "dnworker" / "workers" / "bridge.py").read_text()
    )
    checked = kernel.run(f"%capability check {tmp_path / 'dreadnode'}")
    assert checked.status == "ok", checked.error


def test_a_rule_in_the_wrong_place_is_one_line(kernel):
    kernel.run(IMPORT)
    refused = kernel.run(
        '%%worker bridge\n@debounce(seconds=5)\n@worker.on_event("a")\nasync def f(event, client):\n    pass'
    )
    assert "write @debounce(...) below @worker.on_event(...)" in refused.error


SEEN = "print(dn.worker('bridge').state.get('seen'))"
CELL = """
%%worker bridge
@worker.on_event("doc.changed")
@batch(size=3, within=3600)
async def index(events, client):
    worker.state["seen"] = sorted(event.payload["n"] for event in events)
""".strip()


def test_what_waits_when_a_kernel_is_killed_comes_again_to_its_next_life(kernel, tmp_path):
    file = tmp_path / "events.db"
    kernel.run(IMPORT)
    assert kernel.run(CELL).status == "ok"
    assert kernel.run(f"%runtime durable {file}").status == "ok"
    for n in (1, 2):
        kernel.run(f"await dn.fire('doc.changed', {{'n': {n}}}, wait=False)")
    kernel.run(
        "broker = dn._active().runtime.bus.broker\nawait broker._flush()\nawait broker.do(lambda connection: None)"
    )
    assert kernel.run(SEEN).text.strip() == "None"
    os.kill(int(kernel.run("import os; print(os.getpid())").text), signal.SIGKILL)
    with closing(KernelSession()) as next_life:
        assert next_life.run("%load_ext dnworker").status == "ok"
        assert next_life.run(f"%runtime durable {file}").status == "ok"
        next_life.run(IMPORT)
        assert next_life.run(CELL).status == "ok"
        next_life.run("await dn.fire('doc.changed', {'n': 3})")
        assert next_life.run(SEEN).text.strip() == "[1, 2, 3]"
