"""The file of the SQLite broker: opened, refused, brought to the present format."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from dnworker.core.errors import BrokerError, JournalError, NotStored
from dnworker.events.brokers.base import BEGINNING
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.brokers.sqlite.file import _latest_seq, why_not_written
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal import JournalReader
from dnworker.events.journal_lock import owner_of
from dnworker.events.journal_writer import Journal

from ...conformance.stage import handle_next, staged
from .sqlite_brokers import make_first, making, version_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "events.sqlite"


async def refusal(path, error=BrokerError):
    """Return why a file is refused."""
    with pytest.raises(error) as refused:
        await SqliteBroker(path).open("rt")
    text = str(refused.value)
    assert "\n" not in text
    return text


# -- what is refused ---------------------------------------------------------------------------------------


async def test_a_second_broker_of_the_process_is_refused(path):
    async with staged(making(), path.parent):
        assert await refusal(path) == (
            f"{path} is in use by this process; stop the runtime there, or name another file"
        )


async def test_a_file_of_two_names_is_refused_by_either_also_as_a_journal(path, tmp_path):
    other = tmp_path / "other.sqlite"
    async with staged(making(), path.parent) as stage:
        await stage.publish()
        other.hardlink_to(path)
        assert (await refusal(other)).startswith(f"{other} has 2 names (hard links)")
        with (
            pytest.raises(JournalError, match=r"journal .* has 2 names \(hard links\)"),
            Journal(other, "rt").recording(EventBus(), History()),
        ):
            pass
    assert f"`find / -samefile {path}`" in await refusal(path)
    other.unlink()
    async with staged(making(), path.parent):
        pass


async def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert (
        await refusal(tmp_path / "loop")
        == f"{tmp_path}/loop is a link that leads to itself; name another file"
    )
    for path in (tmp_path / "pipe", Path("/dev/null")):
        assert (
            await refusal(path) == f"{path} is a device or a pipe, in which nothing can be kept; name a file"
        )


async def test_a_link_to_the_file_is_the_file(path, tmp_path):
    async with staged(making(), path.parent) as stage:
        await stage.publish()
        link = tmp_path / "link.sqlite"
        link.symlink_to(path)
        assert SqliteBroker(link).path == path
        assert f"{path} is in use by this process;" in await refusal(link)
        assert owner_of(link) == str(os.getpid())


async def test_another_process_is_named_and_its_death_frees_the_file(path):
    script = (
        "import asyncio, sys\n"
        "from dnworker.events.brokers.sqlite.broker import SqliteBroker\n"
        "async def main():\n"
        "    await SqliteBroker(sys.argv[1]).open('rt')\n"
        "    print('open', flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "open\n"
            assert f"in use by process {other.pid};" in await refusal(path)
        finally:
            other.kill()
    async with staged(making(), path.parent) as stage:
        await stage.publish()


async def test_a_child_that_outlives_its_parent_does_not_keep_the_file(path):
    stage = staged(making(), path.parent)
    async with stage:
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent lets it go
            os._exit(0)
        os.close(reading)
    try:
        async with staged(making(), path.parent):
            pass
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


async def test_a_file_of_a_later_version_says_what_to_do(path):
    async with staged(making(), path.parent):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    text = await refusal(path)
    assert "of format 3, and this one knows 2; update, or name another file" in text


async def test_a_database_of_another_program_is_left_alone(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (a)")
        connection.commit()
    before = path.read_bytes()
    assert await refusal(path) == f"{path} is a database of something else; name another file"
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are longer than a header of SQLite is; " * 4)
    text = await refusal(path)
    assert "name another file" in text
    assert path.read_text().startswith("my notes")


async def test_a_damaged_file_is_left_as_it_is(path):
    async with staged(making(), path.parent) as stage:
        await stage.publish_all(200)
    data = bytearray(path.read_bytes())
    data[0:100] = b"\xff" * 100
    path.write_bytes(data)
    text = await refusal(path)
    assert "is damaged" in text
    assert "name another file" in text
    assert path.read_bytes() == data


async def test_a_directory_is_refused(tmp_path):
    assert "is a directory; name a file in it" in await refusal(tmp_path)


async def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made: " in await refusal(tmp_path / "file" / "events.sqlite")


async def test_what_may_not_be_written_is_refused(path, monkeypatch):
    async with staged(making(), path.parent):
        pass
    allowed = os.access
    for refused in (path, path.parent):
        monkeypatch.setattr(
            os, "access", lambda at, mode, refused=refused: at != refused and allowed(at, mode)
        )
        assert "may not be written" in await refusal(path)


async def test_a_file_that_another_program_has_locked_is_refused(path, monkeypatch):
    monkeypatch.setattr("dnworker.events.journal_file.BUSY_SECONDS", 0.01)
    async with staged(making(), path.parent):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await refusal(path) == (
            f"{path} is locked by another program; close it there, or name another file"
        )


async def test_a_file_whose_cursors_cannot_be_read_is_refused_and_let_go(path):
    async with staged(making(), path.parent):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO cursors VALUES ('demo:bridge', 'no list', 0, 0, 0, '{}', '')")
        connection.commit()
    assert str(path) in await refusal(path)
    assert "in use" not in await refusal(path)


async def test_what_is_not_open_is_closed_without_harm_and_says_why_it_reads_nothing(path):
    broker = SqliteBroker(path)
    await broker.close()
    with pytest.raises(BrokerError, match="is closed; start the runtime first"):
        await broker.get("key")
    assert not path.exists()


async def test_the_file_is_for_its_owner_only(path):
    async with staged(making(), path.parent) as stage:
        await stage.publish()
        assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


async def test_a_journal_is_not_written_to_the_file_of_a_broker(path):
    async with staged(making(), path.parent):
        with (
            pytest.raises(JournalError, match=f"the file of the runtime in process {os.getpid()}"),
            Journal(path, "rt").recording(EventBus(), History()),
        ):
            pass
    with Journal(path, "rt").recording(EventBus(), History()):
        pass


async def test_a_disk_that_can_lock_nothing_is_said(path, monkeypatch):
    def refuse(descriptor, mode):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert await refusal(path) == (
        f"{path}-lock cannot be locked: No locks available; name a file on another disk"
    )
    assert owner_of(path) is None


def test_a_disk_that_fails_is_not_called_full(path):
    failed, full = (sqlite3.OperationalError(text) for text in ("disk I/O error", "disk is full"))
    failed.sqlite_errorcode, full.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL
    assert why_not_written(failed, path) == (
        f"{path} cannot be written (disk I/O error); nothing was published; see to its disk, and try again"
    )
    assert why_not_written(full, path).startswith(f"the disk of {path} is full")


def test_what_is_accepted_stays_though_a_reader_of_the_process_and_then_another_process_close_it(path):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from dnworker.events.brokers.sqlite.file import open_file\n"
        "from dnworker.events.journal import JournalReader\n"
        "opened = open_file(Path(sys.argv[1]), 'rt', '2030-01-01T00:00:00+00:00')\n"
        "def commit():\n"
        "    for _ in range(5):\n"
        "        opened.connection.execute('INSERT INTO kv (key, value) VALUES (hex(randomblob(8)), 0)')\n"
        "commit()\n"
        "JournalReader(sys.argv[1]).close()\n"
        "print(flush=True)\n"
        "sys.stdin.readline()\n"
        "commit()\n"
        "os._exit(0)\n"
    )
    command = [sys.executable, "-c", script, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "\n"
            assert kept_in(path) == 5
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    assert kept_in(path) == 10


def kept_in(path):
    """Return how many values are in a file, which is closed again: the last to do so removes its log."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM kv").fetchone()[0]


