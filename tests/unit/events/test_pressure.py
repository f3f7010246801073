"""Publishers that wait for a full queue go on in the order in which they came, and none waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime, Worker
from dnworker.events.brokers.subscription import CROWD
from dnworker.events.pressure import Pressure


class Queue:
    """A queue for so many events; a reader takes them one by one."""

    def __init__(self, pressure, room=1):
        self.pressure = pressure
        self.room = room
        self.order = []

    def wants(self, kind, session_id, only):
        return kind == "k"

    def blocks(self, kind, session_id, only):
        return kind == "k" and self.room == 0

    async def publish(self, name):
        await self.pressure.room("k")
        assert self.room > 0
        self.order.append(name)
        self.room -= 1
        if self.room == 0:
            self.pressure.begin(self)

    def take(self):
        self.room += 1
        self.pressure.end(self)


@pytest.fixture
async def queue():
    return Queue(Pressure())


async def turn():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_when_there_is_room_again_does_not_overtake_who_waits(queue):
    await queue.publish("first")
    waiting = [asyncio.create_task(queue.publish(name)) for name in ("second", "third")]
    await turn()
    queue.take()
    late = asyncio.create_task(queue.publish("late"))
    for _ in range(3):
        await turn()
        queue.take()
    await asyncio.gather(*waiting, late)
    assert queue.order == ["first", "second", "third", "late"]


async def test_newcomers_without_end_do_not_starve_who_waits(queue):
    await queue.publish("first")
    patient = asyncio.create_task(queue.publish("patient"))
    await turn()
    others = []
    for number in range(20):
        queue.take()
        others.append(asyncio.create_task(queue.publish(number)))
        await asyncio.sleep(0)
        await turn()
    assert patient.done()
    assert queue.order[1] == "patient"
    while not all(task.done() for task in others):
        queue.take()
        await turn()
    assert queue.order[2:] == list(range(20))
    assert queue.pressure.waiting == 0


async def test_who_gives_up_when_it_is_its_turn_lets_the_next_one_go_on(queue):
    await queue.publish("first")
    given_up, next_one = (asyncio.create_task(queue.publish(name)) for name in ("given up", "next"))
    await turn()
    queue.take()
    given_up.cancel()
    await turn()
    assert next_one.done()
    assert queue.order == ["first", "next"]


async def test_other_kinds_never_wait(queue):
    await queue.publish("first")
    waiting = asyncio.create_task(queue.publish("second"))
    await turn()
    await queue.pressure.room("other")
    waiting.cancel()
    await turn()


class Full:
    """A queue that never has room."""

    def wants(self, kind, session_id, only):
        return True

    def blocks(self, kind, session_id, only):
        return True


@pytest.mark.parametrize("options", [{"wait": False}, {"timeout": 0.05}], ids=["wait=False", "timeout"])
async def test_fire_waits_for_a_full_queue_no_longer_than_it_was_told_to(options):
    async with Runtime(port=None) as runtime:
        runtime.bus.pressure.begin(Full())
        trace = await asyncio.wait_for(runtime.fire("demo.kind", {}, **options), 60)
        assert trace.event.kind == "demo.kind"


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as runtime:
        yield runtime


BURST = 2_000


class Handled:
    """A runtime's worker that counts what it has handled, and most of what waited for it at a time."""

    def __init__(self):
        self.worker = Worker(name="eager")
        self.numbers, self.most = [], 0

        @self.worker.on_event("one")
        async def on_one(event, client):
            self.numbers.append(event.payload["n"])

    async def publish(self, client, history):
        for n in range(BURST):
            await client.publish("one", {"n": n})
            self.most = max(self.most, history.waiting)


async def test_a_handler_that_publishes_without_a_pause_lets_the_loop_turn(runtime):
    handled = Handled()

    @handled.worker.on_event("all")
    async def on_all(event, client):
        await handled.publish(client, runtime.history)

    await runtime.add(handled.worker)
    await runtime.fire("all", {})
    assert handled.numbers == [*range(BURST)]
    assert handled.most <= 2 * CROWD


async def test_a_startup_handler_that_publishes_to_its_own_worker_waits_for_nobody(runtime):
    handled = Handled()

    @handled.worker.on_startup
    async def on_startup(client):
        await handled.publish(client, runtime.history)

    await runtime.add(handled.worker)
    await runtime.settle()
    assert handled.most == BURST
    assert handled.numbers == [*range(BURST)]


async def test_events_that_are_published_at_the_same_time_keep_their_order_however_many_wait(runtime):
    handled = Handled()

    @handled.worker.on_event("all")
    async def on_all(event, client):
        await asyncio.gather(*(client.publish("one", {"n": n}) for n in range(BURST)))

    await runtime.add(handled.worker)
    await runtime.fire("all", {})
    assert handled.numbers == [*range(BURST)]


async def test_a_publisher_does_not_wait_where_few_events_wait(runtime):
    handled, turns = Handled(), 0

    @handled.worker.on_event("all")
    async def on_all(event, client):
        nonlocal turns

        def count():
            nonlocal turns
            turns += 1

        asyncio.get_running_loop().call_soon(count)
        for n in range(CROWD - 1):
            await client.publish("one", {"n": n})
        assert turns == 0

    await runtime.add(handled.worker)
    trace = await runtime.fire("all", {})
    assert trace.ok
