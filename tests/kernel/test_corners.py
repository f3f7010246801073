"""Corners in which an expert would try to make the notebook stumble."""

from __future__ import annotations

import json
import os
import re

import pytest

pytestmark = pytest.mark.kernel

HEARD = "%%worker w\n@worker.on_event('a')\nasync def h(event, client):\n    worker.state['n'] = worker.state.get('n', 0) + 1\n    print('heard', worker.state['n'])"


def test_handlers_keep_their_worker_over_a_reload(kernel):
    kernel.run(HEARD, "c1")
    kernel.run("%reload_ext dnworker")
    assert "| heard 1" in kernel.run("%fire a").text


def test_a_worker_that_a_failed_cell_made_takes_effect_in_no_other(kernel):
    kernel.run(
        "from dnworker import Worker\nx = Worker(name='x')\n@x.on_event('a')\nasync def h(e, c): pass\n1 / 0",
        "c1",
    )
    assert "x is running" not in kernel.run(HEARD, "c2").text
    assert "notebook:x" not in kernel.run("%worker").text


def test_a_worker_of_an_imported_module_is_not_taken_in(kernel, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dnworker import Worker\nw = Worker(name='mine')\n@w.on_event('a')\nasync def h(e, c): pass\n"
    )
    kernel.run("from mine import w\nb = dn.worker('b')")
    assert "notebook:mine" not in kernel.run("%worker").text


def test_a_worker_made_and_run_inside_of_a_function_runs(kernel):
    answer = kernel.run(
        "def go():\n    from dnworker import Worker\n    w = Worker(name='made')\n    @w.on_event('a')\n"
        "    async def h(event, client): print('heard')\n    w.run()\ngo()"
    )
    assert answer.status == "ok"
    assert "| heard" in kernel.run("%fire a").text


def test_code_that_runs_within_a_worker_cell_leaves_its_transaction_alone(kernel):
    answer = kernel.run(
        "%%worker w\nget_ipython().run_cell('a = 1')\n@worker.on_event('a')\nasync def h(e, c): print('heard')"
    )
    assert answer.status == "ok", answer.text
    assert "| heard" in kernel.run("%fire a").text


def test_a_cell_on_a_subshell_leaves_the_transaction_of_the_kernels_cell_alone(kernel):
    subshell = kernel.subshell()
    waiting = kernel.begin(
        "%%worker w\nimport asyncio\nprint('begun', flush=True)\nawait asyncio.sleep(1)\n@worker.on_event('a')\nasync def h(e, c): print('heard')"
    )
    kernel.until_stream("begun")
    beside = kernel.begin("a = 1", subshell=subshell)
    assert kernel.collect(beside).status == "ok"
    assert "+ on_event a: h" in kernel.collect(waiting).text
    assert "| heard" in kernel.run("%fire a").text


def test_a_captured_cell_that_registers_doubles_nothing_when_it_is_edited(kernel):
    cell = "%%capture out\np = dn.worker('p')\n@p.on_event('a')\nasync def NAME(event, client): print('NAME')"
    for name in ("one", "two"):
        assert kernel.run(cell.replace("NAME", name), "c7").status == "ok"
    text = kernel.run("%fire a").text
    assert "| two" in text
    assert "one" not in text


def test_a_worker_cell_within_another_magic_is_refused_in_one_sentence(kernel):
    answer = kernel.run("%%time\n%%worker w\nx = 1")
    assert answer.status == "error"
    assert "%%worker must be the first line of its cell" in answer.text


@pytest.mark.parametrize("cell", ["%%worker bridge", "%%agent triage", "%%worker bridge --command sh"])
def test_a_terminal_waits_for_the_body(shared_kernel, cell):
    answer = shared_kernel.run(f"get_ipython().check_complete({cell!r})[0]")
    assert answer.result["text/plain"] == "'incomplete'"


@pytest.mark.parametrize(
    "cell",
    [
        "class App:\n    def task(self, f): return f\napp = App()\n@app.task\ndef f(): pass\nimport asyncio\nasyncio.get_running_loop().is_running() and 'sync'",
        "class App:\n    def worker(self, n): return n\napp = App()\napp.worker('x')",
    ],
)
def test_cells_about_something_else_are_left_alone(shared_kernel, cell):
    before = shared_kernel.run("import inspect")
    assert before.status == "ok"
    assert shared_kernel.run(cell).status == "ok"
    asked = shared_kernel.run(f"'_close_cell' in get_ipython().transform_cell({cell!r})")
    assert asked.result["text/plain"] in ("False", "'_close_cell' in ''")


