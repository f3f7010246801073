"""What the lines of a worker's cells say together, and which variables the kernel gets by them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnworker_jupyter.live.cell_options import CellOptions, Variables
from dnworker_jupyter.syntax.options import Options


def test_what_one_cell_does_not_say_another_may_have_said():
    options = CellOptions()
    options.begin("w", "a", Options(when=("beta",), env={"A": "1"}), [])
    options.accept("w", "a")
    assert options.begin("w", "b", Options(env={"B": "2"}), ["a"]) == Options(("beta",), {"A": "1", "B": "2"})
    options.accept("w", "b")
    assert options.begin("w", "a", Options(), ["a", "b"]) == Options((), {"B": "2"}), (
        "a says nothing any more"
    )


def test_a_cell_that_fails_says_nothing():
    options = CellOptions()
    options.begin("w", "a", Options(env={"A": "1"}), [])
    options.accept("w", "a")
    options.begin("w", "a", Options(env={"A": "2"}), ["a"])
    assert options.begin("w", "b", None, ["a"]).env == {"A": "1"}


def test_cells_that_register_nothing_any_more_do_not_count():
    options = CellOptions()
    options.begin("w", "gone", Options(env={"A": "1"}), [])
    options.accept("w", "gone")
    assert options.begin("w", "b", None, []).env == {}


ROOT = Path("/srv/demo")


@pytest.fixture
def variables(monkeypatch):
    for name in ("TEST_A", "TEST_B", "TEST_C"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that it is taken away again
        del os.environ[name]
    return Variables()


def test_variables_of_a_worker_are_set_in_the_kernel_unless_somebody_set_them(variables, monkeypatch):
    monkeypatch.setenv("TEST_A", "outside")
    variables.set({"TEST_A": "${TEST_A:-default}", "TEST_B": "${TEST_A}/b"}, ROOT)
    assert (os.environ["TEST_A"], os.environ["TEST_B"]) == ("outside", "outside/b")


def test_a_cell_that_is_edited_and_run_again_sets_its_variables_anew(variables):
    variables.set({"TEST_A": "${TEST_A:-one}"}, ROOT)
    variables.set({"TEST_A": "${TEST_A:-two}"}, ROOT)
    assert os.environ["TEST_A"] == "two"


def test_a_variable_that_refers_to_what_nobody_set_is_left_out(variables):
    variables.set({"TEST_A": "${TEST_C}", "TEST_B": "b"}, ROOT)
    assert ("TEST_A" in os.environ, os.environ["TEST_B"]) == (False, "b")


def test_the_directory_of_the_capability_is_filled_in_and_the_runtimes_own_variables_are_not_set(variables):
    variables.set({"TEST_A": "${CAPABILITY_ROOT}/data", "DREADNODE_RUNTIME_URL": "http://elsewhere"}, ROOT)
    assert os.environ["TEST_A"] == "/srv/demo/data"
    assert os.environ.get("DREADNODE_RUNTIME_URL") != "http://elsewhere"
