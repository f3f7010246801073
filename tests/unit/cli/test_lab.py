"""`dnworker lab`: what it writes, what it refuses, and which command it becomes."""

from __future__ import annotations

import json
import sys

import nbformat
import pytest

from dnworker.cli import lab
from dnworker.cli.main import main


@pytest.fixture
def became(monkeypatch, tmp_path):
    """The commands that replaced the process; it stays, here."""
    monkeypatch.chdir(tmp_path)
    commands = []
    monkeypatch.setattr(lab, "_become", lambda command: commands.append(command) or 0)
    return commands


def test_lab_writes_a_notebook_and_opens_it(became, tmp_path, capsys):
    assert main(["lab"]) == 0
    assert capsys.readouterr().out == "dnworker.ipynb is written\n"
    nbformat.validate(nbformat.read(tmp_path / "dnworker.ipynb", as_version=4))
    assert became[0][:3] == [sys.executable, "-m", "jupyterlab"]
    assert {f"--ServerApp.root_dir={tmp_path}", "--LabApp.default_url=/lab/tree/dnworker.ipynb"} <= {
        *became[0]
    }


def test_lab_opens_a_notebook_that_is_there_as_it_is(became, tmp_path, capsys):
    (tmp_path / "my notes.ipynb").write_text("mine")
    assert main(["lab", "my notes.ipynb", "--no-browser", "--port", "9"]) == 0
    assert ((tmp_path / "my notes.ipynb").read_text(), capsys.readouterr().out) == ("mine", "")
    expected = {"--LabApp.default_url=/lab/tree/my%20notes.ipynb", "--no-browser", "--ServerApp.port=9"}
    assert expected <= {*became[0]}


def test_lab_says_in_json_what_it_opens(became, capsys):
    main(["lab", "deep/a.ipynb", "--json"])
    assert json.loads(capsys.readouterr().out) == {"ok": True, "notebook": "deep/a.ipynb", "written": True}


def test_without_jupyterlab_one_line_names_the_command_that_brings_it(became, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lab, "find_spec", lambda name: None if name == "jupyterlab" else name)
    assert main(["lab"]) == 1
    assert capsys.readouterr().err == (
        "dnworker: `dnworker lab` needs jupyterlab; run: uvx --from 'dnworker[lab]' --with jupyterlab dnworker lab (DN902)\n"
    )
    assert ([*tmp_path.iterdir()], became) == ([], [])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.py", "a.py is no notebook; give a file that ends in .ipynb"),
        ("taken/a.ipynb", "could not be written"),
    ],
)
def test_lab_refuses_in_one_line_what_it_cannot_open(became, tmp_path, capsys, name, said):
    (tmp_path / "taken").write_text("a file where a directory must be")
    assert main(["lab", name]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert became == []
