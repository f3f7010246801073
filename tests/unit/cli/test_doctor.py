"""`dnworker doctor`: everything that is looked at, its exit code, and that no secret is in it."""

from __future__ import annotations

import json

import pytest

from dnworker.cli.doctor import broker, capability
from dnworker.cli.main import main
from dnworker.core.files import write_atomically
from dnworker.engine import running

from ..capabilities import ECHO, make_capability


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def doctor(capsys, *words):
    code = main(["doctor", *words])
    return code, capsys.readouterr().out


def test_it_says_each_thing_in_one_line_and_fails_only_for_problems(capsys):
    code, out = doctor(capsys)
    *lines, last = out.splitlines()
    assert all(line.startswith(("OK ", "warning ", "problem ")) for line in lines)
    assert (
        (code == 1)
        == any(line.startswith("problem") for line in lines)
        == (not last.startswith("no problems"))
    )
    assert {line.split()[1].rstrip(":") for line in lines} >= {
        "python",
        "uv",
        "home",
        "port",
        "clock",
        "kernel",
    }


def test_it_finds_an_entry_of_a_process_that_ended_and_leaves_it(capsys, home):
    file = home / ".dreadnode" / "dnworker" / "runtime-999999999.json"
    entry = {"url": "http://127.0.0.1:9", "pid": 999_999_999, "token_file": None, "working_dir": "/"}
    write_atomically(file, json.dumps(entry))
    code, out = doctor(capsys, "--json")
    found = [one for one in json.loads(out)["findings"] if one["subject"] == "runtimes"]
    assert [one["mark"] for one in found] == ["warning"]
    assert file.exists()
    assert running.running() == []
    assert not file.exists()


def test_a_problem_makes_it_fail_and_its_token_is_not_shown(capsys, home, monkeypatch):
    file = home / "token"
    file.write_text("very-secret")
    file.chmod(0o644)
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN_FILE", str(file))
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "very-secret")
    code, out = doctor(capsys)
    assert code == 1
    assert "others may read or change ~/token (mode 0644)" in out
    assert "very-secret" not in out
    assert str(home) not in out


def test_a_capability_is_looked_at_and_none_of_its_code_runs(tmp_path):
    good = make_capability(tmp_path / "good", "echo: {path: echo.py}", {"echo.py": ECHO})
    bad = make_capability(tmp_path / "bad", "echo: {pat: echo.py}", {"echo.py": "raise SystemExit"})
    assert [one.mark for one in capability(good)] == ["ok"]
    found = list(capability(bad))
    assert {one.mark for one in found} == {"problem"}
    assert "unknown key 'pat'" in found[0].text
    assert [one.mark for one in capability(tmp_path / "none")] == ["problem"]


def test_a_broker_that_does_not_answer_is_a_problem_without_its_password():
    (one,) = broker("nats://ada:secret@127.0.0.1:1")
    assert (one.mark, "secret" in str(one), "127.0.0.1:1" in one.text) == ("problem", False, True)
