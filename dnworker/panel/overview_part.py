"""The overview as `view` sends it: what is wrong, the last 15 minutes, what fails, what is due, what changed.

Its numbers have no unit but those of the wire: milliseconds, and counts. `wanted` may name a `since` and
`until`, in milliseconds since 1970, of which `span` has the calls; and a worker, `only`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from dnworker.core.series import BUCKETS, STEP, Count, Series, Spread, add_up, bucket_of
from dnworker.panel import dead_rows, due_rows, failure_rows

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace
    from dnworker.workers.managed import ManagedWorker

Wanted = dict[str, Any]

OVERVIEW_INTERVAL = 1.0
"""Seconds between two looks: what leaves the list of failures does so by time alone."""

MINUTE, FEW = 5, 5
"""Buckets of the last minute, with the one under way; calls in it that are too few to tell anything."""

CHANGES_SHOWN, MARKS_SHOWN = 8, 12

MIN_LAG = 0.0001  # seconds; less is noise


async def overview_to_json(model: PanelModel, wanted: Wanted, pace: Pace) -> dict[str, Any]:
    """Return the overview; see the fields of the dictionary."""
    engine, epoch = model.engine, model.epoch.read()
    only = wanted.get("only") if isinstance(wanted.get("only"), str) else None
    workers = {
        worker.qualified_name: worker
        for worker in engine.workers()
        if only is None or worker.qualified_name == only
    }
    failures = [failure for failure in model.failing_now() if failure.worker in workers]
    await pace.rest()
    facts, due = await _facts(model, workers, pace)
    failing = await failure_rows.rows(engine, failures, epoch, pace)
    series = await _series(engine.history.series, only, epoch, pace)
    await pace.rest()
    silent = {failure.worker for failure in failures if failure.key is None} & facts.pop("silent")
    facts["handlers"] += len(silent)  # of a process that failed, the process itself counts as its one handler
    return facts | {
        "cells": model.actions.has_cells,
        "kept": engine.bus.broker.capabilities.promise,
        "backlog": engine.history.waiting,
        "calls": (whole := _total(engine.history.series, only)).calls,
        "failed": whole.failed,
        "since": _millis(engine.started_at, epoch),
        "series": series,
        "marks": _marks(engine, workers, epoch),
        "failures": failing,
        "dead": dead_rows.rows(engine.dead_letters, only),
        "due": due,
        "changed": _changed(engine, workers, epoch),
        "span": _span(engine.history.series, wanted, epoch),
    }


async def _facts(
    model: PanelModel, workers: dict[str, ManagedWorker], pace: Pace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is counted of the workers, and what is due of them."""
    states: Counter[str] = Counter()
    handlers = in_flight = due_count = 0
    silent: set[str] = set()
    due: list[due_rows.Row] = []
    clock = model.engine.clock
    now = clock.now()
    for name, worker in workers.items():
        states[str(worker.state)] += 1
        stats = worker.stats
        handlers += len(stats)
        in_flight += sum(one.in_flight for key, one in stats.items() if key.decorator != "task")
        if not stats:
            silent.add(name)
        for row in due_rows.rows_of(worker, model, now):
            due.append(row)
            due_count += 1
        if len(due) > 4 * due_rows.ROWS_SHOWN:
            due = due_rows.soonest(due)
        await pace.rest()
    facts = {"workers": dict(states), "handlers": handlers, "inFlight": in_flight, "silent": silent}
    return facts, {"rows": due_rows.soonest(due), "all": due_count}


async def _series(series: Series, only: str | None, epoch: float, pace: Pace) -> dict[str, Any]:
    """Return the 60 buckets; `end` is when the one under way ends, and without calls a duration is None."""
    now = time.monotonic()
    counts = _counts(series, only, now)
    await pace.rest()
    spreads: list[Spread | None] = series.quantiles(now) if only is None else [None] * BUCKETS
    await pace.rest()
    lags = series.lag(now)
    await pace.rest()
    recent = _recent(now, counts)
    lately = series.spread(recent) if only is None else None
    return {
        "recent": None if lately is None else {"p50": _duration(lately.p50), "p95": _duration(lately.p95)},
        "step": STEP * 1000,
        "end": _millis((bucket_of(now) + 1) * STEP, epoch),
        "calls": [count.calls for count in counts],
        "failed": [count.failed for count in counts],
        "p50": [None if one is None else _duration(one.p50) for one in spreads],
        "p95": [None if one is None else _duration(one.p95) for one in spreads],
        "lag": [None if lag is None else round(max(lag, MIN_LAG) * 1000, 1) for lag in lags],
    }


def _recent(now: float, counts: list[Count]) -> range:
    """Return the buckets of the last minute, and of all 15 minutes where few calls have ended in that."""
    last = bucket_of(now)
    few = sum(count.calls for count in counts[-MINUTE:]) < FEW
    return range(last + 1 - (BUCKETS if few else MINUTE), last + 1)


def _total(series: Series, only: str | None) -> Count:
    """Return the calls of the 15 minutes."""
    return series.whole.total() if only is None else add_up(series.of_worker(only))


def _counts(series: Series, only: str | None, now: float) -> list[Count]:
    return series.whole.counts(now) if only is None else series.of_worker(only, now)


def _marks(engine: Engine, workers: dict[str, ManagedWorker], epoch: float) -> list[dict[str, Any]]:
    """Return the generations that came within the 15 minutes, the newest first."""
    oldest = time.monotonic() - BUCKETS * STEP
    found = [
        {"at": _millis(change.monotonic, epoch), "worker": change.worker, "n": change.generation}
        for change in reversed(engine.changes.all)
        if change.is_generation and change.monotonic >= oldest and change.worker in workers
    ]
    return found[:MARKS_SHOWN]


def _changed(engine: Engine, workers: dict[str, ManagedWorker], epoch: float) -> list[dict[str, Any]]:
    """Return the newest steps and generations, the newest first."""
    found = [
        {
            "at": _millis(change.monotonic, epoch),
            "worker": change.worker,
            "state": str(change.state),
            "generation": change.generation if change.is_generation else None,
            "text": change.text,
        }
        for change in reversed(engine.changes.all)
        if change.worker in workers
    ]
    return found[:CHANGES_SHOWN]


def _span(series: Series, wanted: Wanted, epoch: float) -> dict[str, Any] | None:
    """Return the calls of the span that is wanted, by whole buckets; None where none is."""
    since, until = wanted.get("since"), wanted.get("until")
    if not isinstance(since, int | float) or not isinstance(until, int | float) or until <= since:
        return None
    now = time.monotonic()
    last = bucket_of(now)
    first = last - BUCKETS + 1
    buckets = range(
        max(first, failure_rows.bucket_at(since, epoch)),
        min(last, failure_rows.bucket_at(until - 1, epoch)) + 1,
    )
    only = wanted.get("only") if isinstance(wanted.get("only"), str) else None
    counts = _counts(series, only, now)
    found: Count = add_up(counts[bucket - first] for bucket in buckets)
    spread = series.spread(buckets) if only is None else None
    return {
        "since": since,
        "until": until,
        "calls": found.calls,
        "failed": found.failed,
        "p95": None if spread is None else _duration(spread.p95),
    }


def _duration(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _millis(moment: float, epoch: float) -> int:
    return round((moment + epoch) * 1000)
