"""Errors whole: causes, notes, members of groups, folded recursion and what is not shown."""

from __future__ import annotations

import json
import re
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.detail import add_detail, detail
from dnworker.core.frames import FRAMES_KEPT, LOCALS_KEPT
from dnworker.core.handler_error import (
    CHAIN_KEPT,
    EXCEPTIONS_KEPT,
    MEMBERS_KEPT,
    TEXT_KEPT,
    HandlerError,
    bytes_of_error,
    describe,
    within_bounds,
)
from dnworker.core.short_values import LONGEST_VALUE, short_value


def raised(function, *args):
    try:
        function(*args)
    except BaseException as exc:
        return exc
    raise AssertionError("it raised nothing")


def said(error, **options):
    """Return the lines of an error without directories and line numbers."""
    return [re.sub(r"[^ ]*/|line \d+", lambda m: "" if "/" in m[0] else "line _", t) for t in error.lines()]


def parse(text):
    return int(text)


def chained(text):
    try:
        parse(text)
    except ValueError as exc:
        raise RuntimeError("no number") from exc


def test_a_cause_stands_above_the_error_as_in_python():
    error = describe(raised(chained, "x"))
    assert error.cause is not None
    assert error.cause.type == "ValueError"
    assert said(error)[-7:] == [
        "ValueError: invalid literal for int() with base 10: 'x'",
        "The above exception was the direct cause of the following exception:",
        "test_whole_errors.py, line _, in raised",
        "    function(*args)",
        "test_whole_errors.py, line _, in chained",
        '    raise RuntimeError("no number") from exc',
        "RuntimeError: no number",
    ]


def handled(suppressed):
    try:
        parse("x")
    except ValueError:
        if suppressed:
            raise RuntimeError("second") from None
        raise RuntimeError("second")  # noqa: B904


def test_what_was_being_handled_is_shown_unless_it_was_suppressed():
    shown, hidden = describe(raised(handled, False)), describe(raised(handled, True))
    assert shown.context is not None
    assert shown.cause is None
    assert "During handling of the above exception, another exception occurred:" in shown.lines()
    assert (hidden.context, hidden.cause, hidden.is_cut) == (None, None, False)


def test_a_circle_of_causes_ends():
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    error = describe(first)
    assert error.cause is not None
    assert (error.cause.type, error.cause.cause, error.cause.is_cut) == ("KeyError", None, True)
    assert "(what it came of is not shown)" in error.lines()


def test_a_long_chain_is_cut_and_says_so():
    exc = ValueError(0)
    for number in range(100_000):
        exc, before = ValueError(number), exc
        exc.__context__ = before
    error, depth = describe(exc), 0
    while error.context is not None:
        error, depth = error.context, depth + 1
    assert (depth + 1, error.is_cut) == (CHAIN_KEPT, True)
    while exc is not None:  # else its deallocation recurses
        before, exc.__context__ = exc.__context__, None
        exc = before


def test_notes_stand_below_the_message():
    exc = raised(parse, "x")
    exc.add_note("first\nof two lines")
    assert describe(exc).lines()[-2:] == ["  first", "  of two lines"]


@pytest.mark.parametrize("notes", [5, "text", [5, "kept"], ["x" * 100_000] * 100, {"a": 1}])
def test_odd_notes_do_no_harm(notes):
    exc = ValueError("bad")
    exc.__notes__ = notes
    assert sum(map(len, describe(exc).notes)) < 20_000


def test_every_member_of_a_group_is_shown_with_its_own_cause():
    group = ExceptionGroup("both", [raised(chained, "x"), ExceptionGroup("inner", [raised(parse, "y")])])
    error = describe(group)
    assert str(error).startswith("ExceptionGroup: both (2 sub-exceptions): RuntimeError: no number (/")
    lines = said(error)
    assert lines[0] == "ExceptionGroup: both (2 sub-exceptions)"
    assert "  1 of 2:" in lines
    assert "  The above exception was the direct cause of the following exception:" in lines
    assert "    1 of 1:" in lines
    assert lines[-1] == "    ValueError: invalid literal for int() with base 10: 'y'"


def test_members_that_are_too_many_are_counted():
    error = describe(ExceptionGroup("wide", [ValueError(n) for n in range(1_000)]))
    assert (len(error.members), error.more_members) == (MEMBERS_KEPT, 980)
    assert error.lines()[-1] == "  and 980 more"


def test_groups_in_groups_are_followed_some_levels_only():
    exc: BaseException = ValueError("deep")
    for _ in range(50_000):
        exc = ExceptionGroup("g", [exc])
    error = describe(exc)
    assert error.lines()[-1].strip() == "and 1 more"
    while isinstance(exc, ExceptionGroup):  # else its deallocation recurses
        exc = exc.exceptions[0]


def test_an_exception_that_is_in_a_group_twice_is_described_once():
    one = raised(parse, "x")
    error = describe(ExceptionGroup("twice", [one, one]))
    assert (len(error.members), error.more_members) == (1, 1)


