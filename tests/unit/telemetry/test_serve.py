"""`dnworker serve --otlp` with a worker process, and what it says of wrong options: whole processes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dnworker.client.client import RuntimeClient
from tests.unit.capabilities import ECHO, make_capability

from .receiver import receiving

pytestmark = pytest.mark.slow

TWO = "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}\nlistener: {path: listener.py}"

LISTENER = """
from dnworker import Worker
worker = Worker(name="listener")

@worker.on_event("demo.pong")
async def on_pong(event, client):
    await client.publish("demo.done")
"""


def serve(*words: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a runtime."""
    return subprocess.Popen(
        [sys.executable, "-m", "dnworker", "serve", "cap", "--json", "--port", "0", *words],
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd), "DREADNODE_RUNTIME_TOKEN": "s3cret", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_one_trace_goes_through_a_worker_process(tmp_path: Path) -> None:
    make_capability(tmp_path / "cap", TWO, {"echo.py": ECHO, "listener.py": LISTENER})
    trace, parent = "ab" * 16, "cd" * 8
    with receiving() as receiver:
        process = serve("--otlp", receiver.url, cwd=tmp_path, OTEL_SERVICE_NAME="shop")
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            import httpx

            async with RuntimeClient(url, auth_token="s3cret") as client:
                done = aiter(client.subscribe("demo.done"))
                answer = httpx.post(
                    f"{url}/api/events",
                    json={"kind": "demo.ping", "payload": {"n": 1}},
                    headers={"authorization": "Bearer s3cret", "traceparent": f"00-{trace}-{parent}-01"},
                    trust_env=False,
                )
                assert answer.status_code == 200
                await anext(done)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        spans = {span.name: span for span in receiver.spans() if span.trace_id == trace}
        assert receiver.resources()[0]["service.name"] == "shop"
        lines = [record for record in receiver.records() if record.body.string_value == "got {'n': 1}"]
    chain = ["process demo.pong", "send demo.pong", "process demo.ping", "send demo.ping"]
    assert spans["send demo.done"].parent == spans[chain[0]].span_id
    for below, above in itertools.pairwise(chain):
        assert spans[below].parent == spans[above].span_id
    assert spans["send demo.ping"].parent == parent
    assert spans["process demo.ping"].attributes["messaging.consumer.group.name"] == "demo:echo"
    (line,) = lines
    assert (line.trace_id.hex(), line.span_id.hex()) == (trace, spans["process demo.ping"].span_id)


CHARGING = """
import os
from dnworker import Worker
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

trace.set_tracer_provider(TracerProvider())
exporter = OTLPSpanExporter(endpoint=os.environ["COLLECTOR"] + "/v1/traces")
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
worker = Worker(name="echo")

@worker.on_startup
async def begin(client):
    with trace.get_tracer("shop").start_as_current_span("open the till"): ...

@worker.on_event("demo.ping")
async def on_ping(event, client):
    with trace.get_tracer("shop").start_as_current_span("look up"): ...
    await client.publish("demo.pong")

@worker.on_event("demo.pong")
async def on_pong(event, client):
    carrier = {}
    propagate.inject(carrier)
    with trace.get_tracer("shop").start_as_current_span("charge"): ...
    fields = sorted(vars(type(event)).get("__struct_fields__", event.__struct_fields__))
    await client.publish("demo.done", {**carrier, "fields": fields, "class": type(event).__name__})

worker.run()
"""


@pytest.mark.parametrize("sampled", [True, False])
async def test_spans_of_users_nest_in_their_invocation_of_a_worker_process(
    tmp_path: Path, *, sampled: bool
) -> None:
    one = "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}"
    make_capability(tmp_path / "cap", one, {"echo.py": CHARGING})
    trace, flags = "ab" * 16, "01" if sampled else "00"
    with receiving() as receiver:
        process = serve("--otlp", receiver.url, cwd=tmp_path, COLLECTOR=receiver.url)
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            import httpx

            async with RuntimeClient(url, auth_token="s3cret") as client:
                done = aiter(client.subscribe("demo.done"))
                httpx.post(
                    f"{url}/api/events",
                    json={"kind": "demo.ping", "payload": {"n": 1}},
                    headers={
                        "authorization": "Bearer s3cret",
                        "traceparent": f"00-{trace}-{'cd' * 8}-{flags}",
                    },
                    trust_env=False,
                ).raise_for_status()
                told = (await anext(done)).payload
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        spans = {span.name: span for span in receiver.spans()}
    assert (told["class"], "traceparent" in told["fields"]) == ("EventEnvelope", False)
    startup = next(span for name, span in spans.items() if name.startswith("startup "))
    assert (spans["open the till"].trace_id, spans["open the till"].parent) == (
        startup.trace_id,
        startup.span_id,
    )
    if not sampled:
        assert not {"look up", "charge", "process demo.ping"} & spans.keys()
        assert told["traceparent"].endswith("-00")
        return
    assert spans["look up"].parent == spans["process demo.ping"].span_id
    assert spans["charge"].parent == spans["process demo.pong"].span_id
    assert spans["look up"].trace_id == spans["charge"].trace_id == trace
    assert told["traceparent"] == f"00-{trace}-{spans['process demo.pong'].span_id}-01"


@pytest.mark.parametrize(
    ("words", "variables", "text"),
    [
        (["--otlp", "nowhere"], {}, "--otlp nowhere: the URL of a collector is wanted"),
        (["--otlp", "http://me:geheim@a"], {}, "--otlp http://a: it has a user or a password"),
        (["--otlp", "http://a", "--otlp-rate", "0"], {}, "--otlp-rate 0: spans a second are wanted"),
        (["--otlp", "http://a"], {"OTEL_TRACES_SAMPLER": "x"}, "OTEL_TRACES_SAMPLER=x:"),
        ([], {"DNWORKER_OTLP": "http://[", "OTEL_TRACES_SAMPLER": ""}, "DNWORKER_OTLP"),
    ],
)
def test_a_wrong_option_is_one_line(
    tmp_path: Path, words: list[str], variables: dict[str, str], text: str
) -> None:
    make_capability(tmp_path / "cap", TWO, {"echo.py": ECHO, "listener.py": LISTENER})
    process = serve(*words, cwd=tmp_path, **variables)
    try:
        out, err = process.communicate(timeout=50)
    finally:
        process.kill()
    assert process.returncode == 1
    error = json.loads(out)["error"]
    assert text in error
    assert "\n" not in error
    assert "geheim" not in error
    assert err == ""
