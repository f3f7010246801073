"""Which names' objects, and which modules, a statement may change, and how sure that is."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.changes import Changes, Strength

from .histories import history

SURE, LIKELY, PERHAPS = Strength.SURE, Strength.LIKELY, Strength.PERHAPS


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("a = []\na.append(1)", {"a": SURE}),
        ("a = []\na.frob(1)", {"a": LIKELY}),
        ("a = []\nx = a.frob(1)", {"a": PERHAPS}),
        ("a = []\na.copy()", {}),
        ("a = []\nlen(a)", {}),
        ("a = []\nlist.append(a, 1)", {"a": SURE}),
        ("import heapq\na = []\nheapq.heappush(a, 1)", {"a": SURE, "module heapq.heappush": LIKELY}),
        ("a = iter([])\nfor x in a: ...", {"a": SURE}),
        ("a = []\ndef f(p): p.append(1)\nf(a)", {"a": SURE}),
        ("a = []\ndef f(p):\n    q = p\n    q.append(1)\nf(p=a)", {"a": SURE}),
        ("a = []\ndef f(): a.append(1)\nf()", {"a": SURE}),
        ("a = []\ndef f(): g()\ndef g(): a.append(1)\nf()", {"a": SURE}),
        ("a = []\ndef f(p): return len(p)\nf(a)", {}),
        ("n = 1\ndef f():\n    global n\n    n = 2\nf()", {"n": SURE}),
        ("def f(): f()\nf()", {}),
        ("import os\nos.environ['A'] = 'b'", {"module os.environ": SURE}),
        ("import json\njson.dumps = repr", {"module json.dumps": SURE}),
        ("class C: ...\nC.x = 1", {"C": SURE}),
    ],
)
def test_the_last_statement_changes_the_objects_of_names(code, changed):
    ran = history(code)
    found = Changes(ran).of(ran.end - 1)
    assert {
        name: strength for name, strength in found.items() if name in changed or strength > PERHAPS
    } == changed


def test_what_a_statement_did_that_raised_is_not_sure():
    ran = history("a = []\na.append(1 / 0)", failed_at=2)
    assert Changes(ran).of(1) == {"a": PERHAPS}
