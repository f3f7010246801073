"""Cells sent at once, as *Run All* does: what is called right after `%load_ext` finds a runtime that runs."""

from __future__ import annotations

import pytest

import dnworker_jupyter

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

CALLS = {
    "advance": "%clock virtual\nprint(await dn.advance(1))",
    "agent": "@dn.agent('parrot')\nasync def reply(turn):\n    yield 'hello'",
    "attach": "try:\n    await dn.attach('http://127.0.0.1:9')\nexcept Exception as exc:\n    print(exc)",
    "detach": "try:\n    await dn.detach()\nexcept Exception as exc:\n    print(exc)",
    "events": "print(await dn.events())",
    "fire": "print((await dn.fire('demo.ping')).ok)",
    "map": "dn.map(0)",
    "panel": "dn.panel()",
    "replay": "print(await dn.replay())",
    "runtime": "assert dn.runtime().is_started\nprint(dn.runtime().loop.is_running())",
    "settle": "await dn.settle()",
    "worker": "bee = dn.worker('bee')\n@bee.on_event('buzz')\nasync def on_buzz(event, client):\n    pass",
}
"""A cell for each of `dn.*`."""


def test_there_is_a_cell_for_everything_public():
    assert sorted(CALLS) == sorted(dnworker_jupyter.__all__)


def test_what_is_called_right_after_load_ext_works(bare_kernel):
    called = {}
    for name, call in CALLS.items():
        bare_kernel.begin("%load_ext dnworker")
        called[name] = bare_kernel.begin(call)
        bare_kernel.begin("%unload_ext dnworker")
    for name, cell in called.items():
        answer = bare_kernel.collect(cell)
        assert answer.status == "ok", (name, answer.text)


@pytest.mark.parametrize("shown", ["dn.panel()", "dn.widgets.LogTail()", "print(dn.map(0))"])
def test_what_is_shown_works_even_in_the_cell_of_load_ext(bare_kernel, shown):
    answer = bare_kernel.run(f"%load_ext dnworker\n{shown}")
    assert answer.status == "ok", answer.text
    assert "is started" in bare_kernel.run("print('is started' if dn.runtime().is_started else '')").text


def test_a_cell_that_names_no_dn_does_not_wait_for_the_runtime(bare_kernel):
    loaded, plain = bare_kernel.begin("%load_ext dnworker"), bare_kernel.begin("1 + 1")
    assert bare_kernel.collect(loaded).status == "ok"
    assert bare_kernel.collect(plain).result == {"text/plain": "2"}


BROKEN = """
%load_ext dnworker
from dnworker_jupyter import notebook
async def fail():
    raise OSError("the port is in use")
notebook.active().runtime.start = fail
""".strip()


def test_a_start_that_fails_is_said_in_the_cell_that_names_dn_which_runs_all_the_same(bare_kernel):
    broken, called = bare_kernel.begin(BROKEN), bare_kernel.begin("print(dn.runtime().is_started)")
    assert bare_kernel.collect(broken).status == "ok"
    answer = bare_kernel.collect(called)
    assert answer.status == "ok", answer.text
    assert "the runtime did not start: the port is in use" in answer.text
    assert "False" in answer.text
