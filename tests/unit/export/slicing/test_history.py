"""What a name meant before a position, of statements in the order in which they ran."""

from __future__ import annotations

import pytest

from .histories import history


@pytest.mark.parametrize(
    ("code", "binders"),
    [
        ("x = 1\nx = 2", (1,)),
        ("x = 1\nif c: x = 2", (0, 1)),
        ("if c: x = 1", (0,)),
        ("x = 1\ndel x", ()),
        ("import x.a\nimport x.b", (0, 1)),
        ("import x\nimport x.b", (0, 1)),
        ("y = 1", ()),
        ("def f():\n    global x\n    x = 1\nf()", (1,)),
        ("def f():\n    global x\n    x = 1\ndef g(): f()\ng()", (2,)),
        ("def f():\n    global x\n    x = 1\ndef f(): ...\nf()", ()),
        ("globals()['x'] = 1", (0,)),
    ],
)
def test_a_name_is_what_the_last_statement_made_of_it_that_surely_bound_it(code, binders):
    ran = history(code)
    assert ran.resolve("x", ran.end) == binders


def test_in_the_order_of_a_file_a_name_may_be_bound_below():
    code = "y = x\nx = 1\nx = 2"
    assert history(code, is_order_of_run=False).resolve("x", 0) == (1,)
    assert history(code).resolve("x", 0) == ()


@pytest.mark.parametrize(
    ("code", "name", "imported"),
    [
        ("import a.b", "a", "a"),
        ("import a.b as c", "c", "a.b"),
        ("from a.b import c as d", "d", "a.b.c"),
        ("from . import c", "c", ".c"),
        ("from math import *", "sqrt", "math.sqrt"),
        ("import a\na = 1", "a", None),
        ("x = 1", "a", None),
    ],
)
def test_an_imported_name_is_known_by_its_dotted_name(code, name, imported):
    ran = history(code)
    assert ran.imported_as(name, ran.end) == imported


def test_what_a_call_reads_is_followed_through_functions():
    ran = history("def f(): return g() + x\ndef g(): return f() + y")
    assert ran.read_by_call("f", ran.end) == {"g", "x", "y"}


def test_properties_and_special_methods_run_without_a_call_of_them():
    ran = history(
        "class C:\n    def __init__(self): ...\n    def __len__(self): ...\n"
        "    @property\n    def p(self): ...\n    @p.setter\n    def p(self, v): ...\n    def m(self): ..."
    )
    assert [m.name for m in ran.hidden["C"]] == ["__len__", "p", "p"]
    assert set(ran.methods) == {"__init__", "__len__", "p", "m"}
