"""`GET /api/history/envelopes`: whole events from memory and from the journal, page by page."""

from __future__ import annotations

import sqlite3

import httpx
import pytest

from dnworker import Runtime
from dnworker.core.envelope import encode
from dnworker.core.limits import Limits
from dnworker.engine.copies import keep_copies
from dnworker.events import history as histories
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.journal_copies import Copy
from dnworker.testing import make_envelope

HEADERS = {"Authorization": "Bearer s3cret"}


@pytest.fixture(params=["memory", "journal", "durable"])
async def runtime(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = {
        "memory": {},
        "journal": {"journal": tmp_path / "events.journal"},
        "durable": {"broker": SqliteBroker(tmp_path / "events.durable")},
    }
    async with Runtime(port=0, token="s3cret", **kept[request.param]) as runtime:
        yield runtime


@pytest.fixture
async def http(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as client:
        yield client


async def page_of(http: httpx.AsyncClient, **query) -> dict:
    answer = await http.get("/api/history/envelopes", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def publish(runtime: Runtime, count: int, kind: str = "demo.asked", first: int = 0) -> None:
    for n in range(first, first + count):
        await runtime.bus.accepted(runtime.publish(kind, {"n": n}))


def numbers(found: list[dict]) -> list[int]:
    return [one["payload"]["n"] for one in found]


async def all_pages(http: httpx.AsyncClient, **query) -> list[dict]:
    found, cursor = [], {}
    while True:
        page = await page_of(http, **query, **cursor)
        assert not page["gap"]
        found += page["envelopes"]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def test_envelopes_are_those_that_were_published_oldest_first(runtime, http):
    event = await runtime.bus.accepted(runtime.publish("demo.asked", {"text": "ü"}, session_id=None))
    await publish(runtime, 2)
    page = await page_of(http)
    assert page["envelopes"][0] == httpx.Response(200, content=encode(event)).json()
    assert [one["seq"] for one in page["envelopes"]] == sorted(one["seq"] for one in page["envelopes"])
    assert page["runtime_id"] == runtime.runtime_id
    assert (page["next"], page["gap"], page["latest_seq"]) == (None, False, page["envelopes"][-1]["seq"])


@pytest.mark.parametrize("query", [{}, {"after": 0}])
async def test_pages_lose_and_double_nothing_while_events_come(runtime, http, query):
    await publish(runtime, 10)
    found, cursor, published = [], {}, 10
    while True:
        page = await page_of(http, kind="demo.asked", limit=3, **query, **cursor)
        found += page["envelopes"]
        if published < 20:
            await publish(runtime, 2, first=published)
            published += 2
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    rest = await all_pages(http, kind="demo.asked", after=found[-1]["seq"])
    assert numbers(found + rest) == list(range(20))


async def test_last_fixes_which_events_they_are_with_the_first_page(runtime, http):
    await publish(runtime, 10)
    first = await page_of(http, kind="demo.asked", last=5, limit=2)
    await publish(runtime, 3, first=10)
    cursor = first["next"]
    found = first["envelopes"]
    while cursor is not None:
        page = await page_of(http, kind="demo.asked", limit=2, last=5, cursor=cursor)
        found, cursor = found + page["envelopes"], page["next"]
    assert numbers(found) == [5, 6, 7, 8, 9]


async def test_kinds_sessions_and_times_choose(runtime, http):
    await publish(runtime, 2, "order.placed")
    await publish(runtime, 2, "order.paid")
    await publish(runtime, 2, "other.one")
    assert len((await page_of(http, kind="order.*"))["envelopes"]) == 4
    assert len((await page_of(http, kind=["order.paid", "other.*"]))["envelopes"]) == 4
    assert len((await page_of(http, kind="order.*", last=3))["envelopes"]) == 3
    assert len((await page_of(http, kind="order.*", since="1h"))["envelopes"]) == 4
    assert (await page_of(http, since="2999-01-01"))["envelopes"] == []
    assert (await page_of(http, session="none"))["envelopes"] == []


async def test_what_the_runtime_says_of_itself_comes_only_when_asked_for(runtime, http):
    await publish(runtime, 1)
    runtime.bus.publish("component.state_changed", {})
    await publish(runtime, 1)
    shown = [one["kind"] for one in (await page_of(http))["envelopes"]]
    assert set(shown) == {"demo.asked"}
    everything = [one["kind"] for one in (await page_of(http, noise=True))["envelopes"]]
    assert "component.state_changed" in everything


async def test_a_page_holds_4_mb_at_most_and_at_least_one_event(runtime, http):
    for _ in range(6):
        await runtime.bus.accepted(runtime.publish("demo.large", {"text": "x" * 900_000}))
    page = await page_of(http, kind="demo.large", limit=1000)
    assert len(page["envelopes"]) == 4
    assert page["next"] is not None
    assert len(await all_pages(http, kind="demo.large", limit=1000)) == 6


@pytest.mark.parametrize("cursor", ["5", "seq1", "row1@zz", "seq1@00000000' OR 1"])
async def test_a_cursor_that_is_none_is_refused(runtime, http, cursor):
    answer = await http.get("/api/history/envelopes", params={"cursor": cursor})
    assert answer.status_code == 422
    assert "cursor" in answer.json()["detail"]


async def test_a_cursor_of_the_runtime_before_is_refused_in_one_line(runtime, http):
    answer = await http.get("/api/history/envelopes", params={"cursor": "seq1@00000000"})
    assert answer.status_code == 409
    assert "the runtime was restarted" in answer.json()["detail"]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"after": -1}, {"last": 0}])
