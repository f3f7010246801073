"""The commonest mistakes, made for real: what the cell shows names the thing, the place and the way out."""

from __future__ import annotations

import re

import pytest

from .mistakes import MISTAKES, handler
from .session import Reply

pytestmark = pytest.mark.kernel

FIRE = "%fire demo.a turn_id=7 text=hello"


@pytest.fixture(scope="module")
def notebook(shared_kernel):
    """One kernel for all mistakes; numpy and pandas are imported already, which takes longer than a watchdog waits."""
    shared_kernel.run("import numpy, pandas")
    return shared_kernel


@pytest.fixture
def cell(notebook):
    """Runs a cell that is gone after the test, with the worker that it made."""
    yield lambda code: notebook.run(code, "the cell")
    notebook.run("0", "the cell")


def shown(reply: Reply, defined: int = 0, ran: int = 0) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", reply.text).replace(f"cell [{defined}]", "cell [D]")
    text = re.sub(r"(raised at \S+, line) \d+", r"\1 N", text.replace(f"cell [{ran}]", "cell [F]"))
    return re.sub(r"#\d+", "#N", re.sub(r"\d+\.\d ms", "T ms", text)).strip()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_with_its_place_and_the_way_out(notebook, cell, mistake):
    answer = cell(mistake.cell)
    assert shown(answer, answer.count) == mistake.shows
    if mistake.fired is not None:
        fired = notebook.run(FIRE, "another cell")
        assert shown(fired, answer.count, fired.count) == mistake.fired


def test_a_warning_is_not_ok_and_is_in_the_log_and_in_the_counts(notebook, cell):
    defined = cell(handler("client.notify('hi')"))
    place = f"cell [{defined.count}], line 5"
    notebook.run("trace = await dn.fire('demo.a', {})")
    assert notebook.run("trace.ok, trace.outcome, [r.outcome for r in trace.invocations]").text == (
        "(False, 'not ok', ['warning'])"
    )
    assert notebook.run("[str(w) for r in trace.invocations for w in r.warnings]").text == (
        f"['{place}: write await client.notify(...)']"
    )
    assert f"on_a: {place}: write await client.notify(...)" in notebook.run("%worker logs w").text
    assert notebook.run("[s.warnings for s in dn.runtime().worker('w').stats.values()]").text == "[1]"


def test_a_returned_value_is_told_once_a_handler(notebook, cell):
    cell(handler("return 3"))
    assert "nobody gets it" in notebook.run(FIRE).text
    assert "nobody gets it" not in notebook.run(FIRE).text
    cell(handler("return 4"))
    assert "nobody gets it" in notebook.run(FIRE).text


def test_a_blocking_call_is_told_before_it_blocks_and_while_it_does(notebook, cell):
    answer = cell(handler("import time; time.sleep(2.5)"))
    way = "write await asyncio.sleep(...)"
    assert shown(answer, answer.count).endswith(
        f"! on_a (cell [D], line 5) calls time.sleep, and every worker waits meanwhile: {way}"
    )
    fired = notebook.run(FIRE)
    assert shown(fired, answer.count) == (
        "demo.a  #N\n  + notebook:w.on_a  ok  T ms\n      | on_a holds the loop, and every worker waits: "
        f"cell [D], line 5: import time; time.sleep(2.5); {way}"
    )


def test_a_task_that_returns_at_once_is_told_in_its_log(notebook, cell):
    cell("%%worker w\n@worker.task\nasync def watch(client): pass")
    wait = "import asyncio\nwhile not any('returned at once' in l.text for l in dn.runtime().logs.lines(0, 10_000)):\n"
    notebook.run(f"{wait}    await asyncio.sleep(0.01)")
    assert (
        "watch has returned at once, and a task that ends is started again: let it run in a loop "
        "(while True: ...), or use @worker.on_startup for what is done once"
    ) in notebook.run("%worker logs w").text


def test_state_that_a_handler_assigns_is_there_for_the_next_generation(notebook, cell):
    cell(handler("worker.state = {'n': 1}"))
    notebook.run(FIRE)
    cell(handler("print('n is', worker.state['n'])"))
    assert "| n is 1" in notebook.run(FIRE).text


@pytest.mark.parametrize("assigns", ["worker = 3", "from string import digits as worker"])
def test_a_worker_that_is_another_thing_now_is_told_with_the_cell_that_made_it_so(notebook, cell, assigns):
    cell(handler("pass"))
    by = notebook.run(assigns, "assigns").count
    answer = notebook.run("@worker.on_event('b')\nasync def on_b(event, client): pass", "uses")
    what = "an int" if "3" in assigns else "a str"
    assert shown(Reply("", streams={"stderr": answer.streams["stderr"]}), by, answer.count) == (
        f"x cell [F], line 1: worker is {what} here and no Worker: cell [D] assigned it; give that another name"
    )
    assert answer.error.startswith("AttributeError: ")
    notebook.run("0", "assigns")


def test_a_worker_that_is_deleted_is_told(notebook, cell):
    cell(handler("pass"))
    notebook.run("del worker")
    answer = notebook.run("@worker.on_event('b')\nasync def on_b(event, client): pass")
    assert answer.streams["stderr"] == (
        f"x cell [{answer.count}], line 1: no cell has made a worker of that name: begin the cell by %%worker NAME\n"
    )
    assert answer.error == "NameError: name 'worker' is not defined"


def test_a_keyword_that_a_cell_misspells_is_told_below_its_traceback(notebook):
    answer = notebook.run("await dn.runtime().client().publish('x', {}, session='s')")
    assert answer.streams["stderr"] == f"x cell [{answer.count}], line 1: did you mean session_id=?\n"


def test_a_cell_magic_that_is_not_on_top_is_told(notebook):
    answer = notebook.run("x = 1\n%%worker w\nprint(1)")
    assert shown(answer, ran=answer.count) == (
        "UsageError: %%worker must be the first line of its cell: move it and what follows to a cell below (DN104)\n"
        "    at cell [F], line 2"
    )


def test_an_endless_loop_says_in_its_cell_who_holds_the_loop_and_what_ends_it(any_kernel):
    any_kernel.run(handler("pass"))
    any_kernel.run("%%time\npass")
    begun = any_kernel.begin("get_ipython().run_cell('y = 1')\nwhile True: pass")
    any_kernel.until_stream("Interrupt ends it")
    any_kernel.interrupt()
    answer = any_kernel.collect(begun)
    assert answer.error.startswith("KeyboardInterrupt")
    assert shown(Reply("", streams=answer.streams), ran=answer.count) == (
        "cell [F], line 2: while True: pass holds the loop for 5 s now, and every worker waits; Interrupt ends it"
    )
    assert any_kernel.run("1 + 1").text == "2"


def test_an_endless_loop_of_a_handler_says_so_in_the_cell_that_fires_it(notebook, cell):
    defined = cell(handler("while True: pass")).count
    begun = notebook.begin(FIRE)
    notebook.until_stream("Interrupt ends it")
    notebook.interrupt()
    answer = notebook.collect(begun)
    assert shown(Reply("", streams=answer.streams), defined) == (
        "notebook:w.on_a (cell [D], line 5: while True: pass) holds the loop for 5 s now, and every worker waits; "
        "Interrupt ends it"
    )


def test_a_cell_without_workers_may_run_as_long_as_it_likes(bare_kernel):
    bare_kernel.run("%load_ext dnworker")
    assert bare_kernel.run("import time\ntime.sleep(6)\nprint('done')").text == "done\n"
