"""What must not stop, block or poison SQLite's broker: faults of its own, rows that are bad, disks that are full."""

from __future__ import annotations

import pytest

from dnworker.events.brokers.sqlite import bounds

from ...conformance.stage import staged
from .sqlite_brokers import making


@pytest.fixture
async def stage(tmp_path):
    async with staged(making(), tmp_path / "kept") as opened:
        yield opened


def count(table):
    """Return what counts the rows of a table."""
    return lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


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
