"""What code does to objects: stores, calls, and which names share an object."""

from __future__ import annotations

import ast

import pytest

from dnworker_jupyter.export.slicing.facts import Store, facts_of, shared_names


def facts(code: str, *, deep: bool = False):
    return facts_of(ast.parse(code).body, deep=deep)


@pytest.mark.parametrize(
    ("code", "stores"),
    [
        ("a.b[0] = 1", [Store("a", ("b",))]),
        ("del a[0]", [Store("a", ())]),
        ("del a", []),
        ("a += b", [Store("a", (), is_sure=False)]),
        ("a += [1]", [Store("a", ())]),
        ("a += 1", []),
        ("a.b += 1", [Store("a", ("b",))]),
        ("for a[0] in xs: ...", [Store("a", ())]),
        ("with f() as a.b: ...", [Store("a", ("b",))]),
        ("x, a[0] = y", [Store("a", ())]),
        ("type(a).b = 1", [Store("a", ("__class__", "b"))]),
        ("a[0]", [Store("a", (), is_sure=False)]),
        ("def f(): a[0] = 1", []),
    ],
)
def test_a_change_in_place_is_a_store(code, stores):
    assert facts(code).stores == stores


@pytest.mark.parametrize(
    ("code", "surely", "perhaps"),
    [
        ("a", "a", ""),
        ("a.b[0]", "a", ""),
        ("[a, {'k': b}, *c]", "a b c", ""),
        ("a if t else b", "a b", ""),
        ("a or b", "a b", ""),
        ("f(a)", "", "a"),
        ("a.get('k')", "a", "a"),
        ("(b := a)", "a b", ""),
        ("a == b", "", ""),
        ("f'{a}'", "", ""),
        ("lambda: a", "", ""),
        ("iter(a)", "a", ""),
        ("eval('a')", "a", ""),
        ("eval('a +')", "", ""),
    ],
)
def test_an_expression_hands_on_the_objects_of_names(code, surely, perhaps):
    sure, maybe = shared_names(ast.parse(code, mode="eval").body)
    assert (sure, maybe >= set(perhaps.split())) == (set(surely.split()), True)


def test_a_call_is_known_with_its_arguments_and_whether_its_result_is_used():
    first, second = facts("a.b.c(x, k=y)\nz = f(*w)").calls
    assert (first.root, first.path, first.is_discarded) == ("a", ("b", "c"), True)
    assert first.arguments == ((0, frozenset({"x"})), ("k", frozenset({"y"})))
    assert (second.root, second.is_discarded) == ("f", False)
    assert second.arguments == ((0, frozenset({"w"})),)


def test_a_decorator_is_called_with_what_it_decorates():
    (call,) = facts("@registry.add\ndef f(): ...").calls
    assert (call.root, call.path, call.arguments) == ("registry", ("add",), ((0, frozenset({"f"})),))


def test_the_body_of_a_function_counts_only_where_functions_are_taken_to_be_called():
    code = "def f():\n    global n\n    n = a.pop()"
    assert (facts(code).calls, facts(code).global_binds) == ([], set())
    deep = facts(code, deep=True)
    assert ([c.root for c in deep.calls], deep.global_binds) == (["a"], {"n"})


def test_what_a_loop_or_a_membership_test_goes_through_is_used_up():
    assert facts("for x in a: ...\n[y for y in b]\n3 in c\n3 == d").iterated == {"a", "b", "c"}
