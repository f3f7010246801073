"""The lines of our magics: words, payloads, and refusals in the user's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker_jupyter.syntax.options import read_body, read_payload, read_worker_line, split


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a  b", ["a", "b"]),
        ("a 'b c'", ["a", "b c"]),
        ('x={"a": [1, 2]} y=1', ['x={"a": [1, 2]}', "y=1"]),
        ("t='a b'", ["t='a b'"]),
        ("", []),
    ],
)
def test_words_are_split_outside_quotes_and_brackets(line, words):
    assert split(line) == words


@pytest.mark.parametrize("line", ["x='a", "x={1", "x=(["])
def test_what_is_not_closed_is_named(line):
    with pytest.raises(UsageError, match="is missing at the end"):
        split(line)


@given(st.text())
def test_any_line_is_split_or_refused(line):
    try:
        split(line)
    except UsageError:
        return


@pytest.mark.parametrize(
    ("words", "payload"),
    [
        ([], None),
        (["turn_id=t1"], {"turn_id": "t1"}),
        (
            ["n=1", "f=1.5", "b=true", "p=True", "z=null", "s='a b'"],
            {"n": 1, "f": 1.5, "b": True, "p": True, "z": None, "s": "a b"},
        ),
        (["x={'a': 1}"], {"x": {"a": 1}}),
        (['{"a": 1}'], {"a": 1}),
        (["v={name}"], {"v": 42}),
        (["empty="], {"empty": ""}),
        (["a='{[1]: 2}'"], {"a": "{[1]: 2}"}),
    ],
)
def test_values_are_json_python_names_or_text(words, payload):
    assert read_payload(words, {"name": 42}) == payload


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["[1, 2]"], "a payload is an object with names.* is a list"),
        (["text"], "is text"),
        (["a=1", "b"], "'b' is not of the form key=value"),
        (["x={missing}"], "no variable 'missing'"),
    ],
)
def test_a_payload_that_is_no_object_is_refused(words, message):
    with pytest.raises(UsageError, match=message):
        read_payload(words, {})


@pytest.mark.parametrize("body", ['{"a": 1}', "{'a': 1}", "a: 1\n", '\n{"a": 1}\n'])
def test_a_body_is_json_python_or_yaml(body):
    assert read_body(body) == {"a": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "the body is empty"),
        ("[1]", "is a list"),
        ('{"a": 1\n "b": 2}', r"line 3, column 2: Expecting ',' delimiter"),
        ("a: b: c", r"line 2, column 5"),
        ("{[1]: 2}", "payload, line"),
        ("when: 2024-13-45", "a value cannot be read: month must be"),
    ],
)
def test_a_body_that_cannot_be_read_is_named_with_its_place(body, message):
    with pytest.raises(UsageError, match=message):
        read_body(body)


def test_a_worker_line_is_read():
    line = read_worker_line("bridge --when a --when b --env K=v=w --quiet")
    assert (line.name, line.options.when, line.options.env, line.quiet) == (
        "bridge",
        ("a", "b"),
        {"K": "v=w"},
        True,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "needs the worker's name"),
        ("Bridge", "'Bridge' is not allowed"),
        ("bridge --wen x", "unknown option '--wen'; did you mean --when?"),
        ("bridge --zzz", "unknown option '--zzz'; options: --check-payloads, --command, --debug"),
        ("bridge other", "unexpected 'other'"),
        ("bridge --env K", "not of the form NAME=value"),
        ("bridge --when", "expected one argument"),
    ],
)
def test_a_wrong_worker_line_is_refused_with_the_way_out(line, message):
    with pytest.raises(UsageError, match=message):
        read_worker_line(line)


@pytest.mark.parametrize("value", ["{[1]: 2}", "{1+1}", "{d['x']}"])
def test_braces_around_nothing_that_can_be_read_are_refused(value):
    with pytest.raises(UsageError, match=r"is neither JSON \(column \d+: .*\), a Python dict nor the name"):
        read_payload([f"a={value}"], {"d": {"x": 1}})


def test_a_comment_ends_a_line():
    assert split("e a=1 # why") == ["e", "a=1"]
    assert split("#12 --edit a=1") == ["#12", "--edit", "a=1"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"a":' * 50_000, "nested too deep"),
        ("[" * 500, "nested deeper than 100 levels"),
        (
            "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
            "payload, line 7",
        ),
        ("a: &a [*a]", "payload, line 2, column 4: an alias refers to what contains it"),
        ("a: " + "1" * 5_000, "a number of 5,000 characters"),
    ],
    ids=["json", "deep", "bomb", "circle", "digits"],
)
def test_a_body_that_is_a_bomb_is_refused_with_its_line(body, says):
    with pytest.raises(UsageError, match=says):
        read_body(body)
