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


class Other(TypedDict):
    amount: str


async def test_handlers_that_disagree_are_both_shown_and_that_they_disagree(runtime, http):
    other = Worker("other")

    @other.on_event("order.placed")
    async def on_other(event: EventEnvelope[Other], client) -> None:
        pass

    await runtime.add(other)
    found = await entry(http, "order.placed")
    assert [one["type"] for one in found["heard_by"]] == ["OrderPlaced", "Other"]
    assert found["disagreements"] == [
        "`amount` is a number for notebook:billing.on_placed and text for notebook:other.on_other"
    ]
    assert len(found["schema"]["anyOf"]) == 2


async def test_a_payload_with_very_many_keys_and_one_that_is_deep_have_small_entries(runtime, http):
    deep: dict = {}
    inner = deep
    for _ in range(300):
        inner["x"] = inner = {}
    await runtime.fire("odd", {f"key_{number}": number for number in range(50_000)})
    await runtime.fire("odd", deep)
    answer = await http.get("/api/catalogue/odd")
    assert answer.status_code == 200
    assert len(answer.content) < 60_000
    assert answer.json()["notes"]


async def test_whole_entries_come_page_by_page_and_are_those_of_each_kind(runtime, http):
    await runtime.fire("order.placed", {"order_id": "a", "amount": 2})
    page = await listed(http, prefix="order.", whole="true")
    assert [one["kind"] for one in page["entries"]] == [one["kind"] for one in page["kinds"]]
    whole = next(one for one in page["entries"] if one["kind"] == "order.placed")
    assert whole == await entry(http, "order.placed")


async def test_a_value_that_is_named_like_a_secret_is_in_no_answer(runtime, http):
    await runtime.fire("login", {"password": "hunter2", "in": [{"api_key": "hunter2"}]})
    for path in ("/api/catalogue", "/api/catalogue/login", "/api/catalogue?prefix=login&whole=true"):
        assert "hunter2" not in (await http.get(path)).text


async def test_a_list_goes_on_with_what_its_first_page_has_gathered(runtime, http):
    for number in range(5):
        await runtime.fire(f"many.{number}")
    first = await listed(http, prefix="many.", limit=2)
    await runtime.fire("many.9")
    rest = await listed(http, prefix="many.", after=first["next"])
    assert [one["kind"] for one in rest["kinds"]] == ["many.2", "many.3", "many.4"]
    assert (await listed(http, prefix="many."))["total"] == 6
