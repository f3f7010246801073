"""Requests of OTLP, as bytes, of what the queues have; used on the thread that sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dnworker.telemetry.attributes import SCHEMA_URL, any_value, pairs, scope
from dnworker.telemetry.masking import masked
from dnworker.telemetry.records import Line
from dnworker.telemetry.users import encode_spans

_SEVERITIES = {
    "debug": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "info": SeverityNumber.SEVERITY_NUMBER_INFO,
    "warning": SeverityNumber.SEVERITY_NUMBER_WARN,
    "error": SeverityNumber.SEVERITY_NUMBER_ERROR,
    "critical": SeverityNumber.SEVERITY_NUMBER_FATAL,
}

_RESPONSES: Mapping[str, tuple[type[Any], str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}


class Batch(NamedTuple):
    """What one request has, and what writes it: a part of the items makes a request as well."""

    items: Sequence[Any]
    write: Callable[[Sequence[Any]], bytes]


class Requests:
    """Makes requests that name the same resource.

    Args:
        resource: what names the runtime.
    """

    def __init__(self, resource: Mapping[str, str]) -> None:
        self._resource = Resource(attributes=pairs(resource))

    def traces(self, spans: Iterable[Any]) -> bytes:
        """Return a request with spans: ours as protobuf, those of users' code as the SDK has them."""
        request, mine, theirs = ExportTraceServiceRequest(), list[Span](), list[Any]()
        for span in spans:
            (mine if isinstance(span, Span) else theirs).append(span)
        if mine:
            of = request.resource_spans.add(resource=self._resource, schema_url=SCHEMA_URL)
            of.scope_spans.add(scope=scope(), spans=mine, schema_url=SCHEMA_URL)
        for made in encode_spans(theirs) if theirs else ():
            added = request.resource_spans.add()
            added.CopyFrom(made)
            added.resource.CopyFrom(self._resource)
        return bytes(request.SerializeToString())

    def metrics(self, metrics: Iterable[Metric]) -> bytes:
        """Return a request with metrics."""
        request = ExportMetricsServiceRequest()
        of = request.resource_metrics.add(resource=self._resource, schema_url=SCHEMA_URL)
        of.scope_metrics.add(scope=scope(), metrics=metrics, schema_url=SCHEMA_URL)
        return bytes(request.SerializeToString())

    def logs(self, lines: Iterable[Line]) -> bytes:
        """Return a request with lines of logs."""
        request = ExportLogsServiceRequest()
        of = request.resource_logs.add(resource=self._resource, schema_url=SCHEMA_URL)
        of.scope_logs.add(scope=scope(), log_records=map(_record, lines), schema_url=SCHEMA_URL)
        return bytes(request.SerializeToString())


def rejected(signal: str, answer: bytes) -> tuple[int, str]:
    """Return how many items an answer says were not taken, and why; 0 of an answer that says nothing."""
    message, name = _RESPONSES[signal]
    try:
        success = message.FromString(answer).partial_success
    except Exception:  # protobuf's own errors, and whatever a hostile answer makes of them
        return 0, ""
    count = getattr(success, name)
    return max(0, count), success.error_message[:200]


def _record(line: Line) -> LogRecord:
    at = int(line.line.timestamp.timestamp() * 1_000_000_000)
    record = LogRecord(
        time_unix_nano=at,
        observed_time_unix_nano=at,
        severity_text=line.line.level.upper(),
        severity_number=_SEVERITIES.get(line.line.level, SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED),
        body=any_value(masked(line.text)),
        flags=int(line.is_sampled),
        attributes=pairs(
            {
                "messaging.consumer.group.name": line.line.worker,
                "log.iostream": line.line.source if line.line.source in ("stdout", "stderr") else None,
            }
        ),
    )
    if line.trace_id is not None:
        record.trace_id = bytes.fromhex(line.trace_id)
        if line.span_id is not None:
            record.span_id = bytes.fromhex(line.span_id)
    return record
