"""What flows where in a runtime, of what happened and of what handlers' sources say."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import NotFound
from dnworker.engine import flow as flows

KIND = "demo.later"


def bridge():
    worker = Worker(name="bridge")

    @worker.on_event("demo.ping")
    async def on_ping(event, client):
        if event.payload.get("bad"):
            raise ValueError("bad ping")
        await client.publish("demo.pong", {})
        if event.payload.get("rare"):
            await client.publish(KIND, {})

    @worker.every(minutes=5)
    async def tick(client): ...

    return worker


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        await started.add(bridge())
        yield started


async def only(runtime, minutes=1.0):
    facts = await runtime.flow.facts(minutes)
    assert len(facts.workers) == 1
    return facts, facts.workers[0]


async def test_before_anything_ran_it_is_known_from_source(runtime):
    _, worker = await only(runtime, 0)
    assert set(worker.hears) == {"demo.ping"}
    assert set(worker.schedules) == {"300s"}
    assert worker.writes == {"demo.pong", "demo.later"}
    assert worker.published == {}


async def test_what_ran_is_counted_with_what_failed(runtime):
    await runtime.fire("demo.ping", {})
    await runtime.fire("demo.ping", {"bad": True})
    facts, worker = await only(runtime)
    assert (worker.hears["demo.ping"].count, worker.hears["demo.ping"].failed) == (2, 1)
    assert worker.published == {"demo.pong": 1}
    assert facts.sources["Fired"] == {"demo.ping": 2}
    assert "demo.ping" not in facts.sources.get("Program", {})


async def test_what_comes_over_http_comes_from_there(runtime):
    transport = httpx.ASGITransport(app=runtime.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://in-process") as client:
        answer = await client.post("/api/events", json={"kind": "demo.ping", "payload": {}})
    assert answer.status_code == 200
    await runtime.settle()
    runtime.publish("demo.ping", {})
    facts, _ = await only(runtime)
    assert facts.sources["HTTP"] == {"demo.ping": 1}
    assert facts.sources["Program"] == {"demo.ping": 1}


async def test_the_sources_of_many_workers_are_read_some_at_a_time(monkeypatch):
    batches, real = [], flows._read_all
    monkeypatch.setattr(flows, "_read_all", lambda sources: batches.append(len(sources)) or real(sources))
    monkeypatch.setattr(flows, "FACTS_AT_ONCE", 4)
    async with Runtime(port=None) as runtime:
        for number in range(10):
            worker = Worker(f"w{number}")

            @worker.on_event(f"kind.{number}")
            async def handle(event, client): ...

            await runtime.add(worker)
        facts = await runtime.flow.facts(1.0)
        await runtime.flow.facts(1.0)
    assert batches == [4, 4, 2]
    assert [set(one.written) for one in facts.workers] == [{f"kind.{n}"} for n in range(10)]


async def test_the_counters_are_noted_while_nobody_looks(monkeypatch):
    monkeypatch.setattr(flows, "QUARTER", 0.0)
    async with Runtime(port=None) as runtime:
        await runtime.add(bridge())
        await runtime.fire("demo.ping", {})
        for _ in range(100):
            await asyncio.sleep(0)
        assert sum(count for count, _ in runtime.flow.series(worker="notebook:bridge")) == 1
        assert sum(count for count, _ in runtime.flow.series(kind="demo.ping")) == 1


async def test_nothing_is_left_when_the_runtime_stops(runtime):
    await runtime.stop()
    assert runtime.flow._timer is None


async def test_a_worker_that_changes_is_read_again(runtime):
    await only(runtime, 0)
    await runtime.remove("bridge")
    worker = Worker(name="bridge")

    @worker.on_event("demo.other")
    async def on_other(event, client):
        await client.publish("demo.new", {})

    await runtime.add(worker)
    _, facts = await only(runtime, 0)
    assert (set(facts.hears), facts.writes) == ({"demo.other"}, {"demo.new"})


async def test_the_runtime_gives_a_map_at_once(runtime):
    await runtime.fire("demo.ping", {})
    text = str(runtime.map())
    assert "demo.ping → notebook:bridge" in text
    assert "notebook:bridge → demo.pong" in text
    assert "Fired" not in str(runtime.map(0))
    assert "demo.ping → notebook:bridge" in str(runtime.map(only="bridge"))
    with pytest.raises(ValueError, match="15 minutes at most"):
        runtime.map(16)
    with pytest.raises(NotFound, match="no worker 'nosuch'"):
        runtime.map(only="nosuch")


async def test_what_waits_for_a_worker_is_counted_by_kind(runtime):
    for _ in range(3):
        runtime.publish("demo.ping", {})  # no handler has begun yet
    assert runtime.flow.facts_now(1).workers[0].waiting == {"demo.ping": 3}
    await runtime.settle()
    assert runtime.flow.facts_now(1).workers[0].waiting == {}


SCRIPT = """
from dnworker import Worker

