"""Which handler `%worker remove NAME.HANDLER` means, and what an export hears of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnworker.core.errors import UsageError
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.generations import Generation
from dnworker_jupyter.live.records import Registration, handler_records
from dnworker_jupyter.live.removal import handler_called, left_out
from dnworker_jupyter.syntax.cell import Cell


def live(*codes: str) -> Any:
    """Return what a live worker has of cells with this code, numbered from 1."""
    registrations = {}
    for number, code in enumerate(codes, 1):
        worker = Worker("w")
        exec(compile(code, f"cell {number}", "exec"), {"worker": worker})
        one = Registration(Cell(number, code, f"c{number}"), tuple(handler_records(worker)))
        registrations[one.cell.key] = one
    generation = Generation(1, registrations)
    return SimpleNamespace(name="w", handlers=generation.handlers, registrations=registrations)


ON_A = "@worker.on_event('a')\nasync def h(e, c): ...\n"
ON_B = "@worker.on_event('b')\nasync def h(e, c): ...\n"
STACKED = "\n@worker.on_event('a')\n@worker.on_event('b')\nasync def h(e, c): ..."
TWICE = f"{ON_A}\n{ON_A}"


@pytest.mark.parametrize(
    ("codes", "name", "cell", "trigger", "number", "kind"),
    [
        ([ON_A], "h", None, None, 1, "a"),
        ([ON_A, ON_B], "h", 2, None, 2, "b"),
        ([ON_A, ON_B], "h", None, "a", 1, "a"),
        ([ON_A, ON_B], "h", None, "on_event b", 2, "b"),
        ([STACKED], "h", None, "b", 1, "b"),
        ([TWICE], "h#2", None, None, 1, "a"),
    ],
)
def test_the_one_that_is_meant_is_found(codes, name, cell, trigger, number, kind):
    handler, found = handler_called(live(*codes), name, cell, trigger)
    assert (found.number, handler.key.trigger) == (number, kind)


@pytest.mark.parametrize(
    ("codes", "name", "cell", "trigger", "said"),
    [
        ([ON_A, ON_B], "h", None, None, "on_event a of cell [1], on_event b of cell [2]; say which: --cell 1 or --cell 2"),
        ([STACKED], "h", None, None, "; say which, as in: --for "),
        ([STACKED, ON_A.replace("'a'", "'z'")], "h", None, None, "say which, as in: --cell 1 --for "),
        ([ON_A], "h", 4, None, "cell [4] has no w.h; on_event a of cell [1]"),
        ([ON_A], "h", None, "c", "w.h is not registered for 'c'"),
        ([ON_A], "hh", None, None, "did you mean h?"),
        ([], "h", None, None, "it has none"),
    ],
)  # fmt: skip
def test_several_or_none_are_said(codes, name, cell, trigger, said):
    with pytest.raises(UsageError) as caught:
        handler_called(live(*codes), name, cell, trigger)
    assert said in str(caught.value)


def test_those_that_stay_are_numbered_as_the_worker_numbers_them():
    (one,) = live(TWICE).registrations.values()
    first, second = one.handlers
    kept = one.without([first])
    assert [(h.key.name, h.function) for h in kept.handlers] == [("h", second.function)]
    assert kept.left_out == (first,)


@pytest.mark.parametrize(("code", "line", "is_alone"), [(ON_A, 1, True), (STACKED, 2, False)])
def test_an_export_hears_on_which_line_it_stands_and_whether_something_else_does(code, line, is_alone):
    worker = live(code)
    ((key, one),) = worker.registrations.items()
    worker.registrations = {key: one.without(one.handlers[:1])}
    (gone,) = left_out(cast(Any, worker))
    assert (gone.worker, gone.name, gone.line, gone.is_alone) == ("w", "h", line, is_alone)
