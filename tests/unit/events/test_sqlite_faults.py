"""What must not stop, block or poison SQLite's broker: faults of its own, rows that are bad, disks that are full."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from dnworker.core.errors import BrokerError, NotStored
from dnworker.events.brokers.sqlite import bounds, file, group_commit, marks, reading
from dnworker.events.brokers.sqlite import broker as broker_module
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal_lock import owner_of

from ...conformance.stage import handle, handle_next, next_of, staged
from .sqlite_brokers import making


@pytest.fixture
async def stage(tmp_path):
    async with staged(making(), tmp_path / "kept") as opened:
        yield opened


def count(table):
    """Return what counts the rows of a table."""
    return lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


async def fill_disk(stage):
    """Leave the file no room to grow, and have it noticed."""

    def limit(connection):
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await stage.broker.do(limit)
    with pytest.raises(NotStored):
        await stage.broker.put("key", b"x" * 1_000_000)


# -- the bounds cost what they shorten ---------------------------------------------------------------------


async def tidied(broker):
    """Return once the writer has nothing to shorten."""
    while broker._writer._is_untidy:
        await broker.do(lambda connection: None)


async def test_an_entry_of_the_journal_does_not_have_the_file_shortened(stage):
    await tidied(stage.broker)
    calls = []
    stage.broker._writer._tidy = lambda connection: calls.append(connection) is not None
    stage.broker.journal.note_state("demo:w", "running", None)
    while stage.broker.journal.pending_bytes:
        await stage.broker.do(lambda connection: None)
    assert calls == []
    stage.broker.keep_house()
    await tidied(stage.broker)
    assert len(calls) == 1


async def test_old_entries_of_the_journal_go_in_steps_until_none_is_left(stage, monkeypatch):
    monkeypatch.setattr(bounds, "STEP", 10)
    await tidied(stage.broker)
    for _ in range(35):
        stage.broker.journal.note_state("demo:w", "running", None)
    await stage.clock.advance(8 * 86_400)
    stage.broker.journal.note_state("demo:w", "stopped", None)
    while stage.broker.journal.pending_bytes:
        await stage.broker.do(lambda connection: None)
    stage.broker.keep_house()
    await tidied(stage.broker)
    assert await stage.broker.do(count("states")) == 1


async def test_what_is_noted_after_the_events_that_are_dropped_stays(tmp_path):
    async with staged(making(max_events=4), tmp_path / "kept") as stage:
        await tidied(stage.broker)
        await note_states(stage.broker, 1)
        await stage.clock.advance(10)
        await stage.publish_all(6)
        await stage.clock.advance(10)
        await note_states(stage.broker, 2)
        stage.broker.keep_house()
        await tidied(stage.broker)
        assert await stage.broker.do(count("events")) == 4
        assert await stage.broker.do(count("states")) == 2


async def test_what_is_noted_goes_before_events_that_nobody_has_handled(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "STEP", 10)
    async with staged(making(max_bytes=1_000_000), tmp_path / "kept") as stage:
        stage.broker.subscribe("demo:w", ["demo.go"]).close()
        await stage.publish_all(5)
        await note_states(stage.broker, 100, "x" * 20_000)
        stage.broker.keep_house()
        await tidied(stage.broker)
        assert await stage.broker.do(count("events")) == 5
        assert 20 < await stage.broker.do(count("states")) < 60


async def note_states(broker, times, error=None):
    """Note changes of state, and wait until they are in the file."""
    for _ in range(times):
        broker.journal.note_state("demo:w", "error", error)
    while broker.journal.pending_bytes:
        await broker.do(lambda connection: None)


async def test_no_step_of_the_bounds_reads_a_whole_table(stage):
    plans = []

    def step(connection):
        statements = []
        connection.set_trace_callback(statements.append)
        step_of_bounds(connection)
        connection.set_trace_callback(None)
        for statement in statements:
            if statement.startswith(("DELETE", "SELECT")):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                plans.append((statement, "; ".join(row[3] for row in plan)))

    await tidied(stage.broker)
    step_of_bounds = stage.broker._writer._tidy
    stage.broker._writer._tidy = lambda connection: step(connection) or False
    stage.broker.keep_house()
    await tidied(stage.broker)
    whole = [
        (statement, plan)
        for statement, plan in plans
        if ("SCAN" in plan and "LIMIT" not in statement and "FROM cursors" not in statement)
    ]
    assert plans
    assert whole == []


async def test_what_a_session_missed_is_read_by_its_index(stage):
    plans = []

    def explain(connection):
        asked = []
        connection.set_trace_callback(asked.append)
        for session in ("s", None):
            reading.replay(connection, session, 0, 10)
        connection.set_trace_callback(None)
        for statement in asked:
            plans.extend(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))

    await stage.broker.do(explain)
    assert plans == [
        "SEARCH events USING INDEX events_by_session (session_id=? AND id>?)",
        "SEARCH events USING INTEGER PRIMARY KEY (rowid>?)",
    ]


# -- the loop waits for no disk ----------------------------------------------------------------------------


async def test_the_end_of_a_run_waits_for_no_full_disk_and_says_what_it_misses(tmp_path, monkeypatch, caplog):
    async with staged(making(), tmp_path / "kept") as stage:
        await fill_disk(stage)
        journal = stage.broker.journal
        monkeypatch.setattr(journal._written, "wait_for", lambda *_: pytest.fail("the loop waits"))
        with journal.recording(EventBus(), History()):
            for _ in range(300):
                journal.note_state("demo:w", "x" * 1_000, None)
    assert f"journal {stage.broker.path} misses 300 entries of this run" in caplog.text


async def test_a_flush_answers_at_once_while_nothing_can_be_written(stage, monkeypatch):
    await fill_disk(stage)
    journal = stage.broker.journal
    monkeypatch.setattr(journal._written, "wait_for", lambda *_: pytest.fail("it waits"))
    journal.note_state("demo:w", "running", None)
    assert not journal.flush()


async def test_it_is_written_later_how_far_workers_are_the_more_is_in_flight(stage, monkeypatch):
    monkeypatch.setattr(marks, "MARKED_EVENTS", 10)
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(31)
    events = await next_of(consumer, 31)
    handle(consumer, events[0])
    await stage.broker.write(*stage.broker._cursors.values())
    delays = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay, call: delays.append(delay))
    handle(consumer, events[1])
    monkeypatch.undo()
    assert delays[0] == marks.MARK_SECONDS * 4


# -- a fault of the writer ---------------------------------------------------------------------------------


def fail(*_, **__):
    raise LookupError("a fault")


async def test_a_fault_while_the_file_is_shortened_ends_no_writer(stage, caplog):
    stage.broker._writer._tidy = fail
    stage.broker.keep_house()
    await stage.publish()
    await tidied(stage.broker)
    await stage.publish()
    assert f"{stage.broker.path} could not be shortened: a fault" in caplog.text


async def test_a_writer_that_ends_for_a_fault_refuses_what_waits_and_what_comes(stage, caplog):
    writer = stage.broker._writer
    writer._keep_tidy = fail
    stage.begin_publish()
    await asyncio.shield(writer._ended)
    assert "cannot be written any more for a fault (LookupError('a fault'))" in stage.broker.failure
    assert stage.broker.failure.endswith("nothing was published; stop the runtime, and start it again")
    with pytest.raises(NotStored, match="for a fault"):
        await stage.publish()
    with pytest.raises(NotStored, match="for a fault"):
        await stage.broker.do(lambda connection: None)
    stage.broker.subscribe("demo:w", ["demo.go"])
    with pytest.raises(NotStored, match="for a fault"):
        await stage.broker.write(*stage.broker._cursors.values())


# -- how far workers are -----------------------------------------------------------------------------------


def full(*_):
    exc = sqlite3.OperationalError("database or disk is full")
    exc.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise exc


@pytest.mark.parametrize("change", ["reset", "drop"])
async def test_a_full_disk_refuses_to_change_a_worker_which_stays_as_it_is(stage, monkeypatch, change):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(3)
    await handle_next(consumer, 3)
    consumer.close()
    before = await stage.broker.cursors()
    arguments = ["demo:w", 0] if change == "reset" else ["demo:w"]
    with monkeypatch.context() as disk:
        disk.setattr(group_commit, "write_cursors", full)
        with pytest.raises(NotStored, match="is full"):
            await getattr(stage.broker, change)(*arguments)
    assert await stage.broker.cursors() == before
    await getattr(stage.broker, change)(*arguments)
    assert await stage.broker.cursors() != before


async def test_who_waits_for_a_worker_s_row_is_told_that_the_file_is_lost(stage, monkeypatch):
    stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    monkeypatch.setattr(group_commit, "write_cursors", full)
    waiting = stage.broker.write(*stage.broker._cursors.values())
    with pytest.raises(NotStored, match="is full"):
        await stage.publish()
    assert not waiting.done()
    stage.broker.path.unlink()
    with pytest.raises(NotStored, match="was removed"):
        await stage.publish()
    with pytest.raises(NotStored, match="was removed"):
        await waiting


async def test_who_waits_for_a_worker_s_row_is_told_when_the_disk_is_full_to_the_end(tmp_path, monkeypatch):
    async with staged(making(), tmp_path / "kept") as stage:
        stage.broker.subscribe("demo:w", ["demo.go"])
        await stage.publish()
        monkeypatch.setattr(group_commit, "write_cursors", full)
        waiting = stage.broker.write(*stage.broker._cursors.values())
    with pytest.raises(NotStored, match="is full"):
        await waiting


async def test_a_worker_whose_row_cannot_be_written_keeps_nothing_else_from_it(stage, caplog):
    stage.broker.subscribe("demo:\ud800", ["demo.go"])
    stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    await stage.publish()
    await stage.broker.write(*stage.broker._cursors.values())
    assert stage.broker.failure is None
    assert await stage.broker.do(count("cursors")) == 1
    text = "how far 'demo:\\ud800' is cannot be written, and is left out"
    assert [text in record.getMessage() for record in caplog.records] == [True]


async def test_a_worker_whose_row_cannot_be_made_keeps_no_other_from_it(stage, caplog):
    stage.broker.subscribe("demo:w", ["demo.\ud800"])
    stage.broker.subscribe("demo:x", ["demo.go"])
    await stage.publish()
    await stage.broker.write(*stage.broker._cursors.values())
    assert await stage.broker.do(count("cursors")) == 1
    assert "how far 'demo:w' is cannot be written, and is left out" in caplog.text


# -- open and close ----------------------------------------------------------------------------------------


async def test_a_close_frees_the_file_though_a_farewell_fails(tmp_path, monkeypatch, caplog):
    async with staged(making(), tmp_path / "kept") as stage:
        stage.broker.subscribe("demo:gone", ["demo.go"]).close()
        await stage.clock.advance(100_000)
        monkeypatch.setattr(stage.broker, "_info", unreadable)
        stage.broker.keep_house()
        await stage.broker.close()
        await asyncio.sleep(0)
        assert stage.broker._farewells == set()
        assert owner_of(stage.broker.path) is None
    assert (
        "demo:gone was not here for a day and is forgotten, with what waited for it: it cannot be read"
        in caplog.text
    )


async def unreadable(*_):
    raise BrokerError("it cannot be read")


async def test_a_close_frees_the_file_though_its_reader_fails(tmp_path, monkeypatch):
    async with staged(making(), tmp_path / "kept") as stage:
        monkeypatch.setattr(stage.broker.reader, "close", unreadable)
        with pytest.raises(BrokerError):
            await stage.broker.close()
        assert owner_of(stage.broker.path) is None


async def test_a_broker_that_is_closed_keeps_no_house(tmp_path, monkeypatch):
    monkeypatch.setattr(broker_module, "HOUSE_EVENTS", 1)
    async with staged(making(), tmp_path / "kept") as stage:
        _, accepted = stage.begin_publish("demo.go")
        await stage.broker.close()
        await accepted
        assert stage.broker._house.cancelled()


async def test_an_open_that_is_given_up_frees_the_file(tmp_path, monkeypatch):
    entered, go_on, open_file = threading.Event(), threading.Event(), file.open_file

    def slow(*arguments):
        entered.set()
        go_on.wait()
        return open_file(*arguments)

    monkeypatch.setattr(file, "open_file", slow)
    broker = SqliteBroker(tmp_path / "events.sqlite")
    opening = asyncio.create_task(broker.open("rt"))
    await asyncio.to_thread(entered.wait)
    opening.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert broker.path.exists()
    assert owner_of(broker.path) is None


async def test_an_open_that_fails_frees_the_file(tmp_path, monkeypatch):
    broker = SqliteBroker(tmp_path / "events.sqlite")
    with monkeypatch.context() as faulty:
        faulty.setattr(broker_module, "GroupWriter", fail)
        with pytest.raises(LookupError):
            await broker.open("rt")
    assert owner_of(broker.path) is None
    await broker.close()


async def test_a_worker_s_row_that_cannot_be_read_refuses_the_file_and_frees_it(stage):
    stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish()
    await stage.broker.close()
    with closing(sqlite3.connect(stage.broker.path)) as connection:
        connection.execute("UPDATE cursors SET outstanding = '{'")
        connection.commit()
    with pytest.raises(BrokerError, match="is damaged: how far demo:w is cannot be read .*name another file"):
        await SqliteBroker(stage.broker.path).open("rt")
    assert owner_of(stage.broker.path) is None
