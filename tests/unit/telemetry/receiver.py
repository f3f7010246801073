"""`Receiver`: an OTLP collector on loopback that keeps what it gets; and ones that misbehave."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dict."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@dataclass
class Got:
    """A span as the receiver has got it: ids in hexadecimal digits, times in nanoseconds."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    links: list[tuple[str, str]]
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    is_error: bool
    message: str
    scope: str
    schema_url: str


class Receiver:
    """Keeps requests, and reads spans, metrics and records of them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        """What the next requests are answered; 200 afterwards."""
        self.largest: int | None = None
        """Bytes of a request over which it is answered 413."""
        self.refused: list[int] = []
        """Bytes of the requests that were."""
        self.came = threading.Event()
        self.url = ""

    def _bodies(self, path: str) -> Iterator[bytes]:
        for of, headers, body in self.requests:
            if of.endswith(path):
                yield gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body

    def spans(self) -> list[Got]:
        """Return all spans."""
        found = []
        for body in self._bodies("/v1/traces"):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += [_got(span, scope.scope.name, scope.schema_url) for span in scope.spans]
        return found

    def resources(self) -> list[dict[str, Any]]:
        """Return what names the source of spans."""
        return [
            plain(resource.resource.attributes)
            for body in self._bodies("/v1/traces")
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        ]

    def metrics(self) -> dict[str, Any]:
        """Return the newest of each metric, by name."""
        found = {}
        for body in self._bodies("/v1/metrics"):
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    found |= {metric.name: metric for metric in scope.metrics}
        return found

    def records(self) -> list[Any]:
        """Return all records of logs."""
        return [
            record
            for body in self._bodies("/v1/logs")
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]


def _got(span: Span, scope: str, schema_url: str) -> Got:
    return Got(
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=plain(span.attributes),
        events=[(event.name, plain(event.attributes)) for event in span.events],
        is_error=span.status.code == 2,
        message=span.status.message,
        scope=scope,
        schema_url=schema_url,
    )


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            status, more, answer = receiver.answers.pop(0) if receiver.answers else (200, {}, b"")
            if receiver.largest is not None and len(body) > receiver.largest:
                receiver.refused.append(len(body))
                status, more, answer = 413, {}, b""
            if status == 200:
                receiver.requests.append((self.path, headers, body))
            self.send_response(status)
            for key, value in more.items():
                self.send_header(key, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            receiver.came.set()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            serving.join()


@dataclass
class Hostile:
    """A server that takes connections and does what it is told with them."""

    url: str
    connections: list[socket.socket] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)


@contextmanager
def misbehaving(act: Callable[[socket.socket, threading.Event], None]) -> Iterator[Hostile]:
    """Run a server whose every connection is given to `act`, with an event that is set at the end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hostile = Hostile(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threads = []

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):  # the other side has gone, as it should
                act(connection, ended)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                hostile.connections.append(connection)
                hostile.came.set()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield hostile
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in hostile.connections:
                with suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
