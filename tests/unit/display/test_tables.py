"""Tables as text and as HTML, tables of workers, and times as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dnworker.core.clock import VirtualClock
from dnworker.core.handlers import HandlerKey
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.display.logs import LogQuery, log_text
from dnworker_jupyter.display.tables import Table, span, until, worker_table, workers_table


def test_a_table_is_text_in_columns_and_escaped_html():
    table = Table(["name", "n"], [["a<b", "1"], ["longer", "22"]], title="title", note="note")
    assert repr(table) == "title\nname    n\na<b     1\nlonger  22\nnote"
    html = table._repr_html_()
    assert "<p>title</p>" in html
    assert "a&lt;b" in html


def test_a_table_without_rows_says_so():
    table = Table(["name"], [], "nothing here")
    assert repr(table) == "nothing here"
    assert table._repr_html_() == "<p>nothing here</p>"


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client): ...

        await runtime.add(worker)
        yield runtime


async def test_workers_are_shown_with_state_and_topology(runtime):
    table = workers_table(runtime.workers())
    assert table.rows[0][:3] == ["notebook:bridge", "running", "in-process"]
    assert "no workers yet" in repr(workers_table([]))


async def test_a_worker_is_shown_with_the_cell_of_each_handler(runtime):
    key, other = HandlerKey("on_event", "demo.a", "on_a"), HandlerKey("task", "", "watch")
    origins = {key: "cell [3]", other: "cell [4]"}
    table = worker_table(runtime.worker("bridge"), origins, runtime.clock)
    assert [row[:3] for row in table.rows] == [
        ["on_event demo.a", "on_a", "cell [3]"],
        ["task", "watch", "cell [4]"],
    ]
    assert table.title.startswith("notebook:bridge is running")
    assert set(origins) == {key, other}


async def test_a_log_shows_levels_that_matter(runtime):
    managed = runtime.worker("bridge")
    assert (
        repr(log_text(runtime.logs, managed.qualified_name, "bridge", LogQuery(5)))
        == "bridge has no output yet"
    )
    runtime.log_line("notebook:bridge", "hello")
    runtime.log_line("notebook:bridge", "careful", level="warning")
    first, second = repr(log_text(runtime.logs, managed.qualified_name, "bridge", LogQuery(5))).splitlines()
    assert first.endswith("  hello")
    assert second.endswith("  warning  careful")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.25, "250 ms"), (59, "59 s"), (180, "3 min"), (9000, "2:30:00"), (-5, "0 s")],
)
def test_a_length_of_time_has_its_largest_fitting_unit(seconds, text):
    assert span(seconds) == text


def test_a_time_of_another_day_has_its_date():
    clock = VirtualClock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert until(clock, clock.now() + timedelta(minutes=3)) == "12:03:00 (in 3 min)"
    assert until(clock, clock.now() + timedelta(days=1)) == "2026-01-02 12:00:00 (in 1 day, 0:00:00)"


def test_rows_that_failed_are_marked_in_text_and_red_in_html():
    table = Table(["worker", "errors"], [["a", ""], ["b<", "3"]], bad=[1])
    assert repr(table) == "   worker  errors\n   a\nx  b&lt;      3".replace("&lt;", "<").replace(
        "b<      3", "b<      3"
    )
    html = table._repr_html_()
    assert "✗ b&lt;" in html
    assert html.count("color:#d32f2f") == 2


async def test_a_worker_whose_last_call_failed_is_marked_until_one_succeeds(runtime):
    worker = Worker("flaky")

    @worker.on_event("demo.b")
    async def on_b(event, client):
        if event.payload.get("bad"):
            raise ValueError("bad")

    await runtime.add(worker)
    await runtime.fire("demo.b", {"bad": True})
    assert [row.split()[:2] for row in repr(workers_table(runtime.workers())).splitlines()][2] == [
        "x",
        "notebook:flaky",
    ]
    assert worker_table(runtime.worker("flaky"), {}, runtime.clock).bad == {0}
    await runtime.fire("demo.b", {})
    assert workers_table(runtime.workers()).bad == frozenset()
