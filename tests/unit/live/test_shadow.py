"""Copies of the notebook's handlers: they find copies of its names, and change none of them."""

from __future__ import annotations

import pytest

from dnworker_jupyter.live.shadow import Copies

NAME = "notebook_of_a_shadow"


@pytest.fixture
def cell(monkeypatch):
    """Execute code as cells do; returns the names."""
    import sys
    import types

    module = types.ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)

    def run(text: str) -> dict:
        exec(compile(text, "<cell>", "exec"), vars(module))
        return vars(module)

    return run


def copied(names: dict, function: str = "f", **how) -> tuple[Copies, object]:
    copies = Copies(names, **how)
    made = copies.of(names[function])
    copies.note_start()
    return copies, made


CHANGES = {
    "a list": ("X = [1]", "X.append(2); return X", [1, 2]),
    "a list in a dict": ("X = {'a': [1]}", "X['a'].append(2); return X['a']", [1, 2]),
    "two names of one list": ("X = [1]\nY = X\nZ = {'x': X}", "Y.append(2); return Z['x']", [1, 2]),
    "a set": ("X = {1}", "X.add(2); return sorted(X)", [1, 2]),
    "a deque": ("from collections import deque\nX = deque([1])", "X.append(2); return list(X)", [1, 2]),
    "a counter": ("from collections import Counter\nX = Counter()", "X['a'] += 1; return dict(X)", {"a": 1}),
    "a dict with a default": (
        "from collections import defaultdict\nX = defaultdict(list)",
        "X['a'].append(1); return dict(X)",
        {"a": [1]},
    ),
    "numbers that go on": ("import itertools\nX = itertools.count(5)", "return next(X)", 5),
    "random numbers": ("import random\nX = random.Random(1)", "return X.random()", 0.13436424411240122),
    "a number": ("X = 1", "global X; X += 1; return X", 2),
    "an object": ("class A:\n    n = 0\nX = A()", "X.n += 1; return X.n", 1),
    "an object with slots": (
        "class A:\n    __slots__ = ('n',)\nX = A()\nX.n = 1",
        "X.n += 1; return X.n",
        2,
    ),
    "a dataclass": (
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    n: list = field(default_factory=list)\nX = A()",
        "X.n.append(1); return X.n",
        [1],
    ),
    "a frozen dataclass": (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    n: tuple\nX = A(([1],))",
        "X.n[0].append(2); return X.n",
        ([1, 2],),
    ),
    "a named tuple": (
        "from typing import NamedTuple\nclass A(NamedTuple):\n    n: list\nX = A([1])",
        "X.n.append(2); return X.n",
        [1, 2],
    ),
    "a class": ("class A:\n    seen = []", "A.seen.append(1); return A.seen", [1]),
    "what a method reaches": (
        "X = []\nclass A:\n    def add(self):\n        X.append(1)\n        return len(X)\na = A()",
        "return a.add()",
        1,
    ),
    "what a method of the class above reaches": (
        "X = []\nclass A:\n    def add(self):\n        X.append(1)\n        return len(X)\nclass B(A):\n    def add(self):\n        return super().add()\nb = B()",
        "return b.add()",
        1,
    ),
    "a function in a table": (
        "X = []\ndef add():\n    X.append(1)\n    return len(X)\nTABLE = {'add': add}",
        "return TABLE['add']()",
        1,
    ),
    "a bound method in a table": (
        "class A:\n    n = 0\n    def add(self):\n        self.n += 1\n        return self.n\na = A()\nTABLE = [a.add]",
        "TABLE[0](); return a.n",
        1,
    ),
    "a function with a cache": (
        "from functools import cache\nX = []\n@cache\ndef g(n):\n    X.append(n)\n    return len(X)",
        "g(1); return g(1)",
        1,
    ),
    "a partial function": (
        "from functools import partial\nX = []\ndef add(a, b):\n    X.append(a)\n    return len(X)\np = partial(add, 1)",
        "return p(2)",
        1,
    ),
    "a default": ("def f(x=[]):\n    x.append(1)\n    return x\ng = f", "return g()", [1]),
    "a closure": (
        "def make():\n    n = [0]\n    def add():\n        n[0] += 1\n        return n[0]\n    return add\nadd = make()",
        "return add()",
        1,
    ),
    "an enumeration": (
        "import enum\nclass E(enum.Enum):\n    A = 1\nX = {E.A: [1]}",
        "X[E.A].append(2); return X[E.A]",
        [1, 2],
    ),
    "itself": ("X = []\nX.append(X)", "X.append(1); return len(X)", 2),
}


@pytest.mark.parametrize(("text", "body", "result"), CHANGES.values(), ids=CHANGES)
def test_what_a_copy_changes_is_not_the_notebooks_and_begins_anew_in_each(cell, text, body, result):
    names = cell(f"{text}\ndef f():\n    {body}")
    before = {key: repr(value) for key, value in names.items() if not key.startswith("_")}
    for _ in range(2):
        _, made = copied(names)
        assert made() == result
    after = {key: repr(value) for key, value in names.items() if not key.startswith("_")}
    assert {k: v for k, v in before.items() if " at 0x" not in v} == {
        k: v for k, v in after.items() if " at 0x" not in v
    }


def test_workers_of_one_run_share_what_they_share_in_the_notebook(cell):
    names = cell("X = []\ndef f():\n    X.append(1)\ndef g():\n    return len(X)")
    copies = Copies(names)
    f, g = copies.of(names["f"]), copies.of(names["g"])
    f()
    assert g() == 1
    assert names["X"] == []


def test_what_cannot_be_copied_is_the_notebooks_own(cell):
    names = cell(
        "import threading\nclass A:\n    pass\na = A()\na.lock = threading.Lock()\ndef f():\n    return a.lock"
    )
    _, made = copied(names)
    assert made() is names["a"].lock


def test_an_object_that_closes_something_at_its_end_is_not_copied(cell):
    names = cell(
        "class A:\n    def __del__(self):\n        CLOSED.append(1)\nCLOSED = []\na = A()\ndef f():\n    return a"
    )
    _, made = copied(names)
    assert made() is names["a"]


@pytest.mark.parametrize(
    ("text", "body", "changed"),
    [
        ("X = [1]", "X.append(2)", ["X"]),
        ("X = {}", "X['a'] = 1", ["X"]),
        ("X = 1", "global X; X = 2", ["X"]),
        ("class A: pass\nX = A()", "X.n = 1", ["X"]),
        ("X = [1]", "return X", []),
        ("X = {'a': 1}", "return X.get('a')", []),
        ("X = [1]\ndef g(x):\n    x.append(1)", "g(X)", ["X"]),
    ],
)
def test_names_that_handlers_change_are_known(cell, text, body, changed):
    names = cell(f"{text}\ndef f():\n    {body}")
    copies, made = copied(names)
    made()
    assert copies.changed() == changed


def test_names_that_handlers_would_change_are_known_before_they_do(cell):
    names = cell("X = [1]\ndef f(n):\n    if n in X:\n        return\n    X.append(n)")
    copies, made = copied(names)
    made(1)
    assert copies.changed() == ["X"]


def test_names_may_begin_with_other_values(cell):
    names = cell("X = [1]\nN = 5\ndef f():\n    X.append(N)\n    return X")
    _, made = copied(names, instead={"X": []})
    assert made() == [5]
    assert names["X"] == [1]


def test_a_long_table_is_copied_at_once(cell):
    names = cell("X = list(range(2_000_000))\ndef f():\n    X[0] = 1")
    _, made = copied(names)
    made()
    assert names["X"][0] == 0
