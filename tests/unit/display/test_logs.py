"""`%worker logs`: the newest lines, the way to the others, and one line whole."""

from __future__ import annotations

import asyncio
import re

import pytest

from dnworker.core.clock import SwitchClock
from dnworker.core.errors import UsageError
from dnworker.core.logs import LogBook
from dnworker_jupyter.display.logs import PAGED, LogQuery, line_of, log_text, whole


@pytest.fixture
def book():
    filled = LogBook()
    for n in range(100):
        filled.add("w", f"line {n}", event_id=f"e{n % 2}")
        filled.add("other", "not of w")
    return filled


def texts(book, **query):
    return str(log_text(book, "w", "w", LogQuery(**query))).splitlines()


def test_the_newest_lines_are_shown_with_the_way_to_those_before(book):
    note, *lines = texts(book, last=2)
    assert note == (
        "(98 earlier lines; %worker logs w --before 197 shows the ones before, --all all of them, "
        "--grep TEXT those with a text)"
    )
    assert [line.partition("  ")[2] for line in lines] == ["line 98", "line 99"]


def test_going_back_by_what_the_note_says_shows_every_line_once(book):
    seen, before = [], None
    while True:
        shown = texts(book, last=30, before=before)
        seen = [line.partition("  ")[2] for line in shown if not line.startswith("(")] + seen
        if not shown[0].startswith("("):
            break
        before = int(shown[0].partition("--before ")[2].split()[0])
    assert seen == [f"line {n}" for n in range(100)]


def test_lines_are_found_by_text_and_event_and_the_note_keeps_both(book):
    assert [line[10:] for line in texts(book, grep="LINE 9", last=99)] == [
        "line 9",
        *(f"line {n}" for n in range(90, 100)),
    ]
    note, line = texts(book, grep="line", event="e1", last=1)
    assert note.startswith('(49 earlier lines; %worker logs w --grep "line" --event e1 --before 199 ')
    assert line.endswith("line 99")
    assert texts(book, grep="nothing") == ["no line of w is like that"]


def test_all_lines_go_to_a_pager_where_they_are_many(book):
    few = log_text(book, "w", "w", LogQuery(all=True))
    for n in range(PAGED):
        book.add("w", str(n))
    many = log_text(book, "w", "w", LogQuery(all=True))
    assert (few.is_long, many.is_long, len(str(many).splitlines())) == (False, True, 100 + PAGED)


def test_what_the_log_has_dropped_is_said():
    book = LogBook(3)
    for n in range(5):
        book.add("w", str(n))
    assert texts(book)[0] == "(2 older lines, of all workers, are not kept any more)"


def test_a_line_that_was_displayed_says_how_to_see_it_whole(book):
    number = book.add("w", "a table", data={"text/html": "<table>"}).number
    assert texts(book)[-1].endswith(f"a table  [text/html: --show {number}]")
    shown = line_of(book, "w", "w", number)._repr_mimebundle_()
    assert 'sandbox=""' in shown["text/html"]
    assert "&lt;table&gt;" in shown["text/html"]
    with pytest.raises(UsageError, match="w has no line 2, or it is kept no longer; the log begins at 1"):
        line_of(book, "w", "w", 2)


def test_what_a_front_end_draws_itself_is_given_to_it_as_it_is(book):
    line = book.add("w", "x", data={"text/latex": "$x$", "application/vnd.plotly.v1+json": '{"data":[]}'})
    assert whole(line) == {
        "text/plain": "x",
        "text/latex": "$x$",
        "application/vnd.plotly.v1+json": {"data": []},
    }


async def test_a_line_has_the_time_of_the_clock_that_was_virtual_then():
    clock = SwitchClock()
    clock.bind(asyncio.get_running_loop())
    book = LogBook(clock=clock)
    book.add("w", "by the machine's")
    clock.be_virtual()
    await clock.advance(3600 * 5 + 10)
    book.add("w", "by the virtual one")
    first, second = str(log_text(book, "w", "w", LogQuery())).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  by the machine's", first)
    assert second == f"{clock.now():%H:%M:%S} virtual  by the virtual one"
