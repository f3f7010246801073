"""YAML with the line and column of every value."""

from __future__ import annotations

import pytest

from dnworker.capability.yamltree import KEY, YamlError, parse


def test_values_and_keys_have_their_line_and_column():
    document = parse("a: 1\nb:\n  - x\n  - {c: 2}\n")
    assert document.value == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.position(("b", 1, "c")) == (4, 9)
    assert document.position(("b", 1, "c", KEY)) == (4, 6)


def test_what_is_missing_has_the_position_of_what_it_is_missing_in():
    document = parse("a:\n  b: 1\n")
    assert document.position(("a", "c", "d")) == document.position(("a",)) == (2, 3)
    assert parse("").position(("a",)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [1\n", 1, "expected"),
        ("a:\n\tb: 1\n", 2, "a tab stands where YAML wants spaces"),
        ("a: 2024-13-45\n", 1, "a value cannot be read"),
        ("a: !!python/name:os.system x\n", 1, "could not determine a constructor"),
        ("a: \x07\n", 1, r"character U\+0007 is not allowed in YAML"),
    ],
    ids=["open", "tab", "date", "tag", "character"],
)
def test_text_that_is_no_plain_yaml_is_refused_with_its_line(text, line, says):
    with pytest.raises(YamlError, match=says) as refused:
        parse(text)
    assert refused.value.line == line


def test_an_alias_to_what_contains_it_does_not_go_on_for_ever():
    assert parse("a: &a\n  b: *a\n").position(("a", "b"))
