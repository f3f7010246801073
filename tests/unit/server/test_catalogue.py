"""The endpoints of the catalogue of events."""

from __future__ import annotations

from typing import TypedDict
from urllib.parse import quote

import httpx
import pytest

from dnworker import EventEnvelope, Runtime, Worker
from dnworker.core.event_kinds import KINDS

HEADERS = {"Authorization": "Bearer s3cret"}


class OrderPlaced(TypedDict):
    """An order."""

    order_id: str
    amount: float


def make_worker() -> Worker:
    worker = Worker("billing")

    @worker.on_event("order.placed")
    async def on_placed(event: EventEnvelope[OrderPlaced], client) -> None:
        await client.publish("order.billed", {"order_id": event.payload["order_id"]})

    return worker


@pytest.fixture(params=["memory", "journal"])
async def runtime(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    journal = tmp_path / "events.journal" if request.param == "journal" else None
    async with Runtime(port=0, token="s3cret", journal=journal) as runtime:
        await runtime.add(make_worker())
        yield runtime


@pytest.fixture
async def http(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, headers=HEADERS, trust_env=False) as client:
        yield client


async def entry(http: httpx.AsyncClient, kind: str) -> dict:
    answer = await http.get(f"/api/catalogue/{quote(kind, safe='')}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(http: httpx.AsyncClient, **query) -> dict:
    answer = await http.get("/api/catalogue", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_kind_has_who_publishes_and_hears_it_its_schema_examples_and_times(runtime, http):
    for number in range(3):
        await runtime.fire("order.placed", {"order_id": f"o{number}", "amount": 1.5, "api_token": "x"})
    found = await entry(http, "order.placed")
    assert found["schema_source"] == "declared"
    assert found["schema"]["$defs"]["OrderPlaced"]["properties"]["amount"] == {"type": "number"}
    (listener,) = found["heard_by"]
    assert (listener["worker"], listener["handler"], listener["type"]) == (
        "notebook:billing",
        "on_placed",
        "OrderPlaced",
    )
    assert [one["name"] for one in found["published_by"]] == ["Fired"]
    assert found["published_by"][0]["lately"] == 3
    newest = found["examples"][0]
    assert newest["payload"] == {"order_id": "o2", "amount": 1.5, "api_token": "***"}
    assert found["first_seen"]["seq"] < found["last_seen"]["seq"]
    assert found["looked_at"] == 3
    assert [(row["path"], row["declared"], row["seen"]) for row in found["fields"]] == [
        ("amount", "a number", "a number"),
        ("order_id", "text", "text"),
        ("api_token", "", "text"),
    ]


async def test_a_kind_that_nobody_declares_has_the_schema_of_its_payloads(runtime, http):
    await runtime.fire("order.placed", {"order_id": "a", "amount": 2})
    found = await entry(http, "order.billed")
    assert found["schema_source"] == "inferred"
    assert found["schema"]["properties"] == {"order_id": {"type": "string"}}
    assert [one["name"] for one in found["published_by"]] == ["notebook:billing"]
    assert found["published_by"][0]["is_written"]


async def test_the_list_has_all_kinds_of_the_runtime_and_those_of_workers(runtime, http):
    await runtime.fire("order.placed", {"order_id": "a", "amount": 2})
    found = await listed(http, limit=1000)
    rows = {row["kind"]: row for row in found["kinds"]}
    assert KINDS.keys() <= rows.keys()
    assert rows["turn.completed"]["is_runtimes"]
    assert rows["turn.completed"]["when"]
    assert rows["order.placed"]["types"] == ["OrderPlaced"]
    assert rows["order.placed"]["listeners"] == ["notebook:billing"]
    assert found["total"] == len(rows)


async def test_pages_of_the_list_follow_each_other_and_miss_nothing(runtime, http):
    names, after = [], None
    while True:
        page = await listed(http, limit=4, **({} if after is None else {"after": after}))
        names += [row["kind"] for row in page["kinds"]]
        if (after := page["next"]) is None:
            break
    assert names == sorted({*names})
    assert len(names) == page["total"]


async def test_a_kind_that_nobody_knows_names_the_nearest(runtime, http):
    answer = await http.get("/api/catalogue/order.plased")
    assert answer.status_code == 404
    assert "did you mean order.placed?" in answer.json()["detail"]
    assert answer.headers["dnworker-code"] == "DN227"


@pytest.mark.parametrize("kind", ["with space", "bestellung.größe", "a/b", "..a..", "x%2Fy", "q?x=1#y"])
async def test_kinds_of_any_characters_have_an_entry(runtime, http, kind):
    await runtime.fire(kind, {"x": 1})
    assert (await entry(http, kind))["examples"][0]["payload"] == {"x": 1}


async def test_what_changed_is_said_with_the_event_that_began_it(runtime, http):
    for amount in (1, 2.5, "3", "4"):
        await runtime.fire("order.paid", {"amount": amount})
    (change,) = (await entry(http, "order.paid"))["drift"]
    assert change["text"].startswith("`amount` was a number until ")
    assert f"text since #{change['seq']}" in change["text"]


async def test_the_catalogue_needs_the_right_to_read_what_happened(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client:
        assert (await client.get("/api/catalogue")).status_code == 401
        assert (await client.get("/api/catalogue/order.placed")).status_code == 401
