"""What is SQLite's own: full disks, damage, bounds, workers that are gone, and the journal in the same file."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import NotStored
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.events.brokers.sqlite import bounds, group_commit
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal import JournalReader

from ...conformance.stage import handle, handle_next, next_of, numbers, staged
from .sqlite_brokers import making


@pytest.fixture
async def stage(tmp_path):
    async with staged(making(), tmp_path / "kept") as opened:
        yield opened


async def on_writer(broker, act):
    """Run something on the writer's connection."""
    return await broker.do(act)


async def fill_disk(broker):
    """Leave the file no room to grow."""

    def limit(connection):
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await on_writer(broker, limit)


def make_room(broker):
    """Let the file grow again; called while nothing is written."""
    broker._writer._connection.execute("PRAGMA max_page_count = 1000000")


TEXT = "x" * 20_000


async def publish_until_full(stage):
    """Publish to a full disk until it is noticed; return why, and what was accepted before."""
    accepted = []
    with pytest.raises(NotStored) as refused:
        for n in range(1_000):
            accepted.append(await stage.publish("demo.go", {"n": n, "text": TEXT}))
    return str(refused.value), accepted


# -- a full disk -------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_the_event_and_says_why(stage, caplog):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await fill_disk(stage.broker)
    text, accepted = await publish_until_full(stage)
    assert text.startswith(f"the disk of {stage.broker.path} is full (")
    assert text.endswith("nothing was published; make room, and try again")
    assert stage.broker.failure == text
    assert len(consumer) == len(stage.outlet.delivered) == len(accepted)
    assert [r.levelname for r in caplog.records if r.name == "dnworker.broker"] == ["ERROR"]


async def test_it_goes_on_by_itself_when_there_is_room(stage):
    await fill_disk(stage.broker)
    _, accepted = await publish_until_full(stage)
    make_room(stage.broker)
    event = await stage.publish("demo.go", {"n": -1})
    assert stage.broker.failure is None
    await stage.restart()
    events = await stage.broker.replay(None, 0)
    assert [e.event_id for e in events] == [e.event_id for e in (*accepted, event)]


async def test_what_was_handled_meanwhile_is_written_when_there_is_room(stage, monkeypatch):
    monkeypatch.setattr(group_commit, "RETRY_SECONDS", 0.01)
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await fill_disk(stage.broker)
    _, accepted = await publish_until_full(stage)
    await stage.broker.do(lambda c: None) if stage.broker.failure is None else None
    for n in range(3_000):  # so many workers that their rows need room
        stage.broker.subscribe(f"demo:{n:050}", ["demo.other"])
    await handle_next(consumer, len(accepted))
    written = stage.broker.write(*stage.broker._cursors.values())
    with pytest.raises(NotStored):
        await stage.publish("demo.go", {"text": TEXT})
    assert not written.done()
    make_room(stage.broker)
    await written
    await stage.kill()
    (cursor,) = [c for c in await stage.broker.cursors() if c.worker == "demo:w"]
    assert cursor.pending == 0


async def test_what_is_put_on_a_full_disk_is_refused_too(stage):
    await fill_disk(stage.broker)
    with pytest.raises(NotStored, match="is full"):
        await stage.broker.put("key", b"x" * 1_000_000)
    assert await stage.broker.get("key") is None


# -- damage ------------------------------------------------------------------------------------------------


async def test_a_file_that_is_removed_accepts_nothing_more(stage):
    await stage.publish()
    stage.broker.path.unlink()
    for _ in range(2):
        with pytest.raises(NotStored, match="was removed or replaced while it was in use; nothing was"):
            await stage.publish()
    assert "put the file back" in stage.broker.failure


async def test_a_file_that_is_damaged_while_it_is_written_accepts_nothing_more(stage, monkeypatch):
    await stage.publish_all(50)

    def damage(connection):
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET rootpage = 999999 WHERE name = 'events_by_kind'")
        connection.execute("PRAGMA schema_version = 77")

    with pytest.raises(NotStored):
        for _ in range(2):
            await on_writer(stage.broker, damage)
            await stage.publish()
    with pytest.raises(NotStored, match="is damaged .*; nothing was published; stop the runtime"):
        await stage.publish()
    assert "is damaged" in stage.broker.failure
    assert stage.broker.path.exists()


async def test_one_event_that_cannot_be_written_keeps_no_other_from_it(stage, caplog):
    _, first = stage.begin_publish("demo.go", {"n": 1})
    _, bad = stage.begin_publish("demo.go", {"n": 2}, only="\ud800")
    _, last = stage.begin_publish("demo.go", {"n": 3})
    assert (await first).is_new
    assert (await last).is_new
    with pytest.raises(NotStored):
        await bad
    assert stage.broker.failure is None


async def test_an_outlet_that_fails_keeps_no_later_event_from_its_publisher(stage, caplog):
    def fail(envelope):
        raise LookupError("no such kind")

    stage.outlet.on_deliver = fail
    await stage.publish()
    await stage.publish()
    assert "could not be delivered" in caplog.text


