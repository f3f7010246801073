"""A collector that is dead, slow, hanging or hostile costs a counter and one line of the log."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from dnworker import Runtime, Worker
from dnworker.core.models import TelemetryUse
from dnworker.telemetry.requests import Batch, rejected
from dnworker.telemetry.sender import PARTS, Sender
from dnworker.telemetry.settings import Endpoint, read_settings

from .receiver import misbehaving, receiving

Act = Callable[[socket.socket, threading.Event], None]


def answer_without_end(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: x\r\n\r\n")
    while not ended.is_set():
        connection.sendall(b"x" * 65536)


def drip_headers(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not ended.wait(0.01):
        connection.sendall(b"x-drip: 1\r\n")


def hang(connection: socket.socket, ended: threading.Event) -> None:
    ended.wait()


def hang_up(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(10)


def no_http(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"\x00\xff" * 1000 + b"\r\n\r\n")


def greeter() -> Worker:
    """Return a worker whose events are sent."""
    worker = Worker("greeter")

    @worker.on_event("demo.greeted")
    async def on_greeted(event: object, client: object) -> None: ...

    return worker


def traces(runtime: Runtime) -> TelemetryUse:
    """Return how traces do."""
    assert runtime.telemetry is not None
    return next(use for use in runtime.telemetry.state() if use.signal == "traces")


def only_traces(url: str, timeout: float = 0.3) -> dict[str, str]:
    """Return the variables for traces alone, with a short limit."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_TIMEOUT": str(int(timeout * 1000)),
        "OTEL_BSP_SCHEDULE_DELAY": "10",
    }


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a state."""
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


def own_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "dnworker telemetry"]


@pytest.mark.parametrize("act", [drip_headers, hang, hang_up, no_http], ids=lambda act: act.__name__)
async def test_a_stop_is_not_held_up_and_the_loss_is_counted_and_told_once(
    act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    with misbehaving(act) as hostile, caplog.at_level(logging.WARNING, "dnworker.telemetry"):
        settings = read_settings(None, only_traces(hostile.url))
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
            await until(lambda: traces(runtime).failing_since is not None)
            await runtime.fire("demo.greeted")
            began = time.monotonic()
        assert time.monotonic() - began < 5
        use = traces(runtime)
        assert use.sent == 0
        assert use.dropped >= 4
        assert use.failure
    told = [one for one in caplog.messages if "cannot be sent" in one]
    assert len(told) == 1, told
    assert not own_threads()


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with misbehaving(answer_without_end) as hostile:
        settings = read_settings(None, only_traces(hostile.url, 5.0))
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
            await until(lambda: traces(runtime).sent > 0)  # it has said 200
    assert not own_threads()


async def test_nobody_at_the_port_is_a_counter_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with caplog.at_level(logging.WARNING, "dnworker.telemetry"):
        async with Runtime(port=None, telemetry=f"http://127.0.0.1:{port}") as runtime:
            await runtime.add(greeter())
            for _ in range(3):
                await runtime.fire("demo.greeted")
            await until(lambda: traces(runtime).failing_since is not None)
    assert traces(runtime).dropped >= 6
    assert sum("traces cannot be sent" in one for one in caplog.messages) == 1


@pytest.mark.parametrize(("status", "is_sent"), [(404, False), (400, False), (429, True), (503, True)])
async def test_what_may_be_taken_later_is_sent_again_after_the_time_that_is_asked_for(
    status: int, *, is_sent: bool
) -> None:
    with receiving() as receiver:
        receiver.answers.append((status, {"retry-after": "0"}, b""))
        settings = read_settings(None, only_traces(receiver.url, 5.0))
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
            await until(lambda: bool(traces(runtime).sent if is_sent else traces(runtime).dropped))
            use = traces(runtime)
        assert (use.dropped == 0) == is_sent
        if is_sent:
            assert use.failing_since is None


async def test_a_batch_that_is_too_large_is_sent_in_parts_and_nothing_of_it_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving() as receiver, caplog.at_level(logging.WARNING, "dnworker.telemetry"):
        receiver.largest = 3_000
        settings = read_settings(None, only_traces(receiver.url, 5.0) | {"OTEL_BSP_SCHEDULE_DELAY": "60000"})
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            for _ in range(20):
                await runtime.fire("demo.greeted")
        use = traces(runtime)
        spans = [span.name for span in receiver.spans()]
    assert receiver.refused, "the batch was not too large"
    assert (spans.count("process demo.greeted"), spans.count("send demo.greeted")) == (20, 20)
    assert (use.dropped, use.sent, use.failing_since) == (0, len(spans), None)
    assert not caplog.messages


async def test_a_line_that_is_too_large_by_itself_is_dropped_alone_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker("talker")

    @worker.on_event("say.it")
    async def on_event(event: Any, client: Any) -> None:
        print("x" * event.payload["size"])

    variables = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    with receiving() as receiver, caplog.at_level(logging.WARNING, "dnworker.telemetry"):
        receiver.largest = 3_000
        settings = read_settings(None, variables | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
        async with Runtime(port=None, telemetry=settings) as runtime:
            with runtime.capture_output():
                await runtime.add(worker)
                for size in (1, 2, 6_000, 3, 6_000, 4):
                    await runtime.fire("say.it", {"size": size})
        assert runtime.telemetry is not None
        (use,) = runtime.telemetry.state()
        said = {record.body.string_value for record in receiver.records()}
    assert {"x" * size for size in range(1, 5)} <= said
    assert (use.dropped, use.failing_since) == (2, None)
    (told,) = caplog.messages
    assert "logs: some are dropped and counted" in told
    assert "413, the request is too large" in told


async def test_a_collector_for_which_everything_is_too_large_gets_a_bounded_number_of_requests(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving() as receiver, caplog.at_level(logging.WARNING, "dnworker.telemetry"):
        receiver.largest = 0
        sender = Sender("traces", Endpoint(receiver.url), rejected)
        await sender.send(Batch(range(512), lambda items: b"x" * len(items)))
        await sender.close()
    assert (sender.state.sent, sender.state.dropped) == (0, 512)
    assert 9 < len(receiver.refused) <= PARTS
    assert sum("cannot be sent" in one for one in caplog.messages) == len(caplog.messages) == 1


async def test_an_item_that_cannot_be_written_is_dropped_alone() -> None:
    def write(items: Any) -> bytes:
        if 7 in items:
            raise ValueError("it has no form")
        return b""

    with receiving() as receiver:
        sender = Sender("traces", Endpoint(receiver.url), rejected)
        await sender.send(Batch(range(100), write))
        await sender.close()
    assert (sender.state.sent, sender.state.dropped) == (99, 1)


async def test_what_waits_in_parts_is_counted_when_a_stop_ends_the_sending() -> None:
    with misbehaving(hang) as hostile:
        sender = Sender("traces", Endpoint(hostile.url), rejected)
        sending = asyncio.create_task(sender.send(Batch(range(100), lambda items: b"x")))
        await until(hostile.came.is_set)
        sending.cancel()
        await asyncio.wait({sending})
        await sender.close()
    assert sender.state.dropped == 100


def drip_body(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not ended.wait(0.02):
        connection.sendall(b"x")


def answer_much(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    for _ in range(200):
        connection.sendall(b"x" * 65536)
    read_whole.set()


read_whole = threading.Event()


def test_the_librarys_own_exporter_has_no_bound_for_an_answer_which_is_why_ours_sends() -> None:
    """Decision 63: where this fails, that exporter can take the place of ours."""
    exporter_of = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    ).OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider

    span = TracerProvider().get_tracer("a").start_span("a")
    span.end()
    with misbehaving(answer_much) as hostile:
        exporter_of(endpoint=f"{hostile.url}/v1/traces", timeout=60).export([span])
        assert read_whole.wait(60), "it has not read 13 MB"
    with misbehaving(drip_body) as hostile:
        exporter = exporter_of(endpoint=f"{hostile.url}/v1/traces", timeout=0.1)
        exporting = threading.Thread(target=exporter.export, args=([span],))
        exporting.start()
        exporting.join(1)
        waits_beyond_its_limit = exporting.is_alive()
    exporting.join(30)
    assert waits_beyond_its_limit


async def test_a_wait_of_an_hour_that_a_collector_asks_for_does_not_hold_up_the_stop() -> None:
    with receiving() as receiver:
        receiver.answers.append((429, {"retry-after": "3600"}, b""))
        settings = read_settings(None, only_traces(receiver.url, 5.0))
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
            await until(lambda: traces(runtime).failing_since is not None)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert traces(runtime).sent > 0, "it is tried once more at the end"


async def test_a_collector_of_an_unknown_authority_gets_nothing(tmp_path: object) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def shake(connection: socket.socket, ended: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(10)

    with misbehaving(shake) as hostile:
        settings = read_settings(None, only_traces(hostile.url.replace("http:", "https:"), 5.0))
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
            await until(lambda: traces(runtime).dropped > 0)
            assert "TLS fails" in str(traces(runtime).failure)
    assert traces(runtime).sent == 0


async def test_items_that_a_collector_does_not_take_are_counted() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTracePartialSuccess,
        ExportTraceServiceResponse,
    )

    partial = ExportTraceServiceResponse(partial_success=ExportTracePartialSuccess(rejected_spans=1))
    with receiving() as receiver:
        receiver.answers.append((200, {}, partial.SerializeToString()))
        settings = read_settings(None, only_traces(receiver.url, 5.0))
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
        use = traces(runtime)
    assert (use.dropped, use.sent > 0) == (1, True)


async def test_queues_are_bounded_while_nothing_is_taken() -> None:
    with misbehaving(hang) as hostile:
        settings = read_settings(None, only_traces(hostile.url, 30.0), per_second=1_000_000)
        async with Runtime(port=None, telemetry=settings) as runtime:
            await runtime.add(greeter())
            runtime.publish("demo.greeted")
            await until(hostile.came.is_set)
            for _ in range(10_000):
                runtime.publish("demo.greeted")
            await runtime.settle(timeout=None)
            use = traces(runtime)
            assert use.waiting <= 8_192
            assert use.dropped >= 10_000


async def test_secrets_are_in_no_state_and_no_line(caplog: pytest.LogCaptureFixture) -> None:
    environ = only_traces("http://user:geheim@127.0.0.1:1") | {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=verborgen"
    }
    settings = read_settings(None, environ)
    assert "geheim" not in repr(settings)
    assert "verborgen" not in repr(settings)
    async with Runtime(port=None, telemetry=settings) as runtime:
        await runtime.add(greeter())
        await runtime.fire("demo.greeted")
        await until(lambda: traces(runtime).failing_since is not None)
        told = f"{runtime.info()} {caplog.text} {runtime.telemetry}"
    assert "geheim" not in told
    assert "verborgen" not in told


async def test_headers_reach_the_collector_and_requests_are_compressed() -> None:
    with receiving() as receiver:
        environ = only_traces(receiver.url, 5.0) | {
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b,x-tenant=c",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        }
        async with Runtime(port=None, telemetry=read_settings(None, environ)) as runtime:
            await runtime.add(greeter())
            await runtime.fire("demo.greeted")
        headers = receiver.requests[0][1]
        assert receiver.spans()
    assert (headers["api-key"], headers["x-tenant"]) == ("a b", "c")
    assert headers["content-encoding"] == "gzip"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_a_fork_sends_nothing_and_ends() -> None:
    with receiving() as receiver:
        async with Runtime(port=None, telemetry=receiver.url) as runtime:
            await runtime.add(greeter())
            reader, writer = os.pipe()
            if (pid := os.fork()) == 0:
                state = [] if runtime.telemetry is None else runtime.telemetry.state()
                os.write(writer, str(len(state)).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            assert os.read(reader, 10) == b"0"
            os.close(reader)
            os.close(writer)
            await runtime.fire("demo.greeted")
        assert any(span.name == "process demo.greeted" for span in receiver.spans())
