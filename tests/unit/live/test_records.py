"""Handlers as records: read from a Worker, put into another, compared."""

from __future__ import annotations

import pytest

from dnworker.core.handlers import HandlerKey
from dnworker.workers.decorating import how_called
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.records import handler_records, make_worker


def registered() -> Worker:
    worker = Worker("bridge")

    @worker.on_startup
    async def begin(client): ...

    @worker.on_event("demo.a")
    async def on_a(event, client): ...

    @worker.every(seconds=60)
    async def tick(client): ...

    @worker.task
    async def watch(client): ...

    @worker.on_shutdown
    async def end(client): ...

    return worker


def test_every_kind_of_handler_has_a_record_with_its_key():
    assert [handler.key for handler in handler_records(registered())] == [
        HandlerKey("on_startup", "", "begin"),
        HandlerKey("on_event", "demo.a", "on_a"),
        HandlerKey("every", "60s", "tick"),
        HandlerKey("task", "", "watch"),
        HandlerKey("on_shutdown", "", "end"),
    ]


def test_a_worker_made_of_records_has_the_same_handlers():
    records = handler_records(registered())
    assert handler_records(make_worker("other", records)) == records


def test_handlers_of_one_name_and_trigger_have_records_of_their_own_in_their_order():
    worker = Worker("bridge")
    functions = []
    for _ in range(2):

        @worker.on_event("demo.a")
        async def on_a(event, client): ...

        functions.append(on_a)
    records = handler_records(worker)
    assert [(r.key.name, r.function) for r in records] == [("on_a", functions[0]), ("on_a#2", functions[1])]
    assert {r.declared for r in records} == {HandlerKey("on_event", "demo.a", "on_a")}


def test_what_a_handler_closes_over_makes_it_another():
    def with_value(value):
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client):
            return value

        return handler_records(worker)[0].code

    one = object()
    assert with_value(one) == with_value(one)
    assert with_value(one) != with_value(object())


@pytest.mark.parametrize(
    ("decorator", "problem"),
    [("task", "cannot be called: it must take (client), and takes (event, client)"), ("on_event", None)],
)
def test_a_signature_that_cannot_be_called_is_told(decorator, problem):
    worker = Worker("bridge")

    async def handler(event, client): ...

    if decorator == "task":
        worker.task(handler)
    else:
        worker.on_event("demo.a")(handler)
    record = handler_records(worker)[0]
    assert how_called(record.function, record.key.decorator) == problem


def test_a_default_that_cannot_be_shown_is_no_reason_to_fail():
    class Hostile:
        def __repr__(self):
            raise RuntimeError("not shown")

    def code():
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client, held=Hostile()): ...  # noqa: B008

        return handler_records(worker)[0]

    one, other = code(), code()
    assert one.code != other.code
