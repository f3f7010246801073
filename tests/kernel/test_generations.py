"""Generations of a worker in a real kernel: which handlers run, and what happens when a new one cannot start."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

TWO = """
%%worker w
@worker.on_event('a')
async def _(event, client):
    print('first')

@worker.on_event('a')
async def _(event, client):
    print('second')
    raise ValueError('of the second')
""".strip()


def test_two_handlers_of_one_name_both_fire_and_are_told_apart_everywhere(kernel):
    told = kernel.run(TWO, "c1").text
    assert "+ on_event a: _\n" in told
    assert "+ on_event a: _#2\n" in told
    assert "more than once" not in told
    trace = kernel.run("%fire a").text
    assert trace.index("| first") < trace.index("| second")
    assert "w._ ok" in trace.replace("  ", " ")
    assert "w._#2 error" in trace.replace("  ", " ")
    table = kernel.run("%worker w").text
    rows = [line.split() for line in table.splitlines() if line.startswith("on_event")]
    assert [(row[2], row[5], row[6]) for row in rows] == [("_", "1", "0"), ("_#2", "1", "1")]
    assert "_#2 failed (event)" in kernel.run("%worker logs w").text


def test_a_later_cell_takes_nothing_over_but_what_it_declares_alike(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): print('of a')", "c1")
    told = kernel.run("%%worker w\n@worker.on_event('b')\nasync def h(e, c): print('of b')", "c2").text
    assert "runs on beside this one (on_event a)" in told
    kernel.run("%%worker w\n@worker.every(seconds=60)\nasync def h(c): pass", "c3")
    assert "| of a" in kernel.run("%fire a").text
    assert "| of b" in kernel.run("%fire b").text
    again = kernel.run("%%worker w\n@worker.on_event('b')\nasync def h(e, c): print('newer')", "c4").text
    assert "h was registered by cell" in again
    fired = kernel.run("%fire b").text
    assert "| newer" in fired
    assert "of b" not in fired
    assert "| of a" in kernel.run("%fire a").text


def test_rolling_back_brings_both_handlers_of_one_name_back(kernel):
    kernel.run(TWO, "c1")
    kernel.run(TWO.partition("\n\n")[0], "c1")
    assert "second" not in kernel.run("%fire a").text
    kernel.run("%worker rollback w")
    fired = kernel.run("%fire a").text
    assert "| first" in fired
    assert "| second" in fired
