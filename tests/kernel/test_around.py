"""`%fire` where nothing can be awaited: within other magics, in plain functions; the cell shows its trace."""

from __future__ import annotations

import re

import pytest

pytestmark = [pytest.mark.kernel]

WORKER = """%%worker w
import asyncio, contextvars
@worker.on_event('a')
async def h(event, client):
    print('heard', event.payload.get('n'))
    if event.payload.get('s', 0) > 1:  # said in the cell that runs, not in this handler's log
        asyncio.get_running_loop().call_soon(print, 'asleep', context=contextvars.Context())
    await asyncio.sleep(event.payload.get('s', 0))"""


@pytest.fixture(scope="module")
def fired(any_kernel):
    """A kernel of each version, with a worker that listens."""
    assert any_kernel.run(WORKER).status == "ok"
    return any_kernel


def traces(answer) -> list[str]:
    return [shown["text/plain"] for shown in answer.displays if "| heard" in shown["text/plain"]]


def test_a_timed_fire_shows_its_trace_and_the_time_that_it_took(fired):
    answer = fired.run("%%time\n%fire a s=0.2")
    assert len(traces(answer)) == 1
    wall = re.search(r"Wall time: (\d+)\S* ms", answer.text)
    assert wall is not None
    assert int(wall[1]) >= 200


@pytest.mark.parametrize(
    "cell",
    [
        "%time %fire a n=1",
        "%%time\nt = %fire a n=1\nt",
        "%%time\nt = await dn.fire('a', {'n': 1})\nt",
        "%%time\n%%fire a\n{'n': 1}",
        "%%time\nasync def f():\n    %fire a n=1\nawait f()",
        "def f():\n    %fire a n=1\nf()",
        "def f():\n    %time %fire a n=1\nf()",
        "def f():\n    t = %fire a n=1\n    return t\nf()",
        "(lambda: get_ipython().run_line_magic('fire', 'a n=1'))()",
        "class A:\n    %fire a n=1",
        "async def f():\n    %fire a n=1\nawait f()",
        "for n in range(1, 2):\n    %fire a n={n}",
        "if True:\n    with open(__import__('os').devnull):\n        %fire a n=1",
    ],
)
def test_the_cell_that_fires_shows_the_trace(fired, cell):
    answer = fired.run(cell)
    assert answer.status == "ok"
    assert answer.text.count("| heard 1") == 1


def test_a_captured_fire_is_in_what_was_captured_and_handlers_text_is_in_its_trace_alone(fired):
    hidden = fired.run("%%capture out\nprint('before')\n%fire a n=1\nprint('after')\n5")
    assert (hidden.status, hidden.text.strip()) == ("ok", "")
    shown = fired.run("out.show()")
    assert re.search(r"before\nafter\n.*\| heard 1.*\n5", shown.text, re.DOTALL)
    assert fired.run("print(repr(out.stdout))").text.strip() == repr("before\nafter\n")


def test_magics_around_magics_wait_too(fired):
    fired.run("%%capture out\n%%time\n%fire a n=1")
    assert re.search(r"Wall time.*\| heard 1", fired.run("out.show()").text, re.DOTALL)


def test_what_fires_several_times_in_a_plain_function_does_so_in_order(fired):
    answer = fired.run(
        "def f():\n    %fire a n=1 s=0.05\n    %fire a n=2\n    %fire a n=3\nf()\nprint('first')"
    )
    assert [re.findall(r"heard (\d)", text) for text in traces(answer)] == [["1"], ["2"], ["3"]]


def test_what_a_plain_function_fires_is_there_in_the_next_cell(fired):
    early = fired.run("def f():\n    t = %fire a n=1\n    return t\nt = f()\nt.ok")
    assert early.error.partition(": ")[0] == "NoResultYet"
    assert "%fire is under way, so it has no 'ok'; wait for it in an async function" in early.error
    assert "pending.py" not in early.text
    assert fired.run("t.ok, t.event.payload, repr(t)[:9]").text == "(True, {'n': 1}, '<Trace a ')"


def test_a_plain_function_in_a_thread_waits_for_what_it_fires(fired):
    fired.run("def f():\n    t = %fire a n=1\n    return t.ok, t.event.payload")
    assert fired.run("await asyncio.to_thread(f)").text == "(True, {'n': 1})"
    fired.run("def g():\n    %fire a n=2")
    assert "| heard 2" in fired.run("await asyncio.to_thread(g)").text


@pytest.mark.parametrize("cell", ["%timeit -n1 -r1 %fire a", "%%timeit -n1\n%fire a", "%prun %fire a"])
def test_what_runs_code_often_is_refused(fired, cell):
    answer = fired.run(cell)
    assert "cannot wait for magics of dnworker, so it would measure nothing; %%time waits" in answer.error


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%time\n%fire a b", "a payload is an object"),
        ("%%time\n1 / 0\n%fire a", "division by zero"),
        ("%%time\n%fire a\n  x", "%%time: line 3 of the cell: unexpected indent: 'x'"),
        ("%%time 5\n%fire a", "%%time takes no statement beside its body; put '5' into the cell"),
        ("%%time\n%worker start nobody", "no worker 'nobody'"),
    ],
)
def test_what_fails_within_fails_the_cell(fired, cell, said):
    answer = fired.run(cell)
    assert answer.status == "error"
    assert said in answer.error
    assert "around.py" not in answer.text
    assert "__import__" not in answer.text


def test_what_fails_in_a_captured_cell_is_shown(fired):
    assert "a payload is an object" in fired.run("%%capture out\n%fire a b").text
    assert fired.run("%fire a").status == "ok"


def test_what_fails_in_a_plain_function_is_shown_and_raised_by_settle(fired):
    assert "UsageError: a payload is an object" in fired.run("def f():\n    t = %fire a b\nf()").text
    assert "a payload is an object" in fired.run("await dn.settle()").error
    assert fired.run("await dn.settle()").status == "ok"


@pytest.mark.parametrize(
    "cell",
    [
        "%%time\n%fire a s=60",
        "%%capture out --no-stdout --no-display\n%fire a s=60",
        "def f():\n    %fire a s=60\nf()",
        "def f():\n    t = %fire a s=60\nf()",
    ],
)
def test_an_interrupt_ends_the_wait_of_the_cell(fired, cell):
    begun = fired.begin(cell)
    fired.until_stream("asleep")
    behind = fired.begin("'behind'")
    fired.interrupt()
    assert "%fire was interrupted; what it began goes on" in fired.collect(begun).text
    assert fired.collect(behind).text == "'behind'"
    assert fired.run("await dn.runtime().worker('w').restart(force=True)").status == "ok"
    fired.run("try: await dn.settle()\nexcept Exception: pass")


def test_a_fire_behind_an_interrupted_cell_is_fired_once(fired):
    begun = fired.begin("print('busy', flush=True)\n__import__('time').sleep(60)")
    fired.until_stream("busy")
    fired.interrupt()
    assert fired.collect(begun).status == "error"
    assert fired.run("%fire a n=7").text.count("| heard 7") == 1
