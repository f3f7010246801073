"""One handler at a time in a real kernel: remove, fail, run again unchanged, go back."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

BAD_START = "%%worker w\n@worker.on_startup\nasync def start(client):\n    raise KeyError('no token')"
GOOD = "%%worker w\n@worker.on_event('a')\nasync def on_a(event, client): print('good')"
TWO = """
%%worker w
@worker.on_event('a')
async def on_a(event, client):
    worker.state['n'] = worker.state.get('n', 0) + 1
    print('a', worker.state['n'])

@worker.on_event('b')
async def on_b(event, client): print('b')
""".strip()


def generations(kernel) -> set[str]:
    """Return every number that the kernel shows for the generation of `w`."""
    seen = kernel.run(
        "from dnworker.panel.model import PanelModel\nr = dn.runtime()\nm = r.worker('w')\n"
        "print(dn.worker('w').generation, m.generation, PanelModel(r, r.actions).worker_to_json(m)['generation'])"
    )
    assert seen.status == "ok", seen.text
    row = next(line for line in kernel.run("%worker").text.splitlines() if line.startswith("notebook:w"))
    titled = kernel.run("%worker w").text.splitlines()[0]
    number = titled.rpartition("generation ")[2].partition(":")[0].split()[0].rstrip(",;")
    fired = kernel.run("t = await dn.fire('a')\nprint(*[i.generation for i in t.invocations])").text.split()
    columns = row.replace("subprocess (python)", "process").split()
    return {*seen.text.split(), number, columns[3], *fired}


# -- a failed cell leaves nothing behind ---------------------------------------------------------------


def test_the_bad_startup_of_a_failed_cell_breaks_no_later_cell(kernel):
    failed = kernel.run(BAD_START, "c1")
    assert "on_startup start raised KeyError: 'no token' (cell [2], line 4)" in failed.error
    assert "no workers yet" in kernel.run("%worker").text
    good = kernel.run(GOOD, "c2")
    assert good.status == "ok", good.text
    assert "w is running, generation 1\n  + on_event a: on_a" in good.text
    assert "start" not in kernel.run("%worker w").text
    assert "| good" in kernel.run("%fire a").text
    assert kernel.run("%worker restart w").text.strip() == "w is running"


@pytest.mark.parametrize(
    "bad",
    [
        BAD_START,
        GOOD.replace("on_a", "other") + "\n1 / 0",
        GOOD + "\n@worker.on_event('b')\ndef on_b(event, client): pass",
        "%%worker w\n@worker.on_event('a')\nasync def other(e, c): pass\n@worker.task\nasync def bad(c):\n  raise SystemExit\n"
        "@worker.on_startup\nasync def start(c): raise SystemExit(3)",
    ],
    ids=["startup", "raises", "not async", "exits"],
)
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_run_all_after_a_failure_runs_what_succeeded_and_nothing_of_what_failed(kernel, bad, stopped):
    kernel.run(TWO, "c1")
    kernel.run("%fire a")
    if stopped:
        kernel.run("%worker stop w")
    assert kernel.run(bad, "c2").status == "error"
    assert ("w is stopped" if stopped else "w is running") in kernel.run("%worker w").text
    kernel.run("%worker start w")
    text = kernel.run("%worker w").text
    assert "cell [2]" in text
    assert "other" not in text
    assert "start" not in text
    assert f"| a {1 if stopped else 2}" in kernel.run("%fire a").text
    for cell_id, code in (("c1", TWO), ("c3", GOOD.replace("on_a", "third"))):
        answer = kernel.run(code, cell_id)
        assert answer.status == "ok", answer.text
    assert "| good" in kernel.run("%fire a").text


def test_what_another_cell_started_before_and_fails_now_is_named_and_does_not_fail_a_good_cell(kernel):
    kernel.run("token = 'there'")
    needs = "%%worker w\n@worker.on_startup\nasync def connect(client):\n    if not token: raise KeyError('token')"
    assert kernel.run(needs, "c1").status == "ok"
    kernel.run("token = ''")
    assert "w is error" in kernel.run("%worker restart w").text
    good = kernel.run(GOOD, "c2")
    assert good.status == "ok", good.text
    assert "w is error, generation 2" in good.text
    assert "not for this change: on_startup connect raised KeyError: 'token'" in good.text
    assert (
        "which cell [3] registers; mend cell [3] and run it again, or %worker remove w.connect" in good.text
    )
    assert (
        "w is running without connect (on_startup) of cell [3]" in kernel.run("%worker remove w.connect").text
    )
    assert "| good" in kernel.run("%fire a").text


def test_the_shutdown_handlers_of_a_first_generation_that_fails_find_its_state(kernel):
    failed = kernel.run(
        "%%worker w\n@worker.on_startup\nasync def begin(c):\n    worker.state['opened'] = 'it'\n    raise ValueError('no')\n"
        "@worker.on_shutdown\nasync def end(c): closed.append(worker.state['opened'])\nclosed = []",
        "c1",
    )
    assert failed.status == "error"
    assert kernel.run("print(closed)").text.strip() == "['it']"


def test_a_second_cell_whose_startup_needs_what_the_first_made_starts_after_it(kernel):
    kernel.run(
        "%%worker w\n@worker.on_startup\nasync def connect(client): worker.state['connection'] = 'made'", "c1"
    )
    second = (
        "%%worker w\n@worker.on_startup\nasync def use(client): print('uses', worker.state['connection'])"
    )
    assert kernel.run(second.replace("connection'", "konnection'"), "c2").status == "error"
    assert kernel.run(second, "c2").status == "ok"
    assert "uses made" in kernel.run("%worker logs w").text
    assert kernel.run("%worker restart w").text.strip() == "w is running"


def test_a_failed_cell_that_was_for_another_worker_before_ends_nothing_of_that(kernel):
    kernel.run(GOOD, "c1")
    failed = kernel.run(
        GOOD.replace("worker w", "worker v") + "\n@worker.on_startup\nasync def s(c): 1 / 0", "c1"
    )
    assert failed.status == "error"
    assert "| good" in kernel.run("%fire a").text
    renamed = kernel.run(GOOD.replace("worker w", "worker v"), "c1")
    assert "w is removed: no cell defines it any more" in renamed.text
    assert kernel.run("%fire a").text.count("| good") == 1


def test_a_worker_with_a_new_name_gets_the_port_of_the_old_one_and_gives_it_back(kernel):
    kernel.run(
        "import socket\nwith socket.socket() as s:\n    s.bind(('127.0.0.1', 0))\n    port = s.getsockname()[1]"
    )
    cell = (
        "%%worker {name}\nimport asyncio\n@worker.on_startup\nasync def begin(client):\n"
        "    worker.state['s'] = await asyncio.start_server(lambda r, w: None, '127.0.0.1', port)\n    {more}\n"
        "@worker.on_shutdown\nasync def end(client): worker.state['s'].close()\n"
        "@worker.on_event('a')\nasync def on_a(e, c): print('{name} has it')"
    )
    kernel.run(cell.format(name="old", more="pass"), "c1")
    assert kernel.run(cell.format(name="new", more="raise ValueError('after all')"), "c1").status == "error"
    assert "| old has it" in kernel.run("%fire a").text
    renamed = kernel.run(cell.format(name="new", more="pass"), "c1")
    assert renamed.status == "ok", renamed.text
    assert "| new has it" in kernel.run("%fire a").text


def test_a_handler_of_a_failed_plain_cell_is_not_taken_in_by_the_next(kernel):
    kernel.run("from dnworker import Worker\nbee = Worker(name='bee')", "c0")
    kernel.run("@bee.on_event('a')\nasync def bad(e, c): print('bad')\n1 / 0", "c1")
    kernel.run("@bee.on_event('b')\nasync def good(e, c): print('good')", "c2")
    table = kernel.run("%worker bee").text
    assert "good" in table
    assert "bad" not in table


def test_a_worker_that_was_added_by_hand_runs_again_when_the_cell_in_its_place_fails(kernel):
    kernel.run(
        "from dnworker import Worker\nother = Worker(name='w')\n@other.on_event('a')\nasync def h(e, c): print('by hand')\n"
        "await dn.runtime().add(other)"
    )
    assert kernel.run(BAD_START, "c1").status == "error"
    assert "| by hand" in kernel.run("%fire a").text


def test_a_variable_of_a_failed_cell_is_not_set(kernel):
    kernel.run(GOOD.replace("worker w", "worker w --env OH_FAILED=1") + "\n1 / 0", "c1")
    assert kernel.run("import os; print('OH_FAILED' in os.environ)").text.strip() == "False"
    kernel.run(GOOD.replace("worker w", "worker w --env OH_FAILED=1"), "c1")
    assert kernel.run("print(os.environ['OH_FAILED'])").text.strip() == "1"


def test_a_stopped_process_whose_next_generation_fails_stays_stopped_with_its_handlers(kernel):
    kernel.run(GOOD, "c1")
    assert "as a process" in kernel.run("%worker topology w python").text
    kernel.run("%worker stop w")
    failed = kernel.run(BAD_START.replace("start", "begin"), "c2")
    assert failed.status == "error"
    assert "w is stopped" in kernel.run("%worker w").text
    kernel.run("%worker start w")
    assert "| good" in kernel.run("%fire a").text
    assert kernel.run(GOOD.replace("on_a", "also").replace("'a'", "'b'"), "c3").status == "ok"


# -- removing one --------------------------------------------------------------------------------------


def test_a_removed_handler_is_gone_everywhere_until_its_cell_runs_again(kernel):
    kernel.run(TWO, "c1")
    kernel.run("%fire a")
    removed = kernel.run("%worker remove w.on_b")
    assert removed.text.strip() == (
        "w is running without on_b (on_event b) of cell [2], generation 2; it is back when that cell runs again"
    )
    assert "on_b" not in kernel.run("%worker w").text
    assert "no handler in this notebook listens to b" in kernel.run("%fire b").text
    assert "| a 2" in kernel.run("%fire a").text
    exported = kernel.run("%capability export out").text
    assert "w is without on_b (on_event b) of cell [2], which %worker remove took out" in exported
    script = Path("out/workers/w.py").read_text()
    assert ("on_a" in script, "on_b" in script) == (True, False)
    again = kernel.run(TWO, "c1")
    assert "generation 3" in again.text
    assert "| b" in kernel.run("%fire b").text
    kernel.run("%capability export out")
    assert "on_b" in Path("out/workers/w.py").read_text()


def test_the_export_after_a_removal_does_what_the_notebook_does(kernel):
    kernel.run(TWO, "c1")
    kernel.run("%fire b")
    kernel.run("%worker remove w.on_b")
    kernel.run("%fire a")
    assert "| a 2" in kernel.run("%fire a").text
    checked = kernel.run("%capability check")
    assert checked.status == "ok", checked.text
    assert "on_b" not in kernel.run("%worker w").text
    assert "as a process" in kernel.run("%worker topology w python").text
    assert "on_b" not in kernel.run("%worker w").text
    assert "| a 1" in kernel.run("%fire a").text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%worker remove w.on_c", "worker 'w' has no handler 'on_c'; did you mean on_"),
        ("%worker remove w.zzzzzz", "worker 'w' has no handler 'zzzzzz'; it has: on_a, on_b"),
        ("%worker remove v.on_a", "no worker 'v'; there are: w"),
        ("%worker remove w.on_a --cell 77", "cell [77] has no w.on_a; on_event a of cell [2]"),
        ("%worker remove w.on_a --for z", "w.on_a is not registered for 'z'; on_event a of cell [2]"),
        ("%worker remove w --cell 2", "--cell and --for go with one handler: %worker remove NAME.HANDLER"),
        ("%worker remove w.on_a w.on_b", "%worker remove takes one name"),
        ("%worker remove w:on_a", "did you mean w.on_a?"),
    ],
)
def test_a_removal_that_names_no_handler_says_what_there_is(shared_worker, line, said):
    answer = shared_worker.run(line)
    assert answer.status == "error"
    assert said in answer.error
    assert "dnworker/" not in answer.text


@pytest.fixture
def shared_worker(kernel):
    kernel.run(TWO, "c1")
    return kernel


def test_of_several_of_one_name_the_one_that_is_meant_is_removed(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('of a')", "c1")
    kernel.run(
        "%%worker w\n@worker.on_event('b')\n@worker.on_event('d')\nasync def h(e, c): print('of b')", "c2"
    )
    which = kernel.run("%worker remove w.h").error
    assert "there are 3 of w.h: on_event a of cell [2], " in which
    assert "--for" in which
    assert "of cell [2]" in kernel.run("%worker remove notebook:w.h --cell 2").text
    assert "without h (on_event d) of cell [3]" in kernel.run("%worker remove w.h --for d").text
    assert "| of b" in kernel.run("%fire b").text
    refused = kernel.run("%capability export out").text
    assert (
        "handler 'h': %worker remove took it out (on_event d), and its cell registers it together" in refused
    )
    assert not Path("out").exists()


def test_handler_names_are_completed(kernel):
    kernel.run(TWO, "c1")
    found = kernel.run("print(get_ipython().Completer.completions)").status
    assert found == "ok"
    line = "%worker remove w.on_"
    kernel.client.complete(line, len(line))
    matches = kernel.client.get_shell_msg(timeout=60)["content"]["matches"]
    assert any(match.endswith("on_a") for match in matches), matches


# -- unchanged -----------------------------------------------------------------------------------------

STARTS = """
%%worker w
LIMIT = {limit}
def helper(): return 'helper {helper}'