async def test_nothing_is_accepted_into_a_log_that_another_program_has_removed(path):
    async with staged(making(), path.parent) as stage:
        await stage.publish()
        path.with_name(f"{path.name}-wal").unlink()
        with pytest.raises(NotStored, match="was removed or replaced while it was in use"):
            await stage.publish()


def test_a_journal_that_may_be_open_is_read_by_sqlite_alone(tmp_path, monkeypatch):
    path = tmp_path / "events"
    path.write_bytes(b"text, and no database; " * 200)
    monkeypatch.setattr(Path, "open", None)
    with pytest.raises(JournalError, match="is no journal: file is not a database"):
        JournalReader(path)


# -- one format --------------------------------------------------------------------------------------------


def test_a_reader_leaves_a_file_of_the_first_format_as_it_is(path):
    make_first(path, [["demo.a", "demo.b"]])
    with JournalReader(path) as journal:
        assert [event.kind for event in journal.events()] == ["demo.a", "demo.b"]
    assert version_of(path) == 1


async def test_a_journal_becomes_the_file_of_a_broker_and_its_seq_rise_over_all_runs(path):
    make_first(path, [["demo.a"] * 3, ["demo.a"] * 2])
    async with staged(making(), path.parent) as stage:
        assert stage.broker.latest_seq == 5
        consumer = stage.broker.subscribe("demo:w", ["demo.a"], start=BEGINNING)
        assert (await stage.publish("demo.a")).seq == 6
        assert [event.seq for event in await handle_next(consumer)] == [6]
        replayed = await stage.broker.replay(None, 0)
        assert [event.seq for event in replayed] == [1, 2, 3, 4, 5, 6]
        assert [event.payload.get("run") for event in replayed] == [1, 1, 1, 2, 2, None]
    assert version_of(path) == 2
    with JournalReader(path) as journal:
        assert [event.seq for event in journal.events()] == [1, 2, 3, 1, 2, 6]