def test_cells_of_vs_code_are_compared_by_their_text(kernel, tmp_path):
    notebook = tmp_path / "mine.ipynb"
    kernel.run(f"__vsc_ipynb_file__ = {str(notebook)!r}")
    kernel.run(HEARD, "vscode-notebook-cell:/tmp/mine.ipynb#W0sZmlsZQ")
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "id": "1234", "source": HEARD}]}))
    os.utime(notebook, (2e9, 2e9))
    assert "stale" not in kernel.run("%worker w").text
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "id": "1234", "source": "x"}]}))
    os.utime(notebook, (2e9, 2e9))
    assert "stale: its cell was edited since, or deleted" in kernel.run("%worker w").text


def test_a_stopped_runtime_comes_back_with_one_watchdog_and_its_workers(kernel):
    kernel.run(HEARD, "c1")
    kernel.run("%runtime stop")
    assert "| heard 1" in kernel.run("%fire a").text
    counted = kernel.run(
        "import threading\nsum(t.name == 'dnworker watchdog' for t in threading.enumerate())"
    )
    assert counted.result["text/plain"] == "1"


def test_removing_a_loaded_worker_leaves_the_notebooks_own_of_its_name(kernel):
    kernel.run("%%capability\nname: cap\nversion: 0.1.0\ndescription: d")
    kernel.run(HEARD, "c1")
    kernel.run("%capability export cap --target dnworker --topology python")
    kernel.run("%%capability\nname: mine\nversion: 0.1.0\ndescription: d")
    kernel.run("%capability load cap --beside")
    assert "is removed" in kernel.run("%worker remove cap:w").text
    assert "| heard 1" in kernel.run("%fire a").text
    assert "cell [3]" in kernel.run("%worker w").text


def test_a_refused_program_leaves_the_one_that_runs_alone(kernel):
    kernel.run("%%worker prog --command sh\necho first\nsleep 100", "c1")
    assert kernel.run("%%worker prog --command sh --file /abs\necho second", "c1").status == "error"
    assert kernel.run('%%worker prog --command "sh \'x"\necho second', "c1").status == "error"
    assert "prog is running" in kernel.run("%worker restart prog").text
    kernel.run("%%worker other --command sh\nsleep 100", "c1")
    kernel.run("await dn.settle()")
    assert "notebook:prog" not in kernel.run("%worker").text


def test_a_refused_generation_of_a_process_is_no_generation(kernel):
    cell = "%%worker w\n@worker.on_event('a')\nasync def h(event, client): print('VERSION')"
    kernel.run(cell.replace("VERSION", "one"), "c1")
    kernel.run(cell.replace("VERSION", "two"), "c1")
    kernel.run("data = open('/dev/null')")
    kernel.run("%worker topology w python")
    assert kernel.run(cell.replace("'VERSION'", "data"), "c1").status == "error"
    kernel.run("%worker rollback w")
    assert "| one" in kernel.run("%fire a").text


def test_a_process_listens_when_its_cell_is_done_and_after_a_restart(kernel):
    cell = "%%worker w\n@worker.on_event('a')\nasync def h(event, client): print('VERSION')"
    kernel.run(cell.replace("VERSION", "one"), "c1")
    kernel.run("%worker topology w python")
    kernel.run(cell.replace("VERSION", "two"), "c1")
    assert "| two" in kernel.run("%fire a").text
    kernel.run("%worker restart w")
    assert "| two" in kernel.run("%fire a").text


def test_state_that_a_cell_replaces_or_takes_out_is_what_handlers_find(kernel):
    show = "@worker.on_event('a')\nasync def h(event, client): print(sorted(worker.state.items()))"
    kernel.run(f"%%worker w\nworker.state = {{'n': 5, 'old': 1}}\n{show}", "c1")
    assert "| [('n', 5), ('old', 1)]" in kernel.run("%fire a").text
    kernel.run(f"%%worker w\nworker.state.pop('old')\n{show}", "c1")
    assert "| [('n', 5)]" in kernel.run("%fire a").text
    kernel.run(f"%%worker w\nworker.state = {{'m': 6}}\n{show}", "c1")
    assert "| [('m', 6)]" in kernel.run("%fire a").text


def test_a_handler_that_uses_a_handle_registers_nothing(kernel):
    kernel.run(
        "hive = dn.worker('hive')\nhive.state['n'] = 3\n@hive.on_event('a')\nasync def h(event, client): print(dn.worker('hive').state)"
    )
    for _ in range(2):
        assert "| {'n': 3}" in kernel.run("%fire a").text
    assert re.search(r"hive +running +in-process +1 ", kernel.run("%worker").text)


