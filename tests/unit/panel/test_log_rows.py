"""The log as a view sees it: filters, places, what is dropped."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.core.logs import LogBook
from dnworker.panel import log_rows
from dnworker.panel.log_rows import CHUNK, LogFilter, LogWindow, plain_text


def window(book: LogBook, **wanted) -> LogWindow:
    made = LogWindow(book, LogFilter(**wanted))
    while made.is_behind:
        made.catch_up()
    return made


def texts(made: LogWindow) -> list[str]:
    return [line.text for _, line in made.entries(made.first, 1_000_000)]


@pytest.fixture
def book():
    book = LogBook()
    book.add("a", "begin")
    book.add("b", "Timeout after 3 s", level="error", invocation_id="i1")
    book.add("a", "\x1b[31mtime\x1b[0mout", level="warning")
    book.add("a", "quiet", level="debug")
    return book


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["begin", "Timeout after 3 s", "\x1b[31mtime\x1b[0mout", "quiet"]),
        ({"worker": "b"}, ["Timeout after 3 s"]),
        ({"level": "warning"}, ["Timeout after 3 s", "\x1b[31mtime\x1b[0mout"]),
        ({"text": "timeout"}, ["Timeout after 3 s", "\x1b[31mtime\x1b[0mout"]),
        ({"text": r"after \d", "is_regex": True}, ["Timeout after 3 s"]),
        ({"text": r"after \d"}, []),
        ({"invocation": "i1"}, ["Timeout after 3 s"]),
        ({"worker": "a", "text": "out", "level": "error"}, []),
        ({"text": "timeout", "only": False, "worker": "b"}, ["Timeout after 3 s"]),
    ],
)
def test_a_filter_takes_what_it_says(book, wanted, found):
    assert texts(window(book, **wanted)) == found


def test_a_wrong_pattern_is_refused_with_its_place(book):
    with pytest.raises(UsageError, match=r"'a\(b' is no regular expression: .*position"):
        window(book, text="a(b", is_regex=True)


def test_an_unknown_level_is_refused_with_those_there_are(book):
    with pytest.raises(UsageError, match="no level 'loud'; there are: trace, debug"):
        window(book, level="loud")


def test_a_pattern_that_takes_for_ever_is_stopped_and_says_so(book):
    book.add("a", "a" * 40)
    made = window(book, text="(a|aa)+$b|(a*)*c", is_regex=True)
    assert made.problem is not None
    assert "takes too long on line 5" in made.problem
    assert not made.is_behind


def test_lines_that_come_later_are_matched_when_it_catches_up(book):
    made = window(book, worker="b")
    book.add("b", "later")
    assert made.is_behind
    made.catch_up()
    assert texts(made) == ["Timeout after 3 s", "later"]


def test_a_long_log_is_matched_in_pieces(book):
    for n in range(CHUNK + 10):
        book.add("a", str(n))
    made = LogWindow(book, LogFilter(worker="a"))
    made.catch_up()
    assert made.is_behind
    made.catch_up()
    assert not made.is_behind


@given(st.lists(st.sampled_from("ab"), max_size=60), st.integers(1, 20), st.data())
def test_places_stay_what_they_are_while_old_lines_go(workers, kept, data):
    book = LogBook(kept)
    made = LogWindow(book, LogFilter(worker="a"))
    places: dict[int, int] = {}
    for worker in workers:
        book.add(worker, "x")
        if data.draw(st.booleans()):
            made.catch_up()
        for place, line in made.entries(made.first, 100):
            assert line.worker == "a"
            assert places.setdefault(line.number, place) == place
    made.catch_up()
    expected = [line.number for line in book.tail(kept) if line.worker == "a"]
    assert [line.number for _, line in made.entries(made.first, 100)] == expected
    assert made.end - made.first == len(expected)


def test_a_line_is_asked_for_by_number_and_a_dropped_one_is_not_there():
    book = LogBook(3)
    for n in range(5):
        book.add("a", str(n))
    assert (book.first, book.end, book.dropped) == (3, 6, 2)
    assert [line.text for line in book.pick([1, 3, 5, 9])] == ["2", "4"]
    assert [line.text for line in book.lines(1, 2)] == ["2", "3"]


def test_a_person_reads_a_line_without_its_escape_sequences():
    assert plain_text("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07") == "red link"


def test_a_finalizer_may_print_while_the_log_is_held():
    book = LogBook()

    class Talks:
        def __init__(self, text):
            self.text = text

        def __del__(self):
            book.add("w", self.text)

    with book._locked():
        Talks("in between")
        book.add("w", "after")
    book.add("w", "last")
    assert [(line.number, line.text) for line in book.tail()] == [
        (1, "in between"),
        (2, "after"),
        (3, "last"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a|" * 900_000, "is the most"),
        ("(?:" * 100 + "a" + "{1,9})" * 100, "too much of a pattern"),
        ("(?x)(?:a) # )\n +", "too much of a pattern"),
        ("(" * 450 + "a" + ")" * 450, "no regular expression"),
    ],
    ids=["long", "nested", "verbose", "deep"],
)
def test_a_pattern_that_costs_too_much_is_refused_before_it_is_compiled_in_full(book, text, said):
    with pytest.raises(UsageError, match=said) as refused:
        window(book, text=text, is_regex=True)
    assert len(str(refused.value)) < 1_500


def test_a_compilation_ends_in_time(book):
    with pytest.raises(TimeoutError):
        log_rows.compile_pattern("[" + "".join(chr(0x4E00 + n) for n in range(990)) + "]", seconds=0.001)


def test_what_watches_a_compilation_is_gone_after_it(book):
    before = sys.getprofile()
    for text in ("a+", "a(b", "(?:" * 100 + "a" + "{1,9})" * 100):
        with suppress(UsageError):
            window(book, text=text, is_regex=True)
        assert sys.getprofile() is before


def test_a_long_text_is_refused_without_being_a_pattern_too(book):
    with pytest.raises(UsageError, match="1,000 is the most"):
        window(book, text="a" * 1_001)


def test_an_entry_that_matches_by_a_later_line_is_found_and_makes_the_positions_new():
    book = LogBook()
    head = book.add("a", "Traceback", level="error")
    made = window(book, text="door")
    book.add("a", "the door")
    made.catch_up()
    before = made.id
    book.add("a", "ValueError: no door", level="error", head=head)
    made.catch_up()
    assert texts(made) == ["Traceback", "the door"]
    assert made.id != before


def test_hits_are_counted_among_all_lines_where_others_are_shown_too(book):
    made = window(book, text="time", only=False)
    assert (made.hits, made.end - made.first) == (2, 4)
    assert window(book).hits is None


def test_marks_count_as_browsers_do_and_an_empty_match_is_none():
    finder = LogFilter(text="b*", is_regex=True).finder()
    assert finder.spans("\U0001f600b") == [(2, 3)]


def test_marks_of_a_pattern_that_takes_too_long_are_given_up_once_and_for_all():
    finder = LogFilter(text="(a|aa)+$b|(a*)*c", is_regex=True).finder()
    assert finder.spans("a" * 40) == []
    assert finder._marks is False
