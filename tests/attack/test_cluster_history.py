"""The checker of histories of clusters finds each kind of violation, and no other."""

from __future__ import annotations

import pytest

from tests.attack.cluster_history import Subject, missing, parse, violations

NEAR = Subject(frozenset({"one", "talk"}), is_process=False)
CHILD = Subject(frozenset({"one"}), is_process=True)
SUBJECTS = {"near": NEAR, "child": CHILD}

GOOD = """\
1.0 accepted one:1 -
1.1 begin near a/1 1 one:1 -
1.1 begin child b/1 1 one:1 -
1.2 end near a/1 1 one:1 -
1.2 end child b/1 1 one:1 -
1.3 accepted talk:1 s
1.4 accepted talk:2 s
1.5 begin near a/1 1 talk:1 s
1.6 begin near a/1 1 talk:2 s
1.7 end near a/1 1 talk:2 s
2.0 tick near a/1 1 12:00 -
13.0 begin near b/1 2 talk:1 s
13.1 end near b/1 2 talk:1 s
14.0 woke a/1
14.1 end near a/1 1 talk:1 s
60.0 tick near b/1 2 12:01 -
"""


def test_a_history_that_keeps_all_promises_has_no_violation():
    assert violations(parse(GOOD), SUBJECTS) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("1.9 accepted one:2 -", ["near has not handled 1", "child has not handled 1"]),
        ("1.9 accepted talk:9 s\n2.0 begin near a/1 1 talk:9 s", ["near has not handled 1"]),
        ("1.9 begin near b/1 1 one:1 -", ["near: fence 1 has a/1, b/1"]),
        ("1.9 begin near a/2 1 one:1 -", ["near: fence 1 has a/1, a/2"]),
        ("13.5 begin near a/1 1 one:1 -", ["near: a/1 has begin one:1 with fence 1 at 13.500, after"]),
        ("15.1 begin near a/1 1 one:1 -", ["near: a/1 has begin one:1 with fence 1 at 15.100, after"]),
        (
            "13.5 begin child b/1 2 one:1 -\n14.1 begin child a/1 1 one:1 -",
            ["child: fence 1 has", "child: a/1"],
        ),
        ("1.9 end near a/1 1 one:1 -", ["near: one:1 ended 2 times with fence 1"]),
        (
            "61.0 tick near b/1 2 12:00 -",
            ["near: the tick 12:00 ran 2 times: a/1 with fence 1 at 2.000, b/1"],
        ),
        (
            "1.9 begin near a/1 1 talk:1 s",
            ["near: talk:1 of s begins at 1.900 on a/1 with fence 1, after talk:2"],
        ),
        ("13.2 begin near b/1 2 talk:4 s\n13.3 begin near b/1 2 talk:3 s", ["near: talk:3 of s"] * 2),
    ],
)
def test_each_broken_promise_is_found(more, said):
    found = violations(parse(GOOD + more + "\n"), SUBJECTS)
    assert len(found) == len(said), found
    for text, start in zip(found, said, strict=True):
        assert text.startswith(start)


def test_what_waits_is_told_by_worker():
    assert missing(parse(GOOD + "15.0 accepted one:7 -\n"), SUBJECTS) == {
        "near": {"one:7"},
        "child": {"one:7"},
    }


def test_a_line_that_a_kill_has_cut_is_left_out_and_one_of_another_kind_is_refused():
    assert len(parse("1.0 woke a/1\n1.1 wo")) == 1
    with pytest.raises(ValueError, match="no line of a history"):
        parse("1.0 slept a/1\n")