def test_worker_in_a_plain_cell_registers_for_the_worker_of_the_newest_cell(kernel):
    kernel.run(HEARD, "c1")
    answer = kernel.run(
        "@worker.on_event('b')\nasync def g(event, client): print('plain', worker.state)", "c2"
    )
    assert "w is running, generation 2\n  + on_event b: g" in answer.text
    kernel.run("%fire a")
    assert "| plain {'n': 1}" in kernel.run("%fire b").text


def test_a_task_with_other_enclosed_values_is_another_task(kernel):
    cell = (
        "%%worker w\ndef make(n):\n    @worker.task\n    async def keep(client):\n        import asyncio\n"
        "        worker.state['n'] = n\n        await asyncio.Event().wait()\nmake(VALUE)"
    )
    for value in ("1", "2"):
        kernel.run(cell.replace("VALUE", value), "c1")
    assert kernel.run("import asyncio\nawait asyncio.sleep(0)\nworker.state['n']").result["text/plain"] == "2"


def test_a_record_that_reaches_no_stream_is_in_the_log_all_the_same(kernel):
    kernel.run(
        "%%worker w\nimport logging\nquiet = logging.getLogger('quiet')\nquiet.propagate = False\nquiet.addHandler(logging.NullHandler())\n"
        "@worker.on_event('a')\nasync def h(event, client):\n    print('first')\n    quiet.warning('second')\n    print('third')"
    )
    text = kernel.run("%fire a").text
    assert [said for said in ("first", "second", "third") if said in text] == ["first", "second", "third"]
    assert "warning  WARNING quiet: second" in kernel.run("%worker logs w").text


def test_a_failing_task_of_a_cell_is_not_put_on_a_handler(kernel):
    kernel.run(
        "%%worker w\nimport asyncio\n@worker.on_event('a')\nasync def h(event, client): print('heard')\n"
        "async def boom(): raise ValueError('mine')\nt = asyncio.ensure_future(boom())\nawait asyncio.sleep(0)\ndel t"
    )
    kernel.run("%fire a")
    assert kernel.run("import gc\ngc.collect()\nawait dn.settle()").status == "ok"


def test_what_fails_after_its_cell_is_raised_by_settle(kernel):
    begun = kernel.run("def f():\n    %worker start nobody\nf()")
    assert "no worker 'nobody'" in begun.text
    answer = kernel.run("await dn.settle()")
    assert answer.status == "error"
    assert "no worker 'nobody'" in answer.error


def test_an_interrupted_magic_shows_one_sentence(kernel):
    kernel.run(
        "%%worker w\nimport asyncio\n@worker.on_event('a')\nasync def h(event, client):\n    print('begun', flush=True)\n    await asyncio.sleep(600)"
    )
    firing = kernel.begin("print('firing', flush=True)\n%fire a")
    kernel.until_stream("firing")
    kernel.interrupt()
    answer = kernel.collect(firing)
    assert answer.status == "error"
    assert "%fire was interrupted; what it began goes on" in answer.error
    assert "dnworker_jupyter/" not in answer.text


def test_tracebacks_show_the_magic_and_not_what_became_of_it(kernel):
    answer = kernel.run("%%worker w\n1 / 0")
    assert "%%worker w" in answer.text
    assert "_open_worker" not in answer.text


def test_handlers_that_cannot_be_called_or_stand_twice_are_told(kernel):
    answer = kernel.run(
        "%%worker w\n@worker.on_event('a')\nasync def h(event): pass\n@worker.on_event('b')\nasync def g(e, c): pass\n@worker.on_event('b')\nasync def g(e, c): pass"
    )
    assert (
        "! h (cell [2], line 2) cannot be called: it must take (event, client), and takes (event)"
        in answer.text
    )
    assert "! g is registered more than once in this cell, in the same way; all of them run" in answer.text


def test_a_worker_in_error_is_named_where_one_looks(kernel):
    kernel.run(
        "%%worker w\n@worker.on_event('a')\nasync def h(e, c): pass\n@worker.task\nasync def t(c): raise ValueError"
    )
    kernel.run("%clock virtual")
    kernel.run("%clock advance 1h")
    assert "w is in state error; %worker restart w" in kernel.run("%fire a").text
    assert (
        "notebook:w is error, in-process, generation 1: All tasks crashed; %worker restart w"
        in kernel.run("%worker w").text
    )
    assert "is in state error" in kernel.run("%runtime doctor").text


