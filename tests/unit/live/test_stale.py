"""Which registrations are stale, as far as the kernel and the saved notebook show it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.notebook_file import SavedNotebook
from dnworker_jupyter.live.records import Registration
from dnworker_jupyter.live.stale import StaleHandlers, label, why_stale
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.cell import Cell

SOURCE = "%%worker bridge\nx = 1"


def registration(cell_id: str | None = "c1") -> Registration:
    return Registration(Cell(3, SOURCE, cell_id), (), at=100.0)


def cells() -> CellBook:
    return CellBook(SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=[""])))


@pytest.mark.parametrize(
    ("sources", "saved_at", "why"),
    [
        ({"c1": SOURCE}, 200.0, None),
        ({"c1": SOURCE + " \n"}, 200.0, None),
        ({"c1": "x = 2"}, 200.0, "its cell was edited since and has not run"),
        ({"c2": SOURCE}, 200.0, "its cell was deleted"),
        ({"c2": SOURCE}, 50.0, None),
    ],
    ids=["unchanged", "blanks", "edited", "deleted", "saved-before"],
)
def test_the_saved_notebook_shows_what_became_of_a_cell(sources, saved_at, why):
    assert why_stale(registration(), cells(), SavedNotebook(sources, saved_at)) == why


def test_where_cells_have_addresses_their_text_is_looked_for():
    saved = SavedNotebook({"other": SOURCE}, 200.0)
    assert why_stale(registration("vscode:/a#1"), cells(), saved) is None
    gone = SavedNotebook({"other": "x"}, 200.0)
    assert why_stale(registration("vscode:/a#1"), cells(), gone) == "its cell was edited since, or deleted"


def test_nothing_is_known_without_a_saved_notebook_or_ids():
    assert why_stale(registration(), cells(), None) is None
    assert why_stale(registration(None), cells(), SavedNotebook({"c2": "x"}, 200.0)) is None


def test_the_label_gives_the_reason():
    assert label(Cell(3, SOURCE), None) == "cell [3]"
    assert label(Cell(3, SOURCE), "its cell was deleted") == "cell [3] (stale: its cell was deleted)"


def stale(saved: SavedNotebook | None) -> StaleHandlers:
    made = StaleHandlers(LiveWorkers(), cells())
    made._saved = saved
    return made


@pytest.mark.parametrize(
    ("by", "saved", "inserted", "outside"),
    [
        (None, None, False, False),
        ("claude", None, False, True),
        ("claude", None, True, False),
        ("claude", SavedNotebook({"c1": SOURCE}, 200.0), False, False),
        ("claude", SavedNotebook({"pasted": SOURCE + "\n"}, 200.0), False, False),
        ("claude", SavedNotebook({"c2": "x"}, 200.0), False, True),
        ("claude", SavedNotebook({"c2": "x"}, 200.0), True, False),
        ("claude", SavedNotebook({"c2": "x"}, 1e12), True, True),
    ],
    ids=["person", "unsaved", "inserted", "saved", "pasted", "absent", "not-saved-since", "deleted-since"],
)
def test_an_agents_cell_is_outside_unless_the_notebook_has_it(by, saved, inserted, outside):
    made, cell = stale(saved), Cell(3, SOURCE, "c1", by=by)
    if inserted:
        made.note_inserted(cell)
    assert made.is_outside(cell) is outside
    if inserted:
        made.note_inserted(cell, is_there=False)
        assert made.is_outside(cell)
