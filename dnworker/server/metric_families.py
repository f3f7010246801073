"""`families` makes metrics of a `Measure`, for the client library of Prometheus; only `metrics` imports it.

Names go by the conventions of Prometheus: a base unit at the end, `_total` for what only grows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dnworker.core.lifecycle import WorkerState
from dnworker.core.models import TelemetryUse
from dnworker.core.run_totals import BOUNDS
from dnworker.core.schedule import spec_of
from dnworker.core.text import valid_text
from dnworker.engine.measuring import JournalMeasure, Measure

_STATES = [str(state) for state in WorkerState]


class MeasureCollector(Collector):
    """Collects the metrics of one measure, and those of the process."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        measure = self._measure
        yield InfoMetricFamily(
            "dnworker",
            "The runtime.",
            value={
                "version": measure.version,
                "runtime_id": measure.runtime_id,
                "node": valid_text(measure.node),
                "broker": measure.broker,
            },
        )
        yield from _events(measure)
        yield from _runs(measure)
        yield from _times(measure)
        yield from _workers(measure)
        yield from _ages(measure)
        yield from _runtime(measure)
        if measure.journal is not None:
            yield from _journal(measure.journal)
        if measure.telemetry:
            yield from _telemetry(measure.telemetry)


def registry(measure: Measure) -> CollectorRegistry:
    """Return what the client library writes down."""
    made = CollectorRegistry(auto_describe=False)
    made.register(MeasureCollector(measure))
    ProcessCollector(registry=made)
    return made


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, count in counts.items():
        family.add_metric([valid_text(key)], count)
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([valid_text(key)], value)
    return family


def _events(measure: Measure) -> Iterator[Metric]:
    yield _counter(
        "dnworker_events",
        "Events that were accepted, by kind; over a shared broker every node counts all of them.",
        "kind",
        measure.events,
    )
    yield CounterMetricFamily(
        "dnworker_events_refused", "Events that the broker did not accept.", value=measure.refused
    )
    if measure.dead_letters is not None:
        yield _gauge(
            "dnworker_dead_letters",
            "Events that are kept because a worker could not handle them.",
            "worker",
            measure.dead_letters,
        )


def _runs(measure: Measure) -> Iterator[Metric]:
    runs = CounterMetricFamily(
        "dnworker_handler_runs", "Runs of handlers that have ended.", labels=["worker", "handler", "outcome"]
    )
    durations = HistogramMetricFamily(
        "dnworker_handler_duration_seconds",
        "How long runs of handlers took, without tasks and those that were cancelled.",
        labels=["worker", "handler"],
    )
    for (worker, handler), total in measure.runs.items():
        names = [valid_text(worker), valid_text(handler)]
        for outcome, count in total.outcomes.items():
            runs.add_metric([*names, outcome], count)
        ends = [*map(str, BOUNDS), "+Inf"]
        buckets = list(zip(ends, map(float, accumulate(total.slots)), strict=True))
        durations.add_metric(names, buckets, total.seconds)
    yield runs
    yield durations


def _times(measure: Measure) -> Iterator[Metric]:
    """Yield when handlers ran to their end, and how often those of schedules should."""
    succeeded = GaugeMetricFamily(
        "dnworker_handler_last_success_timestamp_seconds",
        "When a run of a handler last ended that raised nothing; not there before the first.",
        labels=["worker", "handler"],
    )
    for (worker, handler), total in measure.runs.items():
        if total.succeeded_at is not None:
            at = round(total.succeeded_at + measure.to_epoch, 3)
            succeeded.add_metric([valid_text(worker), valid_text(handler)], at)
    yield succeeded
    intervals = GaugeMetricFamily(
        "dnworker_schedule_interval_seconds",
        "Seconds from one run of a schedule to the next; of a cron text from the last one to the next.",
        labels=["worker", "handler"],
    )
    now = datetime.now(UTC)
    for (worker, handler), label in measure.schedules.items():
        if (seconds := _interval(label, now)) is not None:
            intervals.add_metric([valid_text(worker), valid_text(handler)], seconds)
    yield intervals


def _interval(label: str, now: datetime) -> float | None:
    """Return the seconds from run to run of a schedule; None for a label that is none."""
    spec = spec_of(label)
    if spec is None or spec.interval_seconds is not None:
        return None if spec is None else spec.interval_seconds
    return (spec.next_run(now) - spec.last_run(now)).total_seconds()


