"""Cells that succeed, fail and run again, with removals, rollbacks and restarts between, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.core.errors import UsageError, WorkerFailed
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.runtime import Runtime
from dnworker.workers.registry import Registered, add_handlers, handlers_of, keys_of
from dnworker_jupyter.live.records import Registration, handler_records, make_worker
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options


@dataclass(frozen=True)
class Run:
    """A run of a cell: what it registers, and how that ends."""

    cell: str
    variant: int
    names: tuple[str, ...]
    startup: str
    fails_first: bool


@dataclass(frozen=True)
class Kept:
    """What the model has of one cell."""

    run: Run
    handlers: frozenset[str]
    is_whole: bool = True


Model = Mapping[str, Kept]

runs = st.builds(
    Run,
    st.sampled_from(["c1", "c2", "c3"]),
    st.integers(0, 1),
    st.sets(st.sampled_from("abc"), max_size=2).map(lambda names: tuple(sorted(names))),
    st.sampled_from(["none", "none", "ok", "raises"]),
    st.booleans() | st.just(False),
)
others = st.sampled_from(["again", "again", "rollback", "restart", "stop", "start"])
removals = st.sampled_from(["a", "b", "c", "begin_c1", "begin_c2"]).map(lambda name: ("remove", name))


def registration(run: Run, number: int) -> Registration:
    """Register as the cell does, with functions of their own at each run."""
    handlers = []
    for name in run.names:

        async def listens(event: Any, client: Any, variant: int = run.variant) -> int:
            return variant

        listens.__name__ = name
        handlers.append(Registered(HandlerKey("on_event", "k", name), listens))
    if run.startup != "none":
        handlers.append(Registered(HandlerKey("on_startup", "", name_of(run)), startup_of(run)))
    worker = make_worker("w", [])
    add_handlers(worker, handlers)
    return Registration(Cell(number, f"{run}", run.cell), tuple(handler_records(worker)))


def name_of(run: Run) -> str:
    return f"begin_{run.cell}"


def startup_of(run: Run) -> Any:
    if run.startup == "raises":

        async def begins(client: Any) -> None:
            raise ValueError("the startup of this cell")

    else:

        async def begins(client: Any) -> None: ...

    begins.__name__ = name_of(run)
    return begins


def names(run: Run) -> frozenset[str]:
    return frozenset(run.names) | ({name_of(run)} if run.startup != "none" else set())


def committed(model: Model, run: Run) -> Model:
    """Return the model once a cell has succeeded."""
    after: dict[str, Kept] = {}
    for cell, kept in model.items():
        if cell == run.cell:
            after[cell] = Kept(run, names(run))
            continue
        left = kept.handlers - names(run)
        if left or not kept.handlers:
            after[cell] = replace(kept, handlers=left, is_whole=kept.is_whole and left == kept.handlers)
    after.setdefault(run.cell, Kept(run, names(run)))
    return after


class World:
    """A live worker and its model."""

    def __init__(self, live: LiveWorker) -> None:
        self.live = live
        self.stack: list[Model] = [{}]
        self.last: dict[str, Run] = {}
        self.number = 0
        self.numbers: list[int] = [0]

    async def do(self, step: Any) -> None:
        live, model = self.live, self.stack[-1]
        match step:
            case Run():
                await self.run(step)
            case "again":
                for run in [*self.last.values()][-1:]:
                    await self.run(run)
            case ("remove", name):
                found = [handler for handler, _ in live.handlers() if handler.key.name == name]
                if not found:
                    return
                was = live.state_now
                await live.without(found)
                assert live.state_now is was
                self.push({c: without(kept, name) for c, kept in model.items()})
            case "rollback" if len(self.stack) > 1:
                await live.rollback()
                self.stack.pop()
                self.rose()
            case "rollback":
                try:
                    await live.rollback()
                except UsageError:
                    pass
                else:
                    raise AssertionError("there was nothing to go back to")
            case "restart" if live.managed is not None:
                await live.managed.restart(force=True)
            case "stop" if live.managed is not None:
                await live.managed.stop()
            case "start" if live.managed is not None:
                await live.managed.start()

    async def run(self, run: Run) -> None:
        self.number += 1
        if run.fails_first:
            return  # what it registered before that is never committed
        live, model = self.live, self.stack[-1]
        was, generation = live.state_now, live.generation
        try:
            change = await live.commit(registration(run, self.number), Options())
        except WorkerFailed as exc:
            assert run.startup == "raises", f"a good cell failed: {exc}"
            assert f"on_startup {name_of(run)}" in str(exc)
            assert live.state_now is was
            assert live.generation == generation
            return
        assert run.startup != "raises"
        self.last.pop(run.cell, None)
        self.last[run.cell] = run
        kept = model.get(run.cell)
        is_same = kept is not None and kept.run == run and kept.is_whole and was is WorkerState.RUNNING
        assert change.is_unchanged == is_same
        if is_same:
            assert live.generation == generation
            return
        self.push(committed(model, run))

    def push(self, model: Model) -> None:
        self.stack = [*(self.stack if self.stack[-1] else self.stack[:-1]), model]
        self.rose()

    def rose(self) -> None:
        assert self.live.generation > max(self.numbers)
        self.numbers.append(self.live.generation)

    def check(self, runtime: Runtime) -> None:
        live = self.live
        expected = {name for kept in self.stack[-1].values() for name in kept.handlers}
        assert {handler.key.name for handler, _ in live.handlers()} == expected
        if live.managed is None:
            assert runtime.workers() == []
            return
        assert [live.managed] == runtime.workers()
        assert live.managed.generation == live.generation
        assert live.state_now in (WorkerState.RUNNING, WorkerState.STOPPED)
        if live.state_now is WorkerState.RUNNING:
            worker = cast(Any, live.managed).worker
            assert {key.name for key in keys_of(worker)} == expected
            assert {key.name for key in live.managed.stats} == expected
            running = {h.key: h.function for h, _ in live.handlers()}
            assert cast(Any, live.managed)._runner.generation == live.generation
            assert {h.key: h.function for h in handlers_of(worker)} == running


def without(kept: Kept, name: str) -> Kept:
    return replace(
        kept, handlers=kept.handlers - {name}, is_whole=kept.is_whole and name not in kept.handlers
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(runs | others | removals, max_size=12))
def test_what_runs_is_what_the_last_successful_run_of_each_cell_registered_without_what_was_removed(steps):
    async def main() -> None:
        async with Runtime(port=None) as runtime:
            world = World(LiveWorker("w", runtime, cast(Any, None)))
            for step in steps:
                await world.do(step)
                world.check(runtime)

    asyncio.run(main())
