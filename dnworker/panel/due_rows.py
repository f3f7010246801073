"""What is due next, as rows of the overview: schedules, and tasks and processes that start again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dnworker.core.handlers import HandlerKey
from dnworker.core.schedule import seconds_of
from dnworker.core.text import shorten
from dnworker.panel.serialize import millis, why_disabled
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.workers.managed import ManagedWorker

ROWS_SHOWN = 12
LONGEST_NAME = 250

Row = dict[str, Any]


def rows_of(worker: ManagedWorker, model: PanelModel, now: datetime) -> Iterator[Row]:
    """Go through what is due of one worker; `when` is None where it cannot run, and `why` says why.

    `now` is the time by the runtime's clock, and so is `when`, in milliseconds since 1970.
    """
    if isinstance(worker, SubprocessWorker) and (restart := worker.restart_due) is not None:
        seconds, number = restart
        yield _row(worker, None, f"restart {number}", when=now + timedelta(seconds=seconds))
    yield from _tries(worker, model, now)
    next_runs, reasons = worker.next_runs, None
    for key, when in next_runs.items():
        why_not_now = None if key.decorator == "every" else "a task starts again by itself"
        yield _row(worker, key, key.name, when=when, why_not_now=why_not_now)
    for key in worker.stats:
        if key.decorator != "every" or key in next_runs:
            continue
        if reasons is None:
            reasons = why_disabled(worker, model.gate(worker), None)
        yield _row(worker, key, key.name, why=reasons.get("run") or "it runs now")


def _tries(worker: ManagedWorker, model: PanelModel, now: datetime) -> Iterator[Row]:
    """Go through the soonest tries of handlers that have failed: of each handler one."""
    engine = model.engine
    at, seen = engine.clock.monotonic(), set[tuple[str, ...]]()
    for one in engine.history.next_tries.of_worker(worker.qualified_name):
        if one.handlers in seen or len(seen) == ROWS_SHOWN:
            continue
        seen.add(one.handlers)
        name = f"{', '.join(one.handlers)}, next try ({one.number} of {one.times})"
        when = now + timedelta(seconds=max(0.0, one.due - at))
        yield _row(worker, None, name, when=when, why_not_now="it is tried again by itself")


def _row(
    worker: ManagedWorker,
    key: HandlerKey | None,
    name: str,
    *,
    when: datetime | None = None,
    why: str | None = None,
    why_not_now: str | None = None,
) -> Row:
    schedule = key.trigger if key is not None and key.decorator == "every" else ""
    every = seconds_of(schedule)
    cron = shorten(schedule.removeprefix("cron "), LONGEST_NAME) if schedule and every is None else None
    return {
        "worker": worker.qualified_name,
        "key": None if key is None else list(key),
        "name": shorten(name, LONGEST_NAME),
        "when": None if when is None else millis(when),
        "every": every,
        "cron": cron,
        "why": why,
        "whyNotNow": why or why_not_now,
    }


def soonest(rows: list[Row]) -> list[Row]:
    """Return the rows that are sent: the soonest first, and at the end those that cannot run."""
    ordered = sorted(rows, key=lambda row: (row["when"] is None, row["when"] or 0.0, row["worker"]))
    return ordered[:ROWS_SHOWN]
