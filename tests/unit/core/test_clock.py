"""The virtual clock wakes sleepers in order, and nothing else moves."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from dnworker import Worker, sleep
from dnworker.core.clock import SwitchClock, VirtualClock, turn_loop


async def note(clock, seconds, name, woken):
    await clock.sleep(seconds)
    woken.append((name, clock.monotonic()))


async def test_sleepers_wake_in_the_order_of_their_deadlines():
    clock, woken = VirtualClock(), []
    tasks = [asyncio.create_task(note(clock, s, s, woken)) for s in (3, 1, 2)]
    assert await clock.advance(10) == 3
    assert woken == [(1, 1), (2, 2), (3, 3)]
    await asyncio.gather(*tasks)


async def test_sleepers_of_one_moment_wake_in_the_order_they_lay_down():
    clock, woken = VirtualClock(), []
    tasks = [asyncio.create_task(note(clock, 5, n, woken)) for n in range(10)]
    await clock.advance(5)
    assert [name for name, _ in woken] == list(range(10))
    await asyncio.gather(*tasks)


async def test_time_stands_still_between_advances():
    clock = VirtualClock()
    before = clock.now()
    await asyncio.sleep(0)
    assert clock.now() == before


async def test_who_sleeps_again_is_woken_again_within_one_advance():
    clock, ticks = VirtualClock(), []

    async def tick():
        while True:
            await clock.sleep(10)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await clock.advance(35)
    task.cancel()
    assert ticks == [10, 20, 30]
    assert clock.monotonic() == 35


async def test_a_cancelled_sleeper_is_forgotten():
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert clock.next_wake is None


async def test_a_clock_does_not_go_back():
    with pytest.raises(ValueError, match="cannot go back"):
        await VirtualClock().advance(-1)


async def test_a_switched_clock_takes_its_sleepers_along():
    clock = SwitchClock()
    slept = asyncio.create_task(clock.sleep(3600))
    await turn_loop()
    clock.be_virtual()
    assert clock.next_wake == pytest.approx(3600, abs=1)
    assert await clock.advance(1800) == 0
    clock.be_real()
    assert clock.next_wake == pytest.approx(1800, abs=1)
    clock.be_virtual()
    assert await clock.advance(1801) == 1
    await slept


async def test_a_real_switch_clock_wakes_by_itself():
    clock = SwitchClock()
    await asyncio.gather(clock.sleep(0.01), clock.sleep(0.005), clock.sleep(0))
    assert await clock.sleep_until(clock.now() + timedelta(seconds=0.01))


async def test_a_switch_back_wakes_who_sleeps_until_a_time_of_day():
    clock = SwitchClock()
    clock.be_virtual()
    waiting = asyncio.create_task(clock.sleep_until(clock.now() + timedelta(hours=1)))
    await turn_loop()
    clock.be_real()
    assert await waiting is False


async def test_who_began_to_sleep_in_real_time_wakes_no_earlier_in_virtual_time():
    clock = SwitchClock()
    waiting = asyncio.create_task(clock.sleep_until(clock.now() + timedelta(hours=1)))
    await turn_loop()
    clock.be_virtual()
    await turn_loop()
    assert clock.next_wake == pytest.approx(3600, abs=5)
    await clock.advance(3590)
    assert not waiting.done()
    await clock.advance(20)
    assert await waiting


async def test_virtual_time_begins_now_and_is_real_again_after():
    clock = SwitchClock()
    clock.be_virtual()
    before = clock.now()
    await clock.advance(3600)
    assert clock.now() - before == timedelta(hours=1)
    assert clock.monotonic() >= 3600
    clock.be_real()
    assert clock.now() - before < timedelta(minutes=1)
    assert clock.monotonic() >= 3600


async def test_advancing_stops_after_so_many_wakes_at_the_time_reached():
    clock = VirtualClock()
    slept = [asyncio.create_task(clock.sleep(n)) for n in (1, 2, 3)]
    assert await clock.advance(10, limit=2) == 2
    assert clock.monotonic() == 2
    assert await clock.advance(10) == 1
    await asyncio.gather(*slept)


async def test_sleep_is_on_the_clock_of_the_runtime_whose_handler_calls(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def on_a(event, client):
        await sleep(3600)

    await runtime.add(worker)
    trace = await runtime.fire("a", wait=False)
    await turn_loop()
    assert [i.outcome for i in trace.invocations] == ["running"]
    await runtime.advance(3600)
    assert trace.ok


async def test_ticks_that_come_while_a_cron_run_goes_on_are_counted(runtime):
    worker = Worker(name="w")
    begun = []

    @worker.every(cron="* * * * *")
    async def slow(client):
        begun.append(runtime.clock.now().minute)
        await sleep(150)

    managed = await runtime.add(worker)
    await runtime.clock.advance(300)
    assert begun == [1, 4]
    assert [f.missed for f in managed.stats.values()] == [2]


async def test_the_next_run_of_a_schedule_is_known(runtime):
    worker = Worker(name="w")

    @worker.every(cron="0 * * * *")
    async def hourly(client): ...

    managed = await runtime.add(worker)
    await turn_loop()
    assert [str(when) for when in managed._runner.next_runs.values()] == ["2030-01-01 01:00:00+00:00"]


async def test_ticks_that_a_late_clock_missed_are_counted_once(runtime):
    worker = Worker(name="w")

    @worker.every(cron="* * * * *")
    async def tick(client): ...

    managed = await runtime.add(worker)
    await turn_loop()
    runtime.clock._elapsed += 210  # as after a machine was suspended
    await runtime.clock.advance(60)
    await turn_loop()
    assert [f.missed for f in managed.stats.values()] == [2]  # 0:02 and 0:03; that of 0:01 came late


async def test_a_sleep_on_a_loop_of_somebody_elses_leaves_the_clock_alone():
    clock = SwitchClock()
    clock.bind(asyncio.get_running_loop())
    await asyncio.to_thread(lambda: asyncio.run(clock.sleep(0.01)))
    slept = asyncio.create_task(clock.sleep(0.2))
    await turn_loop()
    await asyncio.to_thread(lambda: asyncio.run(clock.sleep(0.01)))
    await asyncio.wait_for(slept, 60)


async def test_cancelled_sleepers_are_forgotten():
    clock = VirtualClock()
    kept = asyncio.create_task(clock.sleep(60))
    for _ in range(1_000):
        task = asyncio.create_task(clock.sleep(3600))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert len(clock._sleepers) < 200
    await clock.advance(60)
    await kept


async def test_a_handler_that_awaits_a_sleeping_turn_does_not_hold_time_up(runtime):
    async def reply(turn):
        await turn.sleep(5)
        return "done"

    worker = Worker(name="w")

    @worker.on_event("a")
    async def on_a(event, client):
        await client.run_turn(session_id="s", message="m", agent="slow")

    runtime.agents.register("slow", reply)
    await runtime.add(worker)
    trace = await runtime.fire("a", wait=False)
    async with asyncio.timeout(60):
        await runtime.advance(10)
    assert trace.ok
