"""Whole lines of what invocations write in pieces, also after they have ended."""

from __future__ import annotations

import queue
import threading

from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.invocation import Invocation
from dnworker.engine.invocation_lines import CUT_KEPT, InvocationLines


def invocation(outcome: str = "running") -> Invocation:
    return Invocation("w", "h", "event", outcome=outcome)


class Book:
    def __init__(self, late: float = 0.01) -> None:
        self.queue: queue.Queue[tuple[str, str, str]] = queue.Queue()
        self.lines = InvocationLines(lambda i, *line: self.queue.put(line), late=late)

    @property
    def kept(self) -> list[tuple[str, str, str]]:
        return list(self.queue.queue)


def test_pieces_that_come_after_the_end_are_one_line():
    book, ended = Book(late=60), invocation("ok")
    for piece in ("a", " ", "1", "\n"):
        book.lines.add(ended, "stdout", piece)
    assert book.kept == [("stdout", "info", "a 1")]


def test_a_late_line_without_an_end_is_kept_when_nothing_more_comes():
    book = Book()
    book.lines.add(invocation("ok"), "stdout", "a")
    assert book.queue.get(timeout=60) == ("stdout", "info", "a")


def test_late_pieces_without_an_end_take_one_timer(monkeypatch):
    book, ended, started = Book(), invocation("ok"), []
    start = threading.Timer.start
    monkeypatch.setattr(threading.Timer, "start", lambda timer: started.append(timer))
    for _ in range(100):
        book.lines.add(ended, "stdout", ".")
    assert len(started) == 1
    start(started[0])
    assert book.queue.get(timeout=60) == ("stdout", "info", "." * 100)
    book.lines.add(ended, "stdout", "more")
    assert len(started) == 2


def test_a_late_line_is_kept_at_once_where_no_thread_can_start(monkeypatch):
    def fail(timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    book, ended = Book(), invocation("ok")
    monkeypatch.setattr(threading.Timer, "start", fail)
    book.lines.add(ended, "stdout", "a")
    book.lines.add(ended, "stdout", "b")
    assert book.kept == [("stdout", "info", "a"), ("stdout", "info", "b")]


def test_an_unfinished_line_is_kept_at_the_end_with_its_level():
    book, one = Book(), invocation()
    book.lines.add(one, "log", "half", level="error")
    assert book.kept == []
    book.lines.end(one)
    assert book.kept == [("log", "error", "half")]
    book.lines.end(one)
    assert len(book.kept) == 1


def test_a_named_writer_ends_by_itself():
    book, one = Book(), invocation()
    book.lines.add(one, "stdout", "child", writer=("child", 1))
    book.lines.end(one)
    assert book.kept == []
    book.lines.end(one, ("child", 1))
    assert book.kept == [("stdout", "info", "child")]


def test_lines_of_threads_never_mix():
    book, one = Book(), invocation()
    barrier = threading.Barrier(4)

    def write(letter: str) -> None:
        barrier.wait()
        for _ in range(200):
            for _ in range(5):
                book.lines.add(one, "stdout", letter)
            book.lines.add(one, "stdout", "\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line for _, _, line in book.kept) == sorted(
        letter * 5 for letter in "abcd" for _ in range(200)
    )


@given(st.lists(st.tuples(st.integers(0, 2), st.text(alphabet="ab\n", max_size=4)), max_size=30))
def test_every_writer_has_its_own_text_in_its_own_order(pieces):
    found: dict[str, list[str]] = {}
    lines = InvocationLines(lambda i, source, level, line: found.setdefault(source, []).append(line))
    one = invocation()
    for writer, text in pieces:
        lines.add(one, str(writer), text)
    lines.end(one)
    for writer in range(3):
        whole = "".join(text for who, text in pieces if who == writer).split("\n")
        assert found.get(str(writer), []) == (whole if whole[-1] else whole[:-1])


@given(st.lists(st.sampled_from(["a", "b c"]), min_size=1, max_size=5), st.booleans())
def test_a_newline_that_comes_after_the_end_ends_the_line_that_was_kept_then(texts, is_more):
    book, one = Book(late=60), invocation()
    for text in texts:
        book.lines.add(one, "stdout", text)
    one.end("ok")
    book.lines.end(one)
    book.lines.add(one, "stdout", "\nmore\n" if is_more else "\n")
    more = [("stdout", "info", "more")] if is_more else []
    assert book.kept == [("stdout", "info", "".join(texts)), *more]


def test_an_empty_line_of_its_own_stays():
    book, one = Book(late=60), invocation()
    book.lines.add(one, "stdout", "a\n")
    book.lines.end(one)
    book.lines.add(one, "stdout", "\n")
    assert book.kept == [("stdout", "info", "a"), ("stdout", "info", "")]


def test_few_lines_that_were_ended_are_remembered():
    book = Book(late=60)
    for _ in range(CUT_KEPT + 10):
        one = invocation()
        book.lines.add(one, "stdout", "a")
        book.lines.end(one)
    assert len(book.lines._cut) == CUT_KEPT
