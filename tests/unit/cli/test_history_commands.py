"""`dnworker events`, `trace` and `logs`, asked of a runtime that listens."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from dnworker import Worker
from dnworker.cli import events, tables
from dnworker.cli.events import row_of
from dnworker.cli.lasting import Lasting
from dnworker.cli.main import main, make_parser
from dnworker.cli.tables import aligned, print_table
from dnworker.client.client import RuntimeClient
from dnworker.runtime import Runtime


@pytest.fixture
async def served(monkeypatch):
    async with Runtime(port=0) as runtime:
        worker = Worker("bridge")

        @worker.on_event("order.placed")
        async def on_order(event, client):
            print("order", event.payload["id"], "\x1b[31mred")
            if event.payload["id"] == 2:
                raise ValueError("no such order")
            await client.publish("order.billed", {"id": event.payload["id"]})

        with runtime.capture_output():
            await runtime.add(worker)
            for number in (1, 2):
                await runtime.fire("order.placed", {"id": number})
        monkeypatch.setenv("DREADNODE_RUNTIME_URL", runtime.url)
        monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", runtime.tokens.main)
        yield runtime


async def run(*words: str) -> int:
    return await asyncio.to_thread(main, words)


async def test_events_shows_the_oldest_first_with_what_handlers_did(served, capsys):
    assert await run("events", "order.*") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split() == ["#", "TIME", "KIND", "BY", "HANDLERS", "WHAT"]
    assert [next(word for word in line.split() if word.startswith("order.")) for line in lines] == [
        "order.placed",
        "order.billed",
        "order.placed",
    ]
    assert "1 ok" in lines[0]
    assert "1 failed" in lines[2]
    assert "no such order" in lines[2]


async def test_events_failed_has_only_those(served, capsys):
    assert await run("events", "--failed", "--json") == 0
    (only,) = json.loads(capsys.readouterr().out)["events"]
    assert only["kind"] == "order.placed"
    assert only["failed"] == 1


async def test_events_of_an_unknown_kind_names_the_one_that_was_meant(served, capsys):
    assert await run("events", "order.place") == 0
    assert capsys.readouterr().out == "nothing of that happened; was order.placed meant?\n"


@pytest.mark.parametrize("words", [[], ["last"], ["last-failed"], ["#{seq}"], ["{seq}"], ["{id}"]])
async def test_trace_finds_an_event_by_each_of_its_names(served, capsys, words):
    await run("events", "--failed", "--json")
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert await run("trace", *(word.format(**event) for word in words)) == 0
    shown = capsys.readouterr().out
    assert "order.placed" in shown
    assert "no such order" in shown


async def test_a_trace_that_is_piped_has_neither_colours_nor_codes_of_the_handler(served, capsys):
    assert await run("trace", "last-failed", "--payload") == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert '"id": 2' in shown


async def test_an_event_that_is_not_there_is_one_line_with_how_far_back_events_are_kept(served, capsys):
    assert await run("trace", "999999") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dnworker: ")
    assert "999999" in line


async def test_logs_has_the_lines_of_the_workers_that_are_named(served, capsys):
    assert await run("logs", "notebook:bridge", "--grep", "ORDER 1") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("notebook:bridge: order 1 \\x1b[31mred")


async def test_logs_of_an_unknown_worker_names_the_one_that_was_meant(served, capsys):
    assert await run("logs", "notebook:brigde") == 1
    assert "there is no worker notebook:brigde; notebook:bridge?" in capsys.readouterr().err


async def test_logs_of_an_event_are_those_of_its_runs(served, capsys):
    await run("events", "--failed", "--json")
    (event,) = json.loads(capsys.readouterr().out)["events"]
    assert await run("logs", "--of", event["id"], "--level", "info", "--json") == 0
    texts = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert any("order 2" in text for text in texts)
    assert not any("order 1" in text for text in texts)


def test_a_table_at_a_terminal_shows_markup_and_control_characters_as_text(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("COLUMNS", "60")
    print_table([["WORKER", "STATE"], ["[red]a[/red]", "error \x1b[2J"], [":smile:", "running"]])
    shown = out.getvalue()
    assert "[red]a[/red]" in shown
    assert ":smile:" in shown
    assert "\x1b[2J" not in shown


def test_a_table_without_rich_is_the_aligned_text(monkeypatch, capsys):
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setattr(tables, "_lines_by_rich", lambda table, less: None)
    print_table([["A", "B"], ["long", "x"]])
    assert capsys.readouterr().out == "A     B\nlong  x\n"
    assert aligned([["A", "B"], ["long", ""]]) == ["A     B", "long"]


def test_an_event_that_nobody_handled_is_a_row_without_counts():
    event = {
        "seq": 3,
        "at": "2026-01-02T03:04:05.5Z",
        "kind": "a.b",
        "session_id": None,
        "by": "",
        "error": None,
        "notes": [],
    }
    event |= {"ok": 0, "warnings": 0, "failed": 0, "cancelled": 0, "running": 0, "waits": False}
    assert row_of(event) == ["#3", "2026-01-02 03:04:05", "a.b", "-", "-", ""]


async def test_what_is_followed_has_every_event_of_a_burst_once(served, monkeypatch):
    printed = []
    monkeypatch.setattr(events, "LOOK", 0)
    monkeypatch.setattr(events, "PAGE", 7)
    monkeypatch.setattr(events, "_print", lambda found, *_, **__: printed.extend(one["seq"] for one in found))
    options = make_parser().parse_args(["events", "burst.*", "-f"])
    async with RuntimeClient(served.url, auth_token=served.tokens.main) as client:
        following = asyncio.create_task(events._follow(Lasting(client, options, print), options, []))
        sent = [(await client.publish("burst.came", {}))["seq"] for _ in range(50)]
        async with asyncio.timeout(30):
            while len(printed) < 50:
                await asyncio.sleep(0.01)
        following.cancel()
    assert sorted(printed) == sent
