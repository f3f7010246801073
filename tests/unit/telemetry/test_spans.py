"""Each invocation is one span with the right parent, link, times and ids, whatever publishes what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.core.invocation import Invocation
from dnworker.telemetry.settings import Sampling, TelemetrySettings, read_settings

from .receiver import Got, Receiver, receiving

# A tree of events: the number of the kind, whether its first handler raises, and what that publishes.
trees: st.SearchStrategy[Any] = st.recursive(
    st.tuples(st.integers(0, 3), st.booleans(), st.just([])),
    lambda inner: st.tuples(st.integers(0, 3), st.booleans(), st.lists(inner, max_size=3)),
    max_leaves=12,
)


def listener() -> Worker:
    """Return a worker that does what events say; every second kind has two handlers."""
    worker = Worker("tree")

    async def act(event: Any, client: Any) -> None:
        for kind, fails, children in event.payload["children"]:
            payload = {"fails": fails, "children": children, "password": "geheim"}
            await client.publish(f"tree.k{kind}", payload)
        await asyncio.sleep(0)
        if event.payload["fails"]:
            raise ValueError("it fails with password=geheim")

    async def look(event: Any, client: Any) -> None: ...

    for number in range(4):
        worker.on_event(f"tree.k{number}")(act)
        if number % 2:
            worker.on_event(f"tree.k{number}")(look)
    return worker


async def run(roots: list[Any], receiver: Receiver, sampling: Sampling | None = None) -> list[Invocation]:
    """Publish trees, and return the invocations that they caused."""
    settings_ = read_settings(receiver.url, {})
    telemetry = TelemetrySettings(traces=settings_.traces, sampling=sampling or settings_.sampling)
    ended: list[Invocation] = []
    async with Runtime(port=None, telemetry=telemetry) as runtime:
        runtime.history.listen(lambda one: ended.append(one) if one.outcome != "running" else None)
        await runtime.add(listener())
        for kind, fails, children in roots:
            runtime.publish(f"tree.k{kind}", {"fails": fails, "children": children})
        await settled(runtime)
    return ended


async def settled(runtime: Runtime) -> None:
    """Wait for all; errors of handlers are what the tests want."""
    try:
        await runtime.settle()
    except Exception as exc:
        assert "it fails" in str(exc)


@settings(max_examples=25)
@given(st.lists(trees, min_size=1, max_size=4))
def test_each_invocation_is_one_span_under_the_event_that_caused_it(roots: list[Any]) -> None:
    with receiving() as receiver:
        ended = asyncio.run(run(roots, receiver))
        spans = receiver.spans()
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "an id comes twice"
    processed = {span.span_id: span for span in spans if span.name.startswith("process ")}
    assert sorted(processed) == sorted(one.id for one in ended)
    for one in ended:
        assert one.event is not None
        check_span(processed[one.id], one, by_id)


def check_span(span: Got, one: Invocation, by_id: dict[str, Got]) -> None:
    """Check the span of an invocation, and the way from it to the first event."""
    assert one.event is not None
    sent = by_id[span.parent]
    assert (span.kind, sent.kind) == ("CONSUMER", "PRODUCER")
    assert sent.attributes["messaging.message.id"] == one.event.event_id
    assert span.links == [(sent.trace_id, sent.span_id)]
    assert span.attributes["messaging.destination.name"] == one.event.kind
    assert span.attributes["messaging.consumer.group.name"] == one.worker
    assert sent.start <= span.start <= span.end
    assert span.is_error == (one.outcome == "error")
    assert span.schema_url == "https://opentelemetry.io/schemas/1.41.0"
    if span.is_error:
        ((name, values),) = span.events
        assert (name, values["exception.type"]) == ("exception", "ValueError")
        assert values["exception.message"] == "it fails with password=***"
    root = sent
    while root.parent:
        above = by_id[root.parent]
        assert above.trace_id == span.trace_id
        if above.kind == "CONSUMER":  # what publishes is still running then
            assert above.start <= root.start <= above.end
        root = above
    assert root.attributes["messaging.message.id"] == root.trace_id == span.trace_id


async def test_nothing_of_a_payload_is_sent() -> None:
    with receiving() as receiver:
        async with Runtime(port=None, telemetry=receiver.url) as runtime:
            await runtime.add(listener())
            await runtime.fire("tree.k1", {"fails": False, "children": [], "note": "xyzzy-in-the-payload"})
        assert receiver.spans()
        assert not [body for _, _, body in receiver.requests if b"xyzzy" in body]


async def test_beyond_the_rate_whole_traces_are_left_out_and_counted() -> None:
    roots = [(1, False, [(0, False, [])])] * 200
    with receiving() as receiver:
        ended = await run(roots, receiver, Sampling(per_second=50))
        spans = receiver.spans()
    assert len(ended) == 600
    assert 50 <= len(spans) < 450
    by_id = {span.span_id: span for span in spans}
    assert all(span.parent in by_id for span in spans if span.parent), "a trace is torn apart"


async def test_a_share_of_traces_is_sent_by_their_ids_alone() -> None:
    roots = [(0, False, [(2, False, [])])] * 100
    with receiving() as receiver:
        ended = await run(roots, receiver, Sampling(ratio=0.5))
        spans = receiver.spans()
    wanted = {one.event.event_id for one in ended if one.event is not None and one.event.kind == "tree.k0"}
    wanted = {trace for trace in wanted if int(trace[16:], 16) < 2**63}
    assert {span.trace_id for span in spans} == wanted | {s.trace_id for s in spans if "component" in s.name}
    assert 0 < len(wanted) < 100


async def test_a_schedule_begins_a_trace_and_a_task_is_linked_to_those_it_begins() -> None:
    worker = Worker("clocked")

    @worker.every(seconds=0.01)
    async def tick(client: Any) -> None:
        await client.publish("tick.scheduled")

    @worker.task
    async def poll(client: Any) -> None:
        await client.publish("tick.polled")
        await asyncio.Event().wait()

    with receiving() as receiver:
        async with Runtime(port=None, telemetry=receiver.url) as runtime:
            ticked = runtime.bus.subscribe(["tick.scheduled"])
            await runtime.add(worker)
            await anext(aiter(ticked))
        spans = receiver.spans()
    scheduled = next(span for span in spans if span.name == "send tick.scheduled")
    schedule = next(span for span in spans if span.span_id == scheduled.parent)
    assert schedule.name.startswith("schedule ")
    assert schedule.name.endswith("clocked.tick")
    assert schedule.trace_id == scheduled.trace_id == schedule.span_id * 2
    polled = next(span for span in spans if span.name == "send tick.polled")
    task = next(span for span in spans if span.name.startswith("task "))
    assert polled.parent == ""
    assert polled.links == [(task.trace_id, task.span_id)]


@pytest.mark.parametrize("flag", ["01", "00"])
async def test_a_trace_from_outside_goes_on_where_it_is_sampled(flag: str) -> None:
    import httpx

    trace, parent = "ab" * 16, "cd" * 8
    with receiving() as receiver:
        async with Runtime(port=0, telemetry=receiver.url) as runtime:
            await runtime.add(listener())
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.post(
                    f"{runtime.url}/api/events",
                    json={"kind": "tree.k1", "payload": {"fails": False, "children": [(0, False, [])]}},
                    headers={
                        "authorization": f"Bearer {runtime.tokens.main}",
                        "traceparent": f"00-{trace}-{parent}-{flag}",
                    },
                )
                assert answer.status_code == 200
            await settled(runtime)
        spans = [span for span in receiver.spans() if "tree" in span.name]
    if flag == "00":
        assert not spans
        return
    assert {span.trace_id for span in spans} == {trace}
    assert [span.parent for span in spans if span.name == "send tree.k1"] == [parent]
    assert sum(span.name.startswith("process ") for span in spans) == 3
