"""`parse` gives the tree of a text whatever other threads do."""

from __future__ import annotations

import ast
import builtins
import threading

import pytest

from dnworker.core import parsing
from dnworker.core.parsing import parse

MISMATCH = "AST constructor recursion depth mismatch (before=39, after=33)"


def failing(times, message, monkeypatch):
    tries = []

    def compiles(*args, **options):
        tries.append(args)
        if len(tries) <= times:
            raise SystemError(message)
        return builtins.compile(*args, **options)

    monkeypatch.setattr(parsing, "compile", compiles, raising=False)
    return tries


def test_a_text_that_python_fails_at_while_another_thread_parses_is_parsed_again(monkeypatch):
    tries = failing(3, MISMATCH, monkeypatch)
    assert ast.unparse(parse("a = 1")) == "a = 1"
    assert len(tries) == 4


@pytest.mark.parametrize(("message", "most"), [(MISMATCH, parsing.TRIES), ("something else", 1)])
def test_it_ends_at_a_failure_that_stays_or_is_another_one(monkeypatch, message, most):
    tries = failing(1000, message, monkeypatch)
    with pytest.raises(SystemError, match=message.split("(")[0]):
        parse("a = 1")
    assert len(tries) == most


def test_one_expression_and_a_cell_that_awaits_are_parsed_too():
    assert isinstance(parse("a + 1", mode="eval"), ast.Expression)
    assert isinstance(parse("await a", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), ast.Module)


@pytest.mark.parametrize("text", ["a = ", "\x00", "(" * 500])
def test_what_is_no_python_raises_what_ast_raises(text):
    with pytest.raises((SyntaxError, ValueError, MemoryError, RecursionError)) as theirs:
        ast.parse(text)
    with pytest.raises(theirs.type):
        parse(text)


def test_four_threads_parse_at_once_and_all_get_their_trees():
    texts, failed = [f"x{n} = " + "[" * n + "]" * n + "\n" for n in range(1, 40)], []

    def run():
        try:
            for text in texts * 5:
                assert ast.unparse(parse(text)) == text.strip()
        except BaseException as exc:
            failed.append(exc)
            raise

    threads = [threading.Thread(target=run) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert failed == []