async def test_a_journal_that_had_higher_numbers_than_events_goes_on_from_these(path):
    make_first(path, [["demo.a"] * 2])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE events SET seq = 40 WHERE id = 2")
        connection.commit()
    async with staged(making(), path.parent) as stage:
        assert stage.broker.latest_seq == 40


async def test_the_highest_numbers_are_found_without_a_walk_through_all_events(path):
    async with staged(making(), path.parent) as stage:
        plan: list[str] = []

        def explain(connection):
            asked: list[str] = []
            connection.set_trace_callback(asked.append)
            _latest_seq(connection)
            connection.set_trace_callback(None)
            plan.extend(row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}"))

        await stage.broker.do(explain)
    assert [step for step in plan if "events" in step] == [
        "SEARCH events",
        "SEARCH events USING INDEX events_of_journals",
    ]


async def test_what_was_handled_in_memory_does_not_come_from_the_file(path):
    async with staged(making(), path.parent) as stage:
        stage.broker.subscribe("demo:w", ["demo.a"])
        stage.broker.subscribe("demo:all", None)
        await stage.publish("demo.a", {"n": 0})
    bus = EventBus()
    with Journal(path, "rt").recording(bus, History()):
        for n in range(1, 4):
            bus.publish("demo.a", {"n": n}, session_id="s")
    async with staged(making(), path.parent) as stage:
        assert [one.pending for one in await stage.broker.cursors()] == [1, 1]
        one = stage.broker.subscribe("demo:w", ["demo.a"])
        every = stage.broker.subscribe("demo:all", None)
        await stage.publish("demo.a", {"n": 4})
        for consumer in (one, every):
            assert [event.payload["n"] for event in await handle_next(consumer, 2)] == [0, 4]
        assert [event.payload["n"] for event in await stage.broker.replay("s", 0)] == [1, 2, 3]
        assert [one.pending for one in await stage.broker.cursors()] == [0, 0]


async def test_a_reader_sees_what_a_broker_is_writing(path):
    async with staged(making(), path.parent) as stage:
        event = await stage.publish("demo.go", {"n": 1})
        with JournalReader(path) as journal:
            assert journal.event(event.event_id).payload == {"n": 1}


def test_a_journal_is_brought_to_the_present_format_when_it_is_written(path):
    make_first(path, [["demo.a"]])
    bus = EventBus()
    with Journal(path, "rt").recording(bus, History()):
        bus.publish("demo.b")
    assert version_of(path) == 2
    with JournalReader(path) as journal:
        assert [event.kind for event in journal.events()] == ["demo.a", "demo.b"]