def walk(n):
    return walk(n + 1)


def test_recursion_is_folded():
    error = describe(raised(walk, 0))
    line = walk.__code__.co_firstlineno + 1
    assert [f.function for f in error.frames] == ["raised", "walk", "walk", "walk"]
    assert len(error.after) == 1
    assert re.fullmatch(rf"\.\.\. \d+ more of {re.escape(__file__)}, line {line}, in walk", error.after[0]), (
        error.after
    )


def even(n):
    return odd(n - 1)


def odd(n):
    if n < 0:
        raise ValueError("negative")
    return even(n - 1)


def test_mutual_recursion_is_folded():
    error = describe(raised(even, 200))
    assert [f.function for f in error.frames] == ["raised", "even", "odd", "even", "odd"]
    assert re.fullmatch(r"\.\.\. \d+ more rounds of .*, in even; .*, in odd", error.frames[-2].before[0]) or (
        re.fullmatch(r"\.\.\. \d+ more rounds of .*, in odd; .*, in even", error.frames[-1].before[0])
    )


def test_the_frames_of_a_recursion_are_all_accounted_for():
    for depth in range(1, 60):
        exc = raised(even, depth)
        count, traceback = 0, exc.__traceback__
        while traceback is not None:
            count, traceback = count + 1, traceback.tb_next
        error = describe(exc)
        assert len(error.frames) + error.hidden == count, depth


def test_frames_of_libraries_are_counted_and_the_one_that_raised_is_named():
    error = describe(raised(json.loads, "{"))
    assert [f.function for f in error.frames] == ["raised"]
    assert error.place.startswith(__file__)
    assert re.fullmatch(
        r"\(3 frames of json are not shown; raised at json/decoder\.py, line \d+, in raw_decode\)",
        error.after[0],
    )
    assert error.hidden == 3


def test_frames_of_libraries_between_the_users_are_counted_where_they_are():
    class Odd:
        pass

    def default(value):
        raise KeyError("mine")

    error = describe(raised(lambda: json.dumps([Odd()], default=default)))
    assert [f.function for f in error.frames] == ["raised", "<lambda>", "default"]
    assert re.fullmatch(r"\(\d frames of json are not shown\)", error.frames[-1].before[0])
    assert error.after == ()


def test_an_error_of_libraries_alone_shows_their_frames():
    exc = raised(json.loads, "{")
    exc.__traceback__ = exc.__traceback__.tb_next
    assert describe(exc).frames[-1].function == "raw_decode"


def test_a_deep_stack_that_is_no_recursion_keeps_its_ends():
    names = {}
    for n in range(300):
        body = f"return f{n + 1}()" if n < 299 else "1 / 0"
        exec(compile(f"def f{n}():\n    {body}", "deep.py", "exec"), names)
    error = describe(raised(names["f0"]))
    functions = [f.function for f in error.frames]
    assert len(functions) == FRAMES_KEPT
    assert (functions[1], functions[-1]) == ("f0", "f299")
    assert error.frames[20].before == ("... 201 more frames",)


def test_a_deep_recursion_costs_little():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        exc = raised(walk, 0)
    finally:
        sys.setrecursionlimit(limit)
    began = time.process_time()
    error = describe(exc, with_locals=True)
    assert time.process_time() - began < 2  # a hundred times what it takes
    assert bytes_of_error(error) < 20_000


def test_values_of_variables_are_read_where_they_are_wanted():
    def handler(token, items):
        count = len(items)
        return items[count]

    exc = raised(handler, "t-123", [1, 2])
    assert not describe(exc).has_values
    frame = describe(exc, with_locals=True).frames[-1]
    assert dict(frame.locals) == {"token": "***", "items": "[1, 2]", "count": "2"}


def test_a_frame_of_a_module_shows_the_data_that_its_code_names():
    names = {"unused": 1, "wanted": 2, "walk": walk, "json": json, "password": "p"}
    error = describe(
        raised(exec, compile("wanted + walk(json, password) if 0 else wanted / 0", "cell.py", "exec"), names),
        with_locals=True,
    )
    assert error.frames[-1].locals == (("wanted", "2"), ("password", "***"))


def test_there_are_not_too_many_values():
    names = "\n".join(f"    v{n} = {n}" for n in range(100))
    space = {}
    exec(compile(f"def f():\n{names}\n    1 / 0", "many.py", "exec"), space)
    assert len(describe(raised(space["f"]), with_locals=True).frames[-1].locals) == LOCALS_KEPT


def test_detail_is_what_the_user_chose():
    exc = raised(chained, "x")
    remove = add_detail(lambda: "minimal")
    assert describe(exc).lines() == [str(describe(exc))]
    remove()
    remove = add_detail(lambda: "verbose")
    assert "      text = 'x'" in describe(exc).lines()
    remove()
    remove()
    assert detail() == "normal"


