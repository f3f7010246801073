"""The cells that ran, the cell that runs, and their order."""

from __future__ import annotations

import ast
import asyncio
import inspect
from types import SimpleNamespace

import pytest

from dnworker_jupyter.kernel.cells import CellBook


class Shell:
    """As much of a shell as `CellBook` needs."""

    def __init__(self) -> None:
        self.history_manager = SimpleNamespace(input_hist_raw=[""])
        self.compile = SimpleNamespace()
        self.user_ns: dict[str, object] = {}


def run(book: CellBook, shell: Shell, source: str, cell_id: str | None = None, *, ok: bool = True) -> None:
    book.begin(SimpleNamespace(raw_cell=source, cell_id=cell_id))
    shell.history_manager.input_hist_raw.append(source)
    book.end(ok)


def test_a_cell_that_runs_again_moves_to_the_end():
    shell = Shell()
    book = CellBook(shell)
    for source, cell_id in (("a", "1"), ("b", "2"), ("a2", "1")):
        run(book, shell, source, cell_id)
    assert [(cell.number, cell.source) for cell in book.all()] == [(2, "b"), (3, "a2")]


def test_a_cell_that_failed_was_tried_and_does_not_count():
    shell = Shell()
    book = CellBook(shell)
    run(book, shell, "a", "1")
    run(book, shell, "a!", "1", ok=False)
    assert [cell.source for cell in book.all()] == ["a"]
    assert [cell.source for cell in book.tried()] == ["a!"]
    latest = book.latest("1")
    assert latest is not None
    assert not latest[1]


def test_code_within_a_cell_belongs_to_it():
    shell = Shell()
    book = CellBook(shell)
    running = book.begin(SimpleNamespace(raw_cell="%%time\nx", cell_id="1"))
    shell.history_manager.input_hist_raw.append("%%time\nx")
    assert running is not None
    assert book.begin(SimpleNamespace(raw_cell="x", cell_id=None)) is None
    assert book.end(False) is None
    assert book.end(True) is running
    assert running.broken
    assert book.now is None


def test_the_end_of_what_never_began_is_nothing():
    assert CellBook(Shell()).end(True) is None


def test_without_an_id_the_text_makes_it_the_same_cell():
    shell = Shell()
    book = CellBook(shell)
    for _ in range(2):
        run(book, shell, "a")
    assert [cell.number for cell in book.all()] == [2]


@pytest.mark.parametrize(
    ("source", "code", "failed_at"),
    [
        ("a = 1\nawait magic()\nb = 2", "a = 1\nawait magic()\nb = 2", 2),
        ("async def f():\n    await magic()\nawait f()\nb = 2", None, 3),
        ("# why\n\n%%time\na = 1\nawait magic()\nb = 2", "a = 1\nawait magic()\nb = 2", 5),
    ],
)
async def test_a_cell_that_waits_for_a_magic_has_run_up_to_that_line(source, code, failed_at):
    shell, found = Shell(), []
    book = CellBook(shell)

    async def look():
        found.append(book.runs()[-1].failed_at)

    async def magic():
        book.note_frame()
        await asyncio.create_task(look())  # beside the cell, as magics run

    shell.user_ns["magic"] = magic
    book.begin(SimpleNamespace(raw_cell=source, cell_id="1"))
    shell.history_manager.input_hist_raw.append(source)
    body = compile(code or source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert body.co_flags & inspect.CO_COROUTINE
    await eval(body, shell.user_ns)
    book.end(True)
    assert found == [failed_at]
    assert book.runs()[-1].failed_at is None


@pytest.fixture
def few_runs(monkeypatch):
    monkeypatch.setattr("dnworker_jupyter.kernel.cells.RUNS_KEPT", 10)


def test_of_many_runs_the_earliest_of_texts_that_ran_again_are_forgotten(few_runs):
    shell = Shell()
    book = CellBook(shell)
    for source, cell_id in [("x = 1", "1"), *[("f(x)", "2")] * 100, ("x = 2", "1")]:
        run(book, shell, source, cell_id)
    runs = book.runs()
    assert len(runs) <= 11
    assert [c.source for c in runs] == ["x = 1", *["f(x)"] * (len(runs) - 2), "x = 2"]
    assert [c.number for c in runs][1:] == [*range(104 - len(runs), 103)]
    assert book.forgotten == 102 - len(runs)
    assert len(book.ids) == len(runs)


def test_the_last_run_of_a_text_that_succeeded_is_kept_beside_later_ones_that_failed(few_runs):
    shell = Shell()
    book = CellBook(shell)
    run(book, shell, "x = f()", "1")
    for _ in range(50):
        book.begin(SimpleNamespace(raw_cell="x = f()", cell_id="1"))
        shell.history_manager.input_hist_raw.append("x = f()")
        book.end(False, ValueError())
    assert [c.number for c in book.runs() if c.failed_at is None] == [1]


def test_texts_that_all_differ_are_all_kept(few_runs):
    shell = Shell()
    book = CellBook(shell)
    for n in range(50):
        run(book, shell, f"x{n} = 1")
    assert (len(book.runs()), book.forgotten) == (50, 0)


def test_what_a_cell_calls_is_its_own_and_what_runs_meanwhile_is_not():
    shell = Shell()
    book = CellBook(shell)
    source = "def ask():\n    return calling()\ndirect = ask()\nsaid = [ask() for _ in 'a']\nlater = lambda: ask()\n"
    shell.user_ns["calling"] = book.calling
    book.begin(SimpleNamespace(raw_cell=source, cell_id="1"))
    shell.history_manager.input_hist_raw.append(source)
    exec(compile(source, "<cell>", "exec"), shell.user_ns)
    assert shell.user_ns["direct"] is shell.user_ns["said"][0] is book.running
    assert shell.user_ns["later"]() is None  # as the loop calls it, while the cell awaits
    book.end(True)
    assert book.calling() is None
