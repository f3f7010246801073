"""`LiveWorker`: a worker made of cells, whose handlers are replaced a generation at a time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import UsageError, WorkerFailed
from dnworker.core.handler_error import describe
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import Topology
from dnworker.engine.engine import Engine
from dnworker.workers import inprocess_worker
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.runner import NotStarted, to_its_end
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.capability_head import check_not_set_aside
from dnworker_jupyter.live.generations import Generation, change_between, clashes, life_cycle, namesakes
from dnworker_jupyter.live.processes import Processes, ProcessWorker, until_up
from dnworker_jupyter.live.records import Change, Handler, Registration, make_worker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options

GENERATIONS_KEPT = 20


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

    async def commit(
        self, registration: Registration, options: Options, *, stop_first: bool = False
    ) -> Change:
        """Make what a cell registered part of the next generation and let it run.

        A new startup or shutdown handler, or another gate, needs a start. The present generation runs until
        the next one has started; with `stop_first`, or where both need the same, it stops before.

        Raises:
            NotExportable: the worker is a process, and something that the handlers need cannot leave the
                kernel; nothing has changed then.
            WorkerFailed: it did not start, or was interrupted; the text says what runs now.
        """
        merged, taken = self.current.with_registration(registration)
        generation = self.current.followed_by(merged, options)
        change = await self._become(self._with(generation), written=registration, stop_first=stop_first)
        beside = namesakes(change.added, generation, registration.cell)
        return replace(change, taken_over=tuple(taken), twice=registration.twice, beside=beside)

    async def drop(self, key: str) -> Change:
        """End what a cell registered: it was run again, and registers nothing here any more.

        Raises:
            WorkerFailed: what is left did not start; the text says what runs now.
        """
        kept = {k: r for k, r in self.registrations.items() if k != key}
        return await self._become(self._with(self.current.followed_by(kept, None)))

    async def rollback(self) -> Change:
        """Bring the previous generation back.

        Raises:
            UsageError: there is none.
            WorkerFailed: it did not start; the text says what runs now.
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
            WorkerFailed: it did not come up; what ran before was started again.
        """
        check_not_set_aside(self._engine, self.name)
        before, self.topology = self.topology, topology
        managed = self.managed
        try:
            if topology == "in-process":
                await self._exchange(self._in_process(self._generations))
            else:
                await self._exchange(self._as_process())
        except BaseException:
            if self.managed is managed:
                self.topology = before
            raise

    def _with(self, generation: Generation) -> tuple[Generation, ...]:
        """Return the generations with another; one without registrations is not kept."""
        kept = self._generations if self.registrations else self._generations[:-1]
        return (*kept[-GENERATIONS_KEPT:], generation)

    async def _become(
        self,
        generations: tuple[Generation, ...],
        *,
        written: Registration | None = None,
        stop_first: bool = False,
    ) -> Change:
        """Run the last of `generations`; where it does not start, what ran before runs on."""
        check_not_set_aside(self._engine, self.name)
        before, after = self.current, generations[-1]
        restart = stop_first or self._must_restart(before, after)
        if self.topology != "in-process":
            await self._become_process(generations, written)
        elif not isinstance(self.managed, InProcessWorker):
            await self._exchange(self._in_process(generations))
        elif restart:
            first = stop_first or clashes(before, after)
            await self._start_anew(self.managed, generations, stop_first=first)
        else:
            self._write_state(written)
            await self.managed.swap(self._runnable(generations, self.state))
        change = change_between(before.plain_handlers(), after.plain_handlers(), restart=restart)
        return replace(change, restarted=True) if stop_first and before.registrations else change

    def _must_restart(self, before: Generation, after: Generation) -> bool:
        """Return whether state must begin anew: the gate, a startup or a shutdown handler changed."""
        gate_changed = self.managed is not None and after.options.when != before.options.when
        return gate_changed or life_cycle(before) != life_cycle(after)

    def _write_state(self, written: Registration | None) -> None:
        if written is not None:
            self.state.update(written.seeds)
            for key in written.removed:
                self.state.pop(key, None)

    # -- what runs -------------------------------------------------------------------------------------

    async def _start_anew(
        self, managed: InProcessWorker, generations: tuple[Generation, ...], *, stop_first: bool
    ) -> None:
        """Run the last of `generations` from a start on, with a state of its own."""
        before, did_run = self.current, managed.state is WorkerState.RUNNING
        try:
            if not stop_first:
                try:
                    await managed.follow(self._runnable(generations, {}))
                    return
                except NotStarted as exc:
                    if not _is_address_in_use(exc.failure) or managed.state is not WorkerState.RUNNING:
                        raise
                    stop_first = True
            await managed.follow_after_stop(self._runnable(generations, {}))
        except NotStarted as exc:
            raise WorkerFailed(f"{_reason(self.name, exc)}; {self._what_runs(before, stop_first)}") from None
        except asyncio.CancelledError:
            why = f"the startup of worker {self.name!r} was interrupted"
            if self.current is before and did_run:
                raise WorkerFailed(f"{why}; {self._what_runs(before, stop_first)}") from None
            raise WorkerFailed(f"{why}; generation {self.generation} is {self.state_now}") from None

    def _what_runs(self, before: Generation, was_stopped: bool) -> str:
        """Say how the generation before is, after another did not start."""
        runs = self.state_now is WorkerState.RUNNING
        if not was_stopped:
            return (
                f"generation {before.number} {'runs on, with its state' if runs else f'is {self.state_now}'}"
            )
        again = "is started again, with its state" if runs else f"does not start again: {self._error}"
        return f"generation {before.number} was stopped for it, and {again}"

    @property
    def _error(self) -> str:
        return (self.managed.error if self.managed is not None else None) or str(self.state_now)

    async def _become_process(
        self, generations: tuple[Generation, ...], written: Registration | None
    ) -> None:
        """Run the last of `generations` as a process, which is made of what is exported of it."""
        undo, self._generations = self._generations, generations
        managed = self.managed
        try:
            await self._exchange(self._as_process())
        except BaseException:
            if self.managed is managed:
                self._generations = undo
            raise
        self._write_state(written)

    async def _exchange(self, managed: InProcessWorker | ProcessWorker) -> None:
        """Run by another managed worker; where that does not come up, the one before is started again.

        Raises:
            WorkerFailed: it did not come up, or was interrupted, and what ran before was started again.
        """
        before = self.managed
        did_run = before is not None and before.state is WorkerState.RUNNING
        self.managed = managed
        try:
            await self._engine.capabilities.adopt(managed)
            if did_run and managed.state is WorkerState.ERROR:
                raise WorkerFailed(why_failed(managed))
            if isinstance(managed, ProcessWorker) and managed.state is WorkerState.RUNNING:
                await until_up(managed)
        except (WorkerFailed, asyncio.CancelledError) as exc:
            why = str(exc)
            if isinstance(exc, asyncio.CancelledError):
                why = f"the start of worker {self.name!r} was interrupted"
            if before is None or not did_run:
                raise WorkerFailed(f"{why}; it is {managed.state}" if why != str(exc) else why) from None
            await to_its_end(self._take_back(before, managed))
            how = "is started again" if before.state is WorkerState.RUNNING else f"is {before.state}"
            old = f"generation {before.generation}, {before.topology_label},"
            raise WorkerFailed(f"{why}; {old} was stopped for it, and {how}") from None

    async def _take_back(
        self, before: InProcessWorker | ProcessWorker, managed: InProcessWorker | ProcessWorker
    ) -> None:
        await managed.stop()
        self.managed = before
        await self._engine.capabilities.adopt(before, resume=True)
        if isinstance(before, ProcessWorker) and before.state is WorkerState.RUNNING:
            with contextlib.suppress(WorkerFailed):  # its state says it
                await until_up(before)

    def _as_process(self) -> ProcessWorker:
        assert self.topology != "in-process"
        return self._processes.make(self.name, self.topology, self.options, self.generation)

    def _in_process(self, generations: tuple[Generation, ...]) -> InProcessWorker:
        """Return a managed worker that runs the last of `generations` here, from a start on."""
        runnable = self._runnable(generations, {})
        home = self._engine.capability()
        managed = InProcessWorker(self._engine.services, home, runnable.definition, runnable.make)
        managed.begin_with(runnable)
        return managed

    def _runnable(
        self, generations: tuple[Generation, ...], state: dict[str, Any]
    ) -> inprocess_worker.Generation:
        """Return the last of `generations` as what a managed worker runs, with `state` as its state."""
        generation = generations[-1]

        def make_now() -> Worker:
            worker = make_worker(self.name, generation.plain_handlers())
            worker.state = state
            return worker

        def make() -> Worker:
            """Make the Worker for a start: its state holds only what cells put there at their top level."""
            state.clear()
            for registration in generation.registrations.values():
                state.update(registration.seeds)
            return make_now()

        def begun() -> None:
            self._generations, self.state = generations, state

        definition = WorkerDefinition(self.name, when=generation.options.when)
        return inprocess_worker.Generation(generation.number, definition, make, make_now, begun)

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


def _is_address_in_use(failure: BaseException | None) -> bool:
    """Return whether something could not listen because its address is taken, most likely by us."""
    seen: set[int] = set()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        if isinstance(failure, OSError) and failure.errno == errno.EADDRINUSE:
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def _reason(name: str, exc: NotStarted) -> str:
    """Say which startup handler failed, and with what."""
    if exc.handler is None:
        return f"the startup of worker {name!r} was ended: {exc}"
    text = f"worker {name!r}: on_startup {exc.handler.key.name} raised {describe(exc.failure)}"
    return "; ".join([text, *(f"its on_shutdown too: {raised}" for raised in exc.shutdown)])


def why_failed(managed: ManagedWorker) -> str:
    """Say why a worker is in state `error`."""
    errors = [
        s.last_error for key, s in managed.stats.items() if key.decorator == "on_startup" and s.last_error
    ]
    why = f"on_startup raised {errors[-1]}" if errors else managed.error
    return f"worker {managed.name!r} is in state {managed.state}: {why}"
