"""The journal: what happened, in a file, also after the worst."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.core.errors import JournalError
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal import JournalReader
from dnworker.events.journal_file import open_journal
from dnworker.events.journal_rows import TEXT_BYTES, event_row, insert, insert_batch, insert_entries, note
from dnworker.events.journal_schema import VERSION
from dnworker.events.journal_writer import Journal
from dnworker.testing import make_envelope

from ...conformance.stage import handle, handle_next, next_of, numbers, staged
from .sqlite_brokers import making


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "journal.sqlite"


async def record(path, act):
    """Run `act(runtime)` with a journal at `path`."""
    worker = Worker("w")

    @worker.on_event("demo.go")
    async def go(event, client):
        print("going")
        await client.publish("demo.went", event.payload)
        if event.payload.get("fail"):
            raise LookupError("no such order")

    async with Runtime(port=None, journal=path) as runtime:
        await runtime.add(worker)
        await act(runtime)


async def test_events_invocations_states_and_notifications_are_kept(path):
    async def act(runtime):
        await runtime.fire("demo.go", {"n": 1})
        await runtime.client().notify("done", severity="success")

    await record(path, act)
    with JournalReader(path) as journal:
        kinds = [e.kind for e in journal.events()]
        assert kinds == [
            "component.state_changed",
            "demo.go",
            "demo.went",
            "notify",
            "component.state_changed",
        ]
        (went,) = journal.events(kind="demo.went")
        assert went.payload == {"n": 1}
        assert [e.payload["title"] for e in journal.notifications()] == ["done"]
        (run,) = journal.invocations()
        assert (run.worker, run.handler, run.outcome, run.cause) == ("notebook:w", "go", "ok", "event")
        assert journal.event(run.event_id).kind == "demo.go"
        states = [s.state for s in journal.states()]
        assert states == ["loading", "starting", "running", "stopping", "stopped"][-len(states) :]
        assert "running" in states


async def test_an_odd_file_name_in_an_error_keeps_the_journal_going(path):
    worker = Worker("w")

    @worker.on_event("demo.go")
    async def go(event, client):
        print(os.fsdecode(b"caf\xe9.txt"))
        raise OSError(os.fsdecode(b"caf\xe9.txt"))

    async with Runtime(port=None, journal=path) as runtime:
        await runtime.add(worker)
        await runtime.fire("demo.go")
        runtime.publish("demo.after")
    with JournalReader(path) as journal:
        assert journal.invocations()[0].error["message"] == "caf\ufffd.txt"
        assert "demo.after" in [e.kind for e in journal.events()]
    assert runtime.journal.lost == 0


def test_an_entry_that_cannot_be_written_is_counted_and_keeps_no_other_from_it(path, caplog):
    journal = Journal(path, "rt")
    with journal.recording(EventBus(), History()):
        journal.note_state("w", object(), None)
        journal.note_state("w", "running", None)
        journal._note("events", (None, None))
    with JournalReader(path) as reader:
        assert [s.state for s in reader.states()] == ["running"]
    assert journal.lost == 2
    assert "could not be written" in caplog.text


def test_a_batch_is_written_once_also_when_shortening_fails(path, monkeypatch):
    journal, bus, history = Journal(path, "rt"), EventBus(), History()
    failures = [sqlite3.OperationalError("disk full")] * 3

    def prune(connection, written):
        if failures:
            raise failures.pop()

    monkeypatch.setattr(journal, "_prune", prune)
    with journal.recording(bus, history):
        bus.publish("demo.once")
        assert journal.flush()
    with JournalReader(path) as reader:
        assert [e.kind for e in reader.events()] == ["demo.once"]


def test_the_file_is_for_its_owner_only(path):
    with Journal(path, "rt").recording(EventBus(), History()):
        assert {p.stat().st_mode & 0o077 for p in path.parent.iterdir()} == {0}


async def test_an_error_is_kept_with_its_place(path):
    async def act(runtime):
        await runtime.fire("demo.go", {"fail": True})

    await record(path, act)
    with JournalReader(path) as journal:
        (run,) = journal.invocations()
    assert run.outcome == "error"
    assert (run.error["type"], run.error["message"]) == ("LookupError", "no such order")
    assert "test_journal.py, line" in run.error["frames"][-1]["place"]


async def test_a_second_run_adds_to_the_first(path):
    for number in range(2):

        async def act(runtime, number=number):
            runtime.publish("demo.run", {"n": number})

        await record(path, act)
    with JournalReader(path) as journal:
        assert [e.payload["n"] for e in journal.events(kind="demo.run")] == [0, 1]


async def test_nothing_that_was_flushed_is_lost_by_a_kill(path):
    program = """
