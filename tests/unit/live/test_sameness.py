"""What is provably the same as before, and what is not; by no code of the notebook."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from dnworker.core.handlers import HandlerKey
from dnworker_jupyter.live.records import Handler, Registration
from dnworker_jupyter.live.sameness import PAIRS, Comparison, is_unchanged
from dnworker_jupyter.syntax.cell import Cell


def function(code: str, **names: Any) -> Any:
    """Make a function `h` of code, whose globals are the same at each call."""
    scope = dict(names)
    exec(code, GLOBALS, scope)
    return scope["h"]


GLOBALS: dict[str, Any] = {"functools": functools}

SAME = [
    "async def h(e, c): return 1",
    "async def h(e, c, x=1, y='a', z=None, f=float('nan'), t=(1, ('b',))): return x",
    "async def h(e, c, *, key=b'k', other=True): return key",
    "def make(x):\n    async def h(e, c): return x\n    return h\nh = make(10**30)",
    "def make():\n    async def h(e, c): return h\n    return h\nh = make()",
    "def make(f):\n    async def run(*a): return await f(*a)\n    run.__wrapped__ = f\n    run.retries = 3\n    return run\n"
    "async def inner(e, c): pass\nh = make(inner)",
    "def make():\n    def even(n): return n == 0 or odd(n - 1)\n    def odd(n): return n and even(n - 1)\n"
    "    async def h(e, c): return even(c)\n    return h\nh = make()",
    "async def h(e, c, out=print): out(e)",
]
OTHER = [
    "async def h(e, c, x=[]): return x",
    "async def h(e, c, x=object()): return x",
    "def make():\n    seen = []\n    async def h(e, c): return seen\n    return h\nh = make()",
    "class Retry:\n    pass\nasync def h(e, c): pass\nh.policy = Retry()",
    "async def run(e, c, x): pass\nh = functools.partial(run, x=1)",
    "class A:\n    async def h(self, e, c): pass\nh = A().h",
    "def make():\n    async def h(e, c): return later\n    return h\n    later = 1\nh = make()",
    "async def h(e, c, x={1: 2}, y={3}): return x",
]


@pytest.mark.parametrize("code", SAME)
def test_functions_of_the_same_code_that_hold_the_same_plain_values_are_the_same(code):
    assert Comparison().values(function(code), function(code))


@pytest.mark.parametrize("code", OTHER)
def test_what_holds_an_object_of_its_own_is_not_proven_the_same(code):
    assert not Comparison().values(function(code), function(code))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("async def h(e, c): return 1", "async def h(e, c): return 2"),
        ("async def h(e, c): return 1", "async def h(e, c): return 1.0"),
        ("async def h(e, c): return 1", "async def h(e, c): return True"),
        ("async def h(e, c, x=0.0): return x", "async def h(e, c, x=-0.0): return x"),
        ("async def h(e, c, x=1): return x", "async def h(e, c, x=True): return x"),
        ("async def h(e, c, *, x=1): return x", "async def h(e, c, *, x=2): return x"),
        ("async def h(e, c, x=(1, 2)): return x", "async def h(e, c, x=(1, 2, 3)): return x"),
        ("async def h(e, c): pass\nh.limit = 1", "async def h(e, c): pass\nh.limit = 2"),
        ("async def h(e, c): pass\nh.limit = 1", "async def h(e, c): pass"),
        ("def make(x):\n    async def h(e, c): return x\n    return h\nh = make(1)",
         "def make(x):\n    async def h(e, c): return x\n    return h\nh = make(2)"),
    ],
)  # fmt: skip
def test_any_difference_is_a_difference(one, other):
    assert not Comparison().values(function(one), function(other))


def test_a_function_of_another_module_is_another():
    code = "async def h(e, c): return limit"
    scopes: list[dict[str, Any]] = [{}, {}]
    for scope in scopes:
        exec(code, scope)
    assert not Comparison().values(scopes[0]["h"], scopes[1]["h"])


def test_hostile_objects_are_never_asked():
    class Hostile:
        def __eq__(self, other):
            raise AssertionError("it was compared")

        def __repr__(self):
            raise AssertionError("it was shown")

        def __hash__(self):
            raise AssertionError("it was hashed")

    code = "async def h(e, c): pass\nh.held = held"
    one = Hostile()
    assert Comparison().values(function(code, held=one), function(code, held=one))
    assert not Comparison().values(function(code, held=one), function(code, held=Hostile()))


def test_a_subclass_of_a_plain_type_proves_nothing():
    class Text(str):
        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    code = "async def h(e, c, x=held): return x"
    assert not Comparison().values(function(code, held=Text("a")), function(code, held=Text("a")))


def test_a_deep_or_large_value_ends_the_comparison_without_a_proof():
    deep: Any = (1,)
    also: Any = (1,)
    for _ in range(5_000):
        deep, also = (deep,), (also,)
    assert Comparison().values(deep, also)
    wide = tuple((n,) for n in range(PAIRS + 1))
    assert not Comparison().values(wide, tuple((n,) for n in range(PAIRS + 1)))


def registration(code: str = "async def h(e, c): return 1", **fields: Any) -> Registration:
    handler = Handler(HandlerKey("on_event", "a", "h"), function(code), code)
    text = fields.pop("text", "the text")
    return Registration(Cell(1, text, "c1"), (handler,), **fields)


def test_a_registration_of_the_same_text_and_handlers_is_unchanged():
    assert is_unchanged(registration(), registration(), {})


@pytest.mark.parametrize(
    "again",
    [
        {"text": "another"},
        {"code": "async def h(e, c): return 2"},
        {"removed": frozenset({"n"})},
        {"shared": True},
        {"twice": ("h",)},
        {"seeds": {"n": 1}},
    ],
)
def test_what_a_cell_does_otherwise_makes_it_changed(again):
    assert not is_unchanged(registration(), registration(**again), {"n": 1})


def test_a_plain_value_that_the_state_has_already_sets_nothing():
    seeds: dict[str, Any] = {"n": 1}
    assert is_unchanged(registration(seeds=seeds), registration(seeds=seeds), {"n": 1})
    assert is_unchanged(registration(seeds=seeds), registration(), {"n": 5})  # setdefault set nothing
    assert not is_unchanged(registration(seeds=seeds), registration(seeds=seeds), {"n": 5})
    assert not is_unchanged(registration(seeds=seeds), registration(seeds=seeds), {})
    seen: dict[str, Any] = {"seen": []}
    assert not is_unchanged(registration(seeds=seen), registration(seeds=seen), seen)


def test_a_cell_of_which_a_handler_was_removed_is_changed_when_it_runs_again():
    present = registration()
    assert not is_unchanged(present.without(present.handlers), registration(), {})
