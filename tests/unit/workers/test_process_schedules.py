"""Schedules of workers that are processes over a restart of a durable runtime."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from dnworker import VirtualClock
from dnworker.core.handlers import HandlerKey
from dnworker.core.stats import HandlerStats
from dnworker.workers.process_schedules import ProcessSchedules
from dnworker.workers.reports import Begin, Hello
from dnworker.workers.standalone import RUN_SCHEDULES

from ..capabilities import make_capability
from ..sessions.surviving import Machine

BEGIN = datetime(2030, 1, 1, 1, 30, tzinfo=UTC)
TICK = HandlerKey("every", "cron 0 * * * *", "tick")
RUNS = Begin("1" * 16, TICK, "schedule")

SOURCE = """
from dnworker import Worker
worker = Worker(name="w")

@worker.every(minutes=1)
async def tick(client):
    await client.publish("demo.tick")

@worker.every(minutes=2)
async def other(client):
    await client.publish("demo.other")

@worker.on_startup
async def start(client):
    await client.publish("demo.start")

if __name__ == "__main__":
    worker.run()
"""


@pytest.fixture
async def machine():
    machine = Machine()
    yield machine
    await machine.stop()


async def spawned(machine, when, *, catchup="once", key=TICK):
    """Start a runtime at a time; returns the schedules and stats of a process of it that said hello."""
    machine.options |= {"clock": VirtualClock(when), "catchup": catchup}
    runtime = await machine.restart()
    schedules, stats = ProcessSchedules(runtime.services.last_runs, "demo:w"), {key: HandlerStats()}
    await schedules.look()
    schedules.take(Hello([key]), stats)
    await runtime.advance(0)
    return schedules, stats[key]


def told(schedules):
    """Return the schedules that the process is told to run at once."""
    return [HandlerKey(*key) for key in json.loads(schedules.variables().get(RUN_SCHEDULES, "[]"))]


def said(machine):
    return [line.text for line in machine.runtime.logs.tail(100) if "made up for" in line.text]


async def test_one_that_is_new_has_missed_nothing(machine):
    schedules, stats = await spawned(machine, BEGIN)
    assert (told(schedules), stats.missed, said(machine)) == ([], 0, [])


async def test_the_process_is_told_what_was_missed_and_the_log_says_so(machine):
    await spawned(machine, BEGIN)
    schedules, stats = await spawned(machine, BEGIN.replace(hour=6, minute=10))
    assert told(schedules) == [TICK]
    assert stats.missed == 4
    assert said(machine) == ["a run of tick that was due at 06:00 is made up for; 4 before it were skipped"]


async def test_it_is_made_up_for_once_it_runs(machine):
    await spawned(machine, BEGIN)
    later = BEGIN + timedelta(hours=2)
    await spawned(machine, later)
    schedules, _ = await spawned(machine, later)
    assert told(schedules) == [TICK]
    schedules.take(RUNS, {})
    await machine.runtime.advance(0)
    schedules, _ = await spawned(machine, later)
    assert told(schedules) == []


async def test_a_process_that_is_spawned_again_makes_up_for_nothing(machine):
    await spawned(machine, BEGIN)
    schedules, _ = await spawned(machine, BEGIN + timedelta(hours=2))
    await schedules.look()
    assert told(schedules) == []


async def test_by_default_it_is_counted_as_skipped(machine):
    await spawned(machine, BEGIN)
    schedules, stats = await spawned(machine, BEGIN + timedelta(hours=2), catchup="skip")
    assert (told(schedules), stats.missed, said(machine)) == ([], 2, [])
    _, stats = await spawned(machine, BEGIN + timedelta(hours=2), catchup="skip")
    assert stats.missed == 0


async def test_another_rhythm_has_missed_nothing(machine):
    await spawned(machine, BEGIN)
    key = TICK._replace(trigger="60s")
    _, stats = await spawned(machine, BEGIN + timedelta(hours=2), key=key)
    assert (stats.missed, said(machine)) == (0, [])


async def test_a_label_that_is_no_schedule_is_left_aside(machine):
    key = TICK._replace(trigger="cron at noon")
    await spawned(machine, BEGIN, key=key)
    schedules, stats = await spawned(machine, BEGIN + timedelta(days=1), key=key)
    assert (told(schedules), stats.missed) == ([], 0)


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_worker_process_runs_what_it_missed_and_nothing_else(tmp_path):
    root = make_capability(tmp_path, "w: {command: PYTHON, args: [w.py]}", {"w.py": SOURCE})
    machine = Machine(port=0, catchup="once")

    async def begin(when):
        machine.options |= {"clock": VirtualClock(when)}
        runtime = await machine.restart()
        heard = runtime.bus.subscribe(["demo.start", "demo.tick", "demo.other"])
        await runtime.load(root)
        return runtime, heard

    try:
        async with asyncio.timeout(50):
            _, heard = await begin(BEGIN)
            assert (await anext(heard)).kind == "demo.start"
            machine.runtime.bus.broker.is_dead, dead = False, machine.runtime
            await dead.stop()
            machine.runtime = None
            runtime, heard = await begin(BEGIN + timedelta(seconds=90))
            kinds = {(await anext(heard)).kind, (await anext(heard)).kind}
            assert kinds == {"demo.start", "demo.tick"}
            assert said(machine) == ["a run of tick that was due at 01:31 is made up for"]
            (stats,) = [one for key, one in runtime.worker("w").stats.items() if key.name == "other"]
            assert stats.calls == 0
    finally:
        await machine.stop()
