"""The endpoints of the past: lists of events, traces from memory and from the journal, lines of workers."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from dnworker import Runtime, Worker
from dnworker.core.models import iso
from dnworker.events import history as histories

HEADERS = {"Authorization": "Bearer s3cret"}


def make_worker() -> Worker:
    worker = Worker("bridge")

    @worker.on_event("demo.asked")
    async def on_asked(event, client) -> None:
        print("asked", event.payload.get("n"))
        await client.publish("demo.below", {"n": event.payload.get("n")})

    @worker.on_event("demo.below")
    async def on_below(event, client) -> None:
        if event.payload.get("n") == "bad":
            raise ValueError("no \x1b[31mred")

    return worker


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Runtime(port=0, token="s3cret", journal=tmp_path / "events.journal") as runtime:
        await runtime.add(make_worker())
        yield runtime


@pytest.fixture
async def http(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as client:
        yield client


async def listed(http: httpx.AsyncClient, **query) -> dict:
    answer = await http.get("/api/history/events", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_events_are_listed_newest_first_with_what_handlers_did(runtime, http):
    await runtime.fire("demo.asked", {"n": "bad"})
    below, asked = (await listed(http))["events"]
    assert (asked["kind"], asked["ok"], asked["failed"], asked["workers"]) == (
        "demo.asked",
        1,
        0,
        ["notebook:bridge"],
    )
    assert (below["kind"], below["ok"], below["failed"], below["is_failed"]) == ("demo.below", 0, 1, True)
    assert below["by"] == f"notebook:bridge.on_asked #{asked['seq']}"
    assert below["error"].startswith("ValueError: no \x1b[31mred")


async def test_pages_have_each_event_once_in_order(runtime, http):
    for n in range(7):
        await runtime.fire("demo.asked", {"n": n})
    everything = [one["id"] for one in (await listed(http, limit=200, noise=True))["events"]]
    found, before = [], None
    while True:
        query = {"limit": 3, "noise": True} | ({} if before is None else {"before": before})
        page = await listed(http, **query)
        found += [one["id"] for one in page["events"]]
        if (before := page["next"]) is None:
            break
    assert found == everything
    assert len(set(found)) == len(found) >= 14


async def test_events_that_memory_has_dropped_are_read_from_the_journal(runtime, http, monkeypatch):
    monkeypatch.setattr(histories, "EVENTS_KEPT", 4)
    for n in range(6):
        await runtime.fire("demo.asked", {"n": n})
    first = runtime.history.oldest().seq
    found, before = [], None
    while True:
        page = await listed(http, limit=3, **({} if before is None else {"before": before}))
        found += page["events"]
        if (before := page["next"]) is None:
            break
    seqs = [one["seq"] for one in found]
    assert seqs == sorted(set(seqs), reverse=True)
    assert len(seqs) == 12
    assert [one["seq"] for one in found if one["from_file"]] == [seq for seq in seqs if seq < first]
    assert all(one["ok"] == 1 for one in found)


async def test_a_trace_from_the_journal_has_what_that_from_memory_had(runtime, http, monkeypatch):
    monkeypatch.setattr(histories, "EVENTS_KEPT", 4)
    trace = await runtime.fire("demo.asked", {"n": "bad"})
    name = trace.event.event_id
    memory = (await http.get(f"/api/history/events/{name[:8]}/trace", params={"payload": True})).json()
    for _ in range(4):
        await runtime.fire("demo.other", {})
    file = (await http.get(f"/api/history/events/{name[:8]}/trace", params={"payload": True})).json()
    assert (memory["source"], file["source"]) == ("memory", "file")
    assert memory["events"] == file["events"]

    def said(answer):
        numbers = re.compile(r"\d+\.\d ms")
        return [(row["depth"], row["category"], numbers.sub("_", row["text"])) for row in answer["rows"]]

    assert said(memory) == said(file)
    assert [[line["text"] for line in run["lines"]] for run in memory["runs"]] == [
        [line["text"] for line in run["lines"]] for run in file["runs"]
    ]


async def test_filters_leave_only_what_was_asked_for(runtime, http):
    await runtime.fire("demo.asked", {"n": 1})
    await runtime.fire("demo.asked", {"n": "bad"})
    kinds = [one["kind"] for one in (await listed(http, kind=["demo.asked", "demo.x*"]))["events"]]
    assert kinds == ["demo.asked"] * 2
    assert [one["failed"] for one in (await listed(http, failed=True))["events"]] == [1]
    assert (await listed(http, worker="notebook:other"))["events"] == []
    assert (await listed(http, session="s1"))["events"] == []
    assert len((await listed(http, since="1h"))["events"]) == 4
    assert (await listed(http, since=iso(runtime.clock.now())))["events"] == []


async def test_a_kind_or_worker_that_is_not_known_gets_the_nearest_name(runtime, http):
    await runtime.fire("demo.asked", {"n": 1})
    assert (await listed(http, kind="demo.aksed"))["near"] == "demo.asked"
    assert (await listed(http, worker="notebook:brigde"))["near"] == "notebook:bridge"


async def test_an_event_that_is_not_kept_says_how_far_back_events_are(runtime, http):
    answer = await http.get("/api/history/events/deadbeef/trace")
    assert answer.status_code == 404
    assert re.search(r"memory reaches back to #\d+ \(.+ UTC\), the journal to #\d+", answer.json()["detail"])
    assert (await http.get("/api/history/events/last-failed/trace")).status_code == 404


async def test_last_failed_names_the_newest_event_that_failed(runtime, http):
    await runtime.fire("demo.asked", {"n": "bad"})
    await runtime.fire("demo.asked", {"n": 1})
    answer = (await http.get("/api/history/events/last-failed/trace")).json()
    assert answer["outcome"] == "not ok"
    (run,) = answer["runs"]
    assert [error["type"] for error in run["errors"]] == ["ValueError"]
    assert run["errors"][0]["frames"][-1]["function"] == "on_below"


async def test_bounds_of_a_trace_say_what_is_left_out(runtime, http):
    await runtime.fire("demo.asked", {"n": 1})
    await runtime.fire("demo.asked", {"n": "x" * 990_000})
    answer = await http.get("/api/history/events/last/trace", params={"limit": 1})
    assert len(answer.content) < 10_000
    first = (await listed(http, kind="demo.asked"))["events"][0]["seq"]
    answer = (await http.get(f"/api/history/events/{first}/trace", params={"limit": 1})).json()
    assert (len(answer["rows"]), len(answer["events"])) == (1, 1)
    assert "only the first 1 rows of the tree are answered" in answer["cut"]


async def test_lines_are_of_a_worker_a_run_or_an_event(runtime, http):
    with runtime.capture_output():
        trace = await runtime.fire("demo.asked", {"n": 1})
        await runtime.fire("demo.asked", {"n": 2})
    (run,) = trace.invocations

    async def texts(**query):
        answer = (await http.get("/api/history/lines", params=query)).json()
        return [one["message"] for one in answer["entries"]]

    assert await texts(worker="notebook:bridge") == ["asked 1", "asked 2"]
    assert await texts(invocation=run.id) == ["asked 1"]
    assert await texts(invocation=trace.event.event_id) == ["asked 1"]
    assert await texts(text="ASKED 2") == ["asked 2"]
    assert await texts(worker="notebook:none") == []


async def test_lines_after_a_cursor_come_once(runtime, http):
    found, cursor = [], 0
    for n in range(5):
        runtime.log_line("notebook:bridge", f"line {n}")
        page = (await http.get("/api/history/lines", params={"after": cursor, "limit": 2})).json()
        cursor = page["next_cursor"]
        found += [one["message"] for one in page["entries"]]
        await asyncio.sleep(0)
    assert found == [f"line {n}" for n in range(5)]


async def test_workers_tell_since_when_and_what_they_have_handled(runtime, http):
    await runtime.fire("demo.asked", {"n": "bad"})
    (one,) = (await http.get("/api/history/workers")).json()["workers"]
    assert (one["worker"], one["state"], one["handled"], one["failed"], one["waiting"]) == (
        "notebook:bridge",
        "running",
        2,
        1,
        0,
    )
    assert one["since"].startswith("20")
    assert one["last_error"].startswith("on_below: ValueError")
