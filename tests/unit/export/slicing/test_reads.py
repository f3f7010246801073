"""Which global names statements read and bind when they run."""

from __future__ import annotations

import ast

import pytest

from dnworker_jupyter.export.slicing.reads import names_of


def names(code: str):
    return names_of(ast.parse(code).body)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("x = 1\ny = x", ""),
        ("x = x + 1", "x"),
        ("x += 1", "x"),
        ("a[i] = v", "a i v"),
        ("a.b = v", "a v"),
        ("def f(x=d, *, y=e): return g", "d e"),
        ("@deco\ndef f(): return g", "deco"),
        ("lambda x=d: g", "d"),
        ("class C(B, metaclass=M):\n    y = z\n    w = y", "B M z"),
        ("[x for x in xs if c]", "xs c"),
        ("{k: v for k, v in items.items() if w}", "items w"),
        ("if c:\n    x = 1\nelse:\n    x = 2\ny = x", "c"),
        ("if c:\n    x = 1\ny = x", "c x"),
        ("for i in xs:\n    x = i\ny = x", "xs x"),
        ("try:\n    x = f()\nexcept E as e:\n    x = e\ny = x", "f E"),
        ("try:\n    x = f()\nexcept E:\n    pass\ny = x", "f E x"),
        ("with a as b:\n    b()", "a"),
        ("match s:\n    case C(x=y) if y > m:\n        y", "s C m"),
        ("del x", "x"),
        ("f'{x!r:{w}}'", "x w"),
        ("import a.b\na", ""),
    ],
)
def test_what_nothing_surely_bound_before_is_read(code, reads):
    assert names(code).reads == set(reads.split())


@pytest.mark.parametrize(
    ("code", "binds"),
    [
        ("a, (b, *c) = x", {"a": True, "b": True, "c": True}),
        ("if t:\n    x = 1\nelse:\n    x = y = 2", {"x": True, "y": False}),
        ("for i in xs: x = 1", {"i": False, "x": False}),
        ("while t: x = 1", {"x": False}),
        ("try:\n    x = 1\nexcept E as e:\n    y = 1\nfinally:\n    z = 1", {"x": False, "e": False, "y": False, "z": True}),
        ("(x := 1)", {"x": False}),
        ("x: int", {}),
        ("x: int = 1", {"x": True}),
        ("import a.b as c, d.e", {"c": True, "d": True}),
        ("from m import a as b", {"b": True}),
        ("match s:\n    case {'k': v, **rest}: ...\n    case [*more]: ...", {"v": False, "rest": False, "more": False}),
        ("def f(): y = 1", {"f": True}),
        ("class C:\n    y = 1", {"C": True}),
        ("x = 1\ndel x", {"x": False}),
    ],
)  # fmt: skip
def test_a_name_is_surely_bound_where_every_way_binds_it(code, binds):
    assert names(code).binds == binds


def test_names_that_only_annotations_read_are_kept_apart():
    found = names("def f(a: A, *b: B, **c: C) -> D: ...\nx: E = y")
    assert (found.annotations, found.reads) == ({*"ABCDE"}, {"y"})


def test_what_del_takes_away_is_known():
    assert names("del a, b[0]").unbinds == {"a"}
