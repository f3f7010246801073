"""Which statement binds or changes a name."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.bindings import definitions_by_name, mutations_by_name
from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.export.slicing.statements import Statement, Statements
from dnworker_jupyter.kernel.cells import Cell


def statements(text: str) -> list[Statement]:
    (cell,) = read_cells([Cell(1, text)])
    return Statements([cell]).of(cell)


def test_the_last_binding_of_a_name_counts():
    assert [s.source for s in definitions_by_name(statements("a = 1\na = 2"))["a"]] == ["a = 2"]


def test_imports_of_submodules_bind_their_package_together():
    found = definitions_by_name(statements("import xml.dom\nimport xml.sax"))
    assert [s.source for s in found["xml"]] == ["import xml.dom", "import xml.sax"]


@pytest.mark.parametrize("change", ["a.append(1)", "a['k'] = 1", "del a.x", "a.n += 1", "a.b.c()"])
def test_a_statement_that_changes_an_object_is_found_by_its_name(change):
    assert mutations_by_name(statements(f"a = A\n{change}"))["a"].source == change


def test_a_new_binding_ends_what_changed_the_old_object():
    assert mutations_by_name(statements("a = []\na.append(1)\na = [2]")) == {}
