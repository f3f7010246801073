"""`GET /api/history/effects`: what handlers did with events, in bulk."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Worker
from dnworker.core.limits import Limits


@pytest.fixture
async def bridge(served):
    worker, gate = Worker("bridge"), asyncio.Event()

    @worker.on_event("demo.asked")
    async def on_asked(event, client) -> None:
        await client.publish("demo.answered", {"n": event.payload["n"]})
        if event.payload["n"] == 2:
            raise ValueError("bad")
        if event.payload["n"] == 3:
            await gate.wait()

    await served.add(worker)
    return gate


async def page_of(http, **query) -> dict:
    answer = await http.get("/api/history/effects", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_runs_are_told_with_what_they_raised_and_published(served, http, bridge):
    asked = [served.publish("demo.asked", {"n": n}) for n in (1, 2, 3)]
    await served.history.wait_quiet(asked[0].event_id)
    await served.history.wait_quiet(asked[1].event_id)
    page = await page_of(http, kind="demo.asked")
    assert [event["id"] for event in page["events"]] == [one.event_id for one in asked]
    assert [event["settled"] for event in page["events"]] == [True, True, False]
    (run,) = page["events"][1]["runs"]
    assert (run["worker"], run["handler"], run["outcome"]) == ("notebook:bridge", "on_asked", "error")
    assert run["errors"] == ["ValueError: bad"]
    assert [(one["kind"], one["payload"]) for one in run["published"]] == [("demo.answered", {"n": 2})]
    assert page["workers"]["notebook:bridge"] == {"state": "running", "silent": None}
    bridge.set()
    await served.history.wait_quiet(asked[2].event_id)
    assert (await page_of(http, kind="demo.asked"))["events"][2]["settled"]


async def test_pages_lead_on_and_have_all_within_the_bounds(served, http):
    seqs = [served.publish("demo.alone", {"n": n}).seq for n in range(25)]
    found, after = [], seqs[0] - 1
    while after is not None:
        page = await page_of(http, after=after, until=seqs[-2], limit=10)
        found += [event["seq"] for event in page["events"]]
        after = page["next"]
    assert found == seqs[:-1]
    assert (await page_of(http, after=seqs[-1])) | {"workers": 0, "runtime_id": 0, "oldest_seq": 0} == {
        "events": [],
        "next": None,
        "workers": 0,
        "runtime_id": 0,
        "oldest_seq": 0,
    }


async def test_a_page_ends_where_its_payloads_are_too_large(served, http, bridge, monkeypatch):
    monkeypatch.setattr("dnworker.engine.effects_answer.PAYLOADS_IN_ALL", 30)
    asked = [served.publish("demo.asked", {"n": n}) for n in range(10, 20)]
    for one in asked:
        await served.history.wait_quiet(one.event_id)
    page = await page_of(http, kind="demo.asked")
    assert 0 < len(page["events"]) < 10
    assert page["next"] == page["events"][-1]["seq"]


async def test_what_is_kept_no_more_is_said(http, served, bridge):
    served.history.limit = Limits(history=1_000_000).history
    first = served.publish("demo.asked", {"n": 1})
    await served.history.wait_quiet(first.event_id)
    for n in range(1_000):
        served.publish("demo.noise", {"text": "x" * 2_000, "n": n})
    found = (await page_of(http, after=first.seq - 1, until=first.seq))["events"]
    assert all("payload" not in one for event in found for run in event["runs"] for one in run["published"])


async def test_a_wrong_query_is_refused(http):
    for query in ({"after": "-1"}, {"limit": "0"}, {"limit": "1001"}, {"until": "x"}):
        assert (await http.get("/api/history/effects", params=query)).status_code == 422
