"""What a runtime notes of the states of its workers: changes, snapshots, forks, and what that may cost."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from dnworker import Runtime, Worker
from dnworker.engine import state_watch
from dnworker.engine.state_watch import Fork, StateWatch
from dnworker.workers.shadow import current_shadow

pytest.importorskip("cloudpickle")


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        yield started


@pytest.fixture
def watch(runtime):
    started = StateWatch(runtime)
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def bridge(runtime):
    """A worker that counts, whose handlers find a fork's state as those of cells do."""
    worker = Worker("bridge")
    worker.state.update(count=0, users=[])

    def state() -> dict[str, Any]:
        return (current_shadow.get() or worker).state

    @worker.on_event("demo.add")
    async def on_add(event, client):
        state()["count"] += 1
        state()["users"].append(event.payload["name"])
        await client.publish("demo.added")

    @worker.on_event("demo.added")
    async def on_added(event, client):
        state()["added"] = state().get("added", 0) + 1

    await runtime.add(worker)
    return worker


def lines(runtime: Runtime) -> list[str]:
    return [line.text for line in runtime.logs.tail(50, "notebook:bridge") if line.text.startswith("state:")]


async def test_each_run_of_a_trace_says_what_it_has_changed(runtime, watch, bridge):
    trace = await runtime.fire("demo.add", {"name": "ada"})
    assert trace.invocations[0].state_changes == ["count 0 -> 1", 'users + "ada"']
    assert '      state: count 0 -> 1, users + "ada"' in trace.lines()
    assert "          state: added = 1" in trace.lines()


async def test_of_many_changes_a_trace_shows_the_first(runtime, watch):
    worker = Worker("many")

    @worker.on_event("demo.many")
    async def on_many(event, client):
        worker.state.update((f"k{n}", n) for n in range(20))

    await runtime.add(worker)
    trace = await runtime.fire("demo.many")
    assert len(trace.invocations[0].state_changes) == 20
    assert str(trace).endswith("k8 = 8, k9 = 9, and 10 more")


async def test_without_a_watch_there_is_nothing_around_a_handler(runtime, bridge):
    trace = await runtime.fire("demo.add", {"name": "ada"})
    assert trace.invocations[0].state_changes == []
    watch = StateWatch(runtime)
    watch.start()
    watch.stop()
    handler = bridge._event_handlers["demo.add"][0]
    assert runtime.services.around.wrapped(trace.invocations[0]._invocation, handler) is handler


async def test_it_is_switched_off_and_on_for_one_worker(runtime, watch, bridge):
    watch.switch("bridge", on=False)
    assert "switched off" in watch.why_off("bridge")
    trace = await runtime.fire("demo.add", {"name": "ada"})
    assert trace.invocations[0].state_changes == []
    watch.switch("bridge", on=True)
    trace = await runtime.fire("demo.add", {"name": "bob"})
    assert trace.invocations[0].state_changes == ["count 1 -> 2", 'users + "bob"']


async def test_a_state_over_a_megabyte_is_not_looked_at_and_that_is_said_once(runtime, watch, bridge):
    bridge.state["big"] = "x" * 2_000_000
    for _ in range(3):
        trace = await runtime.fire("demo.add", {"name": "ada"})
    assert trace.invocations[0].state_changes == []
    assert [line for line in lines(runtime) if "over 1.0 MB" in line] == [
        "state: it is over 1.0 MB, so what handlers change in it is not noted; %worker state bridge shows it"
    ]
    assert watch.why_off("bridge") == "its state is over 1.0 MB"


async def test_runs_that_nobody_fired_are_looked_at_as_long_as_there_is_time(
    runtime, watch, bridge, monkeypatch
):
    runtime.publish("demo.add", {"name": "ada"})
    await runtime.settle()
    (run,) = [one for one in runtime.history.invocations() if one.handler == "on_add"]
    assert run.state_changes == ("count 0 -> 1", 'users + "ada"')
    monkeypatch.setattr(state_watch._Share, "has_room", lambda self: False)
    for _ in range(3):
        runtime.publish("demo.add", {"name": "bob"})
    await runtime.settle()
    assert [one.state_changes for one in runtime.history.invocations() if one.handler == "on_add"][1:] == [
        ()
    ] * 3
    assert len([line for line in lines(runtime) if "more events come" in line]) == 1
    trace = await runtime.fire("demo.add", {"name": "eve"})
    assert trace.invocations[0].state_changes == ["count 4 -> 5", 'users + "eve"']


async def test_a_share_of_the_time_is_what_it_says():
    now = [0.0]
    share = state_watch._Share(lambda: now[0])
    share.spend(1.0)
    assert not share.has_room()
    now[0] += 40
    assert not share.has_room()
    now[0] += 10
    assert share.has_room()
    now[0] += 1e6
    assert share.has_room()
    share.spend(2 * state_watch.MOST)
    assert not share.has_room()


async def test_the_runs_below_a_storm_are_not_all_looked_at_as_if_fired(runtime, watch, monkeypatch):
    monkeypatch.setattr(state_watch, "FAMILY", 5)
    monkeypatch.setattr(state_watch._Share, "has_room", lambda self: False)
    worker = Worker("storm")
    worker.state["n"] = 0

    @worker.on_event("demo.go")
    async def on_go(event, client):
        worker.state["n"] += 1
        if worker.state["n"] < 20:
            await client.publish("demo.go")

    await runtime.add(worker)
    await runtime.fire("demo.go")
    looked_at = [one for one in runtime.history.invocations() if one.state_changes]
    assert len(looked_at) == 6
    assert len(watch.snapshots) == 6


