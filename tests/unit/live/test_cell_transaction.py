"""What one run of a cell registers for a worker, and what it does to the worker's state."""

from __future__ import annotations

from typing import Any, cast

from dnworker_jupyter.live.cell_transaction import CellTransaction
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options


def transaction(**state: Any) -> CellTransaction:
    live = LiveWorker("bridge", cast(Any, None), cast(Any, None))
    live.state.update(state)
    return CellTransaction(live, Cell(3, "source", "c3"), Options())


def test_what_is_decorated_is_registered_for_the_cell():
    cell = transaction()

    @cell.recording.task
    async def watch(client): ...

    registration = cell.registration()
    assert [handler.name for handler in registration.handlers] == ["watch"]
    assert registration.cell.label == "cell [3]"


def test_a_name_that_is_registered_twice_is_noted():
    cell = transaction()
    for _ in range(2):

        @cell.recording.task
        async def watch(client): ...

    registration = cell.registration()
    assert [handler.key.name for handler in registration.handlers] == ["watch", "watch#2"]
    assert registration.twice == ("watch",)


def test_handlers_without_a_name_worth_saying_are_not_noted_as_twice():
    cell = transaction()
    for _ in range(2):

        @cell.recording.on_event("demo.a")
        async def _(event, client): ...

    registration = cell.registration()
    assert len(registration.handlers) == 2
    assert registration.twice == ()


def test_state_that_is_written_waits_for_the_commit():
    cell = transaction(count=1, gone=2)
    cell.recording.state["count"] = 1  # what it was: written all the same
    cell.recording.state["new"] = 3
    del cell.recording.state["gone"]
    assert cell.live.state == {"count": 1, "gone": 2}
    registration = cell.registration()
    assert registration.seeds == {"count": 1, "new": 3}
    assert registration.removed == {"gone"}


def test_state_that_is_only_read_is_not_written():
    cell = transaction(count=1)
    assert cell.recording.state["count"] == 1
    assert cell.registration().seeds == {}


def test_another_dict_in_the_place_of_the_state_counts_in_full():
    cell = transaction(count=1)
    cell.recording.state = {"other": 2}
    registration = cell.registration()
    assert registration.seeds == {"other": 2}
    assert registration.removed == {"count"}