def test_the_plain_functions_do_what_their_magics_do(kernel):
    kernel.run(HEARD)
    kernel.run("%fire a\n%fire a")
    assert (
        kernel.run("len(await dn.replay('last 2')), len(await dn.replay())").result["text/plain"] == "(2, 1)"
    )
    assert "make it virtual first: %clock virtual" in kernel.run("await dn.advance(5)").error
    assert "dnworker_jupyter/" not in kernel.run("await dn.advance(5)").text
    assert kernel.run("dir(dn)").result["text/plain"].count("'") == 28


def test_a_users_own_dn_survives_unloading(kernel):
    kernel.run("dn = 'mine'")
    kernel.run("%unload_ext dnworker")
    assert kernel.run("dn").result["text/plain"] == "'mine'"


def test_unloading_leaves_no_notebook_behind(kernel):
    for _ in range(3):
        kernel.run("%unload_ext dnworker")
        kernel.run("import asyncio\nawait asyncio.sleep(0)")
        kernel.run("%load_ext dnworker\nawait dn.settle()")
    counted = kernel.run(
        "import gc\nfrom dnworker_jupyter.notebook import Notebook\n"
        "def left():\n    gc.collect()\n    return sum(isinstance(o, Notebook) for o in gc.get_objects())\n"
        "async with asyncio.timeout(120):\n    while left() > 1: await asyncio.sleep(0.02)\nleft()"
    )
    assert counted.result["text/plain"] == "1", counted.text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%clock advnce 1h", "did you mean advance?"),
        ("%events sav x", "did you mean save?"),
        ("%capability exprt out", "did you mean export?"),
        ("%fire a --chaos fail=client.pubish", "did you mean client.publish?"),
        ("%fire a --sesion s", "did you mean --session? %fire --help shows how"),
        ("%%fire e a=1\nb: 2", "the payload is the body; put 'a=1' there"),
        ('%fire e {"a": }', "is neither JSON (column 7: Expecting value)"),
        ("%fire e a={1+1}", "is neither JSON (column 2: "),
    ],
)
def test_more_bad_input_is_answered_with_the_way_out(shared_kernel, code, said):
    shared_kernel.run("%%worker known\n@worker.on_event('known')\nasync def h(e, c): pass")
    answer = shared_kernel.run(code)
    assert answer.status == "error"
    assert said in answer.error


def test_a_captured_cell_that_fails_registers_nothing(kernel):
    kernel.run(
        "%%capture\nw = dn.worker('half')\n@w.on_event('a')\nasync def h(event, client): pass\n1 / 0", "c1"
    )
    assert "notebook:half" not in kernel.run("await dn.settle()\n%worker").text


def test_empty_code_within_a_worker_cell_ends_nothing(kernel):
    answer = kernel.run(
        "%%worker w\nget_ipython().run_cell('')\n@worker.on_event('a')\nasync def h(e, c): print('heard')"
    )
    assert answer.status == "ok", answer.text
    assert "| heard" in kernel.run("%fire a").text


def test_a_startup_that_asks_the_notebook_is_not_waited_for_by_what_it_asks(kernel):
    kernel.run(
        "%%capture\nw = dn.worker('asking')\n@w.on_startup\nasync def start(client): await dn.events()\n@w.on_event('a')\nasync def h(e, c): print('heard')"
    )
    assert "| heard" in kernel.run("await dn.settle()\n%fire a").text


def test_the_first_sleep_on_another_loop_leaves_the_clock_to_the_notebook(kernel):
    kernel.run("import asyncio, dnworker\nawait asyncio.to_thread(lambda: asyncio.run(dnworker.sleep(0.01)))")
    kernel.run(
        "%%worker w\nimport dnworker\n@worker.on_event('a')\nasync def h(e, c):\n    await dnworker.sleep(3600)\n    print('woke')"
    )
    kernel.run("%clock virtual")
    kernel.run("%fire a --no-wait")
    kernel.run("%clock advance 2h")
    assert "woke" in kernel.run("%worker logs w").text


def test_a_program_stays_whatever_runs_on_a_subshell_meanwhile(kernel):
    subshell = kernel.subshell()
    waiting = kernel.begin(
        "import asyncio\nawait get_ipython().run_cell_magic('worker', 'prog --command sh', 'sleep 100')\nprint('begun', flush=True)\nawait asyncio.sleep(1)"
    )
    kernel.until_stream("begun")
    assert kernel.collect(kernel.begin("y = 1", subshell=subshell)).status == "ok"
    kernel.collect(waiting)
    assert "notebook:prog" in kernel.run("await dn.settle()\n%worker").text
