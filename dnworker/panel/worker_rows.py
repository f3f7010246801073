"""The row of a worker as `worker_changes` sends it: small, and without what only the drawer shows.

What is 0, empty or unknown is left out: a thousand rows are one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnworker.core.lifecycle import WorkerState
from dnworker.core.series import STEP, Count, bucket_of
from dnworker.panel.serialize import LONGEST_TEXT, Now, millis, why_disabled
from dnworker.workers.silence import why_silent

if TYPE_CHECKING:
    from dnworker.core.handlers import HandlerKey
    from dnworker.core.stats import HandlerStats
    from dnworker.workers.managed import ManagedWorker

WITHOUT_END = ("task", "on_startup", "on_shutdown")
"""Handlers whose durations say nothing of how long work takes."""


def row_to_json(
    worker: ManagedWorker,
    gate: Mapping[str, bool],
    *,
    series: Sequence[Count],
    is_failing: bool,
    why_no_rollback: str | None,
    now: Now,
) -> dict[str, Any]:
    """Return a worker's row: times in milliseconds, moments since 1970.

    Args:
        worker: the worker.
        gate: the flags that gate it, with their values.
        series: its calls of the last 15 minutes, by bucket, the last one of which is under way.
        is_failing: whether it has failed and not succeeded since.
        why_no_rollback: why there is no earlier generation; None where there is one.
        now: the present.
    """
    stats, error = worker.stats, worker.error or worker.losses
    row: dict[str, Any] = {
        "name": worker.qualified_name,
        "state": str(worker.state),
        "topology": worker.topology_label,
        "inProcess": worker.topology == "in-process",
        "generation": worker.generation,
        "restarts": worker.restarts,
        "error": None if error is None else error[:LONGEST_TEXT],
        "gate": dict(gate),
        "disabled": why_disabled(worker, gate, why_no_rollback),
    }
    optional = {
        "calls": sum(one.calls for one in stats.values()),
        "errors": sum(one.errors for one in stats.values()),
        "inFlight": sum(one.in_flight for key, one in stats.items() if key.decorator != "task"),
        "backlog": worker.waiting,
        "silent": why_silent(worker),
        "standby": (worker.why_standby or "")[:LONGEST_TEXT],
        "failing": int(is_failing or worker.state is WorkerState.ERROR),
        "p95": p95_of(stats),
        "nextRun": _next_run(worker),
        "spark": spark_to_json(series, now),
    }
    return row | {name: value for name, value in optional.items() if value}


def spark_to_json(series: Sequence[Count], now: Now) -> dict[str, Any] | None:
    """Return calls and failed calls from the first bucket that has any to the last one; None without any.

    `end` is the end of the last of them, in seconds since 1970: so a worker that rests is not sent again.
    """
    last = next((n for n in range(len(series) - 1, -1, -1) if series[n].calls), None)
    if last is None:
        return None
    first = next(n for n, one in enumerate(series) if one.calls)
    shown = series[first : last + 1]
    end = (bucket_of(now.monotonic) - (len(series) - 1 - last) + 1) * STEP
    found: dict[str, Any] = {
        "end": end + round(now.since_epoch - now.monotonic),
        "calls": [one.calls for one in shown],
    }
    if any(one.failed for one in shown):
        found["failed"] = [one.failed for one in shown]
    return found


def p95_of(stats: Mapping[HandlerKey, HandlerStats]) -> float | None:
    """Return the 95th percentile of the latest runs of all handlers together, in ms; None without any."""
    return _at(0.95, (s.durations for key, s in stats.items() if key.decorator not in WITHOUT_END))


def _at(share: float, durations: Iterable[Iterable[float]]) -> float | None:
    ordered = sorted(one for some in durations for one in some)
    return round(ordered[round((len(ordered) - 1) * share)] * 1000, 3) if ordered else None


def _next_run(worker: ManagedWorker) -> float | None:
    """Return when a schedule runs next, to the second: it is computed of two clocks, and must not tremble."""
    due = worker.next_runs.values()
    return round(millis(min(due)) / 1000) * 1000.0 if due else None
