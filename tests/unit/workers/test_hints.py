"""The way out of a mistake is found without running code of the user, whatever that has put there."""

from __future__ import annotations

import linecache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.source_calls import LONGEST_SOURCE
from dnworker.testing import make_envelope
from dnworker.workers.hints import way_out, way_out_in_cell


def raised_by(expression: str, **names: object) -> BaseException:
    """Return what a line of code raises, as a handler's file has it."""
    linecache.cache["<line>"] = (len(expression), None, [expression], "<line>")
    try:
        exec(compile(expression, "<line>", "exec"), {"__name__": "made", **names})
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


class Hostile:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name):
        raise AttributeError(f"no {name}", name=name, obj=self)

    def __repr__(self):
        raise RuntimeError("asked")

    __str__ = __eq__ = __bool__ = __len__ = __iter__ = __repr__

    def __hash__(self):
        return hash("kind")


class Meta(type):
    def __instancecheck__(cls, instance):
        raise RuntimeError("asked")

    @property
    def __name__(cls):
        raise RuntimeError("asked")


class Odd(metaclass=Meta):
    pass


class LyingError(AttributeError):
    """Puts properties in the place of what the interpreter keeps."""

    name = property(lambda self: 1 / 0)
    obj = property(lambda self: 1 / 0)
    args = property(lambda self: 1 / 0)
    __traceback__ = property(lambda self: 1 / 0)


def lie():
    raise LyingError("x")


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("thing.kind", {"thing": Hostile()}),
        ("held['kind']", {"held": {Hostile(): 1, 3: 4}}),
        ("event.payload['kind']['x']", {"event": make_envelope("a", {"kind": {}})}),
        ("held['x']", {"held": {"x" * 1_000_000: 1}}),
        ("odd.kind", {"odd": Odd()}),
        ("lie()", {"lie": lie}),
        ("raise KeyError(thing)", {"thing": Hostile()}),
        ("raise NameError", {}),
        ("raise AttributeError", {}),
        ("raise KeyError", {}),
        ("(" * 100 + "event.nothing" + ")" * 100, {"event": make_envelope("a", {})}),
        ("event.nothing;" + " " * LONGEST_SOURCE, {"event": make_envelope("a", {})}),
    ],
)
def test_nothing_of_a_hostile_object_is_called(expression, names):
    exc = raised_by(expression, **names)
    for hint in (way_out(exc), way_out_in_cell(exc)):
        assert hint is None or len(hint.text) < 1_000


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=30), st.text(min_size=1, max_size=5))
def test_a_missing_key_is_told_with_the_keys_there_are_in_bounded_length(payload, key):
    if key in payload:
        return
    event = make_envelope("a", payload)
    hint = way_out(raised_by("event.payload[key]", event=event, key=key))
    assert hint is not None
    assert hint.place == "<line>, line 1"
    assert hint.text.startswith('event.payload has no "')
    assert len(hint.text) < 1_000
    assert ("no key yet" in hint.text) == (not payload)


def test_an_error_of_what_a_handler_calls_in_a_library_is_left_alone():
    assert way_out(raised_by("import json; json.loads(3)")) is None
    assert way_out(raised_by("{}.popitem()")) is None


@pytest.mark.parametrize("expression", ["1 + 'a'", "len()", "x.y", "[][3]", "missing"])
def test_a_cell_is_told_of_mistakes_with_dnworker_only(expression):
    assert way_out_in_cell(raised_by(expression, x=3)) is None
