"""What is suggested to fire: kinds that are heard, and payloads by where they are from."""

from __future__ import annotations

from dnworker import Runtime, Worker
from dnworker.core.samples import SAMPLES, sample
from dnworker.engine.suggest import A_TEMPLATE, Suggestion, Suggestions


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