async def test_numbers_out_of_bounds_are_refused(runtime, http, query):
    assert (await http.get("/api/history/envelopes", params=query)).status_code == 422


async def test_who_may_not_read_is_refused(runtime, http):
    answer = await http.get("/api/history/envelopes", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


async def test_memory_marks_a_dropped_payload_and_says_that_there_is_a_gap(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with (
        Runtime(port=0, token="s3cret", limits=Limits(history=100_000)) as runtime,
        httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
    ):
        for n in range(4):
            runtime.publish("demo.large", {"n": n, "text": "x" * 40_000})
        page = await page_of(http, kind="demo.large")
        dropped = [one.get("payload_dropped", False) for one in page["envelopes"]]
        assert dropped == [True, True, False, False]
        assert page["gap"]
        assert page["envelopes"][0]["payload"] != {}
        assert not (await page_of(http, after=page["envelopes"][1]["seq"]))["gap"]


async def test_events_that_memory_has_dropped_are_a_gap_and_no_gap_with_a_journal(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(histories, "EVENTS_KEPT", 5)
    for journal, gap, count in ((None, True, 5), (tmp_path / "events.journal", False, 9)):
        async with (
            Runtime(port=0, token="s3cret", journal=journal) as runtime,
            httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
        ):
            await publish(runtime, 10)
            page = await page_of(http, after=1)
            assert (page["gap"], len(page["envelopes"])) == (gap, count)
            assert not (await page_of(http, after=page["envelopes"][-2]["seq"]))["gap"]


async def test_after_is_of_this_run_and_without_it_events_of_earlier_runs_come_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(histories, "EVENTS_KEPT", 2)
    for first in (0, 5):
        async with (
            Runtime(port=0, token="s3cret", journal=tmp_path / "events.journal") as runtime,
            httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
        ):
            await publish(runtime, 5, first=first)
            of_run = numbers(await all_pages(http, kind="demo.asked", after=1, limit=2))
            everything = numbers(await all_pages(http, kind="demo.asked", limit=2))
    assert of_run == [6, 7, 8, 9]
    assert everything == list(range(10))


async def test_what_the_journal_lost_meanwhile_is_a_gap(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(histories, "EVENTS_KEPT", 2)
    file = tmp_path / "events.journal"
    async with (
        Runtime(port=0, token="s3cret", journal=file) as runtime,
        httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
    ):
        await publish(runtime, 10)
        first = await page_of(http, limit=2)
        with sqlite3.connect(file) as connection:
            connection.execute("DELETE FROM events WHERE id <= 5")
        connection.close()
        assert (await page_of(http, limit=2, cursor=first["next"]))["gap"]
        assert (await page_of(http, after=1))["gap"]
        assert not (await page_of(http, after=6))["gap"]


async def test_a_row_that_is_damaged_is_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "events.journal"
    async with (
        Runtime(port=0, token="s3cret", journal=file) as runtime,
        httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
    ):
        await publish(runtime, 4)
        assert runtime.journal.flush()
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE events SET envelope = '{\"no' WHERE id = 2")
        connection.close()
        page = await page_of(http)
        assert page["gap"]
        assert len(page["envelopes"]) == 3


async def test_a_journal_that_cannot_be_read_is_named_and_memory_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with (
        Runtime(port=0, token="s3cret", journal=tmp_path / "events.journal") as runtime,
        httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
    ):
        await publish(runtime, 4)
        runtime.journal.failure = "the disk is full"
        page = await page_of(http)
        assert (page["gap"], page["journal_failed"], len(page["envelopes"])) == (True, "the disk is full", 4)


async def test_a_durable_runtime_goes_on_from_a_seq_of_the_run_before(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for first in (0, 5):
        async with (
            Runtime(port=0, token="s3cret", broker=SqliteBroker(tmp_path / "events.db")) as runtime,
            httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
        ):
            await publish(runtime, 5, first=first)
            after = (await page_of(http, kind="demo.asked", limit=2))["envelopes"][1]["seq"]
            found = await all_pages(http, kind="demo.asked", after=after, limit=3)
    assert numbers(found) == list(range(2, 10))


async def test_copies_of_another_runtime_are_none_of_those_that_follow(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for journal in (None, tmp_path / "events.journal"):
        async with (
            Runtime(port=0, token="s3cret", journal=journal) as runtime,
            httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
        ):
            copies = [Copy(make_envelope("demo.asked", {"n": 7}), is_caused=True)]
            await keep_copies(runtime, copies, runtime_id="rt-other", place="http://there")
            assert numbers((await page_of(http, kind="demo.asked"))["envelopes"]) == [7]
            assert (await page_of(http, kind="demo.asked", after=0))["envelopes"] == []


async def test_more_than_is_kept_is_a_gap_where_older_events_are_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(histories, "EVENTS_KEPT", 5)
    file = tmp_path / "events.journal"
    for journal in (None, file):
        async with (
            Runtime(port=0, token="s3cret", journal=journal) as runtime,
            httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as http,
        ):
            await publish(runtime, 10)
            if journal is not None:
                assert not (await page_of(http, last=100))["gap"]
                with sqlite3.connect(file) as connection:
                    connection.execute("DELETE FROM events WHERE id <= 5")
                connection.close()
            assert (await page_of(http, last=100))["gap"]
            assert not (await page_of(http, last=3))["gap"]
            assert not (await page_of(http, last=100, since="2999-01-01"))["gap"]
