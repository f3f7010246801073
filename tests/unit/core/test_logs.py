"""The lines that workers print, in bounded memory."""

from __future__ import annotations

from dnworker.core.logs import CHANGES_KEPT, LONGEST_LINE, LogBook


def texts(lines):
    return [line.text for line in lines]


def filled(*names, lines_kept=50):
    book = LogBook(lines_kept)
    for name in names:
        book.add(name[0], name)
    return book


def test_the_oldest_lines_go_first_and_are_counted():
    book = filled("a1", "a2", "b3", "b4", lines_kept=3)
    assert (texts(book.tail()), book.dropped, book.first, book.end) == (["a2", "b3", "b4"], 1, 2, 5)


def test_lines_are_found_by_worker_by_number_and_by_range():
    book = filled("a1", "b2", "a3", "b4")
    assert texts(book.tail(1, "a")) == ["a3"]
    assert texts(book.since(2)) == ["a3", "b4"]
    assert texts(book.since(0, limit=2)) == ["a3", "b4"]
    assert texts(book.lines(2, 2)) == ["b2", "a3"]
    assert texts(book.pick([4, 9, 1])) == ["b4", "a1"]


def test_a_line_that_is_too_long_is_cut_with_a_note():
    (line,) = filled("x" * (LONGEST_LINE + 7)).tail()
    assert line.text == "x" * LONGEST_LINE + " [cut: 7 more characters]"


def test_a_listener_may_log_while_it_is_called():
    book = LogBook()
    remove = book.listen(lambda line: line.text == "one" and book.add("w", "two"))
    book.add("w", "one")
    remove()
    book.add("w", "one")
    assert [(line.number, line.text) for line in book.tail()] == [(1, "one"), (2, "two"), (3, "one")]


def test_a_line_that_changes_keeps_its_place_and_its_bytes_are_counted_anew():
    book = LogBook()
    line, other = book.add("w", "first"), book.add("w", "other")
    before = book.used
    book.change(line, "second, and longer", {"text/html": "x" * 1000})
    assert [one.text for one in book.lines(1, 9)] == ["second, and longer", "other"]
    assert book.used > before + 1000
    book.change(line, "first", None)
    assert (book.used, other.number) == (before, 2)
    assert (book.changed_since(0), book.changed_since(2)) == ([1], [])


def test_a_line_that_is_dropped_may_change_and_costs_nothing():
    book = LogBook(1)
    line, _ = book.add("w", "first"), book.add("w", "other")
    used = book.used
    book.change(line, "x" * 1000, None)
    assert (line.text, book.used, book.changed_since(0)) == ("x" * 1000, used, [])


def test_lines_that_grow_by_a_change_let_the_oldest_go():
    book = LogBook(limit=10_000)
    book.add("w", "oldest")
    line = book.add("w", "line")
    book.change(line, "x" * 9_300, None)
    assert book.used <= 10_000
    assert book.dropped == 1


def test_only_the_newest_changes_are_remembered():
    book = LogBook()
    lines = [book.add("w", str(n)) for n in range(CHANGES_KEPT + 10)]
    for line in lines:
        book.change(line, "changed", None)
    assert book.changed_since(0) == [line.number for line in lines[10:]]
