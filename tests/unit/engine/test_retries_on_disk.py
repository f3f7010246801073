"""Retries and dead letters of a durable runtime: they outlive it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dnworker import Worker
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import BrokerError
from dnworker.engine.engine import Engine
from dnworker.events.brokers.sqlite.broker import SqliteBroker

EMPTY = b'{"worker":"w","event":{},"handlers":[],"why":"exhausted"}'
START = datetime(2030, 1, 1, tzinfo=UTC)


class Failing:
    """A worker whose handler fails so often, and says when it has run as often as is waited for."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.deliveries: list[int] = []
        self.has_run = asyncio.Condition()
        self.worker = Worker("bridge")

        @self.worker.on_event("demo.kind")
        async def on_demo(event, client) -> None:
            async with self.has_run:
                self.deliveries.append(event.payload["n"])
                self.has_run.notify_all()
            if len(self.deliveries) <= self.failures:
                raise ConnectionError("no answer")

    async def runs(self, times: int) -> None:
        """Return when it has run so often."""
        async with self.has_run:
            await self.has_run.wait_for(lambda: len(self.deliveries) >= times)


def engine_on(file: Path, policy: str, later: timedelta = timedelta()) -> Engine:
    return Engine(
        broker=SqliteBroker(file), clock=VirtualClock(START + later), retry={"notebook:bridge": policy}
    )


async def dead(engine: Engine, count: int) -> list[str]:
    """Return the dead letters as soon as there are so many."""
    there = asyncio.Event()
    letters = engine.dead_letters
    end = letters.changed.add(lambda _: there.set())
    await letters.ready()
    while len(letters) < count:
        there.clear()
        await there.wait()
    end()
    return [f"{one.worker} {one.kind} {one.attempts} {one.why}" for one in letters.all()]


async def test_a_failed_handler_is_tried_again_until_its_event_is_a_dead_letter(tmp_path):
    async with engine_on(tmp_path / "events.db", "2,backoff=0s") as engine:
        service = Failing(9)
        await engine.add(service.worker)
        await engine.fire("demo.kind", {"n": 1})
        assert await dead(engine, 1) == ["notebook:bridge demo.kind 3 exhausted"]
        assert service.deliveries == [1, 1, 1]


async def test_what_waits_for_its_retry_outlives_the_runtime_with_its_number(tmp_path):
    file = tmp_path / "events.db"
    async with engine_on(file, "1,backoff=1h") as engine:
        before = Failing(1)
        await engine.add(before.worker)
        await engine.fire("demo.kind", {"n": 1})
        assert before.deliveries == [1]
    async with engine_on(file, "1,backoff=1h", timedelta(hours=2)) as engine:
        after = Failing(9)
        await engine.add(after.worker)
        assert await dead(engine, 1) == ["notebook:bridge demo.kind 2 exhausted"]
        assert after.deliveries == [1]


async def test_dead_letters_outlive_the_runtime(tmp_path):
    file = tmp_path / "events.db"
    async with engine_on(file, "1,backoff=0s") as engine:
        await engine.add(Failing(9).worker)
        await engine.fire("demo.kind", {"n": 7})
        await dead(engine, 1)
        (before,) = engine.dead_letters.all()
    async with engine_on(file, "1,backoff=0s") as engine:
        await engine.dead_letters.ready()
        assert engine.dead_letters.all() == [before]
        letter = await engine.dead_letters.read(before)
        assert (letter.event.payload, letter.handlers[0].error.text) == (
            {"n": 7},
            "ConnectionError: no answer",
        )


async def test_a_dead_letter_that_cannot_be_read_takes_no_other_away(tmp_path, caplog):
    file, broken = tmp_path / "events.db", "dead/00000000000000000000/id/notebook:bridge"
    async with engine_on(file, "1,backoff=0s") as engine:
        await engine.add(Failing(9).worker)
        await engine.fire("demo.kind", {"n": 7})
        await dead(engine, 1)
        before = engine.dead_letters.all()
        for end, value in (("a", b"{"), ("b", b'{"a":' + b"[" * 9_000), ("c", EMPTY)):
            await engine.bus.broker.put(broken + end, value)
    async with engine_on(file, "1,backoff=0s") as engine:
        await engine.dead_letters.ready()
        assert engine.dead_letters.all() == before
    left_out = [record.getMessage() for record in caplog.records if record.name == "dnworker.retries"]
    begin = f"the dead letter {broken}"
    for text, end in zip(left_out, "abc", strict=True):
        assert text.startswith(f"{begin}{end} cannot be read, and is left out: ")


async def test_dead_letters_that_could_not_be_read_are_read_when_they_are_asked_for_again(tmp_path, caplog):
    file = tmp_path / "events.db"
    async with engine_on(file, "1,backoff=0s") as engine:
        await engine.add(Failing(9).worker)
        await engine.fire("demo.kind", {"n": 7})
        await dead(engine, 1)
        before = engine.dead_letters.all()

    class Refusing(SqliteBroker):
        problem: BrokerError | None = BrokerError("the disk does not answer")

        async def get(self, key):
            if key.startswith("dead/") and self.problem is not None:
                raise self.problem
            return await super().get(key)

    broker = Refusing(file)
    async with Engine(broker=broker, clock=VirtualClock(START)) as engine:
        for _ in range(2):
            with pytest.raises(BrokerError, match="does not answer"):
                await engine.dead_letters.ready()
        broker.problem = None
        await engine.dead_letters.ready()
        assert engine.dead_letters.all() == before
    assert "the dead letters of earlier runs are not known" in caplog.text
