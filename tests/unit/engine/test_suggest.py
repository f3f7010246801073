"""What is suggested to fire: kinds that are heard, and payloads by where they are from."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

import pytest

from dnworker import EventEnvelope, Runtime, Worker
from dnworker.core.declared import check_of_type
from dnworker.core.samples import SAMPLES, sample
from dnworker.engine.suggest import A_TEMPLATE, Suggestion, Suggestions


class Line(TypedDict):
    price: float
    below: list[Line]


class Placed(TypedDict):
    total: float
    lines: list[Line]
    name: str
    state: NotRequired[Literal["new", "paid"]]


class Written:
    """Handlers that do not run."""

    def kinds(self):
        return {"a", "b"}

    def sources(self, kind):
        return ['async def on_a(event, client):\n    return event.payload["x"]\n'] if kind == "a" else []


def listener() -> Worker:
    worker = Worker("w")

    @worker.on_event("order.placed")
    async def on_order(event, client):
        return event.payload["total"]

    return worker


async def test_a_kind_of_the_runtime_gets_its_template(runtime):
    suggested = await Suggestions(runtime).suggest("turn.completed")
    assert suggested == Suggestion(sample("turn.completed"), A_TEMPLATE)


async def test_any_other_kind_gets_the_payload_of_its_newest_event(runtime):
    runtime.publish("order.placed", {"total": 1})
    newest = runtime.publish("order.placed", {"total": 2})
    suggested = await Suggestions(runtime).suggest("order.placed")
    assert suggested == ({"total": 2}, f"as of #{newest.seq}")


async def test_without_an_event_the_payload_is_what_handlers_read(runtime):
    await runtime.add(listener())
    suggested = await Suggestions(runtime).suggest("order.placed")
    assert list(suggested.payload) == ["total"]
    assert suggested.source == "made of what handlers read"


async def test_handlers_that_are_written_elsewhere_take_the_place_of_those_that_run(runtime):
    suggestions = Suggestions(runtime, written=Written())
    assert list((await suggestions.suggest("a")).payload) == ["x"]
    assert suggestions.kinds_heard() == {"a", "b"}


def declaring() -> Worker:
    worker = Worker("w")

    @worker.on_event("order.placed")
    async def on_order(event: EventEnvelope[Placed], client):
        return event.payload["total"]

    return worker


async def test_without_an_event_the_payload_is_what_a_handler_declares(runtime):
    await runtime.add(declaring())
    suggested = await Suggestions(runtime).suggest("order.placed")
    assert suggested.source == "as Placed declares it"
    assert suggested.payload.keys() == {"total", "lines", "name", "state"}
    assert check_of_type(Placed)(suggested.payload) is None


async def test_an_event_that_breaks_what_a_handler_declares_is_not_suggested(runtime):
    await runtime.add(declaring())
    runtime.publish("order.placed", {"total": "1"})
    assert (await Suggestions(runtime).suggest("order.placed")).source == "as Placed declares it"
    newest = runtime.publish("order.placed", {"total": 2, "lines": [], "name": "Ada"})
    assert (await Suggestions(runtime).suggest("order.placed")).source == f"as of #{newest.seq}"


async def test_what_nobody_knows_gets_an_empty_payload(runtime):
    assert await Suggestions(runtime).suggest("nobody") == ({}, "")


async def test_the_kinds_are_those_that_are_heard_and_those_of_the_runtime(runtime):
    await runtime.add(listener())
    suggestions = Suggestions(runtime)
    assert suggestions.kinds_heard() == {"order.placed"}
    assert suggestions.kinds() == {"order.placed", *SAMPLES}


async def test_a_kind_that_is_nearly_right_is_corrected(runtime):
    await runtime.add(listener())
    suggestions = Suggestions(runtime)
    assert suggestions.nearest("order.plaved") == "order.placed"
    assert suggestions.nearest("order.placed") is None


async def test_an_event_of_an_earlier_run_is_looked_up_in_the_journal(tmp_path):
    file = tmp_path / "journal"
    async with Runtime(port=None, journal=file) as first:
        first.publish("order.placed", {"total": 3})
    async with Runtime(port=None, journal=file) as second:
        suggested = await Suggestions(second, earlier_runs=True).suggest("order.placed")
        assert suggested.payload == {"total": 3}
        assert (await Suggestions(second).suggest("order.placed")).payload == {}


@pytest.mark.parametrize("kind", ["session.created", "session.deleted"])
async def test_a_template_names_the_session_that_it_is_fired_in(runtime, kind):
    assert (await Suggestions(runtime).suggest(kind, "X")).payload == {"session_id": "X"}


async def test_a_made_up_payload_names_a_session_only_where_it_names_one(runtime):
    runtime.publish("order.placed", {"session_id": "before", "total": 1})
    suggestions = Suggestions(runtime)
    assert (await suggestions.suggest("order.placed", "X")).payload == {"session_id": "X", "total": 1}
    assert (await suggestions.suggest("turn.completed", "X")).payload == sample("turn.completed")


async def test_what_was_fired_before_is_not_changed_by_a_suggestion(runtime):
    published = runtime.publish("order.placed", {"session_id": "before"})
    await Suggestions(runtime).suggest("order.placed", "X")
    assert published.payload == {"session_id": "before"}
