"""`metrics_of` makes metrics, as protobuf, of what `engine/measuring.py` has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from dnworker.core.run_totals import BOUNDS, RunTotal
from dnworker.engine.measuring import Measure
from dnworker.telemetry.attributes import SYSTEM, Value, pairs

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_BILLION = 1_000_000_000

Points = list[tuple[Mapping[str, Value], float]]


def metrics_of(measure: Measure, at: int, exporter: Mapping[str, Mapping[str, int]]) -> list[Metric]:
    """Return the metrics of a measure.

    Args:
        measure: what was measured.
        at: when, in nanoseconds since 1970.
        exporter: what was sent and dropped of each signal.
    """
    made = _Metrics(int(measure.started_at * _BILLION), at)
    return [
        *_messages(made, measure),
        *_workers(made, measure),
        *_runtime(made, measure),
        made.sum(
            "dnworker.telemetry.items",
            "{item}",
            "Spans, points and records that were sent, and that were dropped.",
            [
                ({"dnworker.telemetry.signal": signal, "dnworker.telemetry.result": result}, count)
                for signal, counts in exporter.items()
                for result, count in counts.items()
            ],
        ),
    ]


def _messages(made: _Metrics, measure: Measure) -> Iterator[Metric]:
    system: dict[str, Value] = {"messaging.system": SYSTEM}
    sent: dict[str, Value] = system | {"messaging.operation.name": "send"}
    yield made.sum(
        "messaging.client.sent.messages",
        "{message}",
        "Events that were accepted.",
        [(sent | {"messaging.destination.name": kind}, count) for kind, count in measure.events.items()],
    )
    consumed, errors = list[tuple[Mapping[str, Value], float]](), list[tuple[Mapping[str, Value], float]]()
    for (worker, handler), total in measure.runs.items():
        of = _of(worker, handler)
        consumed.append((of, sum(total.outcomes.values())))
        errors.append((of | {"error.type": "exception"}, total.outcomes["error"]))
    text = "Runs of handlers that have ended."
    yield made.sum("messaging.client.consumed.messages", "{message}", text, consumed)
    yield made.histogram("messaging.process.duration", "s", "How long runs of handlers took.", measure.runs)
    yield made.sum("dnworker.handler.errors", "{run}", "Runs of handlers that raised.", errors)


def _workers(made: _Metrics, measure: Measure) -> Iterator[Metric]:
    def by_worker(counts: Mapping[str, float]) -> Points:
        return [({"messaging.consumer.group.name": worker}, count) for worker, count in counts.items()]

    yield made.sum(
        "dnworker.worker.restarts", "{restart}", "Starts after a failure.", by_worker(measure.restarts)
    )
    yield made.sum(
        "dnworker.worker.failures", "{failure}", "Workers that ended in error.", by_worker(measure.failures)
    )
    yield made.sum("dnworker.worker.retries", "{event}", "Events given again.", by_worker(measure.retries))
    queued = {name: worker.queued for name, worker in measure.workers.items()}
    yield made.gauge(
        "dnworker.worker.backlog", "{event}", "Events that wait in memory for a worker.", by_worker(queued)
    )
    if measure.cursors is not None:
        text = "Events that the broker keeps for a worker, which has not handled them."
        yield made.gauge("dnworker.worker.pending", "{event}", text, by_worker(measure.cursors))
    if measure.dead_letters is not None:
        text = "Events that are kept because a worker could not handle them."
        yield made.gauge("dnworker.worker.dead_letters", "{event}", text, by_worker(measure.dead_letters))


def _runtime(made: _Metrics, measure: Measure) -> Iterator[Metric]:
    if measure.lag is not None:
        yield made.gauge("dnworker.loop.lag", "s", "How late the event loop turns.", [({}, measure.lag)])
    yield made.sum(
        "dnworker.events.refused", "{event}", "Events that were not accepted.", [({}, measure.refused)]
    )
    yield made.gauge("dnworker.sessions", "{session}", "Sessions that are known.", [({}, measure.sessions)])


def _of(worker: str, handler: str) -> dict[str, Value]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "process",
        "messaging.consumer.group.name": worker,
        "code.function.name": handler,
    }


class _Metrics:
    """Makes metrics of counts since the start, taken at one moment."""

    def __init__(self, started: int, at: int) -> None:
        self._between: dict[str, Any] = {
            "start_time_unix_nano": min(started, at),
            "time_unix_nano": at,
        }
        self._at = at

    def sum(self, name: str, unit: str, text: str, points: Points) -> Metric:
        """Return a count that only grows."""
        made = [
            NumberDataPoint(attributes=pairs(of), as_int=int(count), **self._between) for of, count in points
        ]
        data = Sum(data_points=made, aggregation_temporality=_CUMULATIVE, is_monotonic=True)
        return Metric(name=name, unit=unit, description=text, sum=data)

    def gauge(self, name: str, unit: str, text: str, points: Points) -> Metric:
        """Return a value of now."""
        made = [
            NumberDataPoint(attributes=pairs(of), as_double=float(value), time_unix_nano=self._at)
            for of, value in points
        ]
        return Metric(name=name, unit=unit, description=text, gauge=Gauge(data_points=made))

    def histogram(self, name: str, unit: str, text: str, runs: Mapping[tuple[str, str], RunTotal]) -> Metric:
        """Return how long runs took."""
        made = [
            HistogramDataPoint(
                attributes=pairs(_of(*of)),
                count=sum(total.slots),
                sum=total.seconds,
                bucket_counts=total.slots,
                explicit_bounds=BOUNDS,
                **self._between,
            )
            for of, total in runs.items()
        ]
        data = Histogram(data_points=made, aggregation_temporality=_CUMULATIVE)
        return Metric(name=name, unit=unit, description=text, histogram=data)