@pytest.mark.parametrize("statement", range(9))
def test_a_migration_that_is_killed_leaves_the_one_format_or_the_other(path, statement):
    make_first(path, [["demo.a"] * 50])
    script = (
        "import os, signal, sqlite3, sys\n"
        "from pathlib import Path\n"
        "from dnworker.events import journal_file, journal_schema\n"
        "left = int(sys.argv[2])\n"
        "def count(statement):\n"
        "    global left\n"
        "    if statement.strip().startswith(('ALTER', 'CREATE', 'PRAGMA user_version =')):\n"
        "        left -= 1\n"
        "        if left < 0:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "connect = sqlite3.connect\n"
        "def traced(*args, **options):\n"
        "    connection = connect(*args, **options)\n"
        "    connection.set_trace_callback(count)\n"
        "    return connection\n"
        "sqlite3.connect = traced\n"
        "journal_file.open_journal(Path(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, path, str(statement)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert version_of(path) == 1
    with JournalReader(path) as journal:
        assert len(journal.events()) == 50
    with Journal(path, "rt").recording(EventBus(), History()):
        pass
    assert version_of(path) == 2


@pytest.mark.parametrize("statement", [20, 1_100, 1_500, 2_050, 2_080, 2_520])
def test_a_round_that_drops_old_events_and_is_killed_leaves_a_file_that_is_whole(path, statement):
    make_first(path, [["demo.a"] * 3_000])
    script = (
        "import os, signal, sys\n"
        "from datetime import UTC, datetime, timedelta\n"
        "from pathlib import Path\n"
        "from dnworker.events import journal_file\n"
        "from dnworker.events.brokers.sqlite.bounds import Bounds\n"
        "path, left = Path(sys.argv[1]), int(sys.argv[2])\n"
        "def count(statement):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "connection = journal_file.open_journal(path)\n"
        "now = lambda: datetime(2030, 1, 1, tzinfo=UTC)\n"
        "bounds = Bounds(path, now, timedelta(days=7), 1 << 30, 500)\n"
        "connection.set_trace_callback(count)\n"
        "while bounds.step(connection):\n"
        "    pass\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, path, str(statement)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = [seq for (seq,) in connection.execute("SELECT seq FROM events ORDER BY id")]
    assert len(kept) >= 500
    assert kept == list(range(3_001 - len(kept), 3_001))


async def test_a_journal_on_the_file_drops_no_event_that_a_worker_has_not_handled(path, monkeypatch, caplog):
    async with staged(making(), path.parent) as stage:
        consumer = stage.broker.subscribe("w", ["demo.go"])
        handled, waiting = await stage.publish(), await stage.publish()
        assert [event.event_id for event in await handle_next(consumer)] == [handled.event_id]
    monkeypatch.setattr("dnworker.events.journal_writer.PRUNE_EVERY", 1)
    bus, journal = EventBus(), Journal(path, "rt", max_age=timedelta(0), max_bytes=1)
    with journal.recording(bus, History()):
        bus.publish("demo.b")
    with JournalReader(path) as reader:
        assert [event.event_id for event in reader.events()] == [waiting.event_id]
    assert caplog.text.count("is over its bound of size: events that workers have not handled are kept") == 1


async def test_one_event_that_waits_keeps_no_runs_beyond_the_bound(path, monkeypatch):
    async with staged(making(), path.parent) as stage:
        stage.broker.subscribe("w", ["demo.go"])
        waiting = await stage.publish()
    monkeypatch.setattr("dnworker.events.journal_writer.PRUNE_EVERY", 1)
    journal = Journal(path, "rt", max_bytes=200_000)
    with journal.recording(EventBus(), History()):
        for _ in range(1_000):
            journal.note_state("demo:w", "error", "x" * 1_000)
    with closing(sqlite3.connect(path)) as connection:
        kept = [count for (count,) in connection.execute("SELECT count(*) FROM states")]
    assert 0 < kept[0] < 300
    with JournalReader(path) as reader:
        assert [event.event_id for event in reader.events()] == [waiting.event_id]