def _workers(measure: Measure) -> Iterator[Metric]:
    yield _gauge(
        "dnworker_workers", "Workers, by state.", "state", {s: measure.states.get(s, 0) for s in _STATES}
    )
    states = StateSetMetricFamily(
        "dnworker_worker_state", "The state that a worker is in.", labels=["worker"]
    )
    for name, worker in measure.workers.items():
        if worker.state is not None:
            states.add_metric([valid_text(name)], {state: state == worker.state for state in _STATES})
    yield states
    queued = {name: worker.queued for name, worker in measure.workers.items()}
    yield _gauge(
        "dnworker_worker_queued_events", "Events that wait in memory for a worker.", "worker", queued
    )
    running = {name: worker.running for name, worker in measure.workers.items()}
    yield _gauge(
        "dnworker_worker_running", "Runs of a worker's handlers that have not ended.", "worker", running
    )
    for name, text, counts in (
        ("starts", "Starts of a worker.", measure.starts),
        ("restarts", "Starts of a worker by the restart policy, after a failure.", measure.restarts),
        ("failures", "How often a worker ended in the state error.", measure.failures),
        ("retries", "Events that were given to a worker again, as a handler had failed.", measure.retries),
    ):
        yield _counter(f"dnworker_worker_{name}", text, "worker", counts)
    if measure.cursors is not None:
        yield _gauge(
            "dnworker_cursor_pending_events",
            "Events that the broker keeps for a worker, which has not handled them.",
            "worker",
            measure.cursors,
        )


def _ages(measure: Measure) -> Iterator[Metric]:
    since = {name: worker.since for name, worker in measure.workers.items() if worker.since is not None}
    yield _gauge(
        "dnworker_worker_state_since_timestamp_seconds",
        "When a worker came into the state that it is in.",
        "worker",
        since,
    )
    oldest = {name: worker.oldest_run for name, worker in measure.workers.items()}
    yield _gauge(
        "dnworker_worker_oldest_run_seconds",
        "For how long the oldest run of a worker's handlers goes on, tasks aside; 0 where none runs.",
        "worker",
        oldest,
    )


def _runtime(measure: Measure) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "dnworker_ready", "Whether /api/ready answers that it is ready.", value=measure.is_ready
    )
    yield GaugeMetricFamily(
        "dnworker_start_time_seconds", "When the runtime started, since 1970.", value=measure.started_at
    )
    yield CounterMetricFamily("dnworker_reloads", "Reloads that have begun.", value=measure.reloads)
    yield GaugeMetricFamily(
        "dnworker_reload_failed", "Whether the last reload failed.", value=measure.reload_failed
    )
    yield GaugeMetricFamily(
        "dnworker_broker_up", "Whether the broker accepts events.", value=not measure.broker_failed
    )
    yield GaugeMetricFamily(
        "dnworker_cursors_up",
        "Whether the broker says how far workers are.",
        value=measure.cursors is not None,
    )
    if measure.lag is not None:
        yield GaugeMetricFamily(
            "dnworker_loop_lag_seconds",
            "How late the event loop turns: the 99th percentile of the last 15 s.",
            value=measure.lag,
        )
    yield GaugeMetricFamily("dnworker_sessions", "Sessions that are known.", value=measure.sessions)
    used = {
        name: one.used / one.limit
        for name, one in measure.limits.items()
        if one.used is not None and one.limit
    }
    yield _gauge("dnworker_limit_used_ratio", "How much of a limit is used, of 1.", "limit", used)
    dropped = {name: one.dropped for name, one in measure.limits.items() if one.dropped is not None}
    yield _counter("dnworker_limit_dropped", "What had to go because a limit was used up.", "limit", dropped)


def _telemetry(uses: Sequence[TelemetryUse]) -> Iterator[Metric]:
    of = "of a signal of OpenTelemetry"
    sent = {use.signal: use.sent for use in uses}
    yield _counter("dnworker_telemetry_sent", f"Items {of} that were sent.", "signal", sent)
    dropped = {use.signal: use.dropped for use in uses}
    yield _counter("dnworker_telemetry_dropped", f"Items {of} that were lost.", "signal", dropped)
    limited = {use.signal: use.limited for use in uses}
    yield _counter(
        "dnworker_telemetry_limited", f"Items {of} that were left out for their rate.", "signal", limited
    )
    up = {use.signal: float(use.failing_since is None) for use in uses}
    yield _gauge("dnworker_telemetry_up", "Whether the collector takes a signal.", "signal", up)


def _journal(journal: JournalMeasure) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "dnworker_journal_up", "Whether the file that keeps events can be written.", value=journal.is_up
    )
    try:
        disk = shutil.disk_usage(journal.path.parent)
    except OSError:  # the directory has gone: the journal says why it is not up
        return
    yield GaugeMetricFamily(
        "dnworker_journal_disk_free_bytes", "Bytes that are free on the disk of that file.", value=disk.free
    )
    yield GaugeMetricFamily(
        "dnworker_journal_disk_size_bytes", "Bytes of the disk of that file.", value=disk.total
    )
