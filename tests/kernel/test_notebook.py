"""Loading, firing, output and export in a real kernel."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.kernel

SPEAKER = """
%%worker speaker
import logging, sys, warnings, asyncio
from rich.console import Console
early = Console()
@worker.on_event("a")
async def speak(event, client):
    print("printed", end=" ")
    print("line")
    print("to stderr", file=sys.stderr)
    sys.stdout.write("no newline")
    logging.getLogger("x").warning("logged")
    warnings.warn("warned")
    early.print("rich")
    await asyncio.to_thread(print, "from a thread")
""".strip()


def test_what_a_handler_says_is_echoed_by_the_fire_that_caused_it_and_lands_in_no_cell(kernel):
    kernel.run(SPEAKER)
    answer = kernel.run("%fire a")
    text = answer.displays[-1]["text/plain"]
    for said in (
        "printed line",
        "to stderr",
        "no newline",
        "logged",
        "UserWarning: warned",
        "rich",
        "from a thread",
    ):
        assert f"| {said}" in text or said in text, said
    assert answer.streams == {}


def test_what_a_later_event_makes_a_handler_say_is_not_in_a_cell(kernel):
    kernel.run(SPEAKER)
    answer = kernel.run("import asyncio\nawait dn.fire('a')\nprint('cell')")
    assert answer.streams["stdout"] == "cell\n"
    assert "printed line" in kernel.run("%worker logs speaker").text


def test_printing_in_cells_still_works_after_unloading(kernel):
    kernel.run("%unload_ext dnworker")
    assert kernel.run("print('here')").streams["stdout"] == "here\n"


def test_a_failure_shows_the_users_frames_with_cell_and_line(kernel):
    kernel.run("def helper(x):\n    return x['missing']", "h")
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c):\n    helper({})", "w")
    text = kernel.run("%fire a").text
    assert "cell [3], line 4, in h\n          helper({})" in text
    assert "cell [2], line 2, in helper\n          return x['missing']" in text
    assert "runner.py" not in text


def test_settle_raises_what_handlers_raised(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c):\n    raise KeyError('x')")
    kernel.run("%fire a --no-wait")
    answer = kernel.run("await dn.settle()")
    assert (answer.status, answer.error.partition(":")[0]) == ("error", "HandlerFailed")
    assert "notebook:w.h (event): KeyError: 'x' (cell [2], line 4)" in answer.text


def test_a_trace_has_html_without_script_and_everything_escaped(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('<script>alert(1)</script>')")
    html = kernel.run("%fire a").displays[-1]["text/html"]
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_a_fired_trace_can_be_assigned(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): return 1")
    answer = kernel.run("trace = %fire a x=1\nprint(trace.ok, len(trace.invocations), trace.event.payload)")
    assert answer.streams["stdout"] == "True 1 {'x': 1}\n"


def test_a_kind_that_nobody_hears_is_answered_with_the_near_one(kernel):
    kernel.run("%%worker w\n@worker.on_event('turn.completed')\nasync def h(e, c): pass")
    assert (
        "no handler in this notebook listens to turn.complete; did you mean turn.completed?"
        in kernel.run("%fire turn.complete").text
    )


def test_reloading_keeps_what_runs_and_unloading_takes_everything_out(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('heard')")
    before = kernel.run("%runtime").text
    kernel.run("%reload_ext dnworker")
    assert kernel.run("%runtime url").text in before
    assert "| heard" in kernel.run("%fire a").text
    kernel.run("%unload_ext dnworker")
    assert "not found" in kernel.run("%fire a").text
    names = "[n for n in ('dn', 'worker', 'EventEnvelope', 'RuntimeClient') if n in globals()]"
    # The workers stop meanwhile, and their shutdown handlers mean these names.
    left = kernel.run(f"import asyncio\nwhile left := {names}:\n    await asyncio.sleep(0.01)\nleft")
    assert left.text.strip() == "[]"


def test_the_panel_has_a_text_and_an_html_fallback(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('<b>said</b>')")
    kernel.run("%fire a")
    (bundle,) = kernel.run("%panel").displays
    assert "notebook:w  running  in-process" in bundle["text/plain"]
    assert "&lt;b&gt;said&lt;/b&gt;" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_panel_of_one_worker_shows_that_worker(kernel):
    kernel.run(
        "%%worker w\nprint('w is here')\n@worker.on_event('a')\nasync def h(e, c): print('w heard')", "c1"
    )
    kernel.run("%%worker v\n@worker.on_event('a')\nasync def h(e, c): print('v heard')", "c2")
    kernel.run("%fire a")
    (bundle,) = kernel.run("%panel v").displays
    assert "v heard" in bundle["text/plain"]
    assert "notebook:w" not in bundle["text/plain"]
    assert "w heard" not in bundle["text/html"]
    assert kernel.run("%panel nosuch").error.startswith("UsageError: no worker 'nosuch'")


def test_the_notebook_exports_and_the_export_answers_as_a_process(kernel):
    kernel.run("%%capability\nname: spoken\nversion: 0.1.0\ndescription: d")
    kernel.run("WORD = 'pong'", "c1")
    kernel.run(
        "%%worker w\n@worker.on_event('ping')\nasync def h(event: EventEnvelope, client): await client.publish(WORD)",
        "c2",
    )
    told = kernel.run("%capability export out/spoken --target dnworker").text
    assert "capability spoken is in out/spoken" in told
    kernel.run("%worker remove w")
    loaded = kernel.run("%capability load out/spoken").text
    assert "spoken:w  running  subprocess (uv)" in loaded
    answer = kernel.run("""
