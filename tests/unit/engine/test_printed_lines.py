"""What workers print: its level, and the lines of one error as one entry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dnworker.core.clock import VirtualClock
from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation
from dnworker.core.logs import LogBook
from dnworker.engine import worker_log
from dnworker.engine.worker_log import WorkerLog

TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "ValueError: no door"]


@pytest.fixture
def book():
    return LogBook()


@pytest.fixture
def log(book):
    return WorkerLog(book)


def entries(book: LogBook) -> list[list[str]]:
    first, end = book.entries
    heads = book.heads(first, end - first)
    return [[head.text, *(line.text for line in book.parts(head.number))] for head in heads]


def test_a_printed_line_has_the_level_that_it_names(log):
    assert log.add("w", "DEBUG dreadnode.client: connected", source="stderr").level == "debug"
    assert log.add("w", "rows 1 to 4").level == "info"


def test_a_level_that_is_known_is_not_read_from_the_text(log):
    assert log.add("w", "ERROR is what it says", source="log", level="warning").level == "warning"
    assert log.add("w", "ERROR is what it says", source="runtime").level == "info"


def test_a_traceback_that_is_printed_line_by_line_is_one_entry_in_error(book, log):
    for text in ["before", *TRACEBACK, "after"]:
        log.add("w", text, source="stderr")
    assert entries(book) == [["before"], TRACEBACK, ["after"]]
    assert [line.level for line in book.tail()] == ["info", "error", "error", "error", "info"]


def test_a_logged_error_and_its_traceback_are_one_entry(book, log):
    for text in ["2026-11-26 14:20:35 ERROR app: lost", *TRACEBACK]:
        log.add("w", text, source="stderr")
    assert len(entries(book)) == 1


def test_tracebacks_of_workers_that_print_at_once_stay_apart(book, log):
    for text in TRACEBACK:
        for worker in ("a", "b"):
            log.add(worker, text, source="stderr")
    assert entries(book) == [TRACEBACK, TRACEBACK]


def test_what_another_run_prints_belongs_to_no_traceback(book, log):
    log.add("w", TRACEBACK[0], source="stderr", invocation=Invocation("w", "on_a", "event"))
    log.add("w", "  of another", source="stderr", invocation=Invocation("w", "on_a", "event"))
    assert [*map(len, entries(book))] == [1, 1]


def test_an_error_of_node_is_one_entry_from_its_message_on(book, log):
    lines = ["Error: no door", "    at f (/x.js:1:1)", "    at /x.js:2:1"]
    for text in [*lines, "after"]:
        log.add("w", text, source="stderr")
    assert entries(book) == [lines, ["after"]]
    assert book.tail()[0].level == "error"


def test_a_place_in_a_script_alone_is_no_error(book, log):
    for text in ("/x/app.js:3", "next"):
        log.add("w", text)
    assert (entries(book), {line.level for line in book.tail()}) == ([["/x/app.js:3"], ["next"]], {"info"})


def test_a_traceback_without_end_is_cut_into_entries(book, log, monkeypatch):
    monkeypatch.setattr(worker_log, "LONGEST_ENTRY", 3)
    for text in [TRACEBACK[0], *["  a"] * 4]:
        log.add("w", text)
    assert [*map(len, entries(book))] == [3, 1, 1]


def test_what_a_handler_raised_is_one_entry(book, log):
    invocation = Invocation("w", "on_a", "event")
    invocation.end("error", describe(ValueError("no door")))
    log.add_failure(invocation)
    (entry,) = entries(book)
    assert (entry[0], entry[-1]) == ("on_a failed (event):", "ValueError: no door")


def test_a_line_that_joins_an_entry_is_a_change_of_its_first_line(book, log):
    head = log.add("w", TRACEBACK[0])
    before = book.changes
    log.add("w", TRACEBACK[1])
    assert book.changed_since(before) == [head.number]


def test_entries_keep_their_positions_while_the_oldest_lines_go(log):
    book = LogBook(3)
    log = WorkerLog(book)
    for text in [*TRACEBACK, "a", "b"]:
        log.add("w", text)
    assert (entries(book), book.entries) == ([["a"], ["b"]], (2, 4))
    assert book.parts(1) == []
    assert book.entry_positions([1, 4, 5]) == [2, 3]


def test_a_line_has_the_time_of_a_virtual_clock(book):
    assert book.add("w", "a").clock is None
    book.clock = clock = VirtualClock()
    before = clock.now()
    assert book.add("w", "b").clock == before
    assert book.add("w", "c").timestamp - book.tail()[0].timestamp < timedelta(minutes=1)


def test_two_threads_may_end_one_entry_at_once_and_a_worker_that_is_gone_is_forgotten(book):
    class Racing(dict):
        """Another thread ends the entry between the look and the end."""

        def get(self, *args):
            found = super().get(*args)
            self.clear()
            return found

    log = WorkerLog(book)
    log.add("a:w", "ERROR lost")
    log._entries = Racing(log._entries)
    log.add("a:w", "plain")
    log._entries = {}
    log.add("a:w", "ERROR lost")
    log.forget("a:w")
    assert log._entries == {}
