"""What must not stop, block or poison SQLite's broker: faults of its own, rows that are bad, disks that are full."""

from __future__ import annotations

import pytest

from dnworker.core.errors import NotStored
from dnworker.events.brokers.sqlite import bounds
from dnworker.events.bus import EventBus
from dnworker.events.history import History

from ...conformance.stage import staged
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


async def test_no_step_of_the_bounds_reads_a_whole_table(stage):
    plans = []

    def step(connection):
        statements = []
        connection.set_trace_callback(statements.append)
        stage.broker._bounds.step(connection)
        connection.set_trace_callback(None)
        for statement in statements:
            if statement.startswith(("DELETE", "SELECT")):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                plans.append((statement, "; ".join(row[3] for row in plan)))

    await tidied(stage.broker)
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