events = dn.runtime().bus.subscribe(["pong"])
dn.runtime().publish("ping")
(await anext(events)).kind
""")
    assert answer.result["text/plain"] == "'pong'"


def test_a_dataframe_of_another_cell_is_refused_with_cell_line_and_remedy(kernel):
    Path("table.csv").write_text("a")
    kernel.run("import csv\ndf = list(csv.reader(open('table.csv')))", "c1")
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c):\n    print(df)", "c2")
    answer = kernel.run("%capability export out")
    assert answer.status == "error"
    assert (
        "cell [3], line 4, column 11: 'df': cell [2], line 2 reads from the disk: `open('table.csv')`"
        in answer.text
    )
    assert "on_startup" in answer.text
    assert not Path("out").exists()


def test_what_is_exported_is_what_was_last_run(kernel):
    kernel.run("WORD = 'first'", "c1")
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print(WORD)", "c2")
    kernel.run("WORD = 'second'", "c1")
    kernel.run("%capability export out")
    assert "WORD = 'second'" in Path("out/workers/w.py").read_text()
    assert "first" not in Path("out/workers/w.py").read_text()


@pytest.mark.clause("13.17")
def test_a_killed_kernel_leaves_no_worker_process(kernel, tmp_path):
    (tmp_path / "cap").mkdir()
    (tmp_path / "cap" / "capability.yaml").write_text(
        "schema: 1\nname: cap\nversion: 0.1.0\ndescription: d\nworkers:\n  s: {command: sleep, args: ['1000']}\n"
    )
    kernel.run("%capability load cap")
    pid = int(kernel.run("print(dn.runtime().worker('s').detail()['process']['pid'])").text)
    process = psutil.Process(pid)
    kernel.manager.signal_kernel(9)
    _, alive = psutil.wait_procs([process], timeout=60)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert os.getpid() != pid


def test_the_extension_works_when_no_server_can_be_reached_yet(bare_kernel):
    answer = bare_kernel.run("%load_ext dnworker\n%fire a")
    assert answer.status == "ok"


def test_a_refused_export_leads_to_its_cells(kernel, tmp_path):
    kernel.run("stream = open('/dev/null')", cell_id="the-stream")
    kernel.run(
        "%%worker leaky\n@worker.on_event('x')\nasync def on_x(event, client): print(stream)",
        cell_id="the-use",
    )
    answer = kernel.run(f"%capability export {tmp_path / 'out'}")
    kernel.run("%worker remove leaky")
    (shown,) = [d for d in answer.displays if '<a href="#cell-id=the-use">cell [' in d.get("text/html", "")]
    assert "read it in an @worker.on_startup handler" in shown["text/plain"]
    assert "one thing cannot be exported" in answer.error
    assert "read it in" in answer.error  # what nbclient and other unattended runs tell
    assert answer.traceback[0].endswith("the report above says why (DN501)")
    assert not (tmp_path / "out").exists()
