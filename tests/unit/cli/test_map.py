"""`dnworker map` shows what flows where in a capability, and runs nothing of it."""

from __future__ import annotations

import json

import pytest

from dnworker.cli.main import main

from ..capabilities import make_capability

SCRIPT = """
open("ran", "w")
from dnworker import Worker
worker = Worker(name="echo")
@worker.on_event("demo.ping")
async def on_ping(event, client):
    await client.publish("demo.pong", {})
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": SCRIPT})


def test_the_flows_are_listed_and_nothing_runs(root, capsys):
    assert main(["map", str(root)]) == 0
    text = capsys.readouterr().out
    assert "demo.ping → " in text
    assert "! Nobody listens to demo.pong" in text
    assert not list(root.parent.rglob("ran"))


@pytest.mark.parametrize(
    ("flag", "begin"), [("--svg", "<svg "), ("--mermaid", "flowchart LR\n"), ("--json", "{")]
)
def test_it_has_other_forms(root, capsys, flag, begin):
    assert main(["map", str(root), flag]) == 0
    assert capsys.readouterr().out.startswith(begin)


@pytest.mark.parametrize(
    ("name", "begin"), [("m.svg", "<svg "), ("m.mmd", "flowchart"), ("m.json", "{"), ("m.txt", "t")]
)
def test_the_name_of_the_file_tells_the_form(root, tmp_path, name, begin):
    assert main(["map", str(root), "-o", str(tmp_path / name)]) == 0
    text = (tmp_path / name).read_text()
    assert text.startswith(begin) or name.endswith(".txt")
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


def test_two_forms_are_refused(root, capsys):
    assert main(["map", str(root), "--svg", "--json"]) == 1
    assert "one form" in json.loads(capsys.readouterr().out)["error"]


def test_a_directory_that_is_no_capability_is_refused(tmp_path, capsys):
    assert main(["map", str(tmp_path)]) == 1
    assert "capability.yaml" in capsys.readouterr().err


def test_the_same_capability_is_drawn_the_same(root, capsys):
    main(["map", str(root), "--svg"])
    first = capsys.readouterr().out
    main(["map", str(root), "--svg"])
    assert capsys.readouterr().out == first
