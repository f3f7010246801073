"""`%%capability` cells in a terminal, whose runtime has a thread of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker_jupyter import loading
from dnworker_jupyter.notebook import active

from ..shells import terminal_shell

HEAD = "%%capability\nname: bridge\nversion: 0.1.0\ndescription: d\n"
WORKER = "%%worker w\n@worker.on_event('a')\nasync def h(event, client): pass"


@pytest.fixture
def shell(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with terminal_shell(monkeypatch, tmp_path) as shell:
        loading.load(shell)
        yield shell


def names() -> list[str]:
    return [worker.qualified_name for worker in active().runtime.workers()]


def test_a_head_names_the_workers_at_the_prompt_too(shell, capsys):
    assert shell.run_cell(WORKER, store_history=True).success
    assert shell.run_cell(HEAD, store_history=True).success
    assert names() == ["bridge:w"]
    shown = capsys.readouterr().out
    assert "it was notebook: restarted under the new name, with empty state: w" in shown


def test_a_wrong_head_names_its_cell_and_line(shell):
    shell.run_cell("1", store_history=True)
    result = shell.run_cell(HEAD.replace("bridge", "Bridge"), store_history=True)
    assert "cell [2]:2:7: name 'Bridge' is not allowed" in str(result.error_in_exec)
    assert names() == []


def test_a_broken_part_beside_it_is_shown_and_stops_nothing(shell, capsys):
    Path("skills/sort").mkdir(parents=True)
    Path("skills/sort/SKILL.md").write_text("---\n[\n---\n")
    more = "mcp: {servers: {none: {timeout: 1}}}\nagents: [nowhere.md]\n"
    assert shell.run_cell(HEAD + more, store_history=True).success
    shown = capsys.readouterr().out
    assert "! skill sort:" in shown
    assert "! agent nowhere.md:" in shown
    assert "! mcp_server none: mcp server 'none' needs a command or a url" in shown
