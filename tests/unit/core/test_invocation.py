"""Errors as text, and the names by which invocations are found."""

from __future__ import annotations

import pytest

from dnworker.core.envelope import EventEnvelope
from dnworker.core.handler_error import LONGEST_MESSAGE, describe
from dnworker.core.invocation import LOGS_KEPT, Invocation, read_traceparent
from dnworker.core.logs import LogLine


def raised(function):
    try:
        function()
    except BaseException as exc:
        return exc
    raise AssertionError("it raised nothing")


class Odd(Exception):
    def __str__(self):
        raise KeyError("x")


def test_an_error_has_its_type_message_and_the_users_frames():
    def inner():
        raise ValueError("bad")

    error = describe(raised(inner))
    assert (error.type, error.message) == ("ValueError", "bad")
    assert [frame.function for frame in error.frames] == ["raised", "inner"]
    assert error.frames[-1].source == 'raise ValueError("bad")'
    assert str(error) == f"ValueError: bad ({error.place})"
    assert error.lines()[-1] == "ValueError: bad"


def test_an_error_without_frames_of_the_user_says_so():
    assert describe(ValueError("bad")).place == "outside the worker's code"


def test_a_message_that_cannot_be_had_is_no_second_error():
    assert describe(Odd()).message == "<Odd.__str__ raised KeyError>"


def test_a_syntax_error_has_the_location_of_the_broken_text():
    error = describe(raised(lambda: compile("a b", "demo.py", "exec")))
    assert error.place == "demo.py, line 1"
    assert error.frames[-1].source == "a b"


def test_long_messages_are_cut():
    assert "[cut: 5 more characters]" in describe(ValueError("x" * (LONGEST_MESSAGE + 5))).message


def test_an_invocation_keeps_its_newest_lines():
    invocation = Invocation("w", "h", "task")
    lines = [LogLine(number, "w", "log", "") for number in range(LOGS_KEPT + 1)]
    for line in lines:
        invocation.note_log(line)
    assert (invocation.logs[0].number, len(invocation.logs)) == (1, LOGS_KEPT)


def test_a_request_of_a_handler_names_its_event_and_itself():
    event = EventEnvelope(seq=1, kind="a")
    invocation = Invocation("w", "h", "event", event)
    assert read_traceparent(invocation.traceparent) == (event.event_id, invocation.id)
    alone = Invocation("w", "h", "task")
    assert read_traceparent(alone.traceparent) == (alone.id * 2, alone.id)


@pytest.mark.parametrize("text", ["", "00-1-2-01", "zz-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_other_text_is_no_traceparent(text):
    assert read_traceparent(text) is None
