"""Names that one notebook cannot have."""

from __future__ import annotations

import pytest

from dnworker_jupyter.importer.conflicts import conflicts


def found(**sources: str) -> list[str]:
    return list(conflicts({owner: [(f"{owner}.py, line 1", text)] for owner, text in sources.items()}))


def test_a_name_that_two_scripts_bind_differently_is_a_conflict():
    (problem,) = found(a="X = 1\ndef f():\n    return X", b="X = 2")
    assert problem.startswith("'X' is something else in a.py and b.py")


@pytest.mark.parametrize("text", ["import json", "X = 1\ndef f():\n    return X"])
def test_the_same_definition_in_two_scripts_is_none(text):
    assert found(a=text, b=text) == []


def test_a_builtin_that_another_script_binds_is_a_conflict():
    (problem,) = found(a="def open():\n    pass", b="def f():\n    return open('x')")
    assert "'open' is defined in a.py, and b means something else by it" in problem


def test_names_of_a_shared_module_are_for_all():
    assert found(**{"(shared)": "X = 1"}, b="def f():\n    return X") == []
