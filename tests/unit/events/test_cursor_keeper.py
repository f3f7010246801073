"""Whoever waits for a cursor to be written is told, whatever becomes of the write."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from dnworker.core.clock import VirtualClock
from dnworker.core.errors import NotStored
from dnworker.events.brokers.jetstream.marks import CursorKeeper
from dnworker.events.brokers.jetstream.workers import Workers
from dnworker.events.brokers.kept.cursors import Cursor


class Around:
    """A broker whose server answers a write as a test says."""

    def __init__(self) -> None:
        self.clock, self.store, self.created = VirtualClock(), self, "then"
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()
        self.connected = SimpleNamespace(
            failure=None,
            settings=SimpleNamespace(node="here"),
            api=SimpleNamespace(info=self.info),
            names=SimpleNamespace(events="events"),
        )

    async def info(self, stream):
        return SimpleNamespace(created="then", last_seq=0)

    async def note_kinds(self, cursor):
        pass

    async def read(self, worker):
        return None, 0

    async def begin_of(self, cursor, stored):
        return stored

    async def write(self, stored, revision):
        self.begun.set()
        return await self.answer


@pytest.fixture
async def stage():
    around = Around()
    keeper = CursorKeeper(around, Cursor("demo:w", {}, 0, ""))
    waiting = keeper.claim()
    await asyncio.wait_for(around.begun.wait(), 10)
    return around, keeper, waiting


async def test_who_waits_for_a_write_under_way_is_told_that_the_broker_is_closed(stage):
    _, keeper, waiting = stage
    behind = keeper.write()
    keeper.abandon()
    for future in (waiting, behind):
        with pytest.raises(NotStored, match="closed"):
            await asyncio.wait_for(future, 10)


async def test_who_waits_for_a_write_that_fails_is_told(stage):
    around, _, waiting = stage
    around.answer.set_exception(RuntimeError("a fault"))
    with pytest.raises(NotStored, match="cannot be written"):
        await asyncio.wait_for(waiting, 10)


async def test_who_waits_for_a_write_that_ends_well_is_told(stage):
    around, keeper, waiting = stage
    around.answer.set_result(1)
    await asyncio.wait_for(waiting, 10)
    assert await keeper.settled(1)


async def test_a_broker_says_when_it_is_written_how_far_a_worker_is(stage):
    around, keeper, waiting = stage
    workers = Workers()
    workers._keepers["demo:w"] = keeper
    assert not await workers.settled("demo:w", 0.01)
    around.answer.set_result(1)
    assert await workers.settled("demo:w", 1)
    assert waiting.done()
    assert await workers.settled("demo:other", 1)