async def test_before_an_event_that_was_fired_the_state_is_kept(runtime, watch, bridge):
    trace = await runtime.fire("demo.add", {"name": "ada"})
    second = await runtime.fire("demo.add", {"name": "bob"})
    (kept,) = watch.snapshots.before(second.event.event_id)
    assert kept.worker == "notebook:bridge"
    assert kept.state(bridge.state) == {"count": 1, "users": ["ada"], "added": 1}
    (first,) = watch.snapshots.before(trace.event.event_id)
    assert first.state(bridge.state) == {"count": 0, "users": []}
    runtime.publish("demo.add", {"name": "nobody fired this"})
    await runtime.settle()
    assert len(watch.snapshots) == 4  # two of each kind


async def test_what_cannot_be_kept_is_said_in_the_log_of_the_worker(runtime, watch, bridge):
    import threading

    bridge.state["lock"] = threading.Lock()
    for _ in range(2):
        await runtime.fire("demo.add", {"name": "ada"})
    (line,) = lines(runtime)
    assert line.startswith("state: lock (lock) cannot be pickled: TypeError")


async def test_what_a_connection_has_within_is_no_change_but_another_one_in_its_place_is(runtime, watch):
    class Connection:
        def __init__(self):
            self.lock, self.pool = threading.Lock(), []

    worker = Worker("w")
    worker.state["http"] = Connection()

    @worker.on_event("demo.use")
    async def use(event, client):
        worker.state["http"].pool.append("opened")

    @worker.on_event("demo.renew")
    async def renew(event, client):
        worker.state["http"] = Connection()

    await runtime.add(worker)
    (used,) = (await runtime.fire("demo.use")).invocations
    assert not used.state_changes
    (renewed,) = (await runtime.fire("demo.renew")).invocations
    assert len(renewed.state_changes) == 1
    assert renewed.state_changes[0].startswith("http ")
    assert "pool" not in renewed.state_changes[0]


async def test_on_a_fork_handlers_run_for_real_on_the_state_of_then(runtime, watch, bridge):
    await runtime.fire("demo.add", {"name": "ada"})
    live = bridge.state
    before = {**live, "users": [*live["users"]]}
    other = Worker("other")
    heard: list[str] = []

    @other.on_event("demo.added")
    async def on_added(event, client):
        heard.append(event.kind)

    await runtime.add(other)
    forked = Worker("bridge")
    forked.state.update(count=10, users=["old"])
    with watch.on_fork(Fork("notebook:bridge", forked)):
        trace = await runtime.fire("demo.add", {"name": "bob"}, only="bridge")
    assert bridge.state is live
    assert live == before
    assert forked.state == {"count": 11, "users": ["old", "bob"], "added": 1}
    assert trace.invocations[0].state_changes == ["count 10 -> 11", 'users + "bob"']
    assert heard == ["demo.added"]  # what it publishes is for all
    await runtime.fire("demo.add", {"name": "eve"})
    assert live["count"] == 2


async def test_what_a_fork_starts_stays_on_it_and_others_meanwhile_do_not_get_there(runtime, watch):
    worker = Worker("w")
    worker.state["n"] = 0
    go, began = asyncio.Event(), asyncio.Event()

    def state() -> dict[str, Any]:
        return (current_shadow.get() or worker).state

    @worker.on_event("demo.wait")
    async def on_wait(event, client):
        began.set()
        await go.wait()
        state()["n"] += 1

        async def later() -> None:
            state()["later"] = True

        await asyncio.create_task(later())

    await runtime.add(worker)
    forked = Worker("w")
    forked.state["n"] = 100

    async def on_fork() -> None:
        with watch.on_fork(Fork("notebook:w", forked)):
            await runtime.fire("demo.wait", {})

    task = asyncio.ensure_future(on_fork())
    await began.wait()
    go.set()
    await asyncio.gather(task, runtime.fire("demo.wait", {}))
    assert forked.state == {"n": 101, "later": True}
    assert worker.state == {"n": 1, "later": True}


async def test_a_look_that_fails_is_no_failure_of_the_handler(runtime, watch, bridge, monkeypatch):
    def broken(*args: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(watch, "_wrapped", broken)
    trace = await runtime.fire("demo.add", {"name": "ada"})
    assert trace.ok
    assert bridge.state["count"] == 1


async def test_stopped_it_holds_nothing_and_leaves_nothing(runtime, watch, bridge):
    await runtime.fire("demo.add", {"name": "ada"})
    watch.stop()
    assert (len(watch.snapshots), watch.snapshots.used) == (0, 0)
    assert runtime.services.around._wraps == ()
    assert len(runtime.fired) == 0


async def test_changes_count_in_the_bytes_of_the_history(runtime, watch, bridge):
    bridge.state["text"] = ""

    @bridge.on_event("demo.never")
    async def never(event, client): ...

    before = runtime.history.used
    trace = await runtime.fire("demo.add", {"name": "x" * 150})
    run = trace.invocations[0]._invocation
    assert run.kept_bytes >= 900 + sum(map(len, run.state_changes))
    assert runtime.history.used > before
