"""Generations: how a registration becomes the next one, and what changes between two."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from dnworker.core.errors import UsageError, WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import LIVE_CAPABILITY
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.generations import Generation, change_between
from dnworker_jupyter.live.records import Handler, Registration, handler_records
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options


def handler(name: str, *, kind: str = "demo.a", value: object = None) -> Handler:
    async def function(event, client):
        return value

    function.__name__ = name
    worker = Worker("bridge")
    worker.on_event(kind)(function)
    return handler_records(worker)[0]


def cell(number: int, *handlers: Handler, **fields: Any) -> Registration:
    return Registration(Cell(number, f"source {number}", f"c{number}"), handlers, **fields)


def generation(*registrations: Registration) -> Generation:
    return Generation(1, {one.cell.key: one for one in registrations})


def test_a_cell_that_runs_again_keeps_its_place():
    first = generation(cell(1, handler("a")), cell(2, handler("b")))
    merged, taken = first.with_registration(Registration(Cell(3, "new", "c1"), (handler("a"),)))
    assert [r.cell.number for r in merged.values()] == [3, 2]
    assert taken == []


def test_a_handler_of_a_name_is_taken_over_from_the_cell_that_had_it():
    b = handler("b")
    first = generation(cell(1, handler("a"), b), cell(2, handler("c")))
    merged, taken = first.with_registration(cell(3, handler("a")))
    assert [[h.name for h in r.handlers] for r in merged.values()] == [["b"], ["c"], ["a"]]
    assert [(h.name, c.number) for h, c in taken] == [("a", 1)]


def test_a_handler_of_the_same_name_for_another_kind_takes_nothing_over():
    first = generation(cell(1, handler("a")))
    merged, taken = first.with_registration(cell(2, handler("a", kind="demo.b")))
    assert [[h.key.trigger for h in r.handlers] for r in merged.values()] == [["demo.a"], ["demo.b"]]
    assert taken == []


def test_all_handlers_that_a_cell_declares_alike_are_taken_over_together():
    worker = Worker("bridge")
    for _ in range(2):
        worker.on_event("demo.a")(handler("a").function)
    first = generation(cell(1, *handler_records(worker)))
    merged, taken = first.with_registration(cell(2, handler("a")))
    assert [r.cell.number for r in merged.values()] == [2]
    assert [h.key.name for h, _ in taken] == ["a", "a#2"]


def test_a_cell_without_handlers_left_goes_unless_it_is_shared():
    first = generation(cell(1, handler("a")), cell(2, handler("b"), shared=True))
    merged, _ = first.with_registration(cell(3, handler("a"), handler("b")))
    assert [r.cell.number for r in merged.values()] == [2, 3]


def test_a_task_whose_source_did_not_change_keeps_its_running_function():
    def task() -> Handler:
        worker = Worker("bridge")

        @worker.task
        async def watch(client): ...

        return handler_records(worker)[0]

    running, again = task(), task()
    after = generation(cell(1, running)).followed_by({"id:c1": cell(1, again)}, None)
    assert after.number == 2
    assert after.plain_handlers()[0].function is running.function


def test_the_change_between_generations_names_what_is_new_other_and_gone():
    old, new = object(), object()
    before = [handler("kept", value=1), handler("other", value=old), handler("gone")]
    after = [before[0], handler("other", value=new), handler("fresh")]
    change = change_between(before, after, restart=False)
    assert [h.name for h in change.added] == ["fresh"]
    assert [h.name for h in change.changed] == ["other"]
    assert [h.name for h in change.removed] == ["gone"]
    assert not change.restarted


async def test_a_rollback_is_a_generation_of_its_own():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        await live.commit(cell(1, handler("a"), seeds={"n": 1}), Options())
        await live.commit(cell(2, handler("b")), Options())
        await live.rollback()
        assert live.generation == 3
        assert [h.name for h, _ in live.handlers()] == ["a"]
        assert live.state == {"n": 1}
        with pytest.raises(UsageError, match="no earlier generation"):
            await live.rollback()


async def test_a_rollback_goes_to_any_generation_that_is_kept_and_can_be_undone():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        for number, name in enumerate("abc", 1):
            await live.commit(cell(1, handler(name), seeds={"n": number}), Options())
        live.state["n"] = 7
        await live.rollback(1)
        assert [h.name for h, _ in live.handlers()] == ["a"]
        assert live.state == {"n": 7}
        await live.rollback(3)
        assert [h.name for h, _ in live.handlers()] == ["c"]
        assert [(one.number, one.why) for one in live.kept.values()] == [
            (1, "Cell [1] ran"),
            (2, "Cell [1] ran again"),
            (3, "Cell [1] ran again"),
            (4, "Rolled back to generation 1"),
            (5, "Rolled back to generation 3"),
        ]
        await live.rollback()  # to what ran before, as ever
        assert [h.name for h, _ in live.handlers()] == ["a"]


async def test_a_rollback_refuses_the_generation_that_runs_and_one_that_is_not_kept():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        for name in "ab":
            await live.commit(cell(1, handler(name)), Options())
        with pytest.raises(UsageError, match="runs generation 2 already"):
            await live.rollback(2)
        with pytest.raises(UsageError, match="keeps no generation 9; there are: 1"):
            await live.rollback(9)
        assert live.generation == 2


async def test_a_generation_that_did_not_start_is_not_one_to_go_back_to():
    def fails() -> Handler:
        worker = Worker("bridge")

        @worker.on_startup
        async def open_it(client):
            raise ValueError("no door")

        return handler_records(worker)[0]

    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        await live.commit(cell(1, handler("a")), Options())
        with pytest.raises(WorkerFailed):
            await live.commit(cell(2, fails()), Options())
        assert list(live.kept) == [1]
        assert live.managed.life.transitions[-1].state is WorkerState.RUNNING


async def test_a_worker_tells_which_cell_changed_it():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        await live.commit(cell(1, handler("a")), Options())
        await live.commit(cell(1, handler("b")), Options())
        reasons = [one.reason for one in live.managed.life.transitions]
        assert reasons[0] == "Cell [1] ran: generation 1"
        assert reasons[-1] == "Cell [1] ran again: generation 2"


async def test_the_runtime_is_told_which_generation_a_rollback_brings_back():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        runtime.changes.describe = lambda name: live.current.why
        await live.commit(cell(1, handler("a")), Options())
        await live.commit(cell(2, handler("b")), Options())
        await live.rollback()
        told = [(one.generation, one.text) for one in runtime.changes.all if one.is_generation]
        assert told == [(2, "Cell [2] ran"), (3, "Rolled back to generation 1")]


async def test_what_cannot_be_exported_changes_nothing():
    class NoExport:
        def make(self, *args: Any) -> Any:
            raise UsageError("it cannot leave the kernel")

    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, NoExport()))
        await live.commit(cell(1, handler("a"), seeds={"n": 1}), Options())
        live.topology = "python"  # as `move` sets it
        with pytest.raises(UsageError, match="it cannot leave"):
            await live.commit(cell(2, handler("b"), seeds={"n": 2}, removed=frozenset({"n"})), Options())
        assert live.generation == 1
        assert [h.name for h, _ in live.handlers()] == ["a"]
        assert live.state == {"n": 1}
        assert live.previous() is None
        assert "bridge" in runtime.capability(LIVE_CAPABILITY).workers


def task(begun: list[str], go_on: asyncio.Event) -> Handler:
    """Make a task that takes its time to end."""
    worker = Worker("bridge")

    @worker.task
    async def watch(client):
        begun.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            begun.append("ending")
            await go_on.wait()

    return handler_records(worker)[0]


async def test_a_change_that_is_interrupted_while_a_task_ends_leaves_the_generation_before():
    begun: list[str] = []
    go_on = asyncio.Event()
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        await live.commit(cell(1, handler("a"), task(begun, go_on), seeds={"n": 1, "m": 1}), Options())
        while begun != ["begun"]:
            await asyncio.sleep(0)
        change = asyncio.create_task(
            live.commit(Registration(Cell(2, "other", "c1"), (handler("b"),), {"n": 2}), Options())
        )
        while "ending" not in begun:
            await asyncio.sleep(0)
        change.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(WorkerFailed, match=r"was interrupted; generation 1 is running"):
            await change
        assert [h.name for h, _ in live.handlers()] == ["a", "watch"]
        assert live.state == {"n": 1, "m": 1}
        assert live.managed is not None
        assert live.managed.generation == live.generation == 1
        while begun[-1] != "begun":  # its task runs again
            await asyncio.sleep(0)
        await live.commit(cell(3, handler("c")), Options())
        assert live.generation == 3
        assert [h.name for h, _ in live.handlers()] == ["a", "watch", "c"]


async def test_a_worker_that_is_gated_off_takes_a_generation_and_stays_so():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        await live.commit(cell(1, handler("a")), Options(when=("beta",)))
        assert live.state_now is WorkerState.GATED_OFF
        await live.commit(cell(2, handler("b")), Options(when=("beta",)))
        await live.without([one for one, _ in live.handlers() if one.name == "a"])
        assert live.state_now is WorkerState.GATED_OFF
        assert live.managed is not None
        assert live.managed.generation == live.generation == 3
        assert [h.name for h, _ in live.handlers()] == ["b"]


async def test_a_cell_that_has_only_state_keeps_it_when_others_run():
    async with Runtime(port=None) as runtime:
        live = LiveWorker("bridge", runtime, cast(Any, None))
        await live.commit(cell(1, seeds={"n": 1}), Options())
        await live.commit(cell(2, handler("a")), Options())
        assert live.managed is not None
        await live.managed.restart(force=True)
        assert live.state == {"n": 1}
