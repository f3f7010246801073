"""Events that break the type that a handler declares: noted by default, refused where the handler says so."""

from __future__ import annotations

from typing import Annotated, TypedDict

import msgspec
import pydantic
import pytest

from dnworker import EventEnvelope, Runtime, Worker
from dnworker.core.errors import HandlerFailed
from dnworker.patterns import batch
from dnworker.workers.declarations import MOST_NAMED, declared_payloads


class Placed(TypedDict):
    amount: float


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Runtime(port=None) as runtime:
        yield runtime


def noted(runtime: Runtime) -> list[str]:
    """Return the warnings in the log of the worker."""
    return [line.text for line in runtime.logs.tail(200, "notebook:billing") if line.level == "warning"]


async def test_an_event_that_breaks_the_type_is_handled_and_noted_once_a_field(runtime):
    worker, amounts = Worker("billing"), []

    @worker.on_event("order.placed")
    async def on_placed(event: EventEnvelope[Placed], client) -> None:
        amounts.append(event.payload["amount"])

    await runtime.add(worker)
    for amount in (1, "2", "3"):
        await runtime.fire("order.placed", {"amount": amount})
    assert amounts == [1, "2", "3"]
    (text,) = noted(runtime)
    assert "the payload breaks Placed: amount: expected float, got str" in text


async def test_a_handler_that_refuses_is_not_run_for_such_an_event(runtime):
    worker, amounts = Worker("billing"), []

    @worker.on_event("order.placed")
    async def on_placed(event: EventEnvelope[Annotated[Placed, "refuse"]], client) -> None:
        amounts.append(event.payload["amount"])

    await runtime.add(worker)
    await runtime.fire("order.placed", {"amount": 1})
    trace = await runtime.fire("order.placed", {"amount": "2"})
    assert amounts == [1]
    assert "the payload breaks Placed: amount: expected float, got str" in str(trace)


async def test_a_type_that_is_not_known_lets_every_event_through(runtime):
    worker, amounts = Worker("billing"), []

    @worker.on_event("order.placed")
    async def on_placed(event: EventEnvelope[Nowhere], client) -> None:  # noqa: F821
        amounts.append(event.payload)

    await runtime.add(worker)
    await runtime.fire("order.placed", {"amount": "2"})
    assert amounts == [{"amount": "2"}]
    assert noted(runtime) == []


async def test_fields_that_break_the_type_are_noted_up_to_a_bound(runtime):
    worker = Worker("billing")

    @worker.on_event("order.placed")
    async def on_placed(event: EventEnvelope[dict[str, int]], client) -> None:
        pass

    await runtime.add(worker)
    for number in range(40):
        await runtime.fire("order.placed", {f"key_{number}": "text"})
    assert 1 <= len(noted(runtime)) <= 20


def test_schemas_of_many_handlers_are_reported_as_far_as_there_is_room():
    worker = Worker("billing")
    wide = TypedDict("wide", {f"field_{number:04}": int for number in range(1_000)})

    async def on_placed(event, client) -> None:
        pass

    on_placed.__annotations__["event"] = EventEnvelope[wide]
    for number in range(2_000):
        worker.on_event(f"order.{number}")(on_placed)
    found = declared_payloads(worker)
    assert MOST_NAMED < len(found) < 2_000
    assert len(msgspec.json.encode(found)) < 600_000  # a report of a million bytes would be none
    assert found[0].schema is not None
    assert found[-1].schema is None
    assert found[-1].note


class Careless(pydantic.BaseModel):
    """A model whose own code fails on some events."""

    amount: float

    @pydantic.field_validator("amount")
    @classmethod
    def looked_up(cls, amount: float) -> float:
        return {1.0: amount}[amount]


async def test_a_check_whose_own_code_raises_ends_no_worker(runtime):
    worker, amounts = Worker("billing"), []

    @worker.on_event("order.placed")
    async def on_placed(event: EventEnvelope[Careless], client) -> None:
        amounts.append(event.payload["amount"])

    await runtime.add(worker)
    for amount in (1, 2, 3):
        await runtime.fire("order.placed", {"amount": amount})
    assert amounts == [1, 2, 3]
    (text,) = noted(runtime)
    assert "the payload breaks Careless: the payload: its check raised KeyError: 2.0" in text


class Unchecked:
    """A class that says nothing of its fields."""


@pytest.mark.parametrize(
    "missing", ["EventEnvelope[Annotated[Unknown, 'refuse']]", EventEnvelope[Annotated[Unchecked, "refuse"]]]
)
async def test_a_handler_that_would_refuse_and_cannot_check_says_so_once(runtime, missing):
    worker, amounts = Worker("billing"), []

    async def on_placed(event, client) -> None:
        amounts.append(event.payload["amount"])

    on_placed.__annotations__["event"] = missing
    worker.on_event("order.placed")(on_placed)
    await runtime.add(worker)
    for amount in (1, 2):
        await runtime.fire("order.placed", {"amount": amount})
    assert amounts == [1, 2]
    (text,) = noted(runtime)
    assert "no event is refused, as none can be checked: " in text


async def test_a_handler_below_batch_declares_by_its_list_and_a_broken_event_stays_out(runtime):
    worker, amounts = Worker("billing"), []

    @worker.on_event("order.placed")
    @batch(size=2, within=60)
    async def on_placed(events: list[EventEnvelope[Annotated[Placed, "refuse"]]], client) -> None:
        amounts.extend(event.payload["amount"] for event in events)

    await runtime.add(worker)
    for amount in (1, "x", 2):
        await runtime.fire("order.placed", {"amount": amount}, wait=False)
    with pytest.raises(HandlerFailed, match="amount: expected float, got str"):
        await runtime.settle()
    assert amounts == [1, 2]
