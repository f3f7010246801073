"""Which cell the head of the notebook's capability is from, and when it is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnworker import Runtime, Worker
from dnworker.capability.manifest import parse_manifest
from dnworker.core.errors import UsageError
from dnworker_jupyter.live.capability_head import CapabilityHead, beside_loaded, check_not_set_aside
from dnworker_jupyter.syntax.cell import Cell

from ..capabilities import make_named

SOURCE = "%%capability\nname: bridge\nversion: 0.1.0\ndescription: d\n"


class Book:
    """As much of a book of cells as a head asks for."""

    def __init__(self) -> None:
        self.cells: dict[str, tuple[Cell, bool]] = {}

    def run(self, number: int, source: str, key: str = "c1", succeeded: bool = True) -> Cell:
        cell = Cell(number, source, key)
        self.cells.pop(key, None)
        self.cells[key] = cell, succeeded
        return cell

    def latest(self, key: str) -> tuple[Cell, bool] | None:
        return self.cells.get(key)

    def all(self) -> list[Cell]:
        return [cell for cell, succeeded in self.cells.values() if succeeded]


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        yield started


async def test_a_head_is_gone_when_its_cell_succeeds_with_something_else(runtime, tmp_path):
    book = Book()
    head = CapabilityHead(runtime, cast(Any, book))
    assert not head.is_gone()
    cell = book.run(1, SOURCE)
    await head.declare(parse_manifest(SOURCE.partition("\n")[2], tmp_path, is_head=True), cell)
    assert (head.name, head.is_gone()) == ("bridge", False)
    book.run(2, "1 / 0", succeeded=False)
    assert not head.is_gone()
    book.run(3, "# above\n" + SOURCE)
    assert not head.is_gone()
    book.run(4, "x = 1")
    assert head.is_gone()
    assert head.earlier() is None
    head.forget_cell()
    assert not head.is_gone()
    await head.withdraw()
    assert head.name is None


def test_the_head_that_counts_is_the_one_that_ran_last():
    book = Book()
    book.run(1, SOURCE, "one")
    second = book.run(2, SOURCE, "two")
    book.run(3, "x = 1", "three")
    assert CapabilityHead(cast(Any, SimpleNamespace()), cast(Any, book)).earlier() is second


async def test_a_worker_beside_or_instead_of_a_loaded_one_is_told(runtime, tmp_path):
    await runtime.add(Worker("echo"))
    assert beside_loaded(runtime, "echo") == []
    await runtime.load(make_named(tmp_path / "beside", "beside"))
    (line,) = beside_loaded(runtime, "echo")
    assert "! beside:echo, loaded from" in line
    assert "handles every event too; %capability unload beside ends it" in line
    await runtime.unload("beside")
    check_not_set_aside(runtime, "echo")
    await runtime.load(make_named(tmp_path / "instead", "instead"), instead=True)
    with pytest.raises(UsageError, match="%capability unload instead brings the cells back, then run this"):
        check_not_set_aside(runtime, "echo")
