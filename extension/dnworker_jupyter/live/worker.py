"""`LiveWorker`: a worker made of cells, whose handlers are replaced a generation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import Topology
from dnworker.engine.engine import Engine
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.capability_head import check_not_set_aside
from dnworker_jupyter.live.processes import Processes, ProcessWorker, until_connected
from dnworker_jupyter.live.records import Change, Handler, Registration, make_worker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options

GENERATIONS_KEPT = 20


@dataclass(frozen=True)
class Generation:
    """One version of a worker: what its cells have registered, by the key of the cell, in their order."""

    number: int = 0
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    def handlers(self) -> Iterator[tuple[Handler, Cell]]:
        """Go through the handlers, in the order of their cells."""
        for registration in self.registrations.values():
            for handler in registration.handlers:
                yield handler, registration.cell

    def plain_handlers(self) -> list[Handler]:
        """Return the handlers without their cells."""
        return [handler for handler, _ in self.handlers()]

    def with_registration(
        self, new: Registration
    ) -> tuple[dict[str, Registration], list[tuple[Handler, Cell]]]:
        """Return the registrations with `new` among them, and the handlers it takes over from other cells."""
        names = {handler.name for handler in new.handlers}
        merged: dict[str, Registration] = {}
        taken: list[tuple[Handler, Cell]] = []
        for key, registration in self.registrations.items():
            if key == new.cell.key:
                merged[key] = new  # keeps its place among the cells
                continue
            kept = tuple(h for h in registration.handlers if h.name not in names)
            taken += [(h, registration.cell) for h in registration.handlers if h.name in names]
            if kept or registration.shared:
                merged[key] = replace(registration, handlers=kept)
        merged.setdefault(new.cell.key, new)
        return merged, taken

    def followed_by(self, registrations: Mapping[str, Registration], options: Options | None) -> Generation:
        """Return the next generation; tasks whose source did not change keep their running function."""
        running = {h.code: h for h in self.plain_handlers() if h.key.decorator == "task"}
        kept = {
            key: replace(r, handlers=tuple(running.get(h.code, h) for h in r.handlers))
            for key, r in registrations.items()
        }
        return Generation(self.number + 1, kept, options or self.options)


class LiveWorker:
    """A worker made of cells: its generations, its state, and what runs."""

    def __init__(self, name: str, engine: Engine, processes: Processes) -> None:
        self.name = name
        self.topology: Topology = "in-process"
        self.state: dict[str, Any] = {}
        self.managed: InProcessWorker | ProcessWorker | None = None
        """What runs the present generation; None until the first is committed."""
        self._engine = engine
        self._processes = processes
        self._generations: tuple[Generation, ...] = (Generation(),)
        """Those that can be gone back to, and last the present one."""

    @property
    def current(self) -> Generation:
        """The present generation."""
        return self._generations[-1]

    @property
    def generation(self) -> int:
        """The number of the present generation."""
        return self.current.number

    @property
    def state_now(self) -> WorkerState:
        """The state of what runs it; stopped while nothing does."""
        return self.managed.state if self.managed is not None else WorkerState.STOPPED

    @property
    def registrations(self) -> Mapping[str, Registration]:
        """What the present generation is made of, by the key of the cell."""
        return self.current.registrations

    @property
    def options(self) -> Options:
        """The worker's options, from the lines of its cells."""
        return self.current.options

    def handlers(self) -> Iterator[tuple[Handler, Cell]]:
        """Go through the handlers of the present generation, in the order of their cells."""
        return self.current.handlers()

    # -- the next generation ---------------------------------------------------------------------------

    async def commit(self, registration: Registration, options: Options) -> Change:
        """Make what a cell registered part of the next generation and let it run.

        Raises:
            NotExportable: the worker is a process, and something that the handlers need cannot leave the
                kernel; nothing has changed then.
        """
        merged, taken = self.current.with_registration(registration)
        generation = self.current.followed_by(merged, options)
        change = await self._become(self._with(generation), written=registration)
        return replace(change, taken_over=tuple(taken), twice=registration.twice)

    async def drop(self, key: str) -> Change:
        """End what a cell registered: it was run again, and registers nothing here any more."""
        kept = {k: r for k, r in self.registrations.items() if k != key}
        return await self._become(self._with(self.current.followed_by(kept, None)))

    async def rollback(self) -> Change:
        """Bring the previous generation back.

        Raises:
            UsageError: there is none.
        """
        if len(self._generations) == 1:
            raise UsageError(f"worker {self.name!r} has no earlier generation to go back to")
        *earlier, previous, _ = self._generations
        again = self.current.followed_by(previous.registrations, None)
        return await self._become((*earlier, again))

    async def move(self, topology: Topology) -> None:
        """Run in another way from now on: a start with empty state, as a deploy would be.

        Raises:
            NotExportable: something that the handlers need cannot leave the kernel; the worker runs on as
                it was.
            WorkerFailed: the process did not come up.
        """
        before, self.topology = self.topology, topology
        try:
            await self._run(restart=True)
        except UsageError:
            self.topology = before
            raise

    def _with(self, generation: Generation) -> tuple[Generation, ...]:
        """Return the generations with another; one without registrations is not kept."""
        kept = self._generations if self.registrations else self._generations[:-1]
        return (*kept[-GENERATIONS_KEPT:], generation)

    async def _become(
        self, generations: tuple[Generation, ...], *, written: Registration | None = None
    ) -> Change:
        """Run the last of `generations`; where it cannot be exported, everything stays as it was."""
        undo, state = self._generations, dict(self.state)
        before, after = undo[-1], generations[-1]
        restart = self._must_restart(before, after)
        self._generations = generations
        if written is not None:
            self._write_state(written)
        try:
            await self._run(restart)
        except UsageError:
            self._generations = undo
            self.state.clear()
            self.state.update(state)
            raise
        return change_between(before.plain_handlers(), after.plain_handlers(), restart=restart)

    def _must_restart(self, before: Generation, after: Generation) -> bool:
        """Return whether state must begin anew: the gate, a startup or a shutdown handler changed."""
        gate_changed = self.managed is not None and after.options.when != before.options.when
        return gate_changed or _life_cycle(before) != _life_cycle(after)

    def _write_state(self, written: Registration) -> None:
        self.state.update(written.seeds)
        for key in written.removed:
            self.state.pop(key, None)

    # -- what runs -------------------------------------------------------------------------------------

    async def _run(self, restart: bool) -> None:
        check_not_set_aside(self._engine, self.name)
        if self.topology == "in-process":
            await self._run_here(restart)
        else:
            self.managed = self._processes.make(self.name, self.topology, self.options, self.generation)
            await self._engine.capabilities.adopt(self.managed)
            if self.managed.state is WorkerState.RUNNING:
                await until_connected(self.managed)  # a running process does not listen yet

    async def _run_here(self, restart: bool) -> None:
        definition = WorkerDefinition(self.name, when=self.options.when)
        if isinstance(self.managed, InProcessWorker):
            self.managed.definition = definition
            await self.managed.swap(self._make, self._make_fresh, generation=self.generation, restart=restart)
        else:
            home = self._engine.capability()
            self.managed = InProcessWorker(self._engine.services, home, definition, self._make_fresh)
            await self._engine.capabilities.adopt(self.managed)

    def _make_fresh(self) -> Worker:
        """Make the Worker for a start: its state holds only what cells put there at their top level."""
        self.state.clear()
        for registration in self.registrations.values():
            self.state.update(registration.seeds)
        return self._make()

    def _make(self) -> Worker:
        worker = make_worker(self.name, self.current.plain_handlers())
        worker.state = self.state
        return worker

    # -- shadows ---------------------------------------------------------------------------------------

    def previous(self) -> Callable[[], Worker] | None:
        """Return what makes the Worker of the generation before, as at a start; None without one."""
        if len(self._generations) == 1:
            return None
        earlier = self._generations[-2]
        return lambda: self.make_shadow(earlier)

    def make_shadow(self, generation: Generation | None = None) -> Worker:
        """Make a Worker with a state of its own, as at a start; by default of the present generation."""
        chosen = generation or self.current
        worker = make_worker(self.name, chosen.plain_handlers())
        for registration in chosen.registrations.values():
            worker.state.update(registration.seeds)
        return worker


def change_between(before: list[Handler], after: list[Handler], *, restart: bool) -> Change:
    """Return what changed between the handlers of two generations."""
    old, new = {h.code for h in before}, {h.code for h in after}
    old_keys, new_keys = {h.key for h in before}, {h.key for h in after}
    fresh = [h for h in after if h.code not in old]
    return Change(
        added=tuple(h for h in fresh if h.key not in old_keys),
        changed=tuple(h for h in fresh if h.key in old_keys),
        removed=tuple(h for h in before if h.key not in new_keys),
        taken_over=(),
        restarted=bool(before) and restart and old != new,
    )


def _life_cycle(generation: Generation) -> list[tuple[Any, ...]]:
    handlers = generation.plain_handlers()
    return [h.code for h in handlers if h.key.decorator in ("on_startup", "on_shutdown")]