worker = Worker()


@worker.on_event("demo.in")
async def handle(event, client):
    await client.publish({kind!r}, {{}})


if __name__ == "__main__":
    worker.run()
"""

MANIFEST = """
schema: 1
name: ops
version: 0.1.0
description: d
flags: {beta: {description: d, default: false}}
workers:
  w: {path: w.py, when: [beta]}
"""


@pytest.mark.parametrize("is_at_once", [False, True], ids=["in turns", "at once"])
async def test_an_edit_of_a_script_is_seen(tmp_path, is_at_once):
    root = tmp_path / "ops"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)

    async def writes():
        facts = runtime.flow.facts_now(0) if is_at_once else await runtime.flow.facts(0)
        return facts.workers[0].writes

    async with Runtime(port=None) as runtime:
        (root / "w.py").write_text(SCRIPT.format(kind="demo.one"))
        await runtime.load(root)
        assert await writes() == {"demo.one"}
        (root / "w.py").write_text(SCRIPT.format(kind="demo.another"))
        assert await writes() == {"demo.another"}


async def test_of_too_many_sources_the_oldest_are_read_again(monkeypatch):
    monkeypatch.setattr(flows, "READ_KEPT", 2)
    async with Runtime(port=None) as runtime:
        for name in ("one", "two", "three"):
            worker = bridge()
            worker.name = name
            await runtime.add(worker)
        await runtime.flow.facts(0)
        assert set(runtime.flow._written) == {"notebook:two", "notebook:three"}


async def test_what_a_removed_worker_says_is_forgotten(runtime):
    await only(runtime)
    assert set(runtime.flow._written) == {"notebook:bridge"}
    await runtime.remove("notebook:bridge")
    for _ in runtime.flow._noting():
        pass
    assert runtime.flow._written == {}


async def test_a_thousand_workers_with_three_triggers_are_all_counted(runtime):
    rings = runtime.flow._handled_rings
    rings.note((flows.Handled(f"w{n}", f"k{m}", False), 1) for n in range(1_000) for m in range(3))
    rings.note((flows.Handled(f"w{n}", f"k{m}", True), 1) for n in range(1_000) for m in range(3))
    assert sum(rings.sums(1).values()) == 6_000


@pytest.mark.parametrize("wrapped", ["cyclic", "deep"])
async def test_a_handler_whose_source_cannot_be_read_is_a_fact_without_it(runtime, monkeypatch, wrapped):
    worker = Worker(name="odd")

    @worker.on_event("demo.odd")
    async def on_odd(event, client): ...

    if wrapped == "cyclic":
        on_odd.__wrapped__ = on_odd
    else:

        def too_deep(*args):
            raise RecursionError

        monkeypatch.setattr(flows, "published_by", too_deep)
    await runtime.add(worker)
    for facts in (await runtime.flow.facts(0), runtime.flow.facts_now(0)):
        odd = next(one for one in facts.workers if one.name == "notebook:odd")
        assert (set(odd.hears), odd.writes, odd.handlers) == ({"demo.odd"}, frozenset(), 1)
