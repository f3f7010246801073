"""`measure` takes down what metrics tell of a runtime, as plain data that another thread may read.

The server's `metric_families.py` makes metrics of it. Names that people choose, such as kinds of events, are
bounded: what is beyond a bound is counted together as `other`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker._version import __version__
from dnworker.core.members import index_of
from dnworker.core.models import LimitUse, TelemetryUse
from dnworker.core.run_totals import RunTotal
from dnworker.engine.totals import OTHER

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.engine.gaps import Gaps
    from dnworker.workers.managed import ManagedWorker

KINDS_SHOWN = 300
WORKERS_SHOWN = 1_000
"""Kinds and workers that have metrics of their own."""

CURSORS_WITHIN = 5.0
"""Seconds after which the rest is told without what the broker keeps: cursors and dead letters."""


class WorkerMeasure(msgspec.Struct, frozen=True):
    """What one worker does now; for the workers beyond the bound together, without a state.

    Attributes:
        state: its lifecycle's, such as `running`.
        queued: events that wait in memory for it.
        running: runs of its handlers that have not ended.
        since: when it came into this state, in seconds since 1970.
        oldest_run: seconds for which the oldest run of its handlers goes on; 0 where none runs. Tasks, which
            run as long as the worker, are not among them.
    """

    state: str | None
    queued: int
    running: int
    since: float | None = None
    oldest_run: float = 0.0


class JournalMeasure(msgspec.Struct, frozen=True):
    """The file in which events and invocations are kept; `is_up` says whether it can be written."""

    path: Path
    is_up: bool


class Measure(msgspec.Struct, frozen=True):
    """A runtime at one moment. Mappings are by qualified worker, or by what their names say.

    Attributes:
        started_at: when it started, in seconds since 1970.
        to_epoch: what makes seconds since 1970 of monotonic seconds.
        reloads: how often it read capabilities again, and whether the last time failed.
        schedules: the label of each schedule, such as `30s` or `cron 0 9 * * *`, by worker and handler; only
            those that have runs in `runs`.
        lag: seconds by which the loop turned late, as the 99th percentile of the newest 15 s that have one.
        dead_letters: events that are kept because a worker could not handle them; None if they are not read.
        cursors: events that the broker keeps for each worker; None where it does not say how many.
    """

    version: str
    runtime_id: str
    node: str
    broker: str
    broker_failed: bool
    is_ready: bool
    started_at: float
    to_epoch: float
    reloads: int
    reload_failed: bool
    events: Mapping[str, int]
    refused: int
    runs: Mapping[tuple[str, str], RunTotal]
    schedules: Mapping[tuple[str, str], str]
    workers: Mapping[str, WorkerMeasure]
    states: Mapping[str, int]
    starts: Mapping[str, int]
    restarts: Mapping[str, int]
    failures: Mapping[str, int]
    retries: Mapping[str, int]
    dead_letters: Mapping[str, int] | None
    cursors: Mapping[str, int] | None
    lag: float | None
    sessions: int
    limits: Mapping[str, LimitUse]
    journal: JournalMeasure | None
    telemetry: Sequence[TelemetryUse] = ()


async def measure(engine: Engine) -> Measure:
    """Return how a runtime stands; called on its loop."""
    cursors, dead_letters = await asyncio.gather(  # one after the other would outlast a scrape
        _told(engine.gaps, "cursors", lambda: _cursors(engine)),
        _told(engine.gaps, "dead letters", lambda: _dead_letters(engine)),
    )
    totals, workers = engine.totals, engine.workers()
    _count_from_zero(engine, workers)
    runs, to_epoch = engine.history.series.totals.read(), time.time() - time.monotonic()
    journal = engine.journal
    lags = [lag for lag in engine.history.series.lag()[-2:] if lag is not None]
    return Measure(
        version=__version__,
        runtime_id=engine.runtime_id,
        node=engine.holdings.node,
        broker=engine.bus.broker.name,
        broker_failed=engine.bus.broker.failure is not None,
        is_ready=engine.progress.stage == "ready",
        started_at=engine.started_on,
        to_epoch=to_epoch,
        reloads=engine.progress.reloads,
        reload_failed=engine.capabilities.reload_error is not None,
        events=_events(engine),
        refused=totals.refused,
        runs=runs,
        schedules=_schedules(workers, runs),
        workers=_workers(engine),
        states=Counter(str(worker.state) for worker in workers),
        starts=totals.starts.read(),
        restarts=totals.restarts.read(),
        failures=totals.failures.read(),
        retries=totals.retries.read(),
        dead_letters=dead_letters,
        cursors=cursors,
        lag=lags[-1] if lags else None,
        sessions=len(engine.sessions),
        limits=engine.usage.read(),
        journal=None if journal is None else JournalMeasure(journal.path, journal.failure is None),
        telemetry=() if engine.telemetry is None else engine.telemetry.state(),
    )


def _count_from_zero(engine: Engine, workers: Sequence[ManagedWorker]) -> None:
    """Have counts of what has not happened yet, or the first time would be no rise."""
    totals = engine.totals
    for worker in workers:
        for counts in (totals.starts, totals.restarts, totals.failures, totals.retries):
            counts.know(worker.qualified_name)
        for key in worker.stats:
            engine.history.series.totals.know(worker.qualified_name, key.name)


def _schedules(
    workers: Sequence[ManagedWorker], counted: Container[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Return the schedules that run here; of the members of a worker only the first runs them."""
    return {
        (worker.qualified_name, key.name): key.trigger
        for worker in workers
        if index_of(worker.qualified_name) == 0
        for key in worker.stats
        if key.decorator == "every" and (worker.qualified_name, key.name) in counted
    }


