"""`%%worker` cells in a real kernel: they are cells, and they are transactions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

COUNTER = """
%%worker counter
@worker.on_startup
async def start(client):
    worker.state["n"] = 0
    print("started")

@worker.on_event("a")
async def on_a(event, client):
    worker.state["n"] += 1
    print("old", worker.state["n"])
""".strip()


def test_a_worker_cell_is_an_ordinary_cell(kernel):
    answer = kernel.run(
        "# above\n\n%%worker w\nimport asyncio\nawait asyncio.sleep(0)\n%time y = 1\n"
        "@worker.on_event('a')\nasync def h(event, client): pass\n1 + 1"
    )
    assert answer.status == "ok"
    assert answer.result["text/plain"] == "2"
    assert "w is running, generation 1\n  + on_event a: h" in answer.streams["stdout"]


def test_a_failing_body_fails_the_cell_at_its_own_line_and_changes_nothing(kernel):
    kernel.run(COUNTER, "c1")
    answer = kernel.run(
        "%%worker counter\n@worker.on_event('a')\nasync def on_a(e, c): print('new')\n\n1 / 0", "c1"
    )
    assert (answer.status, answer.error) == ("error", "ZeroDivisionError: division by zero")
    assert any("line 5" in line for line in answer.traceback)
    assert "| old 1" in kernel.run("%fire a").text


def test_running_the_cell_again_replaces_its_handlers_and_keeps_the_state(kernel):
    kernel.run(COUNTER, "c1")
    assert "| old 1" in kernel.run("%fire a").text
    changed = kernel.run(COUNTER.replace('"old"', '"new"'), "c1")
    assert "~ on_event a: on_a" in changed.text
    text = kernel.run("%fire a").text
    assert "| new 2" in text
    assert "old" not in text


def test_a_handler_that_the_cell_defines_no_more_is_gone(kernel):
    kernel.run(COUNTER, "c1")
    start_only = COUNTER.partition("@worker.on_event")[0]
    assert "- on_event a: on_a" in kernel.run(start_only, "c1").text
    assert "no handler in this notebook listens to a" in kernel.run("%fire a").text


def test_the_same_name_from_another_cell_replaces_it_and_says_so(kernel):
    kernel.run(COUNTER, "c1")
    answer = kernel.run("%%worker counter\n@worker.on_event('a')\nasync def on_a(e, c): print('new')", "c2")
    assert "~ on_event a: on_a, in place of cell [2]'s" in answer.text
    assert kernel.run("%fire a").text.count("on_a  ok") == 1


RUN_ALL = {
    "c0": "%load_ext dnworker",
    "c1": COUNTER,
    "c2": "%%worker busy\n@worker.every(seconds=3600)\nasync def tick(client): pass\n"
    "@worker.task\nasync def watch(client):\n    import asyncio\n    await asyncio.Event().wait()",
    "c3": "%panel",
}
HOLDINGS = """
import asyncio, collections, json, logging, psutil, threading
events = get_ipython().events.callbacks
loggers = [logging.getLogger(), *(x for x in logging.root.manager.loggerDict.values() if isinstance(x, logging.Logger))]
print(json.dumps({
    "tasks": sorted(t.get_coro().__qualname__ for t in asyncio.all_tasks()),
    "servers": len([c for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN"]),
    "threads": sorted(t.name for t in threading.enumerate() if not t.name.startswith("asyncio_")),
    "log hooks": sum(len(x.handlers) + len(x.filters) for x in loggers),
    "event hooks": {name: len(found) for name, found in events.items()},
    "transformers": [len(get_ipython().ast_transformers), len(get_ipython().input_transformers_post)],
    "listeners": [len(dn.runtime().logs._listeners), len(dn.runtime().bus._taps)],
}))
"""


@pytest.mark.parametrize("between", ["", "%reload_ext dnworker"], ids=["twice", "reloaded"])
def test_running_all_twice_doubles_nothing(kernel, between):
    def run_all():
        for cell_id, code in RUN_ALL.items():
            assert kernel.run(code, cell_id).status == "ok"
        return json.loads(kernel.run(HOLDINGS).text)

    first = run_all()
    kernel.run(between)
    assert run_all() == first
    assert {"Schedules._keep", "Supervision._supervise", "Server.serve"} <= set(first["tasks"])
    assert kernel.run("%fire a").text.count("on_a  ok") == 1


def test_a_changed_startup_restarts_the_worker_with_empty_state(kernel):
    kernel.run(COUNTER, "c1")
    kernel.run("%fire a --times 3")
    changed = kernel.run(COUNTER.replace('"started"', '"again"'), "c1")
    assert "counter is running (restarted)" in changed.text
    assert "| old 1" in kernel.run("%fire a").text


def test_rollback_brings_the_previous_handlers_back_and_they_are_what_is_exported(kernel):
    kernel.run(COUNTER, "c1")
    kernel.run(COUNTER.replace('"old"', '"new"'), "c1")
    kernel.run("%worker rollback counter")
    assert "| old" in kernel.run("%fire a").text
    kernel.run("%capability export out")
    assert '"old"' in Path("out/workers/counter.py").read_text()


def test_state_set_by_a_cell_that_fails_is_not_set(kernel):
    cell = "%%worker w\nworker.state['n'] = {}\n@worker.on_event('a')\nasync def h(e, c): print('n is', worker.state['n'])\n"
    kernel.run(cell.replace("{}", "1"), "c1")
    kernel.run(cell.replace("{}", "99") + "1 / 0", "c1")
    assert "| n is 1" in kernel.run("%fire a").text


def test_state_set_by_a_cell_that_runs_again_unchanged_survives_a_restart(kernel):
    cell = "%%worker w\nworker.state['n'] = 1\n@worker.on_event('a')\nasync def h(e, c): print('n is', worker.state['n'])"
    kernel.run(cell, "c1")
    kernel.run(cell, "c1")
    kernel.run("%worker restart w")
    assert "| n is 1" in kernel.run("%fire a").text


def test_a_future_import_may_stand_on_top(kernel):
    answer = kernel.run(
        "%%worker w\nfrom __future__ import annotations\n@worker.on_event('a')\nasync def h(e: Missing, c): print('heard')"
    )
    assert answer.status == "ok", answer.text
    assert "| heard" in kernel.run("%fire a --session s1 x=1").text


def test_an_interrupted_shutdown_does_not_wedge_the_worker(kernel):
    kernel.run(
        "%%worker w\nimport asyncio\n@worker.on_shutdown\nasync def end(c):\n    restarting.cancel()\n    await asyncio.sleep(1)"
    )
    interrupted = kernel.run("import asyncio\nrestarting = asyncio.current_task()\n%worker restart w")
    assert interrupted.status == "error"
    assert "w is running" in kernel.run("%worker start w").text


def test_a_worker_cell_replaces_a_worker_that_was_added_by_hand(kernel):
    kernel.run(
        "from dnworker import Worker\nother = Worker(name='w')\n@other.on_event('a')\nasync def h(e, c): print('added')\n"
        "await dn.runtime().add(other)"
    )
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('cell')")
    text = kernel.run("%fire a").text
    assert ("| cell" in text, "added" in text) == (True, False)


def test_each_handler_finds_the_state_of_its_own_worker(kernel):
    for name in ("one", "two"):
        kernel.run(
            f"%%worker {name}\n@worker.on_startup\nasync def start(client): worker.state['me'] = '{name}'\n"
            f"@worker.on_event('a')\nasync def {name}_a(e, c): print('I am', worker.state['me'], worker.name)"
        )
    text = kernel.run("%fire a").text
    assert "| I am one one" in text
    assert "| I am two two" in text


def test_a_startup_that_raises_fails_the_cell_with_its_place(kernel):
    answer = kernel.run("%%worker w\n@worker.on_startup\nasync def start(client):\n    raise KeyError('ws')")
    assert answer.status == "error"
    assert "worker 'w': on_startup start raised KeyError: 'ws' (cell [2], line 4); it has no earlier " in (
        answer.error
    )
    assert "nothing of it runs" in answer.text
    assert "dnworker/" not in answer.text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%%worker Bridge\n1", "worker name 'Bridge' is not allowed"),
        ("%%worker bridge --wen x\n1", "unknown option '--wen'; did you mean --when?"),
        ("%%worker bridge --when nope\n1", "no such flag is declared"),
        (
            "%%worker w\n@worker.on_event('a')\ndef h(e, c): pass",
            "line 2) must be 'async def h(...)'",
        ),
        (
            "%%worker w\n@worker.every(seconds=1, cron='* * * * *')\nasync def h(c): pass",
            "exactly one of seconds, minutes or cron",
        ),
        ("x = 1\n%%worker w", "%%worker"),
        ("%fire", "%fire needs a kind"),
        ("%fire a --timout 3", "unknown option '--timout'; did you mean --timeout?"),
        ("%fire a [1, 2]", "a payload is an object with names"),
        ("%%fire a\n{1", "payload, line 2, column"),
        ("%worker explode w", "%worker takes start, stop, restart"),
        ("%worker restart nobody", "no worker 'nobody'; there are: none"),
        ("%capability export", "%capability export needs a directory, as in: %capability export out/demo"),
        ("%%capability\nname: demo\n\tversion: 1", ":3:1: a tab stands where YAML wants spaces"),
        ("%runtime dance", "invalid choice: 'dance'"),
        ("x = 1\nawait dn.runtime().client().publish('turn.x')", "'turn.x' is reserved"),
        ("x = 1\nawait dn.fire('a', [1])", "a payload is an object"),
        (
            "import dnworker\nawait dnworker.Runtime(port=dn.runtime().server.port).start()",
            "is in use; port 0 picks a free one",
        ),
    ],
)
def test_bad_input_fails_the_cell_in_one_sentence_without_our_traceback(shared_kernel, code, said):
    answer = shared_kernel.run(code)
    assert answer.status == "error"
    assert said in answer.error + answer.text
    assert "dnworker/" not in answer.text
    assert "dnworker_jupyter/" not in answer.text


def test_a_mistake_is_shown_with_the_line_of_the_cell(shared_kernel):
    assert "], line 3" in shared_kernel.run("x = 1\n\nawait dn.fire('a', [1])").text


def test_help_is_there(shared_kernel):
    assert "--times N" in shared_kernel.run("%fire --help").text
    assert "--when FLAG" in shared_kernel.run("%%worker --help").text
    assert "--dir PATH" in shared_kernel.run("%%capability --help").text
    assert "--replace" in shared_kernel.run("%capability --help").text


def test_a_gated_worker_waits_for_its_flag(kernel):
    kernel.run("%%capability\nname: demo\nversion: 0.1.0\ndescription: d\nflags:\n  live: {description: f}")
    answer = kernel.run("%%worker w --when live\n@worker.on_event('a')\nasync def h(e, c): pass")
    assert "w is gated_off, generation 1; it needs one of these flags on: live" in answer.text
    assert "no handler" in kernel.run("%fire a").text


def test_variables_of_a_worker_that_the_export_runs_in_process_are_said_when_the_cell_runs(kernel):
    body = "\n@worker.on_startup\nasync def begin(client): ..."
    said = kernel.run("%%worker w --env A=b --topology in-process" + body)
    assert said.status == "ok"
    assert (
        "  ! the export refuses --env with --topology in-process: a variable needs a process of its own, "
        "--topology uv or python"
    ) in said.text.splitlines()
    assert "--env" not in kernel.run("%%worker x --env A=b" + body).text
    assert "not with --topology in-process" in kernel.run("%%worker --help").text
