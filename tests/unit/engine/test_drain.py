"""The last work of a runtime: what is waited for, and what is said of what is left."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.events.brokers.sqlite.broker import SqliteBroker


def worker_that_waits(released, name="w"):
    worker = Worker(name)

    @worker.on_event("demo.go")
    async def go(event, client):
        await released.wait()

    return worker


async def test_nothing_is_waited_for_where_nothing_runs():
    worker = Worker("w")

    @worker.task
    async def always(client):
        await asyncio.Event().wait()

    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        began = time.monotonic()
        await runtime.drain.work_off(30, lambda text: None)
        assert time.monotonic() - began < 20  # of the 30 s that it may wait


async def test_it_returns_as_soon_as_the_last_handler_has_ended():
    released, said = asyncio.Event(), []
    async with Runtime(port=None) as runtime:
        await runtime.add(worker_that_waits(released))
        runtime.publish("demo.go")
        working = asyncio.create_task(runtime.drain.work_off(30, said.append))
        while not said:
            await asyncio.sleep(0.01)
        assert not working.done()
        released.set()
        await asyncio.wait_for(working, 5)
    assert said == ["waiting up to 30 s for 1 handler (1 notebook:w.go)"]


async def test_a_turn_that_asks_a_person_is_not_waited_for():
    asked = asyncio.Event()

    async def ask(turn):
        asked.set()
        await turn.ask("really?")

    async with Runtime(port=None) as runtime:
        runtime.agents.register("asker", ask)
        session = await runtime.client().create_session(agent="asker")
        client = runtime.client()
        turn = asyncio.create_task(client.run_turn(session_id=session.session_id, message="hi"))
        await asyncio.wait_for(asked.wait(), 5)
        while not runtime.turns.open_prompts():
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await runtime.drain.work_off(30, lambda text: None)
        assert time.monotonic() - began < 20  # of the 30 s that it may wait
        turn.cancel()


async def test_schedules_are_due_no_more_and_with_a_durable_broker_no_event_is_handed_out(tmp_path):
    ran, handled, worker = [], [], Worker("w")

    @worker.every(seconds=0.05)
    async def often(client):
        ran.append(1)

    @worker.on_event("demo.go")
    async def go(event, client):
        handled.append(event.payload["n"])

    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "b.sqlite")) as runtime:
        await runtime.add(worker)
        await runtime.drain.work_off(1, lambda text: None)
        count = len(ran)
        event = runtime.publish("demo.go", {"n": 1})
        await runtime.bus.accepted(event)
        await asyncio.sleep(0.2)
        assert (len(ran), handled) == (count, [])
    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "b.sqlite")) as runtime:
        await runtime.add(worker)
        await runtime.settle()
    assert handled == [1]


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.sampled_from(["demo.a", "demo.b"]), st.sampled_from([0, 0, 0.01, 5])), max_size=12)
)
def test_each_event_is_handled_or_its_handler_is_named(events):
    done, said = [], []

    async def run():
        worker = Worker("w")

        @worker.on_event("demo.a")
        async def on_a(event, client):
            await asyncio.sleep(event.payload["seconds"])
            done.append(event.event_id)

        @worker.on_event("demo.b")
        async def on_b(event, client):
            await asyncio.sleep(event.payload["seconds"])
            done.append(event.event_id)

        async with Runtime(port=None) as runtime:
            await runtime.add(worker)
            for kind, seconds in events:
                runtime.publish(kind, {"seconds": seconds})
            await runtime.drain.work_off(0.15, said.append)

    asyncio.run(run())
    cut = sum(seconds == 5 for _, seconds in events)
    assert len(done) == len(events) - cut
    assert bool(said) is bool(cut)
    if cut:
        assert said[-1].startswith(f"{cut} handler")
