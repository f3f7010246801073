"""Spans of turns and of users' code, metrics, and lines of logs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from dnworker import Runtime, Worker

from .receiver import plain, receiving


async def test_a_turn_is_an_agent_with_its_tools_and_tokens() -> None:
    async def reply(turn: Any) -> str:
        assert await turn.call_tool("add", {"a": 1, "b": 2}) == "3"
        return "the sum is 3"

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    worker = Worker("asker")

    @worker.on_event("sum.wanted")
    async def on_wanted(event: Any, client: Any) -> None:
        await client.run_turn(session_id="s", agent="counter", message="what is 1 + 2, geheim?")

    with receiving() as receiver:
        async with Runtime(port=None, telemetry=receiver.url) as runtime:
            runtime.agents.register("counter", reply)
            runtime.tools.register(add)
            await runtime.add(worker)
            await runtime.fire("sum.wanted")
        spans = receiver.spans()
        assert not [body for _, _, body in receiver.requests if b"geheim" in body or b"the sum is" in body]
    by_id = {span.span_id: span for span in spans}
    turn = next(span for span in spans if span.name == "invoke_agent counter")
    assert turn.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert turn.attributes["gen_ai.conversation.id"] == "s"
    assert turn.attributes["gen_ai.usage.output_tokens"] >= 0
    accepted = by_id[turn.parent]
    assert accepted.name == "send turn.accepted"
    assert by_id[accepted.parent].name == "process sum.wanted"
    tool = next(span for span in spans if span.name == "execute_tool add")
    assert tool.parent == turn.span_id
    assert tool.attributes["gen_ai.tool.name"] == "add"
    assert turn.start <= tool.start <= tool.end <= turn.end
    assert len({span.trace_id for span in spans if "component" not in span.name}) == 1


async def test_metrics_count_what_was_sent_and_handled() -> None:
    worker = Worker("counted")

    @worker.on_event("count.me")
    async def on_event(event: Any, client: Any) -> None:
        if event.payload.get("fails"):
            raise ValueError("it fails")

    with receiving() as receiver:
        async with Runtime(port=None, telemetry=receiver.url) as runtime:
            await runtime.add(worker)
            for fails in (False, False, True):
                runtime.publish("count.me", {"fails": fails})
            try:
                await runtime.settle()
            except Exception as exc:
                assert "it fails" in str(exc)
        metrics = receiver.metrics()
    sent = {
        plain(p.attributes)["messaging.destination.name"]: p.as_int
        for p in metrics["messaging.client.sent.messages"].sum.data_points
    }
    assert sent["count.me"] == 3
    (consumed,) = metrics["messaging.client.consumed.messages"].sum.data_points
    assert consumed.as_int == 3
    (errors,) = metrics["dnworker.handler.errors"].sum.data_points
    assert errors.as_int == 1
    (took,) = metrics["messaging.process.duration"].histogram.data_points
    assert (took.count, sum(took.bucket_counts)) == (3, 3)
    assert len(took.bucket_counts) == len(took.explicit_bounds) + 1
    assert {"dnworker.worker.restarts", "dnworker.worker.backlog"} <= set(metrics)


async def test_lines_of_logs_belong_to_the_span_that_wrote_them() -> None:
    worker = Worker("talker")

    @worker.on_event("say.it")
    async def on_event(event: Any, client: Any) -> None:
        print("hello, token=abcdef123")
        sys.stderr.write("careful\n")

    with receiving() as receiver:
        async with Runtime(port=None, telemetry=receiver.url) as runtime:
            with runtime.capture_output():
                await runtime.add(worker)
                await runtime.fire("say.it")
        (span,) = [span for span in receiver.spans() if span.name == "process say.it"]
        records = {record.body.string_value: record for record in receiver.records()}
    hello = records["hello, token=***"]
    assert (hello.trace_id.hex(), hello.span_id.hex(), hello.flags) == (span.trace_id, span.span_id, 1)
    careful = records["careful"]
    assert plain(careful.attributes)["log.iostream"] == "stderr"
    assert careful.span_id.hex() == span.span_id


NESTED = """
import asyncio, sys
from dnworker import Runtime, Worker
from opentelemetry import trace
from tests.unit.telemetry.receiver import receiving

async def main():
    worker = Worker("mine")
    @worker.on_event("a.b")
    async def on_event(event, client):
        with trace.get_tracer("shop").start_as_current_span("charge"):
            await client.publish("a.c")
    @worker.on_event("a.c")
    async def on_next(event, client):
        with trace.get_tracer("shop").start_as_current_span("write"): ...
    for _ in range(2):  # the provider of a process can be set once only
        with receiving() as receiver:
            async with Runtime(port=None, telemetry=receiver.url) as runtime:
                await runtime.add(worker)
                await runtime.fire("a.b")
            spans = {span.name: span for span in receiver.spans() if "component" not in span.name}
        assert spans["charge"].parent == spans["process a.b"].span_id, spans
        assert spans["write"].parent == spans["process a.c"].span_id
        assert len({span.trace_id for span in spans.values()}) == 1
        assert spans["charge"].scope == "shop"
    async with Runtime(port=None, telemetry=False) as runtime:
        await runtime.add(worker)
        await runtime.fire("a.b")
    print("nested")

asyncio.run(main())
"""


def test_spans_of_users_nest_in_their_invocation() -> None:
    command = [sys.executable, "-c", NESTED]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "nested\n", run.stderr


async def test_the_api_and_metrics_for_prometheus_tell_how_it_does() -> None:
    import httpx

    with receiving() as receiver:
        async with Runtime(port=0, telemetry=receiver.url) as runtime:
            headers = {"authorization": f"Bearer {runtime.tokens.main}"}
            async with httpx.AsyncClient(trust_env=False, headers=headers, base_url=str(runtime.url)) as http:
                told = (await http.get("/api/runtime")).json()["telemetry"]
                text = (await http.get("/metrics")).text
        assert [one["signal"] for one in told] == ["traces", "metrics", "logs"]
        assert told[0]["endpoint"] == f"{receiver.url}/v1/traces"
        assert 'dnworker_telemetry_sent_total{signal="traces"}' in text
        assert 'dnworker_telemetry_dropped_total{signal="logs"} 0.0' in text
        assert 'dnworker_telemetry_up{signal="traces"} 1.0' in text