async def test_what_the_disk_is_too_slow_for_is_refused(stage, monkeypatch):
    monkeypatch.setattr("dnworker.events.brokers.sqlite.broker.WAITING_BYTES", 100_000)
    begun = [stage.begin_publish("demo.go", {"text": TEXT})[1] for _ in range(20)]
    done = await asyncio.gather(*begun, return_exceptions=True)
    refused = [one for one in done if isinstance(one, NotStored)]
    assert "is too slow: " in str(refused[0])
    await stage.publish()


# -- the loop ----------------------------------------------------------------------------------------------


async def test_a_group_is_delivered_in_slices_and_in_order(stage, monkeypatch):
    monkeypatch.setattr("dnworker.events.brokers.sqlite.broker.SLICE_SECONDS", 0.0)
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    at = []
    stage.outlet.on_deliver = lambda envelope: at.append(turns)
    await stage.publish_all(200)
    turning.cancel()
    assert numbers(stage.outlet.delivered) == [*range(200)]
    assert len(set(at)) == 200


async def test_what_waits_is_one_group(stage):
    await stage.publish()
    commits = []
    tell = stage.broker._writer._tell
    stage.broker._writer._tell = lambda group, problem: (commits.append(len(group)), tell(group, problem))
    await stage.publish_all(500)
    assert sum(commits) == 500
    assert len(commits) <= 3


async def test_a_worker_s_row_is_written_rarely_though_it_handles_many_events(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    rows = []
    put = stage.broker._writer.put

    def count(op):
        if isinstance(op, group_commit.CursorRows):
            rows.append(op)
        put(op)

    stage.broker._writer.put = count
    await stage.publish_all(1_000)
    await handle_next(consumer, 1_000)
    await stage.broker.write(*stage.broker._cursors.values())
    assert len(rows) <= 20
    assert rows[-1].rows["demo:w"][2] == stage.broker.latest_seq


# -- the journal in the same file --------------------------------------------------------------------------


async def test_invocations_and_states_are_in_the_same_file(stage):
    history = History()
    journal = stage.broker.journal
    event = await stage.publish("demo.go", {"n": 1})
    with journal.recording(EventBus(), history):
        journal.note_state("demo:w", "running", None)
        journal.note_invocation(ended(event))
        assert journal.pending_bytes > 0
        assert journal.flush()
        assert journal.pending_bytes == 0
    with JournalReader(stage.broker.path) as reader:
        assert [state.state for state in reader.states()] == ["running"]
        assert [run.event_id for run in reader.invocations()] == [event.event_id]
        assert [stored.event_id for stored in reader.events()] == [event.event_id]


async def test_they_are_written_though_nobody_publishes_or_flushes(stage):
    stage.broker.journal.note_state("demo:w", "running", None)
    while stage.broker.journal.pending_bytes:
        await asyncio.sleep(0)
    with JournalReader(stage.broker.path) as reader:
        assert len(reader.states()) == 1


async def test_an_entry_that_cannot_be_written_keeps_nothing_else_from_it(stage):
    journal = stage.broker.journal
    journal.note_state("demo:w", object(), None)
    journal._note("invocations", (None, None))
    journal.note_state("demo:w", "running", None)
    await stage.publish()
    assert journal.flush()
    assert journal.lost == 2
    with JournalReader(stage.broker.path) as reader:
        assert len(reader.states()) == 1


async def test_what_was_noted_is_written_at_the_close(stage):
    for n in range(1_000):
        stage.broker.journal.note_state("demo:w", f"state {n}", None)
    await stage.broker.close()
    with JournalReader(stage.broker.path) as reader:
        assert len(reader.states(2_000)) == 1_000


async def test_the_journal_counts_what_there_is_no_room_for(stage, caplog):
    await fill_disk(stage.broker)
    await publish_until_full(stage)
    journal = stage.broker.journal
    journal._max_bytes = 1_500
    for _ in range(5):
        journal.note_state("demo:w", "x" * 100, None)
    assert journal.lost == 3
    assert journal.failure == stage.broker.failure


def ended(event):
    """Return a run of a handler that has ended."""
    return Invocation(
        worker="demo:w",
        handler="on_go",
        cause="event",
        event=event,
        outcome="ok",
        duration=0.1,
        key=HandlerKey("on_event", "demo.go", "on_go"),
    )


# -- bounds ------------------------------------------------------------------------------------------------


async def kept(broker):
    """Return the numbers of the events that are kept, once the file is within its bounds."""
    broker.keep_house()
    while broker._writer._is_untidy:
        await asyncio.sleep(0)
    await broker.do(lambda connection: None)
    return numbers([e for e in await broker.replay(None, 0, limit=10_000) if e.kind == "demo.go"])


async def test_what_is_too_old_goes_once_all_workers_have_handled_it(tmp_path):
    async with staged(making(max_age=timedelta(days=7)), tmp_path / "kept") as stage:
        await kept(stage.broker)  # what the opening has begun
        consumer = stage.broker.subscribe("demo:w", ["demo.go"])
        await stage.publish_all(3)
        await handle_next(consumer, 3)
        await stage.clock.advance(8 * 86_400)
        await stage.publish("demo.go", {"n": 3})
        assert await kept(stage.broker) == [3]


async def test_what_is_over_the_count_goes_the_oldest_first(tmp_path):
    async with staged(making(max_events=5), tmp_path / "kept") as stage:
        await kept(stage.broker)  # what the opening has begun
        await stage.publish_all(20)
        assert await kept(stage.broker) == [15, 16, 17, 18, 19]


async def test_it_says_up_to_where_events_may_be_gone(tmp_path):
    async with staged(making(max_events=5), tmp_path / "kept") as stage:
        assert await stage.broker.dropped_to() == 0
        sent = await stage.publish_all(20)
        assert await kept(stage.broker) == [15, 16, 17, 18, 19]
        assert await stage.broker.dropped_to() == sent[14].seq


async def test_what_is_handled_goes_before_what_is_not(tmp_path, caplog):
    async with staged(making(max_events=4), tmp_path / "kept") as stage:
        await kept(stage.broker)  # what the opening has begun
        consumer = stage.broker.subscribe("demo:w", ["demo.go"])
        begun = await stage.publish_all(10)
        events = await next_of(consumer, 10)
        for event in events[2:]:
            handle(consumer, event)
        await stage.broker.write(*stage.broker._cursors.values())
        assert await kept(stage.broker) == [0, 1, 8, 9]
        assert len(begun) == 10
        assert caplog.text == ""


async def test_what_nobody_has_handled_goes_with_a_warning(tmp_path, caplog):
    async with staged(making(max_events=4), tmp_path / "kept") as stage:
        await kept(stage.broker)  # what the opening has begun
        stage.broker.subscribe("demo:w", ["demo.go"]).close()
        await stage.publish_all(10)
        assert await kept(stage.broker) == [6, 7, 8, 9]
        assert "6 events were dropped that demo:w had not handled" in caplog.text
        consumer = stage.broker.subscribe("demo:w", ["demo.go"])
        assert numbers(await handle_next(consumer, 4)) == [6, 7, 8, 9]


async def test_the_file_is_kept_to_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "STEP", 20)
    async with staged(making(max_bytes=1_000_000), tmp_path / "kept") as stage:
        for n in range(100):
            await stage.publish("demo.go", {"n": n, "text": TEXT})
        left = await kept(stage.broker)
        assert left[-1] == 99
        assert 20 < len(left) < 60
        await stage.broker.do(lambda connection: None)
    assert stage.broker.path.stat().st_size < 1_500_000