def bounded(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the first `most` counts, and the sum of all others as `other`, where there are any."""
    found: dict[str, int] = {}
    for number, (name, count) in enumerate(counts.items()):
        key = name if number < most else OTHER
        found[key] = found.get(key, 0) + count
    return found


def _events(engine: Engine) -> dict[str, int]:
    """Return the events by kind; which kinds have a count of their own never changes, so none shrinks."""
    published, kinds = engine.flow.published, dict[str, int]()
    for (_, kind), count in published.totals.items():
        kinds[kind] = kinds.get(kind, 0) + count
    shown = bounded(kinds, KINDS_SHOWN)
    if published.beyond:
        shown[OTHER] = shown.get(OTHER, 0) + published.beyond
    return shown


def _workers(engine: Engine) -> dict[str, WorkerMeasure]:
    found: dict[str, WorkerMeasure] = {}
    queued = running = 0
    oldest = _oldest_runs(engine)
    workers = sorted(engine.workers(), key=lambda worker: worker.qualified_name)
    for worker in workers:
        name, runs = worker.qualified_name, sum(one.in_flight for one in worker.stats.values())
        if len(found) < WORKERS_SHOWN:
            since = worker.transitions[-1].at.timestamp()
            found[name] = WorkerMeasure(str(worker.state), worker.waiting, runs, since, oldest.get(name, 0.0))
        else:
            queued, running = queued + worker.waiting, running + runs
    if len(workers) > WORKERS_SHOWN:
        beyond = max((age for name, age in oldest.items() if name not in found), default=0.0)
        found[OTHER] = WorkerMeasure(None, queued, running, oldest_run=beyond)
    return found


def _oldest_runs(engine: Engine) -> dict[str, float]:
    """Return how long the oldest run of each worker goes on, in seconds, without what a debugger took."""
    now, found = time.monotonic(), dict[str, float]()
    for one in engine.history.running():
        if one.cause != "task":
            age = max(0.0, now - one.started_at - one.stopped_for)
            found[one.worker] = max(age, found.get(one.worker, 0.0))
    return found


async def _told(
    gaps: Gaps, what: str, ask: Callable[[], Coroutine[Any, Any, Mapping[str, int]]]
) -> dict[str, int] | None:
    """Return what the broker keeps for each worker; None where it does not tell that in time."""
    try:
        async with asyncio.timeout(CURSORS_WITHIN):
            counts = await ask()
    except (OSError, TimeoutError) as exc:  # a disk or a server that is away; the rest is worth to be told
        gaps.begin(what, exc)
        return None
    gaps.end(what)
    return bounded(counts, WORKERS_SHOWN)


async def _cursors(engine: Engine) -> dict[str, int]:
    cursors = await engine.bus.broker.cursors()
    return {one.worker: one.pending + sum(one.former.values()) for one in cursors}


async def _dead_letters(engine: Engine) -> dict[str, int]:
    await engine.dead_letters.ready()
    counts = Counter({worker.qualified_name: 0 for worker in engine.workers()})
    counts.update(one.worker for one in engine.dead_letters.all())
    return counts
