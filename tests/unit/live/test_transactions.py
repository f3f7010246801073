"""Cells as transactions, in a shell of this process whose runtime has a thread."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from dnworker_jupyter import loading
from dnworker_jupyter.notebook import active

from ..shells import terminal_shell

BRIDGE = (
    "%%worker bridge\nworker.state['n'] = 1\n@worker.on_event('demo.a')\nasync def on_a(event, client): ...\n"
)


@pytest.fixture
def shell(monkeypatch, tmp_path):
    with terminal_shell(monkeypatch, tmp_path) as shell:
        loading.load(shell)
        yield shell


def handlers(name: str) -> list[str]:
    live = active().live.get(name)
    return [] if live is None else [handler.name for handler, _ in live.handlers()]


def run(shell: InteractiveShell, source: str, cell_id: str) -> bool:
    return bool(shell.run_cell(source, store_history=True, cell_id=cell_id).success)


def test_a_cell_that_succeeds_is_the_next_generation(shell, capsys):
    assert run(shell, BRIDGE, "c1")
    assert handlers("bridge") == ["on_a"]
    assert active().live.get("bridge").state == {"n": 1}
    assert "bridge is running, generation 1\n  + on_event demo.a: on_a" in capsys.readouterr().out


def test_a_cell_that_fails_changes_nothing(shell, capsys):
    run(shell, BRIDGE, "c1")
    assert not run(shell, BRIDGE.replace("on_a", "on_b") + "worker.state['n'] = 2\n1 / 0", "c1")
    assert handlers("bridge") == ["on_a"]
    assert active().live.get("bridge").state == {"n": 1}
    capsys.readouterr()


def test_a_cell_that_registers_no_more_ends_what_it_registered(shell, capsys):
    run(shell, BRIDGE, "c1")
    assert run(shell, "x = 1", "c1")
    assert run(shell, "await dn.settle()", "c2")
    assert "bridge" not in active().live
    assert "bridge is removed: no cell defines it any more" in capsys.readouterr().out


def test_plain_python_registers_as_a_cell_magic_does(shell, capsys):
    source = (
        "from dnworker import Worker\nbee = Worker(name='bee')\n@bee.task\nasync def watch(client): ...\n"
    )
    assert run(shell, source, "c1")
    assert handlers("bee") == ["watch"]
    assert run(shell, "bee.state['n'] = 3", "c2")
    assert active().live.get("bee").state == {"n": 3}
    capsys.readouterr()


def test_outside_of_a_cell_nothing_can_be_registered(shell):
    with pytest.raises(Exception, match="can be registered only by a cell, while it runs"):
        active().transactions.open("bridge")
