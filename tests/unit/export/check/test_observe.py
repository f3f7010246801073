"""What one side of a check does with workers, and takes down of them."""

from __future__ import annotations

import asyncio

from dnworker import Worker
from dnworker.core.envelope import encode
from dnworker.testing import make_envelope
from dnworker_jupyter.export.check import observe as observing
from dnworker_jupyter.export.check.observe import Scene, observe
from dnworker_jupyter.export.check.record import EVENTS_LIMIT, CheckRun, digest


async def observed(runtime, worker: Worker, *events, **scene) -> CheckRun:
    async def start(runtime):
        await runtime.add(worker)

    steps: list[str] = []
    texts = [encode(event).decode() for event in events]
    made = Scene(workers=[worker.name or ""], events=texts, **scene)
    return await observe(runtime, made, start, lambda text, done, total: steps.append(text))


def seen(run: CheckRun) -> list[tuple[str, str, str]]:
    return [(one.root, one.who, action) for one in run.runs for action, _ in one.effects]


async def test_what_handlers_publish_notify_and_raise_is_seen_down_the_chain(runtime):
    worker = Worker("w")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        await client.publish("demo.b", {"n": event.payload["n"]})
        await client.notify(title="hi")

    @worker.on_event("demo.b")
    async def on_b(event, client):
        raise ValueError(f"no {object()!r}"[:40])

    run = await observed(runtime, worker, make_envelope("demo.a", {"n": 1}))
    assert seen(run) == [
        ("event", "w.on_a", "publishes demo.b"),
        ("event", "w.on_a", "notifies"),
        ("event", "w.on_b", "raises ValueError"),
    ]
    assert run.runs[1].effects[0][1] == "no <object object at 0x...>"


async def test_startup_schedules_tasks_and_shutdown_are_seen_with_what_began_them(runtime):
    worker = Worker("w")

    @worker.on_startup
    async def start(client):
        await client.publish("demo.up", {})

    @worker.on_event("demo.up")
    async def on_up(event, client):
        await client.publish("demo.seen", {})

    @worker.every(cron="0 0 1 1 *")
    async def report(client):
        await client.publish("demo.report", {})

    @worker.task
    async def spin(client):
        raise NameError("LIMIT")

    @worker.on_shutdown
    async def stop(client):
        await client.publish("demo.down", {})

    run = await observed(runtime, worker)
    assert sorted(seen(run)) == [
        ("schedule", "w.report", "publishes demo.report"),
        ("shutdown", "w.stop", "publishes demo.down"),
        ("startup", "w.on_up", "publishes demo.seen"),
        ("startup", "w.start", "publishes demo.up"),
        ("task", "w.spin", "raises NameError"),
    ]


async def test_an_event_that_is_not_done_with_in_time_says_so_and_what_comes_late_is_its_own(runtime):
    worker, go = Worker("w"), asyncio.Event()

    @worker.on_event("demo.a")
    async def on_a(event, client):
        await go.wait()
        await client.publish("demo.late", {})
        await asyncio.Event().wait()

    @worker.on_event("demo.b")
    async def on_b(event, client):
        go.set()
        await asyncio.sleep(0)

    run = await observed(
        runtime, worker, make_envelope("demo.a"), make_envelope("demo.b"), limits=[0.05, 1.0]
    )
    assert [(r.who, r.event, r.ended) for r in run.runs] == [("w.on_a", 0, False), ("w.on_b", 1, True)]
    assert run.runs[0].effects == [("publishes demo.late", {})]


async def test_handlers_that_feed_each_other_are_stopped(runtime, monkeypatch):
    monkeypatch.setattr(observing, "OVERFLOW_SECONDS", 0.05)
    worker = Worker("w")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        await client.publish("demo.a", {})

    run = await observed(runtime, worker, make_envelope("demo.a"), make_envelope("demo.a"))
    assert run.endless == [0]
    assert run.fired == 1
    assert len(run.runs) > EVENTS_LIMIT


async def test_tasks_of_one_handler_have_lanes_of_their_own(runtime):
    worker = Worker("w")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        await client.publish("demo.b", {})
        await asyncio.gather(client.publish("demo.c", {}), client.publish("demo.d", {}))

    (one,) = (await observed(runtime, worker, make_envelope("demo.a"))).runs
    assert one.lanes == [0, 1, 2]


def test_a_digest_tells_long_values_apart():
    assert digest("x" * 9_000 + "a") != digest("x" * 9_000 + "b")
    assert digest(list(range(3_000))) != digest([*range(2_999), 0])
    assert len(digest({"a": ["x" * 900_000]})["a"][0]) < 200
