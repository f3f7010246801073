"""Copies of another runtime's events: they are kept with new numbers, once, and no handler gets them."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import Conflict, UsageError
from dnworker.engine import copies as module
from dnworker.engine.copies import keep_copies
from dnworker.engine.replay import find, recorded
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.journal import JournalReader
from dnworker.events.journal_copies import Copy
from dnworker.testing import make_envelope


def copies(count: int, first: int = 0) -> list[Copy]:
    events = [make_envelope("demo.asked", {"n": n}, seq=n + 500) for n in range(first, first + count)]
    return [Copy(event, is_caused=number % 2 == 1) for number, event in enumerate(events)]


@pytest.fixture(params=["memory", "journal"])
async def runtime(request, tmp_path):
    journal = None if request.param == "memory" else tmp_path / "events.journal"
    async with Runtime(port=None, journal=journal) as runtime:
        runtime.publish("demo.own", {})
        yield runtime


async def test_copies_have_new_numbers_and_their_own_ids_and_times(runtime):
    made = copies(3)
    latest = runtime.bus.latest_seq
    kept = await keep_copies(runtime, made, runtime_id="rt-other", place="http://there")
    assert [event.seq for event in kept.events] == [latest + 1, latest + 2, latest + 3]
    assert [event.event_id for event in kept.events] == [one.event.event_id for one in made]
    assert [event.timestamp for event in kept.events] == [one.event.timestamp for one in made]
    assert runtime.publish("demo.own", {}).seq == latest + 4
    for name in (f"#{latest + 2}", made[1].event.event_id):
        assert (await find(runtime, name)).payload == {"n": 1}


async def test_no_handler_gets_a_copy(runtime):
    worker = Worker("w")
    got = []

    @worker.on_event("demo.asked")
    async def on_asked(event, client) -> None:
        got.append(event.event_id)

    await runtime.add(worker)
    await keep_copies(runtime, copies(3), runtime_id="rt-other", place="http://there")
    own = await runtime.fire("demo.asked", {})
    assert got == [own.event.event_id]


async def test_a_second_copy_doubles_nothing(runtime):
    made = copies(4)
    await keep_copies(runtime, made[:3], runtime_id="rt-other", place="http://there")
    kept = await keep_copies(runtime, [*made, made[3]], runtime_id="rt-other", place="http://there")
    assert ([event.payload["n"] for event in kept.events], kept.known) == ([3], 4)
    shown = [event for event in runtime.history.events(100) if event.kind == "demo.asked"]
    assert len(shown) == 4


async def test_two_copies_at_the_same_time_double_nothing(runtime):
    made = copies(50)
    kept = await asyncio.gather(
        *(keep_copies(runtime, made, runtime_id="rt-other", place="http://there") for _ in range(3))
    )
    assert sum(len(one.events) for one in kept) == 50
    assert sum(one.known for one in kept) == 100
    assert len([event for event in runtime.history.events(200) if event.kind == "demo.asked"]) == 50


async def test_copies_say_where_they_come_from(runtime):
    kept = await keep_copies(runtime, copies(1), runtime_id="rt-other", place="http://there")
    source = runtime.history.causes.source(kept.events[0].event_id)
    assert source is not None
    assert (source.is_other_runtime, source.name) == (True, "pulled from http://there")


async def test_a_durable_runtime_refuses_copies_in_one_line(tmp_path):
    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "events.db")) as runtime:
        with pytest.raises(Conflict, match="--save FILE"):
            await keep_copies(runtime, copies(1), runtime_id="rt-other", place="http://there")


async def test_what_handlers_have_published_there_is_not_fired_again_by_last(runtime):
    await keep_copies(runtime, copies(4), runtime_id="rt-other", place="http://there")
    found = [event for event in await recorded(runtime, 100) if event.kind == "demo.asked"]
    assert [event.payload["n"] for event in found] == [0, 2]


async def test_the_journal_has_copies_as_a_run_of_their_runtime(tmp_path):
    async with Runtime(port=None, journal=tmp_path / "events.journal") as runtime:
        made = copies(4)
        await keep_copies(runtime, made[:2], runtime_id="rt-other", place="http://there")
        await keep_copies(runtime, made[2:], runtime_id="rt-other", place="http://there")
        from_outside = await recorded(runtime, 100)
        assert [event.payload["n"] for event in from_outside] == [0, 2], (
            "those that handlers published are left"
        )
    with sqlite3.connect(tmp_path / "events.journal") as connection:
        rows = connection.execute(
            "SELECT count(DISTINCT run), count(*) FROM events JOIN runs ON runs.id = run "
            "WHERE runtime_id = 'rt-other'"
        ).fetchone()
    connection.close()
    assert rows == (1, 4)


async def test_memory_gets_the_newest_where_the_journal_has_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY", 2)
    async with Runtime(port=None, journal=tmp_path / "events.journal") as runtime:
        await keep_copies(runtime, copies(5), runtime_id="rt-other", place="http://there")
        assert [event.payload["n"] for event in runtime.history.events(100)] == [3, 4]
        with JournalReader(tmp_path / "events.journal") as reader:
            assert len(reader.events(100, kind="demo.asked")) == 5


async def test_a_journal_that_cannot_be_written_keeps_none_and_is_named(tmp_path, monkeypatch):
    def insert(*_):
        raise sqlite3.OperationalError("database or disk is full")

    async with Runtime(port=None, journal=tmp_path / "events.journal") as runtime:
        monkeypatch.setattr("dnworker.events.journal_copies.insert", insert)
        with pytest.raises(UsageError, match="cannot be written: database or disk is full; nothing was kept"):
            await keep_copies(runtime, copies(3), runtime_id="rt-other", place="http://there")
        assert runtime.history.events(100) == []
        monkeypatch.undo()
        kept = await keep_copies(runtime, copies(3), runtime_id="rt-other", place="http://there")
        assert len(kept.events) == 3
