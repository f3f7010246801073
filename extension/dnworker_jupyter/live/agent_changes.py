"""`AgentChanges`: what agents have changed in this notebook, and how it is undone; `Door` keeps one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, NotFound
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.cell import Cell

KEPT = 200
"""Changes that are kept; the earliest are forgotten, and cannot be undone any more."""


@dataclass
class Step:
    """What a change did to one worker: from the generation before, 0 without one, to the one after."""

    before: int
    after: int


@dataclass
class AgentChange:
    """One cell of an agent that took effect."""

    id: str
    by: str
    at: str
    """When, as ISO 8601."""
    cell: Cell
    steps: dict[str, Step]
    """By the worker's name."""
    inserted: bool = False
    """Whether the notebook of a front end has the cell."""
    undone: bool = False
    undone_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as `GET /api/notebook/changes` answers it."""
        worker, step = next(iter(self.steps.items()))
        return {
            "id": self.id,
            "by": self.by,
            "at": self.at,
            "worker": worker,
            "generation": step.after,
            "workers": {name: one.after for name, one in self.steps.items()},
            "cell": self.cell.number,
            "inserted": self.inserted,
            "undone": self.undone,
            "undone_by": self.undone_by,
        }


class AgentChanges:
    """The changes of agents, the newest last.

    Args:
        live: the workers made of cells.
        clock: says when.
    """

    def __init__(self, live: LiveWorkers, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._all: dict[str, AgentChange] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._all)

    def all(self) -> list[AgentChange]:
        """Return them, the newest last."""
        return [*self._all.values()]

    def generations(self) -> dict[str, int]:
        """Return the present generation of each worker of cells."""
        return {live.name: live.generation for live in self._live}

    def note(self, by: str, cell: Cell, before: Mapping[str, int]) -> AgentChange | None:
        """Note what a cell has changed since `before`; None where that is nothing."""
        steps = {
            name: Step(before.get(name, 0), number)
            for name, number in self.generations().items()
            if before.get(name, 0) != number
        }
        if not steps:
            return None
        self._count += 1
        change = AgentChange(str(self._count), by, self._clock.now().isoformat(), cell, steps)
        self._all[change.id] = change
        while len(self._all) > KEPT:
            del self._all[next(iter(self._all))]
        return change

    def newest_of(self, worker: str, generation: int) -> AgentChange | None:
        """Return the change that made a generation of a worker, if it can be undone."""
        made = (one for one in reversed(self.all()) if not one.undone and worker in one.steps)
        return next((one for one in made if one.steps[worker].after == generation), None)

    def find(self, name: str) -> AgentChange:
        """Return the change of an id.

        Raises:
            NotFound: there is none.
        """
        if name not in self._all:
            known = ", ".join(self._all) or "none"
            raise NotFound(f"there is no change {name!r} of an agent; there are: {known}", code="DN986")
        return self._all[name]

    def check_undo(self, change: AgentChange) -> None:
        """Check that nothing has come after a change.

        Raises:
            Conflict: it is undone already, or one of its workers was changed since; says the way out.
        """
        if change.undone:
            raise Conflict(f"change {change.id} is undone already", code="DN986")
        for name, step in change.steps.items():
            live = self._live.get(name)
            if live is None:
                raise Conflict(
                    f"worker {name!r} was removed since change {change.id}, so there is nothing to undo",
                    code="DN986",
                )
            if live.generation == step.after:
                continue
            later = [one for one in self.all() if not one.undone and name in one.steps and one is not change]
            newest = next((one for one in later if one.steps[name].after == live.generation), None)
            if newest is not None:
                raise Conflict(
                    f"change {newest.id} of worker {name!r} came after change {change.id}; "
                    f"undo change {newest.id} first",
                    code="DN986",
                )
            way = f"%worker rollback {name} {step.before}" if step.before else f"%worker remove {name}"
            raise Conflict(
                f"worker {name!r} was changed after change {change.id} ({live.current.why}: generation "
                f"{live.generation}), which an undo would take back, too; a person can do so: {way}",
                code="DN986",
            )

    def note_undone(self, change: AgentChange, by: str) -> None:
        """Note that a change is undone: the generations that are back stand for those of then."""
        change.undone, change.undone_by = True, by
        now = self.generations()
        for name, step in change.steps.items():
            for one in self._all.values():
                known = one.steps.get(name)
                if known is not None and known.after == step.before and name in now:
                    known.after = now[name]
