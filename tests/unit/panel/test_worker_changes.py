"""What a view is sent of many workers."""

from __future__ import annotations

import pytest

from dnworker import Runtime, Worker
from dnworker.panel import worker_changes
from dnworker.panel.actions import Actions
from dnworker.panel.model import PanelModel
from dnworker.panel.pace import Pace
from dnworker.panel.worker_changes import WorkerChanges


def listener(name: str) -> Worker:
    made = Worker(name)

    @made.on_event(f"to.{name}")
    async def handle(event, client): ...

    return made


class Looked:
    """Counts at which workers a model was asked to look."""

    def __init__(self, model, monkeypatch):
        self.names = []
        real = model.worker_to_json
        monkeypatch.setattr(model, "worker_to_json", lambda w: self.names.append(w.name) or real(w))

    def take(self):
        names, self.names = self.names, []
        return names


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        for name in ("a", "b", "c"):
            await started.add(listener(name))
        yield started


@pytest.fixture
def model(runtime):
    return PanelModel(runtime, Actions(runtime))


def names(found):
    return [one["name"] for one in found["changed"]]


async def test_the_first_look_takes_every_worker_in_order(model):
    found = await WorkerChanges(model).take(Pace())
    assert found["order"] == names(found) == ["notebook:a", "notebook:b", "notebook:c"]


async def test_without_a_change_there_is_nothing_to_send(model):
    changes = WorkerChanges(model)
    await changes.take(Pace())
    assert await changes.take(Pace()) is None


async def test_between_two_looks_at_all_only_workers_that_did_something_are_looked_at(
    runtime, model, monkeypatch
):
    monkeypatch.setattr(worker_changes, "STATS_INTERVAL", 1e-9)
    monkeypatch.setattr(worker_changes, "ALL_INTERVAL", 1e9)
    changes, looked = WorkerChanges(model), Looked(model, monkeypatch)
    changes._interval = 1e9
    await changes.take(Pace())
    looked.take()
    runtime.history.listen(lambda invocation: model.note_busy(invocation.worker))
    await runtime.fire("to.b")
    changes._interval, changes._all_at = 0.0, 1e12
    assert names(await changes.take(Pace())) == ["notebook:b"]
    assert set(looked.take()) == {"b"}


async def test_of_many_changes_some_are_sent_at_once_and_all_of_them_in_the_end(runtime, model, monkeypatch):
    monkeypatch.setattr(worker_changes, "AT_ONCE", 2)
    monkeypatch.setattr(worker_changes, "STATS_INTERVAL", 1e9)
    changes = WorkerChanges(model)
    assert len((await changes.take(Pace()))["changed"]) == 3  # the first look is whole
    for name in ("a", "b", "c"):
        model.note_busy(f"notebook:{name}")
        await runtime.fire(f"to.{name}")
    changes._interval = 0.0
    assert names(await changes.take(Pace())) == ["notebook:a", "notebook:b"]
    assert changes.is_behind
    await runtime.worker("b").stop()
    model.note_workers()
    assert names(await changes.take(Pace())) == ["notebook:b", "notebook:c"]  # no state waits
    assert await changes.take(Pace()) is None


async def test_a_worker_that_goes_while_others_wait_is_not_sent(runtime, model, monkeypatch):
    monkeypatch.setattr(worker_changes, "AT_ONCE", 1)
    changes = WorkerChanges(model)
    await changes.take(Pace())
    for name in ("a", "b", "c"):
        model.note_busy(f"notebook:{name}")
        await runtime.fire(f"to.{name}")
    changes._interval = 0.0
    assert names(await changes.take(Pace())) == ["notebook:a"]
    await runtime.remove("b")
    model.note_workers()
    assert names(await changes.take(Pace())) == ["notebook:c"]


async def test_bytes_are_counted_a_row_at_a_time(runtime, model, monkeypatch):
    counted = []
    monkeypatch.setattr(worker_changes, "size_of", lambda value: counted.append(value["name"]) or 1e6)
    changes = WorkerChanges(model)
    await changes.take(Pace())
    for name in ("a", "b"):
        model.note_busy(f"notebook:{name}")
        await runtime.fire(f"to.{name}")
    changes._interval = 0.0
    await changes.take(Pace())
    assert counted == ["notebook:a", "notebook:b"]
    assert changes._interval == 2e6 * 4 / worker_changes.BYTES_PER_SECOND


async def test_a_worker_that_stops_is_sent_at_once_although_stats_are_not_due(runtime, model, monkeypatch):
    monkeypatch.setattr(worker_changes, "STATS_INTERVAL", 1e9)
    changes = WorkerChanges(model)
    await changes.take(Pace())
    await runtime.worker("b").stop()
    model.note_workers()
    found = await changes.take(Pace())
    assert names(found) == ["notebook:b"]
    assert found["changed"][0]["state"] == "stopped"


async def test_a_worker_that_is_removed_leaves_the_order(runtime, model):
    changes = WorkerChanges(model)
    await changes.take(Pace())
    await runtime.remove("b")
    model.note_workers()
    assert (await changes.take(Pace()))["order"] == ["notebook:a", "notebook:c"]


def test_the_workers_that_were_busy_since_a_moment_are_known(model, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for moment, name in enumerate("abca"):
        now[0] = float(moment)
        model.note_busy(name)
    assert model.busy_since(2.0) == {"c", "a"}
    assert model.busy_since(1.0) == {"a", "b", "c"}