@pytest.mark.parametrize("answer", ["nonsense", None, ValueError("x")])
def test_a_broken_shell_does_not_keep_errors_from_being_shown(answer):
    def ask():
        if isinstance(answer, Exception):
            raise answer
        return answer

    remove = add_detail(ask)
    assert detail() == "normal"
    remove()


def test_brief_says_what_an_error_came_of():
    exc = raised(chained, "x")
    exc.add_note("the note")
    first, note, cause = describe(exc).brief().split("\n")
    assert first.startswith("RuntimeError: no number (")
    assert note == "  the note"
    assert cause.startswith("  caused by ValueError: invalid literal for int() with base 10: 'x' (")


# -- bounds --------------------------------------------------------------------------------------------

exceptions = st.recursive(
    st.builds(lambda text: raised(lambda: parse(text + "x")), st.text(max_size=2_000)),
    lambda inner: st.one_of(
        st.builds(lambda one, two: chain(one, two, "__cause__"), inner, inner),
        st.builds(lambda one, two: chain(one, two, "__context__"), inner, inner),
        st.lists(inner, min_size=1, max_size=5).map(lambda members: BaseExceptionGroup("group", members)),
    ),
    max_leaves=80,
)


def chain(one, two, how):
    setattr(one, how, two)
    return one


def every(error: HandlerError) -> list[HandlerError]:
    below = [one for one in (error.cause, error.context, *error.members) if one is not None]
    return [error, *(e for one in below for e in every(one))]


@given(exceptions)
def test_an_error_is_bounded_and_the_same_after_a_report(exc):
    error = describe(exc, with_locals=True)
    assert len(every(error)) <= EXCEPTIONS_KEPT + CHAIN_KEPT
    assert bytes_of_error(error) < 4 * TEXT_KEPT
    data = msgspec.json.encode(error)
    assert len(data) < 900_000
    again = msgspec.json.decode(data, type=HandlerError)
    assert again == error
    assert within_bounds(again) == error
    assert all(type(line) is str for line in error.lines())


def test_an_error_of_an_older_process_is_read():
    old = (
        b'{"type": "ValueError", "message": "x", "frames": [{"place": "p", "function": "f", "source": "s"}]}'
    )
    error = msgspec.json.decode(old, type=HandlerError)
    assert error.lines() == ["p, in f", "    s", "ValueError: x"]


def test_a_report_that_claims_too_much_is_cut():
    error = HandlerError("E" * 1_000, "m" * 50_000, ())
    for _ in range(400):
        error = HandlerError("E", "m", (), cause=error, notes=("n" * 5_000,) * 100)
    wide = HandlerError("G", "m", (), members=(error,) * 100)
    cut = within_bounds(wide)
    assert len(every(cut)) <= EXCEPTIONS_KEPT
    assert bytes_of_error(cut) < 1_000_000
    assert len(cut.members) + cut.more_members == 100


# -- values --------------------------------------------------------------------------------------------


class Hostile(list):
    """A list whose every method runs for ever."""

    def forever(self, *args):
        raise AssertionError("it would never return")

    __repr__ = __str__ = __len__ = __iter__ = __getitem__ = __getattr__ = __bool__ = __eq__ = forever
    __hash__ = None


class OddMeta(type):
    __name__ = property(lambda cls: 1 / 0)
    __repr__ = __str__ = lambda cls: 1 / 0


class OddClass(metaclass=OddMeta):
    def __getattribute__(self, name):
        raise AssertionError("it would never return")


loop: list[object] = [1]
loop.append(loop)
table = {"password": "p", "plain": {"api_key": 5, "n": 1}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (1 << 100_000, "<int of 100,001 bits>"),
        ("x" * 1_000, f"{'x' * 100!r}... 1,000 characters"),
        (b"\x00", "b'\\x00'"),
        (loop, "[1, [1, [1, [1, [...]]]]]"),
        (set(), "set()"),
        ((1,), "(1,)"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, ... 92 more]"),
        (table, "{'password': ***, 'plain': {'api_key': ***, 'n': 1}}"),
        (walk, "<function walk>"),
        (json, "<module json>"),
        (int, "<class int>"),
        (Hostile([1, 2]), "<Hostile of 2>"),
        (OddClass(), "<OddClass>"),
        (OddClass, "<class OddClass>"),
        ([OddClass(), Hostile()], "[<OddClass>, <Hostile of 0>]"),
        ("\ud800", "'\\ud800'"),
    ],
    ids=lambda value: value if type(value) is str and len(value) < 60 else "",
)
def test_a_value_is_short_and_runs_no_code(value, text):
    assert short_value(value) == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(values)
def test_a_value_is_never_long(value):
    text = short_value(value)
    assert len(text) <= LONGEST_VALUE
    text.encode()


def test_secrets_are_masked_by_name():
    assert [short_value("x", name) for name in ("api_key", "PASSWORD", "auth_token", "name")] == [
        *["***"] * 3,
        "'x'",
    ]
    assert short_value(None, "token") == "None"
