"""Schedules over a restart of a durable runtime: what was missed meanwhile is made up for once, or counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dnworker import Runtime, VirtualClock, Worker

from ..sessions.surviving import Machine

BEGIN = datetime(2030, 1, 1, 1, 30, tzinfo=UTC)


class Schedules(Machine):
    """A machine whose runtimes have a worker with one schedule; each begins at a time of day."""

    def __init__(self):
        super().__init__()
        self.runs = []

    async def start(self, when, *, catchup="once", **rhythm):
        self.options |= {"clock": VirtualClock(when), "catchup": catchup}
        runtime = await self.restart()
        worker = Worker("w")

        @worker.every(**(rhythm or {"cron": "0 * * * *"}))
        async def tick(client):
            self.runs.append(runtime.clock.now())

        self.worker = await runtime.add(worker)
        await runtime.advance(0)
        return runtime

    @property
    def missed(self):
        (stats,) = self.worker.stats.values()
        return stats.missed

    @property
    def said(self):
        return [line.text for line in self.runtime.logs.tail(100) if "made up for" in line.text]


@pytest.fixture
async def machine():
    machine = Schedules()
    yield machine
    await machine.stop()


async def test_a_run_that_was_missed_is_made_up_for_once_and_said(machine):
    runtime = await machine.start(BEGIN)
    await runtime.advance(3_600)
    assert machine.runs == [BEGIN.replace(hour=2, minute=0)]
    again = BEGIN.replace(hour=6, minute=10)
    await machine.start(again)
    assert machine.runs[1:] == [again]
    assert machine.said == ["a run of tick that was due at 06:00 is made up for; 3 before it were skipped"]
    assert machine.missed == 3
    await machine.start(again + timedelta(minutes=5))
    assert machine.runs[1:] == [again]


async def test_the_rhythm_goes_on_after_it(machine):
    await machine.start(BEGIN)
    runtime = await machine.start(BEGIN + timedelta(hours=1))
    await runtime.advance(1_800)
    assert machine.runs == [BEGIN + timedelta(hours=1), BEGIN.replace(hour=3, minute=0)]


async def test_by_default_what_was_missed_is_counted_and_skipped(machine):
    await machine.start(BEGIN, catchup="skip")
    await machine.start(BEGIN + timedelta(hours=4), catchup="skip")
    assert (machine.runs, machine.missed, machine.said) == ([], 4, [])
    await machine.start(BEGIN + timedelta(hours=4), catchup="skip")
    assert machine.missed == 0


async def test_an_interval_is_missed_once_it_is_over(machine):
    await machine.start(BEGIN, seconds=60)
    await machine.start(BEGIN + timedelta(seconds=40), seconds=60)
    assert machine.runs == []
    await machine.start(BEGIN + timedelta(seconds=99), seconds=60)
    assert machine.runs == [BEGIN + timedelta(seconds=99)]
    assert machine.said == ["a run of tick that was due at 01:31 is made up for"]
    await machine.start(BEGIN + timedelta(days=1), seconds=60)
    assert machine.said == [
        "a run of tick that was due at 01:29 is made up for; 1,437 before it were skipped"
    ]


async def test_a_schedule_with_another_rhythm_has_missed_nothing(machine):
    await machine.start(BEGIN, cron="0 * * * *")
    await machine.start(BEGIN + timedelta(days=1), cron="5 * * * *")
    assert (machine.runs, machine.missed) == ([], 0)


async def test_a_clock_that_was_set_back_misses_nothing(machine):
    await machine.start(BEGIN + timedelta(days=1))
    await machine.start(BEGIN)
    await machine.start(BEGIN + timedelta(minutes=5))
    assert (machine.runs, machine.missed) == ([], 0)


async def test_a_worker_that_is_stopped_and_started_again_makes_up_for_nothing(machine):
    runtime = await machine.start(BEGIN)
    await machine.worker.stop()
    await runtime.advance(7_200)
    await machine.worker.start()
    await runtime.advance(0)
    assert machine.runs == []


async def test_the_broker_in_memory_warns_that_nothing_is_made_up_for(caplog):
    async with Runtime(port=None, catchup="once"):
        assert "remembers no run of a schedule" in caplog.text


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="catchup is 'twice'; once or skip is wanted"):
        Runtime(port=None, catchup="twice")
