"""What a checked document says of its broken rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnworker.capability.problems import DocumentChecker, kind_of
from dnworker.capability.yaml_reading import parse


def checker(text="a: 1\nb:\n- x\n- 2\n", first_line=1, root=Path("/demo")):
    return DocumentChecker(parse(text), "capability.yaml", first_line, root)


def test_a_broken_rule_has_its_line_column_and_code():
    checked = checker()
    checked.bad(("b", 1), "wrong", "VALID-001")
    assert checked.problems == ["capability.yaml:4:3: wrong [CAP-VALID-001]"]


def test_lines_count_from_the_line_on_which_the_document_begins():
    assert checker(first_line=11).position(("a",)) == "capability.yaml:11:4"


def test_a_list_of_text_keeps_what_is_text_and_reports_the_rest():
    checked = checker()
    assert checked.text_list(["x", 2, " "], ("b",), "VALID-006") == [(0, "x")]
    assert [problem.rpartition(": ")[2] for problem in checked.problems] == [
        "b holds text that is not blank, not 2 [CAP-VALID-006]",
        "b holds text that is not blank, not ' ' [CAP-VALID-006]",
    ]


@pytest.mark.parametrize(
    ("value", "kind"),
    [({}, "a mapping"), ([], "a list"), ("", "text"), (None, "nothing"), (True, "true or false"), (1, "int")],
)
def test_a_value_is_called_in_a_users_words(value, kind):
    assert kind_of(value) == kind


def test_a_path_is_inside_only_if_it_stays_there(tmp_path):
    (tmp_path / "link").symlink_to("/")
    checked = checker(root=tmp_path.resolve())
    (tmp_path / "loop").symlink_to("loop")
    assert checked.where_is("a/../b.py") == tmp_path.resolve() / "b.py"
    assert checked.where_is("../b.py") == "lies outside the capability"
    assert checked.where_is("link/etc") == "lies outside the capability"
    assert "NUL character" in str(checked.where_is("a\0.py"))
    assert checked.where_is("loop/b.py") == "is a loop of symbolic links"
