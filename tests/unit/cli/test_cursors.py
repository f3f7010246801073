"""`dnworker cursors`: of a runtime that runs, and of the file of one that is down."""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta

import httpx
import pytest

from dnworker import Runtime
from dnworker.cli import cursors
from dnworker.core.clock import RealClock
from dnworker.core.errors import DnworkerError, Invalid, UsageError
from dnworker.events.brokers.sqlite.broker import SqliteBroker

from ...conformance.stage import handle_next, staged
from ..events.sqlite_brokers import make_first, making


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    cursors.add_arguments(parser)
    return parser.parse_args(words)


async def command(*words: object) -> int:
    """Run `dnworker cursors` on a thread: it has a loop of its own."""
    return await asyncio.to_thread(cursors.cursors, options(*map(str, words)))


@pytest.fixture
async def file(tmp_path):
    """The file of a runtime that is down: of eight days ago, with two events that wait for `demo:w`."""
    async with staged(making(), tmp_path) as stage:
        consumer = stage.broker.subscribe("demo:w", ["demo.go"])
        await stage.publish_all(3)
        await handle_next(consumer)
    file = tmp_path / "events.sqlite"
    past = (RealClock().now() - timedelta(days=8)).isoformat()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE events SET at = ?", (past,))
    return file


def dump(file) -> list[str]:
    """Return everything that is in a file."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


# -- the file of a runtime that is down --------------------------------------------------------------------


async def test_a_list_shows_what_waits_and_changes_nothing(file, capsys):
    before = dump(file), file.read_bytes()
    assert await command("list", "--file", file) == 0
    assert "demo:w  handled up to 1, 2 wait; last here " in capsys.readouterr().out
    assert (dump(file), file.read_bytes()) == before


async def test_a_list_has_what_a_killed_runtime_left_in_its_log(file, tmp_path, capsys):
    copy = tmp_path / "killed.sqlite"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE cursors SET handled_to = 2")
        connection.commit()
        for end in ("", "-wal"):
            (tmp_path / f"{copy.name}{end}").write_bytes((tmp_path / f"{file.name}{end}").read_bytes())
    assert await command("list", "--file", copy) == 0
    assert "handled up to 2, 1 wait" in capsys.readouterr().out.replace("1 waits", "1 wait")


async def test_a_list_of_a_file_that_may_only_be_read_works(file, capsys):
    file.chmod(0o400)
    file.parent.chmod(0o500)
    try:
        assert await command("list", "--file", file, "--json") == 0
    finally:
        file.parent.chmod(0o700)
    (one,) = json.loads(capsys.readouterr().out)["cursors"]
    assert (one["worker"], one["pending"], one["is_here"]) == ("demo:w", 2, False)


@pytest.mark.parametrize("words", [("list",), ("reset", "demo:w", "--to", "now"), ("drop", "demo:w")])
async def test_a_journal_of_format_1_has_no_cursors_and_stays_one(tmp_path, words):
    file = tmp_path / "journal.db"
    make_first(file, [["demo.a"]])
    before = file.read_bytes()
    with pytest.raises(DnworkerError, match="journal.db is a journal of format 1, .* of no worker"):
        await command(*words, "--file", file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("words", [("list",), ("reset", "demo:w", "--to", "now"), ("drop", "demo:w")])
async def test_an_empty_file_stays_empty(tmp_path, words):
    file = tmp_path / "empty.db"
    file.touch()
    with pytest.raises(DnworkerError, match="empty.db is empty"):
        await command(*words, "--file", file)
    assert file.read_bytes() == b""


async def test_what_is_no_database_is_refused_in_a_line(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("my notes, which are longer than a header of SQLite is; " * 4)
    with pytest.raises(DnworkerError, match=r"notes.txt is no journal: file is not a database"):
        await command("list", "--file", file)


async def test_a_directory_is_no_file_and_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(UsageError, match="this is a directory; name a file in it, such as .*events.db"):
        await command("list", "--file", tmp_path)
    with pytest.raises(
        UsageError, match=r"no such file; that of `serve --durable` is \.dreadnode/events\.db"
    ):
        await command("list", "--file", tmp_path / "none.db")


async def test_a_reset_must_say_where_to(file):
    before = dump(file)
    with pytest.raises(UsageError, match=r"demo:w: say where it begins, --to now\|beginning\|SEQ"):
        await command("reset", "demo:w", "--file", file)
    assert dump(file) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reset", "demo:w", "--to", "now"), "demo:w begins at now, without 2 events that waited for it\n"),
        (("reset", "demo:w", "--to", "beginning"), "demo:w begins at beginning\n"),
        (("drop", "demo:w"), "demo:w is forgotten, with 2 events that waited for it\n"),
    ],
)
async def test_what_no_longer_waits_is_counted(file, capsys, words, said):
    assert await command(*words, "--file", file) == 0
    assert capsys.readouterr().out == said


async def test_a_file_that_a_runtime_has_open_is_asked_of_that_runtime(tmp_path):
    async with staged(making(), tmp_path):
        with pytest.raises(UsageError, match="has it open; leave out --file"):
            await command("list", "--file", tmp_path / "events.sqlite")


@pytest.mark.parametrize("words", [("reset", "demo:w", "--to", "beginning"), ("drop", "demo:w")])
async def test_a_change_drops_no_event_however_old(file, words):
    assert await command(*words, "--file", file) == 0
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)
        left = connection.execute("SELECT worker, handled_to FROM cursors").fetchall()
    assert left == ([("demo:w", 0)] if words[0] == "reset" else [])


@pytest.mark.parametrize("pair", [("--url", "http://127.0.0.1:1"), ("--token-file", "token")])
def test_a_file_and_a_runtime_are_not_named_together(tmp_path, pair):
    file = tmp_path / "events.db"
    with pytest.raises(UsageError, match=f"leave out {pair[0]}, or --file"):
        cursors.cursors(options("list", "--file", str(file), *pair))


# -- a runtime that runs -----------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "s3cret")
    return tmp_path


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("verb", ["reset", "drop"])
async def test_a_runtime_that_keeps_events_in_memory_says_so_in_a_line(verb):
    async with Runtime(port=0, token="s3cret") as runtime:
        with pytest.raises(UsageError, match="'demo:w' has no cursor: .*start it with --durable") as refused:
            await command(verb, "demo:w", *(("--to", "now") if verb == "reset" else ()), "--url", runtime.url)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("home")
async def test_a_list_says_where_the_events_are(home, capsys):
    async with Runtime(port=0, token="s3cret") as runtime:
        assert await command("list", "--url", runtime.url) == 0
    assert capsys.readouterr().out.startswith("events are kept in memory, and no worker has a cursor;")
    async with Runtime(port=0, token="s3cret", broker=SqliteBroker(home / "events.db")) as runtime:
        assert await command("list", "--url", runtime.url) == 0
    out = f"events are kept in {home / 'events.db'}\nno worker has a cursor\n"
    assert capsys.readouterr().out == out


@pytest.mark.usefixtures("home")
async def test_a_runtime_that_is_down_has_a_file_to_ask():
    with pytest.raises(UsageError, match=r"no runtime answers at .*: --file \.dreadnode/events\.db"):
        await command("list", "--url", "http://127.0.0.1:9")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_lead_elsewhere_is_refused(name):
    async with Runtime(port=0, token="s3cret") as runtime:
        with pytest.raises(Invalid, match="names nothing"):
            await command("drop", name, "--url", runtime.url)


async def test_a_reset_over_http_says_where_to_begin(home):
    async with Runtime(port=0, token="s3cret", broker=SqliteBroker(home / "events.db")) as runtime:
        runtime.bus.broker.subscribe("demo:w", ["demo.go"]).close()
        await runtime.fire("demo.go", {})
        headers = {"Authorization": "Bearer s3cret"}
        async with httpx.AsyncClient(base_url=runtime.url, headers=headers, trust_env=False) as http:
            answer = await http.post("/api/cursors/demo:w/reset", json={})
            assert (answer.status_code, "start" in answer.text) == (422, True)
            (cursor,) = (await http.get("/api/cursors")).json()["cursors"]
            assert cursor["pending"] == 1
            assert (await http.post("/api/cursors/demo:w/reset", json={"start": -1})).is_success
            (cursor,) = (await http.get("/api/cursors")).json()["cursors"]
            assert cursor["pending"] == 0