async def test_the_seq_goes_on_though_all_events_are_gone(tmp_path):
    async with staged(making(max_age=timedelta(days=7)), tmp_path / "kept") as stage:
        await kept(stage.broker)  # what the opening has begun
        await stage.publish_all(10)
        await stage.clock.advance(30 * 86_400)
        assert await kept(stage.broker) == [9]
        await stage.restart()
        assert stage.broker.latest_seq == 10


async def test_a_worker_that_is_gone_for_a_day_is_forgotten(stage, caplog):
    stage.broker.subscribe("demo:gone", ["demo.go"]).close()
    stage.broker.subscribe("demo:here", ["demo.go"])
    await stage.publish_all(3)
    await stage.clock.advance(86_000)
    stage.broker.keep_house()
    assert len(await stage.broker.cursors()) == 2
    await stage.clock.advance(1_000)
    stage.broker.keep_house()
    await asyncio.gather(*stage.broker._farewells)
    assert [cursor.worker for cursor in await stage.broker.cursors()] == ["demo:here"]
    assert "demo:gone was not here for a day and is forgotten, with 3 events that waited" in caplog.text


async def test_no_worker_is_forgotten_because_the_runtime_was_down(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.publish_all(3)
    await stage.broker.close()
    await stage.clock.advance(5 * 86_400)
    stage.broker = SqliteBroker(stage.broker.path)
    await stage.open()
    assert numbers(await handle_next(stage.broker.subscribe("demo:w", ["demo.go"]), 3)) == [0, 1, 2]


async def test_a_value_that_has_expired_leaves_the_file(stage):
    await stage.broker.put("key", b"value", seconds=10)
    await stage.clock.advance(20)
    await kept(stage.broker)
    assert await stage.broker.do(lambda c: c.execute("SELECT count(*) FROM kv").fetchone()) == (0,)


async def test_an_event_whose_row_is_spoilt_is_left_out_and_named(stage, caplog):
    caplog.set_level(logging.ERROR)
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    events = await stage.publish_all(3)
    await stage.broker.do(lambda c: c.execute("UPDATE events SET envelope = '{' WHERE id = 2"))
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    assert numbers(await handle_next(consumer, 2)) == [0, 2]
    assert f"event {events[1].seq} of the file cannot be read" in caplog.text


def test_an_envelope_that_was_stored_is_as_it_was():
    from dnworker.core.envelope import decode_stored, encode, pack

    packed, _ = pack({"n": [1.5, "ä", None]})
    envelope = EventEnvelope(seq=3, kind="demo.go", payload=packed, session_id="s")
    assert decode_stored(encode(envelope)) == envelope
