"""What is written in one group of SQLite's broker, and what of it waits for the disk."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.sqlite import group_commit

from ...conformance.stage import handle, handle_next, next_of, staged
from .sqlite_brokers import making


@pytest.fixture
async def stage(tmp_path):
    async with staged(making(), tmp_path / "kept") as opened:
        yield opened


async def traced(broker):
    """Return the transactions that are written from now on, each as its statements; pragmas are alone."""
    found = []

    def note(statement):
        if not found or not found[-1][0].startswith("BEGIN") or found[-1][-1] == "COMMIT":
            found.append([])
        found[-1].append(statement)

    await broker.do(lambda connection: connection.set_trace_callback(note))
    return found


def has(group, table):
    """Return whether something is written to a table."""
    return any(f"INTO {table}" in statement for statement in group)


async def test_an_event_does_not_wait_for_what_its_runtime_notes(stage):
    groups = await traced(stage.broker)
    for _ in range(10):
        stage.broker.journal.note_state("demo:w", "running", None)
    stage.broker.journal._is_hurried = True
    await stage.publish()
    assert await asyncio.to_thread(stage.broker.journal.flush)
    assert [has(group, "states") for group in groups if has(group, "events")] == [False]
    assert any(has(group, "states") for group in groups)


async def test_what_is_noted_is_written_though_events_never_stop(stage, monkeypatch):
    monkeypatch.setattr("dnworker.events.brokers.sqlite.notes.RIDE_SECONDS", 0.0)
    journal = stage.broker.journal
    for _ in range(600):
        journal.note_state("demo:w", "running", None)
    for _ in range(600):
        await stage.publish()
        if not journal.pending_bytes:
            break
    assert not journal.pending_bytes


async def test_how_far_a_worker_is_has_no_fsync_of_its_own_but_events_have(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    groups = await traced(stage.broker)
    await handle_next(consumer)
    while not any(has(group, "cursors") for group in groups):
        await asyncio.sleep(0.001)
    await stage.publish()
    flat = [statement for group in groups for statement in group]
    lazy, full = flat.index("PRAGMA synchronous = NORMAL"), flat.index("PRAGMA synchronous = FULL")
    cursors, events = (
        next(n for n, statement in enumerate(flat) if f"INTO {table}" in statement)
        for table in ("cursors", "events")
    )
    assert lazy < cursors < full < events


async def test_who_waits_for_a_worker_s_row_has_it_on_disk(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    groups = await traced(stage.broker)
    await stage.broker.write(consumer._cursor)
    assert not any("NORMAL" in statement for group in groups for statement in group)


async def test_what_was_written_without_an_fsync_gets_one_though_nobody_publishes(stage, monkeypatch):
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 0.0)
    is_synced = threading.Event()
    monkeypatch.setattr(group_commit.os, "fsync", lambda file: is_synced.set())
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    await handle_next(consumer)
    assert await asyncio.to_thread(is_synced.wait, 10)


async def test_a_call_that_writes_nothing_syncs_nothing_that_was_written_before(stage, monkeypatch):
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 60.0)
    consumer, writer = stage.broker.subscribe("demo:w", ["demo.go"]), stage.broker._writer
    await stage.publish()
    await handle_next(consumer)
    async with asyncio.timeout(10):
        while writer._unsynced_since is None:
            await asyncio.sleep(0.001)
    await stage.broker.do(lambda connection: None)
    assert writer._unsynced_since is not None
    await stage.publish()
    assert writer._unsynced_since is None


async def test_a_disk_that_does_not_sync_is_told_and_ends_nothing(stage, monkeypatch, caplog):
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 0.0)
    is_synced = threading.Event()

    def fail(file):
        is_synced.set()
        raise OSError("no sync")

    monkeypatch.setattr(group_commit.os, "fsync", fail)
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    await handle_next(consumer)
    assert await asyncio.to_thread(is_synced.wait, 10)
    await stage.publish()
    assert f"{stage.broker.path} is not safe from a power failure now: no sync" in caplog.text


async def test_what_was_handled_does_not_come_again_after_an_orderly_end(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(3)
    for event in await next_of(consumer, 3):
        handle(consumer, event)
    await stage.restart()
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    last = await stage.publish()
    assert [event.seq for event in await next_of(again, 1)] == [last.seq]


async def test_an_event_in_flight_is_asked_once_whether_it_is_wanted(stage, monkeypatch):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(50)
    for event in await next_of(consumer, 50):
        consumer.note_begin(event.event_id, "on_go")
    consumer.note_position()
    assert len(consumer._cursor.outstanding) == 50
    monkeypatch.setattr(Cursor, "wants", lambda *_: pytest.fail("it is asked again"))
    consumer.note_position()
    assert len(consumer._cursor.outstanding) == 50


async def test_an_event_in_flight_whose_kind_is_new_since_is_noted_as_passed(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    (event,) = await next_of(consumer, 1)
    consumer.note_begin(event.event_id, "on_go")
    consumer.note_position()
    assert not consumer._cursor.outstanding[event.seq].is_passed
    consumer.retarget(["demo.other"])
    consumer.note_position()
    assert consumer._cursor.outstanding[event.seq].is_passed


async def test_a_group_of_events_alone_is_one_statement(stage):
    groups = await traced(stage.broker)
    published = [stage.begin_publish()[1] for _ in range(3)]
    await asyncio.gather(*published)
    of_events = [group for group in groups if has(group, "events")]
    assert of_events
    assert all(len(group) == 1 for group in of_events)


async def test_a_group_of_more_events_than_one_statement_takes_is_one_transaction(stage):
    groups = await traced(stage.broker)
    written = stage.broker.do(lambda connection: None)  # all of them wait behind it
    published = [stage.begin_publish()[1] for _ in range(200)]
    await asyncio.gather(written, *published)
    assert [event.seq for event in stage.outlet.delivered] == [*range(1, 201)]
    assert any(sum("INTO events" in statement for statement in group) > 1 for group in groups)
