"""One trace over several nodes: each span is sent by one of them, and its parent is sent by one, too."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from dnworker import Runtime, Worker
from dnworker.core.clock import RealClock
from dnworker.testing import SharedBroker, SharedStore

from .receiver import receiving


def step(name: str, kind: str, then: str | None) -> Worker:
    """Return a worker that publishes the next kind."""
    worker = Worker(name)

    @worker.on_event(kind)
    async def on_event(event: Any, client: Any) -> None:
        if then is not None:
            await client.publish(then)

    return worker


async def test_a_trace_goes_on_over_nodes_and_nothing_is_sent_twice() -> None:
    trace, parent = "ab" * 16, "cd" * 8
    store = SharedStore(RealClock())
    with receiving() as receiver:
        one = Runtime(port=0, broker=SharedBroker(store), node="a", telemetry=receiver.url)
        two = Runtime(port=None, broker=SharedBroker(store), node="b", telemetry=receiver.url)
        async with one, two:
            await one.add(step("first", "chain.one", "chain.two"))
            await two.add(step("second", "chain.two", "chain.three"))
            done = one.bus.subscribe(["chain.three"])
            headers = {"authorization": f"Bearer {one.tokens.main}", "traceparent": f"00-{trace}-{parent}-01"}
            async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
                answer = await http.post(f"{one.url}/api/events", json={"kind": "chain.one"})
                assert answer.status_code == 200
            async with asyncio.timeout(20):
                await anext(aiter(done))
        spans = [span for span in receiver.spans() if "chain" in span.name]
    names = sorted(span.name for span in spans)
    assert names == sorted(
        ["send chain.one", "process chain.one", "send chain.two", "process chain.two", "send chain.three"]
    )
    assert {span.trace_id for span in spans} == {trace}
    by_name = {span.name: span for span in spans}
    assert by_name["send chain.one"].parent == parent
    assert by_name["process chain.one"].parent == by_name["send chain.one"].span_id
    assert by_name["send chain.two"].parent == by_name["process chain.one"].span_id
    assert by_name["process chain.two"].parent == by_name["send chain.two"].span_id
    assert by_name["send chain.three"].parent == by_name["process chain.two"].span_id
