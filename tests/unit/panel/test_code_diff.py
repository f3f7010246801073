"""The code of generations as lines, and what changed between two."""

from __future__ import annotations

from dnworker.panel import code_diff
from dnworker.panel.code_diff import Section, diff_of, plain

LOOP = "for row in rows:\n    price = parse_price(row)\n    publish(price)\n"


def cell(text, key="c9", name="cell [9]"):
    return (Section(key, name, text),)


def test_a_changed_line_is_shown_among_those_around_it():
    found = diff_of(cell(LOOP), cell(LOOP.replace("parse_price(row)", "float(row)"), name="cell [12]"))
    (section,) = found["sections"]
    assert section["name"] == "cell [12]"
    assert section["lines"] == [
        [" ", "for row in rows:"],
        ["-", "    price = parse_price(row)"],
        ["+", "    price = float(row)"],
        [" ", "    publish(price)"],
    ]


def test_a_gap_stands_between_changes_that_are_far_apart():
    lines = [str(n) for n in range(30)]
    new = ["new", *lines[1:-1], "last"]
    signs = [
        sign for sign, _ in diff_of(cell("\n".join(lines)), cell("\n".join(new)))["sections"][0]["lines"]
    ]
    assert signs == list("-+   @   -+")


def test_a_cell_that_is_gone_and_one_that_is_new_are_shown_whole():
    found = diff_of(cell("a = 1", "c1", "cell [1]"), cell("b = 2", "c2", "cell [2]"))
    shown = [(one["name"], one["lines"]) for one in found["sections"]]
    assert shown == [("cell [2]", [["+", "b = 2"]]), ("cell [1]", [["-", "a = 1"]])]


def test_the_same_code_is_said_to_be_the_same():
    assert diff_of(cell(LOOP), cell(LOOP)) == {"sections": [], "why": "the code is the same"}


def test_a_text_that_is_too_long_or_not_kept_is_not_compared():
    long = "x\n" * (code_diff.LINES_COMPARED + 1)
    assert "more than 3,000 lines" in diff_of(cell(long), cell(LOOP))["sections"][0]["why"]
    assert "not kept" in diff_of(cell(None), cell(LOOP))["sections"][0]["why"]
    assert "not kept" in plain(cell(None))["sections"][0]["why"]


def test_what_is_sent_is_bounded_in_lines_and_in_their_length():
    text = "\n".join(["y" * 1_000] * (code_diff.LINES_SHOWN + 7))
    (section,) = plain(cell(text))["sections"]
    assert (len(section["lines"]), section["cut"]) == (code_diff.LINES_SHOWN, 7)
    assert max(len(line) for _, line in section["lines"]) == code_diff.LONGEST_LINE
    (changed,) = diff_of(cell(""), cell(text))["sections"]
    assert (len(changed["lines"]), changed["cut"]) == (code_diff.LINES_SHOWN, 7)
