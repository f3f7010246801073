"""The doctor on uv."""

from __future__ import annotations

import os
import sys

import pytest

from dnworker.doctor.uv import answer, uv


def asked(cache, version="uv 0.9.1 (abc)"):
    return lambda command: version if command[1] == "--version" else str(cache)


def test_no_uv_is_a_problem():
    (one,) = uv(lambda: None)
    assert (one.mark, one.remedy) == ("problem", "pip install 'dnworker[runtime]'")


def test_a_uv_that_fails_is_a_problem_with_what_it_says():
    def ask(command):
        raise OSError("bad cpu")

    (one,) = uv(lambda: "/bin/uv", ask)
    assert (one.mark, one.text) == ("problem", "/bin/uv fails: bad cpu")


def test_an_old_uv_is_a_problem(tmp_path):
    first, _ = uv(lambda: "/bin/uv", asked(tmp_path, "uv 0.4.0"))
    assert (first.mark, first.text) == ("problem", "/bin/uv is 0.4.0, and 0.5.10 is needed")


def test_a_cache_that_is_there_is_well_and_one_that_is_not_needs_a_network(tmp_path):
    assert [one.mark for one in uv(lambda: "/bin/uv", asked(tmp_path))] == ["ok", "ok"]
    assert [one.mark for one in uv(lambda: "/bin/uv", asked(tmp_path / "no"))] == ["ok", "warning"]


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    _, last = uv(lambda: "/bin/uv", asked(tmp_path))
    assert (last.mark, "UV_CACHE_DIR" in last.remedy) == ("problem", True)


def test_a_program_says_what_it_prints_or_why_it_fails(monkeypatch):
    assert answer([sys.executable, "-c", "print('x')"]) == "x"
    with pytest.raises(OSError, match="ends with code 3"):
        answer([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(OSError, match="No such file"):
        answer(["/no/such/program"])
    monkeypatch.setattr("dnworker.doctor.uv.SECONDS", 0.05)
    with pytest.raises(OSError, match=r"longer than 0\.05 s"):
        answer([sys.executable, "-c", "import time; time.sleep(30)"])
