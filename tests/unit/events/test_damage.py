"""Journals that are damaged, locked, removed or in the wrong place, and disks that are full."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from dnworker import Runtime
from dnworker.core.errors import JournalError
from dnworker.engine.replay import recorded
from dnworker.events import journal_file
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal import JournalReader
from dnworker.events.journal_schema import VERSION
from dnworker.events.journal_writer import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def write(path, count=1, *, kind="demo.n", size=1_000):
    """Write events into a journal, as one run."""
    bus = EventBus()
    with Journal(path, "rt").recording(bus, History()):
        for number in range(count):
            bus.publish(kind, {"n": number, "x": "y" * size})


def numbers(path, last=10_000):
    with JournalReader(path) as reader:
        return [e.payload["n"] for e in reader.events(last)]


def aside(path):
    return sorted(p.name for p in path.parent.glob("*.damaged-*") if p.suffix == ".db")


def spoil_header(path):
    with path.open("r+b") as file:
        file.write(b"\x00" * 100)


def spoil_text(path):
    path.write_text("this is not a database\n" * 100)


def spoil_noise(path):
    path.write_bytes(os.urandom(5_000))


def truncate(path):
    os.truncate(path, 5_000)


def spoil_schema(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE events DROP COLUMN cause")


SPOIL = [spoil_header, spoil_text, spoil_noise, truncate, spoil_schema]


@pytest.mark.parametrize("spoil", SPOIL)
def test_a_damaged_journal_is_set_aside_in_one_line_and_a_new_one_begins(path, caplog, spoil):
    write(path, 30)
    spoil(path)
    before = path.read_bytes()
    write(path, 2)
    assert numbers(path) == [0, 1]
    (kept,) = aside(path)
    assert path.with_name(kept).read_bytes() == before
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "is damaged" in line
    assert kept in line


def test_an_empty_file_becomes_a_journal(path):
    path.touch()
    write(path)
    assert numbers(path) == [0]
    assert aside(path) == []


def test_several_journals_of_one_second_are_all_kept(path):
    for _ in range(3):
        write(path)
        spoil_noise(path)
    write(path)
    assert len(aside(path)) == 3


def test_text_under_a_name_that_is_no_journals_is_left_where_it_is(tmp_path):
    notes = tmp_path / "notes.txt"
    spoil_text(notes)
    with pytest.raises(JournalError, match="is no journal"):
        write(notes)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_journal_of_a_later_version_is_refused_and_left_as_it_is(path):
    write(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(JournalError, match="later version"):
        write(path)
    with pytest.raises(JournalError, match="later version"):
        JournalReader(path)
    assert aside(path) == []


def test_a_directory_in_its_place_is_named(path):
    path.mkdir()
    with pytest.raises(JournalError, match="cannot be opened"):
        write(path)


def test_a_journal_that_another_process_holds_is_refused_and_left_as_it_is(path, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_file.BUSY_SECONDS", 0.05)
    write(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match="locked"):
            write(path)
    assert aside(path) == []
    assert numbers(path) == [0]


def spoil_pages(path):
    """Write noise over pages in the middle; the schema and the newest rows stay."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3 // 4096 * 4096)
        file.write(os.urandom(4096 * 8))


def test_what_is_left_of_a_journal_with_damaged_pages_is_read_with_one_warning(path, caplog):
    write(path, 500)
    spoil_pages(path)
    for _ in range(3):
        found = numbers(path)
        assert found == sorted(found)
        assert found[-1] == 499
        assert found[0] < 50, "what is below the damage is read too"
        assert 200 < len(found) < 500
    assert caplog.text.count("is damaged, and what cannot be read") == 1


def test_rows_whose_content_is_spoiled_cost_one_warning(path, caplog):
    write(path, 5)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET envelope = '{' WHERE id = 2")
        connection.execute("UPDATE events SET envelope = x'ff00' WHERE id = 3")
        connection.execute("UPDATE events SET envelope = '[]' WHERE id = 4")
    for _ in range(3):
        assert numbers(path) == [0, 4]
        assert numbers(path, last=2) == [0, 4]
    assert caplog.text.count("left out") == 1


def test_spoiled_invocations_and_states_are_left_out(path):
    journal = Journal(path, "rt")
    with journal.recording(EventBus(), History()):
        journal.note_state("w", "running", None)
        journal.note_state("w", "stopped", None)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE states SET state = x'00ff' WHERE id = 1")
        connection.execute(
            "INSERT INTO invocations (run, at, invocation, worker, handler, cause, generation, outcome, logs)"
            " VALUES (1, 'now', 'i', 'w', 'h', 'event', 'no number', 'ok', '{')"
        )
    with JournalReader(path) as reader:
        assert [s.state for s in reader.states()] == ["stopped"]
        assert reader.invocations() == []


class Failing:
    """A connection whose inserts fail as long as the switch says why, or once."""

    def __init__(self, connection, switch):
        self._connection, self._switch = connection, switch

    def __enter__(self):
        return self._connection.__enter__()

    def __exit__(self, *exc_info):
        return self._connection.__exit__(*exc_info)

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, sql, *values):
        if (why := self._switch["why"]) is not None and sql.lstrip().startswith("INSERT"):
            if self._switch.get("once"):
                self._switch["why"] = None
            raise why
        return self._connection.execute(sql, *values)