import asyncio, sys
from pathlib import Path
from dnworker import Runtime

async def main():
    async with Runtime(port=None, journal=Path(sys.argv[1])) as runtime:
        number = 0
        while True:
            for _ in range(100):
                number += 1
                runtime.publish("demo.n", {"n": number})
            if await asyncio.to_thread(runtime.journal.flush):
                print(number, flush=True)
asyncio.run(main())
"""
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        flushed = [int(child.stdout.readline()) for _ in range(3)][-1]
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    with JournalReader(path) as journal:
        kept = [e.payload["n"] for e in journal.events(last=1_000_000)]
    assert kept[:flushed] == list(range(1, flushed + 1))
    assert kept == list(range(1, len(kept) + 1))


def write_events(journal, count, size=100):
    """Publish `count` events of `size` characters into a journal."""
    bus, history = EventBus(), History()
    with journal.recording(bus, history):
        for number in range(count):
            bus.publish("demo.n", {"n": number, "x": "y" * size})
            if number % 500 == 499:
                assert journal.flush()


def test_the_file_stays_within_its_size_and_the_oldest_go_first(path):
    write_events(Journal(path, "rt", max_bytes=1_000_000), 5000, size=1000)
    assert path.stat().st_size < 2_000_000
    with JournalReader(path) as journal:
        kept = [e.payload["n"] for e in journal.events(last=10_000)]
    assert kept == list(range(5000 - len(kept), 5000))
    assert 100 < len(kept) < 1500


async def test_a_journal_over_its_bounds_drops_nothing_that_a_worker_of_the_file_waits_for(tmp_path):
    path = tmp_path / "events.sqlite"
    async with staged(making(), tmp_path) as stage:
        for worker in ("demo:w", "demo:x"):
            stage.broker.subscribe(worker, ["demo.a"])
        await stage.publish("demo.a", {"n": 0, "x": "x" * 50_000})
        await handle_next(stage.broker.consumer("demo:w"))
        await handle_next(stage.broker.consumer("demo:x"))
        await stage.publish("demo.a", {"n": 1})
        await stage.publish("demo.a", {"n": 2})
        await next_of(stage.broker.consumer("demo:w"))
        handle(stage.broker.consumer("demo:w"), (await next_of(stage.broker.consumer("demo:w")))[0])
    bus = EventBus()
    journal = Journal(path, "rt", max_bytes=200_000)
    with journal.recording(bus, History()):
        for _ in range(20):
            bus.publish("demo.b", {"x": "x" * 20_000})
    async with staged(making(), tmp_path) as stage:
        assert await stage.broker.dropped_to() > 3
        for worker, waiting in (("demo:w", [1]), ("demo:x", [1, 2])):
            consumer = stage.broker.subscribe(worker, ["demo.a"])
            async with asyncio.timeout(5):
                assert numbers(await handle_next(consumer, len(waiting))) == waiting
        kept = await stage.broker.replay(None, 0)
        assert [event.payload["n"] for event in kept if event.kind == "demo.a"] == [1, 2]


def test_what_is_too_old_goes(path, monkeypatch):
    write_events(Journal(path, "rt"), 10)
    monkeypatch.setattr("dnworker.events.journal_writer.PRUNE_EVERY", 1)
    write_events(Journal(path, "rt", max_age=timedelta(0)), 1)
    with JournalReader(path) as journal:
        assert journal.events() == []


def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    text, foreign, later = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "later.db"
    text.write_text("my notes, which are long enough to be looked at" * 5)
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    with closing(sqlite3.connect(later)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    for file, says in ((text, "no journal"), (foreign, "something else"), (later, "later version")):
        before = file.read_bytes()
        with pytest.raises(JournalError, match=says), Journal(file, "rt").recording(EventBus(), History()):
            pass
        assert file.read_bytes() == before
    with pytest.raises(JournalError, match="there is no journal"):
        JournalReader(tmp_path / "missing")


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "j.sqlite", "rt")
    with pytest.raises(JournalError, match="cannot be opened"), journal.recording(EventBus(), History()):
        pass


def test_a_disk_that_cannot_be_written_loses_nothing_but_says_so(path, caplog, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_file.BUSY_SECONDS", 0.05)
    journal = Journal(path, "rt")
    bus, history = EventBus(), History()
    with journal.recording(bus, history):
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")  # as good as a full disk: every write fails
        bus.publish("demo.a")
        assert not journal.flush(timeout=0.5)
        blocker.execute("ROLLBACK")
        blocker.close()
        assert journal.flush(timeout=10)
    assert "cannot be written" in caplog.text
    assert "can be written again" in caplog.text
    with JournalReader(path) as reader:
        assert [e.kind for e in reader.events()] == ["demo.a"]


def test_what_waits_for_a_dead_disk_is_bounded_and_counted(path, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_writer.PENDING_LIMIT", 10)
    journal = Journal(path, "rt")  # nobody writes
    for number in range(15):
        journal.note_state("w", str(number), None)
    assert journal.lost == 5


async def test_a_reader_looks_while_it_is_written(path):
    async def act(runtime):
        runtime.publish("demo.a")
        assert runtime.journal.flush()
        with JournalReader(path) as journal:
            assert "demo.a" in [e.kind for e in journal.events()]

    await record(path, act)


def test_events_of_one_session_are_found(path):
    bus, history = EventBus(), History()
    journal = Journal(path, "rt")
    with journal.recording(bus, history):
        bus.publish("demo.a", session_id="s")
        bus.publish("demo.a", session_id="t")
    with JournalReader(path) as reader:
        assert [e.session_id for e in reader.events(session_id="t")] == ["t"]
        assert json.loads(json.dumps(reader.events()[0].payload)) == {}


def test_what_waits_for_a_slow_disk_is_bounded_in_bytes_and_said_once(path, caplog):
    journal = Journal(path, "rt", pending_bytes=1_000_000)  # nobody writes
    bus = EventBus()
    bus.tap(journal.note_event)
    for _ in range(20):
        bus.publish("demo.a", {"text": "x" * 100_000})
    assert journal.pending_bytes <= 1_000_000
    assert journal.lost == 11
    assert caplog.text.count("the disk is too slow") == 1


def test_a_journal_that_has_caught_up_says_how_much_is_missing(path, caplog):
    journal = Journal(path, "rt", pending_bytes=300_000)
    bus, history = EventBus(), History()
    bus.tap(journal.note_event)  # before somebody writes
    for _ in range(5):
        bus.publish("demo.a", {"text": "x" * 100_000})
    with journal.recording(EventBus(), history):
        assert journal.flush()
    assert "has caught up; 3 entries are missing in it" in caplog.text
    assert journal.pending_bytes == 0
    with JournalReader(path) as reader:
        assert len(reader.events()) == 2


async def test_what_an_error_came_of_is_kept_and_older_journals_are_read(path):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def fails(event, client):
        try:
            {}["key"]
        except KeyError as exc:
            raise ValueError("no") from exc

    async with Runtime(port=None, journal=path) as runtime:
        await runtime.add(worker)
        await runtime.fire("a")
    with closing(sqlite3.connect(path)) as connection:
        (kept,) = connection.execute("SELECT error FROM invocations").fetchone()
        assert json.loads(kept)["cause"]["message"] == "'key'"
        old = {
            "type": "ValueError",
            "message": "no",
            "frames": [{"place": "p", "function": "f", "source": "s"}],
        }
        connection.execute("UPDATE invocations SET error = ?", (json.dumps(old),))
        connection.commit()
    with JournalReader(path) as reader:
        (stored,) = reader.invocations()
    assert stored.error == old


async def test_a_warning_is_kept_with_its_text_in_a_table_that_earlier_versions_read(tmp_path):
    worker = Worker("w")

    @worker.on_event("a")
    async def on_a(event, client):
        client.notify("x")

    async with Runtime(port=None, journal=tmp_path / "j.db") as runtime:
        await runtime.add(worker)
        await runtime.fire("a", {})
    with JournalReader(tmp_path / "j.db") as journal:
        (run,) = journal.invocations()
    assert run.outcome == "warning"
    assert [line.partition("line ")[2].partition(": ")[2] for line in run.logs] == [
        "write await client.notify(...)"
    ]


def test_a_burst_is_written_as_soon_as_it_fills_a_transaction(path, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_writer.BATCH_LIMIT", 10)
    monkeypatch.setattr("dnworker.events.journal_writer.BATCH_SECONDS", 3_600.0)
    bus = EventBus()
    journal = Journal(path, "rt")
    with journal.recording(bus, History()):
        for _ in range(11):
            bus.publish("demo.a")
        with journal._written:
            assert journal._written.wait_for(lambda: journal._done >= 10, 60)
    with JournalReader(path) as reader:
        assert len(reader.events()) == 11


@pytest.mark.parametrize("bad", [0, 70, 511, 512, 699])
@pytest.mark.parametrize(
    "name", ["\ud800", None, 1 << 70, object()], ids=["text", "null", "number", "object"]
)
def test_an_entry_that_cannot_be_written_keeps_no_other_from_the_file(path, bad, name):
    left_out = []
    entries = [("now", str(number), "running", None) for number in range(700)]
    entries[bad] = ("now", name, "running", None)
    with closing(open_journal(path)) as connection:
        insert_entries(connection, "states", 1, entries, left_out.append)
        found = [int(worker) for (worker,) in connection.execute("SELECT worker FROM states ORDER BY id")]
    assert found == [number for number in range(700) if number != bad]
    assert left_out == ["states"]


def test_an_entry_of_which_no_row_can_be_made_keeps_no_other_from_the_file(path):
    left_out = []
    with closing(open_journal(path)) as connection:
        insert_entries(connection, "events", 1, [(None, None)], left_out.append)
        insert_entries(connection, "events", 1, [], left_out.append)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    assert left_out == ["events"]


def test_a_file_that_cannot_be_written_is_no_fault_of_an_entry(path):
    left_out = []
    with closing(open_journal(path)) as connection:
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(sqlite3.OperationalError):
            insert_entries(connection, "states", 1, [("now", "w", "running", None)], left_out.append)
    assert left_out == []


@given(
    st.datetimes(
        timezones=st.one_of(
            st.just(UTC),
            st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
        )
    )
)
def test_the_time_of_an_event_is_as_isoformat_writes_it(at):
    assert event_row(1, make_envelope("demo.a", timestamp=at), None)[3] == at.isoformat()


def test_the_loop_rests_in_a_burst_so_that_the_writer_gets_to_run_and_else_never(path, monkeypatch):
    rests = []
    monkeypatch.setattr("dnworker.events.journal_writer.BATCH_LIMIT", 10)
    monkeypatch.setattr("dnworker.events.journal_writer.ENTRIES_UNTIL_REST", 5)
    monkeypatch.setattr("dnworker.events.journal_writer.time.sleep", rests.append)
    journal = Journal(path, "rt")  # nobody writes
    for number in range(10):
        journal.note_state("w", str(number), None)
    assert rests == []
    for number in range(50):
        journal.note_state("w", str(number), None)
    assert len(rests) == 10
    assert sum(rests) < 0.001


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
events = st.builds(
    lambda kind, payload, at, **fields: (make_envelope(kind, payload, timestamp=at), fields["cause"]),
    st.text(min_size=1),
    st.dictionaries(st.text(), json_values, max_size=4),
    st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-3)))),
    cause=st.none() | st.text(),
)
DEEP = json.loads("[" * 700 + "]" * 700)


def rows_in(connection):
    rows = connection.execute("SELECT * FROM events ORDER BY id").fetchall()
    connection.execute("DELETE FROM events")
    return [row[1:] for row in rows]


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with closing(open_journal(tmp_path_factory.mktemp("rows") / "journal.sqlite")) as opened:
        yield opened


@given(noted=st.lists(events, max_size=5))
@example(noted=[(make_envelope("demo.a", {"deep": DEEP}), None), (make_envelope("demo.b", {}), "i")])
@example(
    noted=[(make_envelope("demo.a", {"text": "x" * (TEXT_BYTES + 1)}), "i"), (make_envelope("b", {}), None)]
)
@example(noted=[(make_envelope("demo.\0a", {"\0": "\0"}), "i\0")])
def test_rows_that_sqlite_makes_of_texts_are_those_that_are_made_here(connection, noted):
    insert(connection, "events", [event_row(1, event, cause) for event, cause in noted])
    made_here = rows_in(connection)
    batch = [("events", note(event, cause), 0) for event, cause in noted]
    left_out = []
    insert_batch(connection, 1, batch, left_out.append)
    assert rows_in(connection) == made_here
    assert left_out == []


def test_most_events_are_taken_apart_by_sqlite_alone(connection, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_rows.insert_entries", None)
    batch = [("events", note(make_envelope("demo.a", {"n": n}), None), 0) for n in range(1_000)]
    insert_batch(connection, 1, batch, refused)
    assert [json.loads(row[7])["payload"]["n"] for row in rows_in(connection)] == [*range(1_000)]


def test_where_sqlite_knows_no_json_the_rows_are_made_here(connection, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_rows._FROM_JSON", "SELECT ? FROM no_such_function(?)")
    batch = [("events", note(make_envelope("demo.a", {"n": n}), None), 0) for n in range(10)]
    insert_batch(connection, 1, batch, refused)
    assert [json.loads(row[7])["payload"]["n"] for row in rows_in(connection)] == [*range(10)]


def refused(table):
    raise AssertionError(table)
