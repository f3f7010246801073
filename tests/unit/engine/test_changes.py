"""What is noted of the steps and generations of workers."""

from __future__ import annotations

from dataclasses import dataclass

from dnworker.core.lifecycle import WorkerState
from dnworker.engine.changes import KEPT, Changes


@dataclass
class Watched:
    """A worker, as far as it is looked at."""

    qualified_name: str = "cap:w"
    state: WorkerState = WorkerState.LOADING
    error: str | None = None
    generation: int = 1


def told(changes: Changes) -> list[tuple[str, int | None, str]]:
    return [(str(one.state), one.generation if one.is_generation else None, one.text) for one in changes.all]


def note(changes: Changes, worker: Watched, *states: str, **fields: object) -> None:
    for state in states:
        worker.state = WorkerState(state)
        for name, value in fields.items():
            setattr(worker, name, value)
        changes.note(worker)


def test_the_steps_of_a_start_are_one():
    changes, worker = Changes(), Watched()
    note(changes, worker, "loading", "starting", "running")
    assert told(changes) == [("running", None, "")]
    note(changes, worker, "stopping", "stopped")
    assert told(changes) == [("running", None, ""), ("stopped", None, "")]


def test_a_failure_says_its_first_line():
    changes, worker = Changes(), Watched()
    note(changes, worker, "starting", "running")
    note(changes, worker, "error", error="exited with code 1\n\nWorker output:\nno")
    assert told(changes)[-1] == ("error", None, "exited with code 1")


def test_a_gate_names_its_flags():
    changes, worker = Changes(), Watched()
    worker.state = WorkerState.GATED_OFF
    changes.note(worker, gate="Requires flag: mail")
    assert told(changes) == [("gated_off", None, "Requires flag: mail")]


def test_a_generation_that_is_started_is_one_line():
    changes, worker = Changes(), Watched()
    note(changes, worker, "running")
    changes.describe = lambda name: f"cell of {name} ran again"
    note(changes, worker, "stopping", "stopped")
    note(changes, worker, "starting", "running", generation=2)
    assert told(changes)[-1] == ("running", 2, "cell of cap:w ran again")
    assert len(changes.all) == 3


def test_what_is_no_news_is_not_noted_and_the_oldest_go():
    changes = Changes()
    for n in range(KEPT + 5):
        note(changes, Watched(f"cap:{n}"), "running", "running")
    assert len(changes.all) == KEPT
    assert changes.all[0].worker == "cap:5"
