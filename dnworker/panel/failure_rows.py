"""What fails now, as rows of the overview: one a cause, however many handlers it makes fail.

`overview_part` sends the rows, `model` counts them for the header, and `overview_operations` dismisses them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dnworker.core.lifecycle import WorkerState
from dnworker.core.series import BUCKETS, STEP, Buckets, Count, Series, add_up, bucket_of
from dnworker.core.text import shorten

if TYPE_CHECKING:
    from dnworker.engine.changes import Changes
    from dnworker.engine.engine import Engine
    from dnworker.events.failing import Failure
    from dnworker.panel.pace import Pace
    from dnworker.workers.managed import ManagedWorker

ROWS_SHOWN, HANDLERS_SHOWN = 50, 20
"""Rows that are sent, and handlers of a row that are named."""

MINUTE = 60.0
"""Seconds of success after which a failure is over."""

SPARK = 20
"""Bars of a sparkline, of 45 s each."""

LONGEST_NAME = 250
_IDLE = (WorkerState.STOPPED, WorkerState.GATED_OFF, WorkerState.STANDBY)

Group = list["Failure"]
"""The failures of one cause, the first one first."""


def failing_now(engine: Engine, workers: Mapping[str, ManagedWorker]) -> list[Failure]:
    """Return what fails now, and forget for good what does not any more.

    What belongs to a worker that is stopped is left out until that is started.
    """
    if not len(engine.failing):
        return []
    now, utc = time.monotonic(), datetime.now(UTC)
    found, over = [], []
    for failure in engine.failing.all():
        worker = workers.get(failure.worker)
        if worker is None or _is_over(failure, worker, now, utc):
            over.append(failure)
        elif worker.state not in _IDLE:
            found.append(failure)
    engine.failing.drop(over)
    return found


def _is_over(failure: Failure, worker: ManagedWorker, now: float, utc: datetime) -> bool:
    """Return whether a failure has ended: its handler was replaced or has gone, or a minute went well."""
    if failure.generation < worker.generation:
        return True
    was_a_minute_ago = now - failure.last >= MINUTE
    if failure.key is None:
        up = (utc - worker.transitions[-1].at).total_seconds()
        return worker.state is WorkerState.RUNNING and was_a_minute_ago and up >= MINUTE
    stats = worker.stats.get(failure.key)
    if stats is None:
        return worker.state is WorkerState.RUNNING and bool(worker.stats)
    runs_again = failure.key.decorator == "task" and stats.in_flight > 0
    return was_a_minute_ago and (runs_again or not stats.is_failing)


def grouped(failures: list[Failure]) -> list[Group]:
    """Return failures by their cause, those that fail most first: the same error of many handlers is one."""
    groups: dict[tuple[bool, str], Group] = {}
    for failure in sorted(failures, key=lambda one: one.number):
        groups.setdefault((failure.key is None, failure.text), []).append(failure)
    return sorted(groups.values(), key=lambda group: -sum(one.buckets.total().calls for one in group))


async def rows(engine: Engine, failures: list[Failure], epoch: float, pace: Pace) -> dict[str, Any]:
    """Return the rows, and how many there are and how many handlers they are about.

    Args:
        engine: whose failures they are.
        failures: those that count now.
        epoch: seconds since 1970 at which the monotonic clock was 0.
        pace: lets the loop turn.
    """
    groups, found = grouped(failures), []
    for group in groups[:ROWS_SHOWN]:
        found.append(_row(group, engine.history.series, engine.changes, epoch))
        await pace.rest()
    handlers = len({(failure.worker, failure.handler) for failure in failures})
    return {"rows": found, "all": len(groups), "handlers": handlers}


def _row(group: Group, series: Series, changes: Changes, epoch: float) -> dict[str, Any]:
    newest = max(group, key=lambda one: one.last)
    handlers: dict[tuple[str, str], int] = {}
    for one in group:
        handler = one.worker, one.handler
        handlers[handler] = handlers.get(handler, 0) + one.buckets.total().calls
    calls = [series.total_of(*handler).calls for handler in handlers]
    failed = sum(handlers.values())
    return {
        "id": group[0].number,
        "exit": newest.key is None,
        "worker": newest.worker,
        "handler": shorten(newest.handler, LONGEST_NAME),
        "handlers": [
            {"worker": worker, "handler": shorten(name, LONGEST_NAME), "failed": n}
            for (worker, name), n in list(handlers.items())[:HANDLERS_SHOWN]
        ],
        "count": len(handlers),
        "error": newest.text,
        "location": newest.cause.place or None,
        "line": newest.line,
        "source": newest.source,
        "event": newest.event,
        "failed": failed,
        "retried": sum(one.buckets.total().failed for one in group),
        "calls": max(failed, sum(calls)),
        "spark": _spark([one.buckets for one in group]),
        "first": _millis(min(one.first for one in group), epoch),
        "last": _millis(newest.last, epoch),
        "since": _generation_of(group, series, changes, epoch),
    }


def _spark(buckets: list[Buckets]) -> list[int]:
    each = [one.counts() for one in buckets]
    all_of_them = [add_up(bucket).calls for bucket in zip(*each, strict=True)]
    width = BUCKETS // SPARK
    return [sum(all_of_them[n : n + width]) for n in range(0, BUCKETS, width)]


def _generation_of(group: Group, series: Series, changes: Changes, epoch: float) -> dict[str, Any] | None:
    """Return the generation with which it began, if it did: its handler had not failed before."""
    first = min(group, key=lambda one: one.first)
    if len({one.worker for one in group}) > 1:
        return None
    began = next(
        (
            change
            for change in reversed(changes.all)
            if change.is_generation
            and change.worker == first.worker
            and change.generation == first.first_generation
        ),
        None,
    )
    if began is None or began.monotonic > first.first:
        return None
    before = _until(series.of_handler(first.worker, first.handler), began.monotonic)
    if before.failed:
        return None
    return {"worker": first.worker, "n": began.generation, "at": _millis(began.monotonic, epoch)}


def _until(counts: list[Count], moment: float) -> Count:
    """Return the calls of the buckets before the one of a moment."""
    last = bucket_of(time.monotonic())
    return add_up(count for n, count in enumerate(counts) if last - BUCKETS + 1 + n < bucket_of(moment))


def _millis(moment: float, epoch: float) -> int:
    return round((moment + epoch) * 1000)


def bucket_at(millis: float, epoch: float) -> int:
    """Return the number of the bucket that a moment is in, given in milliseconds since 1970."""
    return int((millis / 1000 - epoch) // STEP)