def test_a_journal_that_turns_out_to_be_damaged_while_it_is_written_is_replaced(path, caplog, monkeypatch):
    switch, opened = {"why": None}, journal_file.open_journal
    monkeypatch.setattr(
        "dnworker.events.journal_writer.open_journal", lambda path: Failing(opened(path), switch)
    )
    journal, bus = Journal(path, "rt"), EventBus()
    with journal.recording(bus, History()):
        bus.publish("demo.n", {"n": 1})
        assert journal.flush()
        damage = sqlite3.DatabaseError("database disk image is malformed")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        switch["why"], switch["once"] = damage, True
        bus.publish("demo.n", {"n": 2})
        assert journal.flush(20)
    (kept,) = aside(path)
    assert (numbers(path.with_name(kept)), numbers(path)) == ([1], [2])
    assert caplog.text.count("a new one begins") == 1
    assert (journal.failure, journal.lost) == (None, 0)


def test_a_disk_that_spoils_every_file_costs_one_that_is_set_aside_and_is_said(path, caplog, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_writer.RETRY_SECONDS", 0.01)
    switch, opened = {"why": None}, journal_file.open_journal
    monkeypatch.setattr(
        "dnworker.events.journal_writer.open_journal", lambda path: Failing(opened(path), switch)
    )
    journal, bus = Journal(path, "rt"), EventBus()
    with journal.recording(bus, History()):
        damage = sqlite3.DatabaseError("database disk image is malformed")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        switch["why"] = damage
        bus.publish("demo.n", {"n": 1})
        assert not journal.flush(0.3)
        assert journal.failure is not None
        switch["why"] = None
        assert journal.flush(20)
    assert len(aside(path)) == 1
    assert numbers(path) == [1]
    assert "cannot be written" in caplog.text


def test_whatever_fails_in_the_writers_thread_is_said_and_tried_again(path, caplog, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_writer.RETRY_SECONDS", 0.01)
    journal, bus = Journal(path, "rt"), EventBus()
    with journal.recording(bus, History()):
        ready = journal._ready
        monkeypatch.setattr(journal, "_ready", lambda: (_ for _ in ()).throw(MemoryError("no room")))
        bus.publish("demo.n", {"n": 1})
        assert not journal.flush(0.2)
        assert journal.failure == "no room"
        monkeypatch.setattr(journal, "_ready", ready)
        assert journal.flush(20)
    assert numbers(path) == [1]


def test_what_a_disk_that_hangs_has_not_taken_at_the_end_is_counted_and_said(path, caplog, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_writer.ENDING_SECONDS", 0.05)
    journal, bus, goes_on = Journal(path, "rt"), EventBus(), threading.Event()
    ready = journal._ready
    monkeypatch.setattr(journal, "_ready", lambda: (goes_on.wait(20), ready())[1])
    with journal.recording(bus, History()):
        bus.publish("demo.n", {"n": 1})
    assert journal.lost == 1
    assert "misses 1 entries" in caplog.text
    goes_on.set()


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_journal_that_is_removed_or_replaced_while_it_is_written_begins_anew(
    path, caplog, replaced, tmp_path
):
    journal, bus = Journal(path, "rt"), EventBus()
    other = tmp_path / "other.db"
    write(other, 3)
    with journal.recording(bus, History()):
        bus.publish("demo.n", {"n": 11})
        assert journal.flush()
        if replaced:
            other.replace(path)
        else:
            path.unlink()
        bus.publish("demo.n", {"n": 12})
        assert journal.flush(20)
    assert numbers(path) == ([0, 1, 2, 12] if replaced else [12])
    assert caplog.text.count("it begins anew") == 1


def test_a_journal_whose_disk_was_full_goes_on_and_says_what_is_missing(path, caplog, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_writer.RETRY_SECONDS", 0.01)
    switch = {"why": None}
    opened = journal_file.open_journal
    monkeypatch.setattr(
        "dnworker.events.journal_writer.open_journal", lambda path: Failing(opened(path), switch)
    )
    journal, bus = Journal(path, "rt", pending_bytes=10_000), EventBus()
    with journal.recording(bus, History()):
        switch["why"] = sqlite3.OperationalError("database or disk is full")
        bus.publish("demo.n", {"n": 0})
        assert not journal.flush(0.1)
        for number in range(1, 30):
            bus.publish("demo.n", {"n": number, "x": "y" * 1_000})
        assert journal.lost > 10
        assert "full" in journal.failure
        switch["why"] = None
        assert journal.flush(20)
        bus.publish("demo.n", {"n": 99})
    found = numbers(path)
    assert found == [*range(len(found) - 1), 99]
    assert caplog.text.count("cannot be written") == 1
    assert f"{journal.lost} entries were lost" in caplog.text


def test_a_journal_that_can_only_be_read_is_read(path, tmp_path):
    write(path, 3)
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert numbers(path) == [0, 1, 2]
    finally:
        tmp_path.chmod(0o700)


def test_a_log_that_was_left_over_by_a_killed_writer_is_read(path, tmp_path):
    journal, bus = Journal(path, "rt"), EventBus()
    copy = tmp_path / "copy.db"
    with journal.recording(bus, History()):
        bus.publish("demo.n", {"n": 1})
        assert journal.flush()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    assert numbers(copy) == [1]


async def test_replay_and_events_read_what_is_left(path):
    write(path, 500)
    spoil_pages(path)
    async with Runtime(port=None, journal=path) as runtime:
        found = await recorded(runtime, 1_000, kind="demo.n")
        assert len(found) > 200
