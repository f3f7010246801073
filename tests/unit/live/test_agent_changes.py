"""What agents have changed, and when an undo would take back what somebody else did."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.clock import VirtualClock
from dnworker.core.errors import Conflict, NotFound
from dnworker_jupyter.live.agent_changes import KEPT, AgentChanges
from dnworker_jupyter.syntax.cell import Cell


class Workers:
    """Workers by name, of which only the generation counts."""

    def __init__(self, **generations: int) -> None:
        self.all = {name: self.made(name, number) for name, number in generations.items()}

    def made(self, name: str, number: int) -> SimpleNamespace:
        return SimpleNamespace(name=name, generation=number, current=SimpleNamespace(why="Cell [7] ran"))

    def __iter__(self):
        return iter(self.all.values())

    def get(self, name: str):
        return self.all.get(name)

    def go_to(self, name: str, number: int) -> None:
        self.all[name] = self.made(name, number)


def changes(workers: Workers) -> AgentChanges:
    return AgentChanges(workers, VirtualClock())  # type: ignore[arg-type]


def written(made: AgentChanges, workers: Workers, name: str, number: int, by: str = "claude"):
    before = made.generations()
    workers.go_to(name, number)
    return made.note(by, Cell(number, "%%worker", f"c{number}", by=by), before)


def test_a_cell_that_changed_nothing_is_no_change():
    workers = Workers(bridge=1)
    made = changes(workers)
    assert made.note("claude", Cell(1, ""), made.generations()) is None
    assert made.all() == []


def test_a_change_is_undone_while_its_generation_is_the_present_one():
    workers = Workers(bridge=1)
    made = changes(workers)
    change = written(made, workers, "bridge", 2)
    assert made.newest_of("bridge", 2) is change
    made.check_undo(change)
    workers.go_to("bridge", 3)  # what a rollback to generation 1 makes
    made.note_undone(change, "the user")
    with pytest.raises(Conflict, match="undone already"):
        made.check_undo(change)
    assert change.as_json()["undone_by"] == "the user"


def test_a_persons_later_change_refuses_the_undo_with_the_way_out():
    workers = Workers(bridge=1)
    made = changes(workers)
    change = written(made, workers, "bridge", 2)
    workers.go_to("bridge", 3)
    assert made.newest_of("bridge", 3) is None
    with pytest.raises(Conflict, match=r"Cell \[7\] ran: generation 3\).*%worker rollback bridge 1"):
        made.check_undo(change)


def test_a_new_worker_that_a_person_changed_is_removed_by_hand():
    workers = Workers()
    made = changes(workers)
    change = written(made, workers, "bridge", 1)
    workers.go_to("bridge", 2)
    with pytest.raises(Conflict, match="%worker remove bridge"):
        made.check_undo(change)
    workers.all.clear()
    with pytest.raises(Conflict, match="was removed since"):
        made.check_undo(change)


def test_an_id_that_there_is_not_names_those_that_there_are():
    workers = Workers(bridge=1)
    made = changes(workers)
    written(made, workers, "bridge", 2)
    with pytest.raises(NotFound, match="there are: 1"):
        made.find("9")


def test_the_earliest_are_forgotten():
    workers = Workers(bridge=0)
    made = changes(workers)
    for number in range(1, KEPT + 11):
        written(made, workers, "bridge", number)
    assert len(made) == KEPT
    with pytest.raises(NotFound):
        made.find("1")


@given(st.integers(min_value=1, max_value=8))
def test_changes_are_undone_from_the_last_to_the_first_and_in_no_other_order(count):
    workers = Workers(bridge=1)
    made = changes(workers)
    stack = [written(made, workers, "bridge", number) for number in range(2, count + 2)]
    newest = count + 1
    while stack:
        for early in stack[:-1]:
            with pytest.raises(Conflict, match=f"undo change {stack[-1].id} first"):
                made.check_undo(early)
        last = stack.pop()
        made.check_undo(last)
        newest += 1
        workers.go_to("bridge", newest)
        made.note_undone(last, "claude")
