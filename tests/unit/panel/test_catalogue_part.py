"""The view "Events": the kinds that are found, and all that is known of the chosen one."""

from __future__ import annotations

from typing import TypedDict

import pytest

from dnworker import EventEnvelope, Runtime, Worker
from dnworker.panel import catalogue_part
from dnworker.panel.actions import Actions
from dnworker.panel.model import PanelModel
from dnworker.panel.pace import Pace


class OrderPlaced(TypedDict):
    order: str
    amount: float


@pytest.fixture
async def runtime():
    worker = Worker("shop")

    @worker.on_event("order.placed")
    async def placed(event: EventEnvelope[OrderPlaced], client):
        await client.publish("order.paid", {"n": 1})

    async with Runtime(port=None) as made:
        await made.add(worker)
        yield made


async def read(runtime, **wanted):
    return await catalogue_part.catalogue_to_json(PanelModel(runtime, Actions(runtime)), wanted, Pace())


async def test_kinds_of_workers_come_before_those_of_the_runtime(runtime):
    await runtime.fire("order.placed", {"order": "o1", "amount": 1.5})
    part = await read(runtime)
    assert [row["kind"] for row in part["rows"] if not row["isRuntimes"]] == ["order.paid", "order.placed"]
    assert [row["isRuntimes"] for row in part["rows"]] == sorted(row["isRuntimes"] for row in part["rows"])
    assert part["all"] == len(part["rows"])


@pytest.mark.parametrize("text", ["PAID", "r.pa"])
async def test_a_text_finds_kinds_that_have_it_in_them(runtime, text):
    await runtime.fire("order.placed", {"order": "o1", "amount": 1.5})
    assert [row["kind"] for row in (await read(runtime, text=text))["rows"]] == ["order.paid"]


async def test_a_kind_has_its_fields_examples_and_those_who_have_to_do_with_it(runtime):
    await runtime.fire("order.placed", {"order": "o1", "amount": 1.5, "password": "hunter2"})
    entry = (await read(runtime, kind="order.placed"))["entry"]
    assert [(one["worker"], one["handler"], one["type"]) for one in entry["heardBy"]] == [
        ("notebook:shop", "placed", "OrderPlaced")
    ]
    fields = {one["path"]: (one["declared"], one["seen"]) for one in entry["fields"]}
    assert fields["amount"] == ("a number", "a number")
    (example,) = entry["examples"]
    assert '"order": "o1"' in example["text"]
    assert "hunter2" not in example["text"]
    assert entry["newest"]["event"] == example["event"]


async def test_a_kind_that_nobody_knows_says_so_and_the_list_is_there(runtime):
    part = await read(runtime, kind="order.payed")
    assert part["entry"] is None
    assert "order.payed" in part["missing"]
    assert part["rows"]


@pytest.mark.parametrize("kind", ["", " ", "..", "\ud800", "x" * 100_000, "<script>"])
async def test_a_strange_kind_is_not_found(runtime, kind):
    assert (await read(runtime, kind=kind))["entry"] is None
