"""YAML with the line and column of every value."""

from __future__ import annotations

import pytest
import yaml

from dnworker.capability.yaml_reading import parse
from dnworker.capability.yamltree import KEY, YamlError


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


@pytest.mark.parametrize("text", ["a: &a\n  b: *a\n", "a: &a\n  - [*a]\n", "a: &a\n  <<: *a\n"])
def test_an_alias_to_what_contains_it_is_refused_where_that_begins(text):
    with pytest.raises(YamlError, match="an alias refers to what contains it") as refused:
        parse(text)
    assert (refused.value.line, refused.value.column) in ((1, 4), (2, 3))


def laughs(levels: int = 9, width: int = 9) -> str:
    """Return a few hundred bytes of YAML that are billions of values where aliases are written out."""
    rows = (f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))
    return f"a0: &a0 lol\n{''.join(rows)}"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        (laughs(), (6, 5), "more than 10,000 values, counting what aliases repeat; split it"),
        (
            f"a: &a {{{','.join(f'k{n}: 1' for n in range(3_000))}}}\nb: {{<<: [*a, *a, *a, *a]}}\n",
            (2, 5),
            "copy more",
        ),
        ("a: &a " + "x" * 400_000 + "\nb: [*a, *a, *a]\n", (2, 4), "more than 1,000,000 characters"),
        ("[" + "a," * 300_000 + "]", (1, 20_000), "more than 10,000 values; split it"),
        ("x: [\n" + "[" * 500, (2, 99), "nested deeper than 100 levels"),
        ("a: " + "x" * 1_000_000, (1, 1), "longer than 1,000,000 characters; split it"),
        ("%TAG !e! tag:x\n" * 20_000 + "--- x", (101, 1), "lines begin with %"),
        ("a: 1" + ":1" * 400_000, (1, 4), "a number of 800,001 characters; quote it"),
        ("b: 1\na: 0x" + "f" * 5_000, (2, 4), "a number of 5,002 characters; quote it"),
        ("b: 1\na: 2024-13-45\n", (2, 4), "a value cannot be read: month must be in 1..12"),
        ("b: 1\na: 2001-12-14t21:59:43.10-99:99\n", (2, 4), "a value cannot be read: offset"),
        ("b: 1\na: !!timestamp x\n", (2, 4), "a value does not fit its tag"),
        ("b: 1\na: !!int ''\n", (2, 4), "a value does not fit its tag"),
        ("b: 1\na: !!bool x\n", (2, 4), "a value does not fit its tag"),
        ("a: \ud800\n", (1, 1), r"character U\+D800 is not allowed in YAML"),
        ("a: 1\n---\nb: 2\n", (2, 1), "expected a single document"),
        ("--- a\n" * 100_000, (2, 1), "expected a single document"),
        ("{[a]: 1}", (1, 2), "unhashable key"),
        ("a: *b\n", (1, 4), "undefined alias"),
    ],
    ids=[
        *("laughs", "merges", "texts", "nodes", "deep", "long", "directives", "sexagesimal", "hex", "date"),
        *("offset", "timestamp", "int", "bool", "surrogate", "documents", "many-documents", "key", "alias"),
    ],
)
def test_a_text_that_would_take_time_or_memory_or_is_no_data_is_refused_with_its_place(text, where, says):
    with pytest.raises(YamlError, match=says) as refused:
        parse(text)
    assert (refused.value.line, refused.value.column) == where


def test_aliases_and_merge_keys_of_a_usual_size_are_read_as_pyyaml_reads_them():
    text = "base: &b {a: 1, b: [x, y]}\none: {<<: *b, a: 2}\ntwo: {<<: [*b, {c: 3}]}\nlist: [*b, *b]\n"
    document = parse(text)
    assert document.value == yaml.safe_load(text)
    assert document.position(("one", "b", 1)) == (1, 24)
    assert document.position(("list", 1, "a")) == (1, 14)
    chain = "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 50))
    assert parse(f"a0: &a0 {{k: 1}}\n{chain}").value == yaml.safe_load(f"a0: &a0 {{k: 1}}\n{chain}")


def test_a_key_that_stands_twice_in_a_mapping_is_noted_where_it_counts():
    assert parse("a: 1\nb: {c: 1, d: 2, c: 3}\na: 4\n").doubled == (("c", 2, 17), ("a", 3, 1))
    assert parse("a: &a {c: 1}\nb: {<<: *a, c: 2}\nd: *a\n").doubled == ()
