"""`LiveWorker`: a worker made of cells, whose handlers are replaced a generation at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from dnworker.core.causes import because
from dnworker.core.errors import UsageError, WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import Topology
from dnworker.engine.engine import Engine
from dnworker.workers import inprocess_worker
from dnworker.workers.access import Retired
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.runner import NotStarted, to_its_end
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.capability_head import check_not_set_aside
from dnworker_jupyter.live.cell_options import definition_of, retried
from dnworker_jupyter.live.exchange import AddressInUse, bring_up, take_back
from dnworker_jupyter.live.generations import Generation, change_between, clashes, life_cycle, namesakes
from dnworker_jupyter.live.kept_generations import KeptGenerations
from dnworker_jupyter.live.outcomes import (
    check_started,
    is_address_in_use,
    reason,
    what_fails,
    what_is_back,
    what_runs,
    what_was,
)
from dnworker_jupyter.live.processes import Processes, ProcessWorker
from dnworker_jupyter.live.records import Change, Handler, Registration, make_worker
from dnworker_jupyter.live.sameness import is_unchanged
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
        self._kept = KeptGenerations(name, GENERATIONS_KEPT)
        self._newest = 0
        """The highest number that a generation has had, one that did not start among them."""

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

    def numbered(self, number: int) -> Generation | None:
        """Return the generation of a number, where it can be gone back to."""
        return next((one for one in self._generations if one.number == number), None)

    def handlers(self) -> Iterator[tuple[Handler, Cell]]:
        """Go through the handlers of the present generation, in the order of their cells."""
        return self.current.handlers()

    # -- the next generation ---------------------------------------------------------------------------

    async def commit(
        self, registration: Registration, options: Options, *, stop_first: bool = False
    ) -> Change:
        """Make what a cell registered part of the next generation and let it run; all of it, or nothing.

        A new startup or shutdown handler, or another gate, needs a start. The present generation runs until
        the next one has started; with `stop_first`, or where both need the same, it stops before. Where the
        cell has registered provably the same as before, the generation stays, with its state.

        Raises:
            NotExportable: the worker is a process, and something that the handlers need cannot leave the
                kernel; nothing has changed then.
            WorkerFailed: it did not start, or was interrupted; the text says what runs now. Nothing of the
                cell is left.
        """
        if not stop_first and options == self.options and await self._is_again(registration):
            return Change((), (), (), (), restarted=False, is_unchanged=True)
        merged, taken = self.current.with_registration(registration)
        generation = self.current.followed_by(merged, options)
        again = " again" if registration.cell.key in self.registrations else ""
        label, by = registration.cell.label, registration.cell.by
        change = await self._become(
            self._with(generation),
            f"{label[:1].upper()}{label[1:]} ran{again}{f', by agent {by}' if by else ''}",
            written=registration,
            stop_first=stop_first,
        )
        beside = namesakes(change.added, generation, registration.cell)
        return replace(change, taken_over=tuple(taken), twice=registration.twice, beside=beside)

    async def drop(self, key: str) -> Change:
        """End what a cell registered: it was run again, and registers nothing here any more.

        Raises:
            WorkerFailed: what is left did not start; the text says what runs now.
        """
        kept = {k: r for k, r in self.registrations.items() if k != key}
        gone = self.registrations[key].cell.label if key in self.registrations else "a cell"
        why = f"What {gone} registered is gone"
        return await self._become(self._with(self.current.followed_by(kept, None)), why)

    async def without(self, handlers: Collection[Handler]) -> Change:
        """Take handlers out, until their cells run again; a worker that is stopped stays so.

        Raises:
            NotExportable: as for `commit`.
            WorkerFailed: what is left did not start; the text says what runs now.
        """
        kept = self.current.without(handlers)
        why = f"{', '.join(dict.fromkeys(one.name for one in handlers))} removed"
        return await self._become(self._with(self.current.followed_by(kept, None)), why, starts=False)

    async def rollback(self, number: int | None = None) -> Change:
        """Bring the handlers of an earlier generation back, as a generation with a number of its own.

        The state is kept, unless startup or shutdown handlers differ; so are gate, topology and sessions.

        Args:
            number: of the generation; the previous one when None.

        Raises:
            UsageError: there is none, or none of this number is kept.
            WorkerFailed: it did not start; the text says what runs now.
        """
        wanted = self._kept.find(self._generations, number)
        again = self.current.followed_by(wanted.registrations, None)
        numbers = [one.number for one in self._generations]
        generations = self._with(again)
        if wanted.number in numbers:
            generations = (*self._generations[: numbers.index(wanted.number)], again)
        return await self._become(generations, f"Rolled back to generation {wanted.number}")

    @property
    def kept(self) -> dict[int, Generation]:
        """The generations that can be looked at and gone back to, by number; the present one is the last."""
        return self._kept.all(self._generations)

    async def move(self, topology: Topology) -> None:
        """Run in another way from now on: a start with empty state, as a deploy would be.

        Raises:
            NotExportable: something that the handlers need cannot leave the kernel; the worker runs on as
                it was.
            WorkerFailed: it did not come up; what ran before was started again.
        """
        check_not_set_aside(self._engine, self.name)
        before, self.topology = self.topology, topology
        managed, state = self.managed, self.state
        try:
            with because(f"Topology {topology}"):
                if topology == "in-process":
                    await self._exchange(self._in_process(self._generations))
                else:
                    await self._exchange(self._as_process())
        except BaseException:
            if self.managed is managed:
                self.topology, self.state = before, state
            raise

    def _with(self, generation: Generation) -> tuple[Generation, ...]:
        """Return the generations with another; one without registrations is not kept."""
        kept = self._generations if self.registrations else self._generations[:-1]
        return (*kept[-GENERATIONS_KEPT:], generation)

    async def _become(
        self,
        generations: tuple[Generation, ...],
        why: str,
        *,
        written: Registration | None = None,
        stop_first: bool = False,
        starts: bool = True,
    ) -> Change:
        """Run the last of `generations`; where it does not start, all is as it was before."""
        check_not_set_aside(self._engine, self.name)
        number = self._newest + 1
        before, after = self.current, replace(generations[-1], number=number, at=time.time(), why=why)
        restart = stop_first or self._must_restart(before, after)
        ran, error = self.state_now, self.managed.error if self.managed is not None else None
        undo = self._generations, self.state
        try:
            with because(f"{why}: generation {number}"), retried(self._engine, self.name, after.options):
                await self._let_run(
                    (*generations[:-1], after), written, restart=restart, stop_first=stop_first, starts=starts
                )
        except BaseException as exc:
            if not isinstance(exc, UsageError):  # its number has been seen, as by a startup handler that ran
                self._newest = after.number
            with because(f"Generation {number} did not start"):
                await to_its_end(self._undo(*undo, ran, error))
            raise
        self._newest = after.number
        self._kept.add(self._generations)
        change = change_between(before.plain_handlers(), after.plain_handlers(), restart=restart)
        is_anew = change.restarted or (stop_first and bool(before.registrations))
        return replace(change, failing=what_fails(self.managed, after), restarted=is_anew)

    async def _let_run(
        self,
        generations: tuple[Generation, ...],
        written: Registration | None,
        *,
        restart: bool,
        stop_first: bool,
        starts: bool,
    ) -> None:
        """Let the last of `generations` run, in the way that disturbs least."""
        before, after, managed = self.current, generations[-1], self.managed
        starts = starts or self.state_now is not WorkerState.STOPPED
        if self.topology != "in-process":
            await self._become_process(generations, written, starts=starts, anew=stop_first)
        elif not isinstance(managed, InProcessWorker):
            await self._exchange(self._in_process(generations))
        elif not starts and await managed.prepare(self._runnable(generations, {})):
            return
        elif restart or self.state_now is not WorkerState.RUNNING:
            managed.begins_anew = stop_first
            await self._start_anew(managed, generations, stop_first=stop_first or clashes(before, after))
        else:
            await self._swap(managed, generations, written)

    async def _undo(
        self, generations: tuple[Generation, ...], values: dict[str, Any], state: WorkerState, why: str | None
    ) -> None:
        """Be as before a generation that did not take effect; where it has, leave it so.

        Args:
            generations, values: those that there were, and the state of the worker's handlers.
            state: what the worker was in, and `why` it was in `error`.
        """
        managed, number = self.managed, generations[-1].number
        here = managed if isinstance(managed, InProcessWorker) else None
        if here is not None and here.state is WorkerState.RUNNING and here.generation != number:
            return  # only the stop of the one before was interrupted
        self._generations, self.state = generations, values
        if here is not None and here.generation != number:
            with contextlib.suppress(Retired):  # somebody has removed it meanwhile
                await here.withdraw(self._runnable(generations, values), state, why)

    async def _is_again(self, registration: Registration) -> bool:
        """Return whether a cell has registered provably what it did before, and take its new functions then.

        They are equal to those that run; still the new ones run from now on, so that nothing old is kept.
        """
        present = self.registrations.get(registration.cell.key)
        if present is None or self.state_now is not WorkerState.RUNNING:
            return False
        if not is_unchanged(present, registration, self.state):
            return False
        again = replace(registration, seeds=present.seeds)
        same = self.current.followed_by({**self.registrations, registration.cell.key: again}, None)
        generations = (*self._generations[:-1], replace(same, number=self.generation))
        managed = self.managed
        if isinstance(managed, InProcessWorker):
            await self._swap(managed, generations, None)
            return True
        if not isinstance(managed, ProcessWorker) or self.topology == "in-process":
            return False
        undo, self._generations = self._generations, generations
        try:
            if self._processes.is_same(managed, self.name, self.topology):
                return True
        except BaseException:
            self._generations = undo
            raise
        self._generations = undo
        return False

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

    async def _swap(
        self, managed: InProcessWorker, generations: tuple[Generation, ...], written: Registration | None
    ) -> None:
        """Let the last of `generations` take over from the one that runs, with its state."""
        before, state = self._generations, self.state
        keys = {*written.seeds, *written.removed} if written is not None else set()
        kept = {key: state[key] for key in keys if key in state}
        self._write_state(written)
        try:
            await managed.swap(self._runnable(generations, state))
        except BaseException as exc:
            for key in keys:
                state.pop(key, None)
            state.update(kept)
            if self._generations is not before:
                await to_its_end(managed.swap(self._runnable(before, state)))
            if not isinstance(exc, asyncio.CancelledError):
                raise
            why = f"the change of worker {self.name!r} was interrupted"
            raise WorkerFailed(f"{why}; generation {self.generation} is {self.state_now}") from None
        check_started(managed, before[-1], self.current, self.name)

    async def _start_anew(
        self, managed: InProcessWorker, generations: tuple[Generation, ...], *, stop_first: bool
    ) -> None:
        """Run the last of `generations` from a start on, with a state of its own."""
        before, did_run = self.current, managed.state is WorkerState.RUNNING
        try:
            if not stop_first:
                try:
                    await managed.follow(self._runnable(generations, {}))
                    check_started(managed, before, self.current, self.name)
                    return
                except NotStarted as exc:
                    if not is_address_in_use(exc.failure) or managed.state is not WorkerState.RUNNING:
                        raise
                    stop_first = True
            await managed.follow_after_stop(self._runnable(generations, {}))
            check_started(managed, before, self.current, self.name)
        except NotStarted as exc:
            said = reason(self.name, exc, generations[-1])
            raise WorkerFailed(f"{said}; {what_runs(before, managed, was_stopped=stop_first)}") from None
        except asyncio.CancelledError:
            why = f"the startup of worker {self.name!r} was interrupted"
            rest = what_was(before)
            if self.current is before and did_run:
                rest = what_runs(before, managed, was_stopped=stop_first)
            elif managed.state is WorkerState.RUNNING:
                rest = f"generation {self.generation} is {self.state_now}"
            raise WorkerFailed(f"{why}; {rest}") from None

    async def _become_process(
        self, generations: tuple[Generation, ...], written: Registration | None, *, starts: bool, anew: bool
    ) -> None:
        """Run the last of `generations` as a process, which is made of what is exported of it."""
        self._generations = generations
        (managed := self._as_process()).begins_anew = anew
        await self._exchange(managed, starts=starts)
        self._write_state(written)

    async def _exchange(self, managed: InProcessWorker | ProcessWorker, *, starts: bool = True) -> None:
        """Run by another managed worker; where that does not come up, the one before is in its place again.

        Raises:
            WorkerFailed: it did not come up, or was interrupted.
        """
        before = self.managed
        listed = before or self._engine.capability().workers.get(self.name)
        did_run = listed is not None and listed.state is WorkerState.RUNNING
        self.managed = managed
        try:
            await bring_up(self._engine, managed, self.current, starts=starts)
        except BaseException as exc:
            await to_its_end(managed.stop())  # its shutdown handlers find their state by this worker
            self.managed = before
            await to_its_end(take_back(self._engine, managed, listed, did_run=did_run))
            if not isinstance(exc, WorkerFailed | asyncio.CancelledError):
                raise
            is_interrupted = isinstance(exc, asyncio.CancelledError)
            why = f"the start of worker {self.name!r} was interrupted" if is_interrupted else str(exc)
            failed = AddressInUse if isinstance(exc, AddressInUse) else WorkerFailed
            raise failed(f"{why}; {what_is_back(listed, did_run=did_run)}") from None

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
        generation, options = generations[-1], generations[-1].options

        def make_now() -> Worker:
            return make_worker(self.name, generation.plain_handlers(), state)

        def make() -> Worker:
            """Make the Worker for a start: its state holds only what cells put there at their top level."""
            state.clear()
            for registration in generation.registrations.values():
                state.update(registration.seeds)
            return make_now()

        def begun() -> None:
            self._generations, self.state = generations, state

        definition = definition_of(self.name, options)
        return inprocess_worker.Generation(generation.number, definition, make, make_now, begun)

    # -- shadows ---------------------------------------------------------------------------------------

    @property
    def earlier(self) -> Generation | None:
        """The generation that a rollback brings back; None without one."""
        return self._generations[-2] if len(self._generations) > 1 else None

    def previous(self) -> Callable[[], Worker] | None:
        """Return what makes the Worker of the generation before, as at a start; None without one."""
        earlier = self.earlier
        return None if earlier is None else lambda: earlier.as_at_start(self.name)

    def make_shadow(self) -> Worker:
        """Make a Worker of the present generation with a state of its own, as at a start."""
        return self.current.as_at_start(self.name)