@worker.on_startup
async def begin(client): print('begins')

@worker.task
async def watch(client):
    import asyncio
    worker.state['watching'] = worker.state.get('watching', 0) + 1
    await asyncio.Event().wait()

@worker.on_event('a')
async def on_a(event, client):
    worker.state['n'] = worker.state.get('n', 0) + 1
    print('a', worker.state['n'], worker.state['watching'], helper(), LIMIT)
""".strip()


def test_an_unchanged_cell_is_no_new_generation_and_keeps_all(kernel):
    cell = STARTS.format(limit=1, helper="one")
    kernel.run(cell, "c1")
    kernel.run("%fire a")
    again = kernel.run(cell, "c1")
    assert again.text.strip() == "w: unchanged (generation 1)"
    assert "| a 2 1 helper one 1" in kernel.run("%fire a").text
    assert kernel.run("%worker logs w").text.count("begins") == 1
    assert "cell [4]" in kernel.run("%worker w").text
    assert generations(kernel) == {"1"}


def test_a_helper_that_a_cell_binds_anew_takes_effect(kernel):
    kernel.run("import itertools\ncount = itertools.count(1)")
    cell = STARTS.format(limit="next(count)", helper="one")
    kernel.run(cell, "c1")
    assert "helper one 1" in kernel.run("%fire a").text
    assert "unchanged (generation 1)" in kernel.run(cell, "c1").text
    assert "helper one 2" in kernel.run("%fire a").text
    assert "generation 2" in kernel.run(STARTS.format(limit=9, helper="two"), "c1").text
    assert "helper two 9" in kernel.run("%fire a").text


@pytest.mark.parametrize(
    "cell",
    [
        "import random\n@worker.on_event('a')\nasync def h(e, c, x=random.random()): print('x', x)",
        "@worker.on_event('a')\nasync def h(e, c, x=[]): x.append(1); print('x', len(x))",
        "def make(x):\n    async def h(e, c): print('x', x)\n    return h\nimport random\nworker.on_event('a')(make(random.random()))",
        "worker.state['n'] = 0\n@worker.on_event('a')\nasync def h(e, c):\n    worker.state['n'] += 1\n    print('x', worker.state['n'])",
        "calls = []\ndef counted(f):\n    import functools\n    seen = []\n    @functools.wraps(f)\n    async def run(*a):\n        seen.append(1)\n"
        "        print('x', len(seen))\n    return run\n@worker.on_event('a')\n@counted\nasync def h(e, c): pass",
    ],
    ids=["default", "list", "closure", "state", "decorator"],
)
def test_a_cell_that_cannot_be_proven_the_same_is_a_new_generation(kernel, cell):
    kernel.run(f"%%worker w\n{cell}", "c1")
    first = kernel.run("%fire a").text
    again = kernel.run(f"%%worker w\n{cell}", "c1")
    assert "generation 2" in again.text
    second = kernel.run("%fire a").text
    shown = [text.partition("| x ")[2].split()[0] for text in (first, second)]
    assert shown[0] != shown[1] or shown == ["1", "1"]


@pytest.mark.parametrize("line", ["--restart", "--when beta", "--env OH=1"])
def test_another_option_or_a_restart_is_a_new_generation(kernel, line):
    kernel.run("%%capability\nname: demo\nversion: 0.1.0\ndescription: d\nflags:\n  beta: {description: f}")
    kernel.run(GOOD, "c1")
    again = kernel.run(GOOD.replace("worker w", f"worker w {line}"), "c1")
    assert "generation 2" in again.text


def test_handlers_of_a_loop_are_unchanged_together(kernel):
    cell = "%%worker w\nfor kind in ('a', 'b'):\n    @worker.on_event(kind)\n    async def h(e, c, kind=kind): print('of', kind)"
    kernel.run(cell, "c1")
    assert "unchanged (generation 1)" in kernel.run(cell, "c1").text
    assert "| of b" in kernel.run("%fire b").text


def test_an_unchanged_cell_leaves_a_process_running_and_a_changed_value_does_not(kernel):
    kernel.run("WORD = 'one'", "c0")
    cell = "%%worker w\n@worker.on_event('a')\nasync def on_a(event, client): print('says', WORD)"
    kernel.run(cell, "c1")
    kernel.run("%worker topology w python")
    pid = kernel.run("print(dn.runtime().worker('w').detail()['process']['pid'])").text
    assert "unchanged (generation 1)" in kernel.run(cell, "c1").text
    assert kernel.run("print(dn.runtime().worker('w').detail()['process']['pid'])").text == pid
    kernel.run("WORD = 'two'", "c0")
    assert "generation 2" in kernel.run(cell, "c1").text
    assert "| says two" in kernel.run("%fire a").text


# -- numbers -------------------------------------------------------------------------------------------


def test_after_rollbacks_all_views_show_one_number(kernel):
    for word in ("one", "two", "three"):
        kernel.run(GOOD.replace("good", word), "c1")
    assert generations(kernel) == {"3"}
    assert "as generation 4" in kernel.run("%worker rollback w").text
    assert generations(kernel) == {"4"}
    assert "| two" in kernel.run("%fire a").text
    assert "as generation 5" in kernel.run("%worker rollback w").text
    assert generations(kernel) == {"5"}
    assert "| one" in kernel.run("%fire a").text
    assert "no earlier generation" in kernel.run("%worker rollback w").error
    kernel.run(TWO, "c2")
    kernel.run("%worker remove w.on_b")
    assert generations(kernel) == {"7"}
    compared = kernel.run("%replay last --compare").text
    assert "generation 6" in compared
    assert "generation 7" in compared
    assert "as generation 8" in kernel.run("%worker rollback w").text
    assert "| b" in kernel.run("%fire b").text
    assert generations(kernel) == {"8"}


def test_a_rollback_goes_to_the_generation_that_it_names_and_forth_again(kernel):
    for word in ("one", "two", "three"):
        kernel.run(GOOD.replace("good", word), "c1")
    told = kernel.run("%worker rollback w 1").text
    assert "w is running with the handlers of generation 1, as generation 4" in told
    assert "| one" in kernel.run("%fire a").text
    assert "as generation 5" in kernel.run("%worker rollback w 3").text
    assert "| three" in kernel.run("%fire a").text
    assert "keeps no generation 9; there are: 1, 2, 3, 4" in kernel.run("%worker rollback w 9").error
    assert generations(kernel) == {"5"}


def test_a_generation_that_did_not_start_has_a_number_that_no_other_gets(kernel):
    kernel.run(GOOD, "c1")
    kernel.run(BAD_START, "c2")
    assert generations(kernel) == {"1"}
    kernel.run(TWO, "c3")
    assert generations(kernel) == {"3"}


def test_a_rollback_of_a_process_has_one_number_too(kernel):
    kernel.run(GOOD.replace("good", "one"), "c1")
    kernel.run(GOOD.replace("good", "two"), "c1")
    kernel.run("%worker topology w python")
    assert generations(kernel) == {"2"}
    assert "as generation 3" in kernel.run("%worker rollback w").text
    assert "| one" in kernel.run("%fire a").text
    assert generations(kernel) == {"3"}


# -- stale ---------------------------------------------------------------------------------------------


def test_a_stale_handler_says_where_it_is_from_and_how_to_drop_it(kernel):
    kernel.run(GOOD, "c1")
    failed = kernel.run(GOOD + "\n1 / 0", "c1")
    assert "w.on_a of cell [2] runs on; %worker remove w.on_a drops it" in failed.streams["stdout"]
    assert "runs on" not in kernel.run(GOOD + "\n1 / 0", "c1").streams.get("stdout", "")
    note = (
        "w.on_a of cell [2] is stale: its cell failed when it ran again as cell [4]; "
        "%worker remove w.on_a drops it"
    )
    assert note in kernel.run("%worker w").text
    assert note in kernel.run("%fire a").text
    kernel.run("%worker remove w.on_a")
    assert "stale" not in kernel.run("%worker w").text
    kernel.run(GOOD, "c1")
    assert "stale" not in kernel.run("%fire a").text


def test_the_panel_removes_one_handler_and_says_which_are_stale(kernel):
    kernel.run(TWO, "c1")
    kernel.run("1 / 0", "c1")
    told = kernel.run(
        "from dnworker.panel.model import PanelModel\nfrom dnworker.panel.pace import Pace\n"
        "from dnworker.panel.worker_parts import read_worker\nr = dn.runtime()\nw = r.worker('w')\n"
        "shown = (await read_worker(PanelModel(r, r.actions), {'worker': 'w'}, Pace()))['handlers']\n"
        "print(*[(h['origin'], h['stale']) for h in shown], sep='\\n')"
    )
    assert told.text.count("('cell [2]', 'its cell failed when it ran again as cell [3]')") == 2, told.text
    kernel.run("await r.actions.remove_handler(w, next(key for key in w.stats if key.name == 'on_b'))")
    assert "on_b" not in kernel.run("%worker w").text
    gone = kernel.run(
        "from dnworker.core.handlers import HandlerKey\nawait r.actions.remove_handler(w, HandlerKey('task', '', 'x'))"
    )
    assert "worker 'w' has no handler 'x' of a cell" in gone.error


def test_the_saved_notebook_is_not_read_again_where_it_did_not_change(kernel, tmp_path):
    kernel.run(GOOD, "c1")
    saved = tmp_path / "n.ipynb"
    said = kernel.run(
        f"import json, pathlib, os\nfrom dnworker_jupyter.notebook import active\np = pathlib.Path({str(saved)!r})\n"
        "stale, live = active().stale, active().live.get('w')\n"
        "cell = {'cell_type': 'code', 'id': 'c1', 'source': 'other'}\n"
        "stale.note_saved(p)\nprint(len([*stale.of(live)]))\n"
        "p.write_text(json.dumps({'cells': [cell]}))\nstale.note_saved(p)\nprint(*[one.text for one in stale.of(live)])\n"
        "before = stale._saved\nstale.note_saved(p)\nprint(stale._saved is before)\np.unlink()\nstale.note_saved(p)\n"
        "print(stale._saved is before)"
    ).text.splitlines()
    assert said == [
        "0",
        "w.on_a of cell [2] is stale: its cell was edited since and has not run; %worker remove w.on_a drops it",
        "True",
        "True",
    ]
