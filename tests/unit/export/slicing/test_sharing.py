"""Which names share objects, so that a change of one is a change of the other."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.changes import Changes
from dnworker_jupyter.export.slicing.sharing import Sharers, events

from .histories import few_calls_deep, history


@pytest.mark.parametrize(
    ("code", "surely", "perhaps"),
    [
        ("a = []\nb = a", True, True),
        ("a = []\nb = [a]", True, True),
        ("a = []\nb = a[0]", True, True),
        ("a = []\nb = f(a)", False, True),
        ("a = []\nb = len(a) > 1", False, False),
        ("def f(x): return x\na = []\nb = f(a)", True, True),
        ("a = []\nb = a\na = []", False, False),
        ("import a\nb = a", False, False),
        ("a = []\nb = []", False, False),
    ],
)
def test_names_share_an_object_where_one_may_be_or_hold_that_of_the_other(code, surely, perhaps):
    ran = history(code)
    found = []
    for maybe in (False, True):
        sharers = Sharers(ran, maybe=maybe)
        (a,), (b,) = ran.versions("a", ran.end), ran.versions("b", ran.end)
        found.append(sharers.group(a) == sharers.group(b))
    assert found == [surely, perhaps]


def test_a_name_that_was_bound_very_often_has_one_group():
    ran = history("x = []\n" + "x += [1]\n" * 300)
    with few_calls_deep():
        sharers = Sharers(ran, maybe=False)
        assert sharers.group(("x", 0)) == sharers.group(("x", 300))


def test_changes_are_listed_by_the_object_in_the_order_in_which_they_ran():
    ran = history("a = []\nb = a\nb.append(1)\nc = []\nc.append(2)\na.append(3)")
    sharers = Sharers(ran, maybe=False)
    found = events(ran, Changes(ran), sharers)
    assert [p for p, _ in found[sharers.group(("a", 0))]] == [2, 5]
