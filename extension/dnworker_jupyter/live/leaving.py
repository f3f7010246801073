"""Ends what a cell registered when it ran before and registers no more; used by `Transactions`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from dnworker.engine.engine import Engine
from dnworker_jupyter.live.capability_head import check_not_set_aside
from dnworker_jupyter.live.processes import Processes
from dnworker_jupyter.live.records import Registration
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options


class Left(NamedTuple):
    """What a cell had registered for one worker."""

    live: LiveWorker
    registration: Registration
    options: Options


class Leaving:
    """The workers and programs of one notebook, as cells leave them."""

    def __init__(self, engine: Engine, live: LiveWorkers, processes: Processes) -> None:
        self._engine = engine
        self._live = live
        self._processes = processes

    def has_left(self, cell: Cell) -> bool:
        """Return whether a cell has registered something when it ran before."""
        programs = self._live.programs.values()
        return any(cell.key in live.registrations for live in self._live) or any(
            one.key == cell.key and one.number != cell.number for one in programs
        )

    def left_by(self, cell: Cell, registering: Collection[str]) -> list[Left]:
        """Return what a cell has registered for workers other than those that it registers for now."""
        return [
            Left(live, live.registrations[cell.key], live.options)
            for live in self._live
            if live.name not in registering and cell.key in live.registrations
        ]

    async def drop(self, cell: Cell, registering: Collection[str]) -> list[str]:
        """End what a cell registered for other workers than those that it registers for now.

        Returns the lines that say so.

        Raises:
            WorkerFailed: what is left of a worker did not start; the text says what runs now.
        """
        lines = []
        for live, _, _ in self.left_by(cell, registering):
            await live.drop(cell.key)
            if live.registrations:
                lines.append(f"{live.name} is without the handlers that this cell registered before")
            elif live.managed is not None:
                await self._engine.remove(live.managed.qualified_name)
                self._live.remove(live)
                lines.append(f"{live.name} is removed: no cell defines it any more")
        for name, defined in [*self._live.programs.items()]:
            if defined.key == cell.key and defined.number != cell.number:
                check_not_set_aside(self._engine, name)
                del self._live.programs[name]
                if (program := self._engine.capability().workers.get(name)) is not None:
                    await self._engine.remove(program.qualified_name)
                lines.append(f"{name} is removed: no cell defines it any more")
        return lines

    async def put_back(self, left: Collection[Left]) -> None:
        """Let what was dropped run again, from a start: what was to come in its place did not come up.

        Raises:
            WorkerFailed: it does not start again.
        """
        for live, registration, options in left:
            kept = self._live.get(live.name)
            if kept is None:
                kept = LiveWorker(live.name, self._engine, self._processes)
                self._live.add(kept)
            if registration.cell.key not in kept.registrations:
                await kept.commit(registration, options)


def runs_on(live: LiveWorkers, cell: Cell) -> Iterator[str]:
    """Say which handlers of a cell run on though it was run again, and failed; and how to drop them."""
    for worker in live:
        registration = worker.registrations.get(cell.key)
        if registration is None or not registration.handlers or registration.cell.number == cell.number:
            continue
        names = [f"{worker.name}.{handler.key.name}" for handler in registration.handlers]
        verb = "runs" if len(names) == 1 else "run"
        yield (
            f"{', '.join(names)} of {registration.cell.label} {verb} on; "
            f"%worker remove {names[0]} drops {'it' if len(names) == 1 else 'one'}"
        )
