"""What is read off the definition of a function or class."""

from __future__ import annotations

import ast

import pytest

from dnworker_jupyter.export.slicing.facts import facts_of
from dnworker_jupyter.export.slicing.functions import (
    bases,
    called_by,
    held_by_locals,
    keeps_state,
    local_names,
    parameter_names,
    with_default,
)
from dnworker_jupyter.export.slicing.reads import Function


def definition(code: str) -> ast.FunctionDef:
    node = ast.parse(code).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def class_of(code: str) -> ast.ClassDef:
    node = ast.parse(code).body[0]
    assert isinstance(node, ast.ClassDef)
    return node


def test_parameters_are_known_with_and_without_defaults():
    arguments = definition("def f(a, /, b, c=1, *args, d, e=2, **k): ...").args
    assert parameter_names(arguments) == ("a", "b", "c", "d", "e")
    assert with_default(arguments) == {"c", "e"}
    assert with_default(definition("def f(a, b): ...").args) == set()


def test_bases_are_names_and_the_metaclass():
    assert bases(class_of("class C(A, m.B, metaclass=M, x=y): ...")) == ["A", "M"]


def test_a_call_of_a_class_runs_what_makes_its_objects():
    code = "class C:\n    def __init__(self): ...\n    def m(self): ...\n    def __post_init__(self): ..."
    assert [function.name for function in called_by(class_of(code))] == ["__init__", "__post_init__"]


@pytest.mark.parametrize(
    ("body", "keeps"),
    [
        ("n = 0\n    def g():\n        nonlocal n\n        n += 1\n    return g", True),
        ("seen = []\n    def g(): seen.append(1)\n    return g", True),
        ("seen = {}\n    return lambda k: seen.update(k)", True),
        ("seen = []\n    def g(): return len(seen)\n    return g", False),
        ("return 1", False),
    ],
)
def test_a_maker_keeps_state_where_its_inner_functions_change_what_it_bound(body, keeps):
    node: Function = definition(f"def f():\n    {body}")
    assert keeps_state(node) is keeps


def test_local_names_are_those_that_a_function_binds_in_whatever_way():
    code = "def f(a, *b):\n    c = 1\n    import d.e\n    from m import g as h\n    def i(j): ...\n    class K: ...\n    for l in c: ..."
    assert local_names(definition(code)) >= {"a", "b", "c", "d", "h", "i", "j", "K", "l"}


def test_a_local_name_may_hold_objects_of_names_outside_also_through_others():
    facts = facts_of(definition("def f():\n    x = a\n    y = x\n    z = g(y)").body, deep=True)
    held = held_by_locals(facts, {"x", "y", "z"})
    assert held["y"] == {"a": True}
    assert held["z"]["a"] is False
